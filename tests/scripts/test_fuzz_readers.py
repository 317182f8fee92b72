"""scripts/bench/fuzz_readers.py: every reader reads the good file it starts from, and what counts as a finding.

Atheris itself is not needed here: a stand-in hands over a few files.
"""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

import fuzz_readers
from fuzz_readers import READERS
from odd_values import exchange_one

from core.errors import UserError
from core.files import read_json


@pytest.mark.parametrize("name", READERS)
def test_a_good_file_is_read(name: str, tmp_path: Path) -> None:
    suffix, write, read = READERS[name]
    path = tmp_path / f"good{suffix}"
    write(path)
    read(path)


def test_one_value_of_json_is_exchanged() -> None:
    good = {"a": [1, {"b": "c"}], "d": 2.5}
    changed = {exchange_one(json.dumps(good).encode(), random.Random(seed)) for seed in range(300)}
    assert len(changed) > 30 and json.dumps(good).encode() not in changed
    assert all(isinstance(json.loads(content), dict) for content in changed)
    assert any(json.loads(content).get("a") == [1, {}] for content in changed), "left out, however deep"
    lines = exchange_one(b'{"a": 1}\n{"a": 2}', random.Random(0))
    assert len(lines.splitlines()) == 2 and lines != b'{"a": 1}\n{"a": 2}'
    assert exchange_one(b"no json", random.Random(0)) is None and exchange_one(b"[]", random.Random(0)) is None


def fuzzer_of(*contents: bytes) -> SimpleNamespace:
    """Tries these files, and the good ones beside them, again and again until the time is up."""
    said = {}

    def set_up(flags: list[str], try_one: object, custom_mutator: object) -> None:
        assert custom_mutator(b'{"a": 1}', 100, 3) and custom_mutator(b"no json", 100, 3) == b"mutated"
        said["try"], said["seeds"] = try_one, Path(flags[-1])

    def fuzz() -> None:
        while True:
            for content in (*contents, *(path.read_bytes() for path in said["seeds"].iterdir())):
                said["try"](content)

    return SimpleNamespace(Setup=set_up, Fuzz=fuzz, Mutate=lambda content, most: b"mutated")


class Clock:
    """Stands still but for what reading takes: a busy machine's own clock would find everything slow."""

    def __init__(self) -> None:
        self.now = 0.0

    def process_time(self) -> float:
        return self.now


CLOCK = Clock()


def read_words(path: Path) -> str:
    """Reads words; breaks in one of the ways that count for each of these."""
    CLOCK.now += 0.01
    text = path.read_bytes().decode()
    if text == "slow":
        CLOCK.now += 0.1
    if text == "bad":
        raise UserError(f"{path}: expected words")
    return text


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *contents: bytes, minutes: float = 0.003) -> int:
    monkeypatch.setattr(fuzz_readers, "atheris", fuzzer_of(*contents))
    monkeypatch.setattr(fuzz_readers, "time", CLOCK)
    monkeypatch.setitem(READERS, "words", (".txt", lambda path: path.write_text("good"), read_words))
    flags = ["--readers", "words", "--minutes", str(minutes), "--hang", "0.05", "--out", str(tmp_path / "fuzz")]
    return fuzz_readers.main(flags)


def test_answers_and_refusals_of_one_line_are_no_findings(tmp_path: Path, monkeypatch, capsys) -> None:
    assert run(tmp_path, monkeypatch, b"bad", b"some") == 0
    found = read_json(tmp_path / "fuzz" / "words.json")
    assert found["findings"] == [] and found["tried"] == found["answered"] + found["refused"]
    assert found["refused"] > 1 and 1.5 < found["answered"] / found["refused"] < 2.5
    assert f"| words | {found['tried']:,} | " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff", "UnicodeDecodeError"), (b"slow", "took 0 s")],
)
def test_anything_else_is_kept_once_with_its_reason(
    content: bytes, said: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    assert run(tmp_path, monkeypatch, content) == 1
    [finding] = read_json(tmp_path / "fuzz" / "words.json")["findings"]
    assert said in finding and (tmp_path / "fuzz" / "words_0.txt").read_bytes() == content
    assert said in capsys.readouterr().err


def test_a_reader_that_ends_the_process_is_a_finding(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(fuzz_readers, "fuzz", lambda *_: fuzz_readers.os._exit(7))
    assert run(tmp_path, monkeypatch) == 1
    assert "words: ended by 7" in capsys.readouterr().err


def test_without_atheris_it_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(fuzz_readers, "atheris", None)
    with pytest.raises(UserError, match="pip install atheris"):
        fuzz_readers.main(["--readers", "srt"])
