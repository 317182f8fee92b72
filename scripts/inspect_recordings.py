"""A first look at a folder of recordings: what is in it, what to mend, how long the chain takes, the voice to expect.

Reads every file of the folder once; prints a table.

    python scripts/inspect_recordings.py /path/to/recordings --out page.html

More: docs/usage.md. Nothing is written unless a flag says where. Levels are in dB of full scale, 0 the loudest.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import core.quiet_start

from tqdm import tqdm

from core.cli import parse_flags, require_not_negative, run_main
from core.errors import UserError
from core.files import write_json, write_text
from core.interrupts import end_at_once
from core.process_pool import run_in_processes
from core.records import InspectedRecording
from report.inspection import (
    COLUMNS,
    Folder,
    hours,
    kind_of_file,
    list_advice,
    list_findings,
    mark_repeated,
    recording_cells,
    say_counts,
    say_hours,
    short_name,
    summary_rows,
    time_rows,
    to_json,
    voice_lines,
    worst_first,
)
from report.recording_texts import KnownTexts, read_known_texts
from segmentation.folder_survey import Survey, survey_folder, walk_files
from segmentation.inspection import Inspection, InspectionJob, inspect_recording

SAMPLES_EACH = 4  # players for every kind of fault


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of recordings, with folders in it or without")
    parser.add_argument("--out", type=Path, metavar="PAGE", help="also write a page with pictures and players (.html)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything for programs")
    parser.add_argument("--show", type=int, default=20, help="recordings in the table, the worst first (20)")
    parser.add_argument("--num_workers", type=int, default=os.cpu_count(), help="recordings at a time (all cores)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    args = parse_flags(parser, argv)
    require_not_negative(args, "show")
    if args.num_workers < 1:
        raise UserError(f"--num_workers {args.num_workers}: expected 1 or more")
    return args


def read_texts(folder: Path, survey: Survey, rows: Sequence[InspectedRecording]) -> tuple[KnownTexts, dict[str, int]]:
    """What is written about the recordings, and the files that are neither recordings nor texts, by kind."""
    recordings, lengths = set(survey.recordings.values()), {row["source"]: row["seconds"] for row in rows}
    files = [path for path in walk_files(folder, {}) if path.is_file() and path not in recordings]
    texts = read_known_texts(
        folder, [path for path in files if not path.name.startswith(".")], survey.recordings, lengths
    )
    read = Counter(kind_of_file(name) for name in (*texts.files, *texts.plain, *texts.unreadable))
    return texts, +(survey.ignored - read)


def find_recordings(folder: Path) -> Survey:
    """UserError for what is no folder, and for a folder without recordings."""
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder of recordings, found none; check the path")
    survey = survey_folder(folder)
    if not survey.recordings and not survey.unreadable:
        found = say_counts(survey.ignored) or "an empty folder"
        raise UserError(f"{folder}: expected recordings, found {found}; name the folder that holds them")
    return survey


def inspect_all(
    sources: dict[str, Path], n_workers: int, *, listen: bool, quiet: bool
) -> tuple[list[InspectedRecording], dict[str, str], dict[str, bytes]]:
    """Rows in the order of ``sources``, reasons of those that could not be read, and MP3s of some flagged ones."""
    rows, unreadable, samples, kept = {}, {}, {}, Counter()
    jobs = [InspectionJob(source, path, listen) for source, path in sources.items()]
    sizes = {source: size_of(path) for source, path in sources.items()}
    bar = tqdm(total=sum(sizes.values()), unit="B", unit_scale=True, desc="recordings", disable=quiet or None)
    with bar as progress:
        for job, found in run_in_processes(inspect_recording, jobs, n_workers):
            progress.update(sizes[job.source])
            if not isinstance(found, Inspection):
                unreadable[job.source] = found.removeprefix(f"{job.path}: ")
                continue
            rows[job.source] = found.row
            if found.sample and kept[found.row["flags"][0]] < SAMPLES_EACH:
                kept[found.row["flags"][0]] += 1
                samples[job.source] = found.sample
    return mark_repeated([rows[source] for source in sources if source in rows]), unreadable, samples


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, the first to the left, numbers to the right."""
    widths = [max(len(row[index]) for row in (header, *rows)) for index in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in (header, *rows)
    ]


def terminal_lines(folder: Folder, *, n_shown: int) -> list[str]:
    """The whole report for a terminal: what to do first, then the numbers, then the ``n_shown`` worst recordings."""
    todo = [finding.line for finding in list_findings(folder)] + list_advice(folder)
    n_recordings = len(folder.rows) + len(folder.unreadable)
    lines = [f"{folder.name}: {n_recordings} recordings, {say_hours(hours(folder))}", ""]
    lines += [f"! {line}" for line in todo] or ["nothing to mend"]
    lines += [f"  {short_name(source)}: {reason}" for source, reason in list(folder.unreadable.items())[:n_shown]]
    lines.append("")
    lines += [f"{name:<16} {value}" for name, value in summary_rows(folder)]
    lines += ["", "time on two cores without a GPU, units of mfcc:"]
    lines += [f"  {name:<38} {value}" for name, value in time_rows(folder)]
    lines += ["", "the voice to expect:", *(f"  {line}" for line in voice_lines(folder)), ""]
    shown = worst_first(folder.rows)[:n_shown]
    lines += table_lines(COLUMNS, [recording_cells(row) for row in shown])
    if len(folder.rows) > n_shown:
        lines.append(f"and {len(folder.rows) - n_shown} more; --show says how many")
    return lines


def main() -> int:
    end_at_once()  # an exception would be lost where Python forks
    sys.stdout.reconfigure(errors="replace")  # a terminal that knows no dashes
    args = parse_args()
    survey = find_recordings(args.folder)
    rows, failed, samples = inspect_all(survey.recordings, args.num_workers, listen=bool(args.out), quiet=args.quiet)
    texts, ignored = read_texts(args.folder, survey, rows)
    folder = Folder(str(args.folder), rows, survey.unreadable | failed, ignored, texts)
    print("\n".join(terminal_lines(folder, n_shown=args.show)))
    if args.json:
        write_json(args.json, to_json(folder))
        print(f"wrote {args.json}")
    if args.out:
        from report.inspection_page import build_inspection_page  # matplotlib takes a second to import

        write_text(args.out, build_inspection_page(folder, samples))
        print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    run_main(main)
