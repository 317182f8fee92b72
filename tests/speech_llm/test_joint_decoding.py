import itertools

import numpy as np
import torch

import pytest

from core.text_normalisation import normalise_text
from models.ctc_prefix import (
    crop_prefixes,
    drop_sure_blanks,
    end_scores,
    extend_prefixes,
    find_window,
    next_scores,
    pick_prefixes,
    start_prefix,
)
from models.speech_llm_model import SpeechLLMBase
from speech_llm import joint_decoding
from speech_llm.joint_decoding import (
    SILENT_SCORE,
    STALLING_SCORE,
    UNKNOWN_SCORE,
    TokenGains,
    joint_processor,
    open_ctc_scorer,
    score_answer,
    score_beginning,
    score_next_tokens,
    score_text,
)
from speech_llm.spellings import Heard, TokenTree, build_token_tree, spell
from tiny_llm import CHARACTERS, HELD_OUT, model_with_words, spoken

WORDS = ("ab", " bad", " cab", "ce", "Ab", ",", " d", "'d")  # tokens beside the single characters


def random_posteriors(n_positions: int, n_characters: int, seed: int = 0) -> np.ndarray:
    return np.log(np.random.default_rng(seed).dirichlet(np.ones(n_characters + 1), n_positions)).astype(np.float32)


