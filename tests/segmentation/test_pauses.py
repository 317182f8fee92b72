"""Where recordings are cut: levels, thresholds, pieces, joins, cuts, margins, noise and music."""

import numpy as np

import pytest

from core.frames import SAMPLE_RATE
from segmentation.pauses import (
    STEP_SAMPLES,
    Threshold,
    add_margins,
    cut_blocks,
    cut_long,
    find_active,
    find_pieces,
    find_runs,
    find_segments,
    find_threshold,
    is_noise_or_music,
    is_silent,
    join_short,
    measure_levels,
    measure_piece,
    remove_offset,
    to_decibels,
)
from synthetic import speech_like


def levels_of(waveform):
    return measure_levels([np.asarray(waveform, np.float32)])[0]


def steady_speech(stretches, seconds, *, floor=1e-3, seed=0):
    """A tone with a 4 Hz flutter at each (start, end) in seconds, over noise of RMS ``floor``."""
    n_samples = round(seconds * SAMPLE_RATE)
    waveform = np.random.default_rng(seed).standard_normal(n_samples, dtype=np.float32) * floor
    second = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    flutter = 0.2 * np.sin(2 * np.pi * 200 * second) * (1.2 + np.sin(2 * np.pi * 4 * second))
    for start, end in stretches:
        first, last = round(start * SAMPLE_RATE), min(round(end * SAMPLE_RATE), n_samples)
        waveform[first:last] += np.resize(flutter, last - first).astype(np.float32)
    return waveform


def seconds_of(found):
    return [(start / 100, end / 100) for start, end in found.pieces]


@pytest.mark.parametrize("kind", ["steady", "jump", "drift"])
@pytest.mark.parametrize("loudness", [1.0, 0.1])
def test_an_offset_is_no_sound(kind: str, loudness: float) -> None:
    speech = loudness * steady_speech([(start, start + 4) for start in range(1, 69, 6)], 70)
    n_samples = len(speech)
    offset = {
        "steady": np.full(n_samples, 0.2),
        "jump": np.where(np.arange(n_samples) < n_samples // 3, 0.2, -0.1),
        "drift": np.linspace(-0.2, 0.2, n_samples),
    }[kind]
    levels, flatness, _ = measure_levels([speech])
    shifted, shifted_flatness, _ = measure_levels([(speech + offset).astype(np.float32)])
    assert np.mean(np.abs(levels.astype(int) - shifted) > 1) < 0.1
    plain, moved = find_segments(levels).pieces, find_segments(shifted).pieces
    assert len(plain) == len(moved) == 12 and np.median(np.abs(np.subtract(plain, moved))) <= 2
    # A jump is a click, and a drift leaves a trace where a block of 30 s ends.
    assert kind != "steady" or np.abs(np.subtract(plain, moved)).max() <= 2
    flags = [
        [is_noise_or_music(*measure_piece(measured[slice(*piece)], flat[slice(*piece)])) for piece in pieces]
        for pieces, measured, flat in ((plain, levels, flatness), (moved, shifted, shifted_flatness))
    ]
    assert flags[0] == flags[1]


def test_a_recording_without_an_offset_stays_as_it_is() -> None:
    speech = steady_speech([(start, start + 4) for start in range(1, 69, 6)], 70)
    assert remove_offset(speech) is speech
    silence = np.full(SAMPLE_RATE, 0.2, np.float32)
    assert np.abs(remove_offset(silence)).max() < 1e-6
    assert len(remove_offset(silence[:37])) == 37 and len(remove_offset(silence[:1])) == 1


def test_levels_are_the_rms_in_half_decibels():
    sine = np.sqrt(2) * 0.1 * np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    levels, _, n_samples = measure_levels([sine.astype(np.float32)])
    assert n_samples == SAMPLE_RATE and len(levels) == 100
    assert np.abs(to_decibels(levels.astype(float)) + 20).max() <= 0.25


def test_levels_do_not_depend_on_the_blocks():
    waveform = speech_like(3.1237, seed=1)
    whole = measure_levels([waveform])
    parts = measure_levels(np.split(waveform, [1, 777, 20000, 20001]))
    assert whole[2] == parts[2] == len(waveform)
    assert np.array_equal(whole[0], parts[0]) and np.array_equal(whole[1], parts[1])
    assert len(whole[0]) == -(-len(waveform) // STEP_SAMPLES)


def test_no_blocks_are_no_levels():
    levels, flatness, n_samples = measure_levels([])
    assert len(levels) == len(flatness) == n_samples == 0
    assert is_silent(find_threshold(levels, 10.0))


def test_white_noise_is_flat_and_a_tone_is_not():
    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE * 2).astype(np.float32) * 0.1
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE * 2) / SAMPLE_RATE)
    assert measure_piece(*measure_levels([noise])[:2]).flatness_db == pytest.approx(-2.5, abs=0.3)
    assert measure_piece(*measure_levels([tone.astype(np.float32)])[:2]).flatness_db < -20


