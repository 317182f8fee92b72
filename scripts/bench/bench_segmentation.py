"""Measure the segmentation against what is known: speech kept, cuts in pauses, speed, memory.

Needs a language whose recipe leaves ``truth.tsv`` (spanish, english, italian). Linux only for the memory part. With
``--under`` it mixes other sounds under the speech and prints tables, a row for each sound and level:

    bash scripts/bench/fetch_noises.sh noises
    python scripts/bench/bench_segmentation.py --language spanish --under noises/music noises/rain_wind \\
        --snr_db 20 15 10 5 0 --vad energy silero auto known --out rows.json
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import numpy as np

from tqdm import tqdm

from speech_mixtures import (
    Heard,
    Mixture,
    Span,
    add_gaps,
    describe_pieces,
    judge,
    load_background,
    loud_without_speech,
    measure_mixture,
    mix_under,
    read_truth,
    steps_of,
    summarise,
)

from audio.audio_io import load_audio, save_audio
from audio.mp3 import encode_mp3
from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from core.files import read_json, write_json
from core.frames import SAMPLE_RATE
from languages import add_language_flags, language_paths
from segmentation.cut_recording import AUTO, DETECTORS, ENERGY, SILERO, CutFlags, CutJob, cut_recording, result_file
from segmentation.pauses import find_segments
from segmentation.recordings import list_sources
from segmentation.voice_activity import MOST_FALSE_SOUND, speech_probabilities

SCRIPT = Path(__file__).resolve().parents[1] / "segment_audio.py"
POLL_SECONDS = 0.05
KNOWN, CLEAN = "known", "none"  # where the speech truly is; no background
GAP_EVERY = 60.0  # seconds of a recording between stretches without speech
SETTINGS = ("language", "tag", "threshold_db", "min_pause", "margin", "gap_seconds")
SHARES = {
    "speech_kept": "Speech that is in a segment",
    "rest_dropped": "What is no speech and in no segment",
    "ends_in_words": "Ends of segments that lie in speech",
    "gaps_cut": "Long stretches without speech: part that lies in segments",
    "gaps_used": "Long stretches without speech: part that lies in segments and is not flagged",
    "gaps_flagged": "Long stretches without speech: flagged, of the part in segments",
    "speech_flagged": "Speech in segments flagged as noise or music",
}
Row = dict[str, object]  # background, snr_db, vad, by_network, and an Interval for each of SHARES


class CutRun(NamedTuple):
    """What cutting all recordings gave."""

    segments: dict[str, list[tuple[float, float]]]
    seconds: dict[str, float]  # of each recording
    taken: float  # CPU seconds
    n_by_network: int  # recordings in which the network found the speech


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("bench")
    group.add_argument("--threshold_db", type=float, default=10.0, help="as in segment_audio.py, dB (10)")
    group.add_argument("--min_pause", type=float, default=0.4, help="as in segment_audio.py, seconds (0.4)")
    group.add_argument("--margin", type=float, default=0.2, help="as in segment_audio.py, seconds (0.2)")
    group.add_argument("--noise_db", type=float, default=None, help="add white noise to the recordings first, dB RMS")
    group.add_argument(
        "--vad",
        nargs="+",
        choices=(*DETECTORS, KNOWN),
        default=[ENERGY],
        help="as in segment_audio.py, several in turn (energy); known, with --under: where the speech truly is",
    )
    group.add_argument("--under", type=Path, nargs="+", default=[], help="mix sounds under the speech, a folder each")
    group.add_argument("--snr_db", type=float, nargs="+", default=[10.0], help="speech over what is mixed in, dB (10)")
    group.add_argument(
        "--gap_seconds",
        type=float,
        default=20.0,
        help="with --under: stretches without speech, put in each minute (20)",
    )
    group.add_argument(
        "--speed", action="store_true", help="with --under: cut through files, as segment_audio.py does, and time it"
    )
    group.add_argument(
        "--memory", action="store_true", help="also measure peak memory on 10 and 100 times one recording"
    )
    group.add_argument("--num_workers", type=int, default=2, help="processes of the memory part (2)")
    group.add_argument(
        "--out",
        type=Path,
        default=None,
        help="also write the numbers as JSON here; rows that it holds are not measured again",
    )
    return parse_flags(parser, argv)


def cut_all(
    raw: Path, folder: Path, flags: CutFlags, *, vad: str, change: Callable[[np.ndarray, int], np.ndarray] | None
) -> CutRun:
    """Cut every recording into ``folder`` in this one process, after ``change`` (waveform, its number), as MP3."""
    if vad != ENERGY:
        speech_probabilities(
            [np.zeros(60 * SAMPLE_RATE, np.float32)]
        )  # its parts are compiled when they are first used
    segments, seconds, taken, n_by_network = {}, {}, 0.0, 0
    for number, (source, path) in enumerate(list_sources(raw).items()):
        heard = path
        if change:
            heard = folder / f"{number}.mp3"
            heard.write_bytes(encode_mp3(change(load_audio(path), number), bits_per_second=128_000))
        job = CutJob(source, heard, str(number), flags, False, folder / "segments", folder / "results", vad=vad)
        started = time.process_time()
        if reason := cut_recording(job):
            raise UserError(f"{path}: {reason}")
        taken += time.process_time() - started
        result = read_json(result_file(job))
        segments[source] = [(segment["start"], segment["end"]) for segment in result["segments"]]
        seconds[source] = result["n_samples"] / SAMPLE_RATE
        n_by_network += result.get("detector") == SILERO
    return CutRun(segments, seconds, taken, n_by_network)


def choose_change(
    noise_db: float | None, under: Path | None, snr_db: float
) -> Callable[[np.ndarray, int], np.ndarray] | None:
    """What is done to a waveform before it is cut: white noise, or other recordings below it, or nothing."""
    if under is None:
        return None if noise_db is None else partial(add_noise, noise_db=noise_db)
    return partial(mix_under, below=load_background(under), snr_db=snr_db)


def add_noise(waveform: np.ndarray, seed: int, *, noise_db: float) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(len(waveform), dtype=np.float32)
    return waveform + noise * 10 ** (noise_db / 20)


def compare(segments: dict[str, list], truth: dict[str, list], seconds: dict[str, float]) -> dict[str, float]:
    """Per cent of the true speech that lies in segments, of the rest that does not, and of the ends in no speech."""
    speech = kept = inside = 0.0
    n_cuts = n_in_pause = 0
    for source, stretches in truth.items():
        known = np.asarray(stretches)
        for start, end in segments[source]:
            inside += end - start
            kept += np.maximum(0, np.minimum(end, known[:, 1]) - np.maximum(start, known[:, 0])).sum()
            for cut in (start, end):
                n_cuts += 1
                n_in_pause += not ((known[:, 0] < cut) & (cut < known[:, 1])).any()
        speech += float((known[:, 1] - known[:, 0]).sum())
    return {
        "speech_kept_percent": 100 * kept / speech,
        "rest_dropped_percent": 100 * (1 - (inside - kept) / (sum(seconds[source] for source in truth) - speech)),
        "cuts_in_pauses_percent": 100 * n_in_pause / n_cuts,
        "n_cuts": n_cuts,
    }


def describe_lengths(segments: dict[str, list]) -> dict[str, float]:
    lengths = np.asarray([end - start for bounds in segments.values() for start, end in bounds])
    numbers = dict(zip(("shortest", "median", "longest"), np.percentile(lengths, (0, 50, 100))))
    return {"n_segments": len(lengths), **{f"{name}_seconds": float(value) for name, value in numbers.items()}}


def peak_memory(recording: Path, repeats: int, long: bool, language: str, n_workers: int) -> float:
    """MiB that segment_audio.py and its workers hold at most, on ``recording`` again and again, as files or one."""
    with tempfile.TemporaryDirectory(prefix="bench_segmentation_") as temporary:
        raw = Path(temporary) / language / "raw"
        raw.mkdir(parents=True)
        if long:
            save_audio(raw / "long.wav", np.tile(load_audio(recording), repeats))
        else:
            for number in range(repeats):
                os.symlink(recording.resolve(), raw / f"{number:04d}{recording.suffix}")
        command = [sys.executable, str(SCRIPT), "--language", language, "--num_workers", str(n_workers)]
        environment = {**os.environ, "DATA_ROOT": temporary}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, sum(proportional_memory(pid) for pid in (process.pid, *children_of(process.pid))))
            time.sleep(POLL_SECONDS)
        if process.returncode:
            raise UserError(f"segment_audio.py ended with {process.returncode} on {repeats} x {recording}")
        return peak


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def proportional_memory(pid: int) -> float:
    """MiB of a process, pages shared with others counted in part (PSS)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def measure_memory(recording: Path, language: str, n_workers: int) -> dict[str, float]:
    numbers = {}
    for kind, long in (("files", False), ("one_file", True)):
        for repeats in (10, 100):
            numbers[f"peak_mib_{kind}_x{repeats}"] = peak_memory(recording, repeats, long, language, n_workers)
        growth = numbers[f"peak_mib_{kind}_x100"] / numbers[f"peak_mib_{kind}_x10"] - 1
        numbers[f"growth_{kind}_percent"] = 100 * growth
    return numbers


