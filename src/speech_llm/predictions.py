"""Transcripts of whole test splits, by the best weights, kept as they are made."""

import functools
import hashlib
import itertools
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from core.commands import as_typed
from core.files import hash_files, read_json, write_json
from core.records import Candidate, Prediction, TranscribedItem
from models.speech_llm_model import SpeechLLMBase
from speech_llm.decoding import cut_shares, transcribe_features
from speech_llm.feature_sources import FeatureSource
from speech_llm.saved_model import find_saved
from speech_llm.search_errors import find_search_errors, is_search_error, is_wrong
from speech_llm.validation import is_looping, word_error_rate
from training.processes import ALONE, Team, map_in_team

log = logging.getLogger("oral_units")


def write_predictions(
    exp: Path,
    split: str,
    model: SpeechLLMBase,
    source: FeatureSource,
    items: Sequence[TranscribedItem],
    *,
    decoding: dict[str, object],
    batch_size: int,
    prompt: str,
    precision: str,
    ensemble: Sequence[Path] = (),
    team: Team = ALONE,
) -> None:
    """``<split>_predictions.json``: id, reference, hypothesis, prompt, duration, n_best of every item.

    decoding: options of ``transcribe_batch``, ``n_best`` among them. prompt, precision: as the model was trained.
    ensemble: the saved models whose heads it hears with, beside its own.
    A run that was killed continues after the batches it had finished. One that is asked for the same again decodes
    nothing: what was decoded is kept in the same folder. team: the processes that share the work; the first writes.
    """
    decode = functools.partial(transcribe_features, model, batch_size=batch_size, **decoding)
    search = {name: value for name, value in decoding.items() if name != "n_best"} | {"batch_size": batch_size}
    audio = hashlib.sha256("".join(f"{item['id']} {item['hash']}\n" for item in items).encode()).hexdigest()
    key = {
        "weights": hash_files([find_saved(folder) / "model.safetensors" for folder in (exp, *ensemble)]),
        "decoding": decoding,
        "precision": precision,
        "audio": audio,
    }
    done = finish_split(_decoded_file(exp, split), key, items, source, decode, batch_size=batch_size, team=team)
    with_n_best = decoding["n_best"] > 1
    rows = [_prediction(item, done[item["id"]], prompt, with_n_best) for item in items]
    rows = note_search_errors(model, source, items, rows, search, team=team)
    if team.rank == 0:
        write_json(exp / f"{split}_predictions.json", rows)
        _report(exp, split, rows)


def copy_single_split(exp: Path, split: str) -> None:
    """What was written for the only split, under the name that tools look for too: ``test_predictions.json``.

    Not where that is the transcript of a split called test.
    """
    if split == "test":
        return
    path = exp / "test_predictions.json"
    if _decoded_file(exp, "test").exists():
        log.info("%s: left as it is, since it is of the split test", path)
        return
    write_json(path, read_json(exp / f"{split}_predictions.json", list))
    log.info("wrote %s, the same", path)


def note_search_errors(
    model: SpeechLLMBase,
    source: FeatureSource,
    items: Sequence[TranscribedItem],
    rows: Sequence[Prediction],
    decoding: dict[str, object],
    *,
    team: Team = ALONE,
) -> list[Prediction]:
    """The rows; the wrong ones with the nats of hypothesis and reference, and whether the search has missed it."""
    wrong = [place for place, row in enumerate(rows) if is_wrong(row["reference"], row["hypothesis"])]

    def score(share: list[int]) -> list[tuple[int, tuple[float, float] | None]]:
        places = [wrong[number] for number in share]
        features = source.read([items[place] for place in places], [1.0] * len(places))
        texts = [[rows[place][side] for place in places] for side in ("reference", "hypothesis")]
        return list(zip(places, find_search_errors(model, features, *texts, **decoding)))

    lengths = [source.count_frames(items[place]) for place in wrong]
    noted = list(rows)
    for place, scores in itertools.chain(
        *map_in_team(team, score, cut_shares(lengths, decoding["batch_size"], team.size))
    ):
        if scores is not None:
            found = {"score": scores[0], "reference_score": scores[1], "search_error": is_search_error(scores)}
            noted[place] = rows[place] | found
    return noted


