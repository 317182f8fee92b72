"""What can be spoken, read from files: units at 50 Hz, deduplicated units, BPE tokens; as text or as JSON.

Text: one utterance a line, ``id<TAB>12 12 45 …``; lines that are empty or start with # are left out. JSON: an array, or
one object a line, of utterances with ``id`` and ``units`` (or ``tokens``).

Axes: U deduplicated units, F frames (50 Hz).
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.errors import UserError
from core.frames import UNIT_RATE
from core.records import UnitsRow
from core.safe_names import is_file_name
from core.tables import read_text, split_lines
from training.experiment import read_derived
from units.bpe import SPECIAL_TOKENS, decode_tokens, load_tokenizer, text_to_units
from units.corpus import deduplicate, is_corpus, read_corpus

LONGEST_FRAMES = 24 * 3600 * UNIT_RATE  # of an utterance: more is a slip of the pen, and would not fit into memory
BEFORE_TEXT = b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"  # byte order marks, the zeros of UTF-16, white space


class Request(NamedTuple):
    """An utterance to speak, as far as its file describes it."""

    id: str
    units: np.ndarray  # (U,) int64, deduplicated
    durations: np.ndarray | None = None  # (U,) int64 frames
    residual_units: Sequence[Sequence[int]] = ()  # the further streams, each (F,)
    f0: Sequence[float] | np.ndarray | None = None  # (F,) Hz, 0 = unvoiced
    audio: str | None = None  # relative to DATA_ROOT: where F0 may be taken from
    speaker: str | None = None


class SpokenItem(NamedTuple):
    """An utterance as a vocoder speaks it: frame by frame."""

    id: str
    content: np.ndarray  # (F, N) integer units or, for the oracle, (F, 80) float32 log-mel above its floor
    f0: np.ndarray  # (F,) float32 Hz, 0 = unvoiced
    speaker: str | None = None
    speaker_vector: np.ndarray | None = None  # (D,) float32 of a recording, to sound like it; before ``speaker``


def read_units(path: Path, split: str | None = None) -> Iterator[Request]:
    """Requests with durations: JSON (``units`` and ``durations``), or text with one unit a frame of 20 ms.

    Phase 1's own corpus, one utterance a line, is streamed; other JSON is read whole.
    """
    if not _is_json(path):
        for name, frames in _read_entries(path, "units", split):
            yield Request(name, *deduplicate(_numbers(path, name, frames)))
        return
    for row in _chosen(path, read_corpus(path) if is_corpus(path) else _read_json_rows(path, "units"), split):
        yield _timed_request(path, **row)


def _timed_request(
    path: Path,
    /,
    *,
    id: str,  # noqa: A002
    units: list[int],
    durations: list[int] | None = None,
    residual_units: list[list[int]] | None = None,
    f0: list[float] | None = None,
    audio: str | None = None,
    speaker: str | None = None,
    **_: object,
) -> Request:
    """A row of a units file, its keys as arguments; those that are empty count as missing."""
    if durations is None:
        raise UserError(f"{path}, {id}: expected durations, found none; --deduplicated does without them")
    numbers, frames = (_numbers(path, id, values) for values in (units, durations))
    if len(numbers) != len(frames) or (frames < 1).any():
        found = f"{len(frames)} from {frames.min()} on" if len(frames) else "none"
        raise UserError(
            f"{path}, {id}: expected a duration of 1 frame or more for each of {len(numbers)} units, found {found}; "
            "--deduplicated speaks units without durations"
        )
    if (n_frames := int(frames.sum())) > LONGEST_FRAMES:
        raise UserError(f"{path}, {id}: expected at most 24 hours, found {n_frames} frames of 20 ms; repair durations")
    if any(len(_numbers(path, id, stream)) != n_frames for stream in residual_units or ()):
        raise UserError(f"{path}, {id}: expected residual_units of {n_frames} frames each; repair them")
    if f0:
        _check_pitch(path, id, f0, n_frames)
    return Request(id, numbers, frames, residual_units or (), f0 or None, audio or None, speaker or None)


def read_deduplicated(path: Path, split: str | None = None) -> Iterator[Request]:
    """Requests without durations; those of a corpus file are left unread, and a unit repeated in a row counts once."""
    for name, units in _read_entries(path, "units", split):
        yield Request(name, deduplicate(_numbers(path, name, units))[0])


def read_tokens(path: Path, bpe: Path, split: str | None = None) -> Iterator[Request]:
    """Requests from tokens of the phase 2 folder ``bpe``: ids, or token strings as in ``tokenizer.json``."""
    tokenizer = load_tokenizer(bpe)
    for name, tokens in _read_entries(path, "tokens", split):
        try:
            units = tokens_to_units(tokenizer, tokens.split() if isinstance(tokens, str) else tokens)
        except UserError as error:
            raise UserError(f"{path}, {name}: {error}; --bpe names the tokenizer they come from") from error
        yield Request(name, deduplicate(units)[0])


def tokens_to_units(tokenizer: object, tokens: list[int] | list[str]) -> np.ndarray:
    """(T,) ids, as numbers or digits, or strings of unit characters and special tokens, to (U,) int64 units."""
    words = [str(token) for token in tokens]
    if all(re.fullmatch(r"\d+", word) for word in words):
        return decode_tokens(tokenizer, [int(word) for word in words])
    text = "".join(words)
    for name in ("pad_token", "bos_token", "eos_token"):
        text = text.replace(SPECIAL_TOKENS[name], "")
    if (unknown := SPECIAL_TOKENS["unk_token"]) in text:
        raise UserError(f"token {unknown}: stands for a unit that nobody knows; leave it out")
    return text_to_units(text)


def bpe_units(bpe: Path) -> int | None:
    """The number of units a phase 2 folder was fitted to; None where it does not say."""
    config = Path(bpe) / "config.json"
    return read_derived(Path(bpe), "n_units")["n_units"] if config.exists() else None


def check_ids(requests: Iterator[Request], path: Path) -> Iterator[Request]:
    """Pass requests on, refusing ids that are no file names or come twice: each becomes <id>.wav."""
    seen = set()
    for request in requests:
        name = request.id
        if not is_file_name(name):
            raise UserError(f"{path}: id {name!r:.60}: expected a file name, short and without '/'; rename it")
        if name in seen:
            raise UserError(f"{path}: id {name!r} comes twice and would overwrite itself; rename one")
        seen.add(name)
        yield request


def _is_json(path: Path) -> bool:
    if not Path(path).is_file():
        raise UserError(f"{path}: expected a file of units or tokens, found none; check the path")
    with open(path, "rb") as file:
        return file.read(4096).lstrip(BEFORE_TEXT)[:1] in (b"[", b"{")


def _read_entries(path: Path, key: str, split: str | None) -> Iterator[tuple[str, Sequence]]:
    """Id and ``key`` of every utterance; those of ``split`` only, where it is given and the file has splits."""
    read = _read_json_rows if _is_json(path) else _read_text_rows
    for row in _chosen(path, read(path, key), split):
        yield row["id"], row[key]


def _chosen(path: Path, rows: Iterator[UnitsRow], split: str | None) -> Iterator[UnitsRow]:
    n_found, n_read = 0, 0
    for row in rows:
        n_read += 1
        if split and "split" not in row:
            raise UserError(f"{path}, {row['id']}: expected a 'split' to choose by, found none; leave --split out")
        if not split or row["split"] == split:
            n_found += 1
            yield row
    if not n_found:
        raise UserError(f"{path}: expected utterances{f' of split {split!r}' if split else ''}, found none of {n_read}")


def _read_text_rows(path: Path, key: str) -> Iterator[UnitsRow]:
    for number, line in enumerate(split_lines(read_text(path)), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, tab, words = line.rstrip("\r\n").partition("\t")
        if not tab or not name:
            raise UserError(f"{path}, line {number}: expected 'id<TAB>12 45 …', found {line.strip()[:40]!r}")
        yield {"id": name, key: words.split()}


def _read_json_rows(path: Path, key: str) -> Iterator[UnitsRow]:
    text = read_text(path).strip()
    try:
        rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines() if line]
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected a JSON array or one object a line, found {error}") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not isinstance(row.get("id"), str) or key not in row:
            raise UserError(f"{path}, utterance {number}: expected an object with 'id' and '{key}', found {row!r:.60}")
        yield row


def _numbers(path: Path, name: str, values: list) -> np.ndarray:
    try:
        numbers = np.array([_whole(value) for value in values], np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path}, {name}: expected unit ids, found {error}; --tokens reads BPE tokens") from error
    if (numbers < 0).any():
        raise UserError(f"{path}, {name}: expected unit ids of 0 or more, found {numbers.min()}")
    return numbers


def _whole(value: int | str) -> int:
    number = int(value)
    if isinstance(value, float) and value != number:
        raise ValueError(f"{value}, which is no whole number")
    return number


def _check_pitch(path: Path, name: str, values: object, n_frames: int) -> None:
    """UserError where ``f0`` of a row is not a number of Hz, 0 = unvoiced, for each of its frames."""
    plain = isinstance(values, list) and set(map(type, values)) <= {int, float} and len(values) == n_frames
    if not plain or not all(0 <= value < float("inf") for value in values):
        raise UserError(f"{path}, {name}: expected f0 in Hz, 0 or more, for each of {n_frames} frames; leave f0 out")
