"""Entropies, bitrates and counts against values worked out by hand; phase 1's report as a script."""

import json
from collections import Counter

import numpy as np

import pytest

import validate_units

from core.errors import UserError
from synthetic import run_script, write_units
from units.corpus import read_corpus, write_corpus
from units.quality import (
    Interval,
    SpeakerDependence,
    UnitUsage,
    as_json,
    bitrates,
    conditional_entropy_bits,
    divergence_bits,
    entropy_bits,
    mutual_information_bits,
    run_length_stats,
    speaker_dependence,
    summarize_counts,
    transition_stats,
    with_interval,
)
from units.quality_warnings import find_notes, find_problems
from units.random_splits import NO_CHANCE, measure_chance
from units.tally import (
    HELD_PARTS,
    HELD_UTTERANCES,
    MAX_RUN,
    UnitCounts,
    add_codes,
    check_utterance,
    count_utterance,
    finish_tally,
    merge_codes,
    merge_counts,
    new_tally,
)


def utterance(units: list[int], durations: list[int], name: str = "a", **more: object) -> dict:
    known = {"id": name, "audio": f"x/{name}.wav", "duration": sum(durations) / 50, "split": "train", "unit_rate": 50}
    return known | {"units": units, "durations": durations} | more


def tally_of(*utterances: dict, n_units: int = 4, n_streams: int = 1, **settings: int) -> UnitCounts:
    tally = new_tally(n_units, n_streams, **settings)
    for one in utterances:
        count_utterance(tally, one)
    return finish_tally(tally)


@pytest.mark.parametrize(
    ("counts", "bits"),
    [([1, 1], 1.0), ([5, 5, 5, 5], 2.0), ([7, 0, 0], 0.0), ([0, 0], 0.0), ([2, 1, 1], 1.5), ([3, 1], 0.8112781245)],
)
def test_entropy_by_hand(counts: list[int], bits: float) -> None:
    assert entropy_bits(np.array(counts)) == pytest.approx(bits, abs=1e-9)


def test_entropy_is_never_below_zero_nor_above_that_of_equal_counts() -> None:
    alone = entropy_bits(np.arange(5000)[:, None])  # of one kind, whatever rounding makes of it
    assert (alone >= 0).all() and alone.max() < 1e-12
    counts = np.random.default_rng(0).integers(0, 4, (1000, 5))
    assert (entropy_bits(counts) <= np.log2(np.maximum((counts > 0).sum(1), 1)) + 1e-12).all()


def test_entropy_goes_by_row() -> None:
    np.testing.assert_allclose(entropy_bits(np.array([[1, 1, 0], [4, 0, 0], [1, 1, 2]])), [1.0, 0.0, 1.5], atol=1e-12)


def test_divergence_by_hand() -> None:
    assert divergence_bits(np.array([1, 2]), np.array([10, 20])) == pytest.approx(0.0, abs=1e-12)
    assert divergence_bits(np.array([3, 0]), np.array([0, 1])) == pytest.approx(1.0)
    # p = (1, 0), q = (1/2, 1/2): H(3/4, 1/4) - (0 + 1) / 2.
    assert divergence_bits(np.array([4, 0]), np.array([2, 2])) == pytest.approx(0.8112781245 - 0.5)
    with pytest.raises(ValueError, match="empty"):
        divergence_bits(np.array([0, 0]), np.array([1, 1]))


def test_mutual_information_by_hand() -> None:
    assert mutual_information_bits(np.array([[3, 0], [0, 3]])) == pytest.approx(1.0)
    assert mutual_information_bits(np.array([[2, 4], [1, 2]])) == pytest.approx(0.0, abs=1e-12)
    # Rows 1/2, 1/2, columns 3/4, 1/4, joint 1/2, 0, 1/4, 1/4: 1 + 0.8113 - 1.5.
    assert mutual_information_bits(np.array([[2, 0], [1, 1]])) == pytest.approx(0.3112781245)


