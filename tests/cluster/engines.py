"""A real Slurm of one node, from Debian's packages, in a folder of its own: nothing in /etc, no systemd, no other user.

The node advertises more CPUs and GPUs than the machine has; the GPUs are terminals, so that CUDA_VISIBLE_DEVICES is
set and nothing can be computed on them. Accounting (slurmdbd and MariaDB) is on, as on the clusters people have. Jobs
in the partition "low" are preempted by those in "high", with time to save.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

PACKAGES = ("slurm-wlm", "munge", "slurmdbd", "mariadb-server-core", "mariadb-client-core")
POLICY = Path("/usr/sbin/policy-rc.d")  # its exit code 101 keeps packages from starting their daemons
INSTALL_SECONDS = 900
START_SECONDS = 300  # for what takes seconds on an idle machine
CLIENT_SECONDS = 120
N_CPUS, N_GPUS, MEMORY_MB = 16, 4, 16000
GRACE_SECONDS = 60
_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)


def turned_off() -> str:
    """The reason to start no engine, where the caller wants none."""
    return "ORAL_UNITS_CLUSTER=0" if os.environ.get("ORAL_UNITS_CLUSTER") == "0" else ""


def why_not(packages: Iterable[str]) -> str | None:
    """Installs ``packages`` where they are missing; None where they are there then, else why not."""
    missing = [name for name in packages if not _is_installed(name)]
    if not missing:
        return None if os.geteuid() == 0 else "engines are started by root only"
    if os.geteuid() != 0:
        return f"not root, and {', '.join(missing)} are not installed"
    if shutil.which("apt-get") is None:
        return "no Debian: apt-get is not there"
    return _install(missing)


def _is_installed(package: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    command = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}", package]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout == "installed"


def _install(packages: list[str]) -> str | None:
    base = ["apt-get", "-o", "DPkg::Lock::Timeout=600"]
    install = [*base, "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    with _daemons_kept_off():
        for commands in ([install], [[*base, "update"], install]):
            results = [_run_apt(command) for command in commands]
            if results[-1].returncode == 0:
                return None
    said = (results[-1].stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"apt-get cannot install {' '.join(packages)}: {said}"


def _run_apt(command: list[str]) -> subprocess.CompletedProcess:
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=INSTALL_SECONDS)


@contextlib.contextmanager
def _daemons_kept_off() -> Iterable[None]:
    made = not POLICY.exists()
    if made:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if made:
            POLICY.unlink(missing_ok=True)


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_until(check: Callable[[], object], what: str, seconds: float = START_SECONDS, every: float = 0.2) -> object:
    """The first true answer of ``check``; AssertionError where none comes in time."""
    give_up = time.monotonic() + seconds
    while True:
        if answer := check():
            return answer
        assert time.monotonic() < give_up, f"{what}: not after {seconds} s"
        time.sleep(every)


def ask(*command: str, env: dict[str, str]) -> str:
    """What a client prints; nothing where it fails or hangs."""
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=os.environ | env, timeout=CLIENT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""


@contextlib.contextmanager
def running_slurm(folder: Path) -> Iterable[dict[str, str]]:
    """Starts Slurm in ``folder`` (empty, its path short); yields the variables that its clients need."""
    for name in ("etc", "run", "log", "state", "spool", "munge", "db"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "munge").chmod(0o700)
    ports = dict(zip(("slurmctld", "slurmd", "slurmdbd", "mariadb"), free_ports(4)))
    _write_configuration(folder, ports)
    env = {"SLURM_CONF": str(folder / "etc" / "slurm.conf")}
    with contextlib.ExitStack() as daemons:
        _start_munge(folder, daemons, env)
        _start_database(folder, ports["mariadb"], daemons, env)
        daemons.enter_context(_daemon(folder, env, "slurmdbd", "-D"))
        wait_until(lambda: "Cluster" in ask("sacctmgr", "show", "cluster", env=env), "slurmdbd")
        ask("sacctmgr", "-i", "add", "cluster", "test", env=env)
        daemons.enter_context(_daemon(folder, env, "slurmctld", "-D"))
        daemons.enter_context(_daemon(folder, env, "slurmd", "-D"))
        wait_until(lambda: ask("sinfo", "-h", "-o", "%T", env=env).split()[:1] == ["idle"], "an idle node")
        daemons.callback(_empty_queue, env)
        yield env


def _empty_queue(env: dict[str, str]) -> None:
    ask("scancel", "--me", env=env)
    ask("scancel", "--signal=KILL", "--me", env=env)
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not ask("squeue", "-h", env=env).strip(), "an empty queue", seconds=20)


def _end_with_parent() -> None:
    """Where the tests are killed, no daemon stays."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


