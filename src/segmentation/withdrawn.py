"""What recordings that were taken away leave behind, and its removal: numbers in the caches, names, experiments."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from audio.track_store import SUFFIX, keep_tracks
from core.errors import UserError
from core.files import read_json
from core.packed_files import name_key
from languages import exp_root
from segmentation.manifest import read_manifest

# What is kept by the hash of audio, or of a corpus, and so for all recordings together: it goes as a whole.
FOR_ALL = ("asr_*.json", "mos_*.json", "unit_tables", "speech_features")
EARLIER = "before"  # folder of exp/ that keeps experiments which were started over


def clean_caches(cache: Path, manifest: Path, *, some_are_gone: bool) -> None:
    """Leave only numbers of segments in the manifest: F0 and speaker vectors by segment.

    some_are_gone: recordings were taken away, so what is kept for all of them together is made again.
    """
    stores = {path.parent for path in cache.glob(f"*/*{SUFFIX}")}
    if stores:
        keys = np.array([name_key(row["id"]) for row in read_manifest(manifest)], np.uint64)
        for store in stores:
            keep_tracks(store, keys)
    for path in (path for pattern in FOR_ALL * some_are_gone for path in cache.glob(pattern)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def made_before(language: str) -> list[Path]:
    """Experiments that bear the language's name or say in config.json that they are of it, those put aside too."""
    folders = [path for place in (exp_root(), exp_root() / EARLIER) for path in _folders(place)]
    return [path for path in folders if path.name.startswith(f"{language}_") or _language_of(path) == language]


def _folders(place: Path) -> Iterable[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []


def _language_of(exp: Path) -> object:
    config = exp / "config.json"
    try:
        return (read_json(config).get("derived") or {}).get("language") if config.is_file() else None
    except UserError:  # a damaged one is no reason to stop here
        return None
