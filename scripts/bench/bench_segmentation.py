"""Measure the segmentation against what is known: speech kept, cuts in pauses, speed, memory.

Needs a language whose recipe leaves ``truth.tsv`` (spanish, english, italian). Linux only for the memory part.
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

import numpy as np

from audio.audio_io import load_audio, save_audio
from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from core.files import read_json, write_json
from core.frames import SAMPLE_RATE
from core.tables import read_table
from languages import add_language_flags, language_paths
from segmentation.cut_recording import DETECTORS, ENERGY, SILERO, CutFlags, CutJob, cut_recording, result_file
from segmentation.recordings import list_sources

SCRIPT = Path(__file__).resolve().parents[1] / "segment_audio.py"
POLL_SECONDS = 0.05


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
    group.add_argument("--vad", choices=DETECTORS, default=ENERGY, help="as in segment_audio.py (energy)")
    group.add_argument("--under", type=Path, default=None, help="mix the recordings of this folder under the speech")
    group.add_argument("--snr_db", type=float, default=10.0, help="speech over what --under mixes in, dB (10)")
    group.add_argument(
        "--memory", action="store_true", help="also measure peak memory on 10 and 100 times one recording"
    )
    group.add_argument("--num_workers", type=int, default=2, help="processes of the memory part (2)")
    group.add_argument("--out", type=Path, default=None, help="also write the numbers as JSON here")
    return parse_flags(parser, argv)


def cut_all(
    raw: Path, folder: Path, flags: CutFlags, *, vad: str, change: Callable[[np.ndarray, int], np.ndarray] | None
) -> CutRun:
    """Cut every recording into ``folder`` in this one process, after ``change`` (waveform, its number)."""
    segments, seconds, taken, n_by_network = {}, {}, 0.0, 0
    for number, (source, path) in enumerate(list_sources(raw).items()):
        heard = path
        if change:
            heard = folder / f"{number}.wav"
            save_audio(heard, change(load_audio(path), number))
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
    below = np.concatenate([load_audio(path) for path in list_sources(under).values()] or [np.zeros(0, np.float32)])
    if not below.any():
        raise UserError(f"{under}: expected recordings to mix under the speech, found none")
    return partial(mix_under, below=below, snr_db=snr_db)


def add_noise(waveform: np.ndarray, seed: int, *, noise_db: float) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(len(waveform), dtype=np.float32)
    return waveform + noise * 10 ** (noise_db / 20)


def mix_under(waveform: np.ndarray, seed: int, *, below: np.ndarray, snr_db: float) -> np.ndarray:
    """(S,) with a stretch of ``below`` from a random place on, ``snr_db`` below the loud half of the speech."""
    start = np.random.default_rng(seed).integers(len(below))
    other = np.resize(np.roll(below, -start), len(waveform))
    loud = np.abs(waveform)[np.abs(waveform) > np.abs(waveform).mean()]
    gain = np.sqrt(np.mean(loud**2) / max(np.mean(other**2), 1e-12)) * 10 ** (-snr_db / 20)
    mixed = waveform + np.float32(gain) * other
    return mixed / max(1.0, np.abs(mixed).max())


def read_truth(path: Path) -> dict[str, list[tuple[float, float]]]:
    truth: dict[str, list[tuple[float, float]]] = {}
    for _, row in read_table(path, ("source", "start", "end")):
        truth.setdefault(row["source"], []).append((float(row["start"]), float(row["end"])))
    return truth


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


def main() -> int:
    args = parse_args()
    paths = language_paths(args.language, args.tag)
    truth_file = paths["data"] / "truth.tsv"
    if not truth_file.exists():
        raise UserError(f"{truth_file}: expected known boundaries, found none; run recipes/spanish/prepare.sh")
    folder = Path(tempfile.mkdtemp(prefix="bench_segmentation_"))
    try:
        flags = CutFlags(args.threshold_db, args.min_pause, args.margin)
        change = choose_change(args.noise_db, args.under, args.snr_db)
        run = cut_all(paths["raw"], folder, flags, vad=args.vad, change=change)
    finally:
        shutil.rmtree(folder)
    numbers = {**compare(run.segments, read_truth(truth_file), run.seconds), **describe_lengths(run.segments)}
    audio = sum(run.seconds.values())
    numbers |= {"audio_hours": audio / 3600, "times_real_time_per_core": audio / run.taken}
    numbers |= {"recordings_by_network": run.n_by_network} if args.vad != ENERGY else {}
    if args.memory:
        numbers |= measure_memory(next(iter(list_sources(paths["raw"]).values())), args.language, args.num_workers)
    for name, value in numbers.items():
        print(f"{name:>32}  {value:.6g}")
    if args.out:
        write_json(args.out, numbers)
    return 0


if __name__ == "__main__":
    run_main(main)
