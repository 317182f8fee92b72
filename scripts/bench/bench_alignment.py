"""How exact is the alignment of a known text, does it find what is missing, and does it flag a wrong page?

Reads data/<language> of prompts laid end to end (recipes/english and so on), whose truth is exact: where each prompt
begins and ends. A prompt is a line of the text. Then the text is spoilt: lines are taken out, so that their speech is
not in the text, and lines of other recordings are put in, which nobody says. Wrong pages are texts of other recordings.

    python scripts/bench/bench_alignment.py --data data/english --split test --model exp/english_ctc
    python scripts/bench/bench_alignment.py --data data/spanish --split test --whisper <whisper-base> --language es

What was heard is kept in --heard. With --minutes, the recordings and texts are laid end to end until they are so long,
and the whole command src/align_text.py is measured; by a head, what was heard is repeated too.

    python scripts/bench/bench_alignment.py --data data/english --model exp/english_ctc --minutes 10 30 60
"""

import core.quiet_start

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from align_text import check_args, load_listener, stamp

from alignment.align_recording import Heard, align
from alignment.head_emissions import emission_notes, notes_path, open_emissions
from alignment.known_text import TextLine
from audio.audio_io import save_audio_pieces, stream_audio
from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.device import choose_device
from core.files import read_json, write_json, write_text
from core.frames import SAMPLE_RATE
from generator_cost import run_measured
from segmentation.pauses import STEPS_PER_SECOND, measure_levels
from segmentation.tables import read_transcripts