def sums_over_paths(log_probs: np.ndarray) -> dict[str, float]:
    totals: dict[str, float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        text = "".join(" ab"[label] for label, _ in itertools.groupby(path) if label)
        totals[text] = totals.get(text, 0.0) + np.exp(sum(log_probs[t, label] for t, label in enumerate(path)))
    return totals


@pytest.fixture(scope="module")
def model() -> SpeechLLMBase:
    return model_with_words(WORDS)


@pytest.fixture(scope="module")
def tree(model) -> TokenTree:
    return build_token_tree(model)


def test_scores_of_texts_and_of_their_beginnings_are_sums_over_all_paths():
    log_probs = random_posteriors(5, 2)
    totals = sums_over_paths(log_probs)
    for text in ("", "a", "b", "aa", "ab", "aba", "baba", "bbb"):
        state = start_prefix(log_probs)
        for character in text:
            state = extend_prefixes(state, log_probs, np.array([1 + "ab".index(character)]))
        begins = sum(value for found, value in totals.items() if found.startswith(text))
        assert end_scores(state)[0] == pytest.approx(np.log(totals[text]))
        assert state.score[0] == pytest.approx(np.log(begins))


def test_next_scores_are_those_of_the_longer_texts_and_texts_do_not_mix():
    log_probs = random_posteriors(40, 5)
    state = start_prefix(log_probs)
    for labels in ([1, 2, 3], [1, 5, 4], [2, 2, 4]):
        rows = np.arange(3) if len(state.last) == 3 else np.zeros(3, int)
        state = extend_prefixes(pick_prefixes(state, rows), log_probs, np.array(labels))
    scores = next_scores(state, log_probs)
    for row, label in itertools.product(range(3), range(1, 6)):
        alone = extend_prefixes(pick_prefixes(state, np.array([row])), log_probs, np.array([label]))
        assert scores[row, label] == pytest.approx(alone.score[0])


def hesitant(text: list[int], n_characters: int, *, stay: int = 3, seed: int = 0) -> np.ndarray:
    """(P, V) posteriors that hear ``text``, each character for ``stay`` positions with a blank behind it."""
    heard = random_posteriors(len(text) * (stay + 1), n_characters, seed)
    for place, label in enumerate(text):
        heard[place * (stay + 1) : place * (stay + 1) + stay, label] += 4.0
        heard[place * (stay + 1) + stay, 0] += 4.0
    return heard - np.logaddexp.reduce(heard, axis=1, keepdims=True)


def test_a_window_of_a_long_utterance_scores_as_all_of_it():
    text = np.random.default_rng(0).integers(1, 8, 250).tolist()
    log_probs = hesitant(text, 8)
    state = start_prefix(log_probs)
    assert find_window(state).start == 0  # nothing has been said: it may begin at once
    for label in text[:120]:
        state = extend_prefixes(state, log_probs, np.array([label]))
    window = find_window(state)
    assert 300 < window.start < 480 < window.stop < 800
    cropped, heard = crop_prefixes(state, window), log_probs[window]
    for label in [*text[120:126], 3, 3]:  # a word that is heard, and letters that are not
        whole, near = next_scores(state, log_probs)[0, 1:], next_scores(cropped, heard)[0, 1:]
        np.testing.assert_allclose(near, whole, atol=1e-6)
        state, cropped = (extend_prefixes(*one, np.array([label])) for one in ((state, log_probs), (cropped, heard)))
        assert cropped.score[0] == pytest.approx(state.score[0], abs=1e-6)


def test_a_text_longer_than_its_positions_has_all_of_them_in_its_window(model, tree):
    log_probs = random_posteriors(2, len(CHARACTERS))
    state = start_prefix(log_probs)
    for label in (3, 4, 5, 6):
        state = extend_prefixes(state, log_probs, np.array([label]))
    assert log_probs[find_window(state)].shape == log_probs.shape
    favourite = model.tokenizer.encode("e", add_special_tokens=False)
    assert favourite[0] in score_next_tokens(open_ctc_scorer(tree, log_probs), b"abcd", favourite).tokens.tolist()


def test_the_walk_stays_near_what_has_been_said(tree, monkeypatch):
    """Else a piece of a minute takes minutes: every letter of every walk would look at all of it."""
    scorer = open_ctc_scorer(tree, np.concatenate([spoken("ab bad ")] * 30))
    written, looked_at = b"ab bad " * 15 + b"ab", []
    whole = score_next_tokens(scorer, written)
    monkeypatch.setattr(
        joint_decoding,
        "next_scores",
        lambda state, rows, *more: looked_at.append(len(rows)) or next_scores(state, rows, *more),
    )
    near = score_next_tokens(scorer, written)
    monkeypatch.setattr(joint_decoding, "find_window", lambda state: slice(None))
    full = score_next_tokens(scorer, written)
    assert near.tokens.tolist() == whole.tokens.tolist() == full.tokens.tolist()
    torch.testing.assert_close(near.gains, full.gains, atol=1e-4, rtol=1e-4)
    assert min(looked_at) < 0.75 * max(looked_at) and max(looked_at) == len(scorer.log_probs)


def test_sure_blanks_are_dropped_but_for_one_that_parts_letters():
    log_probs = np.log(np.array([[0.995, 0.005], [0.995, 0.005], [0.1, 0.9], [0.999, 0.001], [0.2, 0.8]]))
    assert drop_sure_blanks(log_probs)[:, 1] == pytest.approx(np.log([0.005, 0.9, 0.001, 0.8]))


def by_word(model, heard: TokenGains) -> dict[str, float]:
    return {model.tokenizer.decode([token]): gain for token, gain in zip(heard.tokens.tolist(), heard.gains.tolist())}


def by_id(heard: TokenGains) -> dict[int, float]:
    return dict(zip(heard.tokens.tolist(), heard.gains.tolist()))


def test_tokens_are_found_by_what_is_heard(model, tree):
    scorer = open_ctc_scorer(tree, spoken("ab bad"))
    first = by_word(model, score_next_tokens(scorer, b""))
    assert first["ab"] > -1 and first["a"] > -1 and first["Ab"] == first["ab"] and first[" bad"] < -5
    inside = by_word(model, score_next_tokens(scorer, b"a"))
    assert inside["b"] > -1 and max(value for word, value in inside.items() if word[0].lower() != "b") < -3
    # Behind a comma the space is there already: a word is as good with its own as without.
    for parted, words in ((False, [" bad"]), (True, [" bad", "b"])):
        found = by_word(model, score_next_tokens(scorer, b"ab," if parted else b"ab"))
        assert all(found[word] > -1 for word in words) and ("b" in found and found["b"] > -1) == parted


def test_gains_of_tokens_add_up_to_the_score_of_the_text(model, tree):
    scorer = open_ctc_scorer(tree, random_posteriors(12, len(CHARACTERS)))
    total = 0.0
    for before, token in (("", "ab"), ("ab", " cab"), ("ab cab", " "), ("ab cab ", "d")):
        if token.strip():
            heard = score_next_tokens(scorer, before.encode())
            place = heard.tokens.tolist().index(model.tokenizer.encode(token, add_special_tokens=False)[0])
            total += heard.gains[place].item()
    total += score_next_tokens(scorer, b"ab cab d").end
    assert total == pytest.approx(score_text(scorer, "ab cab d"), abs=1e-4)


def test_looking_ahead_favours_no_whole_text_and_pays_for_coming_on(model, tree):
    log_probs = random_posteriors(12, len(CHARACTERS))
    plain, ahead = (open_ctc_scorer(tree, log_probs, share) for share in (0.0, 0.7))
    entropy = -(np.exp(log_probs) * log_probs).sum()
    early, late = [], []
    for text in ("ab bad", "d"):
        totals = []
        for scorer in (plain, ahead):
            total, written = 0.0, b""
            for token in model.tokenizer.encode(text):
                found = score_next_tokens(scorer, written, [token])
                total, written = total + by_id(found)[token], written + tree.spelled[token]
            totals.append(total + score_next_tokens(scorer, written).end)
        assert totals[1] - totals[0] == pytest.approx(0.7 * entropy, rel=1e-4)
    for scorer in (plain, ahead):
        early.append(score_beginning(scorer, Heard("", False)))
        late.append(score_beginning(scorer, Heard("ab bad", False)))
    assert early[0] == early[1] == 0 and late[1] > late[0]


def test_characters_never_taught_are_unlikely_rather_than_free(tree):
    scorer = open_ctc_scorer(tree, spoken("a"))
    assert score_text(scorer, "a7") == pytest.approx(score_text(scorer, "a") + UNKNOWN_SCORE)


def test_punctuation_is_not_heard_and_special_tokens_are_not_spelled(model, tree):
    spelled = spell(tree, b"").nodes.keys()
    assert model.tokenizer.convert_tokens_to_ids(",") not in spelled and not spelled & set(model.stop_ids)
    scorer = open_ctc_scorer(tree, spoken("ab"))
    scores = torch.zeros(2, len(model.tokenizer))
    processed = joint_processor(model, [scorer], 2, 0.5, 0.0)(torch.zeros(2, 0, dtype=torch.long), scores)
    uniform = -np.log(len(model.tokenizer))
    comma, stop = model.tokenizer.convert_tokens_to_ids(","), model.stop_ids[0]
    assert processed[0, comma].item() == pytest.approx(0.5 * uniform + 0.5 * SILENT_SCORE, abs=1e-5)
    assert processed[0, stop] < processed[0, comma] and torch.isinf(processed[0, model.tokenizer.encode("<|pad|>")[0]])


def test_a_text_does_not_stall_on_punctuation_and_is_paid_for_getting_on(model, tree):
    scorer, (comma, word) = open_ctc_scorer(tree, spoken("ab")), model.tokenizer.convert_tokens_to_ids([",", "ab"])
    said = torch.tensor([[comma, comma], [word, word], [word, comma]])
    scores, uniform = torch.zeros(len(said), len(model.tokenizer)), -np.log(len(model.tokenizer))
    behind = joint_processor(model, [scorer], len(said), 0.5, 0.0)(said, scores)
    cost = [STALLING_SCORE, SILENT_SCORE, STALLING_SCORE]
    assert behind[:, comma].tolist() == pytest.approx([0.5 * (uniform + score) for score in cost], abs=1e-5)
    start = [joint_processor(model, [scorer], 1, 0.5, bonus)(said[:1, :0], scores[:1])[0] for bonus in (0.0, 0.3)]
    paid = (start[1] - start[0])[[comma, word, model.stop_ids[0]]]
    assert paid.tolist() == pytest.approx([0.0, 2 * 0.3, 0.0], abs=1e-5)
    assert start[0][comma].item() == pytest.approx(0.5 * uniform + 0.5 * SILENT_SCORE, abs=1e-5)


@pytest.mark.parametrize("text", [*HELD_OUT, "ab bad cab d", "b'd cab"])
def test_with_a_head_that_hears_well_any_llm_writes_what_was_said(model, tree, text):
    scorer = open_ctc_scorer(tree, spoken(text))
    prompt = model.llm.get_input_embeddings()(torch.tensor([5, 6, 7]))
    processor = joint_processor(model, [scorer], 4, 0.9, 0.1)
    found = model.generate([prompt], [40], num_beams=4, length_penalty=0.0, processor=processor)[0][0]
    assert normalise_text(model.tokenizer.decode(found)) == text


def test_what_the_llm_likes_best_is_weighed_whatever_is_heard(model, tree):
    scorer = open_ctc_scorer(tree, spoken("ab bad cab d"))
    written = [model.tokenizer.convert_tokens_to_ids("ab")]
    favourite, digit, comma = model.tokenizer.convert_tokens_to_ids([" cab", "7", ","])
    alone = score_next_tokens(scorer, b"ab")
    assert not {favourite, digit} & set(alone.tokens.tolist())
    scores = torch.zeros(1, len(model.tokenizer))
    scores[0, [favourite, digit, comma]] = 5.0
    said = torch.tensor([written])
    weighed = joint_processor(model, [scorer], 1, 0.5, 0.2)(said, scores)[0]
    by_llm = scores.log_softmax(-1)[0]
    for token, added in ((favourite, " cab"), (digit, "7")):
        heard = score_next_tokens(scorer, b"ab" + added.encode())
        gained = score_text(scorer, "ab" + added) - heard.end - score_text(scorer, "ab") + alone.end
        expected = 0.5 * by_llm[token].item() + 0.5 * gained + 0.2 * len(added)
        assert weighed[token].item() == pytest.approx(expected, abs=1e-4)


def test_an_answer_scores_what_its_tokens_have_gained(model, tree):
    scorer = open_ctc_scorer(tree, random_posteriors(12, len(CHARACTERS)))
    ids = model.tokenizer.convert_tokens_to_ids([",", "Ab", ",", ",", " cab", " ", "7", model.tokenizer.eos_token])
    total, characters = 0.0, 0
    for place, token in enumerate(ids):
        scores = torch.full((1, len(model.tokenizer)), -1e9)
        scores[0, token] = 0.0
        one = joint_processor(model, [scorer], 1, 1.0, 0.0)(torch.tensor([ids[:place]], dtype=torch.long), scores)
        paid = joint_processor(model, [scorer], 1, 0.0, 1.0)(torch.tensor([ids[:place]], dtype=torch.long), scores)
        total, characters = total + one[0, token].item(), characters + paid[0, token].item()
    nats, n_characters = score_answer(scorer, ids)
    assert (total, characters) == pytest.approx((nats, n_characters), abs=1e-3) and n_characters == len("ab cab 7")
