"""Validation: the loss on the true audio and on another's, and what the model writes.

A language model that ignores the audio can still learn its texts: its loss falls, and is the same on any audio.
"""

import functools
import logging
import operator
from collections.abc import Callable, Sequence

import torch

from core.records import TranscribedItem
from core.text_normalisation import normalise_text
from evaluation.text_errors import count_word_edits, error_rate
from models.speech_llm_model import LossSums, SpeechLLMBase
from speech_llm.batches import make_batch, swap_neighbours
from speech_llm.decoding import cut_shares, transcribe_features
from speech_llm.feature_sources import FeatureSource
from speech_llm.search_errors import find_search_errors, is_search_error
from training.processes import ALONE, Team, map_in_team

log = logging.getLogger("oral_units")

LOOP_COPIES = 4  # of the same words in a row; numbers and names are said three times, hardly four
LOOP_WORDS = 6  # the longest phrase looked for
AUDIO_MARGIN = 0.02  # nats a token (or character) by which another's audio must be worse


def is_looping(text: str) -> bool:
    """Whether some phrase of up to LOOP_WORDS words comes LOOP_COPIES times in a row."""
    words = normalise_text(text).split()
    for size in range(1, LOOP_WORDS + 1):
        # One word is repeated in honest speech ("one one one one") sooner than a phrase is.
        copies = LOOP_COPIES + 2 if size == 1 else LOOP_COPIES
        for start in range(len(words) - size * copies + 1):
            if words[start : start + size] * copies == words[start : start + size * copies]:
                return True
    return False


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Edits over words of the whole set, both sides normalised."""
    pairs = zip(map(normalise_text, references), map(normalise_text, hypotheses))
    return error_rate([count_word_edits(reference, hypothesis) for reference, hypothesis in pairs])


@torch.inference_mode()
def mean_losses(
    model: SpeechLLMBase,
    source: FeatureSource,
    items: Sequence[TranscribedItem],
    *,
    ctc_only: bool,
    batch_size: int,
    autocast: Callable,
    team: Team = ALONE,
) -> dict[str, float]:
    """Without augmentation: ``ctc_nat`` a character, and ``loss_nat`` and ``token_accuracy`` a token, if computed."""
    ordered = sorted(items, key=lambda item: -item["duration"])

    def add_up(chosen: Sequence[TranscribedItem]) -> list[float | None]:
        with autocast():
            sums = model(make_batch(model, source, chosen), ctc_only=ctc_only)
        return [None if value is None else value.item() for value in sums]

    batches = [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
    sums = LossSums(*map(_add_scalars, zip(*map_in_team(team, add_up, batches))))
    means = {}
    if sums.ctc is not None:
        means["ctc_nat"] = sums.ctc / max(1.0, sums.n_characters)
    if sums.ce is not None:
        means |= {"loss_nat": sums.ce / sums.n_tokens, "token_accuracy": sums.n_correct / sums.n_tokens}
    return means


def _add_scalars(values: Sequence[float | None]) -> float | None:
    """Their sum in float64; None where there is none. Not sum(), which adds otherwise since Python 3.12."""
    return None if values[0] is None else functools.reduce(operator.add, values)


def validate(
    model: SpeechLLMBase,
    source: FeatureSource,
    items: Sequence[TranscribedItem],
    *,
    ctc_only: bool,
    batch_size: int,
    autocast: Callable,
    decoding: dict[str, object],
    team: Team = ALONE,
) -> dict[str, float]:
    """Everything an evaluation logs, keys with "validation_"; the model is left in training mode.

    team: the processes that share the work; all get the same scores.
    """
    model.eval()
    settings = {"ctc_only": ctc_only, "batch_size": batch_size, "autocast": autocast, "team": team}
    true = mean_losses(model, source, items, **settings)
    compared = len(items) > 1 and (ctc_only or not model.text_only)  # the LLM reads no audio there
    shuffled = mean_losses(model, source, swap_neighbours(items), **settings) if compared else {}
    decoding = {"decoder": "ctc"} if ctc_only else decoding
    texts, scored = _write_and_score(model, source, items, batch_size=batch_size, decoding=decoding, team=team)
    references = [item["text"] for item in items]
    errors = [is_search_error(scores) for scores in scored if scores is not None]
    model.train()
    return {
        **{f"validation_{name}": value for name, value in true.items()},
        **{f"validation_shuffled_{name}": value for name, value in shuffled.items()},
        "validation_wer": word_error_rate(references, texts),
        **({"validation_search_error_share": sum(errors) / len(errors)} if errors else {}),
        "validation_looping_share": sum(map(is_looping, texts)) / len(texts),
        "validation_empty_share": sum(not text.strip() for text in texts) / len(texts),
    }


def _write_and_score(
    model: SpeechLLMBase,
    source: FeatureSource,
    items: Sequence[TranscribedItem],
    *,
    batch_size: int,
    decoding: dict[str, object],
    team: Team,
) -> tuple[list[str], list[tuple[float, float] | None]]:
    """What the model writes for each item, and of the wrong texts the nats that tell search errors."""

    def judge(places: list[int]) -> list[tuple[int, str, tuple[float, float] | None]]:
        chosen = [items[place] for place in places]
        features, seconds = source.read(chosen, [1.0] * len(chosen)), [item["duration"] for item in chosen]
        found = transcribe_features(model, features, seconds, batch_size=batch_size, **decoding)
        texts, references = [candidates[0]["text"] for candidates in found], [item["text"] for item in chosen]
        scored = find_search_errors(model, features, references, texts, batch_size=batch_size, **decoding)
        return list(zip(places, texts, scored))

    shares = cut_shares([source.count_frames(item) for item in items], batch_size, team.size)
    judged = sorted(row for share in map_in_team(team, judge, shares) for row in share)
    return [text for _, text, _ in judged], [scores for _, _, scores in judged]


def uses_audio(scores: dict[str, float]) -> bool:
    """Whether another's audio is worse than the true one, by more than AUDIO_MARGIN."""
    name = "loss_nat" if "validation_loss_nat" in scores else "ctc_nat"
    shuffled = scores.get(f"validation_shuffled_{name}")
    return shuffled is None or shuffled > scores[f"validation_{name}"] + AUDIO_MARGIN


def warn_if_audio_unused(step: int, scores: dict[str, float]) -> None:
    if not uses_audio(scores):
        log.warning("step %d: NOT LISTENING: the loss on another's audio is no worse than on the true one", step)
