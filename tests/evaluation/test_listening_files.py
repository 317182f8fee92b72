"""Files of answers as people give them back: read where they are whole, refused by name where they are not."""

import json
import math
from pathlib import Path

import pytest

from listening_examples import make_test, simulate

from core.errors import UserError
from core.files import write_json
from evaluation.listening_files import read_answers, read_key

KEY, _, (ANSWERS, *_) = simulate(better=0.5)
ROW = ANSWERS["answers"][0]


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "answers.json"
    path.write_text(text, encoding=encoding)
    return path


def test_a_key_is_read_and_nothing_else(tmp_path: Path) -> None:
    write_json(tmp_path / "a.key.json", KEY)
    assert read_key(tmp_path / "a.key.json") == KEY
    assert (KEY["format"], KEY["format_version"]) == ("oral-units listening key", 1), "as earlier pages wrote them"
    assert (ANSWERS["format"], ANSWERS["format_version"]) == ("oral-units listening answers", 1)
    others = [json.dumps(KEY | {"format_version": version}) for version in (0, 2)]
    for text in (*others, "[]", "{}", "", json.dumps(ANSWERS), "[" * 100_000 + "{"):
        with pytest.raises(UserError, match=r"answers\.json: expected"):
            read_key(write(tmp_path, text))


@pytest.mark.parametrize("kind", sorted({trial["kind"] for trial in KEY["trials"]}))
@pytest.mark.parametrize(
    "change",
    [
        {"id": 7},
        {"kind": "smell"},
        {"clips": None},
        {"clips": [7, 8]},
        {"clips": ["nowhere"] * 3},
        {"clips": []},
        {"right": None},
        {"choices": [7]},
        {"choices": None},
    ],
    ids=str,
)
def test_a_trial_that_somebody_spoilt_is_refused_by_number(tmp_path: Path, kind: str, change: dict) -> None:
    place = next(place for place, trial in enumerate(KEY["trials"]) if trial["kind"] == kind)
    unused = ("choices" in change and kind != "words") or ("right" in change and kind not in ("abx", "words"))
    trials = [trial | change if number == place else trial for number, trial in enumerate(KEY["trials"])]
    write_json(tmp_path / "a.key.json", KEY | {"trials": trials})
    if unused:
        assert read_key(tmp_path / "a.key.json")["trials"] == trials
        return
    with pytest.raises(UserError, match=f"trial {place + 1}: expected an id, a kind and clips of this key"):
        read_key(tmp_path / "a.key.json")


def test_a_clip_without_a_system_is_refused(tmp_path: Path) -> None:
    clip = KEY["trials"][0]["clips"][0]
    write_json(tmp_path / "a.key.json", KEY | {"clips": KEY["clips"] | {clip: {"utterance": "u"}}})
    with pytest.raises(UserError, match="trial 1: expected"):
        read_key(tmp_path / "a.key.json")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_answers_come_by_mail_and_by_any_editor(tmp_path: Path, encoding: str) -> None:
    answers = json.dumps(ANSWERS | {"listener": " Jose\u0301\u202e "})
    text = f"Hello,\r\nhere they are: *{answers}*\r\nBye"
    found = read_answers(write(tmp_path, text, encoding), KEY)
    assert found["listener"] == "José" and found["answers"] == ANSWERS["answers"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "x"}, "expected answers of a listening test, found another file"),
        ({"format_version": 2}, "expected answers of a listening test"),
        ({"format_version": 0}, "expected answers of a listening test"),
        ({"test": "other"}, "expected answers of test test0, found those of other"),
        ({"listener": None}, "expected a listener and answers, found None"),
        ({"listener": " "}, "expected a listener and answers"),
        ({"answers": None}, "expected a listener and answers"),
        ({"answers": [5]}, "answer 1: expected trial, shown"),
        ({"answers": [ROW | {"repeat": "false"}]}, "answer 1: expected trial, shown"),
        ({"answers": [ROW | {"seconds": "abc"}]}, "answer 1: expected seconds, found abc"),
        ({"answers": [ROW | {"seconds": -1}]}, "expected seconds, found -1"),
        ({"answers": [ROW | {"seconds": 10**400}]}, "expected seconds"),
        ({"answers": [ROW | {"seconds": math.nan}]}, "expected seconds, found nan"),
        ({"answers": [ROW | {"trial": "mos-999"}]}, "expected a question of this key, found mos-999"),
        ({"answers": [ROW | {"shown": ["x"]}]}, "expected a question of this key"),
        ({"answers": [ROW | {"answer": "nonsense"}]}, "expected 1, 2, 3, 4, found nonsense"),
        ({"answers": [ROW, ROW]}, "answer 2: expected each question once"),
    ],
)
def test_what_was_changed_is_refused_in_one_line(tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        read_answers(write(tmp_path, json.dumps(ANSWERS | changes)), KEY)
    assert str(refused.value).startswith(str(tmp_path)) and "\n" not in str(refused.value)


def test_who_has_stopped_halfway_counts(tmp_path: Path) -> None:
    found = read_answers(write(tmp_path, json.dumps(ANSWERS | {"finished": None, "answers": [ROW]})), KEY)
    assert found["finished"] is None and len(found["answers"]) == 1


def test_two_tests_share_no_clip() -> None:
    assert not {*make_test(seed=0)["clips"]} & {*make_test(seed=1)["clips"]}
