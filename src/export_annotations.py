"""Write what the project knows of each recording as annotations for ELAN, Praat, Audacity, subtitles or a table.

Reads segments.jsonl and, where they are finished, phases 1 and 2; writes a file for each recording to --out.

    python src/export_annotations.py --language spanish --format eaf --out annotations
    python src/export_annotations.py --language spanish --format textgrid --tiers units motifs --out annotations

A file has the name of its recording, with its ending where two differ in that only. Nothing is trained or changed.
More: docs/usage.md.
"""

import core.quiet_start

import argparse
import difflib
import itertools
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tqdm import tqdm

from annotations.spans import Span
from annotations.write_annotations import FORMATS, name_files, write_annotations
from core.cli import HELP_FORMATTER, configure_log, parse_flags, run_main
from core.composed_names import composed, find_composed
from core.errors import UserError
from core.frames import UNIT_RATE, frames_to_seconds
from core.locks import only_run
from core.records import Segment
from languages import add_language_flags, command_for, language_paths
from segmentation.joined_clips import expand_parts
from segmentation.manifest import read_manifest
from training.experiment import is_finished
from units.bpe import encode_batch, load_tokenizer, token_edges, token_units
from units.corpus import read_corpus

TIERS = ("segments", "speakers", "transcripts", "units", "motifs")
log = logging.getLogger("oral_units")


class Runs(NamedTuple):
    """The units of one segment: (U,) ids and (U,) frames."""

    units: np.ndarray
    durations: np.ndarray


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("annotations")
    group.add_argument("--format", choices=sorted(FORMATS), default="eaf", help="tool that opens the files")
    group.add_argument(
        "--out", type=Path, required=True, help="folder for the files; those of an earlier run are replaced"
    )
    group.add_argument(
        "--tiers", nargs="+", choices=TIERS, help="what to write; by default everything that there is", default=None
    )
    group.add_argument("--source", nargs="+", default=None, help="only these recordings, as segments.jsonl names them")
    return parse_flags(parser, argv)


def choose_tiers(paths: dict[str, Path], wanted: Sequence[str] | None, language: str, tag: str) -> list[str]:
    """The tiers to write: those asked for, whose phases must be finished, or all that can be had."""
    finished = {
        "units": is_finished(paths["units"]),
        "motifs": is_finished(paths["bpe"]) and is_finished(paths["units"]),
    }
    commands = {
        "units": command_for("run_phase1.sh", language, tag),
        "motifs": command_for("run_phase2.sh", language, tag),
    }
    for tier in wanted or ():
        if not finished.get(tier, True):
            raise UserError(f"--tiers {tier}: expected a finished phase, found none; run: {commands[tier]}")
    return [tier for tier in wanted or TIERS if finished.get(tier, True)]


def load_runs(corpus: Path, wanted: set[str] | None) -> dict[str, Runs]:
    """Segment id -> its runs of units, of the recordings wanted: some two bytes a frame."""
    runs = {}
    for utterance in read_corpus(corpus):
        name, units, durations = utterance["id"], utterance["units"], utterance["durations"]
        if wanted is None or name in wanted:
            runs[name] = Runs(np.asarray(units, np.int32), np.asarray(durations, np.int32))
    return runs


def by_source(manifest: Path, wanted: Sequence[str] | None) -> Iterator[tuple[str, list[Segment]]]:
    """(recording, its segments) in the order of the manifest; UserError for a name that it does not hold."""
    names = None if wanted is None else set(map(composed, wanted))
    missing, known = set(names or ()), []
    rows_by_recording = expand_parts(read_manifest(manifest))
    for source, rows in itertools.groupby(rows_by_recording, key=lambda row: row["source"]):
        missing.discard(composed(source))
        known.append(source)
        if names is None or composed(source) in names:
            yield source, list(rows)
    if missing:
        near = [name for wrong in sorted(missing) for name in difflib.get_close_matches(wrong, known, n=3, cutoff=0.4)]
        named = ", ".join(dict.fromkeys(near or known[:5]))
        raise UserError(
            f"--source {', '.join(sorted(missing))}: expected recordings of {manifest}, found none; "
            f"{'the nearest' if near else 'the first'} there: {named}"
        )


