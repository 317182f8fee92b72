"""Cut the recordings of a language into segments at their pauses, and write the manifest.

Reads ``data/<language>/raw/`` (MP3, WAV, FLAC, OGG, M4A, nested, of any length) with the optional tables
``transcripts.tsv`` and ``speakers.tsv`` beside it. Writes ``segments/*.wav`` (16 kHz mono PCM16), ``segments.jsonl``,
``splits.json`` and ``segmentation.json`` (the report). Stopped at any moment and started again it redoes no finished
recording. Exit code 3: more than ``--max_failed`` of the recordings failed.
"""

import argparse
import contextlib
import fcntl
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from tqdm import tqdm

from core.cli import parse_flags, run_main
from core.errors import UserError
from core.files import read_json, write_atomically, write_json
from core.frames import SAMPLE_RATE
from core.process_pool import run_in_processes
from languages import add_language_flags, data_root, language_paths
from segmentation.cut_recording import cut_recording, delete_segments, is_current, result_file
from segmentation.pauses import MAX_SEGMENT_DURATION, MIN_SEGMENT_DURATION, is_noise_or_music
from segmentation.recordings import (
    assign_splits,
    list_sources,
    name_stems,
    read_speakers,
    read_transcripts,
    split_at,
    texts_of_segments,
)

EXIT_TOO_MANY_FAILED = 3
LOCK_SECONDS = 10  # workers of a killed run need a moment to notice


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_language_flags(parser)
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
        help=f"shorter pieces join a neighbour, seconds ({MIN_SEGMENT_DURATION})",
    )
    cutting.add_argument(
        "--max_duration",
        type=float,
        default=MAX_SEGMENT_DURATION,
        help=f"longer pieces are cut at their longest pause, seconds ({MAX_SEGMENT_DURATION})",
    )
    keeping = parser.add_argument_group("what to keep")
    keeping.add_argument(
        "--drop_flagged", action="store_true", help="leave out segments that are mostly noise or music"
    )
    keeping.add_argument("--keep_truncated", action="store_true", help="use what is there of recordings cut short")
    keeping.add_argument(
        "--max_failed", type=float, default=5.0, help="per cent of the recordings that may fail before exit code 3 (5)"
    )
    keeping.add_argument(
        "--speaker_from",
        choices=("table", "folder", "none"),
        default="table",
        help="speaker from speakers.tsv where there is one, from the recording's first folder, or not at all (table)",
    )
    running = parser.add_argument_group("running")
    running.add_argument("--num_workers", type=int, default=os.cpu_count(), help="recordings at a time (all cores)")
    running.add_argument("--quiet", action="store_true", help="no progress bar")
    return check_args(parse_flags(parser, argv))


def check_args(args: argparse.Namespace) -> argparse.Namespace:
    if not 0 < args.min_duration * 2 < args.max_duration:
        raise UserError(f"--max_duration {args.max_duration}: expected over twice --min_duration ({args.min_duration})")
    if args.min_pause <= 0 or args.margin < 0 or args.threshold_db <= 0:
        raise UserError("expected --min_pause and --threshold_db above 0 and --margin of at least 0")
    if args.num_workers < 1:
        raise UserError(f"--num_workers {args.num_workers}: expected 1 or more")
    return args


