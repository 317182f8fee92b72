"""The experiment folder: config.json, train.log, metrics.jsonl, atomic files, finished or not."""

import argparse
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from core.errors import UserError
from core.files import hash_files, read_json, write_atomically, write_json
from languages import REPOSITORY

RECORDED_PACKAGES = (
    "torch",
    "torchaudio",
    "transformers",
    "accelerate",
    "numpy",
    "scikit-learn",
    "tokenizers",
    "praat-parselmouth",
)
JOBS_FOLDER = "jobs"  # what launchers leave in an experiment
# Flags that say how a run is carried out, not what it computes.
EXECUTION_FLAGS = frozenset({"resume", "overwrite", "exp", "num_workers", "quiet", "save_every"})


def describe_environment() -> dict:
    """Git commit and dirty flag, package versions, machine and thread count, for config.json."""

    def git(*words: str) -> str | None:
        found = subprocess.run(["git", "-C", str(REPOSITORY), *words], check=False, capture_output=True, text=True)
        return found.stdout.strip() if found.returncode == 0 else None

    status = git("status", "--porcelain")
    return {
        "git_commit": git("rev-parse", "HEAD") or os.environ.get("ORAL_UNITS_COMMIT"),  # uploaded without .git
        "git_dirty": bool(status) if status is not None else None,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in RECORDED_PACKAGES},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": " ".join(sys.argv),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def open_experiment(
    exp: Path,
    args: argparse.Namespace,
    *,
    inputs: Iterable[Path],
    derived: dict | None = None,
    ignore: Iterable[str] = (),
    shared: bool = False,
) -> str:
    """Make or re-enter ``exp`` as ``args.resume`` and ``args.overwrite`` say.

    Returns "new", "resumed", or "finished" (the same configuration has finished already). A name that exists is refused
    without --resume or --overwrite; resuming under another configuration or from other input is refused, with the
    difference named. A flag that is newer than the experiment is taken to have had its default. ``ignore`` names
    further flags that may differ between resumes. A ``shared`` folder is entered by other jobs at the same moment: the
    temporary files in it are theirs and stay.
    """
    exp, config_file = Path(exp), Path(exp) / "config.json"
    if args.overwrite and args.resume not in (None, "auto"):
        raise UserError("--resume and --overwrite exclude each other; give one")
    config = {
        "arguments": _plain_arguments(args),
        "derived": derived or {},
        "input_hash": hash_files(inputs),
        "environment": describe_environment(),
    }
    if args.overwrite and exp.exists():
        _clear_folder(exp)
    if config_file.exists():
        if args.resume is None:
            raise UserError(
                f"{exp}: exists already; --resume continues it, --overwrite starts anew, --tag or --exp names another"
            )
        before = read_json(config_file)
        before["arguments"] = _plain_values(getattr(args, "flag_defaults", {})) | before["arguments"]
        _compare_configurations(exp, before, config, EXECUTION_FLAGS | set(ignore))
        if not shared:
            remove_torn(exp)
        return "finished" if is_finished(exp) else "resumed"
    if args.resume == "latest":
        raise UserError(f"{exp}: nothing to resume, expected {config_file}; leave --resume out to start")
    exp.mkdir(parents=True, exist_ok=True)
    write_json(config_file, config)
    return "new"


def _plain_arguments(args: argparse.Namespace) -> dict:
    return _plain_values({key: value for key, value in vars(args).items() if key != "flag_defaults"})


def _plain_values(values: dict) -> dict:
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


def hash_arguments(args: argparse.Namespace, ignore: Iterable[str] = ()) -> str:
    """SHA-256 of the flags that say what a run computes; ``ignore`` names further ones that do not."""
    left_out = EXECUTION_FLAGS | set(ignore)
    compared = {key: value for key, value in _plain_arguments(args).items() if key not in left_out}
    return hashlib.sha256(json.dumps(compared, sort_keys=True, default=str).encode()).hexdigest()


def remove_torn(exp: Path) -> None:
    """Delete what a killed run was writing; a launcher may be writing the record of this one."""
    for leftover in exp.rglob(".*.tmp"):
        if leftover.relative_to(exp).parts[0] != JOBS_FOLDER:
            leftover.unlink(missing_ok=True)


def _clear_folder(exp: Path) -> None:
    """Delete what an earlier run left, but not the records of jobs: one of them may be this run's own."""
    entries = [path for path in exp.iterdir() if path.name != JOBS_FOLDER]
    if entries and not (exp / "config.json").exists():
        raise UserError(
            f"{exp}: expected an experiment folder (with config.json), found other files; --overwrite refused"
        )
    for path in sorted(entries, key=lambda path: path.name == "config.json"):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _compare_configurations(exp: Path, old: dict, new: dict, ignore: set[str]) -> None:
    before, now = old["arguments"], json.loads(json.dumps(new["arguments"], default=str))
    changed = [
        f"{key}: {before.get(key)} -> {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if key not in ignore and before.get(key) != now.get(key)
    ]
    if old["input_hash"] != new["input_hash"]:
        changed.append("the input files")
    if changed:
        raise UserError(
            f"{exp}: was made with another configuration ({'; '.join(changed)}); "
            "--overwrite starts anew, --tag or --exp names another, or give the old flags"
        )


def mark_finished(exp: Path, summary: dict) -> None:
    """Write ``finished.json``: from here on the experiment counts as complete."""
    write_json(Path(exp) / "finished.json", summary)


def is_finished(exp: Path) -> bool:
    return (Path(exp) / "finished.json").exists()


def require_finished(exp: Path, *, phase: str, command: str) -> None:
    """Refuse to stand on an unfinished phase, naming the command that finishes it."""
    if not is_finished(exp):
        raise UserError(
            f"{exp}: expected a finished {phase}, found {'an unfinished' if exp.exists() else 'no'} one; run: {command}"
        )


def append_metrics(exp: Path, row: dict) -> None:
    """Append one JSON object to ``metrics.jsonl``; units belong in the keys (``seconds``, ``validation_mel_nat``)."""
    with open(Path(exp) / "metrics.jsonl", "a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")


def read_metrics(exp: Path) -> list[dict]:
    """The rows of ``metrics.jsonl``; an incomplete last line (a killed run) is left out."""
    path, rows = Path(exp) / "metrics.jsonl", []
    if not path.exists():
        return rows
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def cut_metrics(exp: Path, last_step: int) -> None:
    """Drop the rows after ``last_step``: a resumed run writes them again."""
    kept = "".join(json.dumps(row) + "\n" for row in read_metrics(exp) if row.get("step", 0) <= last_step)
    write_atomically(Path(exp) / "metrics.jsonl", lambda temporary: temporary.write_text(kept, encoding="utf-8"))
