"""scripts/bench/mutate.py: which places are drawn, which tests look at them, and the score. One mutant that is
killed, one that lives and one that hangs are run on a repository of a single function."""

from pathlib import Path
from types import SimpleNamespace

import pytest

import mutate
from mutate import describe, repeat_changes, wilson

import mutant_tests
from core.errors import UserError
from core.files import read_json, write_json
from mutant_tests import tests_of as choose_tests
from mutants import (
    change_of,
    draw,
    first_changed,
    hint_spans,
    is_in_function,
    places_of,
    repeated_change,
    statement_lines,
)

SOURCE = '''"""A module."""

LIMIT = 3


def add(
    left: int,
    right: int = 2,
) -> int:
    """A sum."""
    if left > LIMIT:
        return (
            left
            + right
        )
    return left
'''


def line_of(text: str) -> int:
    return SOURCE.split("\n").index(text) + 1


def test_a_draw_gives_every_module_its_share_and_a_larger_one_holds_it() -> None:
    places = {
        "a.py": {(line, 0): [("+", line), ("-", line)] for line in range(90)},
        "b.py": {(line, 0): [("*", line)] for line in range(10)},
    }
    few, many = draw(places, 20, 0), draw(places, 50, 0)
    assert [sum(mutant.module == module for mutant in few) for module in places] == [18, 3]
    assert len({(mutant.module, mutant.place) for mutant in few}) == len(few)
    assert set(few) < set(many) and set(few) != set(draw(places, 20, 1))


def test_the_lines_of_a_change_change_a_later_source_too() -> None:
    after = SOURCE.replace("left > LIMIT", "left >= LIMIT")
    change = change_of(SOURCE, after)
    assert change == ["-    if left > LIMIT:", "+    if left >= LIMIT:"]
    assert first_changed(SOURCE, after) == line_of("    if left > LIMIT:")
    later = "# more\n\n" + SOURCE
    assert repeated_change(later, change, 11) == "# more\n\n" + after
    assert repeated_change(SOURCE.replace("left > LIMIT", "left > 3"), change, 11) is None


def test_of_equal_lines_the_nearest_is_changed() -> None:
    source = "a = 1\nb\nc\na = 1\n"
    assert repeated_change(source, ["-a = 1", "+a = 2"], 3) == "a = 1\nb\nc\na = 2\n"
    assert repeated_change(source, ["-a = 1", "+a = 2"], 2) == "a = 2\nb\nc\na = 1\n"


def test_a_statement_s_lines_are_its_own_without_its_body() -> None:
    first = line_of("        return (")
    assert list(statement_lines(SOURCE, line_of("            + right"))) == list(range(first, first + 4))
    line = line_of("    if left > LIMIT:")
    assert list(statement_lines(SOURCE, line)) == [line]
    assert not is_in_function(SOURCE, line_of("LIMIT = 3")) and is_in_function(SOURCE, line)


def test_type_hints_are_spans() -> None:
    lines = SOURCE.split("\n")
    found = {lines[first[0] - 1][first[1] : last[1]] for first, last in hint_spans(SOURCE)}
    assert found == {"int"}


def test_the_quickest_tests_of_a_line_are_chosen_within_their_seconds() -> None:
    line = line_of("    if left > LIMIT:")
    reached = {
        "seconds": {"slow": 5.0, "quick": 1.0, "next": 2.0, "other": 0.5},
        "lines": {"a.py": {str(line): ["slow", "quick", "next", "import"], str(line + 1): ["other"]}},
    }
    assert choose_tests("a.py", line, SOURCE, reached, 3.0) == ["quick", "next"]
    assert choose_tests("a.py", line, SOURCE, reached, 0.1) == ["quick"]
    assert choose_tests("a.py", line_of("LIMIT = 3"), SOURCE, reached, 9.0) == ["other", "quick", "next", "slow"]
    assert choose_tests("b.py", line, SOURCE, reached, 9.0) == []


