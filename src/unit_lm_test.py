"""Score a language model of units on held-out speech: bits a second, and which of two continuations is real.

Bits a second are comparable over units, frames and tokens of phase 2: the fewer, the better it foresees. Beside it
stand an n-gram (Kneser-Ney), the unigram, and other trained models (--compare), such as one that learnt from shuffled
units. Reads a trained model and its corpora; writes exp/<name>/scores.json and prints tables with 95 % intervals.

    python src/unit_lm_test.py --exp exp/spanish_unit_lm
    python src/unit_lm_test.py --exp exp/spanish_unit_lm --compare exp/spanish_unit_lm_shuffled

More: docs/language_model.md.
"""

import core.quiet_start

import argparse
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from core.cli import HELP_FORMATTER, configure_log, parse_flags, require_positive, run_main
from core.device import choose_device, has_fast_bf16
from core.errors import UserError
from core.files import write_json
from languages import data_root
from training.experiment import require_finished
from unit_lm.duration_bits import count_durations
from unit_lm.real_or_not import FALSE_KINDS, make_choices, read_words
from unit_lm.saved_lm import WEIGHTS, load_unit_lm
from unit_lm.scores import (
    compare_bits,
    compare_choices,
    format_scores,
    judge_all,
    measure_bits,
    summarise_bits,
    summarise_choices,
)
from unit_lm.systems import System, choose_kneser_ney, model_system, name_of, unigram_system
from unit_lm.utterances import UnitUtterance, read_utterances, seconds_of
from units.phase1_inputs import find_inputs
from units.selection import read_selection

log = logging.getLogger("oral_units")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder of the language model")
    parser.add_argument(
        "--compare", type=Path, nargs="+", default=[], help="experiment folders of others, on the same utterances"
    )
    parser.add_argument("--split", default="test", choices=("test", "val", "train"), help="split of the corpora")
    parser.add_argument(
        "--checkpoint", default="best", choices=("best", "latest"), help="best by validation, or latest"
    )
    parser.add_argument(
        "--weights", choices=sorted(WEIGHTS), default="averaged", help="of --exp: averaged, or the last"
    )
    parser.add_argument("--allow_unfinished", action="store_true", help="score a training that has not finished yet")
    group = parser.add_argument_group("which is real")
    group.add_argument("--prompt_seconds", type=float, default=2.0, help="how much of an utterance is given")
    group.add_argument("--continuation_seconds", type=float, default=2.0, help="how much behind it is true or false")
    group.add_argument("--seed", type=int, default=0, help="seed of what is shuffled")
    group = parser.add_argument_group("machine")
    group.add_argument("--mixed_precision", choices=("auto", "no", "bf16"), default="no", help="bf16 is less exact")
    group.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    args = parse_flags(parser, argv)
    args.device = choose_device(args.device)
    require_positive(args, "prompt_seconds", "continuation_seconds")
    return args


def read_split(config: dict, split: str) -> list[UnitUtterance]:
    """The selected utterances of one split, of every language of an experiment."""
    inputs = config["derived"]["inputs"]
    corpora = {language: find_inputs(origin).corpus for language, origin in inputs.items()}
    return read_utterances(corpora, [split], read_selection(config["arguments"]))


def open_systems(
    args: argparse.Namespace, training: list[UnitUtterance], validation: list[UnitUtterance]
) -> tuple[list[System], dict[str, object]]:
    """The model of --exp, its n-gram and unigram, the models of --compare; and what was chosen for the n-gram."""
    bf16 = args.mixed_precision == "bf16" or (args.mixed_precision == "auto" and has_fast_bf16(args.device))
    lm = load_unit_lm(args.exp, args.checkpoint, args.device, weights=args.weights)
    seconds = sum(map(seconds_of, validation))
    ngram = choose_kneser_ney(lm.vocabulary, training, validation, seconds)
    systems = [model_system(name_of(args.exp), lm, bf16=bf16), ngram.system, unigram_system(lm.vocabulary, training)]
    for folder in args.compare:
        other = load_unit_lm(folder, args.checkpoint, args.device)
        if not set(lm.vocabulary.languages) <= set(other.vocabulary.languages):
            raise UserError(f"{folder}: expected the languages of {args.exp}, found others; compare models of the same")
        systems.append(model_system(name_of(folder), other, bf16=bf16))
    names = Counter(system.name for system in systems)
    if max(names.values()) > 1:
        raise UserError(f"--compare: {names.most_common(1)[0][0]} comes twice; name each folder once")
    chosen = {"order": ngram.order, "pooled": ngram.pooled}
    return systems, chosen | {"validation_bits_per_second": ngram.validation_bits_per_second, "step": lm.step}


