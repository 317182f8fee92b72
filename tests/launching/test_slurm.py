"""How Slurm's answers are read; the engine itself is in tests/cluster/test_slurm.py."""

from pathlib import Path

import pytest

from launching import slurm
from launching.attempts import TaskProgress
from launching.job import Resources, make_job


def script_of(site: dict | None = None, **resources: object) -> list[str]:
    job = make_job("voice", [["src/x.py"]], backend="slurm", resources=Resources(**resources), site=site)
    return slurm.describe(job).splitlines()


def test_the_script_hands_on_what_was_asked_by_hand(language_roots: dict[str, Path]) -> None:
    by_hand = ("--qos=long", "--exclude=n3", "--mail-type=END", "--exclusive", "--gres=tmp:50G")
    lines = script_of(gpus=2, gpu_type="a100", engine_args=by_hand)
    for option in ("--qos=long", "--exclude=n3", "--mail-type=END", "--exclusive", "--gres=gpu:a100:2,tmp:50G"):
        assert lines.count(f"#SBATCH {option}") == 1, option
    assert not [line for line in lines if "wckey" in line or "gpus-per-node" in line]
    assert "#SBATCH --gres=gpu:1" in script_of(gpus=1)
    assert "#SBATCH --wckey=speech" in script_of(engine_args=("--wckey=speech",))


def test_the_sites_lines_come_after_the_jobs_variables(
    language_roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "ib0")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/cuda lib")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("http_proxy", "http://me:secret@proxy:3128")
    lines = script_of({"setup": ["module load cuda/12.1"]})
    for line in ("NCCL_SOCKET_IFNAME=ib0", "LD_LIBRARY_PATH='/opt/cuda lib'", "https_proxy=http://proxy:3128"):
        assert lines.index(f"export {line}") < lines.index("module load cuda/12.1")
    assert not [line for line in lines if "secret" in line]
    assert [line for line in lines if line.startswith("srun ") and "--export=ALL" in line]


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
