"""Transcribed items in tar files as WebDataset lays them out, read where they lie: nothing is unpacked.

A shard holds ``<key>.flac`` (or another kind of audio) and ``<key>.txt`` with its text, or ``<key>.json`` with "text"
and, where known, "duration" (s) and "speaker". Each shard is read from end to end once, and what is in it is kept in
the table of facts (core.file_facts); afterwards an utterance is read from its place alone. A corpus of millions of
files is then some thousands of files to the file system.
"""

import functools
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from audio.audio_spans import audio_seconds, decode_bytes
from core.errors import UserError
from core.file_facts import Facts, recall_all
from core.hashing import hash_content
from core.records import TranscribedItem
from speech_llm.disk_datasets import refuse_unknown_splits

AUDIO = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
Row = tuple[str, int, int, str, float, str, str | None, str]  # key, offset, bytes, hash, s, text, speaker, failure


def list_shards(folder: Path) -> dict[str, list[Path]]:
    """{split: its shards}: named by the folder they lie in, or by their names without the number behind."""
    found: dict[str, list[Path]] = {}
    for path in sorted([*folder.glob("*.tar"), *folder.glob("*/*.tar")]):
        own = re.sub(r"[-_.]?\d+$", "", path.stem) or "train"
        found.setdefault(own if path.parent == folder else path.parent.name, []).append(path)
    return found


def read_tar_shards(
    folder: Path, splits: list[str], *, text_field: str, audio_field: str, facts: Facts
) -> dict[str, list[TranscribedItem]]:
    """Items of each split in the order of their shards. text_field: key of the text where it stands in .json files.

    Raises UserError for a split that is not there, and for a file that is no plain tar.
    """
    shards = list_shards(folder)
    refuse_unknown_splits(folder, splits, shards)
    find = functools.partial(_describe_shard, text_field)
    found: dict[str, list[TranscribedItem]] = {}
    for split in splits:
        paths = [str(path) for path in shards[split]]
        rows = recall_all(facts, f"members by {text_field}", paths, find, title="reading shards")
        found[split] = [item for path, listed in zip(paths, rows) for item in _make_items(path, listed)]
    return found


def _make_items(path: str, listed: str | OSError) -> Iterator[TranscribedItem]:
    if isinstance(listed, OSError):
        raise UserError(f"{path}: expected a shard that can be read, found: {listed.strerror}") from listed
    for key, offset, size, audio_hash, seconds, text, speaker, failure in json.loads(listed):
        item: TranscribedItem = {
            "id": key,
            "duration": seconds,
            "text": text,
            "speaker": speaker,
            "hash": audio_hash,
            "load": functools.partial(load_member, path, offset, size),
        }
        yield item | {"failure": failure} if failure else item


def load_member(path: str, offset: int, size: int) -> np.ndarray:
    """(S,) float32 mono at 16 kHz of the audio that begins at a byte of a shard."""
    return decode_bytes(_read(path, offset, size))


def _read(path: str, offset: int, size: int) -> bytes:
    with open(path, "rb") as shard:
        shard.seek(offset)
        return shard.read(size)


def _describe_shard(text_field: str, path: str) -> str:
    """JSON of the rows of a shard, in the order of their audio."""
    try:
        with tarfile.open(path, "r:") as shard:
            members = [(member.name, member.offset_data, member.size) for member in shard if member.isfile()]
    except tarfile.TarError as error:
        raise UserError(f"{path}: expected a plain tar file, found: {error}; unpack a compressed one") from error
    texts: dict[str, dict[str, object]] = {}
    for name, offset, size in members:
        key, kind = _split_name(name)
        if kind in (".txt", ".json"):
            texts[key] = _parse(path, name, _read(path, offset, size), text_field) | texts.get(key, {})
    audio = [(name, offset, size) for name, offset, size in members if _split_name(name)[1] in AUDIO]
    return json.dumps([_describe_audio(path, member, texts, text_field) for member in audio])


def _split_name(name: str) -> tuple[str, str]:
    """("a/b", ".flac") of "a/b.flac"; WebDataset's keys end at the first full stop behind the last slash."""
    folder, slash, last = name.removeprefix("./").rpartition("/")
    key, _, kind = last.partition(".")
    return folder + slash + key, f".{kind.lower()}"


def _parse(path: str, name: str, content: bytes, text_field: str) -> dict[str, object]:
    try:
        text = content.decode("utf-8")
        found = {text_field: text} if name.endswith(".txt") else json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}, {name}: expected UTF-8 (and JSON in a .json file), found: {error}") from error
    return found if isinstance(found, dict) else {}


def _describe_audio(
    path: str, member: tuple[str, int, int], texts: dict[str, dict[str, object]], text_field: str
) -> Row:
    name, offset, size = member
    content, key = _read(path, offset, size), _split_name(name)[0]
    known = texts.get(key, {})
    text, speaker, stated = known.get(text_field), known.get("speaker"), known.get("duration")
    try:
        seconds = float(stated) if isinstance(stated, int | float) and stated > 0 else float(audio_seconds(content))
        failure = ""
    except UserError as error:
        seconds, failure = 0.0, f"{path}, {name}: {error}"
    said, by = " ".join(str(text or "").split()), None if speaker is None else str(speaker)
    return key, offset, size, hash_content(content), seconds, said, by, failure
