"""A real Grid Engine of one node, from Debian's packages, in a folder of its own: nothing in /etc, no systemd.

It counts four GPUs that are not there (complex ``gpu``, once a job), has the parallel environment ``smp``, and looks
for work every second.
"""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

from engines import ask, free_ports, wait_until, why_not

PACKAGES = ("gridengine-master", "gridengine-exec", "gridengine-client", "msmtp-mta")  # the last one instead of exim
DAEMONS = Path("/usr/lib/gridengine")
STATE = Path("/var/lib/gridengine")
DEFAULTS = Path("/usr/share/gridengine")
N_SLOTS, N_GPUS = 8, 4
# Between USR1 and a suspension, or USR2 and KILL. A busy machine takes more than 20 s to save and leave; a job that is
# not gone by then is stopped, and stays so until somebody resumes it.
NOTIFY_SECONDS = 600
STOP_SECONDS = 20
_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)


def why_no_grid_engine() -> str | None:
    """Installs it where it is missing; None where it is there then, else the reason to skip."""
    if os.geteuid() == 0 and shutil.which("debconf-set-selections"):
        answer = "gridengine-common shared/gridengineconfig boolean false\n"  # a cell is made here, not in /var
        subprocess.run(["debconf-set-selections"], input=answer, text=True, check=False)
    return why_not(PACKAGES)


@contextlib.contextmanager
def running_grid_engine(folder: Path) -> Iterable[dict[str, str]]:
    """Starts Grid Engine in ``folder`` (empty, its path short); yields the variables that its clients need."""
    ports = free_ports(2)
    env = {"SGE_ROOT": str(folder / "root"), "SGE_CELL": "default"}
    env |= {"SGE_QMASTER_PORT": str(ports[0]), "SGE_EXECD_PORT": str(ports[1])}
    _make_cell(folder, env)
    with contextlib.ExitStack() as daemons:
        daemons.enter_context(_daemon(folder, "sge_qmaster", env))
        wait_until(lambda: ask("qconf", "-sh", env=env), "the master of Grid Engine")
        _configure(folder, env)
        daemons.enter_context(_daemon(folder, "sge_execd", env))
        wait_until(lambda: _is_ready(env), "a node of Grid Engine")
        daemons.callback(_empty_queue, env)
        yield env


def accounts(env: dict[str, str], number: str) -> list[tuple[str, str]]:
    """(failed, exit_status) of every attempt that the accounts know; written a moment after its end."""
    text = ask("qacct", "-j", number, env=env)
    return list(zip(re.findall(r"^failed +(\d+)", text, re.M), re.findall(r"^exit_status +(\d+)", text, re.M)))


def wait_for_last_attempt(env: dict[str, str], number: str, seconds: float) -> list[tuple[str, str]]:
    """The accounts of a job once its last attempt stands in them: the one that did not ask for another with 99."""

    def read() -> list[tuple[str, str]]:
        found = accounts(env, number)
        return found if found and found[-1][1] != "99" else []

    return wait_until(read, f"the end of job {number}", seconds)


def _host() -> str:
    return socket.gethostname().split(".")[0]


def _make_cell(folder: Path, env: dict[str, str]) -> None:
    """The tree below SGE_ROOT: programs linked from the packages, the cell's settings, the database."""
    root, spool = folder / "root", folder / "spool"
    common = root / "default" / "common"
    for path in (common, folder / "log", spool / "database", spool / "qmaster" / "job_scripts", spool / "execd"):
        path.mkdir(parents=True)
    folder.chmod(0o755)
    for name in ("bin", "lib", "utilbin"):
        (root / name).symlink_to(STATE / name)
    (root / "util").symlink_to(DEFAULTS / "util")
    places = {"admin_user": "none", "spooling_params": spool / "database", "qmaster_spool_dir": spool / "qmaster"}
    (common / "bootstrap").write_text(_replaced(DEFAULTS / "default-bootstrap", places))
    (common / "act_qmaster").write_text(f"{_host()}\n")
    (common / "host_aliases").write_text(f"{_host()} localhost\n")  # the name may stand for 127.0.0.1
    settings = {
        "execd_spool_dir": spool / "execd",
        "mailer": "/bin/true",
        "min_uid": 0,  # root may submit
        "min_gid": 0,
        "load_report_time": "00:00:05",
        "reporting_params": "accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=00:00:00 "
        "joblog=false sharelog=00:00:00",
    }
    (folder / "configuration").write_text(_replaced(DEFAULTS / "default-configuration", settings))
    _fill_database(folder, spool / "database", env)


