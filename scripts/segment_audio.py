"""Cut the recordings of a language into segments at their pauses, and write the manifest.

Reads ``data/<language>/raw/`` (whatever holds sound, nested, of any length) with the optional tables
``transcripts.tsv`` and ``speakers.tsv`` beside it (.csv and .xlsx do as well). Writes ``segments/*.wav`` (16 kHz mono
PCM16), ``segments.jsonl``, ``splits.json`` and ``segmentation.json`` (the report). Stopped at any moment and started
again it redoes no finished recording; without flags it keeps those of the last run. Exit code 3: more than
``--max_failed`` of the recordings failed.

    python scripts/segment_audio.py --language guarani

More: docs/usage.md.
"""

import argparse
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import core.quiet_start

from tqdm import tqdm

from annotations.find_annotations import find_annotations, holds_drafts_alone, is_table_of_recordings
from core.cli import HELP_FORMATTER, given_flags, parse_flags, run_main, says_next
from core.commands import as_typed
from core.composed_names import find_typed
from core.errors import UserError
from core.exit_codes import EXIT_SOME_FAILED
from core.files import hash_files, read_json, write_json
from core.locks import only_run
from core.process_pool import run_in_processes
from core.records import SPLITS
from core.wording import name_some, printable
from languages import add_language_flags, command_for, data_root, language_paths, resolve_in
from segmentation.copied_recordings import find_copies
from segmentation.copied_tables import copy_tables, tables_differ
from segmentation.cut_recording import (
    DETECTORS,
    ENERGY,
    CutFlags,
    CutJob,
    cut_recording,
    delete_segments,
    dependencies,
    flags_of_results,
    is_current,
    result_file,
)
from segmentation.cutting_report import (
    NAMED,
    NAMED_AMOUNTS,
    describe_failures,
    describe_gone,
    describe_too_many,
    print_report,
)
from segmentation.folder_survey import Survey, describe_ignored, survey_folder
from segmentation.joined_clips import JOIN_SECONDS
from segmentation.levelling import SPEECH_DB, TOLERATED_DB
from segmentation.manifest import read_manifest
from segmentation.manifest_writing import Texts, read_texts, write_manifest
from segmentation.pauses import MAX_SEGMENT_DURATION, MIN_SEGMENT_DURATION
from segmentation.recordings import name_stems
from segmentation.splits import read_splits
from segmentation.tables import TABLE_NAMES, find_table, match_names, read_speakers
from segmentation.voice_activity import load_network
from segmentation.withdrawn import clean_caches, made_before

EVERYDAY = ("language", "min_pause", "max_duration", "drop_flagged", "keep_truncated", "speaker_from", "annotations")
EVERYDAY += ("vad", "join_clips", "num_workers")
KEPT = (*CutFlags._fields, "drop_flagged", "keep_truncated", "keep_level", "max_failed", "speaker_from", "split_by")
KEPT += ("annotations", "text_tier", "vad", "join_clips")
BESIDE, NOWHERE = "beside", "none"
WHOLE_FILE = (0.0, float("inf"))  # times of a text


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    add_cutting_flags(parser)
    add_keeping_flags(parser)
    running = parser.add_argument_group("running")
    running.add_argument("--num_workers", type=int, default=os.cpu_count(), help="recordings at a time (all cores)")
    running.add_argument("--quiet", action="store_true", help="no progress bar")
    args = parse_flags(parser, argv, everyday=EVERYDAY)
    return check_args(args if given_flags(parser, argv) & set(KEPT) else restore_flags(args))


def restore_flags(args: argparse.Namespace) -> argparse.Namespace:
    """The flags of the last run, where none of them is given now."""
    paths = language_paths(args.language, args.tag)
    report = paths["data"] / "segmentation.json"
    last = read_json(report).get("flags", {}) if report.is_file() else {}
    last = last or flags_of_results(paths["cache"] / "segments")
    other = {name: last[name] for name in KEPT if name in last and last[name] != getattr(args, name)}
    if other:
        words = " ".join(f"--{name}" if value is True else f"--{name} {value}" for name, value in other.items())
        print(f"with the flags of the last run: {words} (give any of them to decide again)", file=sys.stderr)
    return argparse.Namespace(**(vars(args) | other))


