"""Measure what starting a speech-to-text training costs on a corpus as long as LibriSpeech: CPU seconds and memory.

``make`` writes a synthetic corpus: a manifest with durations and texts like LibriSpeech's, a tiny audio file a line,
all different, and a feature cache whose shards are sparse files that take no room. ``stages`` measures what a start
does, one thing after another, in this process. ``trainer`` starts src/trainer_base.py for a few steps with a random LLM
of a few MB, and measures the whole process. ``waits`` trains so for ``--steps`` steps, without and with threads that
read ahead, and measures which share of a step is waiting for its batch. ``steps`` measures what a step waits for its
batch while a device computes. ``fill`` measures a cache fill that must write shards.

    python scripts/bench/bench_startup.py make --folder /tmp/large --speech_enc_id openai/whisper-base --llm_id …
    python scripts/bench/bench_startup.py stages --folder /tmp/large --speech_enc_id openai/whisper-base

CPU seconds are those of the process and its threads: other work on the machine does not change them.
"""

import argparse
import contextlib
import hashlib
import json
import os
import resource
import shlex
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import numpy as np

from own_memory import run_watched

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from core.files import write_json
from core.frames import SAMPLE_RATE, samples_to_frames

REPOSITORY = Path(__file__).resolve().parents[2]
N_ITEMS = 281_000  # utterances in the training splits of LibriSpeech
LETTERS_A_SECOND = 15
FOLDER_FILES = 1000
SHARD_SECONDS, SHARD_ITEMS = 300.0, 64


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("job", choices=tuple(JOBS), help="what to do")
    group = parser.add_argument_group("bench")
    group.add_argument("--folder", type=Path, required=True, help="where the corpus is, or goes to")
    group.add_argument("--items", type=int, default=N_ITEMS, help="lines of the manifest")
    group.add_argument("--speech_enc_id", default="openai/whisper-base", help="speech encoder, hub id or folder")
    group.add_argument("--llm_id", default="HuggingFaceTB/SmolLM2-135M-Instruct", help="LLM whose tokenizer is taken")
    group.add_argument("--first", action="store_true", help="stages: as if nothing had been kept of hashes and texts")
    group.add_argument("--shards", type=int, default=1000, help="fill: shards to write")
    group.add_argument("--steps", type=int, default=40, help="steps, waits: how many")
    group.add_argument("--step_seconds", type=float, default=0.25, help="steps: what a device takes for one")
    group.add_argument("--processes", type=int, default=1, help="trainer, waits: processes, by torchrun")
    group.add_argument("--trainer_args", default="", help="trainer, waits: further flags, quoted")
    group.add_argument("--out", type=Path, default=None, help="also write the numbers as JSON here")
    args = parse_flags(parser, argv)
    require_positive(args, "items", "shards", "processes", "steps", "step_seconds")
    return args


# A corpus of no sound.


def read_words() -> list[str]:
    """Words of this project's own pages, as often as they come."""
    text = " ".join(path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "docs").glob("*.md")))
    return [word for word in text.lower().split() if word.isalpha()]


def make_rows(n_items: int) -> Iterator[dict]:
    """Lines of segments.jsonl: 1 to 35 s, 12.3 s in the mean, 15 letters a second; one in 100 in val and in test."""
    random, words = np.random.default_rng(0), read_words()
    seconds = np.clip(random.normal(12.3, 4.0, n_items), 1.0, 35.0).round(3)
    starts = random.integers(0, len(words) - 200, n_items)
    for number in range(n_items):
        length, text = int(seconds[number] * LETTERS_A_SECOND), " ".join(words[starts[number] : starts[number] + 150])
        name = f"{number // FOLDER_FILES:04d}-{number:06d}"
        yield {
            "id": name,
            "audio": f"synthetic/segments/{number // FOLDER_FILES:04d}/{name}.wav",
            "source": f"{number // FOLDER_FILES:04d}.wav",
            "start": 0.0,
            "end": float(seconds[number]),
            "duration": float(seconds[number]),
            "speaker": f"speaker_{number // FOLDER_FILES}",
            "split": {0: "val", 1: "test"}.get(number % 100, "train"),
            "text": text[:length].strip(),
        }


def tiny_wav(number: int) -> bytes:
    """A WAV file of two samples, of which no two numbers have the same."""
    samples = struct.pack("<I", number)
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 40, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", 4)
    return head + samples


