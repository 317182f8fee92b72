"""Normalisation by speaker: one person sounds like another, short recordings stay sane, names stay at home."""

from pathlib import Path

import numpy as np

import pytest

from units.kmeans import fit_kmeans, load_kmeans, quantize_to_units, refit_on_paths, save_kmeans, save_safetensors
from units.speaker_statistics import (
    SpeakerStatistics,
    measure_speakers,
    normalise_spans,
    normalise_speaker,
    speaker_key,
)

SOUNDS = np.array([[-3.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, -2.0]])


def speech(n_frames: int, *, shift: float = 0.0, factor: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sounds in runs of five frames, and a speaker's own way to say them: (F, 2) float32 and the sounds (F,)."""
    rng = np.random.default_rng(seed)
    sounds = np.repeat(rng.integers(0, 4, n_frames // 5), 5)
    features = SOUNDS[sounds] + 0.2 * rng.standard_normal((len(sounds), 2))
    return (factor * features + shift).astype(np.float32), sounds


def two_speakers() -> tuple[np.ndarray, list, np.ndarray]:
    """Features of two people who differ by more than their sounds do, their spans, and the sounds."""
    parts = [speech(2000, seed=1), speech(1500, shift=8.0, factor=2.0, seed=2), speech(500, seed=3)]
    spans = [("ru/a", 2000), ("ru/b", 1500), ("ru/a", 500)]
    return np.concatenate([one for one, _ in parts]), spans, np.concatenate([sounds for _, sounds in parts])


def purity(units: np.ndarray, sounds: np.ndarray) -> float:
    table = np.zeros((units.max() + 1, 4))
    np.add.at(table, (units, sounds), 1)
    return table.max(axis=1).sum() / len(units)


def test_speakers_who_say_the_same_get_the_same_units() -> None:
    features, spans, sounds = two_speakers()
    clusters, plain = (fit_kmeans(features, 4, normalize=name, spans=spans) for name in ("speaker", "unit"))
    units = np.concatenate(
        [quantize_to_units(features[:2000], clusters, "ru/a"), quantize_to_units(features[2000:3500], clusters, "ru/b")]
    )[:, 0]
    assert purity(units, sounds[:3500]) > 0.98
    assert purity(quantize_to_units(features[:3500], plain)[:, 0], sounds[:3500]) < 0.8
    stranger, said = speech(1500, shift=-6.0, factor=0.8, seed=5)
    heard = quantize_to_units(stranger, clusters, "ru/nobody")[:, 0]
    assert purity(np.concatenate([units, heard]), np.concatenate([sounds[:3500], said])) > 0.97


def test_statistics_by_hand() -> None:
    features, spans, _ = two_speakers()
    statistics = measure_speakers(features, spans)
    assert statistics.names == ["ru/a", "ru/b"] and statistics.means.shape == statistics.deviations.shape == (3, 2)
    one, other = np.concatenate([features[:2000], features[3500:]]), features[2000:3500]
    np.testing.assert_allclose(statistics.means[2], features.mean(axis=0), rtol=1e-4)
    within = np.sqrt((2500 * one.var(axis=0) + 1500 * other.var(axis=0)) / 4000)
    np.testing.assert_allclose(statistics.deviations[2], within, rtol=1e-4)
    np.testing.assert_allclose(
        statistics.means[1], (1500 * other.mean(axis=0) + 100 * features.mean(axis=0)) / 1600, rtol=1e-4
    )
    normalised = normalise_spans(features, statistics, spans)
    expected = (other - statistics.means[1]) / statistics.deviations[1] * within
    np.testing.assert_allclose(normalised[2000:3500], expected, rtol=1e-3, atol=1e-3)


def test_unknown_recordings_are_drawn_towards_everybody() -> None:
    """A long one is normalised by itself alone, a short one hardly, silence and nothing are no trouble."""
    features, spans, _ = two_speakers()
    statistics = measure_speakers(features, spans)
    long, _ = speech(50_000, shift=7.0, factor=2.0, seed=4)
    found = normalise_speaker(long, statistics, None)
    np.testing.assert_allclose(found.std(axis=0), statistics.deviations[-1], rtol=0.05)
    assert np.abs(found.mean(axis=0)).max() < 0.1
    short = normalise_speaker(long[:1], statistics, None)
    assert np.abs(short - (long[:1] - statistics.means[-1])).max() < 0.1 * np.abs(short).max()
    assert normalise_speaker(long[:0], statistics, None).shape == (0, 2)
    still = np.concatenate([features, np.full((len(features), 1), 3.0, np.float32)], axis=1)
    assert np.isfinite(normalise_spans(still, measure_speakers(still, spans), spans)).all()


def test_a_strangers_two_seconds_count_half() -> None:
    """100 frames of a stranger are drawn half-way to everybody's 100, mean and variance alike."""
    statistics = SpeakerStatistics(["x"], np.zeros((2, 1), np.float32), np.array([[5.0], [2.0]], np.float32))
    stranger = np.repeat([[3.0], [9.0]], 50, axis=0).astype(np.float32)  # mean 6, variance 9
    found = normalise_speaker(stranger, statistics, None)
    expected = (stranger - 3.0) * 2.0 / np.sqrt((9 + 4) / 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    known = normalise_speaker(stranger, statistics, "x")
    np.testing.assert_allclose(known, stranger * 2 / 5, rtol=1e-5)


def test_what_never_changes_loses_its_mean_and_keeps_its_scale() -> None:
    deviations = np.array([[1e-7, 2e-6], [3.0, 3.0]], np.float32)
    statistics = SpeakerStatistics(["x"], np.array([[1.0, 1.0], [0.0, 0.0]], np.float32), deviations)
    found = normalise_speaker(np.array([[3.0, 3.0]], np.float32), statistics, "x")
    np.testing.assert_allclose(found, [[2.0, 2.0 * 3.0 / 2e-6]], rtol=1e-5)


def test_who_is_not_named_counts_by_utterance() -> None:
    """Two utterances of nobody are two people: their difference is none within speakers."""
    features = np.array([[0.0], [2.0], [10.0], [12.0], [5.0], [5.0]], np.float32)
    apart = measure_speakers(features, [(None, 2), (None, 2), ("x", 2), ("empty", 0)])
    assert apart.names == ["x", "empty"] and apart.deviations[-1] == pytest.approx(np.sqrt(4 / 6))
    assert apart.means[-1] == pytest.approx(34 / 6)
    together = measure_speakers(features, [("x", 4), (None, 2)])
    assert together.deviations[-1] == pytest.approx(np.sqrt(4 * 26 / 6))
    own = 4 / 104
    assert together.means[0] == pytest.approx(own * 6 + (1 - own) * 34 / 6)


def test_names_stay_at_home_and_units_stay_the_same(tmp_path: Path) -> None:
    """Arrays on disk give the same units by name; a voice has no names, and hears new recordings as they do."""
    features, spans, _ = two_speakers()
    fitted = fit_kmeans(features, 4, normalize="speaker_root", spans=spans)
    clusters = refit_on_paths(features, fitted, 1.0, spans)
    save_kmeans(tmp_path, clusters, {"encoder": "mfcc", "duration_penalty": 1.0})
    assert not (tmp_path / "kmeans.pkl").exists()
    save_safetensors(tmp_path / "units.safetensors", clusters._replace(description={"duration_penalty": 1.0}))
    read, voice = load_kmeans(tmp_path / "kmeans.npz"), load_kmeans(tmp_path / "units.safetensors")
    assert b"ru/" not in (tmp_path / "units.safetensors").read_bytes() and voice.speakers.names == []
    assert voice.speakers.means.shape == voice.speakers.deviations.shape == (1, 2), "everybody's alone"
    for speaker in ("ru/b", None):
        expected = quantize_to_units(features[2000:2100], clusters, speaker)
        np.testing.assert_array_equal(quantize_to_units(features[2000:2100], read, speaker), expected)
    np.testing.assert_array_equal(quantize_to_units(features[2000:2100], voice, "ru/b"), expected)


def test_a_name_means_somebody_else_in_another_language() -> None:
    assert speaker_key({"audio": "russian/segments/x.wav", "speaker": "1"}) == "russian/1"
    assert speaker_key({"audio": "guarani/segments/x.wav", "speaker": "1"}) == "guarani/1"
    assert speaker_key({"audio": "guarani/segments/x.wav"}) is None
