"""Does a speech LLM's confidence find its errors? The share of them in the speech that is to be corrected first.

Reads a trained model and a transcribed split; prints a table and writes --out.

    python scripts/bench/bench_confidence.py --model exp/english_llm --data data/english --out confidence.json

In a random order, a third of the speech holds a third of the errors; nobody can find more than the last column holds.
More: docs/speech_llm.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.files import write_json
from core.text_normalisation import normalise_text
from evaluation.text_errors import count_word_edits
from speech_llm.correction_queue import find_doubts
from speech_llm.decoding import DECODERS, transcribe_features
from speech_llm.feature_sources import open_cached_source
from speech_llm.saved_model import from_pretrained, read_saved
from speech_llm.timed_words import describe_pieces
from speech_llm.transcribed_items import load_transcribed

SHARES = (0.1, 0.2, 1 / 3, 0.5)
N_RESAMPLES = 2000


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--model", type=Path, required=True, help="experiment of src/trainer_base.py")
    parser.add_argument("--data", type=Path, required=True, help="transcribed speech, as of src/trainer_base.py")
    parser.add_argument("--split", default="test", help="split to read")
    parser.add_argument("--decoder", choices=DECODERS, default="ctc", help="what writes")
    parser.add_argument("--num_beams", type=int, default=1, help="beams of joint decoding")
    parser.add_argument("--feature_cache", type=Path, default=None, help="folder of features (default: <data>/cache)")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    return parse_flags(parser, argv)


def share_met(order: np.ndarray, seconds: np.ndarray, errors: np.ndarray, share: float) -> float:
    """The share of all errors in the first utterances of ``order`` that make up a ``share`` of the speech (U,)."""
    reached = np.cumsum(seconds[order]) - seconds[order] / 2
    return float(errors[order][reached <= share * seconds.sum()].sum() / max(1, errors.sum()))


def resample(key: np.ndarray, seconds: np.ndarray, errors: np.ndarray, share: float) -> tuple[float, float]:
    """95 % of what resampled utterances give, those with the smallest ``key`` first."""
    draw, found = np.random.default_rng(0), []
    for _ in range(N_RESAMPLES):
        chosen = draw.integers(0, len(key), len(key))
        order = np.argsort(key[chosen], kind="stable")
        found.append(share_met(order, seconds[chosen], errors[chosen], share))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def read_split(args: argparse.Namespace) -> list[dict]:
    """{"id", "seconds", "confidence", "doubt", "errors", "words"} of each utterance; doubt: what a queue goes by."""
    config = read_saved(args.model)["model"]
    items = load_transcribed(args.data, [args.split])[args.split]
    source = open_cached_source(
        args.feature_cache or args.data / "cache" / "speech_features",
        [(items, (1.0,))],
        encoder_id=config["speech_enc_id"],
        layer=config["speech_enc_layer"],
        padding=config.get("padding", "full"),
        precision="fp32",
        device="cpu",
        num_workers=1,
        rank=0,
        world=1,
    )
    model, items = from_pretrained(args.model), source.keep_known(items)
    features, seconds = source.read(items, [1.0] * len(items)), [item["duration"] for item in items]
    found = transcribe_features(model, features, seconds, decoder=args.decoder, num_beams=args.num_beams)
    texts = [candidates[0]["text"] for candidates in found]
    rated = describe_pieces(model, features, texts, timed=False, rated=True, batch_size=8)
    lines = [piece | {"start": 0.0, "end": item["duration"]} for item, piece in zip(items, rated)]
    rows = []
    for item, piece, doubt in zip(items, rated, find_doubts(lines)):
        reference = normalise_text(item["text"])
        errors, n_words = sum(count_word_edits(reference, normalise_text(piece["text"]))[:3]), len(reference.split())
        described = {"id": item["id"], "seconds": item["duration"], "confidence": piece["confidence"], "doubt": doubt}
        rows.append(described | {"errors": errors, "words": n_words})
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    rows = read_split(args)
    write_json(args.out, rows)
    seconds, errors, n_words = (np.array([row[key] for row in rows]) for key in ("seconds", "errors", "words"))
    keys = {"queue": np.array([-row["doubt"] for row in rows]), "confidence": np.array([r["confidence"] for r in rows])}
    keys |= {"best possible": -errors / seconds}
    print(f"{len(rows)} utterances, {errors.sum()} word errors in {n_words.sum()} words")
    print(f"| speech | {' | '.join(keys)} | random |\n|---|{'---|' * len(keys)}---|")
    for share in SHARES:
        cells = []
        for key in keys.values():
            low, high = resample(key, seconds, errors, share)
            met = share_met(np.argsort(key, kind="stable"), seconds, errors, share)
            cells.append(f"{met:.2f} [{low:.2f}, {high:.2f}]")
        print(f"| {share:.0%} | {' | '.join(cells)} | {share:.2f} |")


if __name__ == "__main__":
    run_main(main)
