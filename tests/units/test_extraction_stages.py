"""Phase 1 as jobs: the commands of the stages, what the merge refuses, and that the bytes are those of one process."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pytest

import extract_units

from core.errors import UserError
from launching.extraction_jobs import extraction_stages
from synthetic import REPOSITORY, run_script
from units.extraction_stages import check_failures, finished_shards, warn_if_idle

SMALL = ("--language", "spanish", "--n_units", "12", "--n_shard_utterances", "2", "--num_workers", "1", "--quiet")
OUTPUTS = ("corpus_timestamped.json", "kmeans.npz", "kmeans.pkl")


def extract(exp: Path, *flags: object) -> Path:
    assert extract_units.main([*SMALL, "--exp", str(exp), *map(str, flags)]) == 0
    return exp


def test_some_of_what_failed_is_named_and_the_rest_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("oral_units"), "propagate", True)  # pytest may then hear a line twice
    failed = [{"id": f"clip {number}", "reason": "is silent"} for number in range(27)]
    check_failures(tmp_path, failed, n_utterances=1000, max_failed=5.0)
    named = {record.getMessage() for record in caplog.records if record.getMessage().startswith("skipped clip ")}
    assert len(named) == 20 and "… and 7 more" in caplog.text
    caplog.clear()
    check_failures(tmp_path, failed[:20], n_utterances=1000, max_failed=5.0)
    assert "more" not in caplog.text


def test_failures_stop_a_run_only_above_the_share_and_leave_nothing_that_looks_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    monkeypatch.setattr("units.extraction_stages.log.error", lambda text, *values: said.append(text % values))
    for name in ("fit", "shards"):
        (tmp_path / name).mkdir()
    for name in ("kmeans.npz", "kmeans.pkl", "config.json"):
        (tmp_path / name).touch()
    failed = [{"id": f"clip {number}", "reason": "is silent"} for number in range(3)]
    check_failures(tmp_path, failed[:2], n_utterances=40, max_failed=5.0)
    assert not said and len(list(tmp_path.iterdir())) == 5
    with pytest.raises(SystemExit) as stopped:
        check_failures(tmp_path, failed, n_utterances=40, max_failed=5.0)
    assert stopped.value.code == 3 and [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert said == [
        "error: 3 of 40 segments failed, more than --max_failed 5 %; repair the audio or the manifest, or raise it"
    ]


def test_many_shards_that_are_missing_are_named_in_part(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    settings = {"n_shard_utterances": 2, "max_failed": 5.0}
    for n_shards, rest in ((8, ""), (9, ", …")):
        named = ", ".join(f"{index:04d} is missing" for index in range(8))
        for n_jobs in (1, 20):
            with pytest.raises(UserError) as refused:
                finished_shards(tmp_path, "shards", {}, n_utterances=2 * n_shards - 1, n_jobs=n_jobs, **settings)
            again = [f"after --stage assign --shards {n_jobs} --shard_index {job}" for job in range(min(8, n_jobs))]
            assert str(refused.value) == (
                f"{tmp_path / 'shards'}: expected {n_shards} finished shards of this run, found {n_shards} that are "
                f"not ({named}{rest}); run again, {', '.join(again)}"
            )
    assert finished_shards(tmp_path, "shards", {}, n_utterances=0, n_jobs=1, **settings) == ([], [])


@pytest.mark.parametrize(("n_utterances", "job", "idle"), [(4, 1, False), (4, 2, True), (5, 2, False), (0, 0, True)])
def test_a_job_behind_the_last_shard_has_nothing_to_do(
    monkeypatch: pytest.MonkeyPatch, n_utterances: int, job: int, idle: bool
) -> None:
    said = []
    monkeypatch.setattr("units.extraction_stages.log.warning", lambda text, *values: said.append(text % values))
    warn_if_idle(n_utterances, 2, job=job, n_jobs=9)
    line = f"nothing to do for job {job} of 9: {n_utterances} segments, --n_shard_utterances 2 at a time"
    assert said == [line] * idle


def contents(exp: Path) -> dict[str, bytes]:
    return {name: (exp / name).read_bytes() for name in OUTPUTS}


def run_stages(exp: Path, n_shards: int, *flags: object, until: str = "") -> Path:
    """Every job in this process, those of an array in reverse; ``until`` is the stage before which to stop."""
    stages = extraction_stages(["src/extract_units.py", *SMALL, "--exp", str(exp), *map(str, flags)], n_shards)
    for commands in stages:
        if until and until in commands[0]:
            break
        for command in reversed(commands):
            assert extract_units.main(command[1:]) == 0
    return exp


def test_stages_are_the_command_with_their_part_added() -> None:
    typed = ["src/extract_units.py", "--language", "satere", "--kmeans_frames", "100"]
    stages = extraction_stages(typed, 2)
    assert [len(commands) for commands in stages] == [2, 1, 2, 1]
    assert all(command[: len(typed)] == typed for commands in stages for command in commands)
    parts = [[" ".join(command[len(typed) :]) for command in commands] for commands in stages]
    assert parts[0] == [f"--stage sample --shards 2 --shard_index {index}" for index in (0, 1)]
    assert parts[1] == ["--stage fit --shards 2"]
    assert parts[2] == [f"--stage assign --shards 2 --shard_index {index}" for index in (0, 1)]
    assert parts[3] == ["--stage merge --shards 2"]
    assert [len(commands) for commands in extraction_stages([*typed, "--kmeans=k.npz"], 3)] == [1, 3, 1]


@pytest.mark.parametrize("flag", ["--overwrite", "--shard-index=3", "--stage", "--shards"])
def test_commands_that_are_a_part_already_are_refused(flag: str) -> None:
    with pytest.raises(UserError, match="all of phase 1"):
        extraction_stages(["src/extract_units.py", flag], 2)


def test_no_shards_are_refused() -> None:
    with pytest.raises(UserError, match="--shards 0: expected a number above 0"):
        extraction_stages(["src/extract_units.py"], 0)


@pytest.mark.parametrize("n_shards", [1, 3, 8])
def test_stages_give_the_bytes_of_one_process(tiny_language: dict, tmp_path: Path, n_shards: int) -> None:
    """Ten segments in shards of two: among 8 jobs some have nothing to do."""
    expected = contents(extract(tmp_path / "whole"))
    exp = run_stages(tmp_path / "parts", n_shards)
    assert contents(exp) == expected
    assert json.loads((exp / "finished.json").read_text()) == json.loads((tmp_path / "whole/finished.json").read_text())
    assert sorted(path.name for path in exp.iterdir()) == sorted(
        [*OUTPUTS, "config.json", "finished.json", "train.log"]
    )


def test_stages_of_a_pretrained_encoder(tiny_language: dict, tiny_xlsr: Path, tmp_path: Path) -> None:
    """Features that the samplers left for use as they are serve the assigners of other jobs too."""
    flags = ("--encoder", tiny_xlsr, "--layer", 2, "--cpu", "--n_streams", 2)
    assert contents(run_stages(tmp_path / "parts", 3, *flags)) == contents(extract(tmp_path / "whole", *flags))


def test_stages_with_given_clusters(tiny_language: dict, tmp_path: Path) -> None:
    first = extract(tmp_path / "first")
    flags = ("--kmeans", first / "kmeans.npz")
    exp = run_stages(tmp_path / "parts", 3, *flags)
    assert contents(exp)["corpus_timestamped.json"] == contents(first)["corpus_timestamped.json"]


def test_one_process_goes_on_from_the_stages(tiny_language: dict, tmp_path: Path) -> None:
    expected = contents(extract(tmp_path / "whole"))
    exp = run_stages(tmp_path / "parts", 3, until="merge")
    assert len([*(exp / "shards").iterdir()]) == 10  # results and records of 5 shards
    (exp / "shards/0002.jsonl").unlink()
    extract(exp, "--resume", "auto")
    assert contents(exp) == expected


def test_a_missing_shard_is_named_and_its_job_run_again_alone(tiny_language: dict, tmp_path: Path) -> None:
    expected = contents(extract(tmp_path / "whole"))
    exp = run_stages(tmp_path / "parts", 3, until="merge")
    (exp / "shards/0001.jsonl").unlink()
    (exp / "shards/0004.record.json").unlink()
    with pytest.raises(
        UserError, match=r"0001 is missing, 0004 is missing.* --stage assign --shards 3 --shard_index 1"
    ):
        extract(exp, "--stage", "merge", "--shards", 3)
    assert not (exp / "corpus_timestamped.json").exists()
    others = {path: path.stat().st_mtime_ns for path in (exp / "shards").glob("000[023]*")}
    extract(exp, "--stage", "assign", "--shards", 3, "--shard_index", 1)
    assert {path: path.stat().st_mtime_ns for path in others} == others
    extract(exp, "--stage", "merge", "--shards", 3)
    assert contents(exp) == expected
    for stage in ("sample", "fit", "assign", "merge"):  # late repetitions change nothing
        extract(exp, "--stage", stage, "--shards", 3, "--shard_index", 0)
    assert contents(exp) == expected


def test_a_stage_refuses_what_the_one_before_left_undone(tiny_language: dict, tmp_path: Path) -> None:
    exp = tmp_path / "parts"
    with pytest.raises(UserError, match="run --stage fit first"):
        extract(exp, "--stage", "assign", "--shards", 2, "--shard_index", 0)
    extract(exp, "--stage", "sample", "--shards", 2, "--shard_index", 0)
    with pytest.raises(UserError, match=r"0001 is missing.*--stage sample --shards 2 --shard_index 1"):
        extract(exp, "--stage", "fit", "--shards", 2)


def copy_shard(source: Path, target: Path, name: str = "0001") -> None:
    for path in (source / "shards").glob(f"{name}.*"):
        shutil.copy2(path, target / "shards" / path.name)


def take_from_another_configuration(exp: Path, other: Path, data: Path) -> None:
    copy_shard(run_stages(other, 3, "--seed", 1, until="merge"), exp)


def take_from_another_fit(exp: Path, other: Path, data: Path) -> None:
    """The same flags, but the clusters were fitted on something else."""
    run_stages(other, 3, until="assign")
    with np.load(other / "kmeans.npz") as arrays:
        moved = {name: arrays[name] + 1 if name == "centroids" else arrays[name] for name in arrays.files}
    np.savez(other / "kmeans.npz", **moved)
    copy_shard(run_stages(other, 3, until="merge"), exp)


def take_from_another_manifest(exp: Path, other: Path, data: Path) -> None:
    manifest = data / "spanish/segments.jsonl"
    kept = manifest.read_text()
    manifest.write_text("".join(reversed(kept.splitlines(keepends=True))))
    copy_shard(run_stages(other, 3, until="merge"), exp)
    manifest.write_text(kept)


def take_more_than_there_are(exp: Path, other: Path, data: Path) -> None:
    for path in (exp / "shards").glob("0001.*"):
        shutil.copy2(path, path.with_name(path.name.replace("0001", "0005")))


def change_a_byte(exp: Path, other: Path, data: Path) -> None:
    path = exp / "shards/0001.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"durations":[', b'"durations":[1', 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (take_from_another_configuration, "0001 is foreign: of another configuration and another kmeans"),
        (take_from_another_fit, r"0001 is foreign: of another kmeans\)"),
        (take_from_another_manifest, "0001 is foreign: of another.* manifest"),
        (take_more_than_there_are, r"0005 is foreign: there are 5 shards\); run again, after deleting"),
        (change_a_byte, "0001 is damaged"),
    ],
)
def test_the_merge_refuses_foreign_and_damaged_shards(
    tiny_language: dict, tmp_path: Path, change: Callable[[Path, Path, Path], None], message: str
) -> None:
    exp = run_stages(tmp_path / "parts", 3, until="merge")
    change(exp, tmp_path / "other", tiny_language["data"])
    with pytest.raises(UserError, match=message):
        extract(exp, "--stage", "merge", "--shards", 3)
    assert not (exp / "corpus_timestamped.json").exists()
    if change is take_more_than_there_are:
        return
    extract(exp, "--stage", "assign", "--shards", 3, "--shard_index", 1)
    extract(exp, "--stage", "merge", "--shards", 3)
    assert contents(exp) == contents(extract(tmp_path / "whole"))


def test_jobs_of_an_array_leave_each_others_temporary_files(tiny_language: dict, tmp_path: Path) -> None:
    exp = run_stages(tmp_path / "parts", 3, until="assign")
    (exp / "shards").mkdir()
    being_written = exp / "shards/.0002.jsonl.17.tmp"
    being_written.touch()
    extract(exp, "--stage", "assign", "--shards", 3, "--shard_index", 0)
    assert being_written.exists()
    for index in (1, 2):
        extract(exp, "--stage", "assign", "--shards", 3, "--shard_index", index)
    record = exp / "jobs" / "004" / ".record.json.17.tmp"  # of the launcher, which is not done with it
    record.parent.mkdir(parents=True)
    record.touch()
    extract(exp, "--stage", "merge", "--shards", 3)
    assert list(exp.rglob("*.tmp")) == [record]


@pytest.mark.parametrize(
    ("variable", "number", "index"),
    [("SLURM_ARRAY_TASK_ID", "2", 2), ("SGE_TASK_ID", "3", 2), ("SGE_TASK_ID", "undefined", None)],
)
def test_the_place_in_an_array(monkeypatch: pytest.MonkeyPatch, variable: str, number: str, index: int | None) -> None:
    for name in ("SLURM_ARRAY_TASK_ID", "SGE_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, number)
    flags = [*SMALL, "--stage", "assign", "--shards", "3"]
    if index is None:
        with pytest.raises(UserError, match="--shard_index: expected which shard"):
            extract_units.parse_args(flags)
    else:
        assert extract_units.parse_args(flags).shard_index == index
        assert extract_units.parse_args([*flags, "--shard_index", "0"]).shard_index == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shards", "3"], "expected --stage with it"),
        (["--shard_index", "0"], "expected --stage with it"),
        (["--stage", "assign", "--shards", "3", "--shard_index", "3"], "expected 0 to 2"),
        (["--stage", "assign", "--shards", "0"], "above 0"),
        (["--stage", "sample", "--overwrite"], "delete the work of the others"),
    ],
)
def test_parts_that_make_no_sense_are_refused(flags: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        extract_units.parse_args([*SMALL, *flags])


def test_the_scripts_error_names_the_job(tiny_language: dict, tmp_path: Path) -> None:
    exp = run_stages(tmp_path / "parts", 2, until="merge")
    (exp / "shards/0003.jsonl").unlink()
    failed = run_script("src/extract_units.py", *SMALL, "--exp", exp, "--stage", "merge", "--shards", 2, code=2)
    assert failed.stderr.splitlines()[-1].startswith(f"error: {exp / 'shards'}: expected 5 finished shards")
    assert str(REPOSITORY) not in failed.stderr.splitlines()[-1]
