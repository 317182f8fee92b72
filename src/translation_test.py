"""Score a translator on held-out pairs: retrieval, whether it listens, and what is understood of its speech.

Retrieval: which of all held-out targets does the model prefer for a source? Beside it stand chance, a model of lengths
alone, and other experiments (--compare), such as one that learnt from shuffled pairs. With --voice and --asr it also
speaks, and a Whisper reads what it says. Reads a trained model, its table of pairs and its units; writes
exp/<name>/scores.json and prints tables with 95 % intervals.

    python src/translation_test.py --exp exp/english_spanish_translation
    python src/translation_test.py --exp exp/english_spanish_translation --compare exp/shuffled

More: docs/translation.md.
"""

import core.quiet_start

import argparse
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.cli import HELP_FORMATTER, configure_log, parse_flags, require_positive, run_main
from core.device import choose_device
from core.errors import UserError
from core.files import write_json
from core.locks import only_run
from core.records import MetricScore
from training.experiment import require_finished
from translation.examples import Example
from translation.pairs import Pair, of_split
from translation.retrieval import (
    RANKS,
    WAYS,
    compare_ranks,
    fit_lengths,
    join_sources,
    length_scores,
    measure_listening,
    score_meaning,
    score_ways,
    summarise_ranks,
)
from translation.saved_pairs import prepare_examples, read_experiment_pairs
from translation.saved_translator import WEIGHTS, LoadedTranslator, load_translator
from translation.scoring import nats_matrix, score_pairs
from translation.spans import span_seconds
from translation.speaking import TranslationVoice, open_translation_voice, read_aloud, speak_targets, speak_translations
from translation.speech_scores import score_readings

log = logging.getLogger("oral_units")

SPOKEN = "translated"  # in --exp: what was spoken
TOGETHER = "together"  # the sources of all languages at once


class Scored(NamedTuple):
    """What one experiment makes of the held-out pairs of one source language."""

    ways: dict[str, np.ndarray]  # (N, N) scores by way
    listening: dict[str, MetricScore]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder of the translator")
    parser.add_argument(
        "--compare", type=Path, nargs="+", default=[], help="experiment folders of others, on the same pairs"
    )
    parser.add_argument("--split", default="test", choices=("test", "val", "train"), help="split of the pairs")
    parser.add_argument(
        "--source", action="append", default=[], metavar="LANGUAGE", help="only from this language (default: from all)"
    )
    parser.add_argument(
        "--checkpoint", default="best", choices=("best", "latest"), help="best by validation, or latest"
    )
    parser.add_argument("--weights", choices=sorted(WEIGHTS), default="averaged", help="averaged, or the last")
    parser.add_argument("--allow_unfinished", action="store_true", help="score a training that has not finished yet")
    group = parser.add_argument_group("speech")
    group.add_argument("--voice", type=Path, default=None, help="experiment folder of the target's vocoder, or a voice")
    group.add_argument("--prosody", type=Path, default=None, help="folder of the prosody predictor for --voice")
    group.add_argument("--asr", default=None, metavar="WHISPER", help="folder or hub id of a Whisper that reads it")
    group.add_argument("--n_spoken", type=int, default=30, help="translations that are spoken and read")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    args = parse_flags(parser, argv)
    args.device = choose_device(args.device)
    require_positive(args, "n_spoken")
    if bool(args.voice) != bool(args.asr):
        raise UserError("--voice and --asr go together: the voice speaks, the Whisper reads it")
    if args.prosody and not args.voice:
        raise UserError("--prosody belongs to --voice; leave it out")
    return args


def score_source(loaded: LoadedTranslator, examples: Sequence[Example], title: str) -> Scored:
    """Every target behind every source: the costly part."""
    pairs = score_pairs(loaded.model, loaded.allowed, examples)
    meaning = {"meaning": score_meaning(pairs, loaded.model.log_sharpness.exp().item())}
    if not loaded.model.speaks:
        return Scored(meaning, {})
    sources, targets = [one.source for one in examples], [one.target for one in examples]
    nats = nats_matrix(loaded.model, loaded.allowed, sources, targets, title=title)
    return Scored(score_ways(nats, pairs) | meaning, measure_listening(nats, pairs))


def from_language(examples: Sequence[Example], language: str) -> list[Example]:
    return [one for one in examples if one.pair.source.language == language]


