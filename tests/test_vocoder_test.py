"""vocoder_test.py: a tiny vocoder scored as a person would score it, pairs of folders, and what it refuses."""

import itertools
import json
from pathlib import Path

import numpy as np
import torch

import pytest
import soundfile

import vocoder_test

from audio.audio_io import load_audio, save_audio
from core.errors import UserError
from core.frames import HOP_SAMPLES
from evaluation.bootstrap import bootstrap_mean, bootstrap_ratio
from evaluation.metrics import RATES
from evaluation.scores import compare, format_table, score_readings, summarise
from evaluation.signal_scores import score_files, score_pair
from models.generator_v3 import GeneratorV3
from synthetic import run_script, speech_like
from tiny_asr import save_tiny_whisper_asr
from units.corpus import read_corpus

SIGNAL_METRICS = (
    "mcd_db mcd_dtw_db snr_db mel_distance_nat f0_rmse_hz f0_rmse_cents gross_pitch_error_percent vuv_error_percent "
    "ffe_percent"
).split()


def write_vocoder(roots: dict, name: str, seed: int) -> Path:
    """exp/<name>/ as phase 3 leaves it, with a tiny untrained V3."""
    exp, torch_state = roots["exp"] / name, torch.get_rng_state()
    (exp / "checkpoints").mkdir(parents=True)
    torch.manual_seed(seed)
    sizes = {"n_units": roots["n_units"], "channels": 16, "n_blocks": 1, "head_channels": 16, "n_head_blocks": 1}
    state = {
        "generator_ema": GeneratorV3(**sizes).state_dict(),
        "version": "v3",
        "sizes": sizes,
        "step": 7,
        "speakers": [],
    }
    torch.set_rng_state(torch_state)
    torch.save(state, exp / "checkpoints" / "best.pt")
    derived = {
        "language": "spanish",
        "corpus": str(roots["units"] / "corpus_timestamped.json"),
        "units_exp": str(roots["units"]),
        "data_root": str(roots["data"]),
        "cache": str(roots["data"] / "spanish" / "cache"),
        "generator": "v3",
    }
    (exp / "config.json").write_text(json.dumps({"arguments": {}, "derived": derived}))
    (exp / "finished.json").write_text("{}")
    return exp


def test_two_experiments_are_scored_compared_and_not_scored_twice(tiny_units, tmp_path):
    one, other = (write_vocoder(tiny_units, f"spanish_vocoder_v3_{seed}", seed) for seed in (0, 1))
    whisper = save_tiny_whisper_asr(tmp_path / "whisper")
    stale = one / "test" / "resynthesis" / "gone.wav"
    save_audio(stale, np.zeros(320))
    flags = ("--exp", one, other, "--asr", whisper, "--asr-language", "en", "--num-workers", 1)
    shown = run_script("src/vocoder_test.py", *flags).stdout
    for words in ("minus", "mcd_db", "cer", "[", "n=2", "best checkpoint of step 7", "build_report.py"):
        assert words in shown
    scores = json.loads((one / "scores.json").read_text())
    assert (scores["checkpoint"], scores["step"], scores["split"], scores["n_utterances"]) == ("best", 7, "test", 2)
    assert scores["asr"]["model"] == str(whisper) and scores["asr"]["language"] == "en"
    assert {"cer", "wer", "mcd_db", "snr_db", "vuv_error_percent", "mel_distance_nat"} <= scores["metrics"].keys()
    check_audio(one, tiny_units)
    check_means(scores)
    assert not stale.exists()
    assert list((tiny_units["data"] / "spanish" / "cache").glob("asr_*.json"))
    before = (one / "scores.json").stat().st_mtime_ns
    assert "already scored" in run_script("src/vocoder_test.py", *flags).stdout
    assert (one / "scores.json").stat().st_mtime_ns == before
    (kept,) = (one / "test").glob("asr_*.json")
    kept.write_text(json.dumps(dict.fromkeys(json.loads(kept.read_text()), "kept")))
    run_script("src/vocoder_test.py", *flags, "--overwrite")
    utterances = json.loads((one / "scores.json").read_text())["utterances"]
    assert [row["asr_resynthesis"] for row in utterances] == ["kept"] * 2, "what was heard once is not heard again"


