"""What a speech LLM writes for features: greedy or beam, by the LLM, by the CTC head, or by both together.

Jointly: see ``joint_decoding``. Axes: B batch, F frames, D features a frame.
"""

import contextlib
import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from core.errors import UserError
from core.records import Candidate, TranscribedItem
from models.speech_llm_model import EncodedSpeech, SpeechLLMBase
from speech_llm.characters import write_apostrophes
from speech_llm.joint_decoding import CtcScorer, joint_processor, open_ctc_scorer, score_answer
from speech_llm.mending import mend_text
from speech_llm.spellings import TokenTree, build_token_tree
from speech_llm.token_edits import edited_tokens

DECODERS = ("llm", "ctc", "joint")
DECODING_FLAGS = (  # kept with a model
    "decoder",
    "num_beams",
    "ctc_weight",
    "ctc_temperature",
    "character_bonus",
    "look_ahead",
    "mend",
    "length_penalty",
)
JOINT_BEAMS = 8  # of joint decoding, unless asked otherwise; the LLM alone is greedy
CTC_WEIGHT = 0.5  # of the head's nats in joint decoding
LOOK_AHEAD = 0.0  # share of the head's expected nats that a text is given up to its place
CHARACTER_BONUS = 1.0  # nats: about what a character costs by the LLM and the head together
MOST_EDITED = 12  # texts a token away that are scored in a round of mending
BROKEN = "\ufffd"  # what a decoder writes for bytes that are no letter
TOKEN_NATS = 3.0  # that a token costs by an LLM, about
RATE_QUANTILE = 0.98
SHARE_ITEMS = 256  # utterances whose features are read at once
SPARE_TOKENS = 8  # that an answer may have beyond its share of the duration


def default_decoding(model: SpeechLLMBase) -> dict[str, object]:
    """How a model is decoded unless something else was saved with it or asked for."""
    decoder = "joint" if model.ctc is not None else "llm"
    return {"decoder": decoder, "num_beams": default_beams(decoder), "ctc_weight": CTC_WEIGHT}


def default_beams(decoder: str) -> int:
    return JOINT_BEAMS if decoder == "joint" else 1


