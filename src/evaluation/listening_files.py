"""Files of a listening test as they come back: checked in full, for people, mail programs and editors change them."""

import json
import math
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from core.errors import UserError
from core.records import ListeningAnswer, ListeningAnswers, ListeningKey
from core.tables import read_text

KEY_FORMAT, ANSWERS_FORMAT, FORMAT_VERSION = "oral-units listening key", "oral-units listening answers", 1
GRADES = ("1", "2", "3", "4", "5")
SAME = "same"
CLIPS_OF = {"preference": 2, "abx": 3, "mos": 1, "words": 1}  # clips of a trial, by its kind
ASK_AGAIN = "ask the listener for the file again"
FIELDS = {"trial": str, "shown": list, "answer": str, "plays": list, "repeat": bool}


def read_key(path: Path) -> ListeningKey:
    """The key of a listening test. UserError where the file is none."""
    key = _read_object(path)
    if key.get("format") != KEY_FORMAT or key.get("format_version") != FORMAT_VERSION:
        raise UserError(f"{path}: expected the key of a listening test (….key.json), found another file")
    kinds = {"test": str, "title": str, "systems": list, "clips": dict, "trials": list}
    if missing := [name for name, kind in kinds.items() if not isinstance(key.get(name), kind)]:
        raise UserError(f"{path}: expected a whole key, found none of {', '.join(missing)}; copy it again")
    for number, trial in enumerate(key["trials"], start=1):
        if not _is_trial(trial, key["clips"]):
            raise UserError(f"{path}, trial {number}: expected an id, a kind and clips of this key; copy it again")
    return key


def _is_trial(trial: object, clips: Mapping) -> bool:
    """Whether a trial of a key has what answers to it are held against."""
    if not isinstance(trial, dict) or not all(isinstance(trial.get(name), str) for name in ("id", "kind")):
        return False
    shown, n_clips = trial.get("clips"), CLIPS_OF.get(trial["kind"])
    if not isinstance(shown, list) or len(shown) != n_clips or not all(_has_system(clip, clips) for clip in shown):
        return False
    if trial["kind"] in ("abx", "words") and not isinstance(trial.get("right"), str):
        return False
    choices = trial.get("choices") if trial["kind"] == "words" else []
    return isinstance(choices, list) and all(isinstance(one, dict) and "id" in one for one in choices)


def _has_system(clip: object, clips: Mapping) -> bool:
    found = clips.get(clip) if isinstance(clip, str) else None
    return isinstance(found, dict) and isinstance(found.get("system"), str)


def read_answers(path: Path, key: ListeningKey) -> ListeningAnswers:
    """One listener's answers to the test of ``key``. UserError where they are none, another test's, or changed.

    What a mail program puts before and behind them does not matter.
    """
    answers = _read_object(path)
    if answers.get("format") != ANSWERS_FORMAT or answers.get("format_version") != FORMAT_VERSION:
        raise UserError(f"{path}: expected answers of a listening test, found another file")
    if answers.get("test") != key["test"]:
        raise UserError(f"{path}: expected answers of test {key['test']}, found those of {answers.get('test')}")
    listener, rows = answers.get("listener"), answers.get("answers")
    if not isinstance(listener, str) or not listener.strip() or not isinstance(rows, list):
        raise UserError(f"{path}: expected a listener and answers, found {listener!r}; {ASK_AGAIN}")
    trials = {trial["id"]: trial for trial in key["trials"]}
    asked = set()
    for number, row in enumerate(rows, start=1):
        reason = find_fault(row, trials)
        if not reason and (row["trial"], row["repeat"]) in asked:
            reason = f"expected each question once, found {row['trial']} again"
        if reason:
            raise UserError(f"{path}, answer {number}: {reason}; {ASK_AGAIN}")
        asked.add((row["trial"], row["repeat"]))
    name = "".join(letter for letter in unicodedata.normalize("NFC", listener.strip()) if letter.isprintable())
    whole = answers.get("finished") if isinstance(answers.get("finished"), str) else None
    return answers | {"listener": name, "listener_id": str(answers.get("listener_id", name)), "finished": whole}


def _read_object(path: Path) -> dict:
    text = read_text(path)
    try:
        found = json.loads(text[text.index("{") : text.rindex("}") + 1])
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected JSON as the page saves it, found {error}; {ASK_AGAIN}") from error
    return found


def find_fault(row: object, trials: Mapping[str, Mapping]) -> str:
    """What is wrong with one answer, by the trials of the key; "" where nothing is."""
    if not isinstance(row, dict) or not all(isinstance(row.get(name), kind) for name, kind in FIELDS.items()):
        return f"expected {', '.join(FIELDS)}, found something else"
    seconds = row.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not _is_duration(seconds):
        return f"expected seconds, found {seconds}"
    trial = trials.get(row["trial"])
    if trial is None or sorted(map(str, row["shown"])) != sorted(trial["clips"]):
        return f"expected a question of this key, found {row['trial']}"
    allowed = allowed_answers(trial)
    return "" if row["answer"] in allowed else f"expected {', '.join(allowed)}, found {row['answer']}"


def _is_duration(seconds: float) -> bool:
    try:
        return math.isfinite(seconds) and seconds >= 0
    except OverflowError:
        return False


def allowed_answers(trial: Mapping) -> list[str]:
    """What may be answered to a trial."""
    if trial["kind"] == "mos":
        return [*GRADES]
    if trial["kind"] == "words":
        return [choice["id"] for choice in trial["choices"]]
    return [*trial["clips"][:2], *([SAME] if trial["kind"] == "preference" else [])]


def name_answer(row: ListeningAnswer, trial: Mapping, key: ListeningKey) -> str:
    """preference: a system or "same"; mos: a grade; abx, words: "right" or "wrong"."""
    answer = row["answer"]
    if trial["kind"] in ("abx", "words"):
        return "right" if answer == trial["right"] else "wrong"
    return answer if trial["kind"] == "mos" or answer == SAME else key["clips"][answer]["system"]
