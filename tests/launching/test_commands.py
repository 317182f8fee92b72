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
    task_command,
    task_environment,
    torchrun_words,
)
from launching.job import Resources, make_job
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


def test_the_trainer_of_the_cluster_tests_is_one_that_resumes() -> None:
    """Those tests run on real engines alone, and rarely: nothing else would tell."""
    assert takes_resume(REPOSITORY / "tests" / "cluster" / "paused_trainer.py")


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


def test_a_container_stands_before_the_command_and_has_its_own_python(language_roots: dict[str, Path]) -> None:
    site = {"container": "apptainer exec --nv '/shared/oral units.sif'", "container_python": "python3"}
    script = str(REPOSITORY / "src" / "trainer_vocoder.py")
    job = make_job("x", [["src/trainer_vocoder.py", "--steps", "5"]], backend="slurm", site=site)
    prefix = ["apptainer", "exec", "--nv", "/shared/oral units.sif"]
    assert task_command(job) == [*prefix, "python3", script, "--steps", "5"]
    shell = make_job("x", [["scripts/run_phase1.sh", "satere"]], backend="slurm", site=site)
    assert task_command(shell)[:5] == [*prefix, "bash"]


def test_on_a_cluster_the_sites_own_lines_have_the_last_word(
    language_roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    job = make_job("x", [["src/x.py"]], backend="sge")
    on_node = {"PATH": "/opt/cuda/bin:/usr/bin", "BACKEND": "sge", "NPROC": "7"}
    found = task_environment(job, on_node)
    assert (found["PATH"], found["BACKEND"], found["NPROC"]) == ("/opt/cuda/bin:/usr/bin", "", "1")
    assert task_environment(job | {"backend": "local"}, on_node)["PATH"] == "/usr/bin"


def test_a_job_script_takes_as_many_gpus_as_its_job_has(
    language_roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("N_GPUS", raising=False)
    monkeypatch.setenv("EXPERIMENT", "mine")
    commands = [["scripts/train_pre.sh"]]
    found = task_environment(make_job("x", commands, backend="slurm", resources=Resources(gpus=2)))
    assert (found["N_GPUS"], found["EXPERIMENT"]) == ("2", "mine")
    assert task_environment(make_job("x", commands, backend="sge"))["N_GPUS"] == "0"
    assert "N_GPUS" not in task_environment(make_job("x", commands, backend="local"))
    monkeypatch.setenv("N_GPUS", "1")
    assert task_environment(make_job("x", commands, backend="slurm", resources=Resources(gpus=2)))["N_GPUS"] == "1"


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
