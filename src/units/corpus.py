"""The corpus of unit utterances: run lengths, and the file between the phases."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.files import read_lines, write_atomically
from core.frames import UNIT_RATE, is_length
from core.records import SPLITS, Utterance
from core.safe_names import is_file_name
from languages import command_for_folder

REQUIRED_KEYS = ("id", "audio", "duration", "split", "unit_rate", "units", "durations")
LARGEST_NUMBER = 2**31 - 1  # of ids and frames


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
    for number, line in read_lines(path):
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
    lines = read_lines(path)
    try:
        first, second = (next(lines, (0, ""))[1].strip() for _ in range(2))
        utterance = json.loads(second.rstrip(","))
    except (UserError, ValueError, RecursionError):
        return False
    return first == "[" and not find_fault(utterance)


def _parse_utterance(path: Path, number: int, text: str) -> Utterance:
    try:
        utterance = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}, line {number}: expected one utterance a line, found {error}; rerun phase 1"
        ) from error
    if fault := find_fault(utterance):
        raise UserError(f"{path}, line {number}: {fault}; rerun phase 1")
    return utterance


def find_fault(utterance: object) -> str:
    """What is wrong with a row that should be an utterance of phase 1; "" where nothing is."""
    if not isinstance(utterance, dict):
        return f"expected one utterance a line, found {utterance!r:.40}"
    missing = [key for key in REQUIRED_KEYS if key not in utterance]
    if missing:
        return f"expected keys {', '.join(REQUIRED_KEYS)}, missing {', '.join(missing)}"
    name, split, rate = (utterance[key] for key in ("id", "split", "unit_rate"))
    if not (isinstance(name, str) and is_file_name(name)):
        return f"expected an id that may be a file's name, found {name!r:.40}"
    if split not in SPLITS:
        return f"expected split {', '.join(SPLITS)}, found '{split!s:.40}' in {name}"
    if rate != UNIT_RATE:
        return f"expected a unit rate of {UNIT_RATE} Hz, found {rate!r:.40} Hz in {name}"
    if not is_length(utterance["duration"]):
        return f"expected seconds in 'duration', found {utterance['duration']!r:.40} in {name}"
    units, durations = utterance["units"], utterance["durations"]
    if not (_are_numbers(units, 0) and _are_numbers(durations, 1) and len(units) == len(durations)):
        return f"expected unit ids from 0 on, and as many durations of 1 frame or more, in {name}"
    residual, n_frames = utterance.get("residual_units", []), sum(durations)
    if not isinstance(residual, list) or not all(_are_numbers(one, 0) and len(one) == n_frames for one in residual):
        return f"expected residual_units of {n_frames} frames each in {name}"
    return "" if isinstance(utterance["audio"], str) else f"expected a path as audio of {name}"


def _are_numbers(values: object, least: int) -> bool:
    """Whether something is a list of whole numbers from ``least`` on."""
    if not isinstance(values, list) or not set(map(type, values)) <= {int}:
        return False
    return not values or (min(values) >= least and max(values) <= LARGEST_NUMBER)
