"""A corpus many times as long as the one there is, for measurements: its segments under new ids, its audio linked."""

import json
import os
import shutil
from pathlib import Path

from core.records import Segment
from languages import data_root, resolve_in


def repeat_manifest(rows: list[Segment], scale: int, path: Path) -> float:
    """Write every row ``scale`` times under ids of its own; returns the hours listed."""
    with open(path, "w", encoding="utf-8") as out:
        for turn in range(scale):
            for row in rows:
                out.write(json.dumps(row | {"id": f"{row['id']}.{turn}"}) + "\n")
    return scale * sum(row["duration"] for row in rows) / 3600


def link_audio(rows: list[Segment], root: Path) -> None:
    """Give the data root ``root`` the audio of ``rows``, linked where the file system can."""
    for row in rows:
        source, target = resolve_in(data_root(), row["audio"]), root / row["audio"]
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copyfile(source, target)
