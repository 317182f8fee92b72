"""Which transcribed speech lies under DATA_ROOT, for a trainer that is told none."""

import itertools
import json
import logging
from pathlib import Path

from core.errors import UserError
from languages import data_root, language_paths
from segmentation.tables import find_table
from speech_llm.disk_datasets import is_disk_dataset

ROWS_LOOKED_AT = 100  # of a manifest, for texts
HOW = "bring speech with its texts (bash recipes/english/prepare.sh, or docs/speech_llm_data.md), or give --data FOLDER"

log = logging.getLogger("oral_units")


def choose_data(data: Path | None, language: str | None) -> Path:
    """``data`` where it is given, else the folder of ``language``, else the only transcribed one under DATA_ROOT.

    Raises UserError that lists what is there.
    """
    if data is not None:
        return data
    if language:
        return language_paths(language)["data"]
    found = transcribed_folders(data_root())
    if len(found) == 1:
        log.info("reads %s, the only transcribed speech in %s", found[0], data_root())
        return found[0]
    names = ", ".join(folder.name for folder in found)
    if found:
        raise UserError(f"--data: found transcribed speech of {names} in {data_root()}; give --language, one of these")
    raise UserError(f"--data: found no transcribed speech in {data_root()}; {HOW}")


def transcribed_folders(root: Path) -> list[Path]:
    """The folders in ``root`` that hold speech with texts, sorted."""
    return [folder for folder in sorted(root.glob("*/")) if holds_texts(folder)]


def holds_texts(folder: Path) -> bool:
    """Whether ``folder`` is a data set, or has a table of texts, or a manifest with a text among its first rows."""
    manifest = folder / "segments.jsonl"
    if is_disk_dataset(folder) or find_table(folder / "transcripts.tsv"):
        return True
    if not manifest.is_file():
        return False
    with open(manifest, encoding="utf-8") as lines:
        return any(_has_text(line) for line in itertools.islice(lines, ROWS_LOOKED_AT))


def _has_text(line: str) -> bool:
    try:
        return bool(json.loads(line).get("text"))
    except (ValueError, AttributeError):
        return False
