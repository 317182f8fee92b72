"""The experiment folder: config.json, train.log, metrics.jsonl, atomic files, finished or not."""

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from core.commands import as_typed
from core.errors import UserError
from core.files import hash_files, read_json, write_atomically, write_json
from core.git import ask_git
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
FAILED = "failed_to_start"  # in the config.json of a run that has learnt nothing: why
JOBS_FOLDER = "jobs"  # what launchers leave in an experiment
# Flags that say how a run is carried out, not what it computes.
EXECUTION_FLAGS = frozenset({"resume", "overwrite", "exp", "num_workers", "quiet", "save_every"})
# What flags were called in the config.json of older experiments.
OLD_FLAG_NAMES = {
    "bsize": "batch_size",
    "ctc_bsize": "ctc_batch_size",
    "early_stopping": "patience",
    "eval_steps": "eval_every",
    "generate_bsize": "generate_batch_size",
    "logging_steps": "log_every",
    "nj": "num_workers",
    "out_dir": "exp",
    "save_steps": "save_every",
    "wdecay": "weight_decay",
}


def describe_environment() -> dict[str, object]:
    """Git commit and dirty flag (None where git does not say), packages, machine and threads, for config.json."""
    status = ask_git(REPOSITORY, "status", "--porcelain")
    return {
        "git_commit": ask_git(REPOSITORY, "rev-parse", "HEAD")
        or os.environ.get("ORAL_UNITS_COMMIT"),  # uploaded without .git
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
    flags: Mapping[str, object],
    *,
    inputs: Iterable[Path],
    derived: Mapping[str, object] | None = None,
    ignore: Iterable[str] = (),
    shared: bool = False,
) -> str:
    """Make or re-enter ``exp`` as --resume and --overwrite say; returns "new", "resumed" or "finished".

    - flags: ``vars`` of the parsed flags, by name; ``flag_defaults`` (core.cli.parse_flags) holds their defaults
    - inputs: the files the run is made from; ``derived``: further values for config.json
    - ignore: further flags that may differ between two starts (``EXECUTION_FLAGS`` always may)
    - shared: other jobs enter at the same moment, so the temporary files in the folder may be theirs and stay

    Raises UserError for a name that exists where neither flag is given, and for another configuration or other input;
    the difference is named. A flag that is newer than the experiment is taken to have had its default, and one that
    had another name (``OLD_FLAG_NAMES``) to have had this one. A folder whose run failed to start counts as new.
    "finished": the same run has ended already.
    """
    exp, config_file = Path(exp), Path(exp) / "config.json"
    resume, overwrite = flags["resume"], flags["overwrite"]
    if overwrite and resume not in (None, "auto"):
        raise UserError("--resume and --overwrite exclude each other; give one")
    inputs = list(inputs)
    if missing := next((path for path in inputs if not Path(path).is_file()), None):
        raise UserError(f"{missing}: expected what the phase before has made, found none; run that with --overwrite")
    input_hash = hash_files(inputs)
    if overwrite and exp.exists():
        _clear_folder(exp)
    if has_begun(exp):
        if resume is None:
            raise UserError(
                f"{exp}: exists already; --resume continues it, --overwrite starts over, --exp names another"
            )
        _compare_configurations(exp, flags, input_hash, EXECUTION_FLAGS | set(ignore))
        if not shared:
            remove_torn(exp)
        return "finished" if is_finished(exp) else "resumed"
    if resume == "latest":
        raise UserError(f"{exp}: nothing to resume, expected {config_file}; leave --resume out to start")
    config = {
        "arguments": _plain_values(flags),
        "derived": derived or {},
        "input_hash": input_hash,
        "environment": describe_environment(),
    }
    exp.mkdir(parents=True, exist_ok=True)
    write_json(config_file, config)
    return "new"


@contextlib.contextmanager
def noting_failed_start(exp: Path) -> Iterator[None]:
    """What fails inside, after ``open_experiment`` and before anything was learnt, leaves a folder that counts as new.

    So the corrected command is not refused for its other flags.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        config_file = Path(exp) / "config.json"
        learnt = is_finished(exp) or read_metrics(exp) or any((Path(exp) / "checkpoints").glob("*.pt"))
        if config_file.exists() and not learnt:
            write_json(config_file, read_json(config_file) | {FAILED: str(error) or type(error).__name__})
        raise


def _plain_values(flags: Mapping[str, object]) -> dict[str, object]:
    """The flags as config.json keeps them: paths as text, without their defaults."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in flags.items()
        if name != "flag_defaults"
    }


