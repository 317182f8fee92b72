"""The recipe for Hugging Face data sets: what is on disk is checked, Parquet becomes what the trainer reads."""

from pathlib import Path

import pytest

from synthetic import run_script, speech_like, write_mp3

SCRIPT = "recipes/hf_dataset/prepare_dataset.py"


@pytest.fixture
def rows(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    audio = [
        {"bytes": write_mp3(tmp_path / f"{n}.mp3", speech_like(1.0 + n, n)).read_bytes(), "path": None} for n in (0, 1)
    ]
    stored = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features({"audio": stored, "sentence": datasets.Value("string")})
    made = datasets.Dataset.from_dict({"audio": audio, "sentence": ["one", None]}, features=features)
    return made.cast_column("audio", datasets.Audio(sampling_rate=16000))


def test_parquet_becomes_a_data_set_on_disk(rows, tmp_path: Path) -> None:
    for split in ("train", "validation"):
        rows.to_parquet(tmp_path / "parquet" / "data" / f"{split}-00000-of-00001.parquet")
    flags = ["--text_field", "sentence", "--splits", "validation"]
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_OFFLINE": "1", "DATA_ROOT": str(tmp_path / "data")}
    done = run_script(SCRIPT, "--source", tmp_path / "parquet", *flags, env=env)
    assert "validation: 1 utterances" in done.stdout
    assert "1 of 2 items without text are left out: validation_1" in done.stderr
    assert f"--data {tmp_path / 'data' / 'parquet'} --text_field sentence" in done.stdout
    again = run_script(SCRIPT, "--source", tmp_path / "data" / "parquet", *flags, env=env)
    assert "validation: 1 utterances" in again.stdout
    missing = run_script(SCRIPT, "--source", tmp_path / "data" / "parquet", "--splits", "dev5", env=env, code=2)
    assert "expected a split 'dev5', found validation" in missing.stderr


def test_what_is_no_data_set_is_told_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "empty").mkdir()
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    done = run_script(SCRIPT, "--source", tmp_path / "empty", "--out", tmp_path / "out", env=env, code=2)
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "transcripts.tsv" in done.stderr
    assert not (tmp_path / "out").exists()
