"""What is said in several languages, as pairs: data/prompt_pairs/pairs.tsv, for src/trainer_translation.py.

Reads truth.tsv and transcripts.tsv of each language, and joins them by the name of the prompt. All languages of a
prompt fall into one split. Prompts that have the same words in any language are kept together, and only one of them is
ever tested. The same prompts give the same pairs.

    python recipes/prompt_pairs/build_pairs.py
    python recipes/prompt_pairs/build_pairs.py --languages english spanish --n_test 50
"""

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from core.records import SPLITS
from core.tables import parse_seconds, read_table, write_table
from core.text_normalisation import normalise_text
from languages import data_root, language_paths
from translation.pairs import COLUMNS, Pair, Span, pair_row

LANGUAGES = ["english", "spanish", "italian", "russian_prompts"]
TIME_SLACK = 0.02  # s, by which tables may differ


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--languages", nargs="+", default=LANGUAGES, help="two or more with truth.tsv")
    parser.add_argument("--n_test", type=int, default=100, help="prompts to test on")
    parser.add_argument("--n_val", type=int, default=40, help="prompts to choose the model by")
    parser.add_argument("--seed", type=int, default=0, help="which prompts these are")
    parser.add_argument("--out", type=Path, default=None, help="the table (data/prompt_pairs/pairs.tsv)")
    args = parse_flags(parser, argv)
    require_positive(args, "n_test", "n_val")
    if len(set(args.languages)) < 2:
        raise UserError(f"--languages {' '.join(args.languages)}: expected two or more languages")
    return args


def read_prompts(language: str) -> dict[str, Span]:
    """Where each prompt of a language lies, from its first word to its last, and what it says."""
    paths = language_paths(language)
    truth = paths["data"] / "truth.tsv"
    if not truth.is_file():
        raise UserError(f"{truth}: expected the places of prompts, found none; run: bash recipes/{language}/prepare.sh")
    texts = {}
    for line, row in read_table(paths["transcripts"], ("source", "start", "end", "text")):
        texts.setdefault(row["source"], []).append((parse_seconds(row["start"], f"line {line}"), row["text"]))
    spans: dict[str, Span] = {}
    for line, row in read_table(truth, ("source", "start", "end", "prompt")):
        start, end = (parse_seconds(row[name], f"{truth}, line {line}") for name in ("start", "end"))
        known = spans.get(row["prompt"])
        if known and known.recording == row["source"]:
            start, end = min(start, known.start), max(end, known.end)
        found = [text for begin, text in texts.get(row["source"], []) if abs(begin - start) < TIME_SLACK]
        spans[row["prompt"]] = Span(language, row["source"], start, end, " ".join(found[0].split()) if found else "")
    return spans


def group_prompts(prompts: Mapping[str, Mapping[str, Span]]) -> list[list[str]]:
    """Prompts that say the same in any language, together; {prompt: {language: span}} -> groups, sorted."""
    group_of = {name: name for name in prompts}

    def find(name: str) -> str:
        while group_of[name] != name:
            name = group_of[name]
        return name

    first: dict[tuple[str, str], str] = {}
    for name in sorted(prompts):
        for language, span in prompts[name].items():
            text = normalise_text(span.text)
            if text:
                other = first.setdefault((language, text), name)
                group_of[find(name)] = find(other)
    groups: dict[str, list[str]] = {}
    for name in sorted(prompts):
        groups.setdefault(find(name), []).append(name)
    return list(groups.values())


def assign_splits(groups: Sequence[Sequence[str]], n_test: int, n_val: int, seed: int) -> dict[str, str]:
    """The split of each prompt. Of a group in test or val only the first stays; the rest get none."""
    order = list(groups)
    random.Random(seed).shuffle(order)
    if len(order) <= n_test + n_val:
        raise UserError(f"--n_test {n_test} --n_val {n_val}: expected fewer than the {len(order)} that differ in words")
    held_out = ["test"] * n_test + ["val"] * n_val
    splits = {group[0]: split for group, split in zip(order, held_out)}
    return splits | {name: "train" for group in order[len(held_out) :] for name in group}


def make_pairs(prompts: Mapping[str, Mapping[str, Span]], splits: Mapping[str, str]) -> list[Pair]:
    """Every ordered pair of languages of every prompt that has a split."""
    names = sorted(splits, key=lambda name: (SPLITS.index(splits[name]), name))
    return [
        Pair(splits[name], name, source, target)
        for name in names
        for source in prompts[name].values()
        for target in prompts[name].values()
        if source.language != target.language
    ]


def main() -> int:
    args = parse_args()
    by_language = {language: read_prompts(language) for language in args.languages}
    common = set.intersection(*(set(found) for found in by_language.values()))
    prompts = {name: {language: found[name] for language, found in by_language.items()} for name in sorted(common)}
    groups = group_prompts(prompts)
    splits = assign_splits(groups, args.n_test, args.n_val, args.seed)
    pairs = make_pairs(prompts, splits)
    out = args.out or data_root() / "prompt_pairs" / "pairs.tsv"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_table(out, COLUMNS, map(pair_row, pairs))
    counts = ", ".join(f"{list(splits.values()).count(split)} {split}" for split in SPLITS)
    print(f"{out}: {len(pairs)} pairs of {len(common)} common prompts ({counts})", file=sys.stderr)
    left = len(common) - len(splits)
    print(f"left out {left} prompts that say the same as one held out", file=sys.stderr)
    return 0


if __name__ == "__main__":
    run_main(main)
