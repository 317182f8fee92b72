"""Units, private characters and tokens: exact both ways, merging what recurs, loadable by transformers."""

from pathlib import Path

import numpy as np

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from core.errors import UserError
from units.bpe import (
    MAX_UNITS,
    N_SPECIAL,
    SPECIAL_TOKENS,
    TRAINING_PIECE_UNITS,
    check_vocab_size,
    decode_tokens,
    encode_batch,
    encode_units,
    load_tokenizer,
    save_tokenizer,
    text_to_units,
    token_edges,
    token_units,
    train_tokenizer,
    units_to_text,
)
from units.motifs import choose_motifs, count_motifs, list_motifs, new_motif_counts, read_motifs, write_motifs


def markov_units(n: int, n_units: int, seed: int = 0) -> np.ndarray:
    """(n,) units without repeats in a row, each followed by one of five others."""
    rng = np.random.default_rng(seed)
    steps, units = rng.integers(1, 6, n), np.zeros(n, np.int64)
    for place in range(1, n):
        units[place] = (units[place - 1] * 7 + steps[place]) % n_units
    return units


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer([markov_units(3000, 50, seed) for seed in range(4)], n_units=60, vocab_size=160)


def test_units_and_text_are_inverse_over_the_whole_alphabet() -> None:
    everything = np.arange(MAX_UNITS)
    text = units_to_text(everything)
    assert len(text) == MAX_UNITS
    assert not any(character.isspace() for character in text)
    np.testing.assert_array_equal(text_to_units(text), everything)
    assert text_to_units("").shape == (0,)


@pytest.mark.parametrize("units", [[-1], [MAX_UNITS], [0, MAX_UNITS + 1]])
def test_units_outside_the_alphabet_are_refused(units: list[int]) -> None:
    with pytest.raises(UserError, match="unit ids"):
        units_to_text(units)


def test_foreign_text_is_refused() -> None:
    with pytest.raises(UserError, match="unit alphabet"):
        text_to_units("31 31 87")


def test_first_merge_is_the_commonest_pair_counted_by_hand() -> None:
    # Pairs: (0,1) three times, (1,2) twice, (2,0) twice, the others once: the only merge is (0,1), with the next id.
    tokenizer = train_tokenizer([[0, 1, 2, 0, 1, 2, 0, 1, 3]], n_units=4, vocab_size=N_SPECIAL + 4 + 1)
    assert token_units(tokenizer) == [[], [], [], [], [0], [1], [2], [3], [0, 1]]
    assert encode_units(tokenizer, [0, 1, 2, 0, 1, 3]).tolist() == [8, 6, 8, 7]
    assert encode_units(tokenizer, [2, 1, 0]).tolist() == [6, 5, 4]


def test_bpe_merges_across_the_whole_utterance() -> None:
    # One phrase over and over: were an utterance split anywhere, no token could stand for all ten units.
    phrase = list(range(10))
    tokenizer = train_tokenizer([phrase] * 3, n_units=10, vocab_size=100)
    assert len(encode_units(tokenizer, phrase)) == 1
    assert max(map(len, token_units(tokenizer))) == 10


def test_compression_is_well_above_one(tokenizer: PreTrainedTokenizerFast) -> None:
    held_out = markov_units(2000, 50, seed=99)
    assert len(held_out) / len(encode_units(tokenizer, held_out)) > 1.4


def test_random_sequences_round_trip(tokenizer: PreTrainedTokenizerFast) -> None:
    rng = np.random.default_rng(1)
    utterances = [rng.integers(0, 60, int(rng.integers(0, 400))) for _ in range(200)]
    utterances += [markov_units(int(n), 50, seed) for seed, n in enumerate(rng.integers(1, 2000, 20))]
    utterances += [np.zeros(0, np.int64), np.full(30, 7), np.arange(50, 60)]  # the last never occur in training
    for units, ids in zip(utterances, encode_batch(tokenizer, utterances), strict=True):
        assert len(ids) <= len(units)
        assert ids.min(initial=N_SPECIAL) >= N_SPECIAL
        np.testing.assert_array_equal(decode_tokens(tokenizer, ids), units)