def measure_chain(args: argparse.Namespace, raw: Path, truth: dict[str, list[Span]], vad: str) -> dict[str, float]:
    """Numbers of the whole chain, through files: what it finds, how fast it is."""
    folder = Path(tempfile.mkdtemp(prefix="bench_segmentation_"))
    try:
        flags = CutFlags(args.threshold_db, args.min_pause, args.margin)
        change = choose_change(args.noise_db, args.under[0] if args.under else None, args.snr_db[0])
        run = cut_all(raw, folder, flags, vad=vad, change=change)
    finally:
        shutil.rmtree(folder)
    numbers = {**compare(run.segments, truth, run.seconds), **describe_lengths(run.segments)}
    audio = sum(run.seconds.values())
    numbers |= {"audio_hours": audio / 3600, "times_real_time_per_core": audio / run.taken}
    return numbers | ({"recordings_by_network": run.n_by_network} if vad != ENERGY else {})


def measure_mixtures(args: argparse.Namespace, raw: Path, truth: dict[str, list[Span]]) -> list[Row]:
    """A row for each background, level and detector; those that ``--out`` holds already are taken from there."""
    settings = {name: getattr(args, name) for name in SETTINGS}
    last = read_json(args.out) if args.out and args.out.is_file() else {}
    rows: list[Row] = last.get("rows", []) if last.get("settings") == settings else []
    plain = [
        add_gaps(load_audio(path), truth[source], args.gap_seconds, GAP_EVERY)
        for source, path in list_sources(raw).items()
        if source in truth
    ]
    backgrounds = [(None, float("inf")), *((folder, snr) for folder in args.under for snr in args.snr_db)]
    for folder, snr_db in tqdm(backgrounds, unit="mixture", desc="mixtures", disable=None):
        name, level = folder.name if folder else CLEAN, None if folder is None else snr_db
        have = {row["vad"] for row in rows if (row["background"], row["snr_db"]) == (name, level)}
        if missing := [vad for vad in args.vad if vad not in have]:
            change = choose_change(None, folder, snr_db)
            shares = judge_mixture(plain, change, missing, CutFlags(args.threshold_db, args.min_pause, args.margin))
            rows += [{"background": name, "snr_db": level, "vad": vad, **shares[vad]} for vad in missing]
            if args.out:
                write_json(args.out, {"settings": settings, "rows": rows})
    return rows


