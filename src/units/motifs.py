"""Motifs: what each BPE token stands for, how often and how long it occurs, and where to hear it.

Everything streams: memory grows with the vocabulary and the number of examples, not with the corpus. Axes: V tokens of
the vocabulary, T tokens and U units of one utterance.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.errors import UserError
from core.files import write_text
from core.frames import UNIT_RATE, frames_to_seconds
from core.records import Motif, MotifExample, Utterance
from languages import command_for_folder
from units.bpe import token_edges


class SampledPlace(NamedTuple):
    """A place where a motif was found; of a motif's places the ones with the lowest ``key`` are kept."""

    key: float  # uniform, 0 to 1
    utterance: str  # id
    audio: str  # relative to DATA_ROOT
    start: int  # frames
    end: int


class MotifCounts(NamedTuple):
    """What is known of V tokens while a corpus streams by; arrays and lists are added to in place."""

    units: list[list[int]]  # of each token
    lengths: np.ndarray  # (V,) int64, units a token
    counts: np.ndarray  # (V,) int64, occurrences
    frames: np.ndarray  # (V,) int64, over all occurrences
    n_examples: int  # places to keep of each token
    places: list[list[SampledPlace]]  # of each token, by key
    bars: np.ndarray  # (V,) keys that a further place must be below


def new_motif_counts(units_by_token: list[list[int]], n_examples: int) -> MotifCounts:
    """Empty counts for V tokens."""
    n_tokens = len(units_by_token)
    return MotifCounts(
        units=units_by_token,
        lengths=np.array([len(units) for units in units_by_token], np.int64),
        counts=np.zeros(n_tokens, np.int64),
        frames=np.zeros(n_tokens, np.int64),
        n_examples=n_examples,
        places=[[] for _ in range(n_tokens)],
        bars=np.full(n_tokens, np.inf if n_examples else -np.inf),
    )


def count_motifs(motifs: MotifCounts, ids: np.ndarray, utterance: Utterance) -> None:
    """Add the (T,) tokens of one utterance to the counts, and perhaps to the examples."""
    edges = token_edges(ids, motifs.lengths, utterance["durations"])
    n_tokens = len(motifs.counts)
    motifs.counts[...] += np.bincount(ids, minlength=n_tokens)
    motifs.frames[...] += np.bincount(ids, weights=np.diff(edges), minlength=n_tokens).astype(np.int64)
    _offer_examples(motifs, ids, edges, utterance["id"], utterance["audio"])


def _offer_examples(motifs: MotifCounts, ids: np.ndarray, edges: np.ndarray, utterance: str, audio: str) -> None:
    """Keep, for each token, a uniform sample of the utterances that hold it, and one random place in each.

    Bottom-k sampling: every (utterance, token) draws a number from the utterance's id alone, and the lowest
    ``n_examples`` stay. So the examples are spread over the corpus and do not depend on its order.
    """
    digest = hashlib.sha256(utterance.encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    shuffled = rng.permutation(len(ids))
    tokens, first = np.unique(ids[shuffled], return_index=True)
    places, keys = shuffled[first], rng.random(len(motifs.counts))[tokens]
    for chosen in np.flatnonzero(keys < motifs.bars[tokens]):
        token, place = int(tokens[chosen]), int(places[chosen])
        start, end = int(edges[place]), int(edges[place + 1])
        kept = motifs.places[token]
        kept.append(SampledPlace(float(keys[chosen]), utterance, audio, start, end))
        kept.sort()
        del kept[motifs.n_examples :]
        if len(kept) == motifs.n_examples:
            motifs.bars[token] = kept[-1].key


def list_motifs(motifs: MotifCounts) -> Iterator[Motif]:
    """Every token that stands for units, by token id."""
    counted = zip(motifs.units, motifs.counts.tolist(), motifs.frames.tolist(), motifs.places)
    for token, (units, count, frames, places) in enumerate(counted):
        if units:
            yield {
                "token": token,
                "units": units,
                "count": count,
                "mean_duration": round(frames / count / UNIT_RATE, 4) if count else None,
                "examples": [_describe_place(place) for place in places],
            }


def _describe_place(place: SampledPlace) -> MotifExample:
    start, end = frames_to_seconds(place.start), frames_to_seconds(place.end)
    return {"utterance": place.utterance, "audio": place.audio, "start": start, "end": end}


def write_motifs(path: Path, motifs: MotifCounts) -> None:
    """``motifs.json``: one valid JSON array with one motif a line."""
    lines = ",\n".join(json.dumps(motif, ensure_ascii=False) for motif in list_motifs(motifs))
    write_text(path, f"[\n{lines}\n]\n")


def read_motifs(path: Path) -> list[Motif]:
    """The motifs of ``motifs.json``; UserError where it is missing or no JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        command = command_for_folder("run_phase2.sh", Path(path).parent)
        raise UserError(f"{path}: expected phase 2's motifs, found none; run: {command}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: expected JSON, found {error}; rerun phase 2 with --overwrite") from error


def choose_motifs(motifs: Iterable[Motif], n: int) -> list[Motif]:
    """The ``n`` most frequent and the ``n`` longest (mean duration) motifs of two units and more, without repeats.

    The longest are chosen among those heard in at least two utterances: what occurs in one alone is no motif.
    """
    several = [motif for motif in motifs if len(motif["units"]) > 1 and motif["examples"]]
    frequent = sorted(several, key=lambda motif: (-motif["count"], motif["token"]))[:n]
    recurring = [motif for motif in several if len(motif["examples"]) > 1]
    longest = sorted(recurring, key=lambda motif: (-motif["mean_duration"], motif["token"]))[:n]
    return list({motif["token"]: motif for motif in frequent + longest}.values())
