"""Write units in the formats of other tools, and read theirs: each way round, nothing is trained.

Reads phase 1's corpus_timestamped.json and writes a folder for SlamKit, textlesslib, spreadsheets and others.
With --from it reads such files and makes a phase 1 folder of them, on which phases 2 and 3 stand.

    python src/export_units.py --language spanish --format csv --out exchange/spanish
    python src/export_units.py --exp exp/spanish_units_w4 --format hf --out exchange/spanish_w4
    python src/export_units.py --language spanish --tag theirs --from unit-hifigan --input their_folder

More: docs/exchange.md.
"""

import core.quiet_start

import argparse
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from core.cli import HELP_FORMATTER, configure_log, given_flags, parse_flags, require_positive, run_main
from core.errors import UserError
from core.frames import UNIT_RATE
from core.locks import only_run
from core.records import SPLITS, Utterance
from languages import add_language_flags, command_for, data_root, language_paths
from training.experiment import is_finished, mark_finished, open_experiment, read_derived, require_finished
from units.corpus import read_corpus
from units.exchange_formats import FORMATS, Surroundings, describe_loss
from units.exchange_import import complete_utterances, describe_counts, new_counts, read_segments, survey_units
from units.exchange_reading import find_files, read_foreign
from units.exchange_writing import check_out, check_streams, count_utterances, first_stream, write_units
from units.kmeans import load_kmeans, read_description, save_kmeans, unit_counts
from units.shards import write_counted

WRITING_FLAGS = ("format", "out", "first_stream")
READING_FLAGS = ("input", "split", "input_rate", "n_units", "kmeans")
log = logging.getLogger("oral_units")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    common = parser.add_argument_group("both ways")
    common.add_argument("--exp", type=Path, default=None, help="phase 1 folder; by default the language's")
    common.add_argument("--overwrite", action="store_true", help="replace what an earlier run wrote there")
    known = "; ".join(f"{name} for {form.reader}" for name, form in FORMATS.items())
    writing = parser.add_argument_group("writing for other tools")
    writing.add_argument("--format", choices=sorted(FORMATS), default=None, help=known)
    writing.add_argument("--out", type=Path, default=None, help="folder for the files")
    writing.add_argument(
        "--first_stream", action="store_true", help="of several streams write the first alone; most formats hold one"
    )
    reading = parser.add_argument_group("reading from other tools")
    reading.add_argument("--from", dest="source", choices=sorted(FORMATS), default=None, help="their format")
    reading.add_argument("--input", type=Path, default=None, help="their file, or a folder of them")
    reading.add_argument(
        "--split", choices=SPLITS, default=None, help="split of utterances for which neither file nor segments.jsonl"
    )
    reading.add_argument("--input_rate", type=int, default=UNIT_RATE, help="their units a second; 50 is a multiple")
    reading.add_argument("--n_units", type=int, default=None, help="how many kinds; by default the largest id plus 1")
    reading.add_argument(
        "--kmeans", type=Path, default=None, help="kmeans.npz of these units, to speak from recordings as well"
    )
    args = parse_flags(parser, argv)
    check_direction(args, given_flags(parser, argv))
    return args


def check_direction(args: argparse.Namespace, given: set[str]) -> None:
    """One way at a time, with the flags of that way."""
    if (args.format is None) == (args.source is None):
        raise UserError("expected --format NAME --out FOLDER to write, or --from NAME --input PATH to read; give one")
    other, needed = (READING_FLAGS, "out") if args.format else (WRITING_FLAGS, "input")
    foreign = sorted(given.intersection(other))
    if foreign:
        raise UserError(f"--{foreign[0]} belongs to the other direction; leave it out, or see --help")
    if getattr(args, needed) is None:
        raise UserError(f"--{'format' if args.format else 'from'} needs --{needed}")
    require_positive(args, "n_units", "input_rate")
    if UNIT_RATE % args.input_rate:
        raise UserError(f"--input_rate {args.input_rate}: expected a divisor of {UNIT_RATE}, such as 25 or 10")


# Writing.


