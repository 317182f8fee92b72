"""Phase 1's units judged: usage, entropy, bitrate, run lengths, transitions, drift, speakers; by phones, where known.

    python src/validate_units.py --language spanish
    python src/validate_units.py --exp exp/spanish_units_w4

Reads corpus_timestamped.json, writes unit_report.json next to it and prints a table and what looks wrong. Where
data/<language>/phones.tsv says which phone is spoken when, units are compared with phones too. More: docs/phase1.md.
"""

import core.quiet_start

import argparse
import logging
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tqdm import tqdm

from core.cli import HELP_FORMATTER, parse_flags, require_not_negative, run_main
from core.errors import UserError
from core.files import write_json
from core.frames import UNIT_RATE
from core.records import SPLITS
from languages import add_language_flags, command_for, language_paths
from segmentation.tables import find_table
from training.experiment import read_derived, require_finished
from units.abx_report import UnitAbx, abx_lines, score_units_by_abx
from units.corpus import read_corpus
from units.kmeans import load_kmeans
from units.phone_labels import read_phones
from units.phone_report import PhoneSummary, label_utterances, phone_rows, summarize_phones
from units.quality import (
    Interval,
    SpeakerDependence,
    UnitSummary,
    as_json,
    divergence_bits,
    speaker_dependence,
    summarize_counts,
)
from units.quality_warnings import find_notes, find_problems
from units.random_splits import measure_chance
from units.tally import UnitCounts, check_utterance, count_utterance, finish_tally, merge_counts, new_tally

log = logging.getLogger("oral_units")


class UnitReport(NamedTuple):
    """``unit_report.json``, field by field."""

    exp: str
    n_units: int
    n_streams: int
    unit_rate: int  # Hz
    n_resamples: int
    splits: dict[str, UnitSummary]  # and "all" of them together
    drift_bits: dict[str, float]  # Jensen-Shannon divergence of each pair of splits
    speakers: SpeakerDependence | None  # where there are several
    phones: dict[str, PhoneSummary] | None  # as splits, where phones are known
    abx: UnitAbx | None  # where asked for
    problems: list[str]
    notes: list[str]  # what was not judged, and why


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("report")
    group.add_argument("--exp", type=Path, default=None, help="phase 1 folder; by default the language's")
    group.add_argument("--n_resamples", type=int, default=500, help="bootstrap resamples of the utterances; 0: none")
    group.add_argument(
        "--phones",
        type=Path,
        default=None,
        help="table of phones: source, start, end, phone; by default phones.tsv of the language, where there is one",
    )
    group.add_argument(
        "--abx",
        choices=("off", *SPLITS, "all"),
        default="off",
        help="ABX errors of the units over triphones of this split, where phones are known; seconds to minutes (off)",
    )
    group.add_argument("--seed", type=int, default=0, help="seed of the bootstrap, shuffled speakers and units")
    group.add_argument("--out", type=Path, default=None, help="report file; by default unit_report.json in the folder")
    return parse_flags(parser, argv)


def read_unit_settings(exp: Path) -> tuple[int, int]:
    """(n_units, n_streams) of a phase 1 folder."""
    derived = read_derived(exp, "n_units")
    return derived["n_units"], derived.get("n_streams", 1)


def shuffle_speakers(corpus: Path, seed: int) -> dict[str, tuple[str, str]]:
    """Each utterance's speaker, and one dealt out at random with the same frequencies: the control for chance."""
    pairs = [(utterance["id"], utterance["speaker"]) for utterance in read_corpus(corpus) if utterance.get("speaker")]
    dealt = np.random.default_rng(seed).permutation(len(pairs))
    return {identity: (speaker, pairs[place][1]) for (identity, speaker), place in zip(pairs, dealt)}


