"""Two passes find what a search of everything finds; scores compare between queries."""

from pathlib import Path

import numpy as np

import pytest

from spoken_search.calibration import probability, score_costs
from spoken_search.dtw import best_match
from spoken_search.features import Transform, fit_transform, nearest_centroids, prepare_features
from spoken_search.hits import place_in_recording
from spoken_search.index import Index
from spoken_search.matching import Place, drop_overlapping, search_index
from spoken_search.queries import find_speech, parse_query

SEGMENTS = 30


@pytest.fixture(scope="module")
def index() -> Index:
    """Segments of 0 to 4 s of smooth random features; a word of 30 frames lies in every fifth."""
    rng = np.random.default_rng(0)
    word = smooth(rng, 30)
    signals = []
    for number in range(SEGMENTS):
        frames = smooth(rng, int(rng.integers(60, 200)) if number else 0)
        if number % 5 == 1:
            frames[20:50] = word + 0.3 * rng.standard_normal(word.shape)
        signals.append(frames)
    transform = fit_transform(signals[1:], n_features=0, n_centroids=64, seed=0)
    prepared = [prepare_features(signal, transform) for signal in signals]
    frames = np.concatenate(prepared)
    bounds = np.concatenate([[0], np.cumsum([len(one) for one in prepared])])
    codes = nearest_centroids(frames, transform)
    return Index(Path(), {}, [{} for _ in signals], "", bounds, frames.astype(np.float16), codes, transform)


def smooth(rng: np.random.Generator, n_frames: int) -> np.ndarray:
    """(F, 8): random features that change as slowly as speech."""
    noise = rng.standard_normal((n_frames + 7, 8))
    return np.stack([noise[shift : shift + n_frames] for shift in range(8)]).mean(axis=0).astype(np.float32)


def part(index: Index, segment: int, start: int = 20, stop: int = 50) -> np.ndarray:
    first = int(index.bounds[segment])
    return np.asarray(index.frames[first + start : first + stop], np.float32)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_two_passes_find_what_a_search_of_everything_finds(index: Index, n_threads: int) -> None:
    query = part(index, 1)
    found = search_index(index, [query], n_candidates=40, n_threads=n_threads)
    best = []
    for segment in range(SEGMENTS):
        frames = np.asarray(index.frames[index.bounds[segment] : index.bounds[segment + 1]], np.float32)
        if match := best_match(1 - frames @ query.T):
            best.append(Place(segment, match.start, match.stop, match.cost))
    best.sort(key=lambda place: place.cost)
    for place, expected in zip(found.places[:6], best):
        assert place[:3] == expected[:3] and place.cost == pytest.approx(expected.cost, abs=1e-5)
    assert {place.segment for place in found.places[:6]} == {1, 6, 11, 16, 21, 26}
    scores = score_costs([place.cost for place in found.places[:12]], found.background)
    assert scores[5] > 1.5 * scores[6]


def test_several_queries_are_one_word(index: Index) -> None:
    queries = [part(index, 6), part(index, 11, 22, 49), part(index, 16)]
    found = search_index(index, queries, n_candidates=40, n_threads=1)
    assert {place.segment for place in found.places[:6]} == {1, 6, 11, 16, 21, 26}
    for place in found.places[:6]:
        assert abs(place.start - 20) <= 4 and abs(place.stop - 50) <= 4


def test_of_places_that_overlap_the_cheapest_stays() -> None:
    places = [Place(0, 0, 10, 0.3), Place(0, 9, 20, 0.1), Place(0, 20, 30, 0.4), Place(1, 0, 10, 0.2)]
    assert drop_overlapping(places) == [places[1], places[3], places[2]]


def test_scores_do_not_depend_on_the_scale_of_costs_nor_on_a_few_hits() -> None:
    background = np.random.default_rng(0).normal(0.8, 0.05, 400)
    costs = np.array([0.4, 0.6, 0.8])
    scores = score_costs(costs, background)
    np.testing.assert_allclose(score_costs(3 * costs + 1, 3 * background + 1), scores, rtol=1e-6)
    np.testing.assert_allclose(scores, [8, 4, 0], atol=0.6)
    with_hits = np.concatenate([background, np.full(20, 0.2)])
    np.testing.assert_allclose(score_costs(costs, with_hits), scores, rtol=0.15, atol=0.2)
    for n_features in (0, 128):
        likely = [probability(score, {"n_features": n_features}) for score in [*scores, 1e9, -1e9]]
        assert likely[0] > 0.5 > likely[1] > likely[2] > likely[4] >= 0 and likely[0] < likely[3] <= 1


def test_axes_of_equal_variance() -> None:
    rng = np.random.default_rng(0)
    spread = np.array([30.0, 10, 3, 1, 0.3, 0.1])
    mixed = rng.standard_normal((4000, 6)) * spread @ np.linalg.qr(rng.standard_normal((6, 6)))[0]
    fitted: Transform = fit_transform([mixed], n_features=3, n_centroids=4, seed=0)
    normalised = (mixed - fitted.mean) / np.sqrt(fitted.variance)
    np.testing.assert_allclose(np.cov((normalised @ fitted.projection).T), np.eye(3), atol=0.05)
    assert prepare_features(mixed[:50].astype(np.float32), fitted).shape == (50, 3)


def test_joined_clips_keep_the_times_of_their_recordings() -> None:
    parts = [{"source": "a.mp3", "start": 7.0, "end": 8.0, "offset": 0.0, "text": "one"}]
    parts.append({"source": "b.mp3", "start": 2.0, "end": 3.0, "offset": 1.5})
    segment = {"source": "a.mp3", "start": 0.0, "text": "one two", "parts": parts}
    assert place_in_recording(segment, 0.5) == ("a.mp3", 7.0, "one")
    assert place_in_recording(segment, 2.0) == ("b.mp3", 0.5, None)
    assert place_in_recording({"source": "c.mp3", "start": 4.0}, 0.2) == ("c.mp3", 4.0, None)


def test_silence_around_a_word_is_cut_off_and_a_name_may_hold_an_at(tmp_path: Path) -> None:
    waveform = np.zeros(320 * 40, np.float32)
    waveform[320 * 10 : 320 * 30] = 0.1
    assert find_speech(waveform) == (9, 31)
    assert find_speech(np.zeros(6400, np.float32)) == (0, 0)
    assert find_speech(np.full(100, 0.5, np.float32)) == (0, 0)
    odd = tmp_path / "ana@1-2"
    odd.touch()
    assert parse_query(str(odd))[1:] == (None, None)
    assert parse_query("story.mp3@1.5-2")[1:] == (1.5, 2.0)