def add_cutting_flags(parser: argparse.ArgumentParser) -> None:
    cutting = parser.add_argument_group("where to cut")
    cutting.add_argument(
        "--threshold_db",
        type=float,
        default=10.0,
        help="louder than the recording's noise floor by this: sound, dB (10)",
    )
    cutting.add_argument("--min_pause", type=float, default=0.4, help="shortest pause to cut at, seconds (0.4)")
    cutting.add_argument("--margin", type=float, default=0.2, help="silence kept on either side, seconds (0.2)")
    cutting.add_argument(
        "--min_duration",
        type=float,
        default=MIN_SEGMENT_DURATION,
        help=f"shorter pieces join a neighbour, shorter recordings stay as they are, seconds ({MIN_SEGMENT_DURATION})",
    )
    cutting.add_argument(
        "--max_duration",
        type=float,
        default=MAX_SEGMENT_DURATION,
        help=f"longer pieces are cut at their longest pause, seconds ({MAX_SEGMENT_DURATION})",
    )

    cutting.add_argument(
        "--vad",
        choices=DETECTORS,
        default=ENERGY,
        help="find speech by loudness (energy); by a neural network, for music, rain or motors under it (silero, needs "
        "pip install silero-vad); or by what a try on each recording says (auto) (energy)",
    )
    cutting.add_argument(
        "--annotations",
        default=BESIDE,
        metavar="FOLDER",
        help="cut at annotations of ELAN, Praat, Audacity, subtitles or tables, which give speakers and texts too: a "
        "folder of them, which count for more than those beside a recording; beside: those that lie beside a recording "
        "under its name; none: cut at pauses (beside)",
    )
    cutting.add_argument(
        "--text_tier", nargs="+", default=[], help="tiers that hold what is said (chosen by their names)"
    )


def add_keeping_flags(parser: argparse.ArgumentParser) -> None:
    keeping = parser.add_argument_group("what to keep")
    keeping.add_argument(
        "--drop_flagged", action="store_true", help="leave out segments of noise, music or overlapping speech"
    )
    keeping.add_argument("--keep_truncated", action="store_true", help="use what is there of recordings cut short")
    keeping.add_argument(
        "--keep_level",
        action="store_true",
        help=f"leave every recording as loud as it is; otherwise speech more than {TOLERATED_DB:g} dB away from "
        f"{SPEECH_DB:g} dB of full scale is brought there, a recording as a whole",
    )
    keeping.add_argument(
        "--max_failed", type=float, default=5.0, help="per cent of the recordings that may fail before exit code 3 (5)"
    )
    keeping.add_argument(
        "--speaker_from",
        choices=("table", "folder", "none"),
        default="table",
        help="speaker from speakers.tsv where there is one, from the recording's first folder, or not at all (table)",
    )
    keeping.add_argument(
        "--join_clips",
        type=float,
        nargs="?",
        const=JOIN_SECONDS,
        default=0.0,
        metavar="SECONDS",
        help="join recordings under --min_duration to others of their folder and speaker, with a short silence between "
        f"them, up to this length ({JOIN_SECONDS:g} where the flag stands alone); 0 keeps each as it is (0)",
    )
    keeping.add_argument(
        "--split_by",
        choices=("source", "folder", "speaker"),
        default="source",
        help="what never lies in two splits: a recording, all of a folder, or all of a speaker (source)",
    )