def finish_split(
    path: Path,
    key: dict[str, object],
    items: Sequence[TranscribedItem],
    source: FeatureSource,
    decode: Callable[..., list[list[Candidate]]],
    *,
    batch_size: int = 8,
    team: Team = ALONE,
) -> dict[str, list[Candidate]]:
    """{id: candidates}; what the file at ``path``, or one of another process, holds of ``key`` is not decoded again."""
    done: dict[str, list[Candidate]] = {}
    for kept in sorted(path.parent.glob(f"{path.stem}*{path.suffix}")):
        done |= read_decoded(kept, key)
    missing = [item for item in items if item["id"] not in done]
    shares = cut_shares([source.count_frames(item) for item in missing], batch_size, team.size)
    team.wait()  # before one writes what another still reads
    own = path if team.rank == 0 else path.with_name(f"{path.stem}.{team.rank}{path.suffix}")
    total = sum(len(share) for share in shares[team.rank :: team.size])
    hidden = None if team.rank == 0 else True
    with open(own, "a", encoding="utf-8") as out, tqdm(total=total, desc="decoding", disable=hidden) as bar:
        if own.stat().st_size == 0:
            out.write(json.dumps(key) + "\n")

        def decode_share(share: list[int]) -> dict[str, list[Candidate]]:
            chosen = [missing[place] for place in share]
            names, seconds = [item["id"] for item in chosen], [item["duration"] for item in chosen]

            def keep(places: list[int], texts: list[list[Candidate]]) -> None:
                for place, candidates in zip(places, texts):
                    out.write(json.dumps([names[place], candidates]) + "\n")
                out.flush()
                bar.update(len(places))

            return dict(zip(names, decode(source.read(chosen, [1.0] * len(chosen)), seconds, on_batch=keep)))

        for found in map_in_team(team, decode_share, shares):
            done |= found
    return done


def _decoded_file(exp: Path, split: str) -> Path:
    return exp / f".{split}_decoded.jsonl"


def read_decoded(path: Path, key: dict[str, object]) -> dict[str, list[Candidate]]:
    """What a killed run has left, or nothing (and the file removed) where it had other weights or options."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:  # there was none, or another process has removed it
        return {}
    whole = [json.loads(line) for line in lines if line.endswith(b"\n")]
    if not whole or whole[0] != key:
        path.unlink(missing_ok=True)
        return {}
    if not lines[-1].endswith(b"\n"):  # a torn last line must not swallow the next one
        os.truncate(path, sum(map(len, lines[:-1])))
    return {name: candidates for name, candidates in whole[1:]}


def _prediction(item: TranscribedItem, candidates: list[Candidate], prompt: str, with_n_best: bool) -> Prediction:
    row: Prediction = {
        "id": item["id"],
        "reference": item["text"],
        "hypothesis": candidates[0]["text"],
        "prompt": prompt,
        "duration": item["duration"],
    }
    return row | {"n_best": candidates} if with_n_best else row


def _report(exp: Path, split: str, rows: Sequence[Prediction]) -> None:
    pairs = [(row["reference"], row["hypothesis"]) for row in rows]
    references, texts = [reference for reference, _ in pairs], [text for _, text in pairs]
    path = exp / f"{split}_predictions.json"
    searched = [row["search_error"] for row in rows if "search_error" in row]
    errors = f", search errors in {sum(searched)} of {len(searched)} wrong ones" if searched else ""
    log.info(
        "wrote %s: %d utterances, WER %.3f (normalised), %d looping, %d empty%s\nnext: %s",
        path,
        len(rows),
        word_error_rate(references, texts),
        sum(map(is_looping, texts)),
        sum(not text.strip() for text in texts),
        errors,
        as_typed("python", "src/calculate_wer.py", "--input", path),
    )