def test_constants_are_looked_at_by_the_tests_of_those_who_import_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutant_tests, "REPOSITORY", tmp_path)
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "deep" / "one.py").write_text("import os\n\nfrom deep.limits import LIMIT\n")
    (tmp_path / "src" / "deep" / "other.py").write_text("from deep.limits_of_others import LIMIT\n")
    lines = {f"src/deep/{name}.py": {"9": [name]} for name in ("one", "other", "gone")}
    reached = {"seconds": {"one": 1.0, "other": 1.0, "gone": 1.0}, "lines": lines}
    reached["lines"]["src/deep/limits.py"] = {"1": ["import"]}
    assert choose_tests("src/deep/limits.py", 1, "LIMIT = 3\n", reached, 9.0) == ["one"]


def test_mutants_that_lived_are_run_again_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SOURCE)
    change = ["-    return left", "+    return right"]
    rows = [
        {"key": ["a.py", 16, 4, "x"], "end": "survived", "diff": change},
        {"key": ["a.py", 16, 5, "x"], "end": "unreached", "diff": ["-gone", "+x"]},
        {"key": ["a.py", 16, 6, "x"], "end": "killed", "diff": change},
        {"key": ["b.py", 16, 7, "x"], "end": "survived", "diff": change},
    ]
    write_json(tmp_path / "found.json", rows)
    found = dict(repeat_changes(tmp_path / "found.json", ["a.py"], tmp_path))
    assert found == {
        ("a.py", 16, 4, "x"): SOURCE.replace("return left", "return right"),
        ("a.py", 16, 5, "x"): None,
    }


def test_the_score_counts_killed_and_hanging_ones() -> None:
    rows = [{"key": ["src/a.py", 1, 0, "x"], "end": end} for end in ("killed", "hangs", "survived", "unreached")]
    rows.append({"key": ["src/b.py", 1, 0, "x"], "end": "killed"})
    lines = describe(rows, ["src/a.py"]).split("\n")
    assert [line.split()[:4] for line in lines] == [[name, "2", "of", "4"] for name in ("all", "src", "src/a.py")]
    assert wilson(149, 194) == (pytest.approx(0.7038, abs=5e-5), pytest.approx(0.8220, abs=5e-4))


def test_places_of_a_module_leave_hints_out(tmp_path: Path) -> None:
    pytest.importorskip("cosmic_ray")
    (tmp_path / "a.py").write_text(SOURCE)
    places = places_of(tmp_path / "a.py")
    lines = {line for line, _ in places}
    assert line_of("LIMIT = 3") in lines and line_of("    if left > LIMIT:") in lines
    assert line_of("    left: int,") not in lines


TESTS = """
from calc import add


def test_a_sum():
    assert add(1) == 1 and add(4) == 6
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one module and one test, and the map of what reaches what."""
    root, work = tmp_path / "repository", tmp_path / "work"
    (root / "src").mkdir(parents=True)
    (root / "tests").mkdir()
    work.mkdir()
    (root / "src" / "calc.py").write_text(SOURCE)
    (root / "tests" / "test_calc.py").write_text(TESTS)
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\npythonpath = ['src']\n")
    for module in (mutate, mutant_tests):
        monkeypatch.setattr(module, "REPOSITORY", root)
    monkeypatch.setattr(mutate, "COPIED", ("src", "tests", "pyproject.toml"))
    monkeypatch.setattr(mutate, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=lambda _: True)))
    monkeypatch.setattr(mutant_tests, "IMPORTED", ("json",))
    test = "tests/test_calc.py::test_a_sum"
    lines = {str(line): [test] for line in range(line_of("    if left > LIMIT:"), len(SOURCE.split("\n")))}
    write_json(work / "reached.json", {"lines": {"src/calc.py": lines}, "seconds": {test: 0.1}})
    return root