@pytest.mark.parametrize("floor", [1e-4, 1e-3, 1e-2])
def test_threshold_follows_the_noise_floor(floor):
    threshold = find_threshold(levels_of(steady_speech([(1, 3), (4, 6)], 7, floor=floor)), 10.0)
    assert threshold.floor_db == pytest.approx(20 * np.log10(floor), abs=2)
    assert threshold.floor_db < threshold.threshold_db <= threshold.floor_db + 10
    assert not is_silent(threshold)


def test_digital_silence_does_not_lower_the_floor():
    waveform = steady_speech([(1, 3), (4, 6)], 7)
    with_silence = np.concatenate([np.zeros(SAMPLE_RATE * 60, np.float32), waveform])
    assert find_threshold(levels_of(with_silence), 10.0) == find_threshold(levels_of(waveform), 10.0)


def test_a_gain_moves_no_cut():
    waveform = steady_speech([(1, 4), (5, 9), (9.6, 13)], 14)
    loud, soft = (find_segments(levels_of(waveform * gain)).pieces for gain in (1.0, 0.1))
    assert len(loud) == len(soft) == 3
    assert np.abs(np.array(loud) - np.array(soft)).max() <= 1


def test_hysteresis_keeps_a_soft_ending_and_ignores_soft_noise():
    threshold = Threshold(floor_db=-60.0, loud_db=0.0, threshold_db=-50.0)
    decibels = np.array([-60, -54, -60, -40, -53, -54, -60, -60.0])
    levels = np.round(2 * (decibels + 127.5)).astype(np.uint8)
    assert find_active(levels, threshold).tolist() == [False, False, False, True, True, True, False, False]


def test_find_runs():
    assert find_runs(np.array([1, 1, 0, 1, 0, 0, 1], bool)).tolist() == [[0, 2], [3, 4], [6, 7]]
    assert find_runs(np.zeros(3, bool)).shape == (0, 2)


def test_pieces_part_at_long_pauses_only_and_lose_clicks():
    active = np.zeros(400, bool)
    active[10:60] = active[80:120] = active[200:300] = active[350:353] = True
    pieces, clicks = find_pieces(active, 40)
    assert pieces == [(10, 120), (200, 300)]
    assert clicks == 3


def test_cuts_lie_in_the_pauses_and_all_speech_is_kept():
    stretches = [(0.7, 3.5), (4.2, 8.0), (8.6, 12.2), (13.5, 16.0)]
    found = find_segments(levels_of(steady_speech(stretches, 17)))
    pieces = seconds_of(found)
    assert len(pieces) == len(stretches)
    for (start, end), (low, high) in zip(pieces, stretches):
        assert low - 0.21 <= start <= low and high <= end <= high + 0.21
    accounted = sum(end - start for start, end in pieces) + sum(found.dropped.values())
    assert accounted == pytest.approx(17.0)


def test_a_short_pause_is_no_cut():
    assert len(find_segments(levels_of(steady_speech([(0.5, 3), (3.3, 6)], 7)), min_pause=0.4).pieces) == 1
    assert len(find_segments(levels_of(steady_speech([(0.5, 3), (3.3, 6)], 7)), min_pause=0.2).pieces) == 2


def test_a_short_piece_joins_its_nearest_neighbour():
    assert join_short([(0, 300), (400, 450), (500, 900)], 200, 12000, 300) == [(0, 300), (400, 900)]
    assert join_short([(0, 300), (340, 390), (500, 900)], 200, 12000, 300) == [(0, 390), (500, 900)]
    assert join_short([(0, 50), (100, 150), (200, 250)], 200, 12000, 300) == [(0, 250)]


def test_no_join_over_a_far_gap_or_past_the_longest():
    assert join_short([(0, 300), (900, 950)], 200, 12000, 300) == [(0, 300), (900, 950)]
    assert join_short([(0, 380), (390, 440)], 200, 400, 300) == [(0, 380), (390, 440)]