def export(args: argparse.Namespace, exp: Path) -> None:
    """Phase 1's utterances as files of ``--format`` in ``--out``."""
    require_finished(exp, phase="phase 1", command=command_for("run_phase1.sh", args.language, args.tag))
    check_out(args.out, args.overwrite)
    derived, corpus = read_derived(exp), exp / "corpus_timestamped.json"
    n_streams = 1 if args.first_stream else derived.get("n_streams", 1)
    check_streams(args.format, n_streams)
    splits, n_utterances, all_speak = count_utterances(read_corpus(corpus))
    language = derived.get("language") or args.language or exp.name
    around = Surroundings(language, data_root(), n_streams, all_speak)
    passes = max(len(FORMATS[args.format].files), 1)
    with tqdm(total=n_utterances * passes, desc="writing", unit=" utterances", disable=None) as bar:

        def utterances(wanted: Sequence[str]) -> Iterator[Utterance]:
            for utterance in read_corpus(corpus, splits=wanted):
                yield first_stream(utterance) if args.first_stream else utterance
                bar.update()

        n_files = write_units(args.out, args.format, utterances, splits, around)
    log.info("wrote %d utterances in %d files to %s", n_utterances, n_files, args.out)
    if lost := describe_loss(args.format):
        log.info("%s has no place for: %s", args.format, lost)


# Reading.


def bring(args: argparse.Namespace, exp: Path, manifest: Path) -> None:
    """Their files as a phase 1 folder ``exp``."""
    files = find_files(args.source, args.input)
    segments, counts = read_segments(manifest), new_counts()
    found, n_streams = survey_units(show(read_foreign(args.source, files, args.input_rate), "looking"), args.input)
    n_units = choose_n_units(args, found, n_streams)
    derived = {
        "language": args.language,
        "encoder": None,
        "layer": None,
        "n_units": n_units,
        "n_streams": n_streams,
        "unit_rate": UNIT_RATE,
        "made_elsewhere": args.source,
        "data_root": str(data_root()),
    }
    # What a stopped or refused run left is no phase 1; a finished one is kept unless --overwrite.
    if is_finished(exp) and not args.overwrite:
        raise UserError(f"{exp}: exists already; --overwrite starts over, --exp names another")
    flags = vars(args) | {"resume": None, "overwrite": (exp / "config.json").exists()}
    inputs = [*files, *([manifest] if manifest.is_file() else []), *([args.kmeans] if args.kmeans else [])]
    open_experiment(exp, flags, inputs=inputs, derived=derived | describe_kmeans(args.kmeans))
    if args.kmeans:
        clusters = load_kmeans(args.kmeans)
        save_kmeans(exp, clusters, read_description(clusters))
    foreign = show(read_foreign(args.source, files, args.input_rate), "reading")
    utterances = complete_utterances(foreign, segments, data_root(), args.split, counts)
    totals = write_counted(exp / "corpus_timestamped.json", utterances, n_units, n_streams)
    mark_finished(exp, totals | {"n_failed": 0, "failed": [], "n_without_audio": len(counts.without_audio)})
    say_what_was_read(args, exp, totals, describe_counts(counts, bool(segments.by_id)))


def show(found: Iterable, what: str) -> Iterator:
    return iter(tqdm(found, desc=what, unit=" utterances", disable=None))


def choose_n_units(args: argparse.Namespace, found: int, n_streams: int) -> int:
    """``--n_units``, the clusters' number, or as many as were found; refuses fewer than were found."""
    clusters = load_kmeans(args.kmeans) if args.kmeans else None
    if clusters and read_description(clusters) is None:
        raise UserError(f"--kmeans {args.kmeans}: does not say which encoder it belongs to; leave it out")
    n_units = args.n_units or (unit_counts(clusters)[0] if clusters else found)
    if found > n_units or (clusters and unit_counts(clusters) != (n_units, n_streams)):
        described = f" and clusters for {unit_counts(clusters)} units and streams" if clusters else ""
        raise UserError(f"expected units below {n_units}, found {found - 1} in {n_streams} stream(s){described}")
    return n_units


def describe_kmeans(kmeans: Path | None) -> dict[str, object]:
    """The encoder that the clusters belong to, as ``derived`` names it."""
    if kmeans is None:
        return {}
    description = read_description(load_kmeans(kmeans))
    return {"encoder": description["encoder"], "layer": description["layer"], "encoder_options": description["options"]}


def say_what_was_read(args: argparse.Namespace, exp: Path, totals: dict, remarks: Sequence[str]) -> None:
    for remark in remarks:
        log.warning("%s", remark)
    log.info("%s: %d utterances, %.2f h", exp, totals["n_utterances"], totals["hours"])
    if not args.kmeans:
        log.info("without --kmeans no recording can be turned into these units here: voices will speak units alone")
    log.info("next: %s", command_for("run_phase2.sh", args.language, args.tag))


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    configure_log()
    if args.format:
        exp = args.exp or language_paths(args.language, args.tag, may_be_new=True)["units"]
        with only_run(args.out):
            export(args, exp)
        return
    paths = language_paths(args.language, args.tag, may_be_new=True)
    exp = args.exp or paths["units"]
    with only_run(exp):
        bring(args, exp, paths["manifest"])


if __name__ == "__main__":
    run_main(main)
