"""Does it listen? The loss on the true audio beside that on another's, and what the model writes.

A language model that ignores the audio can still learn its texts: its loss falls, and is the same on any audio.
"""

import logging
from collections.abc import Sequence

import torch

from core.text import normalise_text
from evaluation.text_errors import count_word_edits, error_rate
from models.speech_llm_model import SpeechLLMBase
from speech_llm.batches import make_batch, swap_neighbours
from speech_llm.decoding import transcribe_features

log = logging.getLogger("oral_units")

LOOP_COPIES = 4  # of the same words in a row; numbers and names are said three times, hardly four
LOOP_WORDS = 6  # the longest phrase looked for
LISTENING_MARGIN = 0.02  # nats a token (or character) by which another's audio must be worse


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
    model: SpeechLLMBase, source: dict, items: Sequence[dict], *, ctc_only: bool, batch_size: int, autocast
) -> dict[str, float]:
    """Without augmentation: ``loss_nat`` a token, ``token_accuracy`` and ``ctc_nat`` a character, where there are."""
    sums: dict[str, float] = {}
    ordered = sorted(items, key=lambda item: -item["duration"])
    for start in range(0, len(ordered), batch_size):
        batch = make_batch(model, source, ordered[start : start + batch_size])
        with autocast():
            found = model(batch, ctc_only=ctc_only)
        for name, value in found.items():
            sums[name] = sums.get(name, 0.0) + value.item()
    means = {}
    if "ctc_sum" in sums:
        means["ctc_nat"] = sums["ctc_sum"] / max(1.0, sums["n_characters"])
    if "ce_sum" in sums:
        means |= {
            "loss_nat": sums["ce_sum"] / sums["n_tokens"],
            "token_accuracy": sums["n_correct"] / sums["n_tokens"],
        }
    return means


def evaluate_listening(
    model: SpeechLLMBase,
    source: dict,
    items: Sequence[dict],
    *,
    ctc_only: bool,
    batch_size: int,
    autocast,
    decoding: dict,
) -> dict[str, float]:
    """Everything an evaluation logs, keys with "validation_"; the model is left in training mode."""
    model.eval()
    settings = {"ctc_only": ctc_only, "batch_size": batch_size, "autocast": autocast}
    true = mean_losses(model, source, items, **settings)
    shuffled = mean_losses(model, source, swap_neighbours(items), **settings) if len(items) > 1 else {}
    features = source["read"](list(items), [1.0] * len(items))
    decoding = {"decoder": "ctc"} if ctc_only else decoding
    found = transcribe_features(model, features, [i["duration"] for i in items], batch_size=batch_size, **decoding)
    texts = [candidates[0]["text"] for candidates in found]
    model.train()
    return {
        **{f"validation_{name}": value for name, value in true.items()},
        **{f"validation_shuffled_{name}": value for name, value in shuffled.items()},
        "validation_wer": word_error_rate([item["text"] for item in items], texts),
        "validation_looping_share": sum(map(is_looping, texts)) / len(texts),
        "validation_empty_share": sum(not text.strip() for text in texts) / len(texts),
    }


def listens(scores: dict[str, float]) -> bool:
    """Whether another's audio is worse than the true one, by more than LISTENING_MARGIN."""
    name = "loss_nat" if "validation_loss_nat" in scores else "ctc_nat"
    shuffled = scores.get(f"validation_shuffled_{name}")
    return shuffled is None or shuffled > scores[f"validation_{name}"] + LISTENING_MARGIN


def warn_of_deafness(step: int, scores: dict[str, float]) -> None:
    if not listens(scores):
        log.warning("step %d: NOT LISTENING: the loss on another's audio is no worse than on the true one", step)
