"""Guess who speaks in which recording, where nobody has written it down: writes data/<language>/speakers.tsv.

Reads the segments (scripts/segment_audio.py), computes a vector of the voice of each, and groups the recordings whose
voices are alike. One file is taken to have one speaker. The groups are a guess: listen, and correct the table by hand.

    python scripts/group_speakers.py --language guarani
    python scripts/group_speakers.py --language guarani --n_speakers 4 --overwrite

More: docs/phase3.md.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, require_not_negative, require_positive, run_main
from core.errors import UserError
from core.locks import only_run
from core.tables import write_table
from encoders.speaker_vectors import fill_speaker_vectors, kept_speaker_vector, mean_vector
from languages import add_language_flags, command_for, data_root, language_paths, resolve_in
from segmentation.manifest import read_manifest
from segmentation.speaker_groups import (
    MOST_SPEAKERS,
    compare_speakers,
    fit_to_group,
    group_vectors,
    join_small_groups,
    name_groups,
)
from segmentation.tables import find_table, read_speakers

N_DOUBTFUL = 5  # recordings of a speaker to listen to first


class Voices(NamedTuple):
    """The recordings that have segments, and how each sounds."""

    sources: list[str]
    vectors: np.ndarray  # (R, 256) float32 of length 1
    seconds: np.ndarray  # (R,) of its segments


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("groups")
    group.add_argument("--n_speakers", type=int, default=None, help="how many speakers there are, where you know it")
    group.add_argument("--most_speakers", type=int, default=MOST_SPEAKERS, help="else: the most there can be")
    group.add_argument(
        "--fewest_seconds",
        type=float,
        default=20.0,
        help="a speaker of less joins the nearest other one; 0 = none does",
    )
    group.add_argument(
        "--compare",
        type=Path,
        default=None,
        metavar="TABLE",
        help="say how the groups agree with this table of speakers",
    )
    group.add_argument("--overwrite", action="store_true", help="replace a speakers.tsv that is there")
    args = parse_flags(parser, argv)
    require_positive(args, "n_speakers", "most_speakers")
    require_not_negative(args, "fewest_seconds")
    return args


def check_table(path: Path, raw: Path, overwrite: bool) -> None:
    """Refuse to write over, or beside, a table that somebody made."""
    known = find_table(path)
    if known == path and not overwrite:
        raise UserError(f"{path}: expected none yet, found one; --overwrite replaces it, names made by hand included")
    if known not in (None, path):
        raise UserError(f"{known}: expected no table of speakers yet, found one; {say_where_from(known, raw)}")


def say_where_from(table: Path, raw: Path) -> str:
    """The remedy for a table that is there: one beside the recordings would be copied here again (run_all.sh)."""
    if given := find_table(raw.resolve() / table.name):
        return f"it was copied from {given}: rename or move that one as well, then delete {table}"
    return "move it away"


def hear_recordings(manifest: Path, cache: Path) -> Voices:
    """The mean voice of the segments of each recording, the longer ones counting more."""
    rows = list(read_manifest(manifest))
    joined = sum("parts" in row for row in rows)
    if joined:
        raise UserError(f"{manifest}: {joined} segments join several recordings; cut again without --join_clips first")
    files = [(row["id"], resolve_in(data_root(), row["audio"])) for row in rows]
    fill_speaker_vectors(cache, files)
    of_source = defaultdict(list)
    for row in rows:
        of_source[row["source"]].append(row)
    means = [
        mean_vector([kept_speaker_vector(cache, row["id"]) * row["duration"] for row in some])
        for some in of_source.values()
    ]
    seconds = [sum(row["duration"] for row in some) for some in of_source.values()]
    return Voices(list(of_source), np.stack(means), np.array(seconds))


def print_groups(voices: Voices, names: Sequence[str], fits: np.ndarray) -> None:
    """Minutes of every speaker, and the recordings that fit least."""
    places = defaultdict(list)
    for place, name in enumerate(names):
        places[name].append(place)
    for name in sorted(places):
        doubtful = sorted(places[name], key=lambda place: fits[place])[:N_DOUBTFUL]
        minutes = voices.seconds[places[name]].sum() / 60
        listed = ", ".join(f"{voices.sources[place]} ({fits[place]:.2f})" for place in doubtful)
        print(f"{name}: {minutes:.1f} minutes, {len(places[name])} recordings; listen first to {listed}")


def main() -> int:
    args = parse_args()
    paths = language_paths(args.language)
    with only_run(paths["data"]):
        check_table(paths["speakers"], paths["raw"], args.overwrite)
        true = read_speakers(args.compare) if args.compare else {}
        voices = hear_recordings(paths["manifest"], paths["cache"])
        groups = group_vectors(voices.vectors, n_speakers=args.n_speakers, most_speakers=args.most_speakers)
        if not args.n_speakers:
            groups = join_small_groups(groups, voices.vectors, voices.seconds, args.fewest_seconds)
        names = name_groups(groups, voices.seconds)
        print_groups(voices, names, fit_to_group(groups, voices.vectors))
        write_table(paths["speakers"], ("source", "speaker"), zip(voices.sources, names))
        if args.compare:
            agreement = compare_speakers(
                dict(zip(voices.sources, names)), true, dict(zip(voices.sources, voices.seconds.tolist()))
            )
            print(
                f"against {args.compare}: purity {agreement.purity:.3f}, coverage {agreement.coverage:.3f}, "
                f"{agreement.n_groups} groups, {agreement.n_speakers} speakers"
            )
        print(
            f"{paths['speakers']}: a guess. The number in brackets is how well a recording fits its speaker, 1 at most."
        )
        print("Listen, write other names into it (the same name = the same person), then run:")
        print(f"  {command_for('run_all.sh', args.language)}")
        return 0


if __name__ == "__main__":
    run_main(main)
