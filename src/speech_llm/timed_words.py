"""When each word is said, by aligning a text to the CTC head's posteriors, and how sure the recogniser is of it.

Axes: B batch, P positions, V characters of the head with the blank (row 0), N letters of a text.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from core.errors import UserError
from core.frames import UNIT_RATE
from core.records import HeardPiece, TimedWord
from core.text_normalisation import normalise_text
from models.ctc import BLANK
from models.speech_llm_model import SpeechLLMBase
from speech_llm.characters import text_labels
from speech_llm.decoding import batch_alike, computing, pad_features

LONGEST_ECHO = 0.1  # s: so long may a word go on behind its last letter, which CTC marks where it begins


def describe_pieces(
    model: SpeechLLMBase,
    features: Sequence[np.ndarray],
    texts: Sequence[str],
    *,
    timed: bool,
    rated: bool,
    batch_size: int,
) -> list[HeardPiece]:
    """Each text with its ``confidence`` where ``rated``, and its ``words`` where ``timed``.

    features: (F, D) of each. Raises UserError where words shall be timed by a model without a CTC head.
    """
    if timed and model.ctc is None:
        raise UserError("--words: this model has no CTC head, which hears when a letter is said; leave it out")
    found: list[HeardPiece] = [{"text": text} for text in texts]
    if rated:
        found = [piece | {"confidence": 0.0} for piece in found]
    if timed:
        found = [piece | {"words": []} for piece in found]
    for places in batch_alike([len(row) for row in features], batch_size):
        batch = _rate_batch(
            model, [features[place] for place in places], [texts[place] for place in places], timed, rated
        )
        for place, piece in zip(places, batch):
            found[place] = piece
    return found


@torch.inference_mode()
def _rate_batch(
    model: SpeechLLMBase, features: Sequence[np.ndarray], texts: Sequence[str], timed: bool, rated: bool
) -> list[HeardPiece]:
    found: list[HeardPiece] = [{"text": text} for text in texts]
    with computing(model):
        speech = model.encode_speech(*pad_features(features, model.device))
        if model.ctc is None:
            return [piece | {"confidence": sure} for piece, sure in zip(found, _rate_by_llm(model, speech, texts))]
    for place, (log_probs, length) in enumerate(zip(speech.log_probs.float().cpu(), speech.lengths.tolist())):
        heard = log_probs[:length]
        if rated:
            found[place]["confidence"] = rate_text(heard, texts[place], model.characters)
        if timed:
            step = model.connector.factor / UNIT_RATE
            found[place]["words"] = align_words(heard, texts[place], model.characters, step)
    return found


def _rate_by_llm(model: SpeechLLMBase, speech, texts: Sequence[str]) -> list[float]:
    """exp of the mean nats a token of each text, the end included."""
    answers = [model.answer_ids(text) for text in texts]
    nats = model.score(model.prompts(speech), answers)
    return [round(math.exp(own / len(answer)), 4) for own, answer in zip(nats, answers)]


def rate_text(log_probs: torch.Tensor, text: str, characters: str) -> float:
    """The mean (geometric) probability of a letter of ``text`` by the head's (P, V) posteriors, over all paths.

    0 where the text has no path; of an empty text, the probability that nothing was said.
    """
    labels = text_labels(text, characters)
    lengths = torch.tensor([len(log_probs)]), torch.tensor([len(labels)])
    nats = functional.ctc_loss(log_probs[:, None], labels[None], *lengths, blank=BLANK, reduction="sum")
    return round(math.exp(-nats.item() / max(1, len(labels))), 4)


def align_words(log_probs: torch.Tensor, text: str, characters: str, step: float) -> list[TimedWord]:
    """The words of ``text`` with their times on the likeliest path through the head's (P, V) posteriors.

    step: seconds a position. What the head has no letters for stands with the word before it. A text without a path
    gives none.
    """
    words, labels, owners = spell_words(text, characters)
    if not words or len(labels) + int((labels[1:] == labels[:-1]).sum()) > len(log_probs):
        return []
    spans = align_letters(log_probs, labels)
    found: list[TimedWord] = []
    for number, word in enumerate(words):
        own = [span for span, owner in zip(spans, owners) if owner == number]
        sure = math.exp(sum(nats for _, _, nats in own) / len(own))
        start, end = own[0][0] * step, own[-1][1] * step
        found.append({"text": word, "start": round(start, 3), "end": round(end, 3), "confidence": round(sure, 4)})
    return _let_words_end(found, len(log_probs) * step)


def spell_words(text: str, characters: str) -> tuple[list[str], torch.Tensor, list[int]]:
    """(words, (N,) int64 rows of the head, the word of each row); a space between two words belongs to none (-1)."""
    rows = {character: row for row, character in enumerate(characters, 1)}
    words, labels, owners, waiting = [], [], [], []
    for word in text.split():
        letters = [rows[letter] for letter in normalise_text(word) if letter in rows and letter != " "]
        if not letters and words:
            words[-1] += f" {word}"
            continue
        if not letters:
            waiting.append(word)
            continue
        if words and " " in rows:
            labels.append(rows[" "])
            owners.append(-1)
        words.append(" ".join([*waiting, word]))
        labels += letters
        owners += [len(words) - 1] * len(letters)
        waiting = []
    return words, torch.tensor(labels, dtype=torch.long), owners


def align_letters(log_probs: torch.Tensor, labels: torch.Tensor) -> list[tuple[int, int, float]]:
    """(first position, position after the last, mean nats) of each of (N,) labels on the likeliest CTC path."""
    from torchaudio.functional import forced_align

    path, nats = forced_align(log_probs[None].contiguous(), labels[None].int(), blank=BLANK)
    path, nats = path[0], nats[0]
    runs, counts = path.unique_consecutive(return_counts=True)
    ends = counts.cumsum(0).tolist()
    bounds = zip(runs.tolist(), [0, *ends[:-1]], ends)
    return [(start, end, nats[start:end].mean().item()) for label, start, end in bounds if label != BLANK]


def _let_words_end(words: list[TimedWord], longest: float) -> list[TimedWord]:
    """Each word goes on for LONGEST_ECHO, or half the way to the next."""
    following = [word["start"] for word in words[1:]] + [2 * longest - words[-1]["end"]]
    room = [max(0.0, (after - word["end"]) / 2) for word, after in zip(words, following)]
    return [word | {"end": round(word["end"] + min(LONGEST_ECHO, more), 3)} for word, more in zip(words, room)]
