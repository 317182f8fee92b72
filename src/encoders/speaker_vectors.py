"""Who speaks, as a vector computed from a recording: near each other where the voices are alike.

The network is GE2E (``models.speaker_encoder``) with the weights of resemblyzer (Apache-2.0), which its wheel holds.
Nothing else of that package is used, so it is installed without what it depends on.

Axes: S samples at 16 kHz, M mel frames of 10 ms, W windows, D = 256 values of a vector.
"""

import functools
import pickle
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from tqdm import tqdm

from audio.audio_io import load_audio, mel_filterbank
from audio.track_store import cut_tasks, fill_some, find_missing, has_tracks, is_stored, read_track
from core.errors import UserError
from models.speaker_encoder import N_SPEAKER_MELS, SPEAKER_DIM, SpeakerEncoder

INSTALL = "pip install --no-deps resemblyzer==0.1.4"
N_FFT, HOP = 400, 160  # samples
WINDOW_FRAMES, STEP_FRAMES = 160, 80  # 1.6 s, as it was trained on, every 0.8 s
LEVEL_DB = -30.0  # of full scale: the level it was trained at
SILENCE_DB = 40.0  # frames so far below the loudest ones tell nobody's voice
SPEAKER_ENCODER = "resemblyzer"
CACHE = "speaker_resemblyzer"


@functools.cache
def load_speaker_encoder() -> SpeakerEncoder:
    """The network, on the CPU. Raises UserError without the package, and for weights of another shape."""
    found = find_spec("resemblyzer")
    if found is None:
        raise UserError(f"speaker vectors: expected the package resemblyzer (15 MB), found none; run: {INSTALL}")
    weights = Path(found.submodule_search_locations[0]) / "pretrained.pt"
    model = SpeakerEncoder()
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)["model_state"]
        model.load_state_dict({name: state[name] for name in model.state_dict()})
    except (pickle.UnpicklingError, EOFError, OSError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{weights}: expected the weights of resemblyzer 0.1.4, found others; run: {INSTALL}"
        ) from error
    return model.eval().requires_grad_(False)


def require_speaker_encoder(cache: Path) -> None:
    """Say before the work, not after it, that the package is missing; vectors in ``cache`` do without it."""
    if not has_tracks(Path(cache) / CACHE):
        load_speaker_encoder()


def speaker_mel(waveform: np.ndarray) -> torch.Tensor:
    """(S,) float -> (M, 40) float32 mel power at one level, without silent frames; at least one frame.

    The level is part of what the network hears, as its mel is not a logarithm: loud and soft recordings are made equal.
    """
    samples = torch.from_numpy(np.asarray(waveform, np.float32))
    power = samples.double().square().mean().clamp_min(1e-10).item()
    samples = samples * (10 ** (LEVEL_DB / 10) / power) ** 0.5
    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(samples, N_FFT, HOP, N_FFT, window, center=True, pad_mode="constant", return_complex=True)
    mel = spectrum.abs().square().T @ mel_filterbank(N_FFT, N_SPEAKER_MELS, torch.float32, torch.device("cpu"))
    level = mel.sum(dim=1)
    loud = level >= level.quantile(0.95) * 10 ** (-SILENCE_DB / 10)
    return mel[loud] * loud.float().mean()  # the level is that of the loud frames, however long the silences


def cut_windows(mel: torch.Tensor) -> torch.Tensor:
    """(M, 40) -> (W, 160, 40), half overlapping, the last one at the end; a shorter recording is repeated."""
    if len(mel) < WINDOW_FRAMES:
        mel = mel.repeat(-(-WINDOW_FRAMES // len(mel)), 1)[:WINDOW_FRAMES]
    last = len(mel) - WINDOW_FRAMES
    starts = sorted({*range(0, last, STEP_FRAMES), last})
    return torch.stack([mel[start : start + WINDOW_FRAMES] for start in starts])


@torch.inference_mode()
def speaker_vector(waveform: np.ndarray) -> np.ndarray:
    """Who speaks in (S,) float at 16 kHz: (D,) float32 of length 1; zeros for a recording without a sample."""
    if not len(waveform):
        return np.zeros(SPEAKER_DIM, np.float32)
    heard = load_speaker_encoder()(cut_windows(speaker_mel(waveform)))
    return mean_vector(heard.numpy())


def mean_vector(vectors: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The mean of (n, D) vectors, as long as they are: (D,) float32 of length 1."""
    mean = np.mean(vectors, axis=0, dtype=np.float64)
    return (mean / max(np.linalg.norm(mean), 1e-9)).astype(np.float32)


def fill_speaker_vectors(cache: Path, recordings: Iterable[tuple[str, Path]]) -> None:
    """Compute what ``cache`` lacks of (id, audio path) pairs, or has from older audio."""
    store = Path(cache) / CACHE
    missing = find_missing(store, recordings)
    with tqdm(total=len(missing), desc="speaker vectors", unit="segment", disable=None if missing else True) as bar:
        for task in cut_tasks(missing):
            bar.update(fill_some(store, speaker_vector, task))


def kept_speaker_vector(cache: Path, utterance_id: str) -> np.ndarray:
    """(D,) float32 of a recording that ``fill_speaker_vectors`` has seen, mapped and not read."""
    vector = read_track(Path(cache) / CACHE, utterance_id)
    if vector is None or vector.shape != (SPEAKER_DIM,):
        raise UserError(
            f"{Path(cache) / CACHE}: expected the {SPEAKER_DIM} numbers of who speaks in {utterance_id}, found "
            f"{0 if vector is None else len(vector)}; delete this folder and start the command again"
        )
    return vector


def known_speaker_vector(cache: Path, utterance_id: str, audio: Path) -> np.ndarray:
    """(D,) float32 of one recording: the one in ``cache`` where it is of this audio, else computed and not kept."""
    if is_stored(Path(cache) / CACHE, utterance_id, audio):
        return kept_speaker_vector(cache, utterance_id)
    return speaker_vector(load_audio(audio))