ALIGN_TEXT = str(Path(__file__).resolve().parents[2] / "src/align_text.py")
TAKEN_OUT, PUT_IN = 0.15, 0.15  # of the lines


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--data", type=Path, required=True, help="data/<language> of prompts end to end")
    parser.add_argument("--split", default="test", help="whose recordings")
    parser.add_argument("--most", type=int, default=None, help="recordings at most")
    parser.add_argument("--model", type=Path, default=None, help="experiment with a CTC head")
    parser.add_argument("--whisper", default=None, help="or a Whisper")
    parser.add_argument("--language", default=None, help="for --whisper")
    parser.add_argument("--heard", type=Path, default=Path("heard"), help="folder for what was heard")
    parser.add_argument("--rounds", type=int, default=2, help="spoilt texts a recording")
    parser.add_argument(
        "--minutes",
        type=float,
        nargs="+",
        help="only peak memory and CPU of the command, so many minutes long; by the head without hearing",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto")
    args = parse_flags(parser, argv)
    args.out, args.min_confidence, args.overwrite, args.batch_size, args.precision = args.heard, None, True, 2, "fp32"
    check_args(args)
    return args


def spoil(rows: Sequence[tuple], others: Sequence[str], rng: np.random.Generator) -> tuple[list[TextLine], set[int]]:
    """(lines called by their row, or "x…" where nobody says them; rows that were taken out)."""
    taken = set(rng.choice(len(rows), max(1, round(TAKEN_OUT * len(rows))), replace=False).tolist())
    lines = []
    for number, (_, _, text) in enumerate(rows):
        if number not in taken:
            lines.append(TextLine(str(number), text))
        if rng.random() < PUT_IN:
            lines.append(TextLine(f"x{len(lines)}", others[int(rng.integers(len(others)))]))
    return lines, taken


def edge_errors(alignment: dict, rows: Sequence[tuple]) -> list[tuple[float, float]]:
    """(start, end) in ms, found minus true, of every line that is said."""
    found = []
    for line in alignment["lines"]:
        if line["start"] is not None and not line["name"].startswith("x"):
            start, end, _ = rows[int(line["name"])]
            found.append((1000 * (line["start"] - start), 1000 * (line["end"] - end)))
    return found


def overlap(first: tuple[float, float], second: tuple[float, float]) -> float:
    return max(0.0, min(first[1], second[1]) - max(first[0], second[0]))


def count_gaps(alignment: dict, rows: Sequence[tuple], taken: set[int], sure: float) -> dict[str, int]:
    """Hits, false alarms and misses of lines that nobody says, and of speech that is not in the text (by half)."""
    absent = {line["name"]: line["start"] is None or line["confidence"] < sure for line in alignment["lines"]}
    truth = [rows[number][:2] for number in taken]
    spans = [(one["start"], one["end"]) for one in alignment["not_in_text"]]
    held = [sum(overlap(one, span) for span in spans) >= 0.5 * (one[1] - one[0]) for one in truth]
    right = [sum(overlap(one, span) for one in truth) >= 0.5 * (span[1] - span[0]) for span in spans]
    return {
        "unsaid_hit": sum(absent[name] for name in absent if name.startswith("x")),
        "unsaid_missed": sum(not absent[name] for name in absent if name.startswith("x")),
        "unsaid_false": sum(absent[name] for name in absent if not name.startswith("x")),
        "beyond_hit": sum(held),
        "beyond_missed": len(held) - sum(held),
        "beyond_false": len(right) - sum(right),
    }


def quantiles(values: np.ndarray, draws: int = 2000) -> str:
    """Median and 90 % of |ms| with their 95 % intervals over lines."""
    values, rng = np.abs(values), np.random.default_rng(0)
    shown = []
    for share in (0.5, 0.9):
        drawn = np.quantile(rng.choice(values, (draws, len(values))), share, axis=1)
        low, high = np.quantile(drawn, (0.025, 0.975))
        shown.append(f"{np.quantile(values, share):.0f} [{low:.0f}, {high:.0f}]")
    return f"median {shown[0]} ms, 90 % {shown[1]} ms"


def repeat_recordings(args: argparse.Namespace, table: dict, minutes: float) -> tuple[Path, Path]:
    """(a recording of the recordings laid end to end, its text), so long."""
    recording, text = args.heard / f"{minutes:g}.wav", args.heard / f"{minutes:g}.txt"
    lines: list[str] = []

    def pieces() -> Iterator[np.ndarray]:
        left = round(60 * SAMPLE_RATE * minutes)
        for source in itertools.cycle(sorted(table)):
            for block in stream_audio(args.data / "raw" / source):
                yield block[:left]
                left -= len(block[:left])
            lines.extend(said for *_, said in sorted(table[source]))
            if left <= 0:
                return

    n_samples = save_audio_pieces(recording, pieces())
    write_text(text, "\n".join(lines) + "\n")
    if args.model:
        repeat_posteriors(args, sorted(table), recording, n_samples)
    return recording, text


def repeat_posteriors(args: argparse.Namespace, sources: Sequence[str], recording: Path, n_samples: int) -> None:
    """What the head heard in ``sources``, end to end, as if it were heard in ``recording``: hearing costs most."""
    files = [args.heard / f"{Path(source).stem}.f16" for source in sources]
    notes, out = emission_notes(files[0]), args.heard / recording.stem / "heard" / f"{recording.stem}.f16"
    out.parent.mkdir(parents=True, exist_ok=True)
    seconds = 0.0
    with open(out, "wb") as file:
        for one in itertools.cycle(files):
            rows, n_heard = open_emissions(one)
            file.write(rows.tobytes())
            seconds += n_heard / SAMPLE_RATE
            if seconds * SAMPLE_RATE >= n_samples:
                break
    write_json(notes_path(out), notes | {"identity": notes["identity"] | stamp(recording), "n_samples": n_samples})


def measure_command(args: argparse.Namespace, table: dict, minutes: float) -> str:
    """Peak memory and CPU of the whole command; by the head without hearing, which is measured by itself."""
    recording, text = repeat_recordings(args, table, minutes)
    listener = ["--model", str(args.model)] if args.model else ["--whisper", args.whisper, "--language", args.language]
    places = [str(recording), "--text", str(text), "--out", str(args.heard / recording.stem), "--overwrite"]
    used = run_measured([sys.executable, ALIGN_TEXT, *places, *listener, "--precision", "fp32"], dict(os.environ))
    return f"| {minutes:g} | {used['peak_mib']:.0f} | {used['cpu_seconds']:.0f} | {used['cpu_seconds'] / minutes:.2f} |"


def hear_and_measure(args: argparse.Namespace, table: dict, hear: Callable[[str, list[TextLine]], Heard]) -> None:
    seconds = sum(rows[-1][1] for rows in map(sorted, table.values()))
    began = time.process_time()
    for source in table if args.model else ():
        hear(source, [TextLine("1", "a")])
        print(
            f"hearing {source}: {time.process_time() - began:.0f} CPU s so far of {seconds:.0f} s of speech", flush=True
        )
    print("| minutes | peak (MiB) | CPU (s) | CPU (s) a minute |\n|---|---|---|---|")
    for minutes in sorted(args.minutes):
        print(measure_command(args, table, minutes), flush=True)


def main() -> int:
    args = parse_args()
    args.device = choose_device(args.device)
    splits = read_json(args.data / "splits.json")
    table = read_transcripts(args.data / "transcripts.tsv")
    sources = [source for source, split in splits.items() if split == args.split and source in table][: args.most]
    listener, began = load_listener(args, ()), time.process_time()
    args.heard.mkdir(parents=True, exist_ok=True)
    rows = {source: sorted(table[source]) for source in sources}
    levels = {source: measure_levels(stream_audio(args.data / "raw" / source))[0] for source in sources}

    def hear(source: str, lines: Sequence[TextLine]) -> Heard:
        seconds = len(levels[source]) / STEPS_PER_SECOND
        return listener.hear(args.data / "raw" / source, lines, args.heard / Path(source).stem, seconds)

    if args.minutes:
        hear_and_measure(args, {source: table[source] for source in sources}, hear)
        return 0
    errors, gaps, pages, confidences = [], {}, {"right": [], "wrong": []}, []
    for source in sources:
        lines = [TextLine(str(number), text) for number, (_, _, text) in enumerate(rows[source])]
        found = align(source, hear(source, lines), levels[source], listener.scale)
        errors += edge_errors(found, rows[source])
        pages["right"].append(found["summary"]["said_share"])
        others = [text for other in sources if other != source for _, _, text in rows[other]]
        for number in range(args.rounds):
            spoilt, taken = spoil(rows[source], others, np.random.default_rng([7, number, len(errors)]))
            found = align(source, hear(source, spoilt), levels[source], listener.scale)
            for name, count in count_gaps(found, rows[source], taken, listener.scale.sure).items():
                gaps[name] = gaps.get(name, 0) + count
            confidences += [(line["confidence"], not line["name"].startswith("x")) for line in found["lines"]]
        for other in sources:
            if other != source:
                wrong = [TextLine(str(number), text) for number, (_, _, text) in enumerate(rows[other])]
                found = align(source, hear(source, wrong), levels[source], listener.scale)
                pages["wrong"].append(found["summary"]["said_share"])
    values = np.array(errors)
    print(f"{len(sources)} recordings, {len(errors)} lines found of {sum(map(len, rows.values()))}")
    print(f"starts: {quantiles(values[:, 0])}; bias {np.median(values[:, 0]):.0f} ms")
    print(f"ends: {quantiles(values[:, 1])}; bias {np.median(values[:, 1]):.0f} ms")
    print(f"both: {quantiles(values.ravel())}")
    print(json.dumps(gaps))
    print(json.dumps({"threshold": listener.scale.least_said, **pages}))
    said = [sure for sure, is_said in confidences if is_said]
    unsaid = [sure for sure, is_said in confidences if not is_said]
    print(f"confidence of lines that are said {np.quantile(said, (0.05, 0.1, 0.5)).round(3).tolist()} (5, 10, 50 %)")
    print(f"confidence of lines that are not {np.quantile(unsaid, (0.5, 0.9, 0.95)).round(3).tolist()} (50, 90, 95 %)")
    print(f"{time.process_time() - began:.0f} CPU s")
    return 0


if __name__ == "__main__":
    run_main(main)
