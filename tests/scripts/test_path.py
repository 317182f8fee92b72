import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from check_environment import compute_stamp, find_unmet, read_requirements

from synthetic import REPOSITORY

SHELLS = [
    pytest.param(shell, marks=pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed"))
    for shell in ("bash", "zsh")
]
# What a user's shell or a scheduler may have set, and path.sh reads or sets.
VARIABLES = (
    *("VIRTUAL_ENV", "CONDA_PREFIX", "ORAL_UNITS_VENV", "PYTHONPATH", "HF_HOME", "DATA_ROOT", "EXP_ROOT"),
    *("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"),
    *("SLURM_JOB_ID", "SLURM_JOBID", "PBS_JOBID", "LSB_JOBID", "MODAL_TASK_ID", "JOB_ID", "SGE_TASK_ID"),
)
IMPOSSIBLE = "oral-units-no-such-package"


def make_repository(folder: Path, *requirements: str) -> Path:
    """path.sh and what it calls, in a repository that asks for little, so that installing takes seconds."""
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(REPOSITORY / "path.sh", folder)
    for name in ("make_environment.sh", "check_environment.py", "check_pythonpath.py"):
        shutil.copy(REPOSITORY / "scripts" / name, folder / "scripts")
    write_requirements(folder, *requirements)
    (folder / "constraints.txt").write_text("# nothing\n")
    return folder


def write_requirements(folder: Path, *requirements: str, settings: str = "") -> None:
    lines = f"[project]\ndependencies = {list(requirements)}\n[project.optional-dependencies]\ndev = []\n{settings}"
    (folder / "pyproject.toml").write_text(lines)


def user_environment(**variables: str) -> dict[str, str]:
    """This environment as a fresh shell has it, with pip kept from any index."""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return kept | {"PIP_NO_INDEX": "1"} | variables


def run_shell(shell: str, text: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [shell, "-c", text], check=False, env=user_environment(**variables), capture_output=True, text=True, cwd="/"
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose environment is installed, in a folder with a space."""
    folder = make_repository(tmp_path_factory.mktemp("path") / "oral units")
    done = run_shell("bash", f"source '{folder}/path.sh'")
    assert done.returncode == 0, done.stderr
    assert "installing" in done.stderr
    return folder


@pytest.mark.parametrize("shell", SHELLS)
def test_sets_the_shell_up_twice_under_strict_options(repository: Path, shell: str) -> None:
    done = run_shell(
        shell,
        f"""
        set -eu; set -o pipefail; reply=mine; prefix=mine
        switches=$(set +o); known=$(typeset -f)
        source '{repository}/path.sh'; source '{repository}/path.sh'
        [ "$switches" = "$(set +o)" ] && [ "$known" = "$(typeset -f)" ] && [ "$reply$prefix" = minemine ]
        command -v python
        printf '%s\\n' "$PYTHONPATH" "$HF_HOME" "$DATA_ROOT" "$EXP_ROOT" "$VIRTUAL_ENV"
        echo "$HF_HUB_OFFLINE$TRANSFORMERS_OFFLINE$HF_DATASETS_OFFLINE"
        source '{repository}/path.sh' 0
        echo "$HF_HUB_OFFLINE$TRANSFORMERS_OFFLINE$HF_DATASETS_OFFLINE"
        echo "$PATH" | tr : '\\n' | grep -c '^{repository}/.venv/bin$'
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"{repository}/.venv/bin/python",
        f"{repository}/src",
        f"{repository}/.cache/huggingface",
        f"{repository}/data",
        f"{repository}/exp",
        f"{repository}/.venv",
        "111",
        "000",
        "1",
    ]


@pytest.mark.parametrize("shell", SHELLS)
def test_keeps_what_the_user_has_set(repository: Path, shell: str) -> None:
    mine = {"HF_HOME": "/mine/hf", "DATA_ROOT": "/mine/data", "EXP_ROOT": "/mine/exp", "PYTHONPATH": "/mine/lib:/other"}
    done = run_shell(
        shell,
        f"source '{repository}/path.sh'; source '{repository}/path.sh'; "
        'printf "%s\\n" "$HF_HOME" "$DATA_ROOT" "$EXP_ROOT" "$PYTHONPATH"',
        **mine,
    )
    assert done.stdout.splitlines() == ["/mine/hf", "/mine/data", "/mine/exp", f"{repository}/src:/mine/lib:/other"]


def test_a_modules_packages_do_not_hide_the_environments(repository: Path, tmp_path: Path) -> None:
    # The tiny environment holds pip alone; json is Python's own.
    (tmp_path / "packages" / "pip").mkdir(parents=True)
    (tmp_path / "packages" / "pip" / "__init__.py").write_text("raise ImportError('the wrong one')\n")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "json.py").write_text("raise ImportError('the wrong one')\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_helpers.py").touch()
    before = ":".join(str(tmp_path / name) for name in ("packages", "mine", "old"))
    text = f"source '{repository}/path.sh' && python -c 'import json, pip, my_helpers' && echo \"$PYTHONPATH\""
    done = run_shell("bash", text, PYTHONPATH=before)
    assert done.stdout == f"{repository}/src:{tmp_path}/mine\n", done.stderr
    said = done.stderr.splitlines()
    assert len(said) == 2 and f"{tmp_path}/packages hides the environment's pip;" in said[0]
    assert f"{tmp_path}/old hides the environment's json;" in said[1]