def test_frames_runs_and_bitrates_by_hand() -> None:
    # Frames 0 0 0 1 | 1 1 2 0: counts 4, 3, 1 of 8; runs 0 1 | 1 2 0: counts 2, 2, 1 of 5 in 0.16 s.
    tally = tally_of(utterance([0, 1], [3, 1]), utterance([1, 2, 0], [2, 1, 1], "b"))
    assert tally.frames.tolist() == [[4, 3, 1, 0]]
    assert tally.runs.tolist() == [2, 2, 1, 0]
    bits = bitrates(tally)
    assert bits.nominal == pytest.approx(100.0)
    frame_entropy = 0.5 * 1 + 3 / 8 * np.log2(8 / 3) + 1 / 8 * 3
    assert bits.frames == (pytest.approx(frame_entropy * 50), None, None)
    run_entropy = 2 * 0.4 * np.log2(2.5) + 0.2 * np.log2(5)
    assert bits.deduplicated.value == pytest.approx(run_entropy * 5 / 0.16)
    # (0,3) (1,1) (1,2) (2,1) (0,1): five different ones.
    assert bits.deduplicated_timed == pytest.approx(np.log2(5) * 5 / 0.16)
    assert bits.total == bits.frames.value
    # Pairs of units: 0>1, 1>2, 2>0, each unit with one follower.
    assert conditional_entropy_bits(tally, self_transitions=False) == pytest.approx(0.0, abs=1e-12)
    # Pairs of frames: 0>0 twice, 0>1; 1>1, 1>2; 2>0. Six in all: half from 0 with H(2/3, 1/3),
    # a third from 1 with 1 bit.
    expected = 3 / 6 * (np.log2(3) - 2 / 3) + 2 / 6 * 1
    assert conditional_entropy_bits(tally, self_transitions=True) == pytest.approx(expected)


def test_bits_given_the_one_before_by_hand() -> None:
    """Units 0 1 0 2, two frames each: 25 a second. After 0 comes 1 or 2; of its four frames' followers two are 0."""
    bits = bitrates(tally_of(utterance([0, 1, 0, 2], [2, 2, 2, 2])))
    assert bits.deduplicated_conditional == pytest.approx(2 / 3 * 25)
    assert bits.frames_conditional == pytest.approx((4 * 1.5 + 2 * 1) / 7 * 50)
    assert bits.deduplicated_timed == pytest.approx(1.5 * 25) == bits.deduplicated.value


def test_summary_by_hand() -> None:
    summary = summarize_counts(tally_of(utterance([0, 1], [3, 1]), utterance([1, 2, 0], [2, 1, 1], "b")))
    assert (summary.n_utterances, summary.seconds, summary.units) == (2, pytest.approx(0.16), 5)
    assert summary.units_per_second == pytest.approx(31.25)
    assert (summary.used_units, summary.dead_units, summary.dead_percent) == (3, [3], 25.0)
    assert summary.effective_units.value == pytest.approx(2**summary.entropy_bits.value)
    assert summary.most_used[0] == UnitUsage(unit=0, frames=4, percent=50.0, runs=2, mean_run_frames=2.0)
    assert [row.unit for row in summary.most_used] == [0, 1, 2]


def test_uniform_units_reach_the_nominal_bitrate() -> None:
    rng = np.random.default_rng(0)
    units = np.concatenate([rng.permutation(8) for _ in range(500)])
    units = units[np.insert(np.diff(units) != 0, 0, True)].tolist()
    summary = summarize_counts(tally_of(utterance(units, [2] * len(units)), n_units=8))
    assert summary.effective_units.value == pytest.approx(8.0, rel=0.01)
    assert summary.bits_per_second.frames.value == pytest.approx(150.0, rel=0.01)
    assert summary.bits_per_second.deduplicated.value == pytest.approx(75.0, rel=0.01)
    # Each frame is either sure to stay or free to go: 1 bit lost in two frames, log2(7) or so won.
    assert summary.bits_per_second.frames_conditional < 150.0


def test_run_lengths_by_hand() -> None:
    # Lengths 1 1 1 1 2 2 3 4 5 30.
    stats = run_length_stats(tally_of(utterance([0, 1, 2, 3, 0, 1, 2, 3, 0, 1], [1, 1, 1, 1, 2, 2, 3, 4, 5, 30])))
    assert stats.mean == pytest.approx(5.0)
    assert (stats.p10, stats.p50, stats.p90, stats.p99, stats.max) == (1, 2, 5, 30, 30)
    assert stats.single_frame_percent == pytest.approx(40.0)


