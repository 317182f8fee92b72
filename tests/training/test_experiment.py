"""The experiment folder: made, entered again or refused, by flags, input, and what an earlier run left."""

import argparse
import json
import sys
from pathlib import Path

import pytest

from core.cli import add_experiment_flags, parse_flags
from core.errors import UserError
from core.files import read_json
from training.experiment import (
    OLD_FLAG_NAMES,
    append_metrics,
    cut_metrics,
    hash_arguments,
    mark_finished,
    noting_failed_start,
    open_experiment,
    read_metrics,
    require_finished,
)


def flags_of(*words: str, version: int = 1) -> dict[str, object]:
    """The flags of a script whose second version has one more."""
    parser = argparse.ArgumentParser()
    add_experiment_flags(parser)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch_size", type=int, default=16)
    if version == 2:
        parser.add_argument("--noise", type=float, default=0.0)
        parser.add_argument("--cache", type=Path, default=Path("cache"))
    return vars(parse_flags(parser, list(words)))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.json"
    path.write_text("[1, 2]")
    return path


@pytest.fixture
def exp(tmp_path: Path, corpus: Path) -> Path:
    """A run that has been started once, and left a checkpoint."""
    folder = tmp_path / "run"
    assert open_experiment(folder, flags_of(), inputs=[corpus], derived={"n_units": 12}) == "new"
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "latest.pt").touch()
    return folder


def test_a_new_folder_says_how_it_was_made(exp: Path) -> None:
    config = read_json(exp / "config.json")
    assert (config["arguments"]["steps"], config["derived"]) == (100, {"n_units": 12})
    assert "flag_defaults" not in config["arguments"]
    assert {"git_commit", "packages", "command", "started"} <= config["environment"].keys()


