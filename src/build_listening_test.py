"""A listening test as one page for people without programmers: which voice is better, and are its words understood?

Reads what src/vocoder_test.py left in each experiment; writes a page and a key.

    python src/build_listening_test.py exp/spanish_vocoder_v4 exp/spanish_vocoder_v4_w4 --out listening/test.html
    python src/build_listening_test.py exp/satere_vocoder_v4 --kinds mos words --words words.tsv --page_language pt
    python src/score_listening.py answers/*.json --key listening/test.key.json

The page works without a network, on a telephone, by keyboard and by screen reader. Give it to the listeners, on a USB
stick or by a message; each gives you back a file of answers. The key says whose voice each clip is: keep it to
yourself. The listeners' speech and yours never leave their machines by this page. More: docs/listening.md.
"""

import core.quiet_start

import argparse
import functools
import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audio.audio_io import load_audio
from audio.audio_spans import audio_seconds
from core.cli import HELP_FORMATTER, parse_flags, require_not_negative, require_positive, run_main
from core.commands import as_typed
from core.errors import UserError
from core.files import write_json, write_text
from core.records import ListeningKey
from core.tables import read_text
from evaluation.listening import ORIGINAL
from languages import resolve_in
from report.data import Experiment, load_experiment
from report.listening_page import build_listening_page, read_labels
from report.listening_trials import (
    KINDS,
    Question,
    choose_utterances,
    make_key,
    questions_from_texts,
    read_questions,
)

PAGE_LIMIT_MB = 15.0  # beyond this a telephone opens the page slowly
SAME_SECONDS = 0.01
SECONDS_PER_ANSWER = 6.0  # to think and to click, beside the listening


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("experiments", nargs="+", type=Path, metavar="exp", help="experiment folders (exp/<name>)")
    parser.add_argument(
        "--out", type=Path, default=None, help="page to write; by default listening_test.html in the first experiment"
    )
    group = parser.add_argument_group("what to ask")
    group.add_argument(
        "--kinds",
        nargs="+",
        choices=KINDS,
        default=None,
        help="preference: which of two sounds better; abx: which of two is X; mos: grades from 1 to 5, the original "
        "recordings hidden among them; words: what did you hear. By default preference and mos, for one voice mos",
    )
    group.add_argument("--n_utterances", type=int, default=8, help="test utterances, drawn at random")
    group.add_argument("--max_seconds", type=float, default=8.0, help="longest utterance, in seconds")
    group.add_argument("--with_original", action="store_true", help="compare with the recordings too, in pairs")
    group.add_argument("--words", type=Path, help="table for words: columns utterance, right, wrong_1, wrong_2, …")
    group.add_argument("--n_repeats", type=int, default=3, help="questions of each kind that are asked twice")
    group.add_argument("--overwrite", action="store_true", help="replace a page; answers to it are then lost")
    group.add_argument("--seed", type=int, default=0, help="another seed draws other utterances")
    group = parser.add_argument_group("what the listeners see and hear")
    group.add_argument("--title", default="Listening test", help="heading of the page; it should name no voice")
    group.add_argument("--page_language", default="en", help="en, es, pt, or a JSON file of labels")
    group.add_argument("--instructions", type=Path, help="text file with your own instructions, in paragraphs")
    group.add_argument("--spoken_instructions", type=Path, help="recording of the instructions")
    group.add_argument("--email", default="", help="address for the button that sends answers by e-mail")
    args = parse_flags(parser, argv)
    require_positive(args, "n_utterances", "max_seconds")
    require_not_negative(args, "n_repeats", "seed")
    if args.email and "@" not in args.email:
        raise UserError(f"--email {args.email}: expected an address, as in team@example.org")
    if not args.title.strip():
        raise UserError("--title: expected a heading, found none")
    return args


def check_kinds(kinds: Sequence[str] | None, n_systems: int, with_original: bool) -> list[str]:
    """The kinds in their order; pairs need two voices, or one and the recordings."""
    n_compared = n_systems + with_original
    chosen = kinds or (["preference", "mos"] if n_compared > 1 else ["mos"])
    pairs = [kind for kind in ("preference", "abx") if kind in chosen]
    if pairs and n_compared < 2:
        raise UserError(f"--kinds {pairs[0]}: expected two experiments, found one; give another, or --with_original")
    return [kind for kind in KINDS if kind in chosen]


def audio_path(experiments: dict[str, Experiment], system: str, utterance: str) -> Path:
    """The WAV file of a clip; originals are those of the first experiment."""
    if system == ORIGINAL:
        folder = next(iter(experiments.values())).path / "test" / "original"
    else:
        folder = experiments[system].path / "test" / "resynthesis"
    return resolve_in(folder, f"{utterance}.wav")


def utterances_in_common(experiments: dict[str, Experiment]) -> dict[str, float]:
    """Utterance -> seconds of those that all experiments and the originals have."""
    found = []
    for experiment in experiments.values():
        names = {path.stem for path in (experiment.path / "test" / "resynthesis").glob("*.wav")}
        if not names:
            raise UserError(
                f"{experiment.path}: expected test/resynthesis/*.wav, found none; run: "
                + as_typed("python", "src/vocoder_test.py", "--exp", experiment.path)
            )
        found.append({name for name in names if (experiment.path / "test" / "original" / f"{name}.wav").is_file()})
    common = sorted(set.intersection(*found))
    for name in common:
        require_same_original(experiments, name)
    return {name: audio_seconds(audio_path(experiments, ORIGINAL, name)) for name in common}


