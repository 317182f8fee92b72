"""Units and their tokens as a model's input, as the phases before left them."""

import json
from pathlib import Path

import numpy as np

import pytest

from core.errors import UserError
from speech_llm.unit_inputs import load_unit_sequences
from units.bpe import decode_tokens, load_tokenizer, save_tokenizer, train_tokenizer
from units.corpus import read_corpus


def write_bpe(folder: Path, corpus: Path, n_units: int, *, fitted_to: int | None = None) -> Path:
    folder.mkdir(parents=True)
    units = [np.asarray(utterance["units"]) for utterance in read_corpus(corpus)]
    save_tokenizer(folder, train_tokenizer(iter(units), n_units=n_units, vocab_size=n_units + 20))
    (folder / "config.json").write_text(json.dumps({"derived": {"n_units": fitted_to or n_units}}))
    (folder / "finished.json").write_text("{}")
    return folder


def test_units_are_the_corpus_deduplicated(tiny_units: dict) -> None:
    sequences, n_units = load_unit_sequences(tiny_units["units"], splits=["train", "val"])
    rows = [row for row in tiny_units["rows"] if row["split"] != "test"]
    assert list(sequences) == [row["id"] for row in rows]
    assert n_units == 12
    for utterance in read_corpus(tiny_units["units"] / "corpus_timestamped.json", splits=["train"]):
        np.testing.assert_array_equal(sequences[utterance["id"]], utterance["units"])
        assert sequences[utterance["id"]].dtype == np.int64
        assert (np.diff(sequences[utterance["id"]]) != 0).all()


def test_tokens_decode_to_the_units(tiny_units: dict, tmp_path: Path) -> None:
    corpus = tiny_units["units"] / "corpus_timestamped.json"
    bpe = write_bpe(tmp_path / "bpe", corpus, 12)
    units, _ = load_unit_sequences(tiny_units["units"])
    tokens, size = load_unit_sequences(tiny_units["units"], bpe)
    tokenizer = load_tokenizer(bpe)
    assert size == len(tokenizer)
    assert tokens.keys() == units.keys()
    for name, ids in tokens.items():
        assert len(ids) < len(units[name])
        assert 0 <= ids.min() <= ids.max() < size
        np.testing.assert_array_equal(decode_tokens(tokenizer, ids), units[name])


def test_what_does_not_fit_is_refused(tiny_units: dict, tmp_path: Path) -> None:
    corpus = tiny_units["units"] / "corpus_timestamped.json"
    with pytest.raises(UserError, match="expected motifs of 12 units, found 13"):
        load_unit_sequences(tiny_units["units"], write_bpe(tmp_path / "bpe", corpus, 12, fitted_to=13))
    with pytest.raises(UserError, match="dev5"):
        load_unit_sequences(tiny_units["units"], splits=["dev5"])
    with pytest.raises(UserError, match=r"finished phase 2.*run_phase2"):
        load_unit_sequences(tiny_units["units"], tmp_path / "nothing")
    (tiny_units["units"] / "finished.json").unlink()
    with pytest.raises(UserError, match=r"finished phase 1.*run_phase1"):
        load_unit_sequences(tiny_units["units"])


def test_a_unit_out_of_range_is_refused(tiny_units: dict) -> None:
    corpus = tiny_units["units"] / "corpus_timestamped.json"
    spoilt = corpus.read_text().replace('"units":[', '"units":[99,', 1).replace('"durations":[', '"durations":[1,', 1)
    corpus.write_text(spoilt)
    with pytest.raises(UserError, match="expected units below 12, found 99"):
        load_unit_sequences(tiny_units["units"])
