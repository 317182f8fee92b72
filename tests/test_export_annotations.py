"""export_annotations.py as a person runs it: what other tools then show lies where it is heard."""

import json
import unicodedata
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

import pytest

import export_annotations

from annotations.read_annotations import read_annotations
from synthetic import run_script, write_segments, write_units
from units.bpe import decode_tokens, encode_units, load_tokenizer
from units.corpus import expand, read_corpus


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Ten segments with units and motifs."""
    root = tmp_path_factory.mktemp("annotations")
    rows = write_segments(root / "data", "spanish")
    write_units(root / "exp", rows, n_units=12)
    env = {"DATA_ROOT": str(root / "data"), "EXP_ROOT": str(root / "exp"), "TAG": ""}
    run_script("src/train_bpe.py", "--language", "spanish", "--vocab_size", 40, "--examples_audio", 0, env=env)
    return {"root": root, "env": env, "rows": rows}


@pytest.mark.parametrize("form", ["eaf", "textgrid", "csv"])
def test_units_and_motifs_lie_where_they_are_heard(chain: dict, tmp_path: Path, form: str) -> None:
    run_script(
        "src/export_annotations.py", "--language", "spanish", "--format", form, "--out", tmp_path, env=chain["env"]
    )
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == len({row["source"] for row in chain["rows"]})
    corpus = {row["id"]: row for row in read_corpus(chain["root"] / "exp/spanish_units/corpus_timestamped.json")}
    tokenizer = load_tokenizer(chain["root"] / "exp/spanish_bpe")
    spans = [span for path in files for span in read_annotations(path)]
    segments = {span.text: span for span in spans if span.tier == "segments"}
    for row in chain["rows"][:3]:
        segment, own = segments[row["id"]], corpus[row["id"]]
        assert (segment.start, segment.end) == pytest.approx((row["start"], row["end"]), abs=0.001)
        path = next(path for path in files if any(span.text == row["id"] for span in read_annotations(path)))
        inside = [span for span in read_annotations(path) if segment.start <= span.start < segment.end - 0.01]
        units = [span for span in inside if span.tier.startswith("units")]
        assert [int(span.text) for span in units] == own["units"]
        lengths = np.array([span.end - span.start for span in units])
        np.testing.assert_allclose(lengths, np.array(own["durations"]) / 50, atol=0.0021)
        motifs = [int(unit) for span in inside if span.tier == "motifs" for unit in span.text.split("-")]
        assert motifs == decode_tokens(tokenizer, encode_units(tokenizer, own["units"])).tolist() == own["units"]
        assert len(expand(own["units"], own["durations"])) > 0


def test_joined_clips_come_apart_again(tmp_path: Path) -> None:
    part = {"start": 0.0, "speaker": None}
    row = part | {"id": "a_joined", "audio": "x.wav", "source": "a.mp3", "end": 2.0, "duration": 2.0, "split": "train"}
    row["text"], row["parts"] = (
        "one two",
        [
            {"source": "a.mp3", "start": 0.0, "end": 0.8, "offset": 0.0, "text": "one"},
            {"source": "b.mp3", "start": 0.1, "end": 0.98, "offset": 1.12, "text": "two"},
        ],
    )
    (tmp_path / "segments.jsonl").write_text(json.dumps(row) + "\n")
    runs = {"a_joined": export_annotations.Runs(np.array([7, 8, 9]), np.array([30, 40, 30]))}
    found = {
        source: [(span.tier, round(span.start, 3), round(span.end, 3), span.text) for span in spans]
        for source, segments in export_annotations.by_source(tmp_path / "segments.jsonl", None)
        for spans in [export_annotations.spans_of(segments, ("segments", "transcripts", "units"), runs, None)]
    }
    assert found == {
        "a.mp3": [
            ("segments", 0.0, 0.8, "a_joined"),
            ("transcript", 0.0, 0.8, "one"),
            ("units", 0.0, 0.6, "7"),
            ("units", 0.6, 0.8, "8"),
        ],
        "b.mp3": [
            ("segments", 0.1, 0.98, "a_joined"),
            ("transcript", 0.1, 0.98, "two"),
            ("units", 0.1, 0.38, "8"),
            ("units", 0.38, 0.98, "9"),
        ],
    }


def test_one_recording_and_chosen_tiers(chain: dict, tmp_path: Path) -> None:
    source = chain["rows"][0]["source"]
    flags = ["--language", "spanish", "--format", "audacity", "--out", tmp_path, "--tiers", "segments"]
    run_script("src/export_annotations.py", *flags, "--source", source, env=chain["env"])
    (written,) = (path for path in tmp_path.rglob("*") if path.is_file())
    ids = [row["id"] for row in chain["rows"] if row["source"] == source]
    assert [span.text for span in read_annotations(written)] == ids


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--source", "absent.mp3"], "absent.mp3: expected recordings"),
        (["--source", "tale_00.mp3"], "the nearest there: tale_"),
        (["--tag", "w4", "--tiers", "units"], "run_phase1"),
    ],
)
def test_what_is_not_there_is_one_line(chain: dict, tmp_path: Path, flags: list[str], message: str) -> None:
    done = run_script(
        "src/export_annotations.py", "--language", "spanish", "--out", tmp_path, *flags, env=chain["env"], code=2
    )
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_name_in_letters_of_a_mac_is_found_and_linked(tmp_path: Path) -> None:
    rows = write_segments(tmp_path / "data", "spanish", n_train=1, n_val=1, n_test=1)
    manifest, named = tmp_path / "data/spanish/segments.jsonl", "Kâgssagssuk é.mp3"
    as_on_a_mac = unicodedata.normalize("NFD", named)
    raw = tmp_path / "data/spanish/raw" / as_on_a_mac
    raw.parent.mkdir()
    raw.touch()
    lines = "".join(json.dumps(row | {"source": named}) + "\n" for row in rows[:1])
    manifest.write_text(lines, encoding="utf-8")
    flags = ["--language", "spanish", "--out", tmp_path / "out", "--tiers", "segments", "--source", as_on_a_mac]
    run_script("src/export_annotations.py", *flags, env={"DATA_ROOT": str(tmp_path / "data"), "TAG": ""})
    (written,) = (tmp_path / "out").glob("*.eaf")
    (link,) = ElementTree.parse(written).iter("MEDIA_DESCRIPTOR")
    assert link.get("MEDIA_URL") == raw.as_uri()