@contextlib.contextmanager
def only_one(cache: Path) -> Iterator[None]:
    """Hold a lock on the language's cache: two runs at once would clean up each other's files."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "segments.lock", "w") as lock:
        for attempt in range(LOCK_SECONDS * 10 + 1):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if attempt == LOCK_SECONDS * 10:
                    raise UserError(f"{cache}: another segment_audio.py is at work; wait for it to end") from error
                time.sleep(0.1)
        yield


def plan(args: argparse.Namespace, paths: dict[str, Path]) -> list[dict]:
    """One job a recording: everything that a worker needs to cut it, and what its result depends on."""
    sources = list_sources(paths["raw"])
    if not sources:
        raise UserError(
            f"{paths['raw']}: expected recordings (MP3, WAV, FLAC, OGG, M4A), found none; "
            f"run: bash recipes/mp3_folder/prepare.sh {args.language} <folder of recordings>"
        )
    names = ("threshold_db", "min_pause", "margin", "min_duration", "max_duration")
    shared = {
        "flags": {name: getattr(args, name) for name in names},
        "keep_truncated": args.keep_truncated,
        "segments": str(paths["segments"]),
        "results": str(paths["cache"] / "segments"),
    }
    stems = name_stems(sources)
    return [{"source": source, "path": str(path), "stem": stems[source], **shared} for source, path in sources.items()]


def clean_up(jobs: list[dict], paths: dict[str, Path]) -> None:
    """Remove half-written files of a killed run, and the segments of recordings that are no longer there."""
    paths["segments"].mkdir(parents=True, exist_ok=True)
    (paths["cache"] / "segments").mkdir(parents=True, exist_ok=True)
    for entry in os.scandir(paths["segments"]):
        if entry.name.endswith(".wav.tmp"):
            os.unlink(entry.path)
    expected = {result_file(job).name for job in jobs}
    for file in (paths["cache"] / "segments").iterdir():
        if file.name not in expected:
            if file.suffix == ".json":
                delete_segments(paths["segments"], file.stem)
            file.unlink()


def cut_all(jobs: list[dict], args: argparse.Namespace) -> dict[str, str]:
    """Cut every recording that has no current result; returns source -> reason of those that failed."""
    waiting = [job for job in jobs if not is_current(job)]
    if len(waiting) < len(jobs):
        print(f"{len(jobs) - len(waiting)} of {len(jobs)} recordings are cut already", file=sys.stderr)
    sizes = {job["source"]: os.path.getsize(job["path"]) for job in waiting}
    failed = {}
    with tqdm(
        total=sum(sizes.values()), unit="B", unit_scale=True, desc="segments", disable=args.quiet or None
    ) as progress:
        for job, reason in run_in_processes(cut_recording, waiting, args.num_workers):
            if reason:
                failed[job["source"]] = reason
            progress.update(sizes[job["source"]])
    return dict(sorted(failed.items()))


def freeze_splits(jobs: list[dict], path: Path) -> dict:
    """Read, extend and write ``splits.json``; what stands there never changes."""
    lengths = {}
    for job in jobs:
        segments = read_json(result_file(job))["segments"]
        if segments:
            lengths[job["source"]] = [(segment["start"], segment["end"]) for segment in segments]
    frozen = read_json(path) if path.exists() else {}
    splits = assign_splits(lengths, frozen)
    write_json(path, splits)
    return splits


def speaker_of(source: str, speakers: dict[str, str], speaker_from: str) -> str | None:
    if speaker_from == "folder":
        return source.partition("/")[0] if "/" in source else None
    return speakers.get(source) if speaker_from == "table" else None


def describe_segments(
    job: dict, segments: list[dict], splits: dict, texts: list[str | None], speaker: str | None
) -> Iterator[dict]:
    """The manifest's objects of one recording, in order of time."""
    segments_dir = Path(job["segments"]).relative_to(data_root()).as_posix()
    for number, (segment, text) in enumerate(zip(segments, texts)):
        name = f"{job['stem']}_{number:04d}"
        yield {
            "id": name,
            "audio": f"{segments_dir}/{name}.wav",
            "source": job["source"],
            "start": segment["start"],
            "end": segment["end"],
            "duration": round(segment["end"] - segment["start"], 4),
            "speaker": speaker,
            "split": split_at(splits[job["source"]], segment["start"], segment["end"]),
            **({"text": text} if text else {}),
            "flags": ["noise_or_music"] if is_noise_or_music(segment) else [],
        }


