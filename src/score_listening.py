"""What a listening test says: which voice is preferred, grades, words, with intervals, and who clicked at random.

Reads the files of answers that the listeners gave back and the key of src/build_listening_test.py; prints tables and,
with --json, writes them.

    python src/score_listening.py answers/*.json --key listening/test.key.json
    python src/score_listening.py answers/*.json --key listening/test.key.json --leave_out "Ana" --json scores.json

Listeners who may have clicked at random are named, and never left out unless you say so. More: docs/listening.md.
"""

import core.quiet_start

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from core.exit_codes import EXIT_SOME_FAILED
from core.files import write_json
from core.records import ListeningKey
from evaluation.bootstrap import Interval
from evaluation.listening import (
    Judgement,
    ListenerRow,
    PairResult,
    SystemResult,
    agreement,
    chance_of_words,
    describe_listeners,
    first_answers,
    hardest_items,
    merge_listeners,
    read_judgements,
    score_pairs,
    score_systems,
)
from evaluation.listening_files import read_answers, read_key

N_HARDEST = 5
TITLES = {
    "preference": "Which one sounds better?",
    "abx": "Which one is the same as X? (chance: .500)",
    "mos": "Grades, 1 to 5",
    "words": "Words understood",
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("answers", nargs="+", type=Path, metavar="FILE", help="answers_….json of the listeners")
    parser.add_argument("--key", type=Path, required=True, help="the key that lies beside the page, ….key.json")
    parser.add_argument("--leave_out", nargs="+", default=[], metavar="LISTENER", help="listeners that do not count")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    return parse_flags(parser, argv)


def collect(
    paths: Sequence[Path], key: ListeningKey, left_out: Sequence[str]
) -> tuple[list[Judgement], list[ListenerRow], list[str]]:
    """All judgements, a row for each listener, and a line for each file that could not be used."""
    read, failed = [], []
    for path in paths:
        try:
            read.append((str(path), read_answers(path, key)))
        except UserError as error:
            failed.append(str(error))
    merged, said = merge_listeners(read)
    for line in said:
        print(f"warning: {line}", file=sys.stderr)
    names = {answers["listener"] for answers in merged}
    if strange := [name for name in left_out if name not in names]:
        raise UserError(f"--leave_out {strange[0]}: expected one of {', '.join(sorted(names))}")
    kept = [answers for answers in merged if answers["listener"] not in left_out]
    judgements = [row for answers in kept for row in read_judgements(answers, key)]
    return judgements, describe_listeners(kept, judgements), failed


def show(interval: Interval | None, digits: int, *, signed: bool = False) -> str:
    if interval is None:
        return "-"
    plus = "+" if signed else ""
    low, high = f"{interval.low:{plus}.{digits}f}", f"{interval.high:{plus}.{digits}f}"
    return f"{interval.mean:{plus}.{digits}f} [{low}, {high}]"


def print_pairs(results: Sequence[PairResult], kind: str) -> None:
    for row in results:
        pair = f"{row.first} against {row.second}"
        said = "preferred" if kind == "preference" else "told apart"
        ties = f"; no difference: {row.ties:.0%}" if kind == "preference" else ""
        print(f"  {pair}: {said} {show(row.share, 3)}, n={row.share.n}{ties}")


def print_systems(results: Sequence[SystemResult], digits: int) -> None:
    width = max(len(row.system) for row in results)
    for row in results:
        minus = f"  minus {results[0].system}: {show(row.difference, digits, signed=True)}" if row.difference else ""
        print(f"  {row.system.ljust(width)}  {show(row.mean, digits)}  n={row.mean.n}{minus}")


def print_listeners(rows: Sequence[ListenerRow]) -> None:
    print("\nListeners")
    width = max(len(row.listener) for row in rows)
    for row in rows:
        agree, asked = row.repeats_agree
        state = "" if row.finished else "; not finished"
        again = f"the same again in {agree} of {asked}" if asked else "none asked again"
        print(
            f"  {row.listener.ljust(width)}  {row.n_answers} answers, {row.median_seconds:.1f} s each, {again}{state}"
        )
        for warning in row.warnings:
            print(f"  {' ' * width}  may not have listened: {warning}")


def score_kind(judgements: Sequence[Judgement], kind: str, systems: Sequence[str]) -> dict[str, object]:
    """Print one kind's table; returns it as it is written to --json."""
    print(f"\n{TITLES[kind]}")
    alpha = agreement(judgements, kind)
    if kind in ("preference", "abx"):
        results = score_pairs(judgements, kind)
        print_pairs(results, kind)
    else:
        results = score_systems(judgements, kind, systems)
        print_systems(results, 2 if kind == "mos" else 3)
    found: dict[str, object] = {"results": [as_dict(row) for row in results], "krippendorff_alpha": alpha}
    if kind == "words":
        found["chance"] = chance_of_words(judgements)
        print(f"  by chance: {found['chance']:.3f}")
    if kind in ("mos", "words"):
        lowest = hardest_items(judgements, kind, N_HARDEST)
        found["lowest"] = [dict(zip(("system", "utterance", "mean", "n"), row)) for row in lowest]
        for system, utterance, mean, n in lowest:
            print(f"  lowest: {mean:.2f}  {system}, {utterance}  n={n}")
    if alpha is not None:
        print(f"  agreement of the listeners (Krippendorff's alpha): {alpha:.2f}")
    return found


def as_dict(row: PairResult | SystemResult) -> dict[str, object]:
    return {name: value._asdict() if isinstance(value, Interval) else value for name, value in row._asdict().items()}


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if args.json and args.json.resolve() in {path.resolve() for path in (args.key, *args.answers)}:
        raise UserError(f"--json {args.json}: expected a new file, found one that is read; give another name")
    key = read_key(args.key)
    judgements, rows, failed = collect(args.answers, key, args.leave_out)
    for line in failed:
        print(f"error: {line}", file=sys.stderr)
    if not judgements:
        raise UserError(f"{args.key}: expected answers to this test, found none in {len(args.answers)} files")
    print(f"{key['title']}: listeners {len(rows)}, answers {len(judgements)}")
    kinds = [kind for kind in TITLES if first_answers(judgements, kind)]
    scores = {kind: score_kind(judgements, kind, key["systems"]) for kind in kinds}
    print_listeners(rows)
    if len(rows) == 1:
        print("\none listener: the intervals speak of other sentences, not of other people")
    if args.json:
        listeners = [row._asdict() for row in rows]
        write_json(args.json, {"test": key["test"], "listeners": listeners, "kinds": scores, "failed": failed})
        print(f"\nwrote {args.json}")
    return EXIT_SOME_FAILED if failed else 0


if __name__ == "__main__":
    run_main(main)
