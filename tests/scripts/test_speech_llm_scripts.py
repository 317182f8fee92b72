"""Job scripts, sweep and transcription as a person runs them, with tiny models."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from speech_texts import write_texts

from synthetic import REPOSITORY, run_bash, run_script, save_tiny_encoder, speech_like, write_mp3
from tiny_asr import save_tiny_whisper_asr
from tiny_llm import save_tiny_llm


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterable[dict]:
    """Texts and tiny models: exp (root), env, flags of the trainer."""
    root = tmp_path_factory.mktemp("speech_llm")
    write_texts(root / "data", "english")
    models = [save_tiny_encoder(root / "enc", "whisper"), save_tiny_llm(root / "llm")]
    env = {"DATA_ROOT": str(root / "data"), "EXP_ROOT": str(root / "exp"), "N_GPUS": "0"}
    flags = ["--speech_enc_id", models[0], "--llm_id", models[1], "--width", 32, "--batch_size", 4, "--steps", 2]
    return {"root": root, "exp": root / "exp", "env": env, "flags": flags, "encoder": models[0]}


def run(tiny: dict, script: str, *flags: object, code: int = 0, **variables: str) -> str:
    done = run_bash(REPOSITORY / "scripts" / script, *tiny["flags"], *flags, **tiny["env"], **variables)
    assert done.returncode == code, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def continued(tiny: dict) -> str:
    """What train_post_wlg.sh printed: two trainings, transcripts, error rates."""
    return run(tiny, "train_post_wlg.sh", EXPERIMENT="post", LARGE_ENCODER=str(tiny["encoder"]))


def test_the_large_encoder_goes_on_from_the_small_one(tiny: dict, continued: str) -> None:
    scores = json.loads((tiny["exp"] / "post" / "wer.json").read_text())
    assert set(scores) == {str(tiny["exp"] / "post" / "test_predictions.json")} and "normaliser: unicode" in continued
    arguments = json.loads((tiny["exp"] / "post" / "config.json").read_text())["arguments"]
    assert arguments["from_pretrained"] == str(tiny["exp"] / "post_small") and arguments["norm"] == "post"
    assert not (tiny["exp"] / "post_small" / "test_predictions.json").exists()


def test_recordings_are_transcribed_by_what_was_trained(tiny: dict, continued: str, tmp_path: Path) -> None:
    write_mp3(tmp_path / "raw" / "deep" / "a.mp3", speech_like(9.0, 1))
    (tmp_path / "raw" / "bad.wav").write_text("no audio")
    out = tmp_path / "subtitles"
    flags = ("--model", tiny["exp"] / "post", tmp_path / "raw", "--out", out, "--max_duration", "5")
    done = run_script("src/transcribe.py", *flags, code=3)
    assert "failed: bad.wav" in done.stderr and "1 of 2 recordings" in done.stderr
    assert [path.name for path in out.iterdir()] == ["deep_a.srt"]
    assert "exists already" in run_script("src/transcribe.py", *flags, code=2).stderr
    table = run_script("src/transcribe.py", "--model", tiny["exp"] / "post", tmp_path / "raw" / "deep" / "a.mp3").stdout
    assert table.startswith("source\tstart\tend\ttext\n")


def test_the_sweep_ends_in_one_table_and_names_what_failed(tiny: dict) -> None:
    printed = run(tiny, "sweep_connectors.sh", code=1, CONNECTORS="mlp conv nonsense", FACTORS="4", EXPERIMENT="grid")
    names = ["grid_mlp_f4", "grid_conv_f4"]
    scores = json.loads((tiny["exp"] / "grid.json").read_text())
    assert list(scores) == [str(tiny["exp"] / name / "test_predictions.json") for name in names]
    assert "failed: grid_nonsense_f4" in printed and " p = " in printed


def test_whisper_itself_is_scored_as_a_model_is(tiny: dict, tmp_path: Path) -> None:
    asr, out = save_tiny_whisper_asr(tmp_path / "whisper"), tmp_path / "whisper_predictions.json"
    flags = ("--data", tiny["root"] / "data" / "english", "--asr", asr, "--out", out)
    run_script("scripts/bench/whisper_baseline.py", *flags)
    rows = json.loads(out.read_text())
    assert rows and all({"id", "reference", "hypothesis"} <= row.keys() and row["reference"] for row in rows)
    assert "WER" in run_script("src/calculate_wer.py", "--input", out).stdout
