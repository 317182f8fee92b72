"""Search errors: wrong texts that a search wrote although the reference scores better by its own measure.

More beams, or other candidates, mend these; better models mend the other errors (Stahlberg and Byrne 2019).
"""

from collections.abc import Sequence

import numpy as np
import torch

from core.text_normalisation import normalise_text
from models.speech_llm_model import SpeechLLMBase
from speech_llm.decoding import (
    CHARACTER_BONUS,
    CTC_WEIGHT,
    batch_alike,
    computing,
    open_ctc_scorers,
    pad_features,
    score_answers,
)
from speech_llm.spellings import build_token_tree

ROUNDING_NATS = 0.01  # by which the same text may differ when it is scored in two ways


@torch.inference_mode()
def score_texts(
    model: SpeechLLMBase,
    features: Sequence[np.ndarray],
    texts: Sequence[Sequence[str]],
    *,
    batch_size: int = 8,
    decoder: str = "llm",
    ctc_weight: float = CTC_WEIGHT,
    ctc_temperature: float = 1.0,
    character_bonus: float = CHARACTER_BONUS,
    **_,
) -> list[list[float]]:
    """Nats of each of an utterance's ``texts``, as ``transcribe_features`` with the same options looks for the best.

    features: (F, D), or (F,) unit ids, of each utterance; one without frames gives nothing.
    """
    weight = ctc_weight if decoder == "joint" else 0.0
    tree = build_token_tree(model) if weight and len(features) else None
    found: list[list[float]] = [[] for _ in features]
    for places in batch_alike([len(row) for row in features], batch_size):
        with computing(model):
            speech = model.encode_speech(*pad_features([features[place] for place in places], model.device))
            scorers = open_ctc_scorers(tree, speech, ctc_temperature) if weight else [None] * len(places)
            for place, prompt, scorer in zip(places, model.prompts(speech), scorers):
                answers = [model.answer_ids(text)[:-1] for text in texts[place]]
                found[place] = score_answers(model, prompt, answers, scorer, weight=weight, bonus=character_bonus)
    return found


def find_search_errors(
    model: SpeechLLMBase,
    features: Sequence[np.ndarray],
    references: Sequence[str],
    hypotheses: Sequence[str],
    **decoding,
) -> list[tuple[float, float] | None]:
    """(nats of the hypothesis, nats of the reference) of each wrong hypothesis; None where it is right.

    decoding: options of ``transcribe_features``. The best path of a CTC head ("ctc") is no such search: all None.
    """
    found: list[tuple[float, float] | None] = [None] * len(references)
    if decoding.get("decoder") == "ctc":
        return found
    pairs = list(zip(references, hypotheses))
    wrong = [place for place, pair in enumerate(pairs) if is_wrong(*pair) and len(features[place])]
    scores = score_texts(model, [features[p] for p in wrong], [pairs[p] for p in wrong], **decoding)
    for place, (reference, hypothesis) in zip(wrong, scores):
        found[place] = (hypothesis, reference)
    return found


def is_wrong(reference: str, hypothesis: str) -> bool:
    return normalise_text(reference) != normalise_text(hypothesis)


def is_search_error(scores: tuple[float, float]) -> bool:
    """By (nats of the hypothesis, nats of the reference)."""
    hypothesis, reference = scores
    return reference > hypothesis + ROUNDING_NATS