def count_corpus(
    corpus: Path,
    speakers: dict[str, tuple[str, str]],
    *,
    n_units: int,
    n_streams: int,
    n_resamples: int,
    seed: int,
) -> tuple[dict[str, UnitCounts], np.ndarray]:
    """Stream the corpus: counts of each split that has frames, and (2, S, K) frames a speaker, true and shuffled."""
    rows = {name: row for row, name in enumerate(sorted({true for true, _ in speakers.values()}))}
    tables = np.zeros((2, len(rows), n_units), np.int64)
    tallies = {
        split: new_tally(n_units, n_streams, n_resamples=n_resamples, seed=seed + place)
        for place, split in enumerate(SPLITS)
    }
    for utterance in tqdm(read_corpus(corpus), desc="counting", unit=" utterances", disable=None):
        check_utterance(utterance, n_units, n_streams)
        count_utterance(tallies[utterance["split"]], utterance)
        units, frames = utterance["units"], utterance["durations"]
        for side, speaker in enumerate(speakers.get(utterance["id"], ())):
            counted = np.bincount(units, weights=frames, minlength=n_units)
            tables[side, rows[speaker]] += counted.astype(np.int64)
    return {split: finish_tally(tally) for split, tally in tallies.items() if tally.frames[0].any()}, tables


def find_phones(exp: Path, language: str | None, given: Path | None) -> Path | None:
    """The table of phones: the one ``given``, else the one beside phase 1's manifest, else the language's; or None."""
    if given is not None:
        return given
    manifest = read_derived(exp).get("manifest")
    beside = [Path(manifest).with_name("phones.tsv")] if manifest else []
    tables = beside + ([language_paths(language)["phones"]] if language else [])
    return next((found for table in tables if (found := find_table(table))), None)


def score_phones(
    corpus: Path, phones: Path, *, n_units: int, n_resamples: int, seed: int
) -> dict[str, PhoneSummary] | None:
    """The scores of each split that has phones, and of all together; None where no utterance has any."""
    labels = read_phones(phones)
    utterances, n_without = label_utterances(read_corpus(corpus), labels)
    if n_without:
        log.warning("%s: has no phones for %d utterances; they are left out of the phone scores", phones, n_without)
    splits = {split: [one for one in utterances if one.split == split] for split in SPLITS} | {"all": utterances}
    settings = {"n_units": n_units, "n_phones": len(labels.names), "n_resamples": n_resamples, "seed": seed}
    scored = [(split, found) for split, found in splits.items() if found]
    bar = tqdm(scored, desc="phones", unit=" splits", disable=None)
    return {split: summarize_phones(found, **settings) for split, found in bar} or None


def score_abx_of(exp: Path, phones: Path | None, split: str, *, n_resamples: int, seed: int) -> UnitAbx | None:
    """ABX of one split or "all"; None for "off". Raises UserError where no phones are known."""
    if split == "off":
        return None
    if phones is None:
        raise UserError(f"--abx: expected phones, found none for {exp}; see phones.tsv in docs/data_formats.md")
    utterances = list(read_corpus(exp / "corpus_timestamped.json", splits=SPLITS if split == "all" else [split]))
    centroids, labels = load_kmeans(exp / "kmeans.npz").books[0], read_phones(phones)
    return score_units_by_abx(utterances, labels, centroids, split=split, n_resamples=n_resamples, seed=seed)


def build_unit_report(
    exp: Path, *, n_resamples: int, seed: int, phones: Path | None = None, abx: str = "off"
) -> UnitReport:
    """Everything ``unit_report.json`` holds. Raises UserError for an empty corpus or a broken utterance."""
    (n_units, n_streams), corpus = read_unit_settings(exp), exp / "corpus_timestamped.json"
    dealt = shuffle_speakers(corpus, seed)
    counts, tables = count_corpus(
        corpus, dealt, n_units=n_units, n_streams=n_streams, n_resamples=n_resamples, seed=seed
    )
    if not counts:
        raise UserError(f"{corpus}: expected utterances with units, found none; rerun phase 1")
    splits = {split: summarize_counts(found) for split, found in counts.items()}
    if len(counts) > 1:
        splits["all"] = summarize_counts(merge_counts(counts.values()))
    drift_bits = {
        f"{one}-{other}": divergence_bits(counts[one].frames[0], counts[other].frames[0])
        for one, other in combinations(counts, 2)
    }
    several = len({true for true, _ in dealt.values()}) > 1
    speakers = speaker_dependence(*tables) if several else None
    chance = measure_chance(read_corpus(corpus), n_units=n_units, seed=seed)
    problems = find_problems(splits, n_units, drift_bits, speakers, chance)
    notes = find_notes({split: found for split, found in splits.items() if split != "all"}, n_units)
    settings = {"n_units": n_units, "n_resamples": n_resamples, "seed": seed}
    by_phones = score_phones(corpus, phones, **settings) if phones else None
    by_abx = score_abx_of(exp, phones, abx, n_resamples=n_resamples, seed=seed)
    described = (str(exp), n_units, n_streams, UNIT_RATE, n_resamples)
    return UnitReport(*described, splits, drift_bits, speakers, by_phones, by_abx, problems, notes)


