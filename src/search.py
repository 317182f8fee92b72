"""Spoken search: give a clip of a word, get every place in the recordings where it may be said. No writing needed.

    python src/search.py --language spanish --query word.wav --out found
    python src/search.py --language spanish --query word.wav again.wav --out found
    python src/search.py --language spanish --query story.mp3@12.3-13.1 --out found

Reads the segments of a prepared language. --query takes any audio file, as from a telephone, or a part of one, in
seconds. Several clips of one word find more than one. found/hits.html opens in any browser, without a network: listen
to each hit, accept or reject it, and save what you decided. Give the saved file back to find more:

    python src/search.py --language spanish --query word.wav --accepted decisions.json --out found

--out also gets hits.json, hits.csv, and a folder of annotations for ELAN or Praat. The first search makes an index of
the language (src/index_speech.py), which takes a while. More: docs/search.md.
"""

import core.quiet_start

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from annotations.write_annotations import write_recordings
from audio.audio_io import load_audio
from core.cli import HELP_FORMATTER, configure_log, parse_flags, require_positive, run_main
from core.device import choose_device
from core.errors import UserError
from core.files import write_json, write_text
from core.locks import left_as_found, only_run
from core.output_folder import claim_folder, drop_earlier
from core.records import Hit, HitDecision, SearchResult
from languages import add_language_flags, data_root, language_paths, resolve_in
from report.listening_page import read_labels
from report.search_page import build_search_page
from spoken_search.choices import INDEX_FLAGS, add_index_flags, add_output_flags
from spoken_search.decisions import accepted_queries, decide, locate, read_decisions
from spoken_search.features import open_search_encoder
from spoken_search.hits import describe_hits, hit_spans, write_hits_csv
from spoken_search.index import Index, seconds_of
from spoken_search.matching import Place, search_index
from spoken_search.own_places import own_places
from spoken_search.preparing import prepare_index
from spoken_search.queries import Query, parse_query, read_query

FORMAT, FORMAT_VERSION = "oral-units search hits", 1
EVERYDAY_FLAGS = (
    "language",
    "tag",
    "query",
    "accepted",
    "out",
    "n_hits",
    "word",
    "format",
    "page_language",
    "encoder",
    "layer",
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("search")
    group.add_argument(
        "--query",
        nargs="+",
        action="extend",
        default=[],
        metavar="CLIP",
        help="clips of one word or phrase, by any speaker: audio files, or FILE@START-END in seconds",
    )
    group.add_argument(
        "--accepted",
        nargs="+",
        type=Path,
        action="extend",
        default=[],
        metavar="FILE",
        help="decisions saved by the page: what was accepted is searched for too, what was rejected is left out",
    )
    group.add_argument(
        "--out", type=Path, required=True, help="folder for the hits; those of an earlier run are replaced"
    )
    group.add_argument("--n_hits", type=int, default=50, help="the most hits to show")
    group.add_argument("--word", default="", help="what the word is called on the page and on the annotation tier")
    add_output_flags(group)
    add_index_flags(parser)
    args = parse_flags(parser, argv, everyday=EVERYDAY_FLAGS)
    require_positive(args, "n_hits", "num_workers")
    if not args.query and not args.accepted:
        raise UserError("expected a clip of the word, as in --query word.wav, found none")
    return args


def require_clips(texts: Sequence[str]) -> None:
    """UserError for a clip that is not there: it is told before an index is made or refused."""
    for text in texts:
        path = parse_query(text).path
        if not path.is_file():
            raise UserError(f"--query {path}: expected an audio file, found none; check the path")


def read_queries(texts: Sequence[str], index: Index, device: str) -> list[Query]:
    """The clips of --query; an encoder is loaded only where there are any."""
    clips = [parse_query(text) for text in texts]
    if not clips:
        return []
    encoder = open_search_encoder(index.features, device)
    return [read_query(clip, encoder, index.transform) for clip in clips]


def search(
    index: Index,
    queries: Sequence[Query],
    decisions: Sequence[HitDecision],
    *,
    own: Sequence[tuple[Place, str]] = (),
    n_hits: int,
    n_threads: int,
) -> list[Hit]:
    """The hits of the queries and of what was accepted, without what was rejected and the queries' ``own`` places."""
    located = [*own, *locate(index, decisions)]
    everything = [*queries, *accepted_queries(index, located)]
    if not everything:
        raise UserError("--accepted: expected an accepted hit, or --query with a clip of the word, found neither")
    found = search_index(index, [query.frames for query in everything], n_threads=n_threads)
    return describe_hits(index, found, n_hits, decide(found.places, located))


def describe_search(index: Index, language: str, word: str, queries: Sequence[Query], hits: list[Hit]) -> SearchResult:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "language": language,
        "word": word,
        "queries": [query.name for query in queries],
        "index": index.digest,
        "encoder": index.features["encoder"],
        "layer": index.features["layer"],
        "seconds_searched": round(seconds_of(index), 2),
        "hits": hits,
    }


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    configure_log()
    with left_as_found(args.out):
        claim_folder(args.out)
        with only_run(args.out):
            return search_all(args)


def search_all(args: argparse.Namespace) -> int:
    """From the clips to the hits in --out; returns the exit code."""
    paths = language_paths(args.language)
    decisions = read_decisions(args.accepted, args.language)
    labels = read_labels(args.page_language, "search")
    require_clips(args.query)
    index = prepare_index(args.language, args.tag, **{name: getattr(args, name) for name in INDEX_FLAGS})
    queries = read_queries(args.query, index, choose_device(args.device))
    clips = [parse_query(text) for text in args.query]
    own = own_places(index, clips, paths["raw"], lambda audio: data_root() / audio)
    if own:
        print("the query was cut from these recordings: its own place is no hit", file=sys.stderr)
    hits = search(index, queries, decisions, own=own, n_hits=args.n_hits, n_threads=args.num_workers)
    result = describe_search(index, args.language, args.word, queries, hits)
    write_json(args.out / "hits.json", result)
    write_hits_csv(args.out / "hits.csv", hits)
    sounds = [query.waveform for query in queries]
    page = build_search_page(
        result, sounds, lambda audio: load_audio(resolve_in(data_root(), audio)), labels, decisions
    )
    write_text(args.out / "hits.html", page)
    spans = hit_spans(hits, args.word or "search")
    written = write_recordings(args.out / "annotations", spans, args.format, paths["raw"])
    drop_earlier(args.out, written)
    n_likely = sum(hit["probability"] >= 0.5 for hit in hits)
    print(
        f"{seconds_of(index) / 3600:.2f} hours searched: {len(hits)} hits, {n_likely} of them likely", file=sys.stderr
    )
    print(
        f"wrote {args.out}: hits.html to listen to, hits.json, hits.csv, {len(written)} annotation files",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    run_main(main, less_memory="mfcc as --encoder")