def test_percentiles_are_the_first_length_that_so_many_runs_do_not_exceed() -> None:
    units = [number % 4 for number in range(100)]
    stats = run_length_stats(tally_of(utterance(units, list(range(1, 101)))))
    assert stats == (50.5, 10, 25, 50, 75, 90, 99, 100, 1.0)


def test_transitions_by_hand() -> None:
    stats = transition_stats(tally_of(utterance([0, 1, 0, 1, 2], [2, 1, 1, 1, 1]), utterance([3], [4], "b")))
    assert (stats.pairs, stats.distinct) == (4, 3)
    assert stats.distinct_percent == pytest.approx(100 * 3 / 12)
    # Stays: 1 in the first, 3 in the second; changes: 4.
    assert stats.self_percent == pytest.approx(50.0)
    assert stats.commonest[0] == {"from": 0, "to": 1, "count": 2, "percent": 50.0}


def test_the_ten_commonest_are_listed_and_of_equals_the_first() -> None:
    """Twelve units one after the other, twice, the last two once more."""
    units = [*range(12), *range(12), 10, 11]
    counts = tally_of(utterance(units, [1] * 26), n_units=14)
    stats, usage = transition_stats(counts), summarize_counts(counts).most_used
    assert [(row["from"], row["to"], row["count"]) for row in stats.commonest] == [
        (10, 11, 3),
        *((unit, unit + 1, 2) for unit in range(9)),
    ]
    assert [(row.unit, row.frames) for row in usage] == [(10, 3), (11, 3), *((unit, 2) for unit in range(8))]
    assert (stats.pairs, stats.distinct, stats.self_percent) == (25, 13, 0.0)
    alone = transition_stats(tally_of(utterance([0], [1]), n_units=1))
    assert alone == (0, 0, 0.0, 0.0, [])
    with pytest.raises(ValueError, match="expected at least one frame, found none"):
        summarize_counts(tally_of())


def test_residual_streams_add_to_the_bitrate() -> None:
    one = utterance([0, 1], [1, 3], residual_units=[[0, 1, 2, 3], [2, 2, 2, 2]])
    bits = bitrates(tally_of(one, n_streams=3))
    assert bits.residual == [pytest.approx(100.0), pytest.approx(0.0)]
    assert bits.total == pytest.approx(bits.frames.value + 100.0)
    assert bits.nominal == pytest.approx(300.0)


