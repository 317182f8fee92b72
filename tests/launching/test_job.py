"""Jobs and their folders."""

from pathlib import Path

import pytest

from core.errors import UserError
from core.files import write_json
from core.records import Job, JobResources
from launching.job import (
    Resources,
    combine_states,
    create_folder,
    find_records,
    make_job,
    read_job,
    resources_of,
    write_job,
)
from training.experiment import open_experiment


@pytest.fixture
def exp(language_roots: dict[str, Path]) -> Path:
    return language_roots["exp"]


def test_resources_have_the_keys_of_the_record() -> None:
    """core.records gives their units, Resources their defaults."""
    assert Resources._fields == tuple(JobResources.__annotations__)


def test_a_job_reads_from_disk_as_it_was_made(exp: Path) -> None:
    resources = Resources(gpus=2, memory_gb=1.5, constraint="H100")
    job = create_folder(make_job("x", [["src/train_bpe.py", "--vocab_size", 5]], backend="sge", resources=resources))
    write_job(job)
    found = read_job(Path(job["folder"]))
    assert found == job and resources_of(found) == resources
    assert list(found) == list(Job.__annotations__) and found["commands"] == [["src/train_bpe.py", "--vocab_size", "5"]]


def test_records_are_numbered_without_gaps_or_clashes(exp: Path) -> None:
    jobs = [make_job("x", [["src/train_bpe.py"]], backend="local") for _ in range(3)]
    assert [job["number"] for job in jobs] == [1, 1, 1]
    numbers = [create_folder(job)["number"] for job in jobs]
    assert numbers == [1, 2, 3]
    with pytest.raises(UserError, match="x/4"):
        find_records("x/4")
    (exp / "plain").write_text("")
    with pytest.raises(UserError, match="EXP_ROOT must be writable"):
        create_folder(make_job("plain", [["src/train_bpe.py"]], backend="local"))


def test_overwrite_keeps_the_records_of_jobs(exp: Path) -> None:
    folder = exp / "run"
    write_json(folder / "jobs" / "001" / "job.json", {})
    flags = {"resume": None, "overwrite": True}
    assert open_experiment(folder, flags, inputs=[]) == "new"
    (folder / "checkpoints").mkdir()
    assert open_experiment(folder, flags, inputs=[]) == "new"
    assert not (folder / "checkpoints").exists() and (folder / "jobs" / "001" / "job.json").exists()
    (folder / "config.json").unlink()
    (folder / "mine.txt").touch()
    with pytest.raises(UserError, match="found other files"):
        open_experiment(folder, flags, inputs=[])


def test_the_state_of_an_array_is_that_of_its_worst_task() -> None:
    assert combine_states(["finished", "running", "failed"]) == "running"
    assert combine_states(["finished", "failed", "finished"]) == "failed"
    assert combine_states(["finished", "finished"]) == "finished"
