"""The units, and the motifs they form, under a test recording's spectrogram: which one sounds at which time.

Axes: U units of one utterance, T motifs (BPE tokens) of it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from core.frames import UNIT_RATE
from core.records import Utterance
from report.data import Experiment
from report.plots import Picture, Row, plot_rows
from units.bpe import encode_units, load_tokenizer, token_edges, token_units
from units.corpus import read_corpus


class Strip(NamedTuple):
    """A picture of units over motifs, and the same as JSON for the line that follows the playhead."""

    picture: Picture
    places: str  # JSON: for each row its name, the ends of its pieces (s) and what to call each


class Sequences(NamedTuple):
    """What one experiment says of its test recordings: units by utterance, and the motifs where phase 2 has run."""

    utterances: Mapping[str, Utterance]
    motif_rows: Mapping[str, Row]


def read_sequences(experiment: Experiment, names: Sequence[str]) -> Sequences:
    """Units and motifs of the utterances ``names``; empty where the corpus lies elsewhere by now."""
    corpus = experiment.units_path / "corpus_timestamped.json" if experiment.units_path else None
    if corpus is None or not corpus.is_file():
        return Sequences({}, {})
    found = {row["id"]: row for row in read_corpus(corpus) if row["id"] in set(names)}
    if experiment.bpe_path is None or not (experiment.bpe_path / "tokenizer.json").is_file():
        return Sequences(found, {})
    tokenizer = load_tokenizer(experiment.bpe_path)
    units_by_token = token_units(tokenizer)
    counts = {motif["token"]: motif["count"] for motif in experiment.motifs or []}
    rows = {}
    for name, row in found.items():
        ids = encode_units(tokenizer, row["units"])
        rows[name] = motif_row(ids, units_by_token, row["durations"], counts)
    return Sequences(found, rows)


def motif_row(
    ids: np.ndarray, units_by_token: Sequence[Sequence[int]], durations: Sequence[int], counts: Mapping[int, int]
) -> Row:
    """(T,) tokens as pieces; those of a single unit are left blank.

    durations: (U,) frames of each unit; counts: how often the training recordings say each token.
    """
    lengths = np.array([len(units) for units in units_by_token])
    names, kinds = [], []
    for token in ids:
        units, times = units_by_token[token], counts.get(int(token))
        said = f", said {times:,} times" if times else ""
        names.append(f"{' '.join(map(str, units))}{said}" if len(units) > 1 else "")
        kinds.append(int(token) if len(units) > 1 else None)
    return Row("motif", token_edges(ids, lengths, np.asarray(durations)) / UNIT_RATE, names, kinds)


def unit_row(utterance: Utterance) -> Row:
    """The utterance's deduplicated units as pieces."""
    edges = np.concatenate([[0], np.cumsum(utterance["durations"])]) / UNIT_RATE
    units = [int(unit) for unit in utterance["units"]]
    return Row("unit", edges, [str(unit) for unit in units], units)


def make_strip(sequences: Sequences, utterance: str, seconds: float, name: str) -> Strip | None:
    """The strip of one utterance's first ``seconds``; None where its units are not known.

    name: makes the picture's ids unique.
    """
    if utterance not in sequences.utterances:
        return None
    rows = [unit_row(sequences.utterances[utterance])]
    if utterance in sequences.motif_rows:
        rows.append(sequences.motif_rows[utterance])
    rows = [_cut(row, seconds) for row in rows]
    places = [
        {"name": row.name, "ends": [round(float(end), 2) for end in row.edges[1:]], "names": row.names} for row in rows
    ]
    title = f"{len(rows[0].names)} units" + (f" in {len(rows[1].names)} motifs" if len(rows) > 1 else "")
    return Strip(plot_rows(rows, seconds=seconds, title=title, name=name), json.dumps(places))


def _cut(row: Row, seconds: float) -> Row:
    n_pieces = int(np.searchsorted(row.edges[:-1], seconds))
    edges = np.minimum(row.edges[: n_pieces + 1], seconds)
    return Row(row.name, edges, row.names[:n_pieces], row.kinds[:n_pieces])
