import numpy as np
import torch

import pytest

from models.speech_llm_model import SpeechLLMBase
from speech_llm.decoding import _score_candidates, open_ctc_scorers, transcribe_features
from speech_llm.search_errors import find_search_errors, is_search_error, score_texts
from speech_llm.spellings import build_token_tree
from tiny_llm import DIM, hearing, tiny_llm, tiny_tokenizer

JOINT = {"decoder": "joint", "ctc_weight": 0.5, "character_bonus": 0.3}


@pytest.fixture(scope="module")
def model() -> SpeechLLMBase:
    torch.manual_seed(0)
    return SpeechLLMBase(tiny_llm("llama"), tiny_tokenizer(), hearing()).eval()


@pytest.fixture(scope="module")
def features() -> list[np.ndarray]:
    return [
        np.random.default_rng(seed).normal(size=(length, DIM)).astype(np.float32) for seed, length in enumerate((24, 9))
    ]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_scores_are_those_of_the_search(model, features, temperature):
    options = JOINT | {"ctc_temperature": temperature}
    found = transcribe_features(model, features, [0.3, 0.3], num_beams=3, n_best=3, **options)
    texts = [[candidate["text"] for candidate in candidates] for candidates in found]
    for scores, candidates in zip(score_texts(model, features, texts, **options), found):
        for score, candidate in zip(scores, candidates):
            assert (
                score == pytest.approx(candidate["score"], abs=0.05) or candidate["text"].strip() != candidate["text"]
            )


def test_the_first_of_several_is_the_only_one_of_one(model, features):
    one = transcribe_features(model, features, [0.3, 0.3], num_beams=3, n_best=1, **JOINT)
    several = transcribe_features(model, features, [0.3, 0.3], num_beams=3, n_best=3, **JOINT)
    assert [row[0]["text"] for row in several] == [row[0]["text"] for row in one]


def test_a_search_error_is_a_reference_that_scores_better(model, features):
    found = transcribe_features(model, features, [0.3, 0.3], num_beams=4, **JOINT)
    best = [row[0]["text"] for row in found]
    worst = [text + " hghgh" for text in best]
    missed = find_search_errors(model, features, best, worst, **JOINT)
    found = find_search_errors(model, features, worst, best, **JOINT)
    assert all(map(is_search_error, missed)) and not any(map(is_search_error, found))
    assert find_search_errors(model, features, best, [text.upper() + "." for text in best], **JOINT) == [None, None]
    assert find_search_errors(model, features, best, worst, decoder="ctc") == [None, None]


@torch.inference_mode()
def test_candidates_of_one_text_are_one(model, features):
    speech = model.encode_speech(torch.from_numpy(features[0])[None], torch.tensor([len(features[0])]))
    scorer, prompt = open_ctc_scorers(build_token_tree(model), speech)[0], model.prompts(speech)[0]
    ids = [model.tokenizer.encode(text) for text in ("ab", "ab ", "c")]
    rows = _score_candidates(model, prompt, ids, scorer, weight=0.5, bonus=0.3)
    assert [row["text"] for row in rows] == ["ab", "c"]