def check_audio(exp: Path, roots: dict) -> None:
    expected = {item["id"]: item for item in read_corpus(roots["units"] / "corpus_timestamped.json", splits={"test"})}
    for side in ("original", "resynthesis"):
        files = sorted((exp / "test" / side).glob("*.wav"))
        assert {file.stem for file in files} == expected.keys()
        for file in files:
            assert soundfile.info(file).frames == HOP_SAMPLES * sum(expected[file.stem]["durations"])
    for name, item in expected.items():
        segment, original = (
            load_audio(roots["data"] / item["audio"]),
            load_audio(exp / "test" / "original" / f"{name}.wav"),
        )
        np.testing.assert_array_equal(original, segment[: len(original)])


def check_means(scores: dict) -> None:
    """The file's means follow from its utterances, and these from the audio beside it."""
    for name, entry in scores["metrics"].items():
        rows = [row for row in scores["utterances"] if row[name] is not None]
        expected = bootstrap_mean([row[name] for row in rows])
        if name in RATES:
            edits = [
                sum(row[f"{name}_counts"][kind] for kind in ("substitutions", "deletions", "insertions"))
                for row in rows
            ]
            expected = bootstrap_ratio(edits, [row[f"{name}_counts"]["reference"] for row in rows])
        assert entry == expected._asdict() | {"unit": entry["unit"]}
    row = scores["utterances"][0]
    sides = [
        load_audio(Path(scores["exp"]) / "test" / side / f"{row['id']}.wav") for side in ("original", "resynthesis")
    ]
    assert {name: row[name] for name in SIGNAL_METRICS} == pytest.approx(score_pair(*sides))


def test_pairs_of_folders(tmp_path):
    noise = np.random.default_rng(0)
    for number in range(3):
        speech = 0.5 * speech_like(1.5, seed=number)
        save_audio(tmp_path / "original" / f"tale_{number}.wav", speech)
        save_audio(tmp_path / "copy" / f"tale_{number}.wav", speech)
        level = np.sqrt(np.mean(speech**2) / 100)
        save_audio(tmp_path / "noisy" / f"tale_{number}.wav", speech + level * noise.standard_normal(len(speech)))
    (tmp_path / "copy" / "tale_2.wav").unlink()
    run = run_script(
        "src/vocoder_test.py", "--pairs", tmp_path / "original", tmp_path / "copy", "--out", tmp_path / "a.json"
    )
    assert "left out (1):" in run.stdout and "tale_2" in run.stdout
    metrics = json.loads((tmp_path / "a.json").read_text())["metrics"]
    assert metrics.pop("snr_db")["mean"] == 100
    assert metrics.keys() == set(SIGNAL_METRICS) - {"snr_db"} and all(entry["mean"] == 0 for entry in metrics.values())
    files = [(f"{n}", *(tmp_path / side / f"tale_{n}.wav" for side in ("original", "noisy"))) for n in range(3)]
    noisy = summarise(score_files(files, num_workers=1))
    assert noisy["snr_db"]["mean"] == pytest.approx(20, abs=0.3) and noisy["mcd_db"]["mean"] > 2


def test_an_unreadable_pair_is_named_counted_and_left_out(tmp_path, capsys, monkeypatch):
    for name, side in itertools.product("abc", ("original", "copy")):
        save_audio(tmp_path / side / f"{name}.wav", speech_like(0.6, seed=ord(name)))
    (tmp_path / "copy" / "b.wav").write_text("no audio at all")
    (tmp_path / "original" / "c.wav").write_bytes(b"")
    flags = ["--pairs", str(tmp_path / "original"), str(tmp_path / "copy"), "--out", str(tmp_path / "scores.json")]
    monkeypatch.setattr("sys.argv", ["vocoder_test.py", *flags])
    assert vocoder_test.main() == 3
    shown = capsys.readouterr()
    assert "2 of 3 pairs could not be read, over --max_failed 5 %" in shown.err and "left out (2):" in shown.out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [row["id"] for row in scores["utterances"]] == ["a"] and scores["n_utterances"] == 1
    assert [line[:18] for line in scores["skipped"]] == ["b: cannot be read:", "c: cannot be read:"]
    monkeypatch.setattr("sys.argv", ["vocoder_test.py", *flags, "--max_failed", "70"])
    assert vocoder_test.main() == 0
    for bad in (["--exp", "a", "--max_failed", "5"], [*flags, "--max_failed", "-1"]):
        with pytest.raises(UserError, match="--max_failed"):
            vocoder_test.parse_args(bad)