def _replaced(path: Path, values: dict[str, object]) -> str:
    """The lines of a "name value" file with some values changed."""
    lines = path.read_text().splitlines()
    return _replace_lines(lines, values)


def _replace_lines(lines: Iterable[str], values: dict[str, object]) -> str:
    names = [(line, line.split()[0] if line.split() else "") for line in lines]
    return "".join(f"{name} {values[name]}\n" if name in values else f"{line}\n" for line, name in names)


def _fill_database(folder: Path, database: Path, env: dict[str, str]) -> None:
    resources = DEFAULTS / "util" / "resources"
    _run(DAEMONS / "spoolinit", "berkeleydb", "libspoolb", database, "init", env=env)
    for kind, source in (
        ("configuration", folder / "configuration"),
        ("complexes", resources / "centry"),
        ("usersets", resources / "usersets"),
        ("managers", "root"),
    ):
        _run(DAEMONS / "spooldefaults", kind, source, env=env)


def _run(*command: object, env: dict[str, str]) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=os.environ | env, timeout=60)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"


def _configure(folder: Path, env: dict[str, str]) -> None:
    """Hosts, the complex gpu, a scheduler that looks every second, the environment smp and the queue all.q."""
    files = folder / "files"
    files.mkdir()
    ask("qconf", "-ah", _host(), env=env)
    ask("qconf", "-as", _host(), env=env)
    complexes = [line for line in ask("qconf", "-sc", env=env).splitlines() if not line.startswith("#")]
    _qconf("-Mc", files, [*complexes, "gpu gpu INT <= YES JOB 0 0"], env)
    quick = {"schedule_interval": "0:0:1", "flush_submit_sec": 1, "flush_finish_sec": 1}
    quick |= {"load_adjustment_decay_time": "0:0:0", "job_load_adjustments": "NONE"}
    _qconf("-Msconf", files, _replace_lines(ask("qconf", "-ssconf", env=env).splitlines(), quick).splitlines(), env)
    unset = ("user_lists", "xuser_lists", "projects", "xprojects", "usage_scaling", "report_variables", "load_scaling")
    host = [f"hostname {_host()}", f"complex_values gpu={N_GPUS}", *(f"{name} NONE" for name in unset)]
    _qconf("-Ae", files, host, env)
    _qconf("-Ap", files, PARALLEL_ENVIRONMENT.splitlines(), env)
    _qconf("-Ahgrp", files, ["group_name @allhosts", f"hostlist {_host()}"], env)
    queue = {"qname": "all.q", "hostlist": "@allhosts", "load_thresholds": "NONE", "pe_list": "smp", "slots": N_SLOTS}
    queue |= {"shell": "/bin/bash", "shell_start_mode": "unix_behavior", "notify": f"00:{NOTIFY_SECONDS // 60}:00"}
    _qconf("-Aq", files, _replace_lines(ask("qconf", "-sq", env=env).splitlines(), queue).splitlines(), env)


PARALLEL_ENVIRONMENT = """\
pe_name smp
slots 999
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE"""


def _qconf(flag: str, files: Path, lines: list[str], env: dict[str, str]) -> None:
    path = files / flag.strip("-")
    path.write_text("\n".join(lines) + "\n")
    _run("qconf", flag, path, env=env)


def _is_ready(env: dict[str, str]) -> bool:
    """A queue instance without a letter in the column of its troubles: "all.q@host BIP 0/0/8 0.02 lx-amd64"."""
    lines = [line.split() for line in ask("qstat", "-f", "-q", f"all.q@{_host()}", env=env).splitlines()]
    return any(len(words) == 5 and words[0].startswith("all.q@") for words in lines)


def _empty_queue(env: dict[str, str]) -> None:
    ask("qdel", "-f", "-u", "*", env=env)
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not ask("qstat", "-u", "*", env=env).strip(), "an empty queue", seconds=STOP_SECONDS)


def _end_with_parent() -> None:
    """Where the tests are killed, no daemon stays."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


@contextlib.contextmanager
def _daemon(folder: Path, name: str, env: dict[str, str]) -> Iterable[None]:
    """A daemon in the foreground (SGE_ND), with its messages in ``log``; ended on leaving."""
    with open(folder / "log" / f"{name}.screen", "wb") as log:
        process = subprocess.Popen(
            [str(DAEMONS / name)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | env | {"SGE_ND": "1"},
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
