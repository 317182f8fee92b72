"""An audio dictionary: what is said often in the recordings of a language, found by sound alone. No writing needed.

    python src/find_phrases.py --language spanish --out dictionary
    python src/find_phrases.py --language spanish --names names.json --out dictionary

Reads the segments of a language, and its search index (src/index_speech.py), which is made where there is none.
dictionary/ gets phrases.json and phrases.csv: stretches of speech that come back, with every place where they are said.
Those of most speakers and recordings come first. phrases.html opens in any browser, without a network: listen, name
each phrase once, mark what is wrong, and save the file. --names writes these names onto every place. There are clips of
each phrase, phrases.lift for FLEx or The Combine, and annotations for ELAN or Praat. More: docs/dictionary.md.
"""

import core.quiet_start

import argparse
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from annotations.write_annotations import write_recordings
from audio.audio_io import load_audio
from core.cli import (
    HELP_FORMATTER,
    configure_log,
    parse_flags,
    require_not_negative,
    require_positive,
    require_share,
    run_main,
)
from core.errors import UserError
from core.files import write_json, write_text
from core.locks import left_as_found, only_run
from core.output_folder import claim_folder, drop_earlier
from core.records import NamedPhrase, Phrase, PhraseResult
from languages import add_language_flags, data_root, language_paths, resolve_in
from phrases.clusters import cluster_pairs
from phrases.describe import describe_clusters, phrase_spans, write_clips, write_phrases_csv
from phrases.lift import UNKNOWN_LANGUAGE, check_code, write_lift
from phrases.meanings import name_meanings, save_meanings
from phrases.names import apply_names, read_names
from phrases.pairs import FoundPairs, find_pairs
from phrases.runs import find_pauses
from report.listening_page import read_labels
from report.phrases_page import build_phrases_page
from spoken_search.choices import INDEX_FLAGS, add_index_flags, add_output_flags
from spoken_search.index import Index, seconds_of
from spoken_search.preparing import prepare_index

FORMAT, FORMAT_VERSION = "oral-units phrases", 1
EVERYDAY_FLAGS = (
    "language",
    "tag",
    "out",
    "names",
    "min_seconds",
    "n_phrases",
    "clips",
    "format",
    "page_language",
    "encoder",
    "layer",
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("dictionary")
    group.add_argument(
        "--out", type=Path, required=True, help="folder for the dictionary; files of an earlier run are replaced"
    )
    group.add_argument(
        "--names",
        nargs="+",
        type=Path,
        action="extend",
        default=[],
        metavar="FILE",
        help="files saved by the page: their names go onto every place, and what they reject is left out",
    )
    group.add_argument("--min_seconds", type=float, default=0.4, help="the shortest stretch that counts, in seconds")
    group.add_argument(
        "--max_false_share",
        type=float,
        default=0.02,
        help="of the pairs of places, how many may be false, by a search against recordings that are shuffled",
    )
    group.add_argument("--n_phrases", type=int, default=100, help="the most phrases on the page and with clips")
    group.add_argument(
        "--clips", type=int, default=3, help="wav files to cut of each of these phrases, the most typical first"
    )
    group.add_argument("--page_clips", type=int, default=8, help="places of each phrase to listen to on the page")
    add_output_flags(group)
    group.add_argument("--lift_language", default=UNKNOWN_LANGUAGE, help="the language's code in phrases.lift: gn")
    group.add_argument("--gloss_language", default="en", help="code of the language that meanings are written in")
    add_index_flags(parser)
    args = parse_flags(parser, argv, everyday=EVERYDAY_FLAGS)
    require_positive(args, "num_workers", "min_seconds", "n_phrases", "page_clips")
    require_not_negative(args, "clips")
    require_share(args, "max_false_share")
    for flag in ("lift_language", "gloss_language"):
        check_code(f"--{flag}", getattr(args, flag))
    return args


def describe_result(index: Index, args: argparse.Namespace, found: FoundPairs, phrases: list[Phrase]) -> PhraseResult:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "language": args.language,
        "index": index.digest,
        "encoder": index.features["encoder"],
        "layer": index.features["layer"],
        "min_seconds": args.min_seconds,
        "n_pairs": len(found.scores),
        "expected_false_share": round(found.false_share, 4),
        "seconds_searched": round(seconds_of(index), 2),
        "phrases": phrases,
    }