def segment_spans(segment: Segment, tiers: Sequence[str]) -> list[Span]:
    """The segment itself, who speaks, and what is said."""
    start, end, speaker = segment["start"], segment["end"], segment.get("speaker")
    text, found = segment.get("text"), []
    if "segments" in tiers:
        found.append(Span("segments", start, end, segment["id"]))
    if "speakers" in tiers and speaker:
        found.append(Span("speakers", start, end, speaker))
    if "transcripts" in tiers and text:
        found.append(Span(f"transcript@{speaker}" if speaker else "transcript", start, end, text, speaker))
    return found


def unit_spans(tier: str, start: float, durations: np.ndarray, labels: Sequence[str]) -> list[Span]:
    """Consecutive spans from ``start`` seconds on; durations (N,) in frames."""
    edges = [start + frames_to_seconds(int(edge)) for edge in np.concatenate([[0], np.cumsum(durations)])]
    return [Span(tier, first, last, label) for first, last, label in zip(edges, edges[1:], labels)]


def cut_runs(runs: Runs, offset: float, seconds: float) -> Runs:
    """The runs from ``offset`` seconds on for ``seconds``: what one clip of a joined segment holds."""
    first, last = round(offset * UNIT_RATE), round((offset + seconds) * UNIT_RATE)
    edges = np.clip(np.concatenate([[0], np.cumsum(runs.durations)]), first, last)
    durations = np.diff(edges).astype(runs.durations.dtype)
    return Runs(runs.units[durations > 0], durations[durations > 0])


def motif_spans(tokenizer, pieces: list[list[int]], start: float, runs: Runs) -> list[Span]:
    """One span for each motif: the units it stands for, parted by hyphens."""
    ids = encode_batch(tokenizer, [runs.units])[0]
    edges = token_edges(ids, np.asarray([len(piece) for piece in pieces]), runs.durations)
    return unit_spans("motifs", start, np.diff(edges), ["-".join(map(str, pieces[token])) for token in ids])


def spans_of(segments: list[Segment], tiers: Sequence[str], runs: dict[str, Runs], tokenizer) -> list[Span]:
    """Everything known of one recording, in its own time."""
    pieces = token_units(tokenizer) if tokenizer else []
    found = []
    for segment in segments:
        found += segment_spans(segment, tiers)
        own = runs.get(segment["id"])
        if own is not None and "offset" in segment:
            own = cut_runs(own, segment["offset"], segment["end"] - segment["start"])
        if own is not None and "units" in tiers:
            found += unit_spans("units", segment["start"], own.durations, [str(unit) for unit in own.units])
        if own is not None and "motifs" in tiers:
            found += motif_spans(tokenizer, pieces, segment["start"], own)
    return found


def main() -> int:
    args = parse_args()
    configure_log()
    with only_run(args.out):
        paths = language_paths(args.language, args.tag)
        if not paths["manifest"].exists():
            command = command_for("run_all.sh", args.language, args.tag)
            raise UserError(f"{paths['manifest']}: expected the segments, found none; run: {command}")
        tiers = choose_tiers(paths, args.tiers, args.language, args.tag)
        wanted = None
        if args.source:
            wanted = {
                segment["id"] for _, segments in by_source(paths["manifest"], args.source) for segment in segments
            }
        runs = load_runs(paths["corpus"], wanted) if {"units", "motifs"} & set(tiers) else {}
        tokenizer = load_tokenizer(paths["bpe"]) if "motifs" in tiers else None
        names = name_files([row["source"] for row in read_manifest(paths["manifest"])], FORMATS[args.format])
        n_files = n_spans = 0
        for source, segments in tqdm(by_source(paths["manifest"], args.source), unit="recording", disable=None):
            spans = spans_of(segments, tiers, runs, tokenizer)
            out = args.out / names[source]
            longest = max(segment["end"] for segment in segments)
            write_annotations(out, spans, form=args.format, media=find_composed(paths["raw"], source), seconds=longest)
            n_files, n_spans = n_files + 1, n_spans + len(spans)
        print(f"wrote {n_files} files with {n_spans} annotations ({', '.join(tiers)}) to {args.out}", file=sys.stderr)
        return 0


if __name__ == "__main__":
    run_main(main)
