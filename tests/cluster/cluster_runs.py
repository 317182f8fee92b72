"""What the tests of every engine do: a tiny language, the launcher as a person calls it, waiting for a state."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from engines import wait_until

from audio.pitch import fill_f0_cache
from launching.backends import backend_of
from launching.job import find_records, log_file, read_record
from synthetic import run_script, write_segments, write_units
from trainer_runs import run_to_end

WAIT_SECONDS = 1800  # for what takes seconds on an idle machine, and far longer beside other work
N_STEPS = 18
ODD_NAME = 'it\'s an "odd" name, at 1:2'
TRAINING = (
    "--language spanish --channels 16 --batch_size 4 --crop_frames 16 --warmup 3 --adversarial_after 1 "
    f"--save_every 5 --log_every 3 --eval_every 4 --sample_every 9 --num_samples 1 --steps {N_STEPS}"
).split()
# What a site's own ways leave in a job: says what it sees, and ends with the code that it is given.
SEES = """
import os, sys
names = ("IN_CONTAINER", "NCCL_SOCKET_IFNAME", "FROM_SITE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
print(*(os.environ.get(name, "-") for name in names), os.environ["PATH"].split(":")[0])
sys.exit(int(sys.argv[1]))
"""
SITE = """
setup = ["export FROM_SITE=yes", "PATH=/opt/of_the_site:$PATH"]
container = "env IN_CONTAINER=yes"
container_python = {python}
"""
PAUSED_TRAINER = str(Path(__file__).with_name("paused_trainer.py"))


@contextmanager
def tiny_cluster(root: Path, engine: dict[str, str], **variables: str) -> Iterator[dict]:
    """A tiny language with units and F0 below ``root``, and the clients' variables in ``env`` and in this process."""
    rows = write_segments(root / "data", "spanish")
    write_units(root / "exp", rows, n_units=12)
    recordings = [(row["id"], root / "data" / row["audio"]) for row in rows]
    fill_f0_cache(root / "data" / "spanish" / "cache", recordings, num_workers=1)
    roots = {"DATA_ROOT": str(root / "data"), "EXP_ROOT": str(root / "exp")}
    unset = dict.fromkeys(("TAG", "BACKEND", "ORAL_UNITS_SITE"), "")
    env = engine | roots | unset | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"} | variables
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        yield {"root": root, "env": env}


def train_uninterrupted(cluster: dict) -> Path:
    exp = cluster["root"] / "exp" / "uninterrupted"
    run_to_end("trainer_vocoder", [*TRAINING, "--exp", exp], roots=cluster["root"])
    return exp


def launch(cluster: dict, *words: object, code: int = 0) -> str:
    """What scripts/launch.py prints; errors where it is to fail."""
    done = run_script("scripts/launch.py", *words, env=cluster["env"], code=code)
    return done.stderr if code else done.stdout


def write(cluster: dict, name: str, text: str) -> Path:
    path = cluster["root"] / f"{name}.py"
    path.write_text(text)
    return path


def run_in_the_sites_way(cluster: dict, backend: str, further: str, *words: object) -> tuple[dict, str]:
    """A job in a shell and on a site that have their own ways: its record, and the line that it printed."""
    site = cluster["root"] / f"{backend}.toml"
    site.write_text(SITE.format(python=json.dumps(sys.executable)) + further)
    unusual = {"ORAL_UNITS_SITE": str(site), "NCCL_SOCKET_IFNAME": "ib0", "SBATCH_EXPORT": "NONE"}
    ours, name = cluster | {"env": cluster["env"] | unusual}, f"sees_{backend}"
    words = ("--backend", backend, "--hours", 0.5, "--name", name, *words, "--", write(cluster, "sees", SEES), 0)
    launch(ours, "submit", *words)
    record = find_records(name)[-1]
    assert wait_for_state(backend_of(backend), record, "finished", "failed", "cancelled") == "finished"
    return record, log_file(record).read_text()


def wait_for_state(backend: ModuleType, record: dict, *wanted: str) -> str:
    """The first of the ``wanted`` states that the job reaches, as ``backend`` (launching.slurm, …) tells it."""

    def current() -> str | None:
        found = backend.state(read_record(record["folder"]))
        return found if found in wanted else None

    log = log_file(record)
    what = f"{record['name']} {wanted}, {log.read_text() if log.exists() else ''}"
    return wait_until(current, what, WAIT_SECONDS, 0.5)


def tell_while_it_stands(words: str, tell: Callable[[], None]) -> None:
    """Stop the process whose command line holds ``words``, ``tell`` the engine, let go once SIGTERM has come of it.

    However fast the command is and however slow the engine: the signal finds it where it was stopped.
    """
    found = subprocess.run(["pgrep", "--oldest", "--full", words], check=True, capture_output=True, text=True)
    process = int(found.stdout)
    os.kill(process, signal.SIGSTOP)
    tell()
    wait_until(lambda: _is_pending(process, signal.SIGTERM), f"SIGTERM to {words}", WAIT_SECONDS)
    os.kill(process, signal.SIGCONT)


def _is_pending(process: int, number: int) -> bool:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    pending = next(line.split()[1] for line in lines if line.startswith("ShdPnd:"))
    return bool(int(pending, 16) >> (number - 1) & 1)
