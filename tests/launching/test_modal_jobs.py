"""Jobs on Modal without Modal: flags, limits asserted here because the client does not, folders, what is uploaded."""

import shutil
from pathlib import Path

import pytest

from core.errors import UserError
from launching.modal_jobs import (
    CODE_FOLDERS,
    describe_cost,
    flag_value,
    function_options,
    is_ignored,
    make_spec,
    parse_gpu,
    parse_main,
    parse_phase,
    read_requirements,
    split_words,
    written_folder,
)
from synthetic import REPOSITORY

TRAIN = ["src/trainer_vocoder.py", "--language", "satere"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, (None, 0)), ("H100", ("H100", 1)), ("h100:2", ("H100", 2)), ("a100-80gb:8", ("A100-80GB", 8))],
)
def test_gpus(text: str | None, expected: tuple) -> None:
    assert parse_gpu(text) == expected


@pytest.mark.parametrize(
    "text", ["", "H1000", "H100:", "H100:0", "H100:9", "A10:5", "H100:two", "H100:-1", "2", "H100:1:1"]
)
def test_what_is_no_gpu_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--gpu"):
        parse_gpu(text)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--hours", "24.5"], "--hours 24.5"),
        (["--hours", "0"], "--hours 0"),
        (["--hours", "nan"], "--hours nan"),
        (["--retries", "11"], "--retries 11"),
        (["--retries", "-1"], "--retries -1"),
        (["--cpus", "0"], "--cpus 0"),
        (["--processes", "0"], "--processes 0"),
    ],
)
def test_limits_are_asserted(flags: list[str], named: str) -> None:
    with pytest.raises(UserError, match=named):
        parse_main([*flags, "--", *TRAIN])


def test_a_job_as_in_the_documentation() -> None:
    args = parse_main(["--gpu", "H100:2", "--", *TRAIN, "--resume"])
    assert args.words == [*TRAIN, "--resume"] and args.processes == 2
    options = function_options(args)
    assert (options["gpu"], options["timeout"], options["retries"]) == ("H100:2", 86400, 10)
    spec = make_spec(args)
    assert spec["folder"] == "satere_vocoder_v3" and spec["limit_seconds"] == 86400 - 600
    assert describe_cost(args).startswith("cost: at most 48 GPU-hours of H100 an attempt (24 h × 2 GPUs), 11 attempts")
    cheap = parse_main(["--hours", "0.5", "--retries", "0", "--cpus", "2", *TRAIN])
    assert "gpu" not in function_options(cheap) and "retries" not in function_options(cheap)
    assert "1 CPU-core-hours" in describe_cost(cheap) and make_spec(cheap)["limit_seconds"] == 1620
    assert "gpu" not in function_options(args, gpu=False)


def test_words_after_two_dashes_are_the_commands_own() -> None:
    assert split_words(["--gpu", "L4", "--", "src/x.py", "--gpu", "--", "y"]) == (
        ["--gpu", "L4"],
        ["src/x.py", "--gpu", "--", "y"],
    )
    assert split_words(["--gpu", "L4", "src/x.py", "--hours", "3"]) == (["--gpu", "L4"], ["src/x.py", "--hours", "3"])
    args = parse_main(["--no-wait", "--memory-gb=3", "--", *TRAIN, "--hours", "3", "--batch-size", "4"])
    assert args.no_wait and args.memory_gb == 3 and args.hours == 24
    assert args.words == [*TRAIN, "--hours", "3", "--batch-size", "4"]


def test_a_phase_hands_on_what_is_not_its_own() -> None:
    args = parse_phase(3, ["--language", "satere", "--gpu", "L4", "--max_minutes", "5", "--tag=w4", "--", "--lr", "1"])
    assert args.words == ["scripts/run_phase3.sh", *TRAIN[1:], "--max_minutes", "5", "--tag=w4", "--lr", "1"]
    assert args.gpu == "L4:1" and make_spec(args)["folder"] == "satere_vocoder_v3_w4"
    assert parse_phase(1, ["--language", "satere"]).words[0] == "scripts/run_phase1.sh"
    sharded = parse_phase(1, ["--language", "satere", "--shards", "4", "--n_units", "50"])
    assert sharded.words == ["src/extract_units.py", *TRAIN[1:], "--n_units", "50"] and sharded.shards == 4
    assert "96 GPU-hours" in describe_cost(parse_phase(1, ["--language", "satere", "--gpu", "L4"]), 4)
    with pytest.raises(UserError, match="unknown language 'klingon'"):
        parse_phase(2, ["--language", "klingon"])