def test_codes_are_counted_across_merges() -> None:
    counter, rng, expected = [], np.random.default_rng(0), np.zeros(50, np.int64)
    for _ in range(HELD_PARTS * 5 // 2):
        codes = rng.integers(0, 50, 100)
        add_codes(counter, codes)
        expected += np.bincount(codes, minlength=50)
        assert len(counter) < HELD_PARTS
    add_codes(counter, np.array([3]), np.array([1000]))
    expected[3] += 1000
    codes, counts = merge_codes(counter)
    assert codes.tolist() == list(range(50))
    np.testing.assert_array_equal(counts, expected)


def test_utterances_are_held_until_there_are_128() -> None:
    tally, sizes = new_tally(4, n_resamples=2), []
    for _ in range(HELD_UTTERANCES + 1):
        count_utterance(tally, utterance([0, 1], [1, 2]))
        sizes.append(len(tally.held))
    assert sizes == [*range(1, 128), 0, 1]
    counts = finish_tally(tally)
    assert counts.n_utterances == 129 and (counts.resampled_frames[:, 1] == 2 * counts.resampled_frames[:, 0]).all()
    assert (counts.resampled_runs[:, 1] == counts.resampled_frames[:, 0]).all() and not tally.held


@pytest.mark.parametrize("n_units", [2, 3, 5, 12])
def test_pairs_and_run_lengths_are_those_of_the_runs(n_units: int) -> None:
    utterances = random_utterances(5, n_units, seed=n_units)
    counts, pairs, lengths = tally_of(*utterances, n_units=n_units), Counter(), Counter()
    for one in utterances:
        pairs.update(first * n_units + second for first, second in zip(one["units"], one["units"][1:]))
        lengths.update(unit * MAX_RUN + duration for unit, duration in zip(one["units"], one["durations"]))
    assert dict(zip(*(column.tolist() for column in counts.pairs))) == pairs
    assert dict(zip(*(column.tolist() for column in counts.run_lengths))) == lengths


def test_named_tuples_are_objects_of_json_wherever_they_are() -> None:
    value = Interval(*range(len(Interval._fields)))
    found = as_json({"a": [value, 1], "b": {"c": value}, "d": "x"})
    assert found == {"a": [value._asdict(), 1], "b": {"c": value._asdict()}, "d": "x"} and type(found["b"]["c"]) is dict


def random_utterances(n: int, n_units: int, seed: int) -> list[dict]:
    rng, made = np.random.default_rng(seed), []
    for number in range(n):
        units = rng.integers(0, n_units, 40)
        units = units[np.insert(np.diff(units) != 0, 0, True)]
        made.append(utterance(units.tolist(), rng.integers(1, 5, len(units)).tolist(), f"u{number}"))
    return made


def test_merged_tallies_equal_one_tally() -> None:
    utterances = random_utterances(30, 6, seed=0)
    together = summarize_counts(tally_of(*utterances, n_units=6))
    parts = [tally_of(*utterances[:10], n_units=6), tally_of(*utterances[10:], n_units=6)]
    assert summarize_counts(merge_counts(parts)) == together


def test_bootstrap_interval_holds_the_value_and_narrows_with_data() -> None:
    widths = []
    for n in (20, HELD_UTTERANCES * 4 + 7):
        summary = summarize_counts(tally_of(*random_utterances(n, 30, seed=1), n_units=30, n_resamples=300))
        bits = summary.bits_per_second
        for measure in (summary.entropy_bits, bits.frames, bits.deduplicated):
            assert measure.low < measure.value < measure.high
        widths.append(bits.frames.high - bits.frames.low)
    assert widths[1] < widths[0] / 2


def test_bootstrap_width_agrees_with_resampling_utterances_by_hand() -> None:
    rng, utterances = np.random.default_rng(0), random_utterances(200, 10, seed=2)
    counts = np.stack([np.bincount(u["units"], weights=u["durations"], minlength=10) for u in utterances])
    drawn = [entropy_bits(counts[rng.integers(200, size=200)].sum(0)) for _ in range(2000)]
    found = summarize_counts(tally_of(*utterances, n_units=10, n_resamples=2000)).entropy_bits
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.high - found.low == pytest.approx(high - low, rel=0.15)


def test_interval_without_resamples_is_none() -> None:
    assert with_interval(2.0, np.zeros(0)) == Interval(2.0, None, None)
    assert with_interval(2.0, np.ones(10)) == Interval(2.0, 2.0, 2.0)


def test_an_interval_has_the_width_of_the_resamples_and_their_mean_at_the_value() -> None:
    low, high = np.quantile([1.0, 2.0, 6.0], [0.025, 0.975])
    assert with_interval(10.0, np.array([1.0, 2.0, 6.0])) == pytest.approx((10.0, 10 + low - 3, 10 + high - 3))


def test_a_resample_that_draws_nothing_does_not_count() -> None:
    counts = tally_of(utterance([0, 1], [3, 1]))._replace(
        resampled_frames=np.array([[0.0, 0, 0, 0], [3, 1, 0, 0], [6, 2, 0, 0]]),
        resampled_runs=np.array([[0.0, 0, 0, 0], [1, 1, 0, 0], [2, 2, 0, 0]]),
    )
    summary = summarize_counts(counts)
    for found in (summary.entropy_bits, summary.effective_units, *summary.bits_per_second[1:4:2]):
        assert found.low == pytest.approx(found.value) == found.high


def test_speaker_dependence_by_hand() -> None:
    found = speaker_dependence(np.array([[8, 0], [0, 8]]), np.array([[4, 4], [4, 4]]))
    assert found == SpeakerDependence(
        n_speakers=2,
        mutual_information_bits=pytest.approx(1.0),
        by_chance_bits=pytest.approx(0.0, abs=1e-12),
        speaker_entropy_bits=pytest.approx(1.0),
        percent_of_speaker_entropy=pytest.approx(100.0),
    )


def test_what_chance_tells_of_speakers_is_taken_off() -> None:
    """0.3113 bits, as above, of which chance makes 1 - H(3/4, 1/4); speakers themselves have one bit."""
    table, shuffled = np.array([[2, 0], [1, 1], [0, 0]]), np.array([[3, 1], [1, 3]])
    chance = 1 - 0.8112781245
    found = speaker_dependence(table, shuffled)
    assert found.n_speakers == 2 and found.by_chance_bits == pytest.approx(chance)
    assert found.percent_of_speaker_entropy == pytest.approx(100 * (0.3112781245 - chance))
    assert speaker_dependence(shuffled, table).percent_of_speaker_entropy == 0.0
    assert speaker_dependence(table[:1], table[:1]) == SpeakerDependence(1, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("frames", [2, 3, 5, 6])
def test_the_length_may_miss_the_seconds_by_a_frame(frames: int) -> None:
    one = utterance([0, 1], [1, frames - 1], "tale_7") | {"duration": 0.08}
    if frames in (3, 5):
        check_utterance(one, 4)
        return
    with pytest.raises(UserError, match=rf"tale_7: found {frames} frames for 0\.08 s; rerun phase 1 with --overwrite"):
        check_utterance(one, 4)


def test_streams_are_as_many_and_as_long_as_said() -> None:
    one = utterance([0, 1], [2, 2], residual_units=[[0, 1, 2, 3], [3, 3, 3, 3]])
    check_utterance(one, 4, 3)
    with pytest.raises(UserError, match=r"residual streams of \[4, 4\], not 1 of 4 frames"):
        check_utterance(one, 4, 2)
    for n_frames in (3, 5):
        with pytest.raises(UserError, match=rf"residual streams of \[{n_frames}\], not 1 of 4 frames"):
            check_utterance(one | {"residual_units": [[0] * n_frames]}, 4, 2)
    with pytest.raises(UserError, match=r"units 0 … 4, not 0 … 3"):
        check_utterance(one | {"residual_units": [[0, 1, 2, 4]]}, 4, 2)
    check_utterance(utterance([], []), 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": [0, 1, 1], "durations": [2, 1, 1]}, "deduplicated"),
        ({"units": [0, 1, 9]}, "units 0 … 9, not 0 … 3"),
        ({"units": [0, -1, 2]}, "units -1"),
        ({"durations": [2, 1]}, "3 units and 2 durations"),
        ({"durations": [2, 0, 1]}, "below 1 frame"),
        ({"duration": 1.0}, "4 frames for 1.0 s"),
        ({"durations": [2, 1, 1, 1]}, "3 units and 4 durations"),
        ({"unit_rate": 100}, "100 Hz"),
        ({"unit_rate": 25}, "25 Hz, not 50"),
        ({"split": "dev"}, "split 'dev'"),
        ({"residual_units": [[0, 0, 0, 0]]}, "residual"),
    ],
)
def test_broken_utterances_are_named(change: dict, message: str) -> None:
    good = utterance([0, 1, 2], [2, 1, 1], "tale_7")
    check_utterance(good, 4)
    with pytest.raises(UserError, match=message) as error:
        check_utterance(good | change, 4)
    assert "tale_7" in str(error.value)
    assert "rerun phase 1" in str(error.value)


def test_problems_are_found_and_good_units_have_none() -> None:
    good = summarize_counts(tally_of(utterance([0, 1, 2, 3, 2, 0, 1, 3] * 9, [3] * 72), n_units=4))
    assert find_problems({"train": good, "test": good}, 4, {}, None) == []
    near = summarize_counts(tally_of(utterance([0, 1, 2, 3, 2, 0, 1, 3] * 9, [3] * 70 + [7, 7]), n_units=4))
    assert 95 < near.bits_per_second.frames.value < 100
    assert find_problems({"train": good, "test": near}, 4, {}, None) == [], "a tenth of the bits is no difference"
    bad = summarize_counts(tally_of(utterance([0, 1] * 30, [9, 1] * 30), n_units=8))
    lines = find_problems({"train": bad}, 8, {}, None)
    assert [("never used" in line, "effective" in line, "takes 90 %" in line) for line in lines[:3]] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    flicker = summarize_counts(tally_of(utterance([0, 1, 2, 3] * 20, [1] * 80), n_units=4))
    assert any("flicker" in line for line in find_problems({"train": flicker}, 4, {}, None))
    changed = find_problems({"train": good, "test": bad}, 4, {}, None)
    assert any("test: 23 bit/s against 100 on train" in line for line in changed)
    speakers = SpeakerDependence(2, 0.3, 0.0, 1.0, percent_of_speaker_entropy=30.0)
    assert any("voices" in line for line in find_problems({"train": good}, 4, {}, speakers))
    drift_bits = {"train-test": 0.3, "train-val": 0.01}
    assert [line for line in find_problems({"train": good}, 4, drift_bits, None) if "train-" in line] == [
        "train-test: unit use differs by 0.300 bit (Jensen-Shannon): other speakers or rooms? Then scores of test "
        "are of those; more recordings of each help"
    ]


def test_what_the_length_of_a_split_explains_is_no_problem() -> None:
    rng = np.random.default_rng(0)
    habits = rng.dirichlet(np.full(100, 0.3), size=60)  # each utterance on another matter
    rows = [
        utterance(rng.choice(100, 60, p=habit).tolist(), [2] * 60) | {"split": "val" if place < 10 else "train"}
        for place, habit in enumerate(habits)
    ]
    splits = {
        split: summarize_counts(tally_of(*[row for row in rows if row["split"] == split], n_units=100))
        for split in ("train", "val")
    }
    counts = {
        split: np.bincount(np.concatenate([row["units"] for row in rows if row["split"] == split]), minlength=100)
        for split in splits
    }
    drift_bits = {"train-val": divergence_bits(counts["train"], counts["val"])}
    chance = measure_chance(rows, n_units=100, seed=0)
    assert drift_bits["train-val"] > 0.1, "as large as a real difference of splits"
    assert any("train-val" in line for line in find_problems(splits, 100, drift_bits, None))
    assert find_problems(splits, 100, drift_bits, None, chance) == [] == find_notes(splits, 100)
    real = find_problems(splits, 100, {"train-val": 1.2 * chance.drift_bits["train-val"]}, None, chance)
    assert len(real) == 1 and real[0].startswith("train-val: unit use differs")
    assert find_problems(splits, 300, {"train-val": 0.9}, None) == [
        line for line in find_problems({"train": splits["train"]}, 300, {}, None)
    ], "1200 frames say nothing of 300 units"
    (note,) = find_notes(splits, 300)
    assert note.startswith("val (0.4 min): too short to compare the use of 300 units, which takes 0.5 min a split")


def test_chance_is_not_measured_where_there_is_nothing_to_deal() -> None:
    rows = [utterance([0, 1], [2, 3]) | {"split": "train"}] * 3
    assert measure_chance(rows, n_units=2, seed=0) == measure_chance([], n_units=2, seed=0) == NO_CHANCE


def test_chance_is_measured_up_to_so_many_frames_and_between_every_two_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [utterance([0, 1], [2, 3]) | {"split": split} for split in ("test", "train", "val")]
    rows.insert(1, utterance([], []) | {"split": "train"})
    monkeypatch.setattr("units.random_splits.MOST_FRAMES", 15)
    chance = measure_chance(rows, n_units=2, seed=0)
    assert chance.drift_bits == {name: pytest.approx(0.0) for name in ("train-val", "train-test", "val-test")}
    assert chance.bits_per_second == {"val": 0.0, "test": 0.0}
    assert measure_chance([rows[0], rows[-1]], n_units=2, seed=0).bits_per_second == {}, (
        "without train there is no difference"
    )
    monkeypatch.setattr("units.random_splits.MOST_FRAMES", 14)
    assert measure_chance(rows, n_units=2, seed=0) == NO_CHANCE


def test_what_chance_makes_is_the_95th_percentile_of_forty_deals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deals are numbered, and each differs by its number: a bit for a deal."""
    numbers = iter(range(1, 41))
    monkeypatch.setattr("units.random_splits._deal", lambda *_: {"train": next(numbers), "val": 0})
    monkeypatch.setattr("units.random_splits.divergence_bits", lambda one, other: float(one - other))
    monkeypatch.setattr("units.random_splits.entropy_bits", lambda number: float(number) / 50)
    rows = [utterance([0, 1], [2, 3]) | {"split": split} for split in ("train", "val")]
    chance = measure_chance(rows, n_units=2, seed=0)
    assert chance.drift_bits["train-val"] == pytest.approx(38.05) == chance.bits_per_second["val"]
    assert next(numbers, None) is None
    numbers = iter(range(1, 41))
    hours = [utterance([0, 1], [3_599_994, 1]) | {"split": "train"}, rows[1]]
    assert measure_chance(hours, n_units=2, seed=0) == chance, "twenty hours to the frame"
    hours[1]["durations"][1] += 1
    assert measure_chance(hours, n_units=2, seed=0) == NO_CHANCE


def test_splits_dealt_by_chance_hold_as_many_frames_as_the_real_ones() -> None:
    """Two utterances of ten frames, each of one unit: a frame too many would mix the two."""
    rows = [utterance([unit], [10]) | {"split": split} for unit, split in enumerate(("train", "val"))]
    chance = measure_chance(rows, n_units=2, seed=0)
    assert chance.bits_per_second == {"val": 0.0} and chance.drift_bits == {"train-val": pytest.approx(1.0)}


def test_script_reports_every_split(tiny_units: dict) -> None:
    done = run_script("src/validate_units.py", "--language", "spanish", "--n-resamples", 50)
    report = json.loads((tiny_units["units"] / "unit_report.json").read_text())
    assert list(report["splits"]) == ["train", "val", "test", "all"]
    assert set(report["drift_bits"]) == {"train-val", "train-test", "val-test"}
    assert report["speakers"] is None
    parts = [report["splits"][split]["units"] for split in ("train", "val", "test")]
    assert sum(parts) == report["splits"]["all"]["units"]
    assert "bit/s at 50 Hz (headline)" in done.stdout
    assert "unit_report.json" in done.stdout


def test_script_with_residual_streams_and_speakers(tiny_language: dict, capsys: pytest.CaptureFixture) -> None:
    # Speakers with units of their own: a unit tells all.
    rows = [row | {"speaker": "ab"[number % 2]} for number, row in enumerate(tiny_language["rows"])]
    exp = write_units(tiny_language["exp"], rows, n_units=12, n_streams=2)
    corpus = exp / "corpus_timestamped.json"
    changed = list(read_corpus(corpus))
    for one in changed:
        offset = 6 * (one["speaker"] == "b")
        one["units"] = [unit * 2 % 6 + offset for unit in range(len(one["units"]))]
    write_corpus(corpus, changed)
    report = validate_units.build_unit_report(exp, n_resamples=0, seed=0)
    assert report.speakers.n_speakers == 2
    assert report.speakers.mutual_information_bits == pytest.approx(report.speakers.speaker_entropy_bits, rel=1e-6)
    assert any("voices" in line for line in report.problems)
    assert len(report.splits["all"].bits_per_second.residual) == 1
    validate_units.print_report(report)
    assert "with residual streams" in capsys.readouterr().out


def test_script_refuses_unfinished_and_broken_phase_1(tiny_units: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["validate_units.py", "--language", "spanish"])
    corpus = tiny_units["units"] / "corpus_timestamped.json"
    corpus.write_text(corpus.read_text().replace('"unit_rate":50', '"unit_rate":25', 1))
    with pytest.raises(UserError, match="25 Hz"):
        validate_units.main()
    (tiny_units["units"] / "finished.json").unlink()
    with pytest.raises(UserError, match=r"run_phase1\.sh spanish"):
        validate_units.main()