def judge_mixture(
    plain: list[Mixture], change: Callable[[np.ndarray, int], np.ndarray] | None, detectors: list[str], flags: CutFlags
) -> dict[str, dict[str, object]]:
    """Shares (per cent, with their intervals) of every detector, on all recordings after ``change``."""
    judged: dict[str, list] = {vad: [] for vad in detectors}
    n_by_network = dict.fromkeys(detectors, 0)
    for number, mixture in enumerate(plain):
        heard = measure_mixture(change(mixture.waveform, number) if change else mixture.waveform)
        for vad in detectors:
            active = choose_active(vad, heard, mixture, flags.threshold_db)
            found = find_segments(heard.levels, active=active, **flags._asdict())
            judged[vad].append(judge(describe_pieces(found.pieces, heard), mixture))
            n_by_network[vad] += vad in DETECTORS and active is not None
    return {vad: {"by_network": n_by_network[vad], **summarise(rows)} for vad, rows in judged.items()}


def choose_active(vad: str, heard: Heard, mixture: Mixture, threshold_db: float) -> np.ndarray | None:
    """(T,) bool where somebody speaks, as the detector has it; None: by loudness."""
    if vad == KNOWN:
        return steps_of(mixture.speech, len(heard.levels))
    if vad == ENERGY or (vad == AUTO and loud_without_speech(heard, threshold_db) <= MOST_FALSE_SOUND):
        return None
    return heard.spoken