def test_a_mutant_is_killed_by_the_test_that_reaches_it(repository: Path, tmp_path: Path, capsys) -> None:
    changes = {
        "killed": ["-            + right", "+            - right"],
        "survived": ["-    if left > LIMIT:", "+    if left > LIMIT - 1:"],
        "hangs": ["-    return left", "+    while True: pass"],
        "unreached": ["-    right: int = 2,", "+    right: int = 3,"],
        "gone": ["-    return right", "+    return left"],
    }
    keys = {end: ["src/calc.py", 16, place, "x"] for place, end in enumerate(changes)}
    rows = [{"key": keys[end], "end": "survived", "diff": diff} for end, diff in changes.items()]
    write_json(tmp_path / "found.json", rows)
    flags = ["--modules", "src", "--work", tmp_path / "work", "--again", tmp_path / "found.json"]
    out = tmp_path / "again.json"
    mutate.main([*map(str, flags), "--limit_seconds", "3", "--out", str(out)])
    ends = {tuple(row["key"]): row["end"] for row in read_json(out, list)}
    expected = {tuple(key): end for end, key in keys.items()}
    # A default is read when the module is imported, so every test of the module looks at it; this one kills it.
    assert ends == expected | {tuple(keys["unreached"]): "killed"}
    assert "3 of    5" in capsys.readouterr().out
    assert (tmp_path / "work" / "repository" / "src" / "calc.py").read_text() == SOURCE
    first = out.read_bytes()
    mutate.main([*map(str, flags), "--out", str(out)])  # nothing is run twice
    assert out.read_bytes() == first


def test_a_test_that_fails_without_a_change_too_kills_nothing(repository: Path, tmp_path: Path) -> None:
    """It passed as the map was made, and fails after the tests that are run before it here."""
    (repository / "tests" / "test_calc.py").write_text(TESTS + "\n\ndef test_that_fails():\n    assert add(1) == 9\n")
    reached = read_json(tmp_path / "work" / "reached.json")
    good, bad = "tests/test_calc.py::test_a_sum", "tests/test_calc.py::test_that_fails"
    lines = {line: [good, bad] for line in reached["lines"]["src/calc.py"]} | {str(line_of("    return left")): [bad]}
    write_json(tmp_path / "work" / "reached.json", {"lines": {"src/calc.py": lines}, "seconds": {good: 0.1, bad: 0.2}})
    changes = {
        "survived": ["-    if left > LIMIT:", "+    if left > LIMIT - 1:"],
        "killed": ["-            + right", "+            - right"],
        "unreached": ["-    return left", "+    return left + 1"],
    }
    rows = [
        {"key": ["src/calc.py", 16, place, "x"], "end": "survived", "diff": diff}
        for place, diff in enumerate(changes.values())
    ]
    write_json(tmp_path / "found.json", rows)
    out = tmp_path / "again.json"
    flags = ["--modules", "src", "--work", tmp_path / "work", "--again", tmp_path / "found.json", "--out", out]
    mutate.main([*map(str, flags)])
    assert [row["end"] for row in read_json(out, list)] == [*changes]


def test_the_map_says_which_test_reaches_which_line(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("coverage")
    more = "\n\ndef test_a_small_sum():\n    assert add(2) == 2\n\n\ndef test_that_fails():\n    assert add(1) == 9\n"
    (repository / "tests" / "test_calc.py").write_text(TESTS + more)
    copy, path = mutate.copy_repository(tmp_path / "work"), tmp_path / "work" / "other.json"
    reached = mutant_tests.read_reached(path, copy, ["tests"])
    sums, small = ("tests/test_calc.py::test_a_sum", "tests/test_calc.py::test_a_small_sum")
    assert set(reached["seconds"]) == {sums, small}, "tests that fail look at nothing"
    lines = reached["lines"]["src/calc.py"]
    assert set(lines[str(line_of("    return left"))]) == {sums, small}
    assert lines[str(line_of("        return ("))] == [sums] and "import" in lines[str(line_of("LIMIT = 3"))]
    (repository / "tests" / "test_calc.py").unlink()
    assert mutant_tests.read_reached(path, copy, ["tests"]) == reached, "it is measured once"


def test_folders_without_modules_and_missing_packages_are_named(repository: Path, tmp_path: Path, monkeypatch) -> None:
    flags = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "o.json")]
    with pytest.raises(UserError, match="expected modules in src/nothing"):
        mutate.main(["--modules", "src/nothing", *flags])
    (repository / "src" / "empty.py").write_text('"""Nothing."""\n')
    monkeypatch.setattr(mutate, "places_of", lambda _: {})
    with pytest.raises(UserError, match="expected code that can be changed"):
        mutate.main(["--modules", "src/empty.py", *flags])
    monkeypatch.setattr(mutate.importlib.util, "find_spec", lambda _: None)  # of the stand-in
    with pytest.raises(UserError, match="pip install cosmic-ray coverage"):
        mutate.main(["--modules", "src", *flags])
