"""Facts about files are found out once, hold while size and date stay, and survive kills and several processes."""

import os
import threading
from pathlib import Path

import pytest

from core.file_facts import HEADER, open_facts, recall, recall_all, stamp


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / "data" / f"{number}.wav" for number in range(5)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        path.write_text(f"sound {number}")
    return [str(path) for path in paths]


def ask(table: Path | None, files: list[str], root: Path | None = None) -> tuple[list, list[str]]:
    """(the facts of the files, the files that were read for them)."""
    read = []

    def find(path: str) -> str:
        read.append(path)
        return Path(path).read_text().upper()

    with open_facts(table, root or Path(files[0]).parent) as facts:
        return recall_all(facts, "loud", files, find, title="reading"), sorted(read)


def test_a_second_start_reads_no_file(tmp_path: Path, files: list[str]) -> None:
    table = tmp_path / "cache" / "facts.tsv"
    expected = [f"SOUND {number}" for number in range(5)]
    assert ask(table, files) == (expected, files)
    assert ask(table, files) == (expected, [])
    assert ask(None, files) == (expected, files)


def test_a_file_that_changed_is_read_again_and_no_other(tmp_path: Path, files: list[str]) -> None:
    table = tmp_path / "facts.tsv"
    ask(table, files)
    Path(files[1]).write_text("noise 1")  # the same size, another date
    os.utime(files[1], ns=(0, 1))
    Path(files[3]).write_text("a longer sound")
    facts, read = ask(table, files)
    assert (facts[1], facts[3], read) == ("NOISE 1", "A LONGER SOUND", [files[1], files[3]])
    assert ask(table, files)[1] == []


def test_a_moved_folder_is_known(tmp_path: Path, files: list[str]) -> None:
    ask(tmp_path / "facts.tsv", files)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    moved = [path.replace("/data/", "/elsewhere/") for path in files]
    assert ask(tmp_path / "facts.tsv", moved)[1] == []


def test_a_missing_file_is_told_and_not_remembered(tmp_path: Path, files: list[str]) -> None:
    table = tmp_path / "facts.tsv"
    os.rename(files[2], f"{files[2]}.away")
    assert isinstance(ask(table, files)[0][2], FileNotFoundError)
    os.rename(f"{files[2]}.away", files[2])
    assert ask(table, files) == ([f"SOUND {number}" for number in range(5)], [files[2]])


def test_a_damaged_table_counts_for_what_is_left_of_it(tmp_path: Path, files: list[str]) -> None:
    table = tmp_path / "facts.tsv"
    ask(table, files)
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:3]) + "7 7\ttorn")
    assert len(ask(table, files)[1]) == 3
    table.write_bytes(b"\x00\xff of another program\n")
    assert ask(table, files)[1] == files
    assert table.read_text().startswith(HEADER)


def test_what_is_interrupted_keeps_what_was_found(tmp_path: Path, files: list[str]) -> None:
    table = tmp_path / "facts.tsv"
    with pytest.raises(KeyboardInterrupt), open_facts(table, tmp_path) as facts:
        recall(facts, "loud", files[0], lambda: "KEPT")
        raise KeyboardInterrupt
    with open_facts(table, tmp_path) as facts:
        assert recall(facts, "loud", files[0], lambda: "AGAIN") == "KEPT"
        assert recall(facts, "quiet", files[0], lambda: "another kind") == "another kind"
        assert recall(facts, "loud", files[0], lambda: "for another mark", mark="other") == "for another mark"


def test_of_two_that_miss_the_same_one_reads(tmp_path: Path, files: list[str]) -> None:
    """The second waits for the first, and takes over what it has found."""
    table, answers = tmp_path / "facts.tsv", []
    with open_facts(table, Path(files[0]).parent) as facts:
        recall(facts, "loud", files[0], lambda: "SOUND 0")
        second = threading.Thread(target=lambda: answers.append(ask(table, files)))
        second.start()
        recall_all(facts, "loud", files, lambda path: Path(path).read_text().upper(), title="reading")
    second.join(30)
    assert answers == [([f"SOUND {number}" for number in range(5)], [])]


def test_a_folder_of_somebody_else_s_only_costs_time(tmp_path: Path, files: list[str]) -> None:
    blocked = tmp_path / "no_folder"
    blocked.write_text("a file where the folder should be")
    assert ask(blocked / "facts.tsv", files)[1] == files
    assert stamp(files[0]) == f"7 {os.stat(files[0]).st_mtime_ns}"
