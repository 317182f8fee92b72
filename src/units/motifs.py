"""Motifs: what each BPE token stands for, how often and how long it occurs, and where to hear it.

Everything streams: memory grows with the vocabulary and the number of examples, not with the corpus. Axes: V tokens of
the vocabulary, T tokens and U units of one utterance.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.files import write_atomically
from core.frames import UNIT_RATE, frames_to_seconds
from units.bpe import token_edges


def new_motif_counts(units_by_token: list[list[int]], n_examples: int) -> dict:
    """Empty counts for V tokens: ``counts`` and ``frames`` (V,) int64, ``lengths`` (V,) units a token, ``examples``."""
    n_tokens = len(units_by_token)
    return {
        "units": units_by_token,
        "lengths": np.array([len(units) for units in units_by_token], np.int64),
        "counts": np.zeros(n_tokens, np.int64),
        "frames": np.zeros(n_tokens, np.int64),
        "n_examples": n_examples,
        "examples": [[] for _ in range(n_tokens)],
        "bars": np.full(n_tokens, np.inf if n_examples else -np.inf),
    }


def count_motifs(motifs: dict, ids: np.ndarray, utterance: dict) -> None:
    """Add the (T,) tokens of one utterance to the counts, and perhaps to the examples."""
    edges = token_edges(ids, motifs["lengths"], utterance["durations"])
    n_tokens = len(motifs["counts"])
    motifs["counts"] += np.bincount(ids, minlength=n_tokens)
    motifs["frames"] += np.bincount(ids, weights=np.diff(edges), minlength=n_tokens).astype(np.int64)
    _offer_examples(motifs, ids, edges, utterance)


def _offer_examples(motifs: dict, ids: np.ndarray, edges: np.ndarray, utterance: dict) -> None:
    """Keep, for each token, a uniform sample of the utterances that hold it, and one random place in each.

    Bottom-k sampling: every (utterance, token) draws a number from the utterance's id alone, and the lowest
    ``n_examples`` stay. So the examples are spread over the corpus and do not depend on its order.
    """
    digest = hashlib.sha256(utterance["id"].encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    shuffled = rng.permutation(len(ids))
    tokens, first = np.unique(ids[shuffled], return_index=True)
    places, keys = shuffled[first], rng.random(len(motifs["counts"]))[tokens]
    for chosen in np.flatnonzero(keys < motifs["bars"][tokens]):
        token, place = int(tokens[chosen]), int(places[chosen])
        kept = motifs["examples"][token]
        kept.append(
            (float(keys[chosen]), utterance["id"], utterance["audio"], int(edges[place]), int(edges[place + 1]))
        )
        kept.sort()
        del kept[motifs["n_examples"] :]
        if len(kept) == motifs["n_examples"]:
            motifs["bars"][token] = kept[-1][0]


def list_motifs(motifs: dict) -> Iterator[dict]:
    """Every token that stands for units, by token id: ``token, units, count, mean_duration, examples`` (seconds)."""
    for token, units in enumerate(motifs["units"]):
        if not units:
            continue
        count, frames = int(motifs["counts"][token]), int(motifs["frames"][token])
        yield {
            "token": token,
            "units": units,
            "count": count,
            "mean_duration": round(frames / count / UNIT_RATE, 4) if count else None,
            "examples": [
                {
                    "utterance": utterance,
                    "audio": audio,
                    "start": frames_to_seconds(start),
                    "end": frames_to_seconds(end),
                }
                for _, utterance, audio, start, end in motifs["examples"][token]
            ],
        }


def write_motifs(path: Path, motifs: dict) -> None:
    """``motifs.json``: one valid JSON array with one motif a line."""
    lines = ",\n".join(json.dumps(motif, ensure_ascii=False) for motif in list_motifs(motifs))
    write_atomically(path, lambda temporary: temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8"))


def read_motifs(path: Path) -> list[dict]:
    """The motifs of ``motifs.json``; UserError where it is missing or no JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: expected phase 2's motifs, found none; run: bash scripts/run_phase2.sh <language>"
        ) from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: expected JSON, found {error}; rerun phase 2 with --overwrite") from error


def choose_motifs(motifs: list[dict], n: int) -> list[dict]:
    """The ``n`` most frequent and the ``n`` longest (mean duration) motifs of two units and more, without repeats.

    The longest are chosen among those heard in at least two utterances: what occurs in one alone is no motif.
    """
    several = [motif for motif in motifs if len(motif["units"]) > 1 and motif["examples"]]
    frequent = sorted(several, key=lambda motif: (-motif["count"], motif["token"]))[:n]
    recurring = [motif for motif in several if len(motif["examples"]) > 1]
    longest = sorted(recurring, key=lambda motif: (-motif["mean_duration"], motif["token"]))[:n]
    return list({motif["token"]: motif for motif in frequent + longest}.values())
