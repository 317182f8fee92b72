"""A translator of speech: an encoder that hears any language, and a decoder that says units of one.

The states of the encoder stand before the target in the decoder, as a prompt would (J. Wang et al. 2023, "VioLA", for
units of speech). So a language model of units can be the decoder as it is. The same encoder hears the target too, and
its mean over time is what an utterance is about: those of a pair are pulled together by a contrastive loss (A. van den
Oord et al. 2018, "Representation Learning with Contrastive Predictive Coding", InfoNCE).

Axes: B pairs, S places of the source, T of the target, C channels, D features of a place, V token ids.
"""

import math
from typing import NamedTuple

import torch
from torch import nn

LETTERS_A_STATE = 4  # a place of the source may last longer than a letter
FIRST_SHARPNESS = 10.0  # of the contrastive loss: the inverse of its temperature


class Heard(NamedTuple):
    """Utterances of any language as the encoder takes them."""

    tokens: torch.Tensor  # (B, S) int64: the language, then what is said; only the language where there are features
    features: torch.Tensor  # (B, S - 1, D) float32; D = 0 without features
    seen: torch.Tensor  # (B, S) bool: no padding


class Said(NamedTuple):
    """What the model makes of a batch."""

    logits: torch.Tensor  # (B, T, V) of the target behind its source; none where it does not speak
    alone: torch.Tensor  # (B, T, V) of the target without a source
    source: torch.Tensor  # (B, C) what the source is about, of length 1
    target: torch.Tensor  # (B, C) what the target is about
    sharpness: torch.Tensor  # () factor of their products
    letters: torch.Tensor  # (B, S * LETTERS_A_STATE, letters) of the source's text; none without a text loss


class Translator(nn.Module):
    """encoder, decoder: causal language models of ``transformers``; of the encoder only the layers are used."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        n_features: int = 0,
        n_letters: int = 0,
        source_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.source_dropout = encoder, decoder, source_dropout
        self.speaks = True  # False: the decoder takes no part, and logits are empty
        width, width_said = encoder.config.hidden_size, decoder.config.hidden_size
        self.front = nn.Linear(n_features, width) if n_features else None
        self.bridge = nn.Linear(width, width_said)
        spread = decoder.get_input_embeddings().weight.std().item()
        nn.init.normal_(self.bridge.weight, std=spread / math.sqrt(width))
        self.about = nn.Linear(width, width, bias=False)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(FIRST_SHARPNESS)))
        self.letters = nn.Linear(width, LETTERS_A_STATE * n_letters) if n_letters else None

    def encode(self, heard: Heard) -> torch.Tensor:
        """(B, S, C) states of the utterances, each of which sees all of itself."""
        inputs = self.encoder.get_input_embeddings()(heard.tokens)
        if self.front is not None:
            inputs = torch.cat([inputs[:, :1], self.front(heard.features)], dim=1)
        if self.training and self.source_dropout:
            kept = torch.rand(inputs.shape[:2], device=inputs.device) >= self.source_dropout
            inputs = inputs * kept[:, :, None]
        attention = heard.seen[:, None, None, :].expand(-1, 1, inputs.shape[1], -1)
        positions = torch.arange(inputs.shape[1], device=inputs.device).expand(len(inputs), -1)
        body = self.encoder.get_decoder()
        return body(
            inputs_embeds=inputs, attention_mask=attention, position_ids=positions, use_cache=False
        ).last_hidden_state

    def describe(self, states: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """(B, S, C) states -> (B, C) what each utterance is about: their mean, of length 1."""
        weights = seen[:, :, None].to(states.dtype)
        means = (states * weights).sum(1) / weights.sum(1)
        return nn.functional.normalize(self.about(means).float(), dim=-1)

    def prompt(self, states: torch.Tensor) -> torch.Tensor:
        """(B, S, C) states as the decoder reads them before the target."""
        return self.bridge(states)

    def say(self, prompt: torch.Tensor | None, seen: torch.Tensor | None, tokens: torch.Tensor) -> torch.Tensor:
        """(B, S, C) prompt with its (B, S) places seen, and (B, T) tokens -> (B, T, V) logits of what follows each."""
        inputs = self.decoder.get_input_embeddings()(tokens)
        places = torch.arange(tokens.shape[1], device=tokens.device).expand(len(tokens), -1)
        known = torch.ones_like(tokens, dtype=torch.bool)
        if prompt is not None:
            inputs = torch.cat([prompt.to(inputs.dtype), inputs], dim=1)
            before = torch.arange(seen.shape[1], device=tokens.device).expand(len(tokens), -1)
            places = torch.cat([before, places + seen.sum(1, keepdim=True)], dim=1)
            known = torch.cat([seen, known], dim=1)
        # Padding sees padding alone, so that no row of the mask is empty.
        attention = (known[:, :, None] == known[:, None, :]).tril()[:, None]
        found = self.decoder(inputs_embeds=inputs, attention_mask=attention, position_ids=places, use_cache=False)
        return found.logits[:, -tokens.shape[1] :].float()

    def forward(self, source: Heard, target: Heard, tokens: torch.Tensor) -> Said:
        """The source, the target as it is heard, and (B, T) tokens of the target, the language's first."""
        source, target = Heard(*source), Heard(*target)
        states = self.encode(source)
        letters = states.new_zeros(0)
        if self.letters is not None:
            letters = self.letters(states).float().unflatten(2, (LETTERS_A_STATE, -1)).flatten(1, 2)
        silent = states.new_zeros(0)
        return Said(
            self.say(self.prompt(states), source.seen, tokens) if self.speaks else silent,
            self.say(None, None, tokens) if self.speaks else silent,
            self.describe(states, source.seen),
            self.describe(self.encode(target), target.seen),
            self.log_sharpness.exp(),
            letters,
        )