@pytest.mark.parametrize("words", [[], ["ls"], ["src/none.py"], ["/etc/x.py"], ["tests/conftest.py"]])
def test_only_scripts_that_are_uploaded_run(words: list[str]) -> None:
    with pytest.raises(UserError):
        parse_main(["--", *words])


def test_an_absolute_script_of_the_repository_is_found_on_the_other_machine() -> None:
    assert parse_main(["--", str(REPOSITORY / TRAIN[0]), *TRAIN[1:]]).words == TRAIN


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        ([*TRAIN], "satere_vocoder_v3"),
        ([*TRAIN, "--generator=v2", "--tag", "t"], "satere_vocoder_v2_t"),
        ([*TRAIN, "--exp", "exp/mine"], "mine"),
        (["scripts/run_phase1.sh", "spanish"], "spanish_units"),
        (["scripts/run_phase3.sh", "--language", "spanish"], "spanish_vocoder_v3"),
        (["src/extract_units.py", "--language", "spanish"], "spanish_units"),
        (
            ["src/extract_units.py", "--language", "spanish", "--stage", "assign", "--shard-index", "3"],
            "spanish_units/assign_3",
        ),
        (["src/vocoder_test.py", "--exp", "/vol/exp/spanish_vocoder_v3"], "spanish_vocoder_v3"),
        (["scripts/fetch_models.py", "--language", "satere"], "fetch_models_satere"),
    ],
)
def test_the_same_folder_is_known_however_it_is_written_to(words: list[str], folder: str, monkeypatch) -> None:
    monkeypatch.delenv("TAG", raising=False)
    assert written_folder(words) == folder


def test_flag_values() -> None:
    words = ["a.py", "--tag", "x", "--shard-index=3", "--last"]
    assert [flag_value(words, name) for name in ("tag", "shard_index", "last", "none")] == ["x", "3", "", ""]


def test_the_environment_of_a_job_is_offline_except_for_fetching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHASE1_ARGS", "--n_units 5")
    monkeypatch.setenv("HF_TOKEN", "never")
    environment = make_spec(parse_main(["--", *TRAIN]))["environment"]
    assert environment["PHASE1_ARGS"] == "--n_units 5" and environment["HF_HUB_OFFLINE"] == "1"
    assert "HF_TOKEN" not in environment
    fetching = make_spec(parse_main(["--", "scripts/fetch_models.py", "--language", "satere"]))["environment"]
    assert fetching["HF_HUB_OFFLINE"] == "0"


def test_ignore_rules_on_a_real_tree(tmp_path: Path) -> None:
    """Everything that git tracks is uploaded; recordings, results, caches and secrets planted among it are not."""
    planted = (
        *("src/exp/run/latest.pt", "src/data/a.txt", "src/.env", "src/prod.env", "src/.git/config", "src/x.log"),
        *("src/models/__pycache__/a.cpython-311.pyc", "scripts/.modal.toml", "scripts/id_rsa", "scripts/key.pem"),
        *("scripts/modal_downloads/scores.json", "scripts/my_secrets.json", "scripts/credentials.json"),
        *("scripts/.cache/x", "scripts/voice.wav", "recipes/satere/raw.mp3", "recipes/satere/weights.safetensors"),
        "recipes/.ipynb_checkpoints/a.py",
    )
    kept = set()
    for folder in CODE_FOLDERS:
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
        kept |= {path.relative_to(tmp_path) for path in (tmp_path / folder).rglob("*") if path.is_file()}
    for name in planted:
        assert Path(name) not in kept
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("private")
    uploaded = {
        path.relative_to(tmp_path)
        for folder in CODE_FOLDERS
        for path in (tmp_path / folder).rglob("*")
        if path.is_file() and not is_ignored(path.relative_to(tmp_path / folder))
    }
    assert uploaded == kept and len(kept) > 100


def test_the_image_holds_what_path_sh_asks_for() -> None:
    found = read_requirements()
    assert {"torch>=2.9", "pytest>=8"} <= set(found)
    pinned = {line.split("==")[0].lower() for line in (REPOSITORY / "constraints.txt").read_text().splitlines()}
    assert {line.split(">=")[0].lower() for line in found} <= pinned
