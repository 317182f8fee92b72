"""Speaking on: tokens drawn from a language model of units, and loops in what was drawn.

Axes: P tokens of the prompt, T tokens drawn, U units.
"""

from typing import NamedTuple

import numpy as np
import torch

from transformers import PreTrainedModel

from core.errors import UserError
from training.checkpoints import seed_step
from unit_lm.saved_lm import UnitLM
from unit_lm.vocabulary import END, PAD, Vocabulary, allowed_tokens, language_row

LONGEST_PERIOD = 50  # units of a loop
LEAST_ROUNDS = 3  # a loop is said so often in a row


class Sampling(NamedTuple):
    """How tokens are drawn."""

    temperature: float = 1.0  # 0: always the most probable
    top_p: float = 1.0  # from the fewest tokens that have so much of the probability (A. Holtzman et al. 2020)
    seed: int = 0


@torch.inference_mode()
def continue_tokens(
    model: PreTrainedModel,
    vocabulary: Vocabulary,
    language: str,
    prompt: np.ndarray,
    sampling: Sampling,
    *,
    sample: int,
    context: int,
    longest: int,
    least: int = 0,
    part: int = 0,
) -> np.ndarray:
    """(P,) token ids, the language's first -> (T,) int64 tokens that follow, at most ``longest``, without <end>.

    A function of the seed, the number of the ``sample`` and that of its ``part``, whatever else is drawn. Of the prompt
    the end is seen, as far as the model's ``context`` reaches. least: <end> may not come before so many tokens.
    """
    if longest >= context:
        raise UserError(
            f"expected fewer than {context} tokens to draw, the length of the model's rows, found {longest}"
        )
    too_many = len(prompt) + longest - context
    kept = np.concatenate([prompt[:1], prompt[1 + too_many :]]) if too_many > 0 else prompt
    ids = torch.from_numpy(kept[None]).to(model.device)
    return draw_tokens(
        model, vocabulary, language, sampling, (sample, part), longest=longest, least=least, input_ids=ids
    )


def draw_tokens(
    model: PreTrainedModel,
    vocabulary: Vocabulary,
    language: str,
    sampling: Sampling,
    key: tuple[int, ...],
    *,
    longest: int,
    least: int = 0,
    **inputs: torch.Tensor,
) -> np.ndarray:
    """(T,) int64 tokens of ``language`` behind ``inputs``: (1, P) ``input_ids``, or (1, P, C) ``inputs_embeds``.

    A function of the seed and the ``key``.
    """
    given = next(iter(inputs.values()))
    seed_step(sampling.seed, *key)
    drawing = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    forbidden = np.flatnonzero(~allowed_tokens(vocabulary)[language_row(vocabulary, language)]).tolist()
    found = model.generate(
        **inputs,
        attention_mask=torch.ones(given.shape[:2], dtype=torch.int64, device=given.device),
        max_new_tokens=longest,
        min_new_tokens=least or None,
        suppress_tokens=forbidden,
        eos_token_id=END,
        pad_token_id=PAD,
        **(drawing if sampling.temperature else {"do_sample": False}),
    )
    n_given = inputs["input_ids"].shape[1] if "input_ids" in inputs else 0  # embeddings are not given back
    tokens = found[0, n_given:].cpu().numpy().astype(np.int64)
    return tokens[: np.flatnonzero(tokens == END)[0]] if (tokens == END).any() else tokens


def continue_long(
    lm: UnitLM, language: str, prompt: np.ndarray, sampling: Sampling, *, sample: int, longest: int, least: int = 0
) -> tuple[np.ndarray, bool]:
    """``continue_tokens`` of any length, in parts of half the context: (T,) tokens, and whether <end> came."""
    drawn, parts, ended = np.zeros(0, np.int64), 0, False
    while len(drawn) < longest and not ended:
        wanted = min(longest - len(drawn), lm.context // 2)
        found = continue_tokens(
            lm.model,
            lm.vocabulary,
            language,
            np.concatenate([prompt, drawn]),
            sampling,
            sample=sample,
            context=lm.context,
            longest=wanted,
            least=min(wanted, max(0, least - len(drawn))),
            part=parts,
        )
        drawn, parts, ended = np.concatenate([drawn, found]), parts + 1, len(found) < wanted
    return drawn, ended


def find_loops(units: np.ndarray) -> list[tuple[int, int, int]]:
    """Stretches of (U,) units that say the same ``LEAST_ROUNDS`` times or more in a row: [(start, end, period)].

    Of stretches that overlap the first counts, with its shortest period.
    """
    units, loops, start = np.asarray(units), [], 0
    while start < len(units):
        period, end = next(((p, e) for p in range(1, LONGEST_PERIOD + 1) if (e := _loop_end(units, start, p))), (0, 0))
        if period:
            loops.append((start, end, period))
        start = max(start + 1, end)
    return loops


def _loop_end(units: np.ndarray, start: int, period: int) -> int:
    """Where the stretch from ``start`` stops repeating itself after ``period`` units; 0 where it is no loop."""
    rest = units[start:]
    if len(rest) < LEAST_ROUNDS * period:
        return 0
    differs = np.flatnonzero(rest[period:] != rest[:-period])
    length = period + (int(differs[0]) if len(differs) else len(rest) - period)
    return start + length if length >= LEAST_ROUNDS * period else 0
