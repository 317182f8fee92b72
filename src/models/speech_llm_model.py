"""A language model that reads speech: connector positions stand among the tokens of its chat template.

Axes: B batch, F frames, D features a frame, P positions of the connector, W its width, V characters of the CTC head,
R positions an utterance gets in the LLM, E the LLM's embedding size, L tokens.
Trained are the connector, the CTC head and, if asked for, a low-rank adaptation (LoRA, Hu et al. 2022) of the LLM;
these stay float32 whatever the frozen models are.
"""

import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from core.errors import UserError
from core.records import ConnectorConfig, SpeechLLMConfig
from models.chat_template import chat_pieces, stop_ids
from models.connector import Connector
from models.ctc import (
    CharacterEmbedding,
    CtcHead,
    character_embeddings,
    compress,
    ctc_losses,
    greedy_labels,
    mean_log_probs,
    noisy_log_probs,
    view_differences,
)
from models.spelled_tokens import spell_tokens
from models.token_losses import sum_token_losses

ALL_PROJECTIONS = "all-linear"  # of the LLM but its output, as peft calls them
ROUNDING_LOGITS = 0.05  # by which logits of a bf16 model may differ when they are computed in two ways


class SpeechBatch(NamedTuple):
    """Utterances with what is to be written for them."""

    features: torch.Tensor  # (B, F, D) float32, or (B, F) int64 unit ids; padded
    lengths: torch.Tensor  # (B,) frames
    answers: list[list[int]]  # B rows of the LLM's tokens, the end of the turn included
    labels: list[torch.Tensor]  # B rows of (characters,) int64, of the CTC head
    smoothing: float = 0.0  # of the answer tokens
    views: int = 1  # 2: the second half of the rows are the utterances of the first, otherwise disturbed


class EncodedSpeech(NamedTuple):
    """What the connector and the CTC head make of a batch."""

    hidden: torch.Tensor  # (B, P, W)
    lengths: torch.Tensor  # (B,) positions
    log_probs: torch.Tensor | None  # (B, P, V) float32; None without a CTC head


class LossSums(NamedTuple):
    """Sums over a batch, scalars; None where the loss was not asked for."""

    ce: torch.Tensor | None = None  # nats of the answers by the LLM
    n_correct: torch.Tensor | None = None
    n_tokens: torch.Tensor | None = None
    ctc: torch.Tensor | None = None  # nats of the characters by the CTC head
    n_characters: torch.Tensor | None = None
    difference: torch.Tensor | None = None  # nats between two views, both ways