@contextlib.contextmanager
def _daemon(folder: Path, env: dict[str, str], *command: str) -> Iterable[subprocess.Popen]:
    """A daemon in the foreground, with its messages in ``log``; ended on leaving."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    program = shutil.which(command[0], path=path)
    assert program, f"{command[0]} is not on the path, though its package is installed"
    with open(folder / "log" / f"{command[0]}.screen", "wb") as log:
        process = subprocess.Popen(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | env | {"PATH": path},
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _start_munge(folder: Path, daemons: contextlib.ExitStack, env: dict[str, str]) -> None:
    key = folder / "munge" / "key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    flags = {"key-file": key, "socket": folder / "run" / "munge.sock", "pid-file": folder / "run" / "munged.pid"}
    flags |= {"seed-file": folder / "munge" / "seed", "log-file": folder / "log" / "munged.log"}
    words = [f"--{name}={path}" for name, path in flags.items()]
    daemons.enter_context(_daemon(folder, env, "munged", "--foreground", "--force", *words))
    wait_until((folder / "run" / "munge.sock").exists, "munge")


def _start_database(folder: Path, port: int, daemons: contextlib.ExitStack, env: dict[str, str]) -> None:
    database, log = folder / "db" / "mysql", folder / "log" / "install_db.log"
    install = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={database}", "--skip-test-db"]
    with open(log, "wb") as out:
        subprocess.run([*install, "--auth-root-authentication-method=normal"], check=True, stdout=out, stderr=out)
    connect = f"--socket={folder / 'run' / 'mysql.sock'}"
    place = [f"--datadir={database}", connect, "--bind-address=127.0.0.1", f"--port={port}", "--skip-name-resolve"]
    sizes = ["--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"]
    daemons.enter_context(_daemon(folder, env, "mariadbd", "--no-defaults", "--user=root", *place, *sizes))
    client = ["mariadb", "--no-defaults", connect, "--user=root", "--execute"]
    wait_until(lambda: ask(*client, "select 1", env=env), "mariadb")
    user = "slurm@'127.0.0.1'"
    create = (
        f"create database slurm_acct; create user {user} identified by 'slurm'; grant all on slurm_acct.* to {user};"
    )
    subprocess.run([*client, create], check=True)


def _write_configuration(folder: Path, ports: dict[str, int]) -> None:
    host, run = socket.gethostname().split(".")[0], folder / "run"
    # A requeued job waits twice the life of a credential, 120 s by default, before it starts again.
    munge = f"AuthType=auth/munge\nAuthInfo=socket={run}/munge.sock,cred_expire=5\n"
    (folder / "etc" / "slurm.conf").write_text(f"""{munge}ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports["slurmctld"]}
SlurmdPort={ports["slurmd"]}
SlurmUser=root
SlurmdUser=root
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
MpiDefault=none
ReturnToService=1
KillWait=30
PropagateResourceLimits=NONE
SchedulerParameters=bf_interval=2,sched_interval=2
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={ports["slurmdbd"]}
AccountingStorageTRES=gres/gpu
AccountingStoragePass={run}/munge.sock
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={N_CPUS} RealMemory={MEMORY_MB} Gres=gpu:tty:{N_GPUS} State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=5 PreemptMode=OFF
PartitionName=low Nodes={host} MaxTime=INFINITE State=UP PriorityTier=1 GraceTime={GRACE_SECONDS}
PartitionName=high Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
""")
    terminals = Path(f"/dev/tty{N_GPUS - 1}").exists()
    devices = f"/dev/tty[0-{N_GPUS - 1}]" if terminals else f"{folder}/etc/gpu[0-{N_GPUS - 1}]"
    for number in range(0 if terminals else N_GPUS):
        (folder / "etc" / f"gpu{number}").touch()
    (folder / "etc" / "gres.conf").write_text(f"NodeName={host} Name=gpu Type=tty File={devices}\n")
    accounts = folder / "etc" / "slurmdbd.conf"
    accounts.touch(mode=0o600)
    accounts.write_text(f"""{munge}DbdHost=localhost
DbdPort={ports["slurmdbd"]}
SlurmUser=root
LogFile={folder}/log/slurmdbd.log
PidFile={run}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports["mariadb"]}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
""")
