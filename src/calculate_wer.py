"""Word and character error rates of one or more experiments, with intervals, differences and the worst utterances.

Reads texts beside their references (test_predictions.json); prints tables and, with --json, writes them.

    python src/calculate_wer.py --input exp/a/test_predictions.json
    python src/calculate_wer.py --input exp/a/test_predictions.json exp/b/test_predictions.json --normaliser unicode
    python src/calculate_wer.py --input exp/a/test_predictions.json --json scores.json --worst 20

Rates are of the corpus, as jiwer defines them; the second and further inputs are compared with the first, utterance by
utterance. Definitions: docs/speech_llm.md.
"""

import core.quiet_start

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from core.files import write_json
from evaluation.bootstrap import N_RESAMPLES
from evaluation.text_errors import NORMALISERS, find_spelling, load_normaliser
from evaluation.word_alignment import align_words, format_alignment, terminal_width, wants_colour
from evaluation.word_errors import (
    ErrorDifference,
    ErrorRates,
    Prediction,
    compare_errors,
    count_errors,
    count_search_errors,
    normalise_predictions,
    order_like_first,
    read_predictions,
    summarise_errors,
    word_columns,
)

SIGNIFICANCE_LEVEL = 0.05


def add_scoring_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to score")
    group.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="FILE",
        help="test_predictions.json: a JSON list of objects with id, reference and hypothesis, or an object "
        "{split: {predictions, labels}}",
    )
    group.add_argument(
        "--normaliser",
        "--normalizer",
        choices=NORMALISERS,
        default="none",
        help="what is done to both texts first: none (texts as they are), basic and english (Whisper's), or unicode: "
        "case, punctuation and symbols go, letters and marks of any script and apostrophes inside words stay (none)",
    )
    group.add_argument(
        "--spelling",
        type=Path,
        default=None,
        metavar="PATH",
        help="Whisper model folder whose normalizer.json lets --normaliser english take British and American spelling "
        "as one (that of ORAL_UNITS_WHISPER, where there is one)",
    )
    group.add_argument("--unpaired", action="store_true", help="a table alone: the inputs are of different test sets")
    group.add_argument(
        "--n_resamples", type=int, default=N_RESAMPLES, help=f"bootstrap draws behind an interval ({N_RESAMPLES})"
    )
    group.add_argument("--seed", type=int, default=0, help="seed of the draws (0)")


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--json", type=Path, default=None, metavar="FILE", help="also write the numbers here")
    group.add_argument(
        "--worst",
        type=int,
        default=5,
        metavar="N",
        help="show the N utterances with most word errors of each (5)",
    )


def check_flags(args: argparse.Namespace) -> None:
    require_positive(args, "n_resamples")
    if args.worst < 0:
        raise UserError(f"--worst {args.worst}: expected 0 or more")
    if args.spelling and args.normaliser != "english":
        raise UserError(f"--spelling serves --normaliser english only, found --normaliser {args.normaliser}")
    repeated = sorted({path for path in args.input if args.input.count(path) > 1})
    if repeated:
        raise UserError(f"--input: expected each file once, found {', '.join(repeated)} again")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_scoring_flags(parser)
    add_output_flags(parser)
    args = parse_flags(parser, argv)
    check_flags(args)
    return args


def choose_normaliser(name: str, spelling_folder: Path | None) -> Callable[[str], str]:
    """The normaliser of that name; says so where the English one has no table of spellings."""
    spelling = find_spelling(spelling_folder) if name == "english" else None
    if name == "english" and spelling is None:
        print("British and American spelling count as different: give --spelling WHISPER_FOLDER", file=sys.stderr)
    return load_normaliser(name, spelling)


def read_inputs(
    paths: Sequence[str], *, normaliser: str, spelling: Path | None, paired: bool
) -> dict[str, list[Prediction]]:
    """{path as given: normalised predictions}, ``paired``: all in the order of the first."""
    raw = {path: read_predictions(Path(path)) for path in paths}
    normalise = choose_normaliser(normaliser, spelling)
    inputs = {path: normalise_predictions(predictions, normalise) for path, predictions in raw.items()}
    if paired:
        first, *others = paths
        inputs |= {path: order_like_first(inputs[first], inputs[path], (first, path)) for path in others}
    return inputs