def write_manifest(jobs: list[dict], args: argparse.Namespace, paths: dict[str, Path]) -> dict:
    """Stream the results of all ``jobs`` into ``segments.jsonl``; returns the report's counts and seconds."""
    splits = freeze_splits(jobs, paths["splits"])
    texts = read_transcripts(paths["transcripts"]) if paths["transcripts"].exists() else {}
    use_table = args.speaker_from == "table" and paths["speakers"].exists()
    speakers = read_speakers(paths["speakers"]) if use_table else {}
    seconds, counts, lengths = Counter(), Counter(), Counter()

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8") as out:
            for job in jobs:
                result = read_json(result_file(job))
                seconds.update({"in": result["n_samples"] / SAMPLE_RATE, **result["dropped"]})
                bounds = [(segment["start"], segment["end"]) for segment in result["segments"]]
                placed, n_lost = texts_of_segments(bounds, texts.get(job["source"], []))
                counts["texts_lost"] += n_lost
                speaker = speaker_of(job["source"], speakers, args.speaker_from)
                for segment in describe_segments(job, result["segments"], splits, placed, speaker):
                    counts["flagged"] += bool(segment["flags"])
                    if segment["flags"] and args.drop_flagged:
                        seconds["flagged"] += segment["duration"]
                        continue
                    out.write(json.dumps(segment, ensure_ascii=False) + "\n")
                    counts.update({"segments": 1, "with_text": "text" in segment})
                    seconds["kept"] += segment["duration"]
                    lengths[segment["split"]] += segment["duration"]

    write_atomically(paths["manifest"], write)
    known = {job["source"] for job in jobs}
    unknown = sorted((texts.keys() | speakers.keys()) - known)
    return {"seconds": dict(seconds), "counts": dict(counts), "split_seconds": dict(lengths), "unknown": unknown}


def print_report(report: dict, failed: dict[str, str], n_sources: int, paths: dict[str, Path]) -> None:
    seconds, counts = report["seconds"], report["counts"]
    hours = {name: value / 3600 for name, value in seconds.items()}
    print(
        f"{n_sources - len(failed)} of {n_sources} recordings, {hours['in']:.3f} h in, "
        f"{hours.get('kept', 0):.3f} h kept in {counts.get('segments', 0)} segments "
        f"({counts.get('with_text', 0)} with text)"
    )
    reasons = {"silence": "silence", "clicks": "clicks", "too_short": "too short", "flagged": "noise or music"}
    print("dropped: " + ", ".join(f"{hours.get(key, 0):.3f} h {name}" for key, name in reasons.items()))
    print("splits: " + ", ".join(f"{name} {value / 60:.1f} min" for name, value in report["split_seconds"].items()))
    if counts.get("flagged") and not seconds.get("flagged"):
        print(f"{counts['flagged']} segments look like noise or music; --drop_flagged leaves them out")
    if counts.get("texts_lost"):
        print(
            f"texts in no one segment: {counts['texts_lost']} of {paths['transcripts']}, left out; give shorter ones "
            "with their times, or raise --min_pause, so that less is cut"
        )
    if report["unknown"]:
        print(f"in the tables but not among the recordings: {', '.join(report['unknown'][:20])}")
    for source, reason in failed.items():
        print(f"failed: {source}: {reason}")
    print(f"wrote {paths['manifest']}")


def main() -> int:
    args = parse_args()
    paths = language_paths(args.language, args.tag)
    jobs = plan(args, paths)
    with only_one(paths["cache"]):
        clean_up(jobs, paths)
        failed = cut_all(jobs, args)
        cut = [job for job in jobs if job["source"] not in failed]
        if not cut:
            raise UserError(f"none of {len(jobs)} recordings could be used; first: {next(iter(failed.items()))}")
        report = write_manifest(cut, args, paths)
        too_many = 100 * len(failed) > args.max_failed * len(jobs)
        report |= {"failed": failed, "n_sources": len(jobs), "too_many_failed": too_many}
        write_json(paths["data"] / "segmentation.json", report)
    print_report(report, failed, len(jobs), paths)
    if too_many:
        print(
            f"error: {len(failed)} of {len(jobs)} recordings failed, over --max_failed {args.max_failed} %",
            file=sys.stderr,
        )
        return EXIT_TOO_MANY_FAILED
    return 0


if __name__ == "__main__":
    run_main(main)