def write_corpus(folder: Path, n_items: int) -> list[tuple[str, float]]:
    """data/synthetic with its audio; (hash, seconds) of each line."""
    data = folder / "data" / "synthetic"
    data.mkdir(parents=True, exist_ok=True)
    audio = []
    with open(data / "segments.jsonl", "w", encoding="utf-8") as out:
        for number, row in enumerate(make_rows(n_items)):
            path = folder / "data" / row["audio"]
            if number % FOLDER_FILES == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            content = tiny_wav(number)
            path.write_bytes(content)
            out.write(json.dumps(row) + "\n")
            audio.append((hashlib.sha256(content).hexdigest(), row["duration"]))
    return audio


def write_shards(part_folder: Path, dim: int, audio: list[tuple[str, float]]) -> int:
    """Finished shards of the audio, sorted by length as the cache sorts it; their arrays are holes in a file."""
    shard: list[tuple[str, int]] = []
    seconds, n_shards = 0.0, 0
    for audio_hash, length in sorted(audio, key=lambda pair: pair[::-1]) + [("", float("inf"))]:
        if shard and (seconds + length > SHARD_SECONDS or len(shard) == SHARD_ITEMS):
            write_shard(part_folder, dim, shard)
            shard, seconds, n_shards = [], 0.0, n_shards + 1
        shard.append((audio_hash, samples_to_frames(round(min(length, 60.0) * SAMPLE_RATE))))
        seconds += length
    return n_shards


def write_shard(part_folder: Path, dim: int, shard: list[tuple[str, int]]) -> None:
    name = hashlib.sha256("".join(audio_hash for audio_hash, _ in shard).encode()).hexdigest()[:24]
    path, n_frames = part_folder / f"shard_{name}.npy", sum(frames for _, frames in shard)
    with open(path, "wb") as out:
        header = {"descr": "<f2", "fortran_order": False, "shape": (n_frames, dim)}
        np.lib.format.write_array_header_1_0(out, header)
        out.truncate(out.tell() + 2 * n_frames * dim)
    path.with_suffix(".json").write_text(json.dumps({"items": shard, "failures": {}}))


def write_llm(folder: Path, llm_id: str) -> None:
    """A random LLM of a few MB behind a real tokenizer."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(llm_id)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, **sizes)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make(args: argparse.Namespace) -> dict[str, object]:
    from encoders.feature_cache import describe_features
    from encoders.feature_shards import open_part

    write_llm(args.folder / "llm", args.llm_id)
    audio = write_corpus(args.folder, args.items)
    settings = describe_features(args.speech_enc_id, precision="fp32")
    cache = args.folder / "data" / "synthetic" / "cache" / "speech_features"
    part = open_part(cache, args.speech_enc_id, settings, 1.0)
    n_shards = write_shards(part.folder, part.dim, audio)
    return {"items": len(audio), "hours": sum(seconds for _, seconds in audio) / 3600, "shards": n_shards}


# What a start costs.


def resident_mb() -> float:
    """Memory of this process now (MB)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def stage(rows: list[dict], name: str) -> Iterator[None]:
    """Write down the CPU seconds of what is done inside, and the memory after it."""
    cpu, wall = time.process_time(), time.monotonic()
    yield
    row = {"stage": name, "cpu_seconds": round(time.process_time() - cpu, 2)}
    row |= {"wall_seconds": round(time.monotonic() - wall, 2), "resident_mb": round(resident_mb())}
    rows.append(row)
    print(json.dumps(row), file=sys.stderr, flush=True)