def check_args(args: argparse.Namespace) -> argparse.Namespace:
    if not 0 < args.min_duration * 2 < args.max_duration:
        raise UserError(f"--max_duration {args.max_duration}: expected over twice --min_duration ({args.min_duration})")
    if args.min_pause <= 0 or args.margin < 0 or args.threshold_db <= 0:
        raise UserError("expected --min_pause and --threshold_db above 0 and --margin of at least 0")
    if args.join_clips and not 2 * args.min_duration <= args.join_clips <= args.max_duration:
        raise UserError(
            f"--join_clips {args.join_clips}: expected 0, or twice --min_duration ({2 * args.min_duration}) to "
            f"--max_duration ({args.max_duration}) seconds"
        )
    if args.annotations not in (BESIDE, NOWHERE):  # the next run may begin in another folder
        args.annotations = str(find_typed(Path(args.annotations)).absolute())
    if args.num_workers < 1:
        raise UserError(f"--num_workers {args.num_workers}: expected 1 or more")
    return args


def survey_recordings(language: str | None, raw: Path) -> Survey:
    """What lies in ``raw``; UserError where there is no recording."""
    if raw.is_symlink() and not raw.exists():
        raise UserError(f"{raw}: is a link to {os.readlink(raw)}, which is not there; connect the drive it lies on")
    survey = survey_folder(raw) if raw.is_dir() else Survey({}, Counter(), {})
    ignored = describe_ignored(survey.ignored)
    if not survey.recordings:
        found = "; ".join(
            [f"{name}: {why}" for name, why in list(survey.unreadable.items())[:1]] + [ignored][: ignored > ""]
        )
        raise UserError(
            f"{raw}: expected recordings, found none{f' ({found})' if found else ''}; "
            f"run: bash scripts/run_all.sh {language} <folder of recordings>"
        )
    return survey


def say_ignored(survey: Survey, raw: Path, annotations: Iterable[Path]) -> None:
    """One line on what is left aside; tables and annotations that are read are not."""
    tables = [table for name in TABLE_NAMES if (table := find_table(raw / f"{name}.tsv"))]
    used = Counter(path.suffix.lower() for path in {*tables, *annotations} if path.is_relative_to(raw))
    if line := describe_ignored(+(survey.ignored - used)):
        print(line)


def plan(
    sources: dict[str, Path],
    paths: dict[str, Path],
    texts: Texts,
    flags: CutFlags,
    *,
    annotated: dict[str, Path] | None = None,
    keep_truncated: bool = False,
    **options: object,
) -> list[CutJob]:
    """One job a recording: everything that a worker needs to cut it, and what its result depends on.

    annotated: recording -> its annotation file. options: further fields of a CutJob, the same for all.
    """
    stems, results = name_stems(sources), paths["cache"] / "segments"
    whole = {source for source, rows in texts.items() if [row[:2] for row in rows] == [WHOLE_FILE]}
    return [
        CutJob(
            source=source,
            path=path,
            stem=stems[source],
            flags=flags,
            keep_truncated=keep_truncated,
            segments=paths["segments"],
            results=results,
            has_one_text=source in whole,
            annotations=(annotated or {}).get(source),
            **options,
        )
        for source, path in sources.items()
    ]


def read_annotation_files(sources: dict[str, Path], where: str) -> dict[str, Path]:
    """Recording -> its annotation file; says which files belong to none.

    A folder comes before what lies beside a recording. A queue in which nothing is corrected counts for nothing.
    """
    if where == NOWHERE:
        return {}
    if where != BESIDE and not Path(where).is_dir():
        raise UserError(
            f"--annotations {where}: expected a folder of annotations, found none; check the path, or give "
            "--annotations beside for those that lie beside the recordings"
        )
    found, _ = find_annotations(sources)
    if where != BESIDE:
        named, unused = find_annotations(sources, Path(where))
        found |= {source: path for source, path in named.items() if not holds_drafts_alone(path)}
        tables = [path for path in unused if is_table_of_recordings(path, sources)]
        if others := [path.name for path in unused if path not in tables]:
            told = name_some(others, NAMED)
            print(f"annotations of no recording here: {told}; name them after the recordings", file=sys.stderr)
        if tables:
            told = f"expected annotations of one recording each, found a table with 'source' ({tables[0].name})"
            raise UserError(f"{where}: {told}; put its lines below those of transcripts.tsv beside the recordings")
    return found


