"""How Slurm's answers are read; the engine itself is in tests/cluster/test_slurm.py."""

import pytest

from launching import slurm
from launching.attempts import TaskProgress


def test_the_state_of_a_task_is_read_from_slurms_words() -> None:
    lines = "17_0|RUNNING\n17_1|CANCELLED by 0\n17_[2-3,5,...%2]|PENDING\n18|OUT_OF_MEMORY\n19|COMPLETED\n"
    found = {"17_0": "RUNNING", "17_1": "CANCELLED", "17_": "PENDING", "18": "OUT_OF_MEMORY", "19": "COMPLETED"}
    assert slurm._states(lines) == found
    assert slurm._states(f"| Welcome | 3 | jobs |\na|b|c\n{lines}***|***\n") == found
    numbers = ("17_1", "17_4", "18", "19", "20")
    states = [slurm._task_state(number, TaskProgress(), found, cancelled=False) for number in numbers]
    assert states == ["cancelled", "pending", "failed", "finished", "unknown"]
    started = TaskProgress("started")
    assert slurm._task_state("17_4", started, found, cancelled=False) == "requeued"


def test_a_jobs_number_is_read_by_its_place() -> None:
    said = "your job 3 of 100 today\nSubmitted batch job 4711 on cluster c2\nsee job 5"
    assert slurm.read_number(said) == slurm.read_number(said.encode()) == "4711"


@pytest.mark.parametrize(
    ("progress", "cancelled", "expected"),
    [
        (TaskProgress("started"), False, "unknown"),
        (TaskProgress("started"), True, "cancelled"),
        (TaskProgress("ended", 0), True, "finished"),
        (TaskProgress("ended", 99), True, "cancelled"),
        (TaskProgress("ended", 3), False, "failed"),
    ],
)
def test_a_task_that_slurm_has_forgotten_is_told_by_its_attempts(
    progress: TaskProgress, cancelled: bool, expected: str
) -> None:
    assert slurm._task_state("17", progress, {}, cancelled=cancelled) == expected
