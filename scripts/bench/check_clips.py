"""What became of the clips of make_clips.py: texts and audio kept, what was lost and why, and leaks between splits.

python scripts/bench/check_clips.py --language clips --clips clips
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.files import read_json
from core.records import Segment
from languages import add_language_flags, language_paths
from segmentation.joined_clips import expand_parts
from segmentation.manifest import read_manifest


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    parser.add_argument("--clips", type=Path, required=True, help="folder of make_clips.py")
    return parse_flags(parser, argv)


def count_leaks(rows: Sequence[Segment], group: Callable[[Segment], str | None]) -> tuple[int, int]:
    """(groups with segments in several splits, groups)."""
    splits: dict[str | None, set[str]] = {}
    for row in rows:
        splits.setdefault(group(row), set()).add(row["split"])
    return sum(len(found) > 1 for found in splits.values()), len(splits)


def compare(rows: Sequence[Segment], truth: dict[str, dict]) -> dict[str, object]:
    """What the manifest holds of the whole clips."""
    said: dict[str, list[str]] = {}
    seconds = Counter()
    for row in rows:
        said.setdefault(row["source"], []).append(row.get("text") or "")
        seconds[row["source"]] += row["end"] - row["start"]
    texts = truth["texts"]
    kept = [source for source, text in texts.items() if text in said.get(source, ())]
    return {
        "texts kept": f"{len(kept)} of {len(texts)}",
        "clips in one piece": sum(len(said.get(source, ())) == 1 for source in texts),
        "audio kept": f"{100 * sum(seconds[source] for source in texts) / sum(truth['seconds'].values()):.2f} %",
        "bad files in the manifest": sum(source in said for source in (*truth["bad"], *truth["absent"])),
        "lost": [source for source in texts if source not in kept][:10],
    }


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    paths = language_paths(args.language, args.tag)
    truth, report = read_json(args.clips / "truth.json"), read_json(paths["data"] / "segmentation.json")
    segments = list(read_manifest(paths["manifest"]))
    rows = list(expand_parts(segments))
    print(f"segments: {len(segments)}")
    for name, value in compare(rows, truth).items():
        print(f"{name}: {value}")
    print(f"texts lost, by reason: {report['texts_lost']}")
    reasons = Counter(re.split(r" \(|, found", reason)[0] for reason in report["failed"].values())
    print("failed: " + ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()))
    groups = {
        "sources": lambda row: row["source"],
        "folders": lambda row: row["source"].rpartition("/")[0],
        "speakers": lambda row: row["speaker"],
    }
    for name, group in groups.items():
        leaking, n_groups = count_leaks(rows, group)
        print(f"{name} in several splits: {leaking} of {n_groups}")


if __name__ == "__main__":
    run_main(main)
