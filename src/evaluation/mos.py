"""DistillMOS, an optional judge of naturalness: a predicted mean opinion score from 1 to 5 without a reference.

B. Stahl and H. Gamper (2025), "Distillation and Pruning for Scalable Self-Supervised Representation-Based Speech
Quality Assessment"; ``pip install distillmos`` brings the weights along.
"""

import contextlib
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tqdm import tqdm

from core.errors import UserError
from core.frames import SAMPLE_RATE
from evaluation.judgement_cache import fingerprint, judge_cached


class MosJudge(NamedTuple):
    """DistillMOS on its device, ready for ``predict_mos``."""

    model: torch.nn.Module
    device: str
    fingerprint: str  # of its weights: judgements are kept under it


def load_mos_judge(device: str = "cpu") -> MosJudge:
    """Raises UserError where the package is not installed."""
    try:
        import distillmos
    except ImportError as error:
        raise UserError(
            f"--mos: expected the package distillmos, found: {error}; run: pip install distillmos, or leave --mos out"
        ) from error
    with contextlib.redirect_stdout(sys.stderr):  # it prints the path of its weights
        model = distillmos.ConvTransformerSQAModel().to(device).eval()
    return MosJudge(model, device, fingerprint(model, "distillmos"))


@torch.inference_mode()
def predict_mos(judge: MosJudge, waveforms: Sequence[np.ndarray], bar: tqdm | None = None) -> list[float]:
    """Predicted MOS of each of (S,) float ``waveforms`` in [-1, 1] at 16 kHz; ``bar`` is moved on by seconds."""
    scores = []
    for waveform in waveforms:
        heard = torch.from_numpy(np.asarray(waveform, np.float32))[None].to(judge.device)
        scores.append(float(judge.model(heard).item()))
        if bar is not None:
            bar.update(len(waveform) / SAMPLE_RATE)
    return scores


def predict_mos_cached(
    judge: MosJudge, waveforms: Sequence[np.ndarray], cache: Path | None, bar: tqdm | None = None
) -> list[float]:
    """``predict_mos``, with the scores kept in ``cache``/mos_<judge's fingerprint>.json by the hash of the audio."""
    path = None if cache is None else Path(cache) / f"mos_{judge.fingerprint}.json"
    return judge_cached(partial(predict_mos, judge, bar=bar), waveforms, path, bar)
