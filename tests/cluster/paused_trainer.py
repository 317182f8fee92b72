"""The trainer of phase 3, stopping in the middle: paused_trainer.py FOLDER STEPS flags of the trainer, --resume too.

After each of STEPS ("5,9") it leaves a mark in FOLDER and waits until a scheduler tells it to stop, or kills it. A step
whose mark is there is passed without waiting, so that a resumed run gets further.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import trainer_vocoder

from core.cli import run_main
from training import resuming


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("folder", type=Path)
    parser.add_argument("steps", type=lambda text: {int(step) for step in text.split(",")})
    parser.add_argument("--resume")  # a job that goes on adds it, where the script's text has it
    args, flags = parser.parse_known_args()
    folder, steps = args.folder, args.steps
    sys.argv = ["trainer_vocoder.py", *flags, *(["--resume", args.resume] if args.resume else [])]
    caught, update_ema, catch_stop_signals = [], trainer_vocoder.update_ema, resuming.catch_stop_signals

    def watch_signals() -> list[int]:
        caught.append(catch_stop_signals())
        return caught[0]

    def update_and_wait(average: object, model: object, step: int, *settings: object) -> None:
        update_ema(average, model, step, *settings)
        mark = folder / f"step_{step}"
        if step in steps and not mark.exists():
            mark.touch()
            while not caught[0]:
                time.sleep(0.02)

    resuming.catch_stop_signals, trainer_vocoder.update_ema = watch_signals, update_and_wait
    return trainer_vocoder.main()


if __name__ == "__main__":
    run_main(main)
