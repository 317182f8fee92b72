"""Measure what each phase costs against the hours of a corpus: CPU seconds, memory, files and bytes.

``real`` repeats a language's recordings (linked, not copied) under new ids until there are --hours of them, and runs
phases 1 and 2. ``make`` writes a corpus of --hours in lists and units alone: every utterance has its own id, units and
F0, and the audio is that of a few clips. ``voice`` starts src/trainer_vocoder.py on it, for --steps steps, twice: the
first start makes the table of the corpus, every other one maps it. ``tokens`` runs src/train_bpe.py, ``prosody`` starts
src/trainer_prosody.py for --steps steps.

    python scripts/bench/bench_scale.py real --language spanish --hours 10 --folder /tmp/scale
    python scripts/bench/bench_scale.py make voice tokens --hours 2000 --folder /tmp/scale --out scale_2000.json

CPU seconds are those of the process and its threads: other work on the machine does not change them. Memory is the
largest that was resident, with ``anonymous`` what belongs to the process alone, without mapped files.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import numpy as np

from own_memory import look_on

from audio.audio_io import save_audio
from audio.pitch import f0_store
from audio.track_store import ENTRY, N_BUCKETS
from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from core.files import write_atomically, write_json
from core.frames import HOP_SAMPLES, SAMPLE_RATE, UNIT_RATE
from core.packed_files import name_key
from generator_cost import run_measured
from languages import REPOSITORY, add_language_flags, language_paths
from repeated_corpus import link_audio, repeat_manifest
from segmentation.manifest import read_manifest
from units.corpus import deduplicate
from units.kmeans import UnitClusters, save_kmeans

JOBS = ("real", "make", "voice", "tokens", "prosody")
SYNTHETIC = "synthetic"
UTTERANCE_SECONDS = 7.2  # so that a million are 2,000 hours
N_UNITS, N_BODIES, N_CLIPS = 1000, 2000, 20
MOTIF_FLAGS = ("--max_train_units", "3000000")
EXP_OF = {"units": "units", "motifs": "bpe"}
HELD_OUT_EVERY = 1000  # one utterance in so many is of val, one of test


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("jobs", nargs="+", choices=JOBS, help="what to do, in this order")
    add_language_flags(parser)
    group = parser.add_argument_group("bench")
    group.add_argument("--folder", type=Path, required=True, help="where the corpora are, or go to")
    group.add_argument("--hours", type=float, default=100.0, help="of speech in the corpus")
    group.add_argument("--steps", type=int, default=3, help="voice, prosody: steps of training")
    group.add_argument(
        "--starts",
        nargs="+",
        choices=("first", "again"),
        default=["first", "again"],
        help="voice: with no table, with one",
    )
    group.add_argument("--out", type=Path, default=None, help="write the numbers as JSON here")
    group.add_argument("--trainer_args", default="", help="voice: further flags, quoted")
    args = parse_flags(parser, argv)
    require_positive(args, "hours", "steps")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    root = args.folder / f"hours_{args.hours:g}"
    run = {"real": run_real, "make": make_corpus, "voice": run_voice, "tokens": run_tokens, "prosody": run_prosody}
    found = {"hours": args.hours} | {job: run[job](args, root) for job in args.jobs}
    print(json.dumps(found, indent=2))
    if args.out:
        write_json(args.out, found)


# Recordings, repeated.


def run_real(args: argparse.Namespace, root: Path) -> dict[str, object]:
    """Phases 1 and 2 on the language's own segments, repeated until there are enough hours."""
    rows = list(read_manifest(language_paths(args.language)["manifest"]))
    scale = max(1, round(3600 * args.hours / sum(row["duration"] for row in rows)))
    link_audio(rows, root / "data")
    manifest = root / "data" / args.language / "segments.jsonl"
    hours = repeat_manifest(rows, scale, manifest)
    flags = ["--language", args.language, "--overwrite"]
    phases = {"units": ["extract_units.py", "--quiet", "--n_units", "200"], "motifs": ["train_bpe.py", *MOTIF_FLAGS]}
    found = {"hours": hours}
    for name, (script, *own) in phases.items():
        command = [sys.executable, str(REPOSITORY / "src" / script), *flags, *own]
        found[name] = run_measured(command, roots(root)) | weigh(root / "exp" / f"{args.language}_{EXP_OF[name]}")
    return found