def open_loader() -> Callable[[str], np.ndarray]:
    """A segment's path, relative to DATA_ROOT -> its waveform (S,); the last ones are remembered."""
    root = data_root()
    return functools.lru_cache(maxsize=64)(lambda audio: load_audio(resolve_in(root, audio)))


def write_dictionary(
    args: argparse.Namespace,
    result: PhraseResult,
    load: Callable[[str], np.ndarray],
    labels: Mapping[str, Any],
    named: Sequence[NamedPhrase],
) -> list[Path]:
    """All files of --out; returns the annotation files."""
    out, sounds, phrases = args.out, args.out / "audio", result["phrases"]
    addresses = {phrase["label"]: phrase.get("gloss_audio", "") for phrase in phrases}
    meanings = save_meanings(sounds, phrases)
    result = {**result, "phrases": (phrases := name_meanings(phrases, meanings))}
    write_json(out / "phrases.json", result)
    write_phrases_csv(out / "phrases.csv", phrases)
    clips = write_clips(sounds, phrases[: args.n_phrases], load, args.clips)
    codes = {"language": args.lift_language, "gloss_language": args.gloss_language}
    write_lift(out / "phrases.lift", phrases, clips, meanings, **codes)
    sizes = {"n_phrases": args.n_phrases, "n_clips": args.page_clips}
    page = build_phrases_page(result, load, labels, **sizes, earlier=named, meanings=addresses)
    write_text(out / "phrases.html", page)
    tiers = write_recordings(
        out / "annotations", phrase_spans(phrases), args.format, language_paths(args.language)["raw"]
    )
    heard = [*meanings.values(), *(name for names in clips.values() for name in names)]
    drop_earlier(out, [*tiers, *(sounds / name for name in heard)])
    return tiers


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    configure_log()
    with left_as_found(args.out):
        claim_folder(args.out)
        with only_run(args.out):
            return find_all(args)


def find_all(args: argparse.Namespace) -> int:
    """From the index to the dictionary in --out; returns the exit code."""
    language_paths(args.language)
    named, labels = read_names(args.names, args.language), read_labels(args.page_language, "phrases")
    index = prepare_index(args.language, args.tag, **{name: getattr(args, name) for name in INDEX_FLAGS})
    load = open_loader()
    pauses = find_pauses(index.codes, index.bounds, index.segments, load, len(index.transform.centroids))
    limits = {"min_seconds": args.min_seconds, "max_false_share": args.max_false_share, "seed": args.seed}
    found = find_pairs(index, pauses, **limits)
    phrases = apply_names(describe_clusters(cluster_pairs(found), index.segments), named)
    if not phrases:
        raise UserError(
            f"{args.language}: expected stretches of speech that come back, found none in "
            f"{seconds_of(index) / 60:.1f} minutes; bring more recordings, "
            "or try a smaller --min_seconds or an --encoder"
        )
    written = write_dictionary(args, describe_result(index, args, found, phrases), load, labels, named)
    print(
        f"{seconds_of(index) / 3600:.2f} hours: {len(phrases)} phrases; of the pairs they were made from, "
        f"{100 * found.false_share:.1f} % are false by a search in shuffled recordings: listen before you trust one",
        file=sys.stderr,
    )
    print(
        f"wrote {args.out}: phrases.html to listen to, phrases.json, .csv and .lift, audio, "
        f"{len(written)} annotation files",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    run_main(main, less_memory="mfcc as --encoder")
