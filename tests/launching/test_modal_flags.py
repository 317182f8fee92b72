"""The flags of a job on Modal: GPUs and limits asserted here because the client does not, and whose words are whose."""

from pathlib import Path

import pytest

from core.errors import UserError
from launching.modal_flags import parse_gpu, parse_main, parse_phase, split_words
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
        (["--gpu", "L4", "--gpu_price", "0"], "--gpu_price 0"),
        (["--gpu_price", "3"], "--gpu_price: expected --gpu"),
        (["--max_containers", "2"], "--max_containers: expected --shards"),
        (["--hf_secret", "mine"], "--hf_secret: src/trainer_vocoder.py runs offline"),
    ],
)
def test_limits_are_asserted(flags: list[str], named: str) -> None:
    with pytest.raises(UserError, match=named):
        parse_main([*flags, "--", *TRAIN])


def test_a_job_as_in_the_documentation() -> None:
    job = parse_main(["--gpu", "H100:2", "--", *TRAIN, "--resume"])
    assert job.words == [*TRAIN, "--resume"] and job.processes == 2
    assert (job.gpu_name, job.n_gpus, job.hours, job.retries) == ("H100", 2, 24, 10)


def test_words_after_two_dashes_are_the_commands_own() -> None:
    assert split_words(["--gpu", "L4", "--", "src/x.py", "--gpu", "--", "y"]) == (
        ["--gpu", "L4"],
        ["src/x.py", "--gpu", "--", "y"],
    )
    assert split_words(["--gpu", "L4", "src/x.py", "--hours", "3"]) == (["--gpu", "L4"], ["src/x.py", "--hours", "3"])
    job = parse_main(["--no-wait", "--memory-gb=3", "--", *TRAIN, "--hours", "3", "--batch-size", "4"])
    assert job.no_wait and job.memory_gb == 3 and job.hours == 24
    assert job.words == [*TRAIN, "--hours", "3", "--batch-size", "4"]


def test_a_phase_hands_on_what_is_not_its_own() -> None:
    job = parse_phase(3, ["--language", "satere", "--gpu", "L4", "--max_minutes", "5", "--tag=w4", "--", "--lr", "1"])
    assert job.words == ["scripts/run_phase3.sh", *TRAIN[1:], "--max_minutes", "5", "--tag=w4", "--lr", "1"]
    assert (job.gpu_name, job.n_gpus) == ("L4", 1)
    assert parse_phase(1, ["--language", "satere"]).words[0] == "scripts/run_phase1.sh"
    sharded = parse_phase(1, ["--language", "satere", "--shards", "4", "--n_units", "50"])
    assert sharded.words == ["src/extract_units.py", *TRAIN[1:], "--n_units", "50"] and sharded.shards == 4
    with pytest.raises(UserError, match="unknown language 'klingon'"):
        parse_phase(2, ["--language", "klingon"])


def test_a_language_outside_the_table_is_taken_once_it_has_data(language_roots: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="unknown language 'hunsrik'"):
        parse_phase(1, ["--language", "hunsrik"])
    (language_roots["data"] / "hunsrik" / "raw").mkdir(parents=True)
    job = parse_phase(1, ["--language", "hunsrik", "--gpu", "L4"])
    assert job.words == ["scripts/run_phase1.sh", "--language", "hunsrik"]


@pytest.mark.parametrize("words", [[], ["ls"], ["src/none.py"], ["/etc/x.py"], ["tests/conftest.py"]])
def test_only_scripts_that_are_uploaded_run(words: list[str]) -> None:
    with pytest.raises(UserError):
        parse_main(["--", *words])


def test_an_absolute_script_of_the_repository_is_found_on_the_other_machine() -> None:
    assert parse_main(["--", str(REPOSITORY / TRAIN[0]), *TRAIN[1:]]).words == TRAIN


@pytest.mark.parametrize(
    "word",
    ["/home/me/exp/other", "--exp=/tmp/other", "~/other", "../other", "exp/../../other", "/volume/exp"],
)
def test_paths_that_leave_the_volume_are_refused(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="below exp/ or data/"):
        parse_main(["--", *TRAIN, "--exp", word])
    monkeypatch.setenv("PHASE1_ARGS", f"--kmeans {word}")
    with pytest.raises(UserError, match="PHASE1_ARGS"):
        parse_main(["--", *TRAIN])


def test_a_path_of_this_machines_roots_is_named_as_modal_has_it(language_roots: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="give exp/other/a"):
        parse_main(["--", *TRAIN, "--exp", str(language_roots["exp"] / "other" / "a")])
    for path in ("exp/other", "/vol/exp/other", "voices/base_v3", "--text=/ a b /", "data/satere"):
        assert parse_main(["--", *TRAIN, "--exp", path]).words[-1] == path
