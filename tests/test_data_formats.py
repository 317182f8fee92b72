"""docs/data_formats.md is true: the keys of every real line are explained, and they are those that the code writes."""

import json
import re
from pathlib import Path
from typing import get_type_hints

import numpy as np
import torch

import pytest

from core.records import MetricScore, Segment, UtteranceScore
from evaluation.word_errors import Prediction
from launching.job import make_job
from synthetic import REPOSITORY, run_script, source_names, write_recordings
from trainer_runs import run_to_end
from units.corpus import read_corpus

PAGE = REPOSITORY / "docs" / "data_formats.md"
# A recording each of train, val and test; the smallest run of every phase.
SMALL_VOICE = [
    "--language=spanish",
    "--channels=16",
    "--sizes",
    "n_blocks=1",
    "bands=8",
    "noise_bands=4",
    "--discriminator_width=4",
    "--steps=4",
    "--batch_size=2",
    "--crop_frames=24",
    "--adversarial_after=0.25",
    "--log_every=2",
    "--eval_every=2",
    "--save_every=2",
    "--sample_every=4",
    "--cpu",
]


def sections() -> dict[str, str]:
    """Heading → text below it, of every ### heading."""
    parts = re.split(r"^### (.*)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


SECTIONS = sections()


def lines_of(section: str) -> list[dict]:
    """The real lines that a section shows."""
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", SECTIONS[section], re.DOTALL)]


def rows_of(section: str) -> list[tuple[set[str], bool]]:
    """(keys, whether they are optional) of every row of a section's tables."""
    rows = re.findall(r"^\| (`[^|]*)\|(.*)", SECTIONS[section], re.MULTILINE)
    return [
        (set(re.findall(r"`(\w+)`", keys)), "(optional)" in meaning or "optional)" in meaning) for keys, meaning in rows
    ]


def keys_of(section: str) -> set[str]:
    return set().union(*(keys for keys, _ in rows_of(section)))


def optional_keys(section: str) -> set[str]:
    return set().union(*(keys for keys, optional in rows_of(section) if optional))


@pytest.mark.parametrize("section", [name for name in SECTIONS if lines_of(name) and name != "splits.json"])
def test_every_key_of_a_real_line_is_explained(section: str) -> None:
    for line in lines_of(section):
        shown = set(line) if set(line) & keys_of(section) else set().union(*line.values())
        assert shown and shown <= keys_of(section), f"{section}: {sorted(shown - keys_of(section))}"


def test_the_rows_are_the_records_of_the_code() -> None:
    assert keys_of("segments.jsonl") == set(get_type_hints(Segment)) | {"flags"}
    scores = keys_of("scores.json")
    assert set(get_type_hints(MetricScore)) | set(get_type_hints(UtteranceScore)) <= scores
    assert set(Prediction._fields) | optional_keys("test_predictions.json") == keys_of("test_predictions.json")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every phase once, on six made-up recordings: the folder with data/ and exp/."""
    root = tmp_path_factory.mktemp("formats")
    data = root / "data" / "spanish"
    names = source_names(3, 1, 1)
    write_recordings(data / "raw", names, seconds=8.0)
    (data / "speakers.tsv").write_text("source\tspeaker\n" + "".join(f"{name}\tana\n" for name in names))
    (data / "transcripts.tsv").write_text(
        "source\tstart\tend\ttext\n" + "".join(f"{name}\t0\t8\ta tale\n" for name in names)
    )
    environment = {"DATA_ROOT": str(root / "data"), "EXP_ROOT": str(root / "exp"), "TAG": ""}
    run_script("scripts/segment_audio.py", "--language", "spanish", env=environment)
    small = ["--language=spanish", "--n_units=12"]
    run_to_end("extract_units", [*small, "--n_streams=2"], roots=root)
    run_to_end("validate_units", ["--language=spanish", "--n_resamples=10"], roots=root)
    run_to_end("train_bpe", ["--language=spanish", "--vocab_size=30"], roots=root)
    run_to_end("trainer_vocoder", SMALL_VOICE, roots=root)
    return root


def read_json(path: Path) -> dict | list:
    return json.loads(path.read_text(encoding="utf-8"))


def check(section: str, written: set[str]) -> None:
    """What the code writes is explained, and what is explained is written, but for the optional."""
    assert written <= keys_of(section), f"{section}: not explained: {sorted(written - keys_of(section))}"
    missing = keys_of(section) - optional_keys(section) - written
    assert not missing, f"{section}: explained, but not written: {sorted(missing)}"


def test_data_and_units_are_written_as_the_page_says(chain: Path) -> None:
    data, units = chain / "data" / "spanish", chain / "exp" / "spanish_units"
    first = json.loads((data / "segments.jsonl").read_text(encoding="utf-8").splitlines()[0])
    check("segments.jsonl", set(first))
    assert set(read_json(data / "splits.json").values()) == {"train", "val", "test"}
    check("segmentation.json", set(read_json(data / "segmentation.json")))
    utterance = next(read_corpus(units / "corpus_timestamped.json"))
    check("corpus_timestamped.json", set(utterance))
    assert "residual_units" in utterance
    with np.load(units / "kmeans.npz", allow_pickle=False) as arrays:
        check("kmeans.npz, kmeans.pkl", set(arrays.files))
    report = read_json(units / "unit_report.json")
    check("unit_report.json", set(report["splits"]["test"]["bits_per_second"]))
    text = SECTIONS["unit_report.json"].split("The whole file has the keys")[1]
    assert set(re.findall(r"`(\w+)`", text)) == set(report)


def test_motifs_are_written_as_the_page_says(chain: Path) -> None:
    bpe = chain / "exp" / "spanish_bpe"
    motifs = read_json(bpe / "motifs.json")
    motif = next(motif for motif in motifs if motif["examples"])  # a single unit may occur in longer motifs only
    check("motifs.json", set(motif) | set(motif["examples"][0]) - {"utterance", "audio", "start", "end"})
    text = SECTIONS["tokenizer.json, tokenizer_config.json"].split("It has the keys")[1]
    assert set(re.findall(r"`(\w+)`", text)) == set(read_json(bpe / "tokenizer.json"))


def test_an_experiment_is_written_as_the_page_says(chain: Path) -> None:
    exp = chain / "exp" / "spanish_vocoder_v4"
    config = read_json(exp / "config.json")
    check("config.json", set(config) | set(config["environment"]))
    rows = [json.loads(line) for line in (exp / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    check("metrics.jsonl", set().union(*rows) - {"validation_mel_nat"})
    assert any("discriminator_loss" in row for row in rows)
    check("finished.json", set(read_json(exp / "finished.json")))
    checkpoint = torch.load(exp / "checkpoints" / "latest.pt", weights_only=True, map_location="cpu")
    check("checkpoints/latest.pt, checkpoints/best.pt", set(checkpoint))


def test_a_job_is_written_as_the_page_says(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXP_ROOT", str(chain / "exp"))
    job = make_job("try", [["src/validate_units.py"]], backend="local")
    check("job.json, record.json", set(job) | {"ids", "started"})