def print_tables(rows: list[Row], detectors: list[str]) -> None:
    """Markdown: a table for each share, a row for each background and level, a column for each detector."""
    cells = {(row["background"], row["snr_db"], row["vad"]): row for row in rows}
    places = list(dict.fromkeys((row["background"], row["snr_db"]) for row in rows))
    for name, title in SHARES.items():
        print(f"\n{title} (%)\n\n| background | dB | {' | '.join(detectors)} |\n|---|---|{'---|' * len(detectors)}")
        for background, snr_db in places:
            shown = [format_share(cells.get((background, snr_db, vad)), name) for vad in detectors]
            print(f"| {background} | {'' if snr_db is None else f'{snr_db:g}'} | {' | '.join(shown)} |")
    for background, snr_db in places:
        if row := cells.get((background, snr_db, AUTO)):
            print(f"auto, {background} {snr_db}: the network in {row['by_network']} recordings")


def format_share(row: Row | None, name: str) -> str:
    if row is None:
        return "–"
    mean, low, high, _ = row[name]
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def check_args(args: argparse.Namespace) -> argparse.Namespace:
    """Refuse flags that would be ignored."""
    in_tables = args.under and not args.speed
    if args.under and args.noise_db is not None:
        raise UserError("--noise_db and --under: expected one of them, found both")
    if args.speed and (len(args.under) != 1 or len(args.snr_db) != 1):
        raise UserError("--speed: expected one folder in --under and one --snr_db")
    if KNOWN in args.vad and not in_tables:
        raise UserError("--vad known: expected --under without --speed")
    if args.memory and in_tables:
        raise UserError("--memory: expected no --under")
    return args


def main() -> int:
    args = check_args(parse_args())
    paths = language_paths(args.language, args.tag)
    truth_file = paths["data"] / "truth.tsv"
    if not truth_file.exists():
        raise UserError(f"{truth_file}: expected known boundaries, found none; run recipes/spanish/prepare.sh")
    truth = read_truth(truth_file)
    if args.under and not args.speed:
        print_tables(measure_mixtures(args, paths["raw"], truth), args.vad)
        return 0
    numbers = {vad: measure_chain(args, paths["raw"], truth, vad) for vad in args.vad}
    if args.memory:
        first = next(iter(list_sources(paths["raw"]).values()))
        numbers["memory"] = measure_memory(first, args.language, args.num_workers)
    for vad, values in numbers.items():
        print(vad)
        for name, value in values.items():
            print(f"{name:>32}  {value:.6g}")
    if args.out:
        write_json(args.out, numbers)
    return 0


if __name__ == "__main__":
    run_main(main)
