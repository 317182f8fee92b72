"""The table of pairs, and the units of its stretches."""

import sys
from pathlib import Path

import numpy as np

import pytest

from core.errors import UserError
from core.tables import write_table
from synthetic import REPOSITORY
from translation.pairs import COLUMNS, Pair, Span, has_length, pair_row, read_pairs
from translation.spans import cut_all, cut_units
from unit_lm.utterances import UnitUtterance

sys.path.insert(0, str(REPOSITORY / "recipes" / "prompt_pairs"))

from build_pairs import assign_splits, group_prompts, make_pairs

INF = float("inf")


def write(path: Path, pairs: list[Pair]) -> Path:
    write_table(path, COLUMNS, map(pair_row, pairs))
    return path


def pair(prompt: str, split: str = "train", *, end: float = 2.0, source: str = "aa") -> Pair:
    return Pair(split, prompt, Span(source, "x.mp3", 0.5, 1.5, "one"), Span("bb", "y.mp3", 1.0, end, "uno"))


def test_pairs_come_back_as_they_were_written(tmp_path: Path) -> None:
    pairs = [pair("first"), pair("second", "test", end=INF), pair("third", source="cc")]
    table = write(tmp_path / "pairs.tsv", pairs)
    assert read_pairs(table, ["aa"], "bb") == pairs[:2]
    assert read_pairs(table, ["cc", "aa"], "bb") == pairs
    assert [has_length(one, 0.0, 1.0) for one in pairs] == [True, False, True]
    assert [has_length(one, 1.1, None) for one in pairs] == [False, True, False]


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    for pairs, message in (
        ([pair("same"), pair("same", "test")], "'same' in one split"),
        ([pair("odd", "dev")], "line 2: expected a split of train, val, test, found 'dev'"),
        ([pair("back", end=0.5)], "ends after it starts"),
        ([pair("other", source="cc")], "from aa to bb, found cc to bb"),
    ):
        with pytest.raises(UserError, match=message):
            read_pairs(write(tmp_path / "pairs.tsv", pairs), ["aa"], "bb")


def utterance(start: float, *units: int) -> UnitUtterance:
    """Units of 5 frames, a tenth of a second, each."""
    return UnitUtterance("", "bb", np.array(units), np.full(len(units), 5), "y.mp3", start)


def test_units_are_cut_by_time_out_of_all_segments_that_a_span_touches(tmp_path: Path) -> None:
    index = {"y.mp3": [utterance(1.0, 1, 2, 3, 4), utterance(1.5, 5, 6)]}
    cut = cut_units(index, Span("bb", "y.mp3", 1.16, 1.6))
    assert cut.units.tolist() == [2, 3, 4, 5] and cut.durations.tolist() == [2, 5, 5, 5]
    assert cut_units(index, Span("bb", "y.mp3", 0.0, INF)).units.tolist() == [1, 2, 3, 4, 5, 6]
    outside = Span("bb", "y.mp3", 1.6, 2.0)
    assert cut_units(index, outside) is None and cut_units(index, Span("bb", "z.mp3", 0.0, 1.0)) is None
    with pytest.raises(UserError, match=r"1 of 1 spans lie outside its segments: y.mp3, 1.60 to 2.00 s"):
        cut_all(index, [outside], tmp_path)


def test_prompts_of_the_same_words_share_a_split_and_only_one_is_held_out() -> None:
    def says(aa: str, bb: str) -> dict[str, Span]:
        return {"aa": Span("aa", "x.mp3", 0, 1, aa), "bb": Span("bb", "y.mp3", 0, 1, bb)}

    prompts = {"a": says("Yes.", "si"), "b": says("yes", "claro"), "c": says("sure", "Claro!"), "d": says("no", "no")}
    prompts |= {f"e{number}": says(f"{number}", f"n{number}") for number in range(4)}
    groups = group_prompts(prompts)
    assert ["a", "b", "c"] in groups and len(groups) == 6
    splits = [assign_splits(groups, 2, 1, seed) for seed in range(8)]
    assert splits[0] == assign_splits(groups, 2, 1, 0) and len({str(found) for found in splits}) > 1
    for found in splits:
        assert list(found.values()).count("test") == 2 and list(found.values()).count("val") == 1
        held_out = found.get("a") != "train"
        assert {name for name in "bc" if name in found} == (set() if held_out else {"b", "c"})
    pairs = make_pairs(prompts, splits[0])
    assert len(pairs) == 2 * len(splits[0])
    assert {(one.source.language, one.target.language) for one in pairs} == {("aa", "bb"), ("bb", "aa")}
    with pytest.raises(UserError, match="expected fewer than the 6"):
        assign_splits(groups, 5, 1, 0)