def _cell(value: object) -> str:
    if isinstance(value, Interval):
        interval = "" if value.low is None else f" [{value.low:.1f}, {value.high:.1f}]"
        return f"{value.value:.1f}{interval}"
    if isinstance(value, str):
        return value
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def describe_split(summary: UnitSummary, n_units: int, n_streams: int) -> dict[str, object]:
    """Row title -> value, for one column of the printed table."""
    bits, runs = summary.bits_per_second, summary.run_frames
    rows = {
        "utterances": summary.n_utterances,
        "minutes": summary.seconds / 60,
        "units a second": summary.units_per_second,
        f"used units of {n_units}": summary.used_units,
        "effective units": summary.effective_units,
        "bit/s at 50 Hz (headline)": bits.frames,
        "  given the frame before": bits.frames_conditional,
        "  most possible": bits.nominal,
        "bit/s deduplicated": bits.deduplicated,
        "  given the unit before": bits.deduplicated_conditional,
        "  with durations": bits.deduplicated_timed,
        "run length, frames (mean)": runs.mean,
        "  median / p90 / max": f"{runs.p50} / {runs.p90} / {runs.max}",
        "  of one frame, %": runs.single_frame_percent,
        "pairs seen of possible, %": summary.transitions.distinct_percent,
    }
    return rows | ({"bit/s with residual streams": bits.total} if n_streams > 1 else {})


def table_rows(report: UnitReport) -> list[list[str]]:
    """Header and rows of the printed table: one column a split."""
    columns = [describe_split(summary, report.n_units, report.n_streams) for summary in report.splits.values()]
    for split, column in zip(report.splits, columns):
        column.update(phone_rows(report.phones[split]) if split in (report.phones or {}) else {})
    titles = max(columns, key=len)
    rows = [[title, *(_cell(column.get(title, "")) for column in columns)] for title in titles]
    return [["", *report.splits], *rows]


def print_report(report: UnitReport) -> None:
    rows = table_rows(report)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print(row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:])), sep="  ")
    first = next(iter(report.splits))
    most = ", ".join(f"{usage.unit} ({usage.percent:.1f} %)" for usage in report.splits[first].most_used[:5])
    print(f"most used units on {first}: {most}")
    for pair, bits in report.drift_bits.items():
        print(f"drift {pair}: {bits:.4f} bit (Jensen-Shannon, 0 = equal use, 1 = nothing in common)")
    if report.speakers:
        share, count = report.speakers.percent_of_speaker_entropy, report.speakers.n_speakers
        print(f"a frame's unit tells {share:.1f} % of which of {count} speakers talks, beyond chance")
    for line in abx_lines(report.abx) if report.abx else ():
        print(line)
    for problem in report.problems:
        print(f"PROBLEM {problem}")
    for note in report.notes:
        print(f"NOTE {note}")


def main() -> None:
    args = parse_args()
    require_not_negative(args, "n_resamples")
    exp = args.exp or language_paths(args.language, args.tag)["units"]
    require_finished(exp, phase="phase 1", command=command_for("run_phase1.sh", args.language, args.tag))
    phones = find_phones(exp, args.language, args.phones)
    report = build_unit_report(exp, n_resamples=args.n_resamples, seed=args.seed, phones=phones, abx=args.abx)
    out = args.out or exp / "unit_report.json"
    write_json(out, as_json(report))
    print_report(report)
    print(f"wrote {out}")


if __name__ == "__main__":
    run_main(main)
