"""Word and character error rates of one or more experiments, with intervals, differences and the worst utterances.

python src/calculate_wer.py --input exp/a/test_predictions.json
python src/calculate_wer.py --input exp/a/test_predictions.json exp/b/test_predictions.json --normaliser unicode
python src/calculate_wer.py --input exp/a/test_predictions.json --json scores.json --worst 20

Rates are of the corpus, as jiwer defines them; the second and further inputs are compared with the first, utterance by
utterance. Definitions: docs/speech_llm.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.cli import parse_flags, require_positive, run_main
from core.errors import UserError
from core.files import write_json
from evaluation.bootstrap import N_RESAMPLES
from evaluation.text_errors import NORMALISERS, find_spelling, load_normaliser
from evaluation.word_alignment import align_words, format_alignment, terminal_width, wants_colour
from evaluation.word_errors import (
    compare_errors,
    count_errors,
    normalise_predictions,
    order_alike,
    read_predictions,
    summarise_errors,
    word_columns,
)

SIGNIFICANT = 0.05


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    scoring = parser.add_argument_group("what to score")
    scoring.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="FILE",
        help="test_predictions.json: a JSON list of objects with id, reference and hypothesis",
    )
    scoring.add_argument(
        "--normaliser",
        "--normalizer",
        choices=NORMALISERS,
        default="none",
        help="what is done to both texts first: none (texts as they are), basic and english (Whisper's), or unicode: "
        "case, punctuation and symbols go, letters and marks of any script and apostrophes inside words stay (none)",
    )
    scoring.add_argument(
        "--spelling",
        type=Path,
        default=None,
        metavar="PATH",
        help="Whisper model folder whose normalizer.json lets --normaliser english take British and American spelling "
        "as one (that of ORAL_UNITS_WHISPER, where there is one)",
    )
    scoring.add_argument("--unpaired", action="store_true", help="a table alone: the inputs are of different test sets")
    scoring.add_argument(
        "--n_resamples", type=int, default=N_RESAMPLES, help=f"bootstrap draws behind an interval ({N_RESAMPLES})"
    )
    scoring.add_argument("--seed", type=int, default=0, help="seed of the draws (0)")
    output = parser.add_argument_group("output")
    output.add_argument("--json", type=Path, default=None, metavar="FILE", help="also write the numbers here")
    output.add_argument(
        "--worst",
        type=int,
        default=5,
        metavar="N",
        help="show the N utterances with most word errors of each (5)",
    )
    args = parse_flags(parser, argv)
    require_positive(args, "n_resamples")
    if args.worst < 0:
        raise UserError(f"--worst {args.worst}: expected 0 or more")
    if args.spelling and args.normaliser != "english":
        raise UserError(f"--spelling serves --normaliser english only, found --normaliser {args.normaliser}")
    repeated = sorted({path for path in args.input if args.input.count(path) > 1})
    if repeated:
        raise UserError(f"--input: expected each file once, found {', '.join(repeated)} again")
    return args


def read_inputs(args: argparse.Namespace) -> dict[str, list[dict]]:
    """{path as given: normalised predictions}, all in the order of the first unless ``--unpaired``."""
    read = {path: read_predictions(Path(path)) for path in args.input}
    spelling = find_spelling(args.spelling) if args.normaliser == "english" else None
    if args.normaliser == "english" and spelling is None:
        print("British and American spelling count as different: give --spelling WHISPER_FOLDER", file=sys.stderr)
    normalise = load_normaliser(args.normaliser, spelling)
    inputs = {path: normalise_predictions(predictions, normalise) for path, predictions in read.items()}
    if not args.unpaired:
        first = args.input[0]
        inputs |= {path: order_alike(inputs[first], inputs[path], (first, path)) for path in args.input[1:]}
    return inputs


def score_inputs(counts: dict[str, np.ndarray], args: argparse.Namespace) -> dict[str, dict]:
    """{path: what ``--json`` documents, and against which other input it was compared}."""
    shared = {"n_resamples": args.n_resamples, "seed": args.seed}
    scores = {path: summarise_errors(table, **shared) for path, table in counts.items()}
    if args.unpaired:
        return scores
    first, *others = counts
    differences = compare_errors(counts[first], [counts[path] for path in others], **shared)
    for path, difference in zip(others, differences):
        scores[path]["against"] = {"path": first} | difference
    return scores


def format_rates(scores: dict[str, dict]) -> str:
    """A table: one line an input, with its rates, their 95 % intervals and the edits."""
    head = ["input", "WER", "[95 %]", "CER", "[95 %]", "sub", "del", "ins", "words", "utterances"]
    rows = [head]
    for path, score in scores.items():
        (low, high), (cer_low, cer_high) = score["wer_ci"], score["cer_ci"]
        rates = [f"{score['wer']:.3f}", f"[{low:.3f}, {high:.3f}]", f"{score['cer']:.3f}"]
        edits = [str(score[key]) for key in ("substitutions", "deletions", "insertions", "n_words", "n_utterances")]
        rows.append([path, *rates, f"[{cer_low:.3f}, {cer_high:.3f}]", *edits])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in rows
    )


def format_differences(scores: dict[str, dict]) -> str:
    """One line a comparison, marked * where the adjusted p-value is below .05."""
    lines = []
    for path, score in scores.items():
        if "against" not in score:
            continue
        found = score["against"]
        low, high = found["ci"]
        lines.append(
            f"{path}  {found['wer_difference']:+.3f}  [{low:+.3f}, {high:+.3f}]  p = {found['p_adjusted']:.4f}"
            + (" *" if found["p_adjusted"] < SIGNIFICANT else "")
        )
    return "\n".join(lines)


def print_worst(path: str, predictions: list[dict], counts: np.ndarray, n_worst: int) -> None:
    """The utterances with most word errors, worst first, word under word."""
    errors, words = word_columns(counts)
    order = [place for place in np.argsort(-errors, kind="stable")[:n_worst].tolist() if errors[place]]
    if not order:
        return
    print(f"\nworst of {path}: S substituted, D deleted, I inserted")
    colour, width = wants_colour(sys.stdout), terminal_width()
    for place in order:
        item = predictions[place]
        print(f"\n{item['id']}: {errors[place]} errors, {words[place]} words")
        print(format_alignment(align_words(item["reference"], item["hypothesis"]), colour=colour, width=width))


def main() -> None:
    args = parse_args()
    inputs = read_inputs(args)
    counts = {path: count_errors(predictions) for path, predictions in inputs.items()}
    scores = score_inputs(counts, args)
    print(f"normaliser: {args.normaliser}")
    print(format_rates(scores))
    differences = format_differences(scores)
    if differences:
        print(f"\nWER minus that of {args.input[0]}, paired; p of a permutation test, adjusted for their number")
        print(differences)
    for path, predictions in inputs.items():
        print_worst(path, predictions, counts[path], args.worst)
    if args.json:
        write_json(args.json, scores)
        print(f"\nwrote {args.json}")


if __name__ == "__main__":
    run_main(main)