def score_lengths(pairs: Sequence[Pair], examples: Sequence[Example], language: str) -> np.ndarray:
    """(N, N) scores of a model that knows the lengths of the training pairs, and nothing else."""
    training = [pair for pair in of_split(pairs, "train") if pair.source.language == language]
    seconds = [(span_seconds(pair.source), span_seconds(pair.target)) for pair in training]
    held_out = [(span_seconds(one.pair.source), span_seconds(one.pair.target)) for one in examples]
    return length_scores(fit_lengths(seconds), held_out)


def open_systems(args: argparse.Namespace) -> dict[str, LoadedTranslator]:
    """The model of --exp and those of --compare, by name."""
    folders = [args.exp, *args.compare]
    names = Counter(folder.resolve().name for folder in folders)
    if max(names.values()) > 1:
        raise UserError(f"--compare: {names.most_common(1)[0][0]} comes twice; name each folder once")
    for folder in folders:
        if not args.allow_unfinished:
            require_finished(folder, phase="training", command="python src/trainer_translation.py")
    found = {
        folder.resolve().name: load_translator(folder, args.checkpoint, args.device, weights=args.weights)
        for folder in folders
    }
    targets = {name: loaded.config["derived"]["target"] for name, loaded in found.items()}
    if len(set(targets.values())) > 1:
        raise UserError(f"--compare: expected one target, found {', '.join(sorted(set(targets.values())))}")
    return found


def score_systems(
    args: argparse.Namespace, systems: dict[str, LoadedTranslator], pairs: Sequence[Pair]
) -> tuple[dict[str, dict[str, Scored]], dict[str, list[Example]]]:
    """{source language: {system: what it makes of it}}, and the pairs of each language, the same for all systems."""
    heard = {name: prepare_examples(loaded, pairs, args.split, args.device) for name, loaded in systems.items()}
    prompts = set.intersection(*({one.pair.prompt for one in some} for some in heard.values()))
    known = {name: loaded.hearing.vocabulary.languages for name, loaded in systems.items()}
    languages = args.source or next(iter(systems.values())).config["derived"]["sources"]
    scored: dict[str, dict[str, Scored]] = {}
    tested: dict[str, list[Example]] = {}
    for language in languages:
        scored[language] = {}
        for name, loaded in systems.items():
            if language not in known[name]:
                continue
            chosen = [one for one in from_language(heard[name], language) if one.pair.prompt in prompts]
            scored[language][name] = score_source(loaded, chosen, f"{name}, {language}")
            tested.setdefault(language, chosen)
    return scored, tested


def add_lengths(one: Scored, lengths: np.ndarray) -> Scored:
    """With the sum of what is meant and of lengths: the contrast learns among targets of like length."""
    return one._replace(ways=one.ways | {"meaning+lengths": one.ways["meaning"] + lengths})


def summarise(
    scored: dict[str, dict[str, Scored]], lengths: dict[str, np.ndarray], first: str
) -> dict[str, dict[str, object]]:
    """For each source language: the scores of every system and way, and the differences of the first from others."""
    found = {}
    for language, known in scored.items():
        systems = {name: add_lengths(one, lengths[language]) for name, one in known.items()}
        tables = {f"{name}/{way}": matrix for name, one in systems.items() for way, matrix in one.ways.items()}
        tables["lengths"] = lengths[language]
        found[language] = {
            "n_targets": len(lengths[language]),
            "chance": {f"recall_at_{rank}": rank / len(lengths[language]) for rank in RANKS},
            "retrieval": {name: summarise_ranks(matrix) for name, matrix in tables.items()},
            "differences": {
                f"{first}/{way} - {other}": compare_ranks(tables[f"{first}/{way}"], tables[other])
                for way in systems[first].ways
                for other in ("lengths", *(f"{name}/{way}" for name in systems if name != first))
                if other in tables
            },
            "listening": {name: one.listening for name, one in systems.items()},
        }
    return found


