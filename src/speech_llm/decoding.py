"""What a speech LLM writes for features: greedy or beam, by the LLM, by the CTC head, or by both together.

Jointly: see ``joint_decoding``. Axes: B batch, F frames, D features a frame.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from core.errors import UserError
from core.text import normalise_text
from models.speech_llm_model import SpeechLLMBase
from speech_llm.joint_decoding import build_token_tree, joint_processor, open_listener, text_score

DECODERS = ("llm", "ctc", "joint")
DECODING_FLAGS = ("decoder", "num_beams", "ctc_weight", "character_bonus", "length_penalty")  # kept with a model
CHARACTER_BONUS = 1.0  # nats: about what a character costs by the LLM and the head together
SPARE_TOKENS = 8  # that an answer may have beyond its share of the duration


def read_aloud_options(model: SpeechLLMBase) -> dict:
    """How a model is decoded where nobody says otherwise."""
    joint = {"decoder": "joint", "num_beams": 4, "ctc_weight": 0.5}
    return joint if model.ctc is not None else {"decoder": "llm", "num_beams": 1}


def pad_features(features: Sequence[np.ndarray], device: str | torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """List of (F, D) (or (F,) unit ids) -> (B, F, D) float32 (or (B, F) int64), (B,) lengths."""
    rows = [torch.from_numpy(np.array(row)) for row in features]
    rows = [row.float() if row.is_floating_point() else row for row in rows]
    lengths = torch.tensor([len(row) for row in rows], device=device)
    return pad_sequence(rows, batch_first=True).to(device), lengths


def max_answer_tokens(config: dict, seconds: float) -> int:
    return SPARE_TOKENS + math.ceil(seconds * config["tokens_per_second"])


def transcribe_features(
    model: SpeechLLMBase,
    features: Sequence[np.ndarray],
    seconds: Sequence[float],
    *,
    batch_size: int = 8,
    on_batch: Callable[[list[int], list[list[dict]]], None] | None = None,
    **options,
) -> list[list[dict]]:
    """[{"text"}, …], likeliest first ("score" in nats with n_best), for each (F, D) features or (F,) unit ids.

    seconds: of each utterance; options: of ``transcribe_batch``. Utterances of like length share a batch, longest
    first; ``on_batch`` is told of each as it is done. No frames at all give "".
    """
    found: list[list[dict]] = [[{"text": ""}] for _ in features]
    if options.get("decoder") == "joint" and model.ctc is not None:
        options["tree"] = build_token_tree(model)
    for places in batch_alike([len(row) for row in features], batch_size):
        texts = transcribe_batch(model, [features[p] for p in places], [seconds[p] for p in places], **options)
        for place, candidates in zip(places, texts):
            found[place] = candidates
        if on_batch is not None:
            on_batch(places, texts)
    return found


def batch_alike(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Places of what has a length, longest first, at most ``batch_size`` at a time and none under half of the longest.

    A batch is as slow as if all were as long as its longest: the LLM's cache holds every beam at that length.
    """
    batch: list[int] = []
    for place in sorted((place for place, length in enumerate(lengths) if length), key=lambda place: -lengths[place]):
        if batch and (len(batch) == batch_size or 2 * lengths[place] < lengths[batch[0]]):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


@torch.inference_mode()
def transcribe_batch(
    model: SpeechLLMBase,
    features: Sequence[np.ndarray],
    seconds: Sequence[float],
    *,
    decoder: str = "llm",
    num_beams: int = 1,
    n_best: int = 1,
    ctc_weight: float = 0.5,
    character_bonus: float = CHARACTER_BONUS,
    length_penalty: float = 0.0,
    tree: dict | None = None,
) -> list[list[dict]]:
    """One batch of ``transcribe_features``. decoder: "llm", "ctc" (best path of the head alone) or "joint".

    tree: of ``build_token_tree``, which "joint" needs.
    """
    check_decoding(model, decoder=decoder, num_beams=num_beams, n_best=n_best, ctc_weight=ctc_weight)
    device = model.device
    half = next(model.llm.parameters()).dtype == torch.bfloat16
    autocast = torch.autocast(device.type, torch.bfloat16) if half else contextlib.nullcontext()
    with autocast:
        heard = model.listen(*pad_features(features, device))
        if decoder == "ctc":
            return [[{"text": text}] for text in model.drafts(heard)]
        prompts = model.prompts(heard)
        limits = [max_answer_tokens(model.config, length) for length in seconds]
        weight = ctc_weight if decoder == "joint" else 0.0
        listeners = open_listeners(tree, heard) if weight else []
        answers = model.generate(
            prompts,
            limits,
            num_beams=num_beams,
            n_best=n_best,
            length_penalty=length_penalty,
            processor=joint_processor(model, listeners, num_beams, weight, character_bonus) if weight else None,
        )
        if n_best == 1:
            return [[{"text": _write(model, row[0])}] for row in answers]
        return [
            _score_candidates(
                model,
                prompts[row],
                answers[row],
                listeners[row] if weight else None,
                weight=weight,
                bonus=character_bonus,
            )
            for row in range(len(prompts))
        ]


def check_decoding(model: SpeechLLMBase, *, decoder: str, num_beams: int, n_best: int, ctc_weight: float) -> None:
    if decoder not in DECODERS:
        raise UserError(f"--decoder {decoder}: expected one of {', '.join(DECODERS)}")
    if decoder != "llm" and model.ctc is None:
        raise UserError(f"--decoder {decoder}: this model has no CTC head; train with --ctc_warmup_steps, or use llm")
    if not 0 <= ctc_weight < 1:
        raise UserError(f"--ctc_weight {ctc_weight}: expected 0 <= weight < 1; --decoder ctc leaves the LLM out")
    if n_best > num_beams:
        raise UserError(f"--n_best {n_best}: expected at most --num_beams {num_beams}")


def open_listeners(tree: dict, heard: dict) -> list[dict]:
    """One for each utterance of ``SpeechLLMBase.listen``."""
    rows = zip(heard["log_probs"].float().cpu().numpy(), heard["lengths"].tolist())
    return [open_listener(tree, log_probs[:length]) for log_probs, length in rows]


def _write(model: SpeechLLMBase, ids: list[int]) -> str:
    return model.tokenizer.decode(ids, skip_special_tokens=True).strip()


def _score_candidates(
    model: SpeechLLMBase,
    prompt: torch.Tensor,
    answers: list[list[int]],
    listener: dict | None,
    *,
    weight: float,
    bonus: float,
) -> list[dict]:
    """Distinct texts with their nats by LLM and, where there is a listener, CTC together, likeliest first."""
    texts = {_write(model, answer): answer for answer in reversed(answers)}
    complete = [answer + model.stop_ids[:1] for answer in texts.values()]
    by_llm = model.score([prompt] * len(complete), complete)
    heard = [normalise_text(text) if listener else "" for text in texts]
    by_ctc = [weight * text_score(listener, text) + bonus * len(text) if listener else 0.0 for text in heard]
    scored = [{"text": text, "score": (1 - weight) * llm + ctc} for text, llm, ctc in zip(texts, by_llm, by_ctc)]
    return sorted(scored, key=lambda candidate: -candidate["score"])