@pytest.mark.parametrize("shell", SHELLS)
def test_python_reads_utf8_in_any_locale(repository: Path, shell: str) -> None:
    text = f"source '{repository}/path.sh'; python -c 'import sys; print(sys.flags.utf8_mode, sys.argv)' Сказка"
    for variables in ({"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "POSIX"}, {"LC_ALL": "none_such"}):
        assert run_shell(shell, text, **variables).stdout == "1 ['-c', 'Сказка']\n"


def test_arguments_of_a_calling_script_are_not_taken_for_its_own(repository: Path, tmp_path: Path) -> None:
    script = tmp_path / "caller.sh"
    script.write_text(f"source '{repository}/path.sh'\necho $HF_HUB_OFFLINE $1\n")
    done = run_shell("bash", f"bash '{script}' spanish")
    assert done.stdout == "1 spanish\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_an_error_is_one_line_and_leaves_the_shell_alive(tmp_path: Path, shell: str) -> None:
    folder = make_repository(tmp_path / "repository", IMPOSSIBLE)
    text = f"source '{folder}/path.sh'; echo alive $?; typeset -f; echo ${{VIRTUAL_ENV:-none}}${{DATA_ROOT:-none}}"
    done = run_shell(shell, text, SLURM_JOB_ID="1")
    assert done.stdout == "alive 1\nnonenone\n"
    assert len(done.stderr.splitlines()) == 1


def test_a_failed_install_is_not_finished(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "repository", IMPOSSIBLE)
    done = run_shell("bash", f"source '{folder}/path.sh'; echo alive $?")
    assert done.stdout == "alive 1\n"
    assert IMPOSSIBLE in done.stderr.splitlines()[-1]
    assert not (folder / ".venv" / "oral_units.stamp").exists()


def test_a_plain_run_says_to_source_it(repository: Path) -> None:
    done = run_shell("bash", f"bash '{repository}/path.sh'")
    assert done.returncode == 1
    assert "source path.sh" in done.stderr


def test_an_interrupted_install_starts_over(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "repository")
    command = ["bash", str(folder / "scripts" / "make_environment.sh")]
    running = subprocess.Popen(command, env=user_environment(), stderr=subprocess.DEVNULL, start_new_session=True)
    while not (folder / ".venv" / "bin").exists():
        assert running.poll() is None, "it ended before it installed anything; is the disk full?"
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (folder / ".venv" / "oral_units.stamp").exists()
    done = subprocess.run(command, check=False, env=user_environment(), capture_output=True, text=True)
    assert done.returncode == 0
    assert "interrupted" in done.stderr
    assert done.stdout == f"{folder}/.venv\n"
    assert (folder / ".venv" / "oral_units.stamp").exists()


def test_two_at_once_install_once(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "repository")
    command = ["bash", str(folder / "scripts" / "make_environment.sh")]
    both = [
        subprocess.Popen(command, env=user_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert [out for out, _ in outputs] == [f"{folder}/.venv\n"] * 2
    assert sum("installing the tested set" in errors for _, errors in outputs) == 1


def test_a_file_system_without_locks_is_installed_on(tmp_path: Path, without_locks: dict[str, str]) -> None:
    folder = make_repository(tmp_path / "repository")
    done = run_shell("bash", f"source '{folder}/path.sh' && echo done", **without_locks)
    assert done.stdout == "done\n", done.stderr
    assert "has no locks" in done.stderr and "waiting" not in done.stderr


def test_a_folder_of_another_hand_is_moved_aside_not_deleted(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "repository")
    (folder / ".venv").mkdir()
    (folder / ".venv" / "precious").write_text("kept")
    done = run_shell("bash", f"source '{folder}/path.sh' && command -v python")
    assert done.stdout == f"{folder}/.venv/bin/python\n"
    assert [path.read_text() for path in folder.glob(".venv.aside.*/precious")] == ["kept"]


@pytest.mark.parametrize("job", [{"SLURM_JOB_ID": "1"}, {"JOB_ID": "1", "SGE_TASK_ID": "undefined"}])
def test_a_job_on_a_cluster_node_installs_nothing(tmp_path: Path, job: dict[str, str]) -> None:
    folder = make_repository(tmp_path / "repository", IMPOSSIBLE)
    done = run_shell("bash", f"source '{folder}/path.sh'; echo alive $?", **job)
    assert done.stdout == "alive 1\n"
    assert "login node" in done.stderr
    assert not (folder / ".venv").exists()


def test_a_cluster_node_uses_an_older_finished_environment(repository: Path) -> None:
    constraints = repository / "constraints.txt"
    before = constraints.read_text()
    constraints.write_text("numpy==1.0\n")
    done = run_shell("bash", f"source '{repository}/path.sh' && command -v python", SLURM_JOB_ID="1")
    constraints.write_text(before)
    assert done.stdout == f"{repository}/.venv/bin/python\n"
    assert done.stderr == ""


@pytest.mark.skipif(not Path(sys.prefix, "bin", "python").exists(), reason="this Python has no bin/python")
@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_that_satisfies_is_used(tmp_path: Path, variable: str) -> None:
    folder = make_repository(tmp_path / "repository", "numpy>=2", "tqdm")
    done = run_shell("bash", f"source '{folder}/path.sh' && command -v python", **{variable: sys.prefix})
    assert done.stdout == f"{sys.prefix}/bin/python\n"
    assert not (folder / ".venv").exists()
    write_requirements(folder, "numpy>=999")
    done = run_shell("bash", f"source '{folder}/path.sh'", SLURM_JOB_ID="1", **{variable: sys.prefix})
    assert done.returncode == 1
    assert "login node" in done.stderr


def test_a_machine_without_a_new_python_is_told_what_to_install(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "repository")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "cat", "mkdir", "flock", "awk", "sed", "head", "grep"):
        (tools / name).symlink_to(shutil.which(name))
    (tools / "python3").write_text("#!/bin/bash\necho Python 3.8.10\nexit 1\n")
    (tools / "python3").chmod(0o755)
    done = run_shell(shutil.which("bash"), f"source '{folder}/path.sh'; echo alive $?", PATH=str(tools))
    assert done.stdout == "alive 1\n"
    assert "Python >= 3.11" in done.stderr
    assert "apt-get install" in done.stderr


def test_stamp_follows_the_requirements_only(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "repository", "numpy>=2")
    before = compute_stamp(folder)
    write_requirements(folder, "numpy>=2", settings="[tool.ruff]\nline-length = 80\n")
    assert compute_stamp(folder) == before
    (folder / "constraints.txt").write_text("numpy==2.0\n")
    assert compute_stamp(folder) != before
    write_requirements(folder, "numpy>=2.1")
    assert read_requirements(folder) == ["numpy>=2.1"]


def test_unmet_requirements_are_named() -> None:
    lines = ["numpy>=2", "numpy>=999", IMPOSSIBLE, "pywin32; sys_platform == 'win32'"]
    unmet = find_unmet(lines)
    assert [line.split(" (")[0] for line in unmet] == ["numpy>=999", IMPOSSIBLE]


def test_tested_set_satisfies_the_ranges() -> None:
    """constraints.txt holds a version inside the range of every requirement of pyproject.toml."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    tested = {canonicalize_name(name): version for name, version in tested.items()}
    for line in read_requirements(REPOSITORY):
        requirement = Requirement(line)
        assert requirement.specifier.contains(tested[canonicalize_name(requirement.name)]), line