def roots(root: Path) -> dict[str, str]:
    return os.environ | {"DATA_ROOT": str(root / "data"), "EXP_ROOT": str(root / "exp"), "TQDM_DISABLE": "1"}


def weigh(folder: Path) -> dict[str, int]:
    """Files below a folder, and the bytes that they take on disk."""
    states = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return {"files": len(states), "megabytes": round(sum(512 * state.st_blocks for state in states) / 1e6)}


# A corpus of lists, units and F0.


def make_corpus(args: argparse.Namespace, root: Path) -> dict[str, float]:
    """data/synthetic and exp/synthetic_units of ``root``; what they weigh."""
    n_utterances = round(3600 * args.hours / UTTERANCE_SECONDS)
    data, units = root / "data" / SYNTHETIC, root / "exp" / f"{SYNTHETIC}_units"
    write_clips(data / "segments")
    units.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    write_atomically(units / "corpus_timestamped.json", lambda temporary: write_corpus_file(temporary, n_utterances))
    write_clusters(units)
    write_f0(f0_store(data / "cache"), n_utterances)
    said = {"hours": args.hours, "utterances": n_utterances, "cpu_seconds": time.process_time() - began}
    return said | {f"data_{key}": value for key, value in weigh(data).items()}


def write_clips(folder: Path) -> None:
    """A few clips of coloured noise: what a voice learns from them does not matter here."""
    random = np.random.default_rng(0)
    for number in range(N_CLIPS):
        noise = np.cumsum(random.standard_normal(round(UTTERANCE_SECONDS * SAMPLE_RATE)))
        save_audio(folder / f"clip{number}.wav", 0.3 * noise / np.abs(noise).max())


def n_frames() -> int:
    return round(UTTERANCE_SECONDS * SAMPLE_RATE) // HOP_SAMPLES


def bodies() -> list[str]:
    """The units and durations of N_BODIES utterances as JSON: runs of two and a half frames, as speech has them."""
    random, made = np.random.default_rng(1), []
    for _ in range(N_BODIES):
        runs = random.geometric(0.4, n_frames())
        frames = np.repeat(random.integers(0, N_UNITS, len(runs)), runs)[: n_frames()]
        units, durations = deduplicate(frames)
        made.append(f'"unit_rate":50,"units":{units.tolist()},"durations":{durations.tolist()}'.replace(" ", ""))
    return made


def names(n_utterances: int) -> Iterator[tuple[int, str, str]]:
    """(number, id, split) of every utterance."""
    for number in range(n_utterances):
        split = {0: "val", 1: "test"}.get(number % HELD_OUT_EVERY, "train")
        yield number, f"recording_{number // 500:06d}_{number % 500:04d}", split


def write_corpus_file(path: Path, n_utterances: int) -> None:
    made = bodies()
    with open(path, "w", encoding="utf-8") as out:
        out.write("[")
        for number, name, split in names(n_utterances):
            head = f'{{"id":"{name}","audio":"{SYNTHETIC}/segments/clip{number % N_CLIPS}.wav","duration":7.2,'
            tail = f'"speaker":"speaker_{number // 5000}","split":"{split}",{made[number * 7 % N_BODIES]}}}'
            out.write((",\n" if number else "\n") + head + tail)
        out.write("\n]\n")


def write_clusters(units: Path) -> None:
    random = np.random.default_rng(2)
    books = (random.standard_normal((N_UNITS, 39)).astype(np.float32),)
    clusters = UnitClusters(books, np.zeros(39, np.float32), np.ones(39, np.float32))
    save_kmeans(units, clusters, {"encoder": "mfcc", "layer": None, "options": {}})
    derived = {"encoder": "mfcc", "layer": None, "n_units": N_UNITS, "n_streams": 1, "unit_rate": UNIT_RATE}
    config = {"arguments": {}, "derived": derived | {"language": SYNTHETIC}, "input_hash": "", "environment": {}}
    write_json(units / "config.json", config)
    write_json(units / "finished.json", {})


