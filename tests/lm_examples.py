"""A tiny vocabulary of two languages, sequences that repeat a pattern, and a tiny decoder."""

import numpy as np
import torch

from unit_lm.decoder import Shape, build_decoder, new_config
from unit_lm.vocabulary import count_tokens, make_vocabulary

CONTEXT = 24
N_UNITS = 9
VOCABULARY = make_vocabulary("units", ["aa", "bb"], ["x", "x"], [N_UNITS, N_UNITS])


def draw_sequences(n: int, seed: int = 0) -> list[np.ndarray]:
    """(T,) token ids of 5 to 14 units of ``VOCABULARY``."""
    rng = np.random.default_rng(seed)
    return [4 + rng.integers(0, N_UNITS, rng.integers(5, 15)) for _ in range(n)]


def tiny_decoder(architecture: str = "llama", seed: int = 0):
    """A random decoder for ``VOCABULARY``, in eval mode."""
    torch.manual_seed(seed)
    shape = Shape(architecture, layers=2, width=16, heads=2)
    return build_decoder(new_config(shape, count_tokens(VOCABULARY), CONTEXT)).eval()
