"""Losses summed part by part are those of all logits at once, and keep no logits for the way back."""

import torch
from torch import nn
from torch.nn import functional

import pytest

from models import token_losses
from models.token_losses import sum_token_losses
from speech_llm.memory_budget import kept_bytes

N, WIDTH, VOCABULARY = 23, 6, 50


def inputs() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    output = nn.Linear(WIDTH, VOCABULARY).requires_grad_(False)
    return output, torch.randn(N, WIDTH, requires_grad=True), torch.randint(VOCABULARY, (N,))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("n_at_once", [1, 5, N, 100])
def test_parts_are_the_whole(n_at_once: int, smoothing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    output, hidden, targets = inputs()
    logits = output(hidden)
    expected = functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    (gradient,) = torch.autograd.grad(expected, hidden)
    monkeypatch.setattr(token_losses, "LOGITS_AT_ONCE", n_at_once * VOCABULARY)
    nats, n_correct = sum_token_losses(output, hidden, targets, n_vocabulary=VOCABULARY, smoothing=smoothing)
    (found,) = torch.autograd.grad(nats, hidden)
    torch.testing.assert_close(nats, expected)
    torch.testing.assert_close(found, gradient)
    assert n_correct == (logits.argmax(-1) == targets).sum() and n_correct.dtype == torch.float32


def test_what_is_kept_does_not_grow_with_the_vocabulary() -> None:
    _, hidden, targets = inputs()
    sizes = {}
    for vocabulary in (VOCABULARY, 100 * VOCABULARY):
        output = nn.Linear(WIDTH, vocabulary).requires_grad_(False)

        def run(output: nn.Module = output) -> torch.Tensor:
            return sum_token_losses(output, hidden * 1, targets, n_vocabulary=output.out_features)[0]

        sizes[vocabulary] = kept_bytes(output, run)
    few, many = sizes.values()
    assert few == many <= 3 * N * WIDTH * 4


def test_a_vocabulary_larger_than_a_part_goes_token_by_token(monkeypatch: pytest.MonkeyPatch) -> None:
    output, hidden, targets = inputs()
    seen = []
    monkeypatch.setattr(token_losses, "LOGITS_AT_ONCE", VOCABULARY - 1)
    with torch.inference_mode():
        sum_token_losses(
            lambda part: (seen.append(len(part)), output(part))[1], hidden, targets, n_vocabulary=VOCABULARY
        )
    assert seen == [1] * N
