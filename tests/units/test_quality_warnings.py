"""When a report of units warns, when it just does not, and what it says."""

import numpy as np

import pytest

from units.quality import SpeakerDependence, UnitSummary, summarize_counts
from units.quality_warnings import find_notes, find_problems, short_splits
from units.random_splits import ChanceDifferences
from units.tally import count_utterance, finish_tally, new_tally


def summary(**changed: object) -> UnitSummary:
    """Four units used alike in runs of three frames, 4.8 s; ``changed`` are measures of it by name."""
    tally = new_tally(4)
    units = [0, 1, 2, 3] * 20
    count_utterance(tally, {"units": units, "durations": [3] * 80})
    good = summarize_counts(finish_tally(tally))
    if "top" in changed:
        changed["most_used"] = [good.most_used[0]._replace(percent=changed.pop("top"))]
    if "single" in changed:
        changed["run_frames"] = good.run_frames._replace(single_frame_percent=changed.pop("single"))
    if "effective" in changed:
        changed["effective_units"] = good.effective_units._replace(value=changed.pop("effective"))
    if "rate" in changed:
        bits = good.bits_per_second
        changed["bits_per_second"] = bits._replace(frames=bits.frames._replace(value=changed.pop("rate")))
    return good._replace(**changed)


@pytest.mark.parametrize(
    ("still_good", "bad", "said"),
    [
        (
            {"dead_percent": 10.0},
            {"dead_percent": 10.6, "dead_units": [2]},
            "1 of 4 units are never used (11 %): fit fewer (--n_units) or on more frames",
        ),
        (
            {"effective": 2.0},
            {"effective": 1.6},
            "only 2 effective units of 4: a few units carry most frames",
        ),
        (
            {"top": 25.0},
            {"top": 25.6},
            "unit 0 takes 26 % of the frames: much silence in the segments, or collapsed features",
        ),
        (
            {"single": 60.0},
            {"single": 60.6},
            "61 % of the runs last one frame: units flicker, as those of mfcc mostly do; for longer motifs run phase 1 "
            "with --duration_penalty 1, else go on",
        ),
    ],
)
def test_use_of_units_just_good_enough_and_just_not(still_good: dict, bad: dict, said: str) -> None:
    assert find_problems({"train": summary(**still_good)}, 4, {}, None) == []
    assert find_problems({"val": summary(), "train": summary(**bad)}, 4, {}, None) == [f"train: {said}"]
    assert find_problems({"val": summary(**bad), "test": summary()}, 4, {}, None) == [f"val: {said}"], "the first"
    assert find_problems({"train": summary(), "val": summary(**bad)}, 4, {}, None) == [], "train alone should use all"


def test_speakers_are_told_from_a_tenth_on() -> None:
    told = SpeakerDependence(2, 0.3, 0.0, 1.0, percent_of_speaker_entropy=10.0)
    assert find_problems({"train": summary()}, 4, {}, told) == []
    assert find_problems({"train": summary()}, 4, {}, told._replace(percent_of_speaker_entropy=10.6)) == [
        "speakers: one frame's unit tells 11 % of who speaks: units encode voices, those of mfcc more than others; "
        "with several speakers try another encoder or layer"
    ]


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize(
    ("rate", "chance", "said"),
    [
        (110.0, 0.0, []),
        (110.6, 0.0, ["111 bit/s against 100 on train"]),
        (90.0, 0.0, []),
        (89.4, 0.0, ["89 bit/s against 100 on train"]),
        (120.0, 20.0, []),
        (120.6, 20.0, ["121 bit/s against 100 on train"]),
        (120.6, 5.0, ["121 bit/s against 100 on train"]),
    ],
)
def test_bitrates_differ_by_over_a_tenth_and_more_than_chance_makes(
    split: str, rate: float, chance: float, said: list[str]
) -> None:
    splits = {"train": summary(rate=100.0), split: summary(rate=rate), "all": summary(rate=300.0)}
    by_chance = ChanceDifferences({}, {split: chance, "other": 300.0})
    assert find_problems(splits, 4, {}, None, by_chance) == [f"{split}: {line}" for line in said]
    assert find_problems({split: splits[split]}, 4, {}, None) == [], "nothing to compare with"
    for name in ("train", split):
        assert find_problems(splits | {name: splits[name]._replace(seconds=0.3)}, 4, {}, None, by_chance) == []


@pytest.mark.parametrize(
    ("bits", "chance", "is_told"), [(0.1, {}, False), (0.101, {}, True), (0.2, {"a-b": 0.2}, False), (0.2, {}, True)]
)
def test_use_differs_from_a_tenth_of_a_bit_on(bits: float, chance: dict, is_told: bool) -> None:
    splits = {"a": summary(), "b": summary()}
    lines = find_problems(splits, 4, {"a-b": bits}, None, ChanceDifferences(chance, {}))
    assert [line.partition(" (")[0] for line in lines] == [f"a-b: unit use differs by {bits:.3f} bit"] * is_told


def test_a_split_is_short_below_five_frames_a_unit() -> None:
    """4.8 s are 240 frames, enough for 48 units and not for 49."""
    splits = {"train": summary(seconds=60.0), "val": summary(), "test": summary(seconds=3.0)}
    assert short_splits(splits, 48) == ["test"] and short_splits(splits, 49) == ["val", "test"]
    assert find_notes(splits, 49) == [
        "val (0.1 min) and test (0.1 min): too short to compare the use of 49 units, which takes 0.1 min a split; "
        "nothing to mend, more recordings bring it"
    ]
    assert find_notes({"val": splits["val"]}, 49) == [] == find_notes(splits, 10)
    (note,) = find_notes(splits | {"test": summary(seconds=66.0)}, 1000)
    assert note.startswith("train (1.0 min) and val (0.1 min) and test (1.1 min): too short")
    assert "takes 1.7 min a split" in note
    assert np.allclose(splits["val"].seconds, 4.8)
