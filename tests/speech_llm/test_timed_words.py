"""When words are said, by posteriors that are known, and how sure the head is of a text."""

import math

import torch

import pytest

from core.errors import UserError
from models.speech_llm_model import SpeechLLMBase
from speech_llm.timed_words import align_words, describe_pieces, rate_text
from tiny_llm import DIM, config, hearing, tiny_llm, tiny_tokenizer

CHARACTERS = " 'abc"
STEP = 0.04


def posteriors(path: str, sure: float = 0.9) -> torch.Tensor:
    """(P, V) log-probabilities of a path over CHARACTERS; "_" is the blank."""
    rows = [("_" + CHARACTERS).index(letter) for letter in path]
    probabilities = torch.full((len(path), len(CHARACTERS) + 1), (1 - sure) / len(CHARACTERS))
    probabilities[range(len(path)), rows] = sure
    return probabilities.log()


def test_words_begin_and_end_where_their_letters_are() -> None:
    words = align_words(posteriors("__aab__b__ __c_____________"), "Abb, c!", CHARACTERS, STEP)
    assert [word["text"] for word in words] == ["Abb,", "c!"]
    assert [word["start"] for word in words] == pytest.approx([2 * STEP, 13 * STEP])
    assert words[0]["end"] == pytest.approx(8 * STEP + 2.5 * STEP), "half the way to the next word"
    assert words[1]["end"] == pytest.approx(14 * STEP + 0.1)
    assert [word["confidence"] for word in words] == pytest.approx([0.9, 0.9], abs=1e-3)


def test_what_has_no_letters_stands_with_its_neighbour() -> None:
    words = align_words(posteriors("_a_ _b_"), "-- a – 5 b", CHARACTERS, STEP)
    assert [word["text"] for word in words] == ["-- a – 5", "b"]
    assert align_words(posteriors("_a_"), "", CHARACTERS, STEP) == []
    assert align_words(posteriors("_a_"), "abcabc", CHARACTERS, STEP) == [], "more letters than positions"


def test_a_word_that_was_not_said_is_less_sure() -> None:
    right, wrong = (align_words(posteriors("_a_ _b_"), text, CHARACTERS, STEP) for text in ("a b", "a c"))
    assert right[0]["confidence"] == wrong[0]["confidence"] and wrong[1]["confidence"] < 0.1 < right[1]["confidence"]


def test_confidence_is_the_mean_probability_of_a_letter() -> None:
    log_probs = posteriors("a")
    assert rate_text(log_probs, "a", CHARACTERS) == pytest.approx(0.9, abs=1e-3)
    assert rate_text(log_probs, "", CHARACTERS) == pytest.approx(0.02, abs=1e-3)
    assert rate_text(log_probs, "ab", CHARACTERS) == 0.0, "no path"
    sure, unsure = (rate_text(posteriors("_a_b_", sure), "ab", CHARACTERS) for sure in (0.95, 0.6))
    assert math.isclose(sure, 0.95**2.5, abs_tol=0.02) and unsure < sure


def build(values: dict) -> SpeechLLMBase:
    return SpeechLLMBase(tiny_llm("llama"), tiny_tokenizer(), values).eval()


@pytest.mark.parametrize("values", [config(), hearing()], ids=["llm", "joint"])
def test_each_piece_is_described_whatever_its_batch(values: dict) -> None:
    model = build(values)
    features = [torch.randn(n, DIM).numpy() for n in (30, 0, 60)]
    texts, settings = ["abc", "", "bad cab"], {"rated": True, "timed": model.ctc is not None}
    together = describe_pieces(model, features, texts, batch_size=3, **settings)
    for place, piece in enumerate(together):
        alone = describe_pieces(model, features[place : place + 1], texts[place : place + 1], batch_size=1, **settings)
        assert alone[0]["confidence"] == pytest.approx(piece["confidence"], abs=1e-3)
        assert [word["text"] for word in piece.get("words", [])] == (texts[place].split() if model.ctc else [])
    if model.ctc is None:
        with pytest.raises(UserError, match="no CTC head"):
            describe_pieces(model, features, texts, batch_size=3, timed=True, rated=False)
