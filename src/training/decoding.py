"""What a speech LLM writes for features: greedy or beam, by the LLM, by the CTC head, or by both together.

Jointly, a text's score is (1 - w) * log p(text | LLM) + w * log p(text | CTC): the LLM knows the language, the CTC head
the sounds (Watanabe et al. 2017). Axes: B batch, F frames, D features a frame.
"""

import contextlib
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from errors import UserError
from evaluation.text_errors import normalise_text
from models.ctc_prefix import prefix_scorer
from models.speech_llm_model import SpeechLLMBase

DECODERS = ("llm", "ctc", "joint")
SPARE_TOKENS = 8  # that an answer may have beyond its share of the duration
CANDIDATES = 16  # of the LLM's likeliest tokens that the CTC head is asked about at every place
SILENT_SCORE = -1.0  # nats by CTC of a token that adds nothing to be heard: else a beam of punctuation costs nothing


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
    order = sorted((place for place in range(len(features)) if len(features[place])), key=lambda p: -len(features[p]))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        texts = transcribe_batch(model, [features[p] for p in places], [seconds[p] for p in places], **options)
        for place, candidates in zip(places, texts):
            found[place] = candidates
        if on_batch is not None:
            on_batch(places, texts)
    return found


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
    length_penalty: float = 0.0,
) -> list[list[dict]]:
    """One batch of ``transcribe_features``. decoder: "llm", "ctc" (best path of the head alone) or "joint"."""
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
        scorers = ctc_scorers(model, heard) if weight else []
        suggested = [suggest_tokens(model, draft) for draft in model.drafts(heard)] if weight else []
        answers = model.generate(
            prompts,
            limits,
            num_beams=num_beams,
            n_best=n_best,
            length_penalty=length_penalty,
            processor=joint_processor(model, scorers, suggested, num_beams, weight) if weight else None,
        )
        if n_best == 1:
            return [[{"text": _write(model, row[0])}] for row in answers]
        return [
            _score_candidates(model, prompts[row], answers[row], scorers[row] if weight else None, weight)
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


def ctc_scorers(model: SpeechLLMBase, heard: dict) -> list[Callable[[str, bool], float]]:
    """For each utterance: (normalised text, whether it ends) -> nats of the CTC head."""
    labels = {character: row for row, character in enumerate(model.config["characters"], 1)}
    rows = zip(heard["log_probs"].float().cpu().numpy(), heard["lengths"].tolist())
    return [prefix_scorer(log_probs[:length], labels) for log_probs, length in rows]


def joint_processor(
    model: SpeechLLMBase, scorers: list[Callable], suggested: list[list[int]], num_beams: int, weight: float
) -> Callable:
    """A logits processor that weighs tokens by what the CTC head gains or loses with them.

    Asked about are the LLM's likeliest tokens and, for each utterance, those ``suggested`` by what the head heard.
    """

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        log_probs = scores.log_softmax(-1)
        best = log_probs.topk(min(CANDIDATES, scores.shape[-1]), dim=-1).indices.tolist()
        joint = torch.full_like(scores, -torch.inf)
        for row, likeliest in enumerate(best):
            utterance = row // num_beams
            tokens = list(dict.fromkeys([*likeliest, *suggested[utterance]]))
            gains = _gained_scores(model, scorers[utterance], ids[row].tolist(), tokens)
            gained = torch.tensor(gains, device=scores.device, dtype=scores.dtype)
            joint[row, tokens] = (1 - weight) * log_probs[row, tokens] + weight * gained
        return joint

    return process


def suggest_tokens(model: SpeechLLMBase, draft: str) -> list[int]:
    """Tokens of the head's reading, as they stand in a text and at its beginning, and of its single letters."""
    spellings = [draft, f" {draft}", draft.capitalize(), *sorted(set(draft))]
    ids = [token for text in spellings for token in model.tokenizer.encode(text, add_special_tokens=False)]
    return list(dict.fromkeys(token for token in ids if token not in model.stop_ids))


def _gained_scores(model: SpeechLLMBase, scorer: Callable, said: list[int], tokens: list[int]) -> list[float]:
    """What the head says to each of ``tokens`` after ``said``, beside the text before it."""
    before = normalise_text(_write(model, said))
    reached, gains = scorer(before, False), []
    for token in tokens:
        if token in model.stop_ids:
            gains.append(scorer(before, True) - reached)
            continue
        after = normalise_text(_write(model, [*said, token]))
        gains.append(SILENT_SCORE if after == before else scorer(after, False) - reached)
    return gains


def _write(model: SpeechLLMBase, ids: list[int]) -> str:
    return model.tokenizer.decode(ids, skip_special_tokens=True).strip()


def _score_candidates(
    model: SpeechLLMBase, prompt: torch.Tensor, answers: list[list[int]], scorer: Callable | None, weight: float
) -> list[dict]:
    """Distinct texts with their nats by LLM and CTC together, likeliest first."""
    texts = {_write(model, answer): answer for answer in reversed(answers)}
    complete = [answer + model.stop_ids[:1] for answer in texts.values()]
    by_llm = model.score([prompt] * len(complete), complete)
    by_ctc = [scorer(normalise_text(text), True) if scorer else 0.0 for text in texts]
    scored = [
        {"text": text, "score": (1 - weight) * llm + weight * ctc} for text, llm, ctc in zip(texts, by_llm, by_ctc)
    ]
    return sorted(scored, key=lambda candidate: -candidate["score"])
