"""Judgements kept by the hash of the audio, so that no judge hears the same audio twice."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from tqdm import tqdm

from core.files import write_json
from core.frames import SAMPLE_RATE


def hash_audio(waveform: np.ndarray) -> str:
    """A short name for (S,) float audio by its 16-bit samples."""
    pcm = np.round(np.asarray(waveform, np.float64) * 32768).astype("<i4")
    return hashlib.sha256(pcm.tobytes()).hexdigest()[:32]


def fingerprint(model: torch.nn.Module, settings: str) -> str:
    """A short name for a judge: its weights and whatever else its judgements depend on."""
    digest = hashlib.sha256(settings.encode())
    for key, weights in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(weights.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def judge_cached(
    judge: Callable[[list[np.ndarray]], list],
    waveforms: Sequence[np.ndarray],
    path: Path | None,
    bar: tqdm | None = None,
) -> list:
    """What ``judge`` says of each of (S,) float ``waveforms`` at 16 kHz, kept in the JSON file ``path``, if any.

    ``judge`` gets all new waveforms in one list, and moves ``bar`` on by the seconds it hears.
    """
    if path is None:
        return judge(list(waveforms))
    known, hashes = _read(path), [hash_audio(waveform) for waveform in waveforms]
    new = {name: waveform for name, waveform in zip(hashes, waveforms) if name not in known}
    if bar is not None:
        heard = sum(map(len, waveforms)) - sum(map(len, new.values()))
        bar.update(heard / SAMPLE_RATE)
    if new:
        judged = dict(zip(new, judge(list(new.values()))))
        known = _read(path) | known | judged  # another process may have written in the meantime
        write_json(path, known)
    return [known[name] for name in hashes]


def _read(path: Path) -> dict[str, object]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
