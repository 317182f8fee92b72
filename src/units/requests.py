"""What can be spoken, read from files: units at 50 Hz, deduplicated units, BPE tokens; as text or as JSON.

Text: one utterance a line, ``id<TAB>12 12 45 …``; lines that are empty or start with # are left out. JSON: an array, or
one object a line, of utterances with ``id`` and ``units`` (or ``tokens``).

A *request* is {"id", "units" (U,) int64 deduplicated, "durations" (U,) int64 frames or None} and what the file says
beside them: "residual_units", "f0" (Hz a frame), "audio", "speaker".
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.files import read_json
from units.bpe import SPECIAL_TOKENS, decode_tokens, load_tokenizer, text_to_units
from units.corpus import deduplicate, is_corpus, read_corpus

BESIDE = ("residual_units", "f0", "audio", "speaker")
VALID_ID = re.compile(r"[^/\\\x00-\x1f]+")  # ids become file names


def read_units(path: Path, split: str | None = None) -> Iterator[dict]:
    """Requests with durations: JSON (``units`` and ``durations``), or text with one unit a frame of 20 ms.

    Phase 1's own corpus, one utterance a line, is streamed; other JSON is read whole.
    """
    if not _is_json(path):
        for entry in _read_entries(path, "units", split):
            units, durations = deduplicate(_numbers(path, entry["id"], entry["units"]))
            yield {"id": entry["id"], "units": units, "durations": durations}
        return
    for entry in _chosen(path, read_corpus(path) if is_corpus(path) else _read_json_entries(path, "units"), split):
        if entry.get("durations") is None:
            raise UserError(f"{path}, {entry['id']}: expected durations, found none; --deduplicated does without them")
        units, durations = (_numbers(path, entry["id"], entry[key]) for key in ("units", "durations"))
        if len(units) != len(durations) or (durations < 1).any():
            raise UserError(
                f"{path}, {entry['id']}: expected a duration of 1 frame or more for each of {len(units)} units, found "
                f"{len(durations)} from {durations.min(initial=0)} on; --deduplicated speaks units without durations"
            )
        beside = {key: entry[key] for key in BESIDE if entry.get(key)}
        yield {"id": entry["id"], "units": units, "durations": durations} | beside


def read_deduplicated(path: Path, split: str | None = None) -> Iterator[dict]:
    """Requests without durations; those of a corpus file are left unread, and a unit repeated in a row counts once."""
    for entry in _read_entries(path, "units", split):
        units, _ = deduplicate(_numbers(path, entry["id"], entry["units"]))
        yield {"id": entry["id"], "units": units, "durations": None}


def read_tokens(path: Path, bpe: Path, split: str | None = None) -> Iterator[dict]:
    """Requests from tokens of the phase 2 folder ``bpe``: ids, or token strings as in ``tokenizer.json``."""
    tokenizer = load_tokenizer(bpe)
    for entry in _read_entries(path, "tokens", split):
        tokens = entry["tokens"]
        try:
            units = tokens_to_units(tokenizer, tokens.split() if isinstance(tokens, str) else tokens)
        except UserError as error:
            raise UserError(f"{path}, {entry['id']}: {error}; --bpe names the tokenizer they come from") from error
        yield {"id": entry["id"], "units": deduplicate(units)[0], "durations": None}


def tokens_to_units(tokenizer: object, tokens: list[int] | list[str]) -> np.ndarray:
    """(T,) ids, as numbers or digits, or strings of unit characters and special tokens, to (U,) int64 units."""
    words = [str(token) for token in tokens]
    if all(re.fullmatch(r"\d+", word) for word in words):
        return decode_tokens(tokenizer, [int(word) for word in words])
    text = "".join(words)
    for name in ("pad_token", "bos_token", "eos_token"):
        text = text.replace(SPECIAL_TOKENS[name], "")
    return text_to_units(text)


def bpe_units(bpe: Path) -> int | None:
    """The number of units a phase 2 folder was fitted to; None where it does not say."""
    config = Path(bpe) / "config.json"
    return read_json(config)["derived"]["n_units"] if config.exists() else None


def check_ids(requests: Iterator[dict], path: Path) -> Iterator[dict]:
    """Pass requests on, refusing ids that are no file names or come twice: each becomes <id>.wav."""
    seen = set()
    for request in requests:
        name = request["id"]
        if not VALID_ID.fullmatch(name) or set(name) == {"."}:
            raise UserError(f"{path}: id {name!r}: expected a file name, without '/'; rename it")
        if name in seen:
            raise UserError(f"{path}: id {name!r} comes twice and would overwrite itself; rename one")
        seen.add(name)
        yield request


def _is_json(path: Path) -> bool:
    if not Path(path).is_file():
        raise UserError(f"{path}: expected a file of units or tokens, found none; check the path")
    with open(path, encoding="utf-8") as lines:
        first = next((line.strip() for line in lines if line.strip()), "")
    return first[:1] in ("[", "{")


def _read_entries(path: Path, key: str, split: str | None) -> Iterator[dict]:
    """{"id", ``key``} of every utterance; those of ``split`` only, where it is given and the file has splits."""
    read: Callable[[Path, str], Iterator[dict]] = _read_json_entries if _is_json(path) else _read_text_entries
    return _chosen(path, read(path, key), split)


def _chosen(path: Path, entries: Iterator[dict], split: str | None) -> Iterator[dict]:
    n_found, n_read = 0, 0
    for entry in entries:
        n_read += 1
        if split and "split" not in entry:
            raise UserError(f"{path}, {entry['id']}: expected a 'split' to choose by, found none; leave --split out")
        if not split or entry["split"] == split:
            n_found += 1
            yield entry
    if not n_found:
        raise UserError(f"{path}: expected utterances{f' of split {split!r}' if split else ''}, found none of {n_read}")


def _read_text_entries(path: Path, key: str) -> Iterator[dict]:
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, tab, content = line.rstrip("\n").partition("\t")
            if not tab or not name:
                raise UserError(f"{path}, line {number}: expected 'id<TAB>12 45 …', found {line.strip()[:40]!r}")
            yield {"id": name, key: content.split()}


def _read_json_entries(path: Path, key: str) -> Iterator[dict]:
    text = Path(path).read_text(encoding="utf-8").strip()
    try:
        entries = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines() if line]
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: expected a JSON array or one object a line, found {error}") from error
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or key not in entry:
            raise UserError(
                f"{path}, utterance {number}: expected an object with 'id' and '{key}', found {entry!r:.60}"
            )
        yield entry


def _numbers(path: Path, name: str, values: list) -> np.ndarray:
    try:
        numbers = np.array([int(value) for value in values], np.int64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}, {name}: expected unit ids, found {error}; --tokens reads BPE tokens") from error
    if (numbers < 0).any():
        raise UserError(f"{path}, {name}: expected unit ids of 0 or more, found {numbers.min()}")
    return numbers
