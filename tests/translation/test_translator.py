"""The model, its inputs and its batches: what is padded, and what follows the target, changes nothing."""

import copy

import numpy as np
import torch

import pytest

from lm_examples import N_UNITS, VOCABULARY, tiny_decoder
from models.translator import LETTERS_A_STATE, Translator
from translation.examples import Example, list_letters, places_of_step, shuffle_targets, spell, stack_examples
from translation.generation import translate_sound
from translation.hearing import (
    FEATURES,
    Hearing,
    Sound,
    count_places,
    describe_hearing,
    hear_features,
    languages_alone,
    measure_features,
    read_hearing,
)
from translation.losses import letter_nats
from translation.pairs import Pair, Span
from translation.saved_translator import silence
from translation.scoring import nats_matrix, score_pairs
from unit_lm.generation import Sampling
from unit_lm.vocabulary import allowed_tokens, frame_tokens

ALLOWED = torch.from_numpy(allowed_tokens(VOCABULARY)[0])
D = 6


def draw_examples(n: int = 4, *, features: bool = True) -> list[Example]:
    rng = np.random.default_rng(0)

    def sound() -> Sound:
        n_places = int(rng.integers(2, 6))
        if features:
            return Sound(np.array([2]), rng.standard_normal((n_places, D)).astype(np.float32))
        return Sound(np.array([2, *rng.integers(4, 4 + N_UNITS, n_places)]), np.zeros((0, 0), np.float32))

    found = []
    for number in range(n):
        target = frame_tokens(VOCABULARY, "aa", 4 + rng.integers(0, N_UNITS, rng.integers(3, 9)))
        pair = Pair("train", f"prompt {number}", Span("bb", "x", 0, 1, "yes no"), Span("aa", "y", number, number + 1))
        letters = spell(pair.source.text, list_letters(["yes"])) if number % 2 else np.zeros(0, np.int64)
        found.append(Example(pair, sound(), sound(), target, letters, (1.0, float(number))))
    return found


@pytest.fixture(scope="module")
def model() -> Translator:
    torch.manual_seed(0)
    return Translator(tiny_decoder(seed=1), tiny_decoder(), n_features=D, n_letters=5).eval()


@pytest.mark.parametrize("architecture", ["llama", "opt"])
@pytest.mark.parametrize("features", [True, False])
def test_a_pair_scores_the_same_alone_and_in_a_batch(architecture: str, features: bool) -> None:
    examples = draw_examples(features=features)
    torch.manual_seed(0)
    translator = Translator(tiny_decoder(seed=1), tiny_decoder(architecture), n_features=D * features).eval()
    together = score_pairs(translator, ALLOWED, examples)
    for place, example in enumerate(examples):
        single = score_pairs(translator, ALLOWED, [example])
        for batched, alone in zip(together, single):
            assert batched[place] == pytest.approx(alone[0], abs=2e-5)
    sources, targets = [one.source for one in examples], [one.target for one in examples]
    matrix = nats_matrix(translator, ALLOWED, sources, targets, title="")
    assert np.diag(matrix) == pytest.approx(together.nats, abs=1e-4)
    assert (np.abs(matrix - together.nats[None]) > 1e-6).sum() >= 12  # every other source changes it


def test_what_is_drawn_greedily_is_what_scores_best(model: Translator) -> None:
    example = draw_examples()[0]
    greedy = Sampling(temperature=0.0)
    said = translate_sound(model, VOCABULARY, example.source, greedy, sample=0, longest=3)
    assert 1 <= len(said) <= 3 and ALLOWED[said].all()
    first = [frame_tokens(VOCABULARY, "aa", np.array([4 + unit]), ended=False) for unit in range(N_UNITS)]
    nats = nats_matrix(model, ALLOWED, [example.source], first, title="")[0]
    assert nats.argmin() == said[0] - 4
    once, again, other = (
        translate_sound(model, VOCABULARY, example.source, Sampling(seed=1), sample=n, longest=8) for n in (1, 1, 2)
    )
    assert (once == again).all() and len(other) <= 8


def test_features_are_stacked_and_evened_out_by_language() -> None:
    rng = np.random.default_rng(0)
    frames = {
        name: [5 + rng.standard_normal((50, 3)).astype(np.float32) * scale] for name, scale in (("aa", 1), ("bb", 9))
    }
    means, scales = measure_features(frames)
    hearing = Hearing(FEATURES, languages_alone(["aa", "bb"]), "mfcc", None, "full", 4, means, scales)
    read = read_hearing(describe_hearing(hearing))
    sound = hear_features(read, "bb", frames["bb"][0])
    assert sound.tokens.tolist() == [3] and sound.features.shape == (13, 12) and count_places(sound) == 14
    assert sound.features[:12].mean() == pytest.approx(0, abs=0.1) and sound.features.std() == pytest.approx(1, abs=0.1)
    assert (sound.features[12, 3:6] == sound.features[12, 9:]).all()  # the last frame again


def test_the_control_gives_each_source_another_target_of_like_length() -> None:
    examples = draw_examples(25)
    shuffled = shuffle_targets(examples, seed=0)
    assert sorted(one.target.tolist() for one in shuffled) == sorted(one.target.tolist() for one in examples)
    for before, after in zip(examples, shuffled):
        assert after.source is before.source and after.pair.target != before.pair.target
        assert abs(after.seconds[1] - before.seconds[1]) < 10


def test_a_step_takes_pairs_of_like_length_and_an_epoch_hardly_misses_one() -> None:
    seconds = np.exp(np.random.default_rng(0).standard_normal(50))
    steps = [places_of_step(seconds, 8, 3, step) for step in range(12)]
    assert steps == [places_of_step(seconds, 8, 3, step) for step in range(12)]
    for epoch in (steps[:6], steps[6:]):
        assert len({place for places in epoch for place in places}) == 48
    spread = np.mean([np.log(seconds[places]).std() for places in steps])
    assert spread < 0.5 * np.log(seconds).std() and sorted(steps[:6]) != sorted(steps[6:])
    assert sorted(set(places_of_step(seconds[:3], 4, 0, 0))) == [0, 1, 2]


def test_a_model_of_retrieval_alone_says_nothing_and_keeps_its_decoder(model: Translator) -> None:
    batch = stack_examples(draw_examples())
    silent = silence(copy.deepcopy(model))
    said, spoken = (one(batch.source, batch.heard, batch.tokens) for one in (silent, model))
    assert not said.logits.numel() and torch.equal(said.source, spoken.source)
    (said.source @ said.target.T).sum().backward()
    assert all(value.grad is None for value in silent.decoder.parameters())


def test_letters_cost_nothing_where_there_are_none(model: Translator) -> None:
    batch = stack_examples(draw_examples())
    said = model(batch.source, batch.heard, batch.tokens)
    assert said.letters.shape[1] == LETTERS_A_STATE * batch.source.seen.shape[1]
    nats = letter_nats(said.letters, batch.source.seen, batch.letters)
    assert (nats[::2] == 0).all() and (nats[1::2] > 0).all()
    assert list_letters(["Ña b"]) == [" ", "a", "b", "ñ"] and spell("Bañx", [" ", "a", "b", "ñ"]).tolist() == [3, 2, 4]
