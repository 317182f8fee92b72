"""Phase 1's units judged without any label: usage, entropy, bitrate, run lengths, transitions, drift, speakers.

    python src/validate_units.py --language spanish
    python src/validate_units.py --exp exp/spanish_units_w4

Reads ``corpus_timestamped.json``, writes ``unit_report.json`` beside it and prints a table and what looks wrong.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from tqdm import tqdm

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from core.files import read_json, write_json
from core.frames import UNIT_RATE
from core.records import SPLITS
from languages import add_language_flags, command_for, language_paths
from training.experiment import require_finished
from units.corpus import read_corpus
from units.quality import divergence_bits, speaker_dependence, summarize_tally
from units.quality_warnings import find_problems
from units.tally import check_utterance, count_utterance, finish_tally, merge_tallies, new_tally


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("report")
    group.add_argument("--exp", type=Path, default=None, help="phase 1 folder; by default the language's")
    group.add_argument("--n_resamples", type=int, default=500, help="bootstrap resamples of the utterances; 0: none")
    group.add_argument("--seed", type=int, default=0, help="seed of the bootstrap and of the shuffled speakers")
    group.add_argument("--out", type=Path, default=None, help="report file; by default unit_report.json in the folder")
    return parse_flags(parser, argv)


def read_unit_settings(exp: Path) -> dict:
    """``n_units`` and ``n_streams`` of a phase 1 folder."""
    derived = read_json(exp / "config.json").get("derived", {})
    if not isinstance(derived.get("n_units"), int):
        raise UserError(f"{exp / 'config.json'}: expected derived.n_units, found none; rerun phase 1 with --overwrite")
    return {"n_units": derived["n_units"], "n_streams": derived.get("n_streams", 1)}


def shuffle_speakers(corpus: Path, seed: int) -> dict[str, tuple[str, str]]:
    """Each utterance's speaker, and one dealt out at random with the same frequencies: the control for chance."""
    pairs = [(u["id"], u["speaker"]) for u in read_corpus(corpus) if u.get("speaker")]
    dealt = np.random.default_rng(seed).permutation(len(pairs))
    return {name: (speaker, pairs[place][1]) for (name, speaker), place in zip(pairs, dealt)}


def tally_corpus(corpus: Path, settings: dict, speakers: dict, n_resamples: int, seed: int) -> tuple[dict, np.ndarray]:
    """Stream the corpus: a tally for each split that has frames, and (2, S, K) frames a speaker, true and shuffled."""
    n_units, n_streams = settings["n_units"], settings["n_streams"]
    rows = {name: row for row, name in enumerate(sorted({true for true, _ in speakers.values()}))}
    tables = np.zeros((2, len(rows), n_units), np.int64)
    tallies = {
        split: new_tally(n_units, n_streams, n_resamples=n_resamples, seed=seed + place)
        for place, split in enumerate(SPLITS)
    }
    for utterance in tqdm(read_corpus(corpus), desc="counting", unit=" utterances", disable=None):
        check_utterance(utterance, n_units, n_streams)
        count_utterance(tallies[utterance["split"]], utterance)
        for side, speaker in enumerate(speakers.get(utterance["id"], ())):
            tables[side, rows[speaker]] += np.bincount(
                utterance["units"], weights=utterance["durations"], minlength=n_units
            ).astype(np.int64)
    return {split: finish_tally(tally) for split, tally in tallies.items() if tally["frames"][0].any()}, tables


