import numpy as np
import torch

import pytest

from models.speech_llm_model import SpeechLLMBase
from speech_llm.decoding import _mend, open_ctc_scorers, score_answers
from speech_llm.joint_decoding import CtcScorer, open_ctc_scorer, score_answer
from speech_llm.spellings import TokenTree, build_token_tree
from speech_llm.token_edits import CHOICES, MOST_REPLACED, edited_tokens
from tiny_llm import CHARACTERS, DIM, model_with_words, spoken

WORDS = (" bad", " cab", " head")  # tokens beside the single characters
JOINT = {"weight": 0.5, "bonus": 0.3}


@pytest.fixture(scope="module")
def model() -> SpeechLLMBase:
    return model_with_words(WORDS)


@pytest.fixture(scope="module")
def tree(model) -> TokenTree:
    return build_token_tree(model)


def hears(tree: TokenTree, text: str) -> CtcScorer:
    return open_ctc_scorer(tree, spoken(text, doubt=1e-3))


def indifferent(model: SpeechLLMBase, tokens: list[int]) -> torch.Tensor:
    """An LLM to which all tokens are the same."""
    return torch.full((len(tokens) + 1, len(model.tokenizer)), -np.log(len(model.tokenizer)))


@pytest.mark.parametrize(
    "written", ["a bad", "a bad cab cab head", "a bad head head", "a bad a cab head", "a cab head", "a bad cab head d"]
)
def test_the_best_of_the_texts_a_token_away_is_what_the_head_hears(model, tree, written):
    heard = "a bad cab head" if written != "a bad" else "a bad head"
    tokens = model.answer_ids(written)[:-1]
    best, *others = edited_tokens(tokens, indifferent(model, tokens), hears(tree, heard), most=20, **JOINT)
    assert model.tokenizer.decode(best) == heard
    assert tokens not in [best, *others] and len({*map(tuple, others)}) == len(others)


def test_the_order_is_that_of_the_scores_where_the_llm_forgets_what_stands_before(model, tree):
    tokens = model.answer_ids("a bad cab")[:-1]
    nats = (2 * torch.randn(len(model.tokenizer), generator=torch.Generator().manual_seed(0))).log_softmax(-1)
    unsure = open_ctc_scorer(tree, np.full((20, len(CHARACTERS) + 1), -np.log(len(CHARACTERS) + 1)))
    found = edited_tokens(tokens, nats.expand(len(tokens) + 1, -1), unsure, most=40, weight=0.4, bonus=0.6)

    def score(edited: list[int]) -> float:
        heard, count = score_answer(unsure, edited)
        return 0.6 * float(nats[edited].sum()) + 0.4 * heard + 0.6 * count

    scores = [score(edited) for edited in found]
    assert len(found) == 40 and scores == pytest.approx(sorted(scores, reverse=True))


def test_as_many_as_asked_and_none_further_than_an_edit(model, tree):
    tokens = model.answer_ids("a bad cab")[:-1]
    scorer = hears(tree, "a bad cab")
    found = edited_tokens(tokens, indifferent(model, tokens), scorer, most=1000, **JOINT)
    assert len(found) <= (len(tokens) + 1) * (CHOICES + 1) * (MOST_REPLACED + 1)
    for edited in found:
        same = next(
            (n for n, pair in enumerate(zip(edited, tokens)) if pair[0] != pair[1]), min(map(len, (edited, tokens)))
        )
        rest = max(len(tokens), len(edited)) - same
        ends = [n for n in range(rest + 1) if edited[len(edited) - n :] == tokens[len(tokens) - n :] or n == 0]
        left = min(max(ends), len(tokens) - same, len(edited) - same)
        assert len(tokens) - same - left <= MOST_REPLACED and len(edited) - same - left <= 1
    assert edited_tokens(tokens, indifferent(model, tokens), scorer, most=3, **JOINT) == found[:3]


@torch.inference_mode()
def test_an_empty_text_can_be_mended_and_a_mended_one_scores_no_worse(model, tree):
    torch.manual_seed(0)
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 24, DIM)).astype(np.float32))
    speech = model.encode_speech(features, torch.tensor([24]))
    scorer, prompt = open_ctc_scorers(tree, speech)[0], model.prompts(speech)[0]
    for text in ("", "a bad cab"):
        tokens = model.answer_ids(text)[:-1]
        mended = _mend(model, [tokens], prompt, "", scorer, **JOINT)[0]
        before, after = score_answers(model, prompt, [tokens, mended], scorer, **JOINT)
        assert after >= before
