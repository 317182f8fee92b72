"""The corpus of unit utterances: run lengths, and the file between the phases."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.files import write_atomically
from core.records import Utterance
from languages import command_for_folder

REQUIRED_KEYS = ("id", "audio", "duration", "split", "unit_rate", "units", "durations")


def deduplicate(frame_units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of equal units: (F,) int -> units (U,) and their durations in frames (U,), U <= F."""
    frame_units = np.asarray(frame_units)
    if len(frame_units) == 0:
        return frame_units.astype(np.int64), np.zeros(0, np.int64)
    starts = np.flatnonzero(np.diff(frame_units, prepend=frame_units[0] - 1))
    return frame_units[starts].astype(np.int64), np.diff(starts, append=len(frame_units)).astype(np.int64)


def expand(units: np.ndarray, durations: np.ndarray) -> np.ndarray:
    """The inverse of ``deduplicate``: (U,), (U,) -> (sum of durations,)."""
    if len(units) != len(durations):
        raise UserError(f"expected one duration a unit, found {len(units)} units and {len(durations)} durations")
    return np.repeat(np.asarray(units, np.int64), np.asarray(durations, np.int64))


def frame_units(utterance: Utterance) -> np.ndarray:
    """(F, N) int64 units at 50 Hz of one utterance: the first stream expanded, then the residual streams."""
    streams = [expand(utterance["units"], utterance["durations"])]
    streams += [np.asarray(stream, np.int64) for stream in utterance.get("residual_units", [])]
    if len({len(stream) for stream in streams}) != 1:
        raise UserError(
            f"utterance {utterance['id']}: streams of different lengths {[len(s) for s in streams]}; rerun phase 1"
        )
    return np.stack(streams, axis=1)


def write_corpus(path: Path, utterances: Iterable[Utterance]) -> int:
    """One valid JSON array with one utterance a line, written atomically and as it streams; returns the count."""
    n_written = 0

    def write(temporary: Path) -> None:
        nonlocal n_written
        with open(temporary, "w", encoding="utf-8") as out:
            out.write("[")
            for utterance in utterances:
                out.write(",\n" if n_written else "\n")
                json.dump(utterance, out, ensure_ascii=False, separators=(",", ":"))
                n_written += 1
            out.write("\n]\n")

    write_atomically(path, write)
    return n_written


def read_corpus(path: Path, *, splits: Iterable[str] | None = None) -> Iterator[Utterance]:
    """Stream the utterances of ``corpus_timestamped.json`` line by line, those of ``splits`` only where given.

    Raises UserError, naming file and line, for a file that is missing, cut short, or lacks a key.
    """
    if not Path(path).is_file():
        command = command_for_folder("run_phase1.sh", Path(path).parent)
        raise UserError(f"{path}: expected phase 1's corpus, found none; run: {command}")
    wanted, last = set(splits) if splits is not None else None, ""
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            last = line.strip()
            if last in ("[", "]", ""):
                continue
            utterance = _parse_utterance(path, number, last.rstrip(","))
            if wanted is None or utterance["split"] in wanted:
                yield utterance
    if last != "]":
        raise UserError(f"{path}: expected a closing ']', found the file cut short; rerun phase 1")


def is_corpus(path: Path) -> bool:
    """Whether a JSON file is laid out as phase 1's: a bracket, then one whole utterance a line."""
    with open(path, encoding="utf-8") as lines:
        first, second = (next(lines, "").strip() for _ in range(2))
    try:
        utterance = json.loads(second.rstrip(","))
    except json.JSONDecodeError:
        return False
    return first == "[" and isinstance(utterance, dict) and all(key in utterance for key in REQUIRED_KEYS)


def _parse_utterance(path: Path, number: int, text: str) -> Utterance:
    try:
        utterance = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {number}: expected one utterance a line, found {error}; rerun phase 1"
        ) from error
    missing = [key for key in REQUIRED_KEYS if key not in utterance]
    if missing:
        raise UserError(f"{path}, line {number}: expected keys {REQUIRED_KEYS}, missing {missing}; rerun phase 1")
    return utterance