def build_unit_report(exp: Path, *, n_resamples: int, seed: int) -> dict:
    """Everything ``unit_report.json`` holds. Raises UserError for an empty corpus or a broken utterance."""
    settings, corpus = read_unit_settings(exp), exp / "corpus_timestamped.json"
    speakers = shuffle_speakers(corpus, seed)
    tallies, tables = tally_corpus(corpus, settings, speakers, n_resamples, seed)
    if not tallies:
        raise UserError(f"{corpus}: expected utterances with units, found none; rerun phase 1")
    several = Counter(true for true, _ in speakers.values())
    report = {
        "exp": str(exp),
        **settings,
        "unit_rate": UNIT_RATE,
        "n_resamples": n_resamples,
        "splits": {split: summarize_tally(tally) for split, tally in tallies.items()},
        "drift_bits": {
            f"{one}-{other}": divergence_bits(tallies[one]["frames"][0], tallies[other]["frames"][0])
            for one, other in combinations(tallies, 2)
        },
        "speakers": speaker_dependence(*tables) if len(several) > 1 else None,
    }
    if len(tallies) > 1:
        report["splits"]["all"] = summarize_tally(merge_tallies(tallies.values()))
    return report | {"problems": find_problems(report)}


def _cell(value: object) -> str:
    if isinstance(value, dict):
        interval = "" if value["low"] is None else f" [{value['low']:.1f}, {value['high']:.1f}]"
        return f"{value['value']:.1f}{interval}"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def table_rows(report: dict) -> list[list[str]]:
    """Header and rows of the printed table: one column a split."""
    summaries = list(report["splits"].values())
    measures = {
        "utterances": lambda s: s["n_utterances"],
        "minutes": lambda s: s["seconds"] / 60,
        "units a second": lambda s: s["units_per_second"],
        f"used units of {report['n_units']}": lambda s: s["used_units"],
        "effective units": lambda s: s["effective_units"],
        "bit/s at 50 Hz (headline)": lambda s: s["bits_per_second"]["frames"],
        "  given the frame before": lambda s: s["bits_per_second"]["frames_conditional"],
        "  most possible": lambda s: s["bits_per_second"]["nominal"],
        "bit/s deduplicated": lambda s: s["bits_per_second"]["deduplicated"],
        "  given the unit before": lambda s: s["bits_per_second"]["deduplicated_conditional"],
        "  with durations": lambda s: s["bits_per_second"]["deduplicated_timed"],
        "run length, frames (mean)": lambda s: s["run_frames"]["mean"],
        "  median / p90 / max": lambda s: "{p50} / {p90} / {max}".format(**s["run_frames"]),
        "  of one frame, %": lambda s: s["run_frames"]["single_frame_percent"],
        "pairs seen of possible, %": lambda s: s["transitions"]["distinct_percent"],
    }
    if report["n_streams"] > 1:
        measures["bit/s with residual streams"] = lambda s: s["bits_per_second"]["total"]
    rows = [["", *report["splits"]]]
    for name, measure in measures.items():
        cells = [measure(summary) for summary in summaries]
        rows.append([name, *(cell if isinstance(cell, str) else _cell(cell) for cell in cells)])
    return rows


def print_report(report: dict) -> None:
    rows = table_rows(report)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print(row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:])), sep="  ")
    first = next(iter(report["splits"]))
    most = ", ".join(f"{row['unit']} ({row['percent']:.1f} %)" for row in report["splits"][first]["most_used"][:5])
    print(f"most used units on {first}: {most}")
    for pair, bits in report["drift_bits"].items():
        print(f"drift {pair}: {bits:.4f} bit (Jensen-Shannon, 0 = equal use, 1 = nothing in common)")
    if report["speakers"]:
        share, count = report["speakers"]["percent_of_speaker_entropy"], report["speakers"]["n_speakers"]
        print(f"a frame's unit tells {share:.1f} % of which of {count} speakers talks, beyond chance")
    for problem in report["problems"]:
        print(f"PROBLEM {problem}")


def main() -> None:
    args = parse_args()
    if args.n_resamples < 0:
        raise UserError(f"--n_resamples {args.n_resamples}: expected 0 or more")
    exp = args.exp or language_paths(args.language, args.tag)["units"]
    require_finished(exp, phase="phase 1", command=command_for("run_phase1.sh", args.language, args.tag))
    report = build_unit_report(exp, n_resamples=args.n_resamples, seed=args.seed)
    out = args.out or exp / "unit_report.json"
    write_json(out, report)
    print_report(report)
    print(f"wrote {out}")


if __name__ == "__main__":
    run_main(main)