def test_a_lone_short_piece_is_widened_into_the_silence_around_it():
    found = find_segments(levels_of(steady_speech([(1, 4), (10.0, 10.5), (16, 19)], 20)))
    assert found.dropped["too_short"] == 0
    start, end = seconds_of(found)[1]
    assert end - start == pytest.approx(2.0) and start <= 10.0 and end >= 10.5


def test_a_recording_shorter_than_a_segment_is_counted_not_hidden():
    found = find_segments(levels_of(steady_speech([(0.2, 1.0)], 1.2)))
    assert found.pieces == [] and found.dropped["too_short"] > 0.5


def test_long_pieces_are_cut_at_their_longest_pause():
    stretches = [(0.5, 50.0), (50.2, 90.0), (90.35, 130.0), (130.2, 170.0)]
    pieces = seconds_of(find_segments(levels_of(steady_speech(stretches, 171))))
    assert all(2.0 <= end - start <= 120.0 for start, end in pieces)
    assert len(pieces) == 2 and 90.0 <= pieces[0][1] <= pieces[1][0] <= 90.35


def test_long_pieces_without_a_pause_are_cut_at_the_quietest_step():
    levels = np.full(1000, 200, np.uint8)
    levels[430] = 150
    assert cut_long((0, 1000), levels, np.ones(1000, bool), 20, 700) == [(0, 430), (430, 1000)]
    parts = cut_long((0, 30000), np.full(30000, 200, np.uint8), np.ones(30000, bool), 200, 12000)
    assert parts[0][0] == 0 and parts[-1][1] == 30000
    assert all(before[1] == after[0] for before, after in zip(parts, parts[1:]))
    assert all(200 <= end - start <= 12000 for start, end in parts)


def test_margins_never_overlap_nor_leave_the_recording():
    pieces, lost = add_margins([(5, 300), (310, 600), (611, 995)], 1000, 20, 200, 12000)
    assert pieces == [(0, 305), (305, 605), (605, 1000)] and lost == 0


def test_louder_noise_half_way_still_has_pauses():
    stretches = [(start, start + 3.0) for start in np.arange(1.0, 119.0, 4.0)]
    waveform = steady_speech(stretches, 120, floor=1e-4)
    half = len(waveform) // 2
    waveform[half:] += np.random.default_rng(1).standard_normal(half).astype(np.float32) * 2e-2
    pieces = seconds_of(find_segments(levels_of(waveform)))
    assert len(pieces) == len(stretches)


@pytest.mark.parametrize("seed", range(5))
def test_random_recordings_keep_every_promise(seed):
    rng, position, stretches = np.random.default_rng(seed), 0.5, []
    while position < 400:
        length = rng.choice([rng.uniform(0.1, 1.5), rng.uniform(2, 20), rng.uniform(100, 200)], p=[0.5, 0.45, 0.05])
        stretches.append((position, position + length))
        position += length + rng.uniform(0.1, 4)
    found = find_segments(levels_of(steady_speech(stretches, position, seed=seed)))
    pieces = seconds_of(found)
    assert all(1.995 <= end - start <= 120.0 for start, end in pieces)
    assert all(before[1] <= after[0] for before, after in zip(pieces, pieces[1:]))
    kept = sum(max(0, min(end, b) - max(start, a)) for start, end in pieces for a, b in stretches)
    assert kept >= 0.99 * sum(b - a for a, b in stretches)


def test_speech_is_not_flagged_noise_and_chords_are():
    time = np.arange(SAMPLE_RATE * 6) / SAMPLE_RATE
    chord = sum(np.sin(2 * np.pi * hertz * time) for hertz in (220, 277, 330)) * 0.1
    noise = np.random.default_rng(0).standard_normal(len(time)) * 0.05
    speech = speech_like(6.0, seed=3)
    flags = [
        is_noise_or_music(*measure_piece(*measure_levels([x.astype(np.float32)])[:2])) for x in (speech, chord, noise)
    ]
    assert flags == [False, True, True]


def test_cut_blocks_gives_the_exact_samples():
    waveform = np.arange(1000, dtype=np.float32)
    bounds = [(0, 10), (10, 333), (400, 401), (650, 1000)]
    for borders in ([], [10], [5, 333, 400, 401], list(range(1, 1000, 7))):
        cut = list(cut_blocks(np.split(waveform, borders), bounds))
        assert len(cut) == len(bounds)
        assert all(np.array_equal(part, waveform[start:end]) for part, (start, end) in zip(cut, bounds))
