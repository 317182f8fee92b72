"""The CTC head's reading as the LLM's own tokens, each as loud as the head is sure of its letters.

LegoSLM (Ma et al. 2025) gives an LLM the sum of its token embeddings, weighted by posteriors of a CTC head over its
whole vocabulary. Minutes of speech cannot teach such a head, so here the posteriors are those of letters. The best
path is cut into tokens. A token weighs the product of its letters' posteriors, and what is left goes to the letters.

Axes: B batch, P positions, V characters with the blank (row 0), R letters, T tokens, E the LLM's embedding size.
"""

from collections.abc import Callable

import torch

from models.ctc import BLANK, compress, greedy_labels


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
    texts = [(row, "".join(characters[label - 1] for label in row)) for row in greedy_labels(path, lengths)]
    # Products of many posteriors: not in the half precision that LLMs compute in.
    with torch.autocast(log_probs.device.type, enabled=False):
        probabilities, _, _ = compress(log_probs.float().exp(), path, lengths)
        return [
            _weigh(letters, labels, token_spans(tokenizer, text), embed, spelling)
            for letters, (labels, text) in zip(probabilities, texts)
        ]


def _weigh(
    letters: torch.Tensor,
    labels: list[int],
    spans: list[tuple[int, int, int]],
    embed: Callable[[torch.Tensor], torch.Tensor],
    spelling: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """(R, V) probabilities, the label of each letter, ``token_spans`` of the text -> (T, E)."""
    if not spans:
        return spelling(letters[:1])
    letters, device = letters[: len(labels)], letters.device
    members = _members(spans, len(labels)).to(device)
    own = letters.gather(1, torch.tensor(labels, device=device)[:, None])[:, 0]
    nats = own.clamp_min(1e-6).log() - letters[:, BLANK + 1 :].sum(-1).clamp_min(1e-6).log()
    weights = (members @ nats).exp()[:, None]
    means = members / members.sum(-1, keepdim=True) @ letters
    tokens = embed(torch.tensor([token for token, _, _ in spans], device=device)).float()
    return weights * tokens + (1 - weights) * spelling(means)


def _members(spans: list[tuple[int, int, int]], n_letters: int) -> torch.Tensor:
    """(T, R): 1 where a letter is in a token."""
    places = torch.arange(n_letters)
    return torch.stack([((places >= start) & (places < end)).float() for _, start, end in spans])