def count_mentions(
    paths: dict[str, Path], survey: Survey, texts: Texts, annotated: Mapping[str, Path], speaker_from: str
) -> Counter[str]:
    """How many of tables, annotations and frozen splits name a recording: of copies the one with the most is kept."""
    table = find_table(paths["speakers"]) if speaker_from == "table" else None
    tables = [texts, read_speakers(table) if table else {}]
    named = [source for rows in tables for source in match_names(rows, survey.recordings)]
    frozen = read_splits(paths["splits"]) if paths["splits"].exists() else {}
    return Counter([*named, *annotated, *frozen])


def leave_out_copies(survey: Survey, mentions: Counter[str]) -> dict[str, str]:
    """Take the copies of other recordings out of ``survey``, and say so; returns copy -> the recording kept."""
    copies = find_copies(survey.recordings, mentions)
    for name in copies:
        del survey.recordings[name]
    if copies:
        pairs = [f"{printable(copy)} (of {printable(kept)})" for copy, kept in copies.items()]
        print(
            f"left out as copies of others, which training and test might share: {len(copies)} recordings: "
            f"{name_some(pairs, NAMED_AMOUNTS)}"
        )
    return copies


def clean_up(jobs: list[CutJob], segments: Path, results: Path) -> None:
    """Remove half-written files of a killed run, and the segments of recordings that are no longer there."""
    segments.mkdir(parents=True, exist_ok=True)
    results.mkdir(parents=True, exist_ok=True)
    for entry in os.scandir(segments):
        if entry.name.endswith(".tmp"):
            os.unlink(entry.path)
    expected = {result_file(job).name for job in jobs}
    for file in results.iterdir():
        if file.name not in expected:
            if file.suffix == ".json":
                delete_segments(segments, file.stem)
            file.unlink()


def find_gone(splits: Path, there: set[str]) -> list[str]:
    """Recordings that are not among those used now, and were in the last run."""
    return sorted(read_splits(splits).keys() - there) if splits.is_file() else []


def cut_all(jobs: list[CutJob], n_workers: int, *, quiet: bool = True) -> dict[str, str]:
    """Cut every recording that has no current result; returns source -> reason of those that failed."""
    waiting = [job for job in jobs if not is_current(job)]
    if len(waiting) < len(jobs):
        print(f"{len(jobs) - len(waiting)} of {len(jobs)} recordings are cut already", file=sys.stderr)
    sizes = {job.source: size_of(job.path) for job in waiting}
    failed = {}
    with tqdm(total=sum(sizes.values()), unit="B", unit_scale=True, desc="segments", disable=quiet or None) as progress:
        for job, reason in run_in_processes(cut_recording, waiting, n_workers):
            if reason:
                failed[job.source] = reason
            progress.update(sizes[job.source])
    return dict(sorted(failed.items()))


def size_of(path: Path) -> int:
    """Bytes; 0 for a file that has gone since it was found."""
    return os.path.getsize(path) if path.exists() else 0


def fingerprint_inputs(jobs: list[CutJob], survey: Survey, paths: dict[str, Path], kept: dict[str, object]) -> str:
    """SHA-256 of what the manifest is made from: the list of recordings with size and time, the tables, the flags."""
    listed = [dependencies(job) for job in jobs if job.path.exists()]
    parts = [listed, survey.unreadable, survey.ignored, kept]
    parts += [hash_files([table]) for name in TABLE_NAMES if (table := find_table(paths[name]))]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def is_up_to_date(jobs: list[CutJob], paths: dict[str, Path], made_from: str) -> bool:
    """Whether the manifest was made from just these recordings, tables and flags, and every file is there."""
    report = paths["data"] / "segmentation.json"
    if not all(path.is_file() for path in (report, paths["manifest"], paths["splits"])):
        return False
    last = read_json(report)
    if last["counts"].get("joined_segments") and not joined_are_there(paths["manifest"]):
        return False
    return last.get("made_from") == made_from and not last["failed"] and all(is_current(job) for job in jobs)


