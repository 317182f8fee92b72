"""DistillMOS, an optional judge of naturalness: a predicted mean opinion score from 1 to 5 without a reference.

B. Stahl and H. Gamper (2025), "Distillation and Pruning for Scalable Self-Supervised Representation-Based Speech
Quality Assessment"; ``pip install distillmos`` brings the weights along.
"""

import contextlib
import sys

import numpy as np
import torch

from errors import UserError


def load_mos_judge(device: str = "cpu") -> torch.nn.Module:
    """The judge with its weights; raises UserError where the package is not installed."""
    try:
        import distillmos
    except ImportError as error:
        raise UserError(
            f"--mos: expected the package distillmos, found: {error}; run: pip install distillmos, or leave --mos out"
        ) from error
    with contextlib.redirect_stdout(sys.stderr):  # it prints the path of its weights
        return distillmos.ConvTransformerSQAModel().to(device).eval()


@torch.inference_mode()
def predict_mos(judge: torch.nn.Module, waveform: np.ndarray) -> float:
    """Predicted MOS of one (S,) float waveform in [-1, 1] at 16 kHz."""
    device = next(judge.parameters()).device
    return float(judge(torch.from_numpy(np.asarray(waveform, np.float32))[None].to(device)).item())