def pad_rows(features: Sequence[np.ndarray], *, pinned: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """List of (F, D) (or (F,) unit ids) -> (B, F, D) (or (B, F)) of the same type, (B,) lengths, on the CPU.

    pinned: in memory that a GPU can read from while it computes.
    """
    padded = pad_sequence([torch.from_numpy(np.array(row)) for row in features], batch_first=True)
    lengths = torch.tensor([len(row) for row in features])
    return (padded.pin_memory(), lengths.pin_memory()) if pinned else (padded, lengths)


def send(rows: tuple[torch.Tensor, torch.Tensor], device: str | torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """``pad_rows`` on the device, features as float32."""
    padded, lengths = (values.to(device, non_blocking=True) for values in rows)
    return padded.float() if padded.is_floating_point() else padded, lengths


def pad_features(features: Sequence[np.ndarray], device: str | torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """List of (F, D) (or (F,) unit ids) -> (B, F, D) float32 (or (B, F) int64), (B,) lengths."""
    return send(pad_rows(features), device)


def token_rate(tokenizer, items: Sequence[TranscribedItem], n_tokens: Sequence[int] | None = None) -> float:
    """Tokens a second of nearly all training utterances (RATE_QUANTILE), and half as many again.

    One text beside the wrong audio does not let every answer run on. n_tokens: of the texts, where they are counted.
    """
    if n_tokens is None:
        n_tokens = [len(tokenizer.encode(item["text"], add_special_tokens=False)) for item in items]
    rates = [count / max(item["duration"], 1.0) for count, item in zip(n_tokens, items)]
    return round(1.5 * float(np.quantile(rates, RATE_QUANTILE)), 2)


def max_answer_tokens(tokens_per_second: float, seconds: float) -> int:
    return SPARE_TOKENS + math.ceil(seconds * tokens_per_second)


def transcribe_features(
    model: SpeechLLMBase,
    features: Sequence[np.ndarray],
    seconds: Sequence[float],
    *,
    batch_size: int = 8,
    on_batch: Callable[[list[int], list[list[Candidate]]], None] | None = None,
    **options,
) -> list[list[Candidate]]:
    """Candidates, likeliest first ("score" in nats with n_best), for each (F, D) features or (F,) unit ids.

    seconds: of each utterance; options: of ``transcribe_batch``. Utterances of like length share a batch, longest
    first; ``on_batch`` is told of each as it is done. No frames at all give "".
    """
    found: list[list[Candidate]] = [[{"text": ""}] for _ in features]
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


def cut_shares(lengths: Sequence[int], batch_size: int, n_processes: int) -> list[list[int]]:
    """Places for processes to share out: as many shares as processes, or more, so that none holds SHARE_ITEMS.

    The batches of like length go to one share after the other, so that all take about as long.
    """
    size = min(batch_size, math.ceil(len(lengths) / n_processes)) or 1  # of few utterances too, each has some
    batches = list(batch_alike([max(1, length) for length in lengths], size))
    n_shares = max(n_processes, math.ceil(len(lengths) / SHARE_ITEMS))
    shares = [[place for batch in batches[share::n_shares] for place in batch] for share in range(n_shares)]
    return [share for share in shares if share]


@torch.inference_mode()
def transcribe_batch(
    model: SpeechLLMBase,
    features: Sequence[np.ndarray],
    seconds: Sequence[float],
    *,
    decoder: str = "llm",
    num_beams: int = 1,
    n_best: int = 1,
    ctc_weight: float = CTC_WEIGHT,
    ctc_temperature: float = 1.0,
    character_bonus: float = CHARACTER_BONUS,
    look_ahead: float = LOOK_AHEAD,
    mend: bool = False,
    length_penalty: float = 0.0,
    tree: TokenTree | None = None,
) -> list[list[Candidate]]:
    """One batch of ``transcribe_features``. decoder: "llm", "ctc" (best path of the head alone) or "joint".

    ctc_temperature: of the head's posteriors in joint decoding; above 1 for a head that is too sure. mend: look in the
    head's reading for words that the best text has missed ("joint"). tree: of
    ``build_token_tree``, which "joint" needs.
    """
    check_decoding(model, decoder=decoder, num_beams=num_beams, n_best=n_best, ctc_weight=ctc_weight)
    device, tokens_per_second = model.device, model.config["tokens_per_second"]
    with computing(model):
        speech = model.encode_speech(*pad_features(features, device))
        if decoder == "ctc":
            mark = model.config.get("apostrophe", "'")
            texts = [write_apostrophes(text, mark) for text in model.drafts(speech)]
            return [[{"text": _in_text_form(model, text)}] for text in texts]
        prompts = model.prompts(speech)
        weight = ctc_weight if decoder == "joint" else 0.0
        scorers = open_ctc_scorers(tree, speech, ctc_temperature, look_ahead) if weight else [None] * len(prompts)
        answers = model.generate(
            prompts,
            [max_answer_tokens(tokens_per_second, length) for length in seconds],
            num_beams=num_beams,
            n_best=n_best,
            length_penalty=length_penalty,
            processor=joint_processor(model, scorers, num_beams, weight, character_bonus) if weight else None,
        )
        if weight and mend:
            shares = {"weight": weight, "bonus": character_bonus}
            parts = zip(answers, prompts, model.drafts(speech), scorers)
            answers = [_mend(model, *part, **shares)[:n_best] for part in parts]
        if n_best == 1:
            return [[{"text": _write(model, row[0])}] for row in answers]
        return [
            _score_candidates(model, prompt, row, scorer, weight=weight, bonus=character_bonus)
            for prompt, row, scorer in zip(prompts, answers, scorers)
        ]


def computing(model: SpeechLLMBase) -> contextlib.AbstractContextManager:
    """Autocast where the frozen LLM is in bf16."""
    half = next(model.llm.parameters()).dtype == torch.bfloat16
    return torch.autocast(model.device.type, torch.bfloat16) if half else contextlib.nullcontext()


def check_decoding(model: SpeechLLMBase, *, decoder: str, num_beams: int, n_best: int, ctc_weight: float) -> None:
    refuse_decoding(model.ctc is not None, decoder=decoder, num_beams=num_beams, n_best=n_best, ctc_weight=ctc_weight)


def refuse_decoding(has_head: bool, *, decoder: str, num_beams: int, n_best: int, ctc_weight: float) -> None:
    """UserError for a decoding that cannot be; ``has_head``: whether the model has a CTC head."""
    if decoder not in DECODERS:
        raise UserError(f"--decoder {decoder}: expected one of {', '.join(DECODERS)}")
    if decoder != "llm" and not has_head:
        raise UserError(f"--decoder {decoder}: this model has no CTC head; train with --ctc_warmup_steps, or use llm")
    if not 0 <= ctc_weight < 1:
        raise UserError(f"--ctc_weight {ctc_weight}: expected 0 <= weight < 1; --decoder ctc leaves the LLM out")
    if n_best > num_beams:
        raise UserError(f"--n_best {n_best}: expected at most --num_beams {num_beams}")


def open_ctc_scorers(
    tree: TokenTree, speech: EncodedSpeech, temperature: float = 1.0, look_ahead: float = 0.0
) -> list[CtcScorer]:
    """One for each utterance of a batch; temperature: of the posteriors (Guo et al. 2017)."""
    log_probs = speech.log_probs.float()
    if temperature != 1:
        log_probs = (log_probs / temperature).log_softmax(-1)
    rows = zip(log_probs.cpu().numpy(), speech.lengths.tolist())
    return [open_ctc_scorer(tree, log_probs[:length], look_ahead) for log_probs, length in rows]


def _write(model: SpeechLLMBase, ids: list[int]) -> str:
    """The text of an answer, in the Unicode form of the transcripts."""
    return _in_text_form(model, model.tokenizer.decode(ids, skip_special_tokens=True).strip())


def _in_text_form(model: SpeechLLMBase, text: str) -> str:
    form = model.config.get("text_form")
    return unicodedata.normalize(form, text) if form else text


def score_answers(
    model: SpeechLLMBase,
    prompt: torch.Tensor,
    answers: list[list[int]],
    scorer: CtcScorer | None,
    *,
    weight: float,
    bonus: float,
) -> list[float]:
    """Nats of each answer (tokens, the end left out) by LLM and, where there is a scorer, CTC together."""
    by_llm = model.score_alternatives(prompt, [answer + model.stop_ids[:1] for answer in answers])
    if scorer is None:
        return by_llm
    by_ctc = [score_answer(scorer, answer) for answer in answers]
    return [(1 - weight) * llm + weight * nats + bonus * count for llm, (nats, count) in zip(by_llm, by_ctc)]


def _mend(
    model: SpeechLLMBase, answers: list[list[int]], prompt: torch.Tensor, draft: str, scorer: CtcScorer, **options
) -> list[list[int]]:
    """The answers, likeliest first: the first mended by the head's ``draft``, where that helps."""

    def score(texts: list[str]) -> list[float]:
        tokens = [model.answer_ids(text)[:-1] for text in texts]
        return score_answers(model, prompt, tokens, scorer, **options)

    def guess(text: str) -> float:
        tokens = model.answer_ids(text)[:-1]
        nats, count = score_answer(scorer, tokens)
        spelling = (1 - options["weight"]) * TOKEN_NATS * len(tokens)  # misspelt words are many tokens
        return options["weight"] * nats + options["bonus"] * count - spelling

    def nearby(text: str) -> list[str]:
        tokens = model.answer_ids(text)
        log_probs = model.answer_logits([prompt], [tokens])[0].log_softmax(-1).cpu()
        edited = edited_tokens(tokens[:-1], log_probs, scorer, most=MOST_EDITED, **options)
        texts = [_write(model, others) for others in edited]
        return [text for text in texts if BROKEN not in text]

    found = _write(model, answers[0])
    mended = mend_text(found, draft, score, guess, nearby)
    return answers if mended == found else [model.answer_ids(mended)[:-1], *answers]


def _score_candidates(
    model: SpeechLLMBase, prompt: torch.Tensor, answers: list[list[int]], scorer: CtcScorer | None, **options
) -> list[Candidate]:
    """Distinct texts with their nats, likeliest first; the first is that of the search, as with one hypothesis."""
    scored = zip(answers, score_answers(model, prompt, answers, scorer, **options))
    candidates: dict[str, Candidate] = {}
    for answer, score in scored:
        text = _write(model, answer)
        known = candidates.get(text, {"score": -math.inf})
        candidates[text] = {"text": text, "score": max(score, known["score"])}
    first, *others = candidates.values()
    return [first, *sorted(others, key=lambda candidate: -candidate["score"])]
