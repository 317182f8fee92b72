"""Speech as another room and another day would have it, drawn at random: what a denoiser of units is trained on.

Nothing here is recorded: noise has a random spectrum and loudness, babble is other speech of the corpus, and a room's
response is noise that decays. ``audio.disturbances`` holds the fixed ones that units are scored on. All waveforms are
(S,) float32 at 16 kHz, and stay as long and in time: the direct sound keeps its place and its level.
"""

from collections.abc import Sequence

import numpy as np

from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import fftconvolve

from audio.disturbances import through_codec, through_telephone
from core.frames import SAMPLE_RATE

CODEC_SHARE, TELEPHONE_SHARE, ROOM_SHARE, NOISE_SHARE, BABBLE_SHARE = 0.15, 0.05, 0.5, 0.85, 0.5
SNR_DB = (0.0, 25.0)
DECAY_SECONDS = (0.15, 0.8)  # T60
DIRECT_TO_ROOM_DB = (-2.0, 12.0)
VOICES = (3, 8)  # of a babble
N_BANDS, BAND_DB = 10, 8.0  # of a noise's spectrum: points along it, and their deviation
LOUDNESS_HZ, LOUDNESS_DB = 4.0, 5.0  # of a noise that swells: points a second, and their deviation


def augment(waveform: np.ndarray, random: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """The speech in a room, in noise or babble of ``others``, and through a codec, each by chance.

    Speech in additive noise and rooms as in Ko et al. 2017 ("A study on data augmentation of reverberant speech").
    """
    heard = waveform
    if random.random() < ROOM_SHARE:
        heard = reverberate(heard, random_response(random))
    if random.random() < NOISE_SHARE:
        babbles = len(others) > 0 and random.random() < BABBLE_SHARE
        noise = babble(len(heard), random, others) if babbles else coloured_noise(len(heard), random)
        heard = mix_at(heard, noise, random.uniform(*SNR_DB))
    chance = random.random()
    if chance < CODEC_SHARE:
        return through_codec(heard, str(random.choice(["mp3", "opus"])))
    return through_telephone(heard) if chance < CODEC_SHARE + TELEPHONE_SHARE else heard


def mix_at(waveform: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Speech with (S,) noise at this ratio of mean powers; silence stays silence."""
    powers = [np.square(one, dtype=np.float64).mean() if len(one) else 0.0 for one in (waveform, noise)]
    if not all(powers):
        return waveform.astype(np.float32)
    return (waveform + noise * np.sqrt(powers[0] / powers[1] * 10 ** (-snr_db / 10))).astype(np.float32)


def coloured_noise(n_samples: int, random: np.random.Generator) -> np.ndarray:
    """Noise whose spectrum is a random curve over octaves; half of them swell and fade."""
    n_drawn = next_fast_len(max(1, n_samples), real=True)
    spectrum = rfft(random.standard_normal(n_drawn))
    octaves = np.log2(1 + np.arange(len(spectrum)) * SAMPLE_RATE / n_drawn / 100)
    points = np.linspace(0, np.log2(1 + SAMPLE_RATE / 200), N_BANDS)
    curve = random.uniform(-6, 1) * points + random.standard_normal(N_BANDS) * BAND_DB
    noise = irfft(spectrum * 10 ** (np.interp(octaves, points, curve) / 20), n_drawn)[:n_samples]
    return noise * _swell(n_samples, random) if random.random() < 0.5 else noise


def _swell(n_samples: int, random: np.random.Generator) -> np.ndarray:
    """(S,) factors: a loudness that wanders."""
    points = random.standard_normal(2 + int(n_samples / SAMPLE_RATE * LOUDNESS_HZ)) * LOUDNESS_DB
    places = np.linspace(0, len(points) - 1, n_samples)
    return 10 ** (np.interp(places, np.arange(len(points)), points) / 20)


def babble(n_samples: int, random: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """Several of ``others`` at once, each from a random place on, over and over, at a random level."""
    summed = np.zeros(n_samples)
    for index in random.integers(0, len(others), random.integers(*VOICES)):
        voice = others[index]
        if len(voice):
            turned = np.roll(voice, -int(random.integers(len(voice))))
            summed += np.resize(turned, n_samples) * 10 ** (random.uniform(-6, 0) / 20)
    return summed


def random_response(random: np.random.Generator) -> np.ndarray:
    """A room's impulse response, the direct sound first: noise that decays, with less of its highs."""
    decay = random.uniform(*DECAY_SECONDS)
    seconds = np.arange(int(decay * SAMPLE_RATE)) / SAMPLE_RATE
    tail = random.standard_normal(len(seconds)) * 10 ** (-3 * seconds / decay)
    tail[1:] += random.uniform(0, 0.9) * tail[:-1]
    tail[: int(random.uniform(0.001, 0.01) * SAMPLE_RATE)] = 0
    tail *= 10 ** (-random.uniform(*DIRECT_TO_ROOM_DB) / 20) / np.sqrt(np.square(tail).sum())
    tail[0] = 1
    return tail


def reverberate(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """The speech in the room of an impulse response that begins with the direct sound; no longer than before."""
    return fftconvolve(waveform, response)[: len(waveform)].astype(np.float32)
