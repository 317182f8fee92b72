"""scripts/bench/mutate.py: which places are drawn, which tests look at them, and the score. No mutant is run here."""

from pathlib import Path

import pytest

from mutate import describe, repeat_changes, wilson

from core.files import write_json
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
