"""Characters by connectionist temporal classification (Graves et al. 2006) on the connector's hidden positions.

Axes: B batch, P positions, W width, V characters with the blank (row 0), E the LLM's embedding size.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from models.connector import length_mask

BLANK = 0


class CtcHead(nn.Module):
    """(B, P, W) hidden positions -> (B, P, V) log-probabilities of the blank and of ``n_characters``."""

    def __init__(self, width: int, n_characters: int, dropout: float = 0.1):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, n_characters + 1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return functional.log_softmax(self.output(self.dropout(hidden)).float(), dim=-1)


def ctc_losses(log_probs: torch.Tensor, lengths: torch.Tensor, targets: list[torch.Tensor]) -> torch.Tensor:
    """(B,) nats an utterance; 0 where the text is longer than any path through its positions."""
    target_lengths = torch.tensor([len(target) for target in targets])
    return functional.ctc_loss(
        log_probs.transpose(0, 1),
        torch.cat(targets).to(log_probs.device),
        lengths.to("cpu"),
        target_lengths,
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    )


def view_differences(log_probs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Nats between two views of the same utterances, each position's posteriors against the other's, which stand still.

    (2B, P, V) nats, the second view behind the first, and (2B,) positions -> scalar: the sum over both ways and all
    positions (CR-CTC, Yao et al. 2024).
    """
    others = log_probs.detach().roll(len(log_probs) // 2, 0)
    nats = (others.exp() * (others - log_probs)).sum(-1)
    return nats.masked_fill(~length_mask(lengths, log_probs.shape[1]), 0.0).sum()


def noisy_log_probs(log_probs: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log-probabilities whose best path is a sample: Gumbel noise, up to ``temperature`` drawn for each utterance."""
    uniform = torch.rand_like(log_probs).clamp_(1e-6, 1 - 1e-6)
    strength = temperature * torch.rand(len(log_probs), 1, 1, device=log_probs.device)
    return log_probs - strength * torch.log(-torch.log(uniform))


def mean_log_probs(several: Sequence[torch.Tensor]) -> torch.Tensor:
    """The logarithm of the mean probability of several heads: each (B, P, V) nats -> (B, P, V)."""
    return torch.stack(list(several)).logsumexp(0) - math.log(len(several))


def greedy_labels(log_probs: torch.Tensor, lengths: torch.Tensor) -> list[list[int]]:
    """The best path of each (P, V) with repeats merged and blanks dropped: rows of V."""
    best = log_probs.argmax(-1)
    paths = [path[:length].unique_consecutive().tolist() for path, length in zip(best, lengths.tolist())]
    return [[label for label in path if label != BLANK] for path in paths]


def compress(hidden: torch.Tensor, log_probs: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """One position a run of the same character, blanks dropped: means of what the run holds.

    (B, P, W), (B, P, V), (B,) -> (B, R, W) hidden, (B, R, V) probabilities, (B,) runs. Where all is blank, one position
    stands for the whole utterance.
    """
    labels = log_probs.argmax(-1)
    valid = length_mask(lengths, labels.shape[1])
    kept = valid & (labels != BLANK)
    silent = ~kept.any(dim=1, keepdim=True)
    kept = kept | (silent & valid)
    starts = functional.pad(labels[:, 1:] != labels[:, :-1], (1, 0), value=True)
    starts[:, 1:] |= kept[:, 1:] & ~kept[:, :-1]
    starts = starts & kept & ~(silent & (torch.arange(labels.shape[1], device=labels.device) > 0))
    run = starts.long().cumsum(1) - 1
    n_runs = starts.sum(1)
    rows = torch.arange(int(n_runs.max()), device=labels.device)
    members = ((run[:, None] == rows[:, None]) & kept[:, None]).to(hidden.dtype)  # (B, R, P)
    members = members / members.sum(-1, keepdim=True).clamp_min(1.0)
    probabilities = members.float() @ log_probs.exp()
    return members @ hidden, probabilities, n_runs


class CharacterEmbedding(nn.Module):
    """Posterior-weighted embeddings: (B, R, V) probabilities -> (B, R, E), the blank left out.

    Starts from the LLM's own embeddings of the characters, so that the first thing it reads is spelling.
    """

    def __init__(self, embeddings: torch.Tensor):
        """embeddings: (V - 1, E), of the characters."""
        super().__init__()
        self.weight = nn.Parameter(embeddings.detach().float().clone())

    def forward(self, probabilities: torch.Tensor) -> torch.Tensor:
        characters = probabilities[..., BLANK + 1 :]
        return (characters / characters.sum(-1, keepdim=True).clamp_min(1e-6)) @ self.weight


def character_embeddings(embed: nn.Module, tokenizer, characters: str) -> torch.Tensor:
    """(len(characters), E): the mean of the LLM's embeddings of the tokens that spell each character."""
    rows = []
    for character in characters:
        ids = tokenizer.encode(character, add_special_tokens=False) or [0]
        rows.append(embed.weight.detach()[torch.tensor(ids, device=embed.weight.device)].float().mean(0))
    return torch.stack(rows)