def open_stages(args: argparse.Namespace) -> dict[str, object]:
    """What src/trainer_base.py does before its first step, with a tiny LLM: each part by itself."""
    rows: list[dict] = []
    with stage(rows, "imports"):
        import torch  # noqa: F401

        import transformers  # noqa: F401

        from speech_llm.batches import planned_lengths
        from speech_llm.characters import choose_characters, choose_text_form
        from speech_llm.decoding import token_rate
        from speech_llm.feature_sources import open_cached_source
        from speech_llm.length_buckets import bucket_steps
        from speech_llm.saved_model import build_speech_llm, load_tokenizer
        from speech_llm.text_sizes import measure_texts
        from speech_llm.transcribed_items import load_transcribed
    data, llm = args.folder / "data" / "synthetic", str(args.folder / "llm")
    cache = data / "cache" / "speech_features"
    if args.first:
        for path in (cache / "audio_hashes.tsv", *cache.glob("texts_*.npz")):
            path.unlink(missing_ok=True)
    with stage(rows, "manifest and hashes"):
        items = load_transcribed(data, ["train", "val"], known_hashes=cache / "audio_hashes.tsv")
    with stage(rows, "feature cache"):
        encoder = {"encoder_id": args.speech_enc_id, "layer": None, "padding": "full", "precision": "fp32"}
        machine = {"device": "cpu", "num_workers": 2, "rank": 0, "world": 1}
        wanted = [(items["train"], (1.0,)), (items["val"], (1.0,))]
        source = open_cached_source(cache, wanted, **encoder, **machine)
        training = source.keep_known(items["train"])
    with stage(rows, "texts"):
        texts, tokenizer = [item["text"] for item in training], load_tokenizer(llm, None)
        sizes = measure_texts(tokenizer, texts, cache)
        characters = choose_characters(texts, own=sizes.characters)
        rate, _ = token_rate(tokenizer, training, sizes.n_tokens), choose_text_form(texts)
    with stage(rows, "model"):
        connector = {"kind": "transformer", "factor": 6, "width": 64, "n_layers": 1}
        config = {"llm_id": llm, "in_dim": source.in_dim, "connector": connector, "prompt": "Transcribe."}
        model = build_speech_llm(config | {"characters": characters, "tokens_per_second": rate}, torch.float32)
    with stage(rows, "lengths"):
        lengths = planned_lengths(model, source, training, ctc_only=False, sizes=sizes)
    with stage(rows, "plan of an epoch"):
        next(bucket_steps(lengths, max_positions=max(lengths) * 16, max_items=16, seed=0, first=0, last=10))
    total = {"stage": "all", "cpu_seconds": round(sum(row["cpu_seconds"] for row in rows), 2)}
    total |= {"wall_seconds": round(sum(row["wall_seconds"] for row in rows), 2), "resident_mb": round(resident_mb())}
    return {"items": len(training), "stages": [*rows, total], "peak_mb": peak_mb(resource.RUSAGE_SELF)}


def wait_for_data(args: argparse.Namespace) -> dict[str, object]:
    """What a step waits for its batch while a device, here asleep, computes for ``--step_seconds``."""
    import torch

    from speech_llm.batches import planned_lengths, stream_batches
    from speech_llm.feature_sources import open_cached_source
    from speech_llm.length_buckets import bucket_steps
    from speech_llm.saved_model import build_speech_llm
    from speech_llm.transcribed_items import load_transcribed

    data, llm = args.folder / "data" / "synthetic", str(args.folder / "llm")
    cache = data / "cache" / "speech_features"
    items = load_transcribed(data, ["val"], known_hashes=cache / "audio_hashes.tsv")["val"]
    encoder = {"encoder_id": args.speech_enc_id, "layer": None, "padding": "full", "precision": "fp32"}
    source = open_cached_source(cache, [(items, (1.0,))], **encoder, device="cpu", num_workers=2, rank=0, world=1)
    connector = {"kind": "mlp", "factor": 6, "width": 64, "n_layers": 1}
    config = {"llm_id": llm, "in_dim": source.in_dim, "connector": connector, "prompt": "Transcribe."}
    model = build_speech_llm(config | {"characters": " abc", "tokens_per_second": 5.0}, torch.float32)
    lengths = planned_lengths(model, source, items, ctc_only=False)
    plan = {"max_positions": max(lengths) * 16, "max_items": 16, "seed": 0, "first": 0, "last": args.steps}
    found = {"steps": args.steps, "step_seconds": args.step_seconds, "utterances_a_batch": 16}
    for n_workers in (0, 2):
        chosen = (((0, number), indices) for number, indices in enumerate(bucket_steps(lengths, **plan)))
        batches = stream_batches(model, source, items, chosen, n_batches=1, n_workers=n_workers, frame_dropout=0.2)
        waits, cpu = [], time.process_time()
        for _ in range(args.steps):
            clock = time.monotonic()
            next(batches)
            waits.append(time.monotonic() - clock)
            time.sleep(args.step_seconds)
        found[f"{n_workers}_threads"] = {
            "cpu_ms_a_batch": round(1000 * (time.process_time() - cpu) / args.steps, 1),
            "median_wait_ms": round(1000 * float(np.median(waits[1:])), 2),
            "longest_wait_ms": round(1000 * max(waits[1:]), 2),
        }
    return found


def peak_mb(who: int) -> int:
    """The most memory that the largest of the processes has held (MB)."""
    return round(resource.getrusage(who).ru_maxrss * 1024 / 1e6)


