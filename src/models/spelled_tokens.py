"""The CTC head's reading as the LLM's own tokens, each as loud as the head is sure of its letters.

LegoSLM (Ma et al. 2025) gives an LLM the sum of its token embeddings, weighted by posteriors of a CTC head over its
whole vocabulary. Minutes of speech cannot teach such a head, so here the posteriors are those of letters. The best
path is cut into tokens. A token weighs the product of its letters' posteriors, and what is left goes to the letters.

Axes: B batch, P positions, V characters with the blank (row 0), R letters, T tokens, E the LLM's embedding size.
"""

from collections.abc import Callable

import torch

from models.ctc import BLANK, compress


def token_spans(tokenizer, text: str) -> list[tuple[int, int, int]]:
    """(token, first letter, end) of each token of ``text``: every letter in some token, a space with what follows it.

    A letter of several tokens (bytes) is in all of them. tokenizer: of transformers, a fast one.
    """
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ends = [max(end, 1) for _, end in coded["offset_mapping"]]
    spans, start = [], 0
    for token, end in zip(coded["input_ids"], ends):
        spans.append((token, min(start, end - 1), end))
        start = end
    if spans:
        spans[-1] = (*spans[-1][:2], len(text))
    return spans


def spell_tokens(
    log_probs: torch.Tensor,
    lengths: torch.Tensor,
    *,
    path: torch.Tensor,
    characters: str,
    tokenizer,
    embed: Callable[[torch.Tensor], torch.Tensor],
    spelling: Callable[[torch.Tensor], torch.Tensor],
) -> list[torch.Tensor]:
    """What the LLM reads of each utterance: list of (T, E) float32; one position where nothing was heard.

    log_probs: (B, P, V) nats. path: as log_probs, with or without noise; its best path is what is spelled. embed: (T,)
    tokens -> (T, E). spelling: (T, V) probabilities -> (T, E) (``models.ctc.CharacterEmbedding``).
    """
    probabilities, heard, n_letters = compress(log_probs.exp(), path, lengths)
    rows = []
    for row, letters, count in zip(probabilities, heard.argmax(-1), n_letters.tolist()):
        text = "".join(characters[label - 1] for label in letters[:count].tolist() if label != BLANK)
        spans = token_spans(tokenizer, text)
        if not spans:
            rows.append(spelling(row[:1]))
            continue
        members = _members(spans, len(text)).to(row.device)
        letter_nats = row[:count].gather(1, letters[:count, None])[:, 0].clamp_min(1e-6).log()
        letter_nats = letter_nats - row[:count, BLANK + 1 :].sum(-1).clamp_min(1e-6).log()
        weights = (members @ letter_nats).exp()[:, None]
        means = members / members.sum(-1, keepdim=True) @ row[:count]
        tokens = embed(torch.tensor([token for token, _, _ in spans], device=row.device)).float()
        rows.append(weights * tokens + (1 - weights) * spelling(means))
    return rows


def _members(spans: list[tuple[int, int, int]], n_letters: int) -> torch.Tensor:
    """(T, R): 1 where a letter is in a token."""
    places = torch.arange(n_letters)
    return torch.stack([((places >= start) & (places < end)).float() for _, start, end in spans])