def joined_are_there(manifest: Path) -> bool:
    """Whether the audio of every joined segment is where the manifest says."""
    rows = (row for row in read_manifest(manifest) if "parts" in row)
    return all(resolve_in(data_root(), row["audio"]).is_file() for row in rows)


def main() -> int:
    args = parse_args()
    paths = language_paths(args.language, args.tag)
    flags = CutFlags(*(getattr(args, name) for name in CutFlags._fields))
    survey = survey_recordings(args.language, paths["raw"])
    if tables_differ(paths["raw"], paths):
        with only_run(paths["data"]):
            copy_tables(paths["raw"], paths, known_only=True)
    texts = read_texts(paths)
    annotated = read_annotation_files(survey.recordings, args.annotations)
    say_ignored(survey, paths["raw"], annotated.values())
    copies = leave_out_copies(survey, count_mentions(paths, survey, texts, annotated, args.speaker_from))
    there = {*survey.recordings, *survey.unreadable}
    texts = match_names(texts, there)
    options = {"keep_truncated": args.keep_truncated, "text_tiers": tuple(args.text_tier), "vad": args.vad}
    options["keep_level"] = args.keep_level
    if args.vad != ENERGY:
        load_network()  # one clear line where it is not installed, before any recording fails of it
    jobs = plan(survey.recordings, paths, texts, flags, annotated=annotated, **options)
    n_sources = len(jobs) + len(survey.unreadable)
    kept = {name: getattr(args, name) for name in KEPT}
    made_from = fingerprint_inputs(jobs, survey, paths, kept)
    if is_up_to_date(jobs, paths, made_from):
        print(f"{paths['manifest']}: made from just these {n_sources} recordings; nothing to do")
        return 0
    paths["cache"].mkdir(parents=True, exist_ok=True)
    # Two runs at once would clean up each other's files.
    with only_run(paths["data"]):
        left_out = find_gone(paths["splits"], there)
        gone = [name for name in left_out if name not in copies]
        clean_up(jobs, paths["segments"], paths["cache"] / "segments")
        failed = survey.unreadable | cut_all(jobs, args.num_workers, quiet=args.quiet)
        cut = [job for job in jobs if job.source not in failed]
        if not cut:
            raise UserError(f"none of {n_sources} recordings could be used; {describe_failures(failed)}")
        keeping = {name: getattr(args, name) for name in ("speaker_from", "drop_flagged", "split_by")}
        tally = write_manifest(
            cut, paths, texts=texts, failed=failed, copies=copies, join_seconds=args.join_clips, **keeping
        )
        clean_caches(paths["cache"], paths["manifest"], some_are_gone=bool(left_out))
        too_many = 100 * len(failed) > args.max_failed * n_sources
        summary = {"failed": failed, "n_sources": n_sources, "too_many_failed": too_many}
        summary |= {"ignored": survey.ignored, "copies": copies, "flags": kept, "made_from": made_from}
        write_json(paths["data"] / "segmentation.json", tally._asdict() | summary)
    print_report(tally, failed, there, paths, args.vad)
    if gone:
        print(describe_gone(gone, made_before(args.language)))
        if empty := [split for split in SPLITS if not tally.split_seconds[split]]:
            deal = as_typed("rm", paths["splits"])
            print(f"nothing is left in {' and '.join(empty)}; to deal the recordings again: {deal}, and this again")
    if too_many:
        print(
            f"error: {describe_too_many(len(failed), n_sources, args.max_failed)}",
            file=sys.stderr,
        )
        return EXIT_SOME_FAILED
    if says_next():
        whole = command_for("run_all.sh", args.language)
        print(f"next: {command_for('run_phase1.sh', args.language)}, or the whole chain: {whole}")
    return 0


if __name__ == "__main__":
    run_main(main)
