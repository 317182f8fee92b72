import numpy as np
import torch

from models.speech_llm_model import SpeechLLMBase
from speech_llm.decoding import transcribe_features
from speech_llm.mending import exchanges, mend_text
from speech_llm.search_errors import score_texts
from tiny_llm import DIM, hearing, tiny_llm, tiny_tokenizer


def near(goal: str):
    """Nats: minus the words that a text has too many or too few of."""
    return lambda texts: [-float(len({*enumerate(text.split())} ^ {*enumerate(goal.split())})) for text in texts]


def test_words_that_the_search_dropped_come_back_from_the_heads_reading():
    goal = "Press 4 to hear it, or 6 to leave."
    found = "Press to hear it, or to leave."
    assert mend_text(found, "press 4 to here it or 6 to leaf", near(goal), lambda text: near(goal)([text])[0]) == goal


def test_an_exchange_that_scores_no_better_is_not_made():
    assert mend_text("the same", "another reading", lambda texts: [0.0] * len(texts), len) == "the same"
    assert mend_text("", "", near("a"), len) == ""
    assert mend_text("", "a", near("a"), len) == "a"


def test_places_are_exchanged_whole_and_word_by_word():
    found = exchanges("one two three", "One 2 and three")
    assert {"one 2 and three", "one three", "one 2 three", "one 2 two three", "one two and three"} <= {*found}
    assert "one two three" not in found and len(found) == len({*found})
    assert exchanges("One, two", "one two") == []


def test_neighbouring_places_are_exchanged_together():
    found = exchanges("mute yourself or to decrease", "mute yourself 4 or 6 to decrease it")
    assert {"mute yourself 4 or 6 to decrease", "mute yourself, 4 or 6 to decrease"} <= {*found}
    assert "mute yourself 4 or to decrease" in found and "mute yourself or to decrease it" in found


def test_a_mended_text_never_scores_worse_than_what_the_search_found():
    torch.manual_seed(0)
    model = SpeechLLMBase(tiny_llm("llama"), tiny_tokenizer(), hearing()).eval()
    draws = [np.random.default_rng(seed) for seed in range(6)]
    features = [draw.normal(size=(24, DIM)).astype(np.float32) for draw in draws]
    joint = {"decoder": "joint", "ctc_weight": 0.5, "character_bonus": 0.3}
    options = joint | {"num_beams": 2}
    found, mended = (
        [row[0]["text"] for row in transcribe_features(model, features, [0.3] * 6, mend=mend, **options)]
        for mend in (False, True)
    )
    pairs = score_texts(model, features, list(zip(found, mended)), **joint)
    assert all(after >= before - 1e-3 for before, after in pairs)
    assert any(after > before + 0.05 for before, after in pairs), "nothing was mended: the test shows nothing"
    ranked = transcribe_features(model, features, [0.3] * 6, mend=True, n_best=2, **options)
    assert [row[0]["text"] for row in ranked] == mended
    plain = transcribe_features(model, features, [0.3] * 6, mend=True, decoder="llm", num_beams=2)
    assert plain == transcribe_features(model, features, [0.3] * 6, decoder="llm", num_beams=2)