def score_inputs(
    counts: Mapping[str, np.ndarray], *, paired: bool, n_resamples: int, seed: int
) -> tuple[dict[str, ErrorRates], dict[str, ErrorDifference]]:
    """From (U, 6) counts of each path: {path: its rates}, and {path: its difference to the first}, if ``paired``."""
    rates = {path: summarise_errors(table, n_resamples=n_resamples, seed=seed) for path, table in counts.items()}
    if not paired:
        return rates, {}
    first, *others = counts
    tables = [counts[path] for path in others]
    differences = compare_errors(counts[first], tables, n_resamples=n_resamples, seed=seed)
    return rates, dict(zip(others, differences))


def to_json(
    rates: Mapping[str, ErrorRates],
    differences: Mapping[str, ErrorDifference],
    searched: Mapping[str, tuple[int, int]],
) -> dict[str, dict[str, object]]:
    """{path: what ``--json`` documents, and against which other input it was compared}."""
    first = next(iter(rates))
    against = {path: {"against": {"path": first} | difference._asdict()} for path, difference in differences.items()}
    searches = {
        path: {"search_errors": errors, "n_wrong_utterances": wrong} for path, (errors, wrong) in searched.items()
    }
    return {path: found._asdict() | searches.get(path, {}) | against.get(path, {}) for path, found in rates.items()}


def format_rates(rates: Mapping[str, ErrorRates]) -> str:
    """A table: a line for each input, with its rates, their 95 % intervals and the edits."""
    rows = [["input", "WER", "[95 %]", "CER", "[95 %]", "sub", "del", "ins", "words", "utterances"]]
    for path, found in rates.items():
        shown = [f"{found.wer:.3f}", _format_ci(found.wer_ci), f"{found.cer:.3f}", _format_ci(found.cer_ci)]
        edits = (found.substitutions, found.deletions, found.insertions, found.n_words, found.n_utterances)
        rows.append([path, *shown, *map(str, edits)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in rows
    )


def _format_ci(interval: tuple[float, float], sign: str = "") -> str:
    low, high = interval
    return f"[{low:{sign}.3f}, {high:{sign}.3f}]"


def format_differences(differences: Mapping[str, ErrorDifference]) -> str:
    """A line for each comparison, marked * where the adjusted p-value is below .05."""
    return "\n".join(
        f"{path}  {found.wer_difference:+.3f}  {_format_ci(found.ci, '+')}  p = {found.p_adjusted:.4f}"
        + (" *" if found.p_adjusted < SIGNIFICANCE_LEVEL else "")
        for path, found in differences.items()
    )


def print_worst(path: str, predictions: Sequence[Prediction], counts: np.ndarray, n_worst: int) -> None:
    """The utterances with most word errors, worst first, word under word."""
    errors, words = word_columns(counts)
    order = [place for place in np.argsort(-errors, kind="stable")[:n_worst].tolist() if errors[place]]
    if not order:
        return
    print(f"\nworst of {path}: S substituted, D deleted, I inserted")
    colour, width = wants_colour(sys.stdout), terminal_width()
    for place in order:
        name, reference, hypothesis = predictions[place]
        print(f"\n{name}: {errors[place]} errors, {words[place]} words")
        print(format_alignment(align_words(reference, hypothesis), colour=colour, width=width))


def main() -> None:
    args = parse_args()
    paired = not args.unpaired
    inputs = read_inputs(args.input, normaliser=args.normaliser, spelling=args.spelling, paired=paired)
    counts = {path: count_errors(predictions) for path, predictions in inputs.items()}
    rates, differences = score_inputs(counts, paired=paired, n_resamples=args.n_resamples, seed=args.seed)
    print(f"normaliser: {args.normaliser}")
    print(format_rates(rates))
    searched = {path: found for path in args.input if (found := count_search_errors(Path(path)))}
    for path, (errors, wrong) in searched.items():
        print(f"search errors of {path}: {errors} of {wrong} wrong utterances")
    if differences:
        print(f"\nWER minus that of {args.input[0]}, paired; p of a permutation test, adjusted for their number")
        print(format_differences(differences))
    for path, predictions in inputs.items():
        print_worst(path, predictions, counts[path], args.worst)
    if args.json:
        write_json(args.json, to_json(rates, differences, searched))
        print(f"\nwrote {args.json}")


if __name__ == "__main__":
    run_main(main)