def require_same_original(experiments: dict[str, Experiment], utterance: str) -> None:
    """UserError where one id stands for different sentences."""
    lengths = {
        name: audio_seconds(item.path / "test" / "original" / f"{utterance}.wav") for name, item in experiments.items()
    }
    if max(lengths.values()) - min(lengths.values()) > SAME_SECONDS:
        raise UserError(
            f"{utterance}: expected the same recording in all experiments, found "
            + ", ".join(f"{seconds:.2f} s in {name}" for name, seconds in lengths.items())
            + "; score them on the same corpus"
        )


def find_questions(
    args: argparse.Namespace, first: Experiment, chosen: Sequence[str], known: dict[str, float]
) -> dict[str, Question]:
    """The answers to choose from, from the table, else from the texts of the test utterances."""
    if args.words:
        questions = read_questions(args.words)
        strange = sorted(set(questions) - set(known))
        if strange:
            raise UserError(f"{args.words}: expected test utterances, found {strange[0]} ({len(strange)} of that kind)")
        return questions
    scored = first.scores.utterances if first.scores else []
    return questions_from_texts(scored, chosen, np.random.default_rng(args.seed))


def prepare_key(args: argparse.Namespace, experiments: dict[str, Experiment]) -> ListeningKey:
    kinds = check_kinds(args.kinds, len(experiments), args.with_original)
    if args.words and "words" not in kinds:
        raise UserError("--words: expected --kinds words with it")
    known = utterances_in_common(experiments)
    chosen = choose_utterances(known, args.n_utterances, args.max_seconds, np.random.default_rng(args.seed))
    first = next(iter(experiments.values()))
    questions = find_questions(args, first, chosen, known) if "words" in kinds else {}
    utterances = {name: known[name] for name in sorted({*chosen, *questions})}
    return make_key(
        args.title,
        list(experiments),
        utterances,
        kinds,
        questions,
        asked=chosen,
        with_original=args.with_original,
        seed=args.seed,
        test=secrets.token_hex(6),
    )


def choose_out(args: argparse.Namespace) -> Path:
    """Where the page goes; UserError where it would replace one, whose answers would be lost."""
    out = args.out or args.experiments[0] / "listening_test.html"
    if out.is_dir():
        raise UserError(f"--out {out}: expected a file, found a folder; as in {out / 'test.html'}")
    if not args.overwrite and (out.exists() or out.with_suffix(".key.json").exists()):
        raise UserError(f"{out}: is there already, and answers may be too; give another --out, or --overwrite")
    return out


def describe_test(key: ListeningKey, n_repeats: int) -> str:
    """How many questions a listener is asked, and about how long that takes."""
    n_questions, seconds = 0, 0.0
    for kind in KINDS:
        groups: dict[str, float] = {}
        for trial in key["trials"]:
            if trial["kind"] == kind:
                groups[trial["group"]] = sum(key["clips"][clip]["seconds"] for clip in trial["clips"])
        asked = len(groups) + (min(n_repeats, len(groups) // 2) if kind != "words" else 0)
        n_questions += asked
        seconds += asked * (SECONDS_PER_ANSWER + sum(groups.values()) / len(groups)) if groups else 0
    return f"{n_questions} questions, {seconds / 60:.1f} minutes or so a listener"


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    out = choose_out(args)
    loaded = [load_experiment(path) for path in args.experiments]
    experiments = {item.name: item for item in loaded}
    if len(experiments) < len(loaded) or ORIGINAL in experiments:
        names = ", ".join(item.name for item in loaded)
        raise UserError(
            f"expected experiments of different names, none of them original, found {names}; rename a folder"
        )
    labels = read_labels(args.page_language)
    key = prepare_key(args, experiments)
    page = build_listening_page(
        key,
        functools.cache(lambda system, utterance: load_audio(audio_path(experiments, system, utterance))),
        labels,
        instructions=split_paragraphs(args.instructions) if args.instructions else (),
        spoken_instructions=args.spoken_instructions,
        email=args.email,
        n_repeats=args.n_repeats,
    )
    write_text(out, page)
    write_json(out.with_suffix(".key.json"), key)
    megabytes = out.stat().st_size / 1e6
    print(f"wrote {out} ({megabytes:.1f} MB): {describe_test(key, args.n_repeats)}; give it to your listeners")
    print(f"wrote {out.with_suffix('.key.json')}: whose voice each clip is; keep it to yourself")
    print(f"then: python src/score_listening.py answers/*.json --key {as_typed(out.with_suffix('.key.json'))}")
    if megabytes > PAGE_LIMIT_MB:
        print("the page is large: --n_utterances, --max_seconds or fewer --kinds make it smaller")
    return 0


def split_paragraphs(path: Path) -> list[str]:
    """The paragraphs of a text file, parted by empty lines."""
    paragraphs = [" ".join(part.split()) for part in read_text(path).replace("\r\n", "\n").split("\n\n")]
    if not any(paragraphs):
        raise UserError(f"{path}: expected instructions, found an empty file")
    return [paragraph for paragraph in paragraphs if paragraph]


if __name__ == "__main__":
    run_main(main)
