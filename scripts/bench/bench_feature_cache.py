"""Measure what the feature cache is worth: its size, what filling it takes, and training steps with and without it.

Runs src/trainer_base.py twice on the same batches, once with the cache and once encoding every time, and compares the
steps one by one. Encoder and LLM compute in bf16 where the machine does. Flags after ``--trainer_args`` go to both.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import numpy as np

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.device import choose_precision
from core.errors import UserError
from core.files import write_json
from core.records import TranscribedItem
from encoders.feature_cache import fill_feature_cache
from evaluation.bootstrap import bootstrap_ratio
from speech_llm.transcribed_items import choose_evenly, load_transcribed
from training.experiment import read_metrics

TRAINER = Path(__file__).resolve().parents[2] / "src" / "trainer_base.py"
WARM_STEPS = 2  # of each phase, which fill caches of their own


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    group = parser.add_argument_group("bench")
    group.add_argument("--data", type=Path, required=True, help="transcribed speech, as trainer_base.py reads it")
    group.add_argument("--split", default="train", help="split to fill the cache with and to train on")
    group.add_argument("--speech_enc_id", required=True, help="speech encoder, hub id or folder")
    group.add_argument("--llm_id", required=True, help="causal LM, hub id or folder")
    group.add_argument("--max_items", type=int, default=None, help="utterances of the split to use (default: all)")
    group.add_argument("--padding", choices=("full", "short"), default="full", help="of Whisper's input")
    group.add_argument("--steps", type=int, default=12, help="steps of each run; the first two are not counted")
    group.add_argument("--trainer_args", default="", help="further flags of trainer_base.py for both runs, quoted")
    group.add_argument("--cpu", action="store_true", help="stay on the CPU where there is a GPU")
    group.add_argument("--out", type=Path, default=None, help="also write the numbers as JSON here")
    args = parse_flags(parser, argv)
    require_positive(args, "steps", "max_items")
    if args.steps <= WARM_STEPS:
        raise UserError(f"--steps {args.steps}: expected more than the {WARM_STEPS} that are not counted")
    return args


def measure_cache(
    folder: Path, items: Sequence[TranscribedItem], *, encoder_id: str, padding: str, precision: str, device: str
) -> dict[str, float | str]:
    """Fill a new cache: MB an hour of speech, and hours of speech encoded an hour."""
    cache = fill_feature_cache(
        folder, items, encoder_id=encoder_id, precision=precision, padding=padding, device=device
    )
    on_disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    hours = cache.seconds_encoded / 3600
    return {
        "items": len(items),
        "hours_of_speech": hours,
        "dim": cache.dim,
        "precision": precision,
        "megabytes": on_disk / 1e6,
        "megabytes_per_hour": on_disk / 1e6 / hours,
        "encode_seconds": cache.encode_seconds,
        "times_real_time": cache.seconds_encoded / cache.encode_seconds,
    }


def time_steps(args: argparse.Namespace, exp: Path, flags: Sequence[object]) -> list[float]:
    """Seconds of each counted step of one run of the trainer."""
    words = ["--exp", exp, "--data", args.data, "--train_split", args.split, "--do_train", "--padding", args.padding]
    words += ["--speech_enc_id", args.speech_enc_id, "--llm_id", args.llm_id, "--steps", args.steps]
    words += ["--log_every", 1, "--eval_every", 10**6, "--save_every", 10**6, "--max_validation", 2]
    words += ["--max_train", args.max_items] if args.max_items else []
    words += [*flags, *shlex.split(args.trainer_args), *(["--cpu"] if args.cpu else [])]
    command = [sys.executable, str(TRAINER), *map(str, words)]
    done = subprocess.run(command, check=False, env=os.environ, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    seconds = [row["step_seconds"] for row in read_metrics(exp) if "step_seconds" in row]
    return seconds[WARM_STEPS:]


def compare(cached: Sequence[float], encoded: Sequence[float]) -> dict[str, object]:
    """Medians, and the time of all steps without the cache over the time with it, paired, with its interval."""
    return {
        "n_steps": len(cached),
        "cached_step_seconds": float(np.median(cached)),
        "encoding_step_seconds": float(np.median(encoded)),
        "speedup": bootstrap_ratio(encoded, cached)._asdict(),
    }


def main() -> int:
    args = parse_args()
    import torch

    device = "cuda" if torch.cuda.is_available() and not args.cpu else "cpu"
    with tempfile.TemporaryDirectory(prefix="bench_feature_cache_") as temporary:
        folder = Path(temporary)
        items = choose_evenly(load_transcribed(args.data, [args.split])[args.split], args.max_items)
        cache = measure_cache(
            folder / "cache",
            items,
            encoder_id=args.speech_enc_id,
            padding=args.padding,
            precision="bf16" if choose_precision("auto", cpu=args.cpu) == "bf16" else "fp32",
            device=device,
        )
        cached = time_steps(args, folder / "cached", ["--feature_cache", folder / "cache"])
        encoded = time_steps(args, folder / "encoded", ["--no_feature_cache"])
    steps = compare(cached, encoded) | {"padding": args.padding, "trainer_args": args.trainer_args}
    found = {"cache": cache, "steps": steps}
    print(json.dumps(found, indent=2))
    if args.out:
        write_json(args.out, found)
    return 0


if __name__ == "__main__":
    run_main(main)