def test_a_machine_without_git_makes_experiments(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert open_experiment(tmp_path / "bare", flags_of(), inputs=[corpus]) == "new"
    environment = read_json(tmp_path / "bare" / "config.json")["environment"]
    assert environment["git_commit"] is None and environment["git_dirty"] is None


def test_a_name_is_not_used_twice_by_accident(exp: Path, corpus: Path) -> None:
    before = (exp / "config.json").read_bytes()
    with pytest.raises(UserError, match=f"{exp}: exists already; --resume continues it, --overwrite"):
        open_experiment(exp, flags_of(), inputs=[corpus])
    assert (exp / "config.json").read_bytes() == before and (exp / "checkpoints" / "latest.pt").exists()


@pytest.mark.parametrize("resume", ["--resume", "--resume=auto", "--resume=other.pt"])
def test_resuming_keeps_what_is_there_until_it_has_finished(exp: Path, corpus: Path, resume: str) -> None:
    before = (exp / "config.json").read_bytes()
    assert open_experiment(exp, flags_of(resume), inputs=[corpus]) == "resumed"
    mark_finished(exp, {"step": 100})
    assert open_experiment(exp, flags_of(resume), inputs=[corpus]) == "finished"
    assert (exp / "config.json").read_bytes() == before and (exp / "checkpoints" / "latest.pt").exists()


def test_resuming_what_was_never_started(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume, expected .*config.json"):
        open_experiment(tmp_path / "run", flags_of("--resume"), inputs=[corpus])
    assert not (tmp_path / "run").exists()
    assert open_experiment(tmp_path / "run", flags_of("--resume=auto"), inputs=[corpus]) == "new"


def test_overwriting_deletes_the_run_and_excludes_resuming(exp: Path, corpus: Path) -> None:
    with pytest.raises(UserError, match="--resume and --overwrite exclude each other"):
        open_experiment(exp, flags_of("--overwrite", "--resume"), inputs=[corpus])
    assert (exp / "checkpoints" / "latest.pt").exists()
    assert open_experiment(exp, flags_of("--overwrite", "--resume=auto", "--steps=5"), inputs=[corpus]) == "new"
    assert not (exp / "checkpoints").exists() and read_json(exp / "config.json")["arguments"]["steps"] == 5


def test_overwriting_keeps_the_records_of_jobs_and_follows_no_link(exp: Path, corpus: Path, tmp_path: Path) -> None:
    (exp / "jobs").mkdir()
    (exp / "jobs" / "job.json").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.txt").touch()
    (exp / "linked").symlink_to(tmp_path / "elsewhere")
    assert open_experiment(exp, flags_of("--overwrite"), inputs=[corpus]) == "new"
    assert {path.name for path in exp.iterdir()} == {"jobs", "config.json"} and (exp / "jobs" / "job.json").exists()
    assert (tmp_path / "elsewhere" / "mine.txt").exists()


def fail_to_start(exp: Path, corpus: Path, *words: str) -> None:
    """A run that is opened and fails before its first step."""
    open_experiment(exp, flags_of(*words), inputs=[corpus])
    with pytest.raises(UserError, match="no such layer"), noting_failed_start(exp):
        (exp / "train.log").write_text("…")
        raise UserError("no such layer")


@pytest.mark.parametrize("words", [[], ["--resume", "auto"], ["--overwrite"]])
def test_a_failed_start_does_not_refuse_the_corrected_command(tmp_path: Path, corpus: Path, words: list[str]) -> None:
    exp = tmp_path / "failed"
    fail_to_start(exp, corpus, "--steps", "5")
    fail_to_start(exp, corpus, "--steps", "6")
    assert read_json(exp / "config.json")["failed_to_start"] == "no such layer"
    assert open_experiment(exp, flags_of(*words, "--steps", "7"), inputs=[corpus]) == "new"
    config = read_json(exp / "config.json")
    assert config["arguments"]["steps"] == 7 and "failed_to_start" not in config
    with pytest.raises(UserError, match="exists already"):
        open_experiment(exp, flags_of("--steps", "7"), inputs=[corpus])


def test_what_has_learnt_is_not_given_up_by_an_error(exp: Path, corpus: Path) -> None:
    with pytest.raises(MemoryError), noting_failed_start(exp):
        raise MemoryError
    assert "failed_to_start" not in read_json(exp / "config.json")


def test_a_folder_that_is_no_experiment_is_not_overwritten(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").touch()
    with pytest.raises(UserError, match="expected an experiment folder .*found other files; --overwrite refused"):
        open_experiment(tmp_path / "thesis", flags_of("--overwrite"), inputs=[corpus])
    assert (tmp_path / "thesis" / "chapter.txt").exists()


def test_another_configuration_or_input_is_refused_by_name(exp: Path, corpus: Path) -> None:
    longer = flags_of("--resume", "--steps=200", "--batch_size=8")
    with pytest.raises(UserError, match=r"configuration \(batch_size: 16 -> 8; steps: 100 -> 200\)"):
        open_experiment(exp, longer, inputs=[corpus])
    with pytest.raises(UserError, match=r"configuration \(batch_size: 16 -> 8\)"):
        open_experiment(exp, longer, inputs=[corpus], ignore=["steps"])
    assert open_experiment(exp, longer, inputs=[corpus], ignore=["steps", "batch_size"]) == "resumed"
    corpus.write_text("[1, 3]")
    with pytest.raises(UserError, match=r"configuration \(the input files\)"):
        open_experiment(exp, flags_of("--resume"), inputs=[corpus])


def test_only_flags_that_somebody_gave_are_named_with_their_old_values(
    exp: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--batch-size=8", "--resume"])
    flags = flags_of("--resume", "--batch_size=8", "--steps=200")  # the steps follow from the batch
    with pytest.raises(UserError) as refused:
        open_experiment(exp, flags, inputs=[corpus])
    assert "configuration (batch_size: 16 -> 8; by default also steps);" in str(refused.value)
    assert str(refused.value).endswith("or give the old flags: --batch_size 16")


def test_a_flag_newer_than_an_experiment_is_taken_to_have_had_its_default(exp: Path, corpus: Path) -> None:
    assert open_experiment(exp, flags_of("--resume", version=2), inputs=[corpus]) == "resumed"
    assert open_experiment(exp, flags_of("--resume", "--noise=0", version=2), inputs=[corpus]) == "resumed"
    with pytest.raises(UserError, match=r"another configuration \(noise: 0.0 -> 0.1\)"):
        open_experiment(exp, flags_of("--resume", "--noise=0.1", version=2), inputs=[corpus])


def test_an_experiment_older_than_a_flags_name_resumes(exp: Path, corpus: Path) -> None:
    """PEERS: a renamed flag that makes every run before it unusable."""
    config = read_json(exp / "config.json")
    old_names = {new: old for old, new in OLD_FLAG_NAMES.items()}
    assert {"batch_size", "exp"} <= old_names.keys()
    config["arguments"] = {old_names.get(name, name): value for name, value in config["arguments"].items()}
    assert "bsize" in config["arguments"] and "batch_size" not in config["arguments"]
    (exp / "config.json").write_text(json.dumps(config))
    assert open_experiment(exp, flags_of("--resume"), inputs=[corpus]) == "resumed"
    with pytest.raises(UserError, match=r"configuration \(batch_size: 16 -> 8\)"):
        open_experiment(exp, flags_of("--resume", "--batch_size=8"), inputs=[corpus])


def test_what_a_killed_run_was_writing_is_removed_but_not_a_launchers_or_another_jobs(exp: Path, corpus: Path) -> None:
    (exp / "jobs").mkdir()
    torn = [exp / ".config.json.1.ab.tmp", exp / "checkpoints" / ".latest.pt.1.ab.tmp", exp / "jobs" / ".job.1.ab.tmp"]
    for path in torn:
        path.touch()
    open_experiment(exp, flags_of("--resume"), inputs=[corpus], shared=True)
    assert all(path.exists() for path in torn)
    open_experiment(exp, flags_of("--resume"), inputs=[corpus])
    assert [path.exists() for path in torn] == [False, False, True]


def test_the_hash_of_flags_is_that_of_older_runs() -> None:
    """Phase 1's shards on disk carry it: it must be the same in every version."""
    flags = {"language": "spanish", "n_units": 100, "manifest": Path("data/segments.jsonl"), "layer": None}
    expected = "87e5d411aa936afbba510ec1cd178860958900065cc6d25d0c037e14b828663f"
    assert hash_arguments(flags) == expected
    carried_out = {"exp": Path("elsewhere"), "resume": "auto", "flag_defaults": {"n_units": 50}, "shards": 4}
    assert hash_arguments(flags | carried_out, ignore=["shards"]) == expected
    assert hash_arguments(flags | {"n_units": 50}) != expected


def test_a_phase_that_has_not_finished_names_its_command(exp: Path) -> None:
    with pytest.raises(UserError, match="expected a finished phase 1, found an unfinished one; run: bash it"):
        require_finished(exp, phase="phase 1", command="bash it")
    with pytest.raises(UserError, match="found no one"):
        require_finished(exp / "absent", phase="phase 1", command="bash it")
    mark_finished(exp, {"step": 1})
    require_finished(exp, phase="phase 1", command="bash it")


@pytest.mark.parametrize(
    ("last_step", "validated", "kept"),
    [
        (8, 4, [(4, "train"), (4, "validation"), (8, "train")]),  # killed behind a validation that was not saved
        (8, 8, [(4, "train"), (4, "validation"), (8, "train"), (8, "validation")]),
        (4, 8, [(4, "train"), (4, "validation")]),
    ],
)
def test_a_validation_that_comes_again_is_not_there_twice(
    exp: Path, last_step: int, validated: int, kept: list[tuple[int, str]]
) -> None:
    for step in (4, 8):
        append_metrics(exp, {"step": step, "train_loss": 0.5, "validating": 1})
        append_metrics(exp, {"step": step, "validation_loss": 0.4})
    cut_metrics(exp, last_step, validated)
    found = [(row["step"], "validation" if "validation_loss" in row else "train") for row in read_metrics(exp)]
    assert found == kept


def test_rows_of_a_killed_run_are_cut_at_the_step_it_resumes_from(exp: Path) -> None:
    assert read_metrics(exp) == []
    for step in (5, 10, 15):
        append_metrics(exp, {"step": step, "seconds": 0.5})
    with open(exp / "metrics.jsonl", "a") as out:
        out.write('{"step": 20, "sec')
    assert [row["step"] for row in read_metrics(exp)] == [5, 10, 15]
    cut_metrics(exp, 10, 10)
    assert (exp / "metrics.jsonl").read_text() == '{"step": 5, "seconds": 0.5}\n{"step": 10, "seconds": 0.5}\n'
