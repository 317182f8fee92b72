"""The strip of units and motifs under a spectrogram: which one sounds at which time."""

import json
from pathlib import Path

import numpy as np

import pytest

from report_examples import write_chain

from report.data import load_experiment
from report.strips import make_strip, motif_row, read_sequences, unit_row
from units.bpe import save_tokenizer, train_tokenizer
from units.corpus import read_corpus


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("chain")
    return load_experiment(write_chain(folder / "data", folder / "exp"))


@pytest.fixture(scope="module")
def utterance(experiment) -> dict:
    return next(iter(read_corpus(experiment.units_path / "corpus_timestamped.json")))


def test_motifs_span_their_units_and_single_units_are_blank() -> None:
    row = motif_row(np.array([2, 0]), [[7], [8], [7, 8, 9]], [5, 10, 15, 20], {2: 1234})
    assert row.edges.tolist() == [0.0, 0.6, 1.0]
    assert row.names == ["7 8 9, said 1,234 times", ""] and row.kinds == [2, None]


def test_a_strip_names_every_unit_until_it_ends(experiment, utterance) -> None:
    strip = make_strip(read_sequences(experiment, [utterance["id"]]), utterance["id"], 99.0, "s")
    (units,) = json.loads(strip.places)  # this chain has motifs.json, and no tokenizer
    assert units["names"] == [str(unit) for unit in utterance["units"]]
    assert units["ends"] == pytest.approx(np.cumsum(utterance["durations"]) / 50, abs=0.01)
    assert strip.picture.description == f"{len(utterance['units'])} units" and "s-" in strip.picture.drawing


def test_a_strip_ends_with_its_player(experiment, utterance) -> None:
    sequences = read_sequences(experiment, [utterance["id"]])
    half = unit_row(utterance).edges[3] - 0.01
    (units,) = json.loads(make_strip(sequences, utterance["id"], half, "s").places)
    assert len(units["names"]) == 3 and units["ends"][-1] == pytest.approx(half, abs=0.01)


def test_motifs_stand_below_their_units(experiment, utterance, tmp_path: Path) -> None:
    tokenizer = train_tokenizer([np.asarray(utterance["units"])] * 3, n_units=12, vocab_size=30, min_count=2)
    save_tokenizer(tmp_path, tokenizer)
    sequences = read_sequences(experiment._replace(bpe_path=tmp_path), [utterance["id"]])
    units, motifs = json.loads(make_strip(sequences, utterance["id"], 99.0, "s").places)
    assert motifs["ends"][-1] == units["ends"][-1] and set(motifs["ends"]) < set(units["ends"])
    assert any(" " in name for name in motifs["names"])


def test_units_that_lie_elsewhere_leave_no_strip(experiment) -> None:
    sequences = read_sequences(experiment._replace(units_path=None), ["a"])
    assert make_strip(sequences, "a", 1.0, "s") is None
