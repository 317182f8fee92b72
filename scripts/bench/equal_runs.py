"""Whether two runs gave the same: states to the bit, metrics but for time fields, files byte for byte."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from audio.track_store import open_bucket
from training.checkpoints import load_checkpoint
from training.experiment import read_metrics

TIME_FIELDS = {"seconds", "step_seconds", "data_seconds", "audio_seconds_per_second", "gpu_peak_mib"}
# Logs, and what names the machine, the folders and the moment of a run, as tables of units do in their own names.
KEY_SUFFIX = ".key.json"  # of a listening test
LOCK_SUFFIX = ".running"  # of a killed process: it stays until the next one takes the lock over
UNCOMPARED_FILES = {"train.log", "config.json", "tensorboard", "unit_tables"}


def without_times(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Rows of metrics without the fields that no two runs have alike."""
    return [{key: value for key, value in row.items() if key not in TIME_FIELDS} for row in rows]


def differences(first: object, second: object, path: str = "") -> list[str]:
    """Where two nested states differ, to the bit (NaN equals itself, -0.0 is not 0.0); time fields are left out."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return [] if _same_bits(first, second) else [path]
    if isinstance(first, dict) and isinstance(second, dict):
        found = [f"{path}/{key}" for key in first.keys() ^ second.keys()]
        for key in first.keys() & second.keys() - TIME_FIELDS:
            found += differences(first[key], second[key], f"{path}/{key}")
        return found
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)) and len(first) == len(second):
        return [
            found for number, pair in enumerate(zip(first, second)) for found in differences(*pair, f"{path}/{number}")
        ]
    # repr of a float gives back the same float, and tells -0.0 from 0.0
    return [] if type(first) is type(second) and repr(first) == repr(second) else [f"{path}: {first} and {second}"]


def _same_bits(first: torch.Tensor, second: torch.Tensor) -> bool:
    if (first.dtype, first.shape) != (second.dtype, second.shape):
        return False
    first, second = (tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for tensor in (first, second))
    return torch.equal(first, second)


def file_differences(first: Path, second: Path, hidden: Sequence[Path] = ()) -> list[str]:
    """Where two files differ: checkpoints and arrays by what they hold, metrics but for time, others by bytes.

    hidden: folders whose names the files may hold.
    """
    if first.suffix == ".pt":
        return differences(*(load_checkpoint(path, command="the training again") for path in (first, second)))
    if first.suffix == ".npz":
        return differences(_read_arrays(first), _read_arrays(second))
    if first.suffix == ".f0":
        return differences(*map(_read_f0, (first, second)))
    if first.name == "metrics.jsonl":
        return differences(read_metrics(first.parent), read_metrics(second.parent))
    if first.name == "finished.json":
        return differences(json.loads(first.read_text()), json.loads(second.read_text()))
    if first.name.endswith(KEY_SUFFIX):
        return differences(*map(_without_names, (first, second)))
    if (first.parent / f"{first.stem}{KEY_SUFFIX}").is_file():  # a page of a listening test
        return [] if all(map(_fits_its_key, (first, second))) else [": belongs to another key"]
    contents = [path.read_bytes() for path in (first, second)]
    for folder in hidden:
        contents = [content.replace(str(folder).encode(), b"") for content in contents]
    if first.suffix == ".eaf":  # ELAN's files hold the moment of their writing
        contents = [re.sub(rb' DATE="[^"]*"', b"", content) for content in contents]
    if first.name == "scores.json":
        return differences(*map(_without_hash, contents))
    return [] if contents[0] == contents[1] else [": bytes"]


def _without_names(key_file: Path) -> dict[str, object]:
    """A listening test without the name of the test and of its clips, which are drawn anew each time, on purpose."""
    key = json.loads(key_file.read_text(encoding="utf-8"))
    clips = sorted(json.dumps(clip, sort_keys=True) for clip in key["clips"].values())
    trials = [{name: value for name, value in trial.items() if name in ("kind", "group")} for trial in key["trials"]]
    return key | {"test": "", "clips": clips, "trials": sorted(map(json.dumps, trials))}


def _fits_its_key(page: Path) -> bool:
    """Whether a page asks the questions of the key beside it, about every clip."""
    key = json.loads((page.parent / f"{page.stem}{KEY_SUFFIX}").read_text(encoding="utf-8"))
    content = page.read_text(encoding="utf-8")
    return all(name in content for name in (key["test"], *key["clips"]))


def _without_hash(content: bytes) -> dict[str, object]:
    """Scores without the hash of a checkpoint, in which times stand."""
    scores = json.loads(content)
    return scores | {"identity": {key: value for key, value in scores.get("identity", {}).items() if key != "inputs"}}


def _read_f0(path: Path) -> dict[str, object]:
    """A bucket without the moments at which its recordings were read."""
    bucket = open_bucket(path)
    fields = [name for name in bucket.index.dtype.names if name != "made_ns"]
    return {name: bucket.index[name].tolist() for name in fields} | {"frames": bucket.frames.tobytes()}


def _read_arrays(path: Path) -> dict[str, tuple]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: (str(arrays[name].dtype), arrays[name].shape, arrays[name].tobytes()) for name in arrays.files}


def folder_differences(first: Path, second: Path, hidden: Sequence[Path] = ()) -> tuple[int, list[str]]:
    """Compare all files below two folders; returns how many were compared, and what differs or is in one alone.

    hidden: as in ``file_differences``.
    """
    names = [
        {
            path.relative_to(folder)
            for path in folder.rglob("*")
            if path.is_file()
            and path.suffix != LOCK_SUFFIX
            and not UNCOMPARED_FILES & set(path.relative_to(folder).parts)
        }
        for folder in (first, second)
    ]
    found = [f"{name}: only in {first if name in names[0] else second}" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        found += [f"{name}{where}" for where in file_differences(first / name, second / name, hidden)]
    return len(names[0] & names[1]), found
