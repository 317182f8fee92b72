"""Scripts in processes of their own: started, watched, killed. They share one import of torch, which takes seconds."""

import importlib
import json
import multiprocessing
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from core.cli import run_main

REPOSITORY = Path(__file__).resolve().parents[1]
TIMEOUT = 240  # seconds; a tiny run takes some two, a busy machine ten times as long
_server = multiprocessing.get_context("forkserver")
# The first optimizer of a process imports torch._dynamo, which takes longer than a tiny run.
_server.set_forkserver_preload(["torch._dynamo", "trainer_vocoder", "synthesize", "trainer_runs"])


# What is read when Python or a library starts, and so would come too late in a copy of a started process.
READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "OMP_", "MKL_", "HF_", "HOME", "PATH", "TMPDIR", "TQDM_")


def can_share_imports(changed: Mapping[str, str]) -> bool:
    """Whether a script with these variables ``changed`` behaves the same in a copy of a process that has started."""
    return not any(name.startswith(READ_AT_START) for name in changed if name != "PYTHON_EXEC")


def run_copy(words: Sequence[str], environment: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess:
    """What ``subprocess.run([python, *words])`` gives as text, in a copy of the shared process."""
    with tempfile.TemporaryDirectory(prefix="oral_units_screen_") as folder:
        screens = [Path(folder, name) for name in ("stdout", "stderr")]
        process = start_copy(_run_shown_in, [str(screen) for screen in screens], list(words), dict(environment))
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, timeout, screens[0].read_text())
        texts = [screen.read_text() for screen in screens]
        return subprocess.CompletedProcess(words, process.exitcode, *texts)


def _run_shown_in(screens: list[str], words: list[str], environment: dict[str, str]) -> None:
    for number, screen in enumerate(screens, 1):
        os.dup2(os.open(screen, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    run_words(words, environment)


def run_words(words: list[str], environment: dict[str, str]) -> None:
    """Be ``python <words…>``: a file, or ``-m`` or ``-c`` with what follows. PYTHON_EXEC is the Python it starts."""
    os.environ.clear()
    os.environ.update(environment)
    sys.executable = environment.get("PYTHON_EXEC", sys.executable)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    code = 0
    try:
        if words[0] == "-c":
            sys.argv, sys.path[0] = ["-c", *words[2:]], ""
            exec(words[1], {"__name__": "__main__"})  # noqa: S102
        elif words[0] == "-m":
            sys.argv, sys.path[0] = words[1:], os.getcwd()
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = words, str(Path(words[0]).parent)
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as leaving:
        code = leaving.code
    sys.exit(code)


def start_script(
    module: str, flags: Sequence[object], *, roots: Path, output: Path, environment: dict[str, str] | None = None
) -> BaseProcess:
    """Run ``module.main`` with ``flags`` as a person would: data and exp in ``roots``, the screen in ``output``."""
    words = [str(flag) for flag in flags]
    return start_copy(_run, module, words, str(roots), str(output), environment or {})


def start_copy(target: Callable, *arguments: object) -> BaseProcess:
    """A process of the shared server, which begins with the first of them, under the variables that it needs."""
    inherited = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TQDM_DISABLE": "1"}
    inherited["PYTHONPATH"] = f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY / 'tests'}"
    before = {name: os.environ.get(name) for name in inherited}
    os.environ.update(inherited)
    try:
        process = _server.Process(target=target, args=arguments)
        process.start()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return process


def start_ranks(module: str, flags: Sequence[object], n_ranks: int, *, roots: Path) -> list[tuple[BaseProcess, Path]]:
    """``n_ranks`` processes with the variables that torchrun sets, each with the file of its screen."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    started = []
    for rank in range(n_ranks):
        variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": n_ranks, "LOCAL_WORLD_SIZE": n_ranks}
        variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {name: str(value) for name, value in variables.items()}
        output = roots / f"screen_{time.monotonic_ns()}_rank{rank}.txt"
        started.append((start_script(module, flags, roots=roots, output=output, environment=environment), output))
    return started


def _run(module: str, flags: list[str], roots: str, output: str, environment: dict[str, str]) -> None:
    screen = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(screen, 1)
    os.dup2(screen, 2)
    os.environ.update({"DATA_ROOT": f"{roots}/data", "EXP_ROOT": f"{roots}/exp", "TQDM_DISABLE": "1", "TAG": ""})
    os.environ.update(environment)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background
    sys.argv = [module, *flags]
    run_main(importlib.import_module(module).main)


def run_to_end(module: str, flags: Sequence[object], *, roots: Path, code: int = 0) -> str:
    """Run to the end, check the exit code, and return what stood on the screen."""
    output = roots / f"screen_{time.monotonic_ns()}.txt"
    process = start_script(module, flags, roots=roots, output=output)
    process.join(TIMEOUT)
    assert process.exitcode == code, f"exit code {process.exitcode}, expected {code}\n{output.read_text()}"
    return output.read_text()


def run_until(module: str, flags: Sequence[object], *, roots: Path, exp: Path, step: int, number: int) -> int:
    """Send signal ``number`` once ``metrics.jsonl`` has reached ``step``; returns the exit code."""
    output = roots / f"screen_{time.monotonic_ns()}.txt"
    process = start_script(module, flags, roots=roots, output=output)
    give_up = time.monotonic() + TIMEOUT
    while process.is_alive() and time.monotonic() < give_up:
        if max((row["step"] for row in metrics(exp)), default=0) >= step:
            os.kill(process.pid, number)
            break
        time.sleep(0.002)
    process.join(TIMEOUT)
    assert process.exitcode in (0, 99, -signal.SIGKILL), output.read_text()
    return process.exitcode


def run_until_stopped(
    module: str, flags: Sequence[object], *, roots: Path, exp: Path, step: int, number: int, tries: int = 5
) -> int:
    """``run_until``, begun anew where the run was over before the signal came: steps are short, machines are busy."""
    for _ in range(tries):
        code = run_until(module, flags, roots=roots, exp=exp, step=step, number=number)
        if code != 0:
            return code
        shutil.rmtree(exp)
    return 0


def metrics(exp: Path) -> list[dict]:
    """Rows of metrics.jsonl; a line that is being written is left out."""
    path = exp / "metrics.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def load(exp: Path, name: str) -> dict:
    return torch.load(exp / "checkpoints" / f"{name}.pt", weights_only=True)