def ask_together(
    scored: dict[str, dict[str, Scored]], lengths: dict[str, np.ndarray], tested: dict[str, list[Example]]
) -> tuple[dict[str, Scored], np.ndarray] | None:
    """The same targets asked for in all source languages at once; None where there is one, or prompts differ."""
    prompts = {tuple(one.pair.prompt for one in some) for some in tested.values()}
    if len(tested) < 2 or len(prompts) > 1:
        return None
    names = set.intersection(*(set(systems) for systems in scored.values()))
    joined = {
        name: Scored({way: join_sources([scored[one][name].ways[way] for one in scored]) for way in some.ways}, {})
        for name, some in next(iter(scored.values())).items()
        if name in names
    }
    return joined, join_sources(list(lengths.values()))


def speak_and_read(
    args: argparse.Namespace, loaded: LoadedTranslator, examples: Sequence[Example]
) -> dict[str, object]:
    """BLEU and chrF of what a Whisper reads in the translations, in the true targets so spoken, and by mistake."""
    some = [one for one in examples if one.pair.target.text][:: max(1, len(examples) // args.n_spoken)][: args.n_spoken]
    if len(some) < 2:
        raise UserError("--asr: expected texts of the targets in the table of pairs, found none; add target_text")
    if not loaded.model.speaks:
        raise UserError(f"--voice: {args.exp} learnt retrieval alone, and says nothing; train it with --token_weight 1")
    voice: TranslationVoice = open_translation_voice(args.voice, args.prosody, loaded, args.device)
    target = loaded.config["derived"]["target"]
    folder = args.exp / SPOKEN
    spoken = {"translation": speak_translations(voice, loaded, some), "true_units": speak_targets(voice, loaded, some)}
    readings = read_aloud(spoken, folder, args.asr, target, args.device)
    texts = [one.pair.target.text for one in some]
    found: dict[str, object] = {name: score_readings(heard, texts) for name, heard in readings.items()}
    found["translation_of_another"] = score_readings(readings["translation"], [*texts[1:], texts[0]])
    rows = [
        {"prompt": one.pair.prompt, "text": text} | {name: heard[place] for name, heard in readings.items()}
        for place, (one, text) in enumerate(zip(some, texts))
    ]
    return {"n": len(some), "source": some[0].pair.source.language, "scores": found, "utterances": rows}


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    configure_log()
    with only_run(args.exp / SPOKEN):
        score(args)


def score(args: argparse.Namespace) -> None:
    systems = open_systems(args)
    first = next(iter(systems))
    pairs = read_experiment_pairs(systems[first].config)
    scored, tested = score_systems(args, systems, pairs)
    lengths = {language: score_lengths(pairs, some, language) for language, some in tested.items()}
    joined = ask_together(scored, lengths, tested)
    if joined:
        scored[TOGETHER], lengths[TOGETHER] = joined
    scores = {
        "exp": str(args.exp),
        "checkpoint": args.checkpoint,
        "weights": args.weights,
        "step": systems[first].step,
        "split": args.split,
        "ways": WAYS,
        "by_source": summarise(scored, lengths, first),
    }
    if args.voice:
        scores["speech"] = speak_and_read(args, systems[first], next(iter(tested.values())))
    write_json(args.exp / "scores.json", scores)
    print_scores(scores)
    print(f"\nwrote {args.exp}/scores.json")


def print_scores(scores: dict) -> None:
    for language, found in scores["by_source"].items():
        n = found["n_targets"]
        print(f"\nfrom {language}: {n} sources, {n} targets; mean [95 % interval]\n")
        print(f"{'':44}{'R@1':>26}{'R@10':>26}")
        print(f"{'chance':44}{1 / n:>26.3f}{min(1, 10 / n):>26.3f}")
        for side in ("retrieval", "differences"):
            for name, row in found[side].items():
                print(f"{name:44}" + "".join(_cell(row[f"recall_at_{rank}"], side) for rank in RANKS))
            print()
        for name, row in found["listening"].items():
            if row:
                told = ", ".join(f"{key} {value['mean']:.3f}" for key, value in row.items())
                print(f"{name}: nats a token: {told}")
    for name, row in scores.get("speech", {}).get("scores", {}).items():
        print(f"{name}: " + ", ".join(f"{key}{_cell(value, 'retrieval', 1)}" for key, value in row.items()))


def _cell(score: MetricScore, side: str, decimals: int = 3) -> str:
    sign = "+" if side == "differences" else ""
    mean, low, high = (f"{score[key]:{sign}.{decimals}f}" for key in ("mean", "low", "high"))
    return f"{f'{mean} [{low}, {high}]':>26}"


if __name__ == "__main__":
    run_main(main)