def main() -> None:
    args = parse_args()
    configure_log()
    for exp in (args.exp, *args.compare):
        if not args.allow_unfinished:
            require_finished(exp, phase="training", command="python src/trainer_unit_lm.py, or --allow_unfinished")
    config = load_unit_lm(args.exp, args.checkpoint).config
    training, validation, held_out = (read_split(config, split) for split in ("train", "val", args.split))
    systems, chosen = open_systems(args, training, validation)
    log.info("Kneser-Ney of order %(order)d, languages pooled: %(pooled)s, chosen on validation", chosen)

    durations = {
        language: count_durations(
            [(one.units, one.durations) for one in training if one.language == language], origin["n_units"]
        )
        for language, origin in config["derived"]["inputs"].items()
    }
    bits = measure_bits(systems, held_out, durations)
    tables = {language: data_root() / language / "words.tsv" for language in durations}
    words = {language: read_words(path) for language, path in tables.items() if path.is_file()}
    lengths = {"prompt_seconds": args.prompt_seconds, "continuation_seconds": args.continuation_seconds}
    choices = make_choices(held_out, words, seed=args.seed, **lengths)
    judged = judge_all(systems, choices)
    first = systems[0].name
    scores = {
        "exp": str(args.exp),
        "checkpoint": args.checkpoint,
        "weights": args.weights,
        "step": chosen.pop("step"),
        "split": args.split,
        "n_utterances": len(held_out),
        "seconds": round(float(bits.seconds.sum()), 2),
        "n_choices": len(choices),
        **lengths,
        "kneser_ney": chosen,
        "bits_per_second": summarise_bits(bits.plain, bits.seconds),
        "timed_bits_per_second": summarise_bits(bits.timed, bits.seconds),
        "differences": compare_bits(bits.plain, bits.seconds, first),
        "by_language": by_language(held_out, bits.plain, bits.seconds),
        "real": summarise_choices(judged),
        "real_differences": compare_choices(judged, first),
    }
    write_json(args.exp / "scores.json", scores)
    print_scores(scores, first)
    print(f"\nwrote {args.exp}/scores.json")


def by_language(held_out: list[UnitUtterance], bits: dict, seconds) -> dict[str, dict]:
    """Bits a second of each system in each language."""
    found = {}
    for language in dict.fromkeys(one.language for one in held_out):
        chosen = [place for place, one in enumerate(held_out) if one.language == language]
        found[language] = summarise_bits({name: values[chosen] for name, values in bits.items()}, seconds[chosen])
    return found


def print_scores(scores: dict, first: str) -> None:
    print(f"{first}, step {scores['step']}: {scores['n_utterances']} utterances of {scores['split']}, ", end="")
    print(f"{scores['seconds']:.1f} s; mean [95 % interval]\n\nbits a second; timed: with what the timing costs\n")
    rates = {name: scores[name] for name in ("bits_per_second", "timed_bits_per_second")}
    print(format_scores(rates, 1))
    print(f"\n{first} minus each, over the same utterances\n")
    print(format_scores({"bits_per_second": scores["differences"]}, 1, signed=True))
    if not scores["real"]:
        print("\nno utterance is long enough for --prompt_seconds and --continuation_seconds")
        return
    print(f"\nwhich is real? {scores['n_choices']} utterances; chance is 0.500\n")
    for kind in scores["real"]:
        print(f"{kind}: {FALSE_KINDS[kind]}")
    print()
    print(format_scores(scores["real"], 3))


if __name__ == "__main__":
    run_main(main)