def run_trainer(args: argparse.Namespace, exp: Path, *flags: object) -> dict[str, object]:
    """A training with the tiny LLM: CPU and wall seconds, the largest process's memory, and what of it is its own."""
    words = ["--data", args.folder / "data" / "synthetic", "--exp", exp, "--do_train", "--cpu"]
    words += ["--speech_enc_id", args.speech_enc_id, "--llm_id", args.folder / "llm", "--mixed_precision", "no"]
    words += ["--width", 64, "--n_layers", 1, "--max_validation", 2, "--log_every", 1, *flags]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={args.processes}"]
    command = [sys.executable, *(torchrun if args.processes > 1 else []), REPOSITORY / "src" / "trainer_base.py"]
    command = [str(word) for word in [*command, *words, *shlex.split(args.trainer_args)]]
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done, own_mib = run_watched(command)
    wall, after = time.monotonic() - clock, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise UserError(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"processes": args.processes, "cpu_seconds_a_process": round(cpu / args.processes, 1)}
    # Of several processes, the one that is watched is torchrun's.
    own = {"own_mb": round(own_mib * 2**20 / 1e6)} if args.processes == 1 else {}
    return found | {"wall_seconds": round(wall, 1), "peak_mb": peak_mb(resource.RUSAGE_CHILDREN)} | own


def start_trainer(args: argparse.Namespace) -> dict[str, object]:
    """Two steps of the trainer."""
    exp = args.folder / "exp" / f"started_{time.time_ns()}"
    return run_trainer(args, exp, "--steps", 2, "--batch_size", 4)


def watch_trainer(args: argparse.Namespace) -> dict[str, object]:
    """What a step of the trainer waits for its batch, by the trainer's own clock, without and with reading threads."""
    found: dict[str, object] = {"steps": args.steps}
    for n_threads in (0, 2):
        exp = args.folder / "exp" / f"waits_{time.time_ns()}"
        flags = ("--steps", args.steps, "--batch_size", 16, "--frame_dropout", 0.2, "--num_workers", n_threads)
        whole = run_trainer(args, exp, *flags, "--eval_every", args.steps)
        rows = [row for row in map(json.loads, open(exp / "metrics.jsonl")) if "data_seconds" in row]
        found[f"{n_threads}_threads"] = describe_waits(rows) | whole
    return found


def describe_waits(rows: list[dict]) -> dict[str, float]:
    """Of rows of metrics.jsonl, one a step: the share of time that is waiting. The first two steps do not count."""
    waits, steps = ([row[name] for row in rows[2:]] for name in ("data_seconds", "step_seconds"))
    return {
        "median_step_ms": round(1000 * float(np.median(steps)), 1),
        "median_wait_ms": round(1000 * float(np.median(waits)), 2),
        "longest_wait_ms": round(1000 * max(waits), 1),
        "share_of_time_waiting": round(sum(waits) / sum(steps), 4),
    }


def fill_shards(args: argparse.Namespace) -> dict[str, object]:
    """CPU seconds of writing so many shards of one short item each, by an encoder that does nothing."""
    from encoders.feature_shards import fill_part, open_part

    settings = {"encoder_hash": "none", "layer": 1, "dim": 4, "padding": "full", "precision": "fp32", "version": 1}
    waveform = np.zeros(SAMPLE_RATE, np.float32)
    items = [
        {"id": str(number), "hash": f"{number:064d}", "duration": SHARD_SECONDS, "load": lambda: waveform}
        for number in range(args.shards)
    ]
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        part = open_part(Path(folder), "none", settings, 1.0)
        cpu = time.process_time()
        fill_part(part, items, encode_nothing, share=(0, 1), num_workers=1, quiet=True)
        return {"shards": args.shards, "cpu_seconds": round(time.process_time() - cpu, 2)}


def encode_nothing(waveforms: list[np.ndarray]) -> list[np.ndarray]:
    return [np.zeros((samples_to_frames(len(waveform)), 4), np.float16) for waveform in waveforms]


JOBS = {
    "make": make,
    "stages": open_stages,
    "steps": wait_for_data,
    "trainer": start_trainer,
    "waits": watch_trainer,
    "fill": fill_shards,
}


def main() -> int:
    args = parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    found = JOBS[args.job](args)
    print(json.dumps(found, indent=2))
    if args.out:
        write_json(args.out, found)
    return 0


if __name__ == "__main__":
    run_main(main)
