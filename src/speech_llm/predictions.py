"""Transcripts of whole test splits, by the best weights, kept as they are made."""

import argparse
import functools
import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate import Accelerator
from tqdm import tqdm

from core.files import hash_files, write_json
from speech_llm.decoding import DECODING_FLAGS, check_decoding, transcribe_features
from speech_llm.feature_sources import load_items, open_source
from speech_llm.saved_model import DTYPES, find_saved, from_pretrained
from speech_llm.validation import is_looping, word_error_rate

log = logging.getLogger("oral_units")


def write_predictions(exp: Path, args: argparse.Namespace, accelerator: Accelerator, precision: str) -> None:
    """``<split>_predictions.json`` for each of ``--test_splits``: id, reference, hypothesis, prompt, duration, n_best.

    A run that is killed goes on after the batches it has finished, and one that is asked for the same again decodes
    nothing: what was decoded is kept beside the predictions.
    """
    model = from_pretrained(exp, DTYPES[precision], accelerator.device)
    decoding = {name: getattr(args, name) for name in (*DECODING_FLAGS, "n_best")}
    check_decoding(model, **{name: decoding[name] for name in ("decoder", "num_beams", "n_best", "ctc_weight")})
    for split, found in load_items(args, args.test_splits).items():
        source = open_source(args, [(found, (1.0,))], accelerator)
        items = source["known"](found)
        decode = functools.partial(transcribe_features, model, batch_size=args.generate_bsize, **decoding)
        heard = hashlib.sha256("".join(f"{item['id']} {item['hash']}\n" for item in items).encode()).hexdigest()
        key = {"weights": hash_files([find_saved(exp) / "model.safetensors"]), "decoding": decoding}
        key |= {"precision": precision, "audio": heard}
        done = _finish_split(_decoded_file(exp, split), key, items, source, decode)
        rows = [_prediction(item, done[item["id"]], args.prompt, args.n_best) for item in items]
        write_json(exp / f"{split}_predictions.json", rows)
        _report(exp, split, rows)


def _finish_split(
    path: Path, key: dict, items: Sequence[dict], source: dict, decode: Callable[..., list]
) -> dict[str, list[dict]]:
    """{id: candidates}; what the file holds of the same weights and options is not decoded again."""
    done = _read_decoded(path, key)
    missing = [item for item in items if item["id"] not in done]
    with open(path, "a", encoding="utf-8") as out, tqdm(total=len(missing), desc="decoding", disable=None) as bar:
        if path.stat().st_size == 0:
            out.write(json.dumps(key) + "\n")

        def keep(places: list[int], texts: list[list[dict]]) -> None:
            for place, candidates in zip(places, texts):
                out.write(json.dumps([missing[place]["id"], candidates]) + "\n")
            out.flush()
            bar.update(len(places))

        features = source["read"](missing, [1.0] * len(missing)) if missing else []
        found = decode(features, [item["duration"] for item in missing], on_batch=keep)
    return done | {item["id"]: candidates for item, candidates in zip(missing, found)}


def _decoded_file(exp: Path, split: str) -> Path:
    return exp / f".{split}_decoded.jsonl"


def _read_decoded(path: Path, key: dict) -> dict[str, list[dict]]:
    """What a killed run has left, or nothing (and the file removed) where it had other weights or options."""
    if not path.exists():
        return {}
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [json.loads(line) for line in lines if line.endswith(b"\n")]
    if not whole or whole[0] != key:
        path.unlink()
        return {}
    if not lines[-1].endswith(b"\n"):  # a torn last line must not swallow the next one
        os.truncate(path, path.stat().st_size - len(lines[-1]))
    return {name: candidates for name, candidates in whole[1:]}


def _prediction(item: dict, candidates: list[dict], prompt: str, n_best: int) -> dict:
    row = {"id": item["id"], "reference": item["text"], "hypothesis": candidates[0]["text"], "prompt": prompt}
    row["duration"] = item["duration"]
    return row | ({"n_best": candidates} if n_best > 1 else {})


def _report(exp: Path, split: str, rows: list[dict]) -> None:
    texts = [row["hypothesis"] for row in rows]
    log.info(
        "wrote %s: %d utterances, WER %.3f (normalised), %d looping, %d empty\nnext: %s",
        exp / f"{split}_predictions.json",
        len(rows),
        word_error_rate([row["reference"] for row in rows], texts),
        sum(map(is_looping, texts)),
        sum(not text.strip() for text in texts),
        f"python src/calculate_wer.py --input {exp / f'{split}_predictions.json'}",
    )