class SpeechLLMBase(nn.Module):
    """llm: a causal LM of transformers, without adapters; tokenizer: its own; config: plain values, kept when saved.

    encoder: the frozen speech encoder, where features are not cached; never trained, never saved.
    """

    def __init__(self, llm: nn.Module, tokenizer, config: SpeechLLMConfig, encoder: nn.Module | None = None):
        super().__init__()
        self.config, self.tokenizer, self.checkpoints = config, tokenizer, False
        self.llm = llm.requires_grad_(False)
        self.encoder = encoder.requires_grad_(False) if encoder is not None else None
        embed = llm.get_input_embeddings()
        target_rms = embed.weight.detach().float().pow(2).mean().sqrt().item()
        in_dim, n_units, characters = config["in_dim"], config.get("n_units", 0), config.get("characters", "")
        self.connector = Connector(in_dim, embed.weight.shape[1], target_rms=target_rms, **config["connector"])
        self.units = nn.Embedding(n_units, in_dim) if n_units else None
        self.ctc = CtcHead(self.connector.width, len(characters)) if characters else None
        spelled = config.get("ctc_embedding") and characters
        self.spelling = CharacterEmbedding(character_embeddings(embed, tokenizer, characters)) if spelled else None
        if lora := config.get("lora"):
            _add_lora(self.llm, **lora)
        self.ensemble = nn.ModuleList()  # of further heads, each with a connector: see ``add_head``
        self.text_only = bool(config.get("text_only"))
        self.compresses, self.drafts_text = bool(config.get("ctc_compress")), bool(config.get("ctc_draft"))
        self.spells_tokens = bool(config.get("ctc_tokens"))
        if self.spells_tokens and not tokenizer.is_fast:
            raise UserError("--ctc_tokens: expected a fast tokenizer (tokenizers) of the LLM, found a slow one")
        self.characters = characters
        self.pieces = config.get("pieces") or chat_pieces(tokenizer, config["prompt"], draft=self.drafts_text)
        self.config = config | {"pieces": self.pieces}
        self.stop_ids = stop_ids(tokenizer, self.pieces[-1], llm)
        self.draft_noise = config.get("draft_noise", 0.0)
        check_llm(self.llm)
        self.train(self.training)

    @property
    def device(self) -> torch.device:
        return next(self.connector.parameters()).device

    def train(self, mode: bool = True) -> "SpeechLLMBase":
        """Only what is trained enters training mode: frozen models keep their dropout off."""
        super().train(mode)
        for frozen in (self.llm, self.encoder):
            if frozen is not None:
                frozen.eval()
        for name, module in self.llm.named_modules():
            if "lora_" in name:
                module.train(mode)
            elif self.checkpoints and getattr(module, "gradient_checkpointing", False):
                module.training = mode  # by itself: transformers' layers look at it, and its dropout stays off
        return self

    def checkpoint_layers(self, on: bool = True) -> "SpeechLLMBase":
        """Keep only what enters each layer of the LLM, and compute the rest again on the way back (Chen et al. 2016).

        A good third slower; what a batch keeps falls to about one layer. UserError for an LLM that cannot.
        """
        if on and not self.llm.supports_gradient_checkpointing:
            raise UserError(f"--gradient_checkpointing: {type(self.llm).__name__} cannot do it; leave it out")
        self.checkpoints = on
        if on:
            new = getattr(self.llm, "activation_checkpointing_enable", None)
            (new or self.llm.gradient_checkpointing_enable)({"use_reentrant": False})
        return self.train(self.training)

    def trained_parameters(self) -> list[nn.Parameter]:
        return [value for value in self.parameters() if value.requires_grad]

    def trained_state(self) -> dict[str, torch.Tensor]:
        """What was trained, by name: all that a saved model holds."""
        return {name: value.detach() for name, value in self.named_parameters() if value.requires_grad}

    def load_trained(self, state: dict[str, torch.Tensor], *, strict: bool = True) -> list[str]:
        """Take over ``trained_state``; the names that are missing, unknown or of another shape (an error if strict)."""
        own = {name: value for name, value in self.named_parameters() if value.requires_grad}
        fitting = {name for name in own.keys() & state.keys() if own[name].shape == state[name].shape}
        left_out = sorted((own.keys() | state.keys()) - fitting)
        if strict and left_out:
            raise ValueError(f"expected the weights of this configuration, {len(left_out)} differ: {left_out[:3]}")
        with torch.no_grad():
            for name in fitting:
                own[name].copy_(state[name])
        return left_out

    def add_head(self, config: ConnectorConfig, state: dict[str, torch.Tensor]) -> None:
        """Hear with another trained head too: from now on ``encode_speech`` gives the mean of all posteriors.

        config: of its connector; state: the trained weights that it was saved with. Raises ValueError where they do
        not fit this model's features and letters.
        """
        out_dim = self.llm.get_input_embeddings().weight.shape[1]
        connector = Connector(self.config["in_dim"], out_dim, **config)
        head = nn.ModuleDict({"connector": connector, "ctc": CtcHead(connector.width, len(self.characters))})
        parts = {name: value for name, value in state.items() if name.startswith(("connector.", "ctc."))}
        try:
            head.load_state_dict(parts)
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[0]) from error
        self.ensemble.append(head.to(self.device).requires_grad_(False).eval())

    def encode_speech(self, features: torch.Tensor, lengths: torch.Tensor) -> EncodedSpeech:
        """(B, F, D) features (or (B, F) unit ids), (B,) frames -> hidden (B, P, W), lengths (B,), CTC log_probs."""
        if self.units is not None:
            features = self.units(features)
        hidden, n_positions = self.connector.encode(features, lengths)
        log_probs = self.ctc(hidden) if self.ctc is not None else None
        if len(self.ensemble):
            others = [head["ctc"](head["connector"].encode(features, lengths)[0]) for head in self.ensemble]
            log_probs = mean_log_probs([log_probs, *others])
        return EncodedSpeech(hidden, n_positions, log_probs)

    def audio_embeddings(self, speech: EncodedSpeech) -> list[torch.Tensor]:
        """What the LLM reads of each utterance: list of (R, E) float32."""
        hidden, lengths, log_probs = speech
        if self.spells_tokens:
            return self.spelled_tokens(log_probs, lengths)
        probabilities = log_probs.exp() if log_probs is not None else None
        if self.compresses:
            hidden, probabilities, lengths = compress(hidden, log_probs, lengths)
        positions = self.connector.project(hidden)
        if self.spelling is not None:
            positions = positions + self.spelling(probabilities)
        return [row[:length] for row, length in zip(positions, lengths.tolist())]

    def spelled_tokens(self, log_probs: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        """The CTC head's reading in tokens, by their posteriors: list of (tokens, E) float32."""
        return spell_tokens(
            log_probs,
            lengths,
            path=self.drafted_path(log_probs),
            characters=self.characters,
            tokenizer=self.tokenizer,
            embed=self.llm.get_input_embeddings(),
            spelling=self.spelling,
        )

    def drafted_path(self, log_probs: torch.Tensor) -> torch.Tensor:
        """(B, P, V) nats whose best path is read; in training with noise, so that the LLM learns to doubt it."""
        noise = self.draft_noise if self.training else 0.0
        return noisy_log_probs(log_probs.detach(), noise) if noise else log_probs.detach()

    def drafts(self, speech: EncodedSpeech) -> list[str]:
        """The CTC head's reading (``drafted_path``)."""
        rows = greedy_labels(self.drafted_path(speech.log_probs), speech.lengths)
        return ["".join(self.characters[label - 1] for label in row).strip() for row in rows]

    def prompts(self, speech: EncodedSpeech) -> list[torch.Tensor]:
        """Everything the LLM reads before it answers: list of (L, E); no audio where it learnt texts alone."""
        if self.text_only:
            return self.text_prompts(len(speech.hidden))
        embed, device = self.llm.get_input_embeddings(), self.device
        fixed = {place: embed(torch.tensor(piece, device=device)) for place, piece in enumerate(self.pieces[:-1])}
        drafts = self.drafts(speech) if self.drafts_text else None
        rows = []
        for number, audio in enumerate(self.audio_embeddings(speech)):
            parts = [fixed[0], audio, fixed[1]]
            if drafts is not None:
                ids = self.tokenizer.encode(drafts[number], add_special_tokens=False)
                parts += [embed(torch.tensor(ids, dtype=torch.long, device=device)), fixed[2]]
            rows.append(torch.cat([part.to(fixed[0].dtype) for part in parts]))
        return rows

    def text_prompts(self, count: int) -> list[torch.Tensor]:
        """``count`` times what stands around the audio, (L, E)."""
        ids = [token for piece in self.pieces[:-1] for token in piece]
        return [self.llm.get_input_embeddings()(torch.tensor(ids, device=self.device))] * count

    def answer_ids(self, text: str) -> list[int]:
        """The tokens to be learnt for a transcript, the end of the turn included.

        Letters and marks are composed (NFC): what an LLM has read, and what a search weighs letter by letter.
        """
        if "text_form" in self.config:
            text = unicodedata.normalize("NFC", text)
        return self.tokenizer.encode(text, add_special_tokens=False) + self.stop_ids[:1]

    def forward(self, batch: SpeechBatch, *, ctc_only: bool = False) -> LossSums:
        """Sums over the batch, so that batches of any shape add up; ``ctc_only`` leaves the LLM out."""
        sums = LossSums()
        if self.text_only and self.training and not ctc_only:
            return sums._replace(**self._answer_losses(self.text_prompts(len(batch.answers)), batch))
        speech = self.encode_speech(batch.features, batch.lengths)
        if self.ctc is not None:
            n_characters = torch.tensor(float(sum(map(len, batch.labels))), device=self.device)
            ctc = ctc_losses(speech.log_probs, speech.lengths, batch.labels).sum()
            sums = sums._replace(ctc=ctc, n_characters=n_characters)
        if batch.views == 2:
            sums = sums._replace(difference=view_differences(speech.log_probs, speech.lengths))
        if ctc_only:
            return sums
        return sums._replace(**self._answer_losses(self.prompts(speech), batch))

    def _answer_losses(self, prompts: list[torch.Tensor], batch: SpeechBatch) -> dict[str, torch.Tensor]:
        """The sums of ``LossSums`` that are the LLM's."""
        hidden, targets = self._answer_hidden(prompts, batch.answers)
        ce, n_correct = self.sum_losses(hidden, targets, smoothing=batch.smoothing)
        return {"ce": ce, "n_correct": n_correct, "n_tokens": torch.tensor(float(len(targets)), device=self.device)}

    def sum_losses(
        self, hidden: torch.Tensor, targets: torch.Tensor, *, smoothing: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of (N, E) states before the LLM's output and the (N,) tokens that follow: nats, and tokens that are right."""
        n_vocabulary = self.llm.config.get_text_config().vocab_size
        output = self.llm.get_output_embeddings()
        return sum_token_losses(output, hidden, targets, n_vocabulary=n_vocabulary, smoothing=smoothing)

    def answer_logits(
        self, prompts: list[torch.Tensor], answers: Sequence[Sequence[int]], cache=None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, vocabulary) float32 logits at the N answer tokens of the batch alone, and (N,) tokens.

        cache: of ``_read_prompts``, of what stands before all the prompts.
        """
        hidden, targets = self._answer_hidden(prompts, answers, cache)
        return self.llm.get_output_embeddings()(hidden).float(), targets

    def _answer_hidden(
        self, prompts: list[torch.Tensor], answers: Sequence[Sequence[int]], cache=None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, E) states before the LLM's output that foretell the N answer tokens, and (N,) tokens."""
        embed = self.llm.get_input_embeddings()
        tokens = [torch.tensor(answer, device=self.device) for answer in answers]
        # The last token is predicted and never read.
        rows = [torch.cat([prompt, embed(answer[:-1])]) for prompt, answer in zip(prompts, tokens)]
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        inputs = pad_sequence(rows, batch_first=True)
        places = torch.arange(inputs.shape[1], device=self.device)
        first = torch.tensor([len(prompt) - 1 for prompt in prompts], device=self.device)
        mask = (places < lengths[:, None]).long()
        if cache is not None:
            mask = functional.pad(mask, (cache.get_seq_length(), 0), value=1)
        hidden = _decoder(self.llm)(
            inputs_embeds=inputs, attention_mask=mask, past_key_values=cache, use_cache=cache is not None
        ).last_hidden_state
        wanted = (places >= first[:, None]) & (places < lengths[:, None])
        return hidden[wanted], torch.cat(tokens)

    @torch.inference_mode()
    def score(self, prompts: list[torch.Tensor], answers: Sequence[Sequence[int]]) -> list[float]:
        """Nats the LLM gives each answer."""
        return self._sum_nats(answers, *self.answer_logits(prompts, answers))

    @torch.inference_mode()
    def score_alternatives(self, prompt: torch.Tensor, answers: Sequence[Sequence[int]]) -> list[float]:
        """Nats the LLM gives each answer behind the same (L, E) prompt, which is read once."""
        inputs, mask = prompt[None], torch.ones(1, len(prompt), dtype=torch.long, device=self.device)
        cache = self._read_prompts(inputs, mask, len(answers))
        return self._sum_nats(answers, *self.answer_logits([prompt[-1:]] * len(answers), answers, cache))

    def _sum_nats(self, answers: Sequence[Sequence[int]], logits: torch.Tensor, targets: torch.Tensor) -> list[float]:
        gained = -functional.cross_entropy(logits, targets, reduction="none")
        return [part.sum().item() for part in gained.split([len(answer) for answer in answers])]

    @torch.inference_mode()
    def generate(
        self,
        prompts: list[torch.Tensor],
        max_tokens: Sequence[int],
        *,
        num_beams: int = 1,
        n_best: int = 1,
        length_penalty: float = 1.0,
        processor: Callable | None = None,
    ) -> list[list[list[int]]]:
        """``n_best`` answers (token ids, the end left out) for each prompt, likeliest first.

        max_tokens: per utterance, so that nothing depends on batch-mates. processor: further scores, as transformers'
        logits processors: (ids (B * beams, L), scores (B * beams, V)) -> scores.
        """
        assert not self.training, "call .eval() first: dropout has no place in generation"
        longest = max(map(len, prompts))
        # Padding stands on the left: what is generated follows the prompt at once.
        inputs = torch.stack([functional.pad(prompt, (0, 0, longest - len(prompt), 0)) for prompt in prompts])
        mask = torch.stack([torch.arange(longest) >= longest - len(prompt) for prompt in prompts]).long()
        processors = [_stop_at(max_tokens, num_beams, self.stop_ids[0])] + ([processor] if processor else [])
        mask = mask.to(inputs.device)
        found = self.llm.generate(
            inputs_embeds=inputs,
            attention_mask=mask,
            past_key_values=self._read_prompts(inputs, mask, num_beams) if num_beams > 1 else None,
            generation_config=self._generation(num_beams, n_best, length_penalty, max(max_tokens) + 1),
            logits_processor=processors,
        )
        answers = [self._cut(row) for row in found.tolist()]
        return [answers[start : start + n_best] for start in range(0, len(answers), n_best)]

    def _read_prompts(self, inputs: torch.Tensor, mask: torch.Tensor, num_beams: int):
        """The cache of all but the last position, read once an utterance: generate() would read it once a beam."""
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = _decoder(self.llm)(
            inputs_embeds=inputs[:, :-1], attention_mask=mask[:, :-1], position_ids=places[:, :-1], use_cache=True
        ).past_key_values
        cache.batch_repeat_interleave(num_beams)
        return cache

    def _generation(self, num_beams: int, n_best: int, length_penalty: float, longest: int):
        from transformers import GenerationConfig

        settings = {"num_beams": num_beams, "num_return_sequences": n_best, "max_new_tokens": longest}
        beams = {"length_penalty": length_penalty, "early_stopping": False} if num_beams > 1 else {}
        return GenerationConfig(
            do_sample=False, eos_token_id=self.stop_ids, pad_token_id=self.stop_ids[0], **settings, **beams
        )

    def _cut(self, ids: list[int]) -> list[int]:
        end = next((place for place, token in enumerate(ids) if token in self.stop_ids), len(ids))
        return ids[:end]


def _decoder(llm: nn.Module) -> nn.Module:
    return getattr(llm, llm.base_model_prefix)


def _add_lora(llm: nn.Module, r: int, alpha: float, dropout: float, targets: list[str]) -> None:
    """Inject float32 adapters in place: the LLM keeps its class, and only "lora_" weights are trained."""
    from peft import LoraConfig, inject_adapter_in_model

    check_lora_targets(llm, targets)

    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets[0] if targets == [ALL_PROJECTIONS] else targets,
        task_type="CAUSAL_LM",
    )
    inject_adapter_in_model(config, llm)
    for name, value in llm.named_parameters():
        value.requires_grad_("lora_" in name)
        if "lora_" in name:
            value.data = value.data.float()


def check_lora_targets(llm: nn.Module, targets: list[str]) -> None:
    """UserError for a name that is no projection of ``llm``; peft would take a list of which one name is right."""
    projections = [name for name, module in llm.named_modules() if isinstance(module, nn.Linear)]
    unknown = [] if targets == [ALL_PROJECTIONS] else [name for name in targets if not _names_one(name, projections)]
    if unknown:
        known = sorted({name.rpartition(".")[2] for name in projections})
        raise UserError(
            f"--lora_targets {' '.join(unknown)}: expected {ALL_PROJECTIONS}, or some of {', '.join(known)}"
        )


def _names_one(target: str, projections: list[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for name in projections)


@torch.inference_mode()
def check_llm(llm: nn.Module) -> None:
    """Refuse (UserError) an LLM that this model cannot stand on.

    Logits are computed at answer tokens alone, from the decoder's output, so they must be a projection of it; and a
    token's logits must not depend on what follows, or the answer would be read before it is written.
    """
    ids = torch.arange(3, device=llm.device)[None]
    expected = llm(input_ids=ids).logits.float()
    tolerance = ROUNDING_LOGITS * max(1.0, expected.abs().max().item())
    found = llm.get_output_embeddings()(_decoder(llm)(input_ids=ids).last_hidden_state).float()
    if (found - expected).abs().max() > tolerance:
        raise UserError(f"--llm_id: {type(llm).__name__} does more to its logits than project; take another family")
    shortened = llm(input_ids=ids[:, :-1]).logits.float()
    if (shortened - expected[:, :-1]).abs().max() > tolerance:
        raise UserError(
            f"--llm_id: {type(llm).__name__} reads what follows a token, so it cannot write; take a causal one"
        )


def _stop_at(max_tokens: Sequence[int], num_beams: int, stop: int) -> Callable:
    """A logits processor that ends every row at its own utterance's limit."""

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        limits = torch.tensor(max_tokens, device=scores.device).repeat_interleave(num_beams)
        over = ids.shape[1] >= limits
        ended = torch.full_like(scores, -torch.inf)
        ended[:, stop] = 0.0
        return torch.where(over[:, None], ended, scores)

    return process