def test_processes_give_what_one_process_gives(tmp_path, monkeypatch):
    for name, seed in (("a", 0), ("b", 1)):
        save_audio(tmp_path / f"{name}.wav", speech_like(1.0, seed=seed))
    files = [("one", tmp_path / "a.wav", tmp_path / "b.wav"), ("two", tmp_path / "b.wav", tmp_path / "a.wav")]
    monkeypatch.setattr("evaluation.signal_scores.MIN_PAIRS_FOR_POOL", 1)
    assert score_files(files, num_workers=2) == score_files(files, num_workers=1)


def test_error_rates_are_of_the_corpus():
    readings = [("Hola, amigo.", "hola amigo", "hola amigo"), ("uno dos", "uno", None), ("...", "ruido", "[ruido]")]
    rows = [{"id": str(number)} | score_readings(*texts) for number, texts in enumerate(readings)]
    assert rows[2]["cer"] is None and rows[2]["cer_text"] == 0 and rows[2]["cer_text_original"] == 1
    metrics = summarise(rows)
    assert metrics["cer"]["mean"] == pytest.approx(4 / (10 + 7)) and metrics["cer"]["n"] == 2
    assert metrics["wer"]["mean"] == pytest.approx(1 / 4)
    assert metrics["cer_text"]["n"] == metrics["wer_text_original"]["n"] == 2


def test_differences_are_paired_by_id():
    first = [{"id": str(n), "mcd_db": 5.0 + n, "f0_rmse_hz": None} for n in range(8)]
    second = [{"id": str(n), "mcd_db": 4.0 + n, "f0_rmse_hz": 3.0} for n in reversed(range(6))]
    found = compare(first, second)
    assert found.keys() == {"mcd_db"} and found["mcd_db"]["unit"] == "dB"
    assert [found["mcd_db"][key] for key in ("mean", "low", "high", "n")] == pytest.approx([1, 1, 1, 6])
    assert format_table(found, signed=True).split() == "mcd_db +1.00 [+1.00, +1.00] dB n=6 *".split()


def test_what_cannot_be_scored_is_refused(tiny_units):
    exp = write_vocoder(tiny_units, "spanish_vocoder_v3", 0)
    (exp / "finished.json").unlink()
    with pytest.raises(UserError, match="run_phase3.sh spanish"):
        vocoder_test.locate(vocoder_test.parse_args(["--exp", str(exp)]), exp)
    unfinished = vocoder_test.parse_args(["--exp", str(exp), "--allow-unfinished"])
    assert vocoder_test.locate(unfinished, exp).inputs.corpus.exists()
    (exp / "checkpoints" / "best.pt").unlink()
    with pytest.raises(UserError, match="best.pt: no checkpoint yet"):
        vocoder_test.locate(unfinished, exp)
    for flags in (
        [],
        ["--exp", "a", "--pairs", "b", "c"],
        ["--exp", "a", "--out", "b"],
        ["--exp", "a", "--asr_language", "es"],
    ):
        with pytest.raises(UserError, match="--"):
            vocoder_test.parse_args(flags)


def test_a_recording_shorter_than_its_units_is_refused(tiny_units):
    exp = write_vocoder(tiny_units, "spanish_vocoder_v3", 0)
    utterance = next(read_corpus(tiny_units["units"] / "corpus_timestamped.json", splits={"test"}))
    save_audio(tiny_units["data"] / utterance["audio"], np.zeros(3200))
    shown = run_script("src/vocoder_test.py", "--exp", exp, code=2)
    assert "rerun phase 1" in shown.stderr and "Traceback" not in shown.stderr
    assert not (exp / "scores.json").exists()


def test_an_experiment_from_another_machine_finds_its_inputs(tiny_units):
    exp = write_vocoder(tiny_units, "spanish_vocoder_v3", 0)
    config = json.loads((exp / "config.json").read_text())
    for key in ("corpus", "units_exp", "data_root", "cache"):
        config["derived"][key] = "/elsewhere/" + Path(config["derived"][key]).name
    config["derived"]["units_exp"] = "/elsewhere/" + tiny_units["units"].name
    (exp / "config.json").write_text(json.dumps(config))
    inputs = vocoder_test.locate(vocoder_test.parse_args(["--exp", str(exp)]), exp).inputs
    assert inputs.corpus == tiny_units["units"] / "corpus_timestamped.json"
    assert inputs.data_root == tiny_units["data"] and inputs.cache == tiny_units["data"] / "spanish" / "cache"