def write_f0(store: Path, n_utterances: int) -> None:
    """F0 of every utterance, all unvoiced, as holes in the files: what counts here is finding it."""
    store.mkdir(parents=True, exist_ok=True)
    keys = np.array([name_key(name) for _, name, _ in names(n_utterances)], np.uint64)
    for number in range(N_BUCKETS):
        index = np.zeros(int((keys % N_BUCKETS == number).sum()), ENTRY)
        index["key"] = np.sort(keys[keys % N_BUCKETS == number])
        index["n_frames"], index["made_ns"] = n_frames(), time.time_ns() + 10**12
        index["start"] = np.arange(len(index)) * n_frames()
        index["n_bytes"] = 44 + 2 * round(UTTERANCE_SECONDS * SAMPLE_RATE)
        with open(store / f"{number:02d}.f0", "wb") as out:
            np.lib.format.write_array(out, index, version=(1, 0), allow_pickle=False)
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(index) * n_frames(),)}
            np.lib.format.write_array_header_1_0(out, header)
            out.truncate(out.tell() + 4 * len(index) * n_frames())


# What a start costs.


def run_voice(args: argparse.Namespace, root: Path) -> dict[str, object]:
    """The trainer for a few steps, on no table and on one."""
    found = {}
    for start in args.starts:
        flags = ["--language", SYNTHETIC, "--overwrite", "--init", "none", "--adversarial_after", "1", "--cpu"]
        flags += ["--steps", str(args.steps), "--eval_every", "100000", "--validation_seconds", "15"]
        flags += ["--log_every", "1", "--num_samples", "0", *args.trainer_args.split()]
        command = [sys.executable, str(REPOSITORY / "src/trainer_vocoder.py"), *flags]
        found[start] = watch(command, roots(root), "h to train on")
    return found | weigh(root / "data" / SYNTHETIC / "cache")


def run_tokens(args: argparse.Namespace, root: Path) -> dict[str, float]:
    """Phase 2 on the whole corpus."""
    flags = ["--language", SYNTHETIC, "--overwrite", *MOTIF_FLAGS]
    command = [sys.executable, str(REPOSITORY / "src/train_bpe.py"), *flags]
    return watch(command, roots(root), "wrote")


def run_prosody(args: argparse.Namespace, root: Path) -> dict[str, float]:
    """The trainer of the melody for a few steps, on a table that is there."""
    flags = ["--language", SYNTHETIC, "--overwrite", "--init", "none", "--cpu", "--log_every", "1"]
    flags += ["--steps", str(args.steps), "--validation_seconds", "15"]
    command = [sys.executable, str(REPOSITORY / "src/trainer_prosody.py"), *flags]
    return watch(command, roots(root), "minutes to train on")


def watch(command: Sequence[str], environment: Mapping[str, str], ready: str) -> dict[str, float]:
    """CPU seconds until a line with ``ready`` and in all, and the largest memory of a command."""
    process = subprocess.Popen(command, env=dict(environment), stderr=subprocess.PIPE, text=True)
    peaks: dict[str, float] = {}
    looking = threading.Thread(target=look_on, args=(process, peaks), daemon=True)
    looking.start()
    until_ready, lines = 0.0, []
    for line in process.stderr:
        lines.append(line)
        if ready in line and not until_ready:
            until_ready = cpu_seconds(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise UserError(f"{' '.join(command)}: failed: {''.join(lines[-3:])}")
    cpu = usage.ru_utime + usage.ru_stime
    said = {"cpu_seconds_until_ready": until_ready, "cpu_seconds": cpu, "peak_mib": usage.ru_maxrss / 1024}
    return {key: round(value, 1) for key, value in (said | peaks).items()}


def cpu_seconds(pid: int) -> float:
    """Of a process so far, and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    run_main(main)
