"""Command lines: what a person types, what is executed, and what resuming makes of it."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import UserError
from launching.commands import (
    check_command,
    executed_words,
    experiment_name,
    flag_value,
    resume_words,
    takes_resume,
    torchrun_words,
)
from synthetic import REPOSITORY, script_environment

RANKS = "import os\nos.write(1, f\"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}\\n\".encode())\n"
SCRIPTS = [path for path in sorted(REPOSITORY.glob("src/*.py")) if "def parse_args" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    ("flags", "resumed"),
    [
        ("--steps 5", "--steps 5 --resume auto"),
        ("--resume --steps 5", "--steps 5 --resume auto"),
        ("--steps 5 --resume", "--steps 5 --resume auto"),
        ("--resume some/latest.pt --steps 5", "--steps 5 --resume auto"),
        ("--resume=latest --overwrite", "--resume auto"),
    ],
)
def test_what_resuming_makes_of_a_command(flags: str, resumed: str) -> None:
    words = resume_words(["src/trainer_vocoder.py", *flags.split()])
    assert words == ["src/trainer_vocoder.py", *resumed.split()]
    assert resume_words(["src/build_report.py", "exp/x"]) == ["src/build_report.py", "exp/x"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_that_know_resume_are_known(path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(path.stem).parse_args(["--help"])
    assert takes_resume(path) == ("--resume" in capsys.readouterr().out)


def test_shell_scripts_that_know_resume_are_known() -> None:
    known = {
        name: takes_resume(REPOSITORY / "scripts" / f"{name}.sh") for name in ("run_phase1", "run_phase3", "run_all")
    }
    assert known == {"run_phase1": True, "run_phase3": True, "run_all": False}


def test_the_command_line_of_one_process_of_several_and_of_a_shell_script() -> None:
    script = str(REPOSITORY / "src" / "trainer_vocoder.py")
    typed = ["src/trainer_vocoder.py", "--language", "satere"]
    assert executed_words(typed, 1) == [sys.executable, script, "--language", "satere"]
    words = executed_words(typed, 2)
    assert words[1:5] == ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"] and words[5] == script
    shell = executed_words(["scripts/run_phase1.sh", "satere"], 2)
    assert shell == ["bash", str(REPOSITORY / "scripts" / "run_phase1.sh"), "satere"]


def test_a_shell_script_runs_on_one_node() -> None:
    check_command(["scripts/run_phase3.sh"], 1)
    with pytest.raises(UserError, match="one node"):
        check_command(["scripts/run_phase3.sh"], 2)


def test_two_nodes_meet_at_the_first_of_slurms_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both "nodes" are this machine; everything else is as srun would start it."""
    assert "$FIRST_NODE" in " ".join(torchrun_words(2, 2))
    monkeypatch.setenv("SLURM_JOB_ID", str(os.getpid()))
    monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu[07-09,12],login")
    assert f"--rdzv_endpoint=gpu07:{20000 + os.getpid() % 10000}" in torchrun_words(2, 2)
    monkeypatch.setenv("SLURM_JOB_NODELIST", "localhost")
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    command = [sys.executable, *torchrun_words(2, 2), str(script)]
    agents = [
        subprocess.Popen(command, env=script_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [agent.communicate(timeout=180) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], printed
    ranks = sorted(line for out, _ in printed for line in out.splitlines())
    assert ranks == [f"rank {rank} of 4" for rank in range(4)]


def test_flag_values() -> None:
    words = ["a.py", "--tag", "x", "--shard-index=3", "--last"]
    assert [flag_value(words, name) for name in ("tag", "shard_index", "last", "none")] == ["x", "3", "", ""]


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("--exp exp/mine/ --lr 1", "mine"),
        ("--exp=/vol/exp/mine", "mine"),
        ("--out-dir exp/llm", "llm"),
        ("--lr 1", ""),
        ("--exp", ""),
    ],
)
def test_the_experiment_of_a_command(flags: str, name: str) -> None:
    assert experiment_name(["src/trainer_base.py", *flags.split()]) == name
