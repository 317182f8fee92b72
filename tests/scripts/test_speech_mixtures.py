"""scripts/bench/speech_mixtures.py: known speech stays known, shares are what they say."""

import numpy as np

from speech_mixtures import Found, Mixture, add_gaps, judge, mix_under, steps_of, summarise

from core.frames import SAMPLE_RATE


def test_speech_moves_with_the_stretches_that_are_put_in() -> None:
    waveform = np.repeat(np.array([0, 0.5, 0, 0.5, 0], np.float32), SAMPLE_RATE)
    mixture = add_gaps(waveform, [(1.0, 2.0), (3.0, 4.0)], seconds=2.0, every=2.0)
    assert mixture.speech == [(1.0, 2.0), (5.0, 6.0)] and mixture.gaps == [(2.5, 4.5)]
    loud = np.abs(mixture.waveform) > 0.1
    assert len(loud) == 7 * SAMPLE_RATE and (steps_of(mixture.speech, 700) == loud[::160]).all()
    assert add_gaps(waveform, [(1.0, 2.0), (3.0, 4.0)], seconds=0.0, every=2.0).gaps == []


def test_the_background_lies_so_far_below_the_speech() -> None:
    random = np.random.default_rng(0)
    speech = np.where(np.arange(8000) % 400 < 200, 0.1, 0).astype(np.float32)
    below = random.standard_normal(3000).astype(np.float32)
    for snr_db in (20, 0):
        other = mix_under(speech, 1, below=below, snr_db=snr_db) - speech
        assert abs(20 * np.log10(0.1 / np.sqrt(np.mean(other**2))) - snr_db) < 0.1


def test_shares_of_a_recording() -> None:
    mixture = Mixture(np.zeros(20 * SAMPLE_RATE), speech=[(2.0, 4.0), (15.0, 17.0)], gaps=[(4.0, 14.0)])
    found = [Found(1.5, 3.5, False), Found(6.0, 8.0, True), Found(14.5, 17.5, True)]
    shares = judge(found, mixture)
    assert shares["speech_kept"] == (3.5, 4.0) and shares["rest_dropped"] == (12.5, 16.0)
    assert shares["ends_in_words"] == (1, 6)
    assert (
        shares["gaps_cut"] == (2.0, 8.0) and shares["gaps_flagged"] == (2.0, 2.0) and shares["gaps_used"] == (0.0, 8.0)
    )
    assert shares["speech_flagged"] == (2.0, 4.0)
    kept = summarise([shares, judge([], mixture)])["speech_kept"]
    assert (kept.mean, kept.low, kept.high, kept.n) == (43.75, 0.0, 87.5, 2)