def hash_arguments(flags: Mapping[str, object], ignore: Iterable[str] = ()) -> str:
    """SHA-256 of the flags that say what a run computes; ``ignore`` names further ones that do not."""
    left_out = EXECUTION_FLAGS | set(ignore)
    compared = {name: value for name, value in _plain_values(flags).items() if name not in left_out}
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


def read_arguments(exp: Path) -> dict[str, object]:
    """The flags that an experiment was made with, by their names of today; none where it has not been made."""
    config_file = Path(exp) / "config.json"
    saved = read_json(config_file).get("arguments", {}) if config_file.is_file() else {}
    return {OLD_FLAG_NAMES.get(name, name): value for name, value in saved.items()}


def read_derived(exp: Path, *names: str) -> dict[str, Any]:
    """What config.json of ``exp`` says that its flags came to; UserError where one of ``names`` is missing."""
    path = Path(exp) / "config.json"
    found = read_json(path).get("derived")
    derived = found if isinstance(found, dict) else {}
    for name in names:
        value = derived.get(name)
        if value is None or (name.startswith("n_") and (type(value) is not int or value < 1)):
            raise UserError(f"{path}: expected derived.{name}, found {value}; run that phase again with --overwrite")
    return derived


def has_begun(exp: Path) -> bool:
    """Whether there is an experiment; one that failed to start counts as none."""
    config_file = Path(exp) / "config.json"
    return config_file.exists() and FAILED not in read_json(config_file)


def is_input(exp: Path, inputs: Iterable[Path]) -> bool:
    """Whether ``exp`` was made from exactly these files."""
    config_file = Path(exp) / "config.json"
    return config_file.is_file() and read_json(config_file).get("input_hash") == hash_files(inputs)


def _compare_configurations(exp: Path, flags: Mapping[str, object], input_hash: str, ignore: set[str]) -> None:
    saved = read_json(exp / "config.json")
    before = _plain_values(flags.get("flag_defaults", {})) | read_arguments(exp)
    now = json.loads(json.dumps(_plain_values(flags), default=str))
    names = sorted(before.keys() | now.keys())
    changed = [name for name in names if name not in ignore and before.get(name) != now.get(name)]
    given = _flags_in(sys.argv) | _flags_in(str(saved.get("environment", {}).get("command", "")).split())
    asked = [name for name in changed if name in given] or changed
    said = [f"{name}: {before.get(name)} -> {now.get(name)}" for name in asked]
    if saved["input_hash"] != input_hash:
        said.append("the input files")
    if not said:
        return
    followed = [name for name in changed if name not in asked]
    also = f"; by default also {', '.join(followed)}" if followed else ""
    old = [_as_flag(name, before.get(name)) for name in asked]
    raise UserError(
        f"{exp}: was made with another configuration ({'; '.join(said)}{also}); --overwrite starts over, "
        f"--exp names another{', or give the old flags: ' + ', '.join(old) if old else ''}"
    )


def _flags_in(words: Iterable[str]) -> set[str]:
    """The names of the flags in a command, by their names of today."""
    names = {word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")}
    return {OLD_FLAG_NAMES.get(name, name) for name in names}


def _as_flag(name: str, value: object) -> str:
    """How a flag is typed to have ``value``."""
    if value is None or value is False or value == []:
        return f"no --{name}"
    if value is True:
        return f"--{name}"
    return as_typed(f"--{name}", *(value if isinstance(value, list) else [value]))


def mark_finished(exp: Path, summary: Mapping[str, object]) -> None:
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


def append_metrics(exp: Path, row: Mapping[str, float]) -> None:
    """Append one JSON object to ``metrics.jsonl``; units belong in the keys (``seconds``, ``validation_mel_nat``)."""
    with open(Path(exp) / "metrics.jsonl", "a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")


def read_metrics(exp: Path) -> list[dict[str, float]]:
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


def cut_metrics(exp: Path, last_step: int, validated: int) -> None:
    """Drop the rows that a resumed run writes again: those after ``last_step``, and later validations than the last.

    validated: the step of the last validation that the run has saved. One killed just behind a further one left a row.
    """

    def is_kept(row: dict) -> bool:
        is_validation = any(name.startswith("validation_") for name in row)
        return row.get("step", 0) <= (min(last_step, validated) if is_validation else last_step)

    kept = "".join(json.dumps(row) + "\n" for row in read_metrics(exp) if is_kept(row))
    write_atomically(Path(exp) / "metrics.jsonl", lambda temporary: temporary.write_text(kept, encoding="utf-8"))