def test_every_unit_is_a_token_used_or_not() -> None:
    n_units = 20_000
    tokenizer = train_tokenizer([[5, 6, 5, 6]], n_units=n_units, vocab_size=n_units + 100)
    units = np.random.default_rng(0).permutation(n_units)
    np.testing.assert_array_equal(encode_units(tokenizer, units), units + N_SPECIAL)
    np.testing.assert_array_equal(decode_tokens(tokenizer, units + N_SPECIAL), units)


def test_unknown_units_and_tokens_are_named(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match=r"units \[77\]"):
        encode_units(tokenizer, [1, 77, 2])
    with pytest.raises(UserError, match="token 160"):
        decode_tokens(tokenizer, [5, 160])
    with pytest.raises(UserError, match="token 3:"):
        decode_tokens(tokenizer, [5, tokenizer.unk_token_id])
    with pytest.raises(UserError, match="token -1"):
        decode_tokens(tokenizer, [-1])


def test_special_tokens_are_silent(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = encode_units(tokenizer, [3, 4, 5])
    framed = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id, tokenizer.pad_token_id]
    assert decode_tokens(tokenizer, framed).tolist() == [3, 4, 5]


def test_saved_tokenizer_loads_with_transformers(tokenizer: PreTrainedTokenizerFast, tmp_path) -> None:
    save_tokenizer(tmp_path, tokenizer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    units = markov_units(300, 50, seed=5)
    expected = encode_units(tokenizer, units).tolist()
    loaders = (PreTrainedTokenizerFast.from_pretrained, AutoTokenizer.from_pretrained, load_tokenizer)
    for loaded in (load(str(tmp_path)) for load in loaders):
        assert {name: getattr(loaded, name) for name in SPECIAL_TOKENS} == SPECIAL_TOKENS
        assert [loaded.pad_token_id, loaded.bos_token_id, loaded.eos_token_id, loaded.unk_token_id] == [0, 1, 2, 3]
        assert loaded(units_to_text(units)).input_ids == expected
        assert loaded.decode(expected) == units_to_text(units)
        batch = loaded([units_to_text(units), units_to_text(units[:1])], padding=True, return_tensors="np")
        assert batch["attention_mask"].sum(1).tolist() == [len(expected), 1]
        assert loaded.decode(batch["input_ids"][1], skip_special_tokens=True) == units_to_text(units[:1])


def test_missing_tokenizer_names_the_command(tmp_path) -> None:
    with pytest.raises(UserError, match="run_phase2"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(("vocab_size", "n_units"), [(54, 50), (10, 50), (100_000, MAX_UNITS + 1)])
def test_vocabulary_without_room_is_refused(vocab_size: int, n_units: int) -> None:
    with pytest.raises(UserError, match="expected"):
        train_tokenizer([[0, 1]], n_units=n_units, vocab_size=vocab_size)


def test_units_beyond_n_units_are_refused_in_training() -> None:
    with pytest.raises(UserError, match="below 4"):
        train_tokenizer([[0, 1, 4]], n_units=4, vocab_size=50)


@pytest.mark.parametrize(("bound", "longest"), [(2, 2), (3, 3), (5, 5), (0, 12)])
def test_motif_length_is_bounded(bound: int, longest: int) -> None:
    # Phrases that begin alike, so that the commonest pair always lengthens the beginning by one unit.
    phrases = [list(range(length)) for length in range(2, 13)]
    tokenizer = train_tokenizer(phrases, n_units=12, vocab_size=200, min_count=1, max_motif_units=bound)
    assert max(map(len, token_units(tokenizer))) == longest


def test_min_count_keeps_rare_pairs_apart() -> None:
    tokenizer = train_tokenizer([[0, 1], [0, 1], [2, 3]], n_units=4, vocab_size=50, min_count=2)
    assert token_units(tokenizer)[N_SPECIAL + 4 :] == [[0, 1]]


def test_training_is_reproducible_and_long_utterances_lose_nothing_but_the_cuts() -> None:
    long = markov_units(TRAINING_PIECE_UNITS * 3 + 17, 50)
    one, two = (train_tokenizer([long], n_units=50, vocab_size=120) for _ in range(2))
    assert one.backend_tokenizer.to_str() == two.backend_tokenizer.to_str()
    pieces = [long[start : start + TRAINING_PIECE_UNITS] for start in range(0, len(long), TRAINING_PIECE_UNITS)]
    assert sum(map(len, pieces)) == len(long)
    assert token_units(train_tokenizer(pieces, n_units=50, vocab_size=120)) == token_units(one)


def test_token_edges_by_hand() -> None:
    # Tokens of 2, 1 and 3 units; units last 1, 2 | 5 | 1, 1, 4 frames.
    ids, lengths = np.array([1, 0, 2]), np.array([1, 2, 3])
    assert token_edges(ids, lengths, np.array([1, 2, 5, 1, 1, 4])).tolist() == [0, 3, 8, 14]
    assert token_edges(np.zeros(0, np.int64), lengths, np.zeros(0, np.int64)).tolist() == [0]


def utterance(name: str, durations: list[int]) -> dict:
    return {"id": name, "audio": f"x/{name}.wav", "durations": durations}


def test_motif_counts_durations_and_times_by_hand() -> None:
    motifs = new_motif_counts([[], [0], [1], [0, 1]], n_examples=5)
    count_motifs(motifs, np.array([3, 1]), utterance("a", [2, 3, 10]))
    count_motifs(motifs, np.array([2, 3]), utterance("b", [4, 1, 2]))
    count_motifs(motifs, np.zeros(0, np.int64), utterance("empty", []))
    listed = {motif["token"]: motif for motif in list_motifs(motifs)}
    assert list(listed) == [1, 2, 3]
    assert [listed[token]["count"] for token in listed] == [1, 1, 2]
    assert listed[3]["units"] == [0, 1]
    assert listed[3]["mean_duration"] == pytest.approx((5 + 3) / 2 / 50)
    places = {(e["utterance"], e["start"], e["end"]) for e in listed[3]["examples"]}
    assert places == {("a", 0.0, 0.1), ("b", 0.08, 0.14)}
    assert [(e["audio"], e["start"], e["end"]) for e in listed[1]["examples"]] == [("x/a.wav", 0.1, 0.3)]


def test_examples_are_spread_over_utterances_whatever_their_order() -> None:
    names = [f"u{number:03d}" for number in range(300)]

    def examples(order: list[str]) -> list[dict]:
        motifs = new_motif_counts([[0]], n_examples=4)
        for name in order:
            count_motifs(motifs, np.zeros(20, np.int64), utterance(name, [1] * 20))
        return next(list_motifs(motifs))["examples"]

    forward = examples(names)
    assert forward == examples(names[::-1])
    assert len({example["utterance"] for example in forward}) == 4
    # A uniform sample: neither all from the first utterances nor all from the beginning of one.
    assert max(example["utterance"] for example in forward) > "u050"
    assert max(example["start"] for example in forward) > 0


def test_no_examples_asked_for_none_kept() -> None:
    motifs = new_motif_counts([[0]], n_examples=0)
    count_motifs(motifs, np.zeros(3, np.int64), utterance("a", [1, 1, 1]))
    assert next(list_motifs(motifs))["examples"] == []


def test_motifs_file_round_trip_and_unused_token(tmp_path) -> None:
    motifs = new_motif_counts([[], [0], [1]], n_examples=1)
    count_motifs(motifs, np.array([1]), utterance("a", [2]))
    write_motifs(tmp_path / "motifs.json", motifs)
    assert read_motifs(tmp_path / "motifs.json") == list(list_motifs(motifs))
    assert read_motifs(tmp_path / "motifs.json")[1] == {
        "token": 2,
        "units": [1],
        "count": 0,
        "mean_duration": None,
        "examples": [],
    }
    with pytest.raises(UserError, match="run_phase2"):
        read_motifs(tmp_path / "none.json")


def test_choose_motifs_takes_frequent_and_long_ones() -> None:
    def motif(token: int, n_units: int, count: int, seconds: float, n_examples: int = 2) -> dict:
        examples = [{"utterance": str(number)} for number in range(n_examples)]
        units = list(range(n_units))
        return {"token": token, "units": units, "count": count, "mean_duration": seconds, "examples": examples}

    motifs = [motif(4, 1, 900, 9.0), motif(5, 2, 50, 0.1), motif(6, 3, 5, 0.9), motif(7, 9, 2, 3.0, n_examples=1)]
    assert [chosen["token"] for chosen in choose_motifs(motifs, 1)] == [5, 6]
    assert [chosen["token"] for chosen in choose_motifs(motifs, 5)] == [5, 6, 7]


def test_of_equally_frequent_or_long_motifs_the_first_tokens_are_chosen() -> None:
    def motif(token: int, count: int, seconds: float) -> dict:
        examples = [{"utterance": "a"}, {"utterance": "b"}]
        return {"token": token, "units": [1, 2], "count": count, "mean_duration": seconds, "examples": examples}

    motifs = [motif(8, 5, 0.2), motif(6, 9, 0.1), motif(7, 9, 0.1), motif(5, 1, 0.9), motif(4, 2, 0.9)]
    assert [chosen["token"] for chosen in choose_motifs(motifs, 1)] == [6, 4]
    assert [chosen["token"] for chosen in choose_motifs(motifs, 3)] == [6, 7, 8, 4, 5]
    assert choose_motifs([motif(4, 2, 0.9) | {"examples": []}], 3) == []


def test_fewer_examples_are_the_first_of_more() -> None:
    """So many as asked for, as long as there are utterances, and none of an utterance twice."""

    def examples(n: int) -> list[dict]:
        motifs = new_motif_counts([[0], [1]], n_examples=n)
        for number in range(7):
            count_motifs(motifs, np.array([0, 1, 0, 0]), utterance(f"u{number}", [1, 2, 3, 4]))
        return next(list_motifs(motifs))["examples"]

    most = examples(9)
    assert sorted(example["utterance"] for example in most) == [f"u{number}" for number in range(7)]
    for n in range(8):
        assert examples(n) == most[:n]
    assert {(example["start"], example["end"]) for example in most} <= {(0.0, 0.02), (0.06, 0.12), (0.12, 0.2)}


def test_mean_durations_have_four_digits() -> None:
    motifs = new_motif_counts([[0]], n_examples=1)
    count_motifs(motifs, np.zeros(3, np.int64), utterance("a", [1, 1, 2]))
    assert next(list_motifs(motifs))["mean_duration"] == 0.0267


def test_a_motifs_file_that_is_none_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "motifs.json").write_text("[{")
    with pytest.raises(UserError, match=r"motifs\.json: expected JSON, found .*; rerun phase 2 with --overwrite"):
        read_motifs(tmp_path / "motifs.json")


@pytest.mark.parametrize(("n_units", "vocab_size"), [(50, 55), (MAX_UNITS, MAX_UNITS + 5)])
def test_a_vocabulary_with_room_for_one_merge_is_taken(n_units: int, vocab_size: int) -> None:
    check_vocab_size(vocab_size, n_units)
    with pytest.raises(UserError, match=f"--vocab_size {vocab_size - 1}: expected more than {vocab_size - 1}, which"):
        check_vocab_size(vocab_size - 1, n_units)


def test_mistakes_of_units_say_the_numbers() -> None:
    with pytest.raises(UserError, match="the 50 units and 4 special tokens fill .* merge; try --vocab_size 354$"):
        check_vocab_size(54, 50)
    with pytest.raises(UserError, match="expected at most 65534 units, found 65535; fit fewer in phase 1"):
        check_vocab_size(10**6, MAX_UNITS + 1)
    with pytest.raises(UserError, match="expected unit ids from 0 to 65533, found 3 … 65534"):
        units_to_text([3, 65_534])
    with pytest.raises(UserError, match="expected unit ids below 4, found 7; rerun phase 1"):
        train_tokenizer([[0, 1, 7]], n_units=4, vocab_size=50)


def test_five_strangers_are_named_in_order(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match=r"^units \[70, 71, 72, 73, 74\]: not among the tokenizer's"):
        encode_batch(tokenizer, [[1, 2], [75, 3, 74, 73, 72, 71, 70, 70]])


def test_nothing_half_made_lies_in_the_folder(tmp_path: Path) -> None:
    """A run killed while the library writes leaves nothing behind that nobody would clear away."""
    seen: list[Path] = []

    class Slow:
        def save_pretrained(self, folder: str) -> None:
            (Path(folder) / "tokenizer.json").write_text("{}")
            seen.extend(tmp_path.iterdir())

    save_tokenizer(tmp_path, Slow())
    assert seen == []
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
