"""Token ids: what is shared between languages, what may follow, and back to units."""

import numpy as np

import pytest

from core.errors import UserError
from unit_lm.vocabulary import (
    END,
    PAD,
    allowed_tokens,
    count_tokens,
    decode_symbols,
    describe_vocabulary,
    encode_utterances,
    frame_tokens,
    language_range,
    language_token,
    make_vocabulary,
    read_vocabulary,
    shared_tokens,
    symbol_units,
)
from units.bpe import N_SPECIAL, train_tokenizer

UNITS, DURATIONS = np.array([3, 0, 3, 1]), np.array([2, 1, 1, 3])


@pytest.mark.parametrize("kind", ["units", "frames", "bpe"])
def test_utterances_come_back_and_vocabularies_survive_a_checkpoint(kind: str) -> None:
    tokenizer = train_tokenizer([UNITS, UNITS], n_units=5, vocab_size=12).backend_tokenizer
    size = tokenizer.get_vocab_size() if kind == "bpe" else 5
    made = make_vocabulary(kind, ["aa", "bb"], ["x", "y"], [size, size], [tokenizer] * 2 if kind == "bpe" else ())
    vocabulary = read_vocabulary(describe_vocabulary(made))
    assert describe_vocabulary(vocabulary) == describe_vocabulary(made)
    tokens = encode_utterances(vocabulary, "bb", [(UNITS, DURATIONS)])[0]
    assert set(tokens) <= set(language_range(vocabulary, "bb"))
    assert len(tokens) == {"units": 4, "frames": 7}.get(kind, len(tokens)) and (kind != "bpe" or len(tokens) < 4)
    units, durations = decode_symbols(vocabulary, "bb", [*tokens, END])
    assert units.tolist() == UNITS.tolist()
    assert durations is None if kind != "frames" else durations.tolist() == DURATIONS.tolist()
    said = [
        unit for token in tokens for unit in symbol_units(vocabulary, 1)[token - language_range(vocabulary, "bb")[0]]
    ]
    assert said == (np.repeat(UNITS, DURATIONS) if kind == "frames" else UNITS).tolist()
    framed = frame_tokens(vocabulary, "bb", tokens)
    assert framed[0] == language_token(vocabulary, "bb") and framed[-1] == END
    with pytest.raises(UserError, match="of aa"):
        decode_symbols(vocabulary, "aa", tokens)


def test_what_may_follow_is_the_languages_own_symbols_and_the_end() -> None:
    vocabulary = make_vocabulary("units", ["aa", "bb", "cc"], ["x", "y", "x"], [5, 7, 5])
    assert count_tokens(vocabulary) == 2 + 3 + 5 + 7, "languages of the same units share their symbols"
    assert language_range(vocabulary, "aa") == language_range(vocabulary, "cc") == range(5, 10)
    allowed = allowed_tokens(vocabulary)
    assert [set(np.flatnonzero(row)) for row in allowed] == [
        {END, *range(5, 10)},
        {END, *range(10, 17)},
        {END, *range(5, 10)},
    ]
    bpe = make_vocabulary("bpe", ["aa"], ["x"], [9])
    assert allowed_tokens(bpe).sum() == 9 - N_SPECIAL + 1, "what stands for no unit is never said"


def test_tokens_that_mean_the_same_are_carried_over() -> None:
    old = make_vocabulary("units", ["aa", "bb"], ["x", "y"], [2, 3])
    new = make_vocabulary("units", ["bb", "cc"], ["y", "z"], [3, 4])
    before, now = shared_tokens(old, new)
    assert dict(zip(before.tolist(), now.tolist())) == {PAD: PAD, END: END, 3: 2, 6: 4, 7: 5, 8: 6}


def test_a_language_that_comes_twice_and_an_unknown_one_are_named() -> None:
    with pytest.raises(UserError, match="aa, aa"):
        make_vocabulary("units", ["aa", "aa"], ["x", "x"], [2, 2])
    with pytest.raises(UserError, match="'bb'"):
        language_token(make_vocabulary("units", ["aa"], ["x"], [2]), "bb")
