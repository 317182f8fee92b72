"""Score a prosody predictor on held-out speech: durations, voicing and F0, beside the corpus mean and the unit mean.

Durations are predicted from the units alone; voicing and F0 at the true durations, so that frames can be compared.
Reads a trained predictor and its corpus; writes exp/<name>/scores.json and prints a table with 95 % intervals.

    python src/prosody_test.py --exp exp/spanish_prosody

More: docs/phase3.md.
"""

import core.quiet_start

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tqdm import tqdm

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.device import choose_device
from core.errors import UserError
from core.files import write_json
from core.frames import UNIT_RATE
from prosody.batches import CORPUS, ProsodyUtterance, load_prosody_utterances, normalise_f0
from prosody.prediction import Prosody, load_prosody, predict_durations, predict_pitch, round_durations
from prosody.scores import (
    ContextFree,
    Row,
    UtteranceProsody,
    compare_prosody,
    fit_controls,
    format_prosody,
    score_prosody,
    summarise_prosody,
)
from training.experiment import require_finished
from units.phase1_inputs import find_inputs
from units.selection import read_selection


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder of the prosody predictor")
    parser.add_argument("--split", default="test", choices=("test", "val", "train"), help="split of the corpus")
    parser.add_argument(
        "--checkpoint", default="best", choices=("best", "latest"), help="best by validation, or latest"
    )
    parser.add_argument("--allow_unfinished", action="store_true", help="score a training that has not finished yet")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    args = parse_flags(parser, argv)
    args.device = choose_device(args.device)
    return args


def true_prosody(utterance: ProsodyUtterance) -> UtteranceProsody:
    return UtteranceProsody(utterance.durations, utterance.f0 > 0, utterance.f0)


def predict(prosody: Prosody, units: np.ndarray, durations: np.ndarray, speaker: str | None) -> UtteranceProsody:
    """The predictor's answer for one utterance, voicing and F0 at its true ``durations``."""
    voicing, f0 = predict_pitch(prosody, units, durations, speaker)
    return UtteranceProsody(predict_durations(prosody, units, speaker), voicing > 0.5, f0)


def answer_without_context(
    control: ContextFree, units: np.ndarray, durations: np.ndarray, pitch: tuple[float, float]
) -> UtteranceProsody:
    """A control's answer for one utterance: what it says of each unit, whatever stands around it.

    pitch: mean and deviation of the speaker's log F0.
    """
    frames, (mean, deviation) = np.repeat(units, durations), pitch
    f0 = np.exp(mean + deviation * control.log_f0[frames])
    return UtteranceProsody(round_durations(control.durations[units]), control.voiced[frames], f0)


def score(
    prosody: Prosody, train: list[ProsodyUtterance], held_out: list[ProsodyUtterance]
) -> tuple[list[Row], dict[str, list[Row]]]:
    """Rows of scores for every utterance of ``held_out``: the prediction's, and each control's."""
    statistics = prosody.statistics
    log_f0 = [normalise_f0(utterance.f0, statistics, utterance.speaker) for utterance in train]
    spoken = [true_prosody(utterance) for utterance in train]
    units_of_train = [utterance.units for utterance in train]
    controls = fit_controls(units_of_train, spoken, log_f0, prosody.predictor.n_units)
    rows: list[Row] = []
    control_rows: dict[str, list[Row]] = {name: [] for name in controls}
    for utterance in tqdm(held_out, desc="prosody", unit="utterance", disable=None):
        truth, units, speaker = true_prosody(utterance), utterance.units, utterance.speaker
        prediction = predict(prosody, units, truth.durations, speaker)
        seconds = {"id": utterance.id, "duration": len(truth.f0) / UNIT_RATE}
        rows.append(seconds | score_prosody(truth, prediction))
        pitch = statistics.get(speaker or CORPUS, statistics[CORPUS])
        for name, control in controls.items():
            answer = answer_without_context(control, units, truth.durations, pitch)
            control_rows[name].append(score_prosody(truth, answer))
    return rows, control_rows


def main() -> None:
    args = parse_args()
    if not args.allow_unfinished:
        require_finished(args.exp, phase="training", command="python src/trainer_prosody.py, or --allow_unfinished")
    prosody = load_prosody(args.exp, args.checkpoint, args.device)
    inputs = find_inputs(prosody.config["derived"])
    selection = read_selection(prosody.config.get("arguments") or {})
    train, held_out = (load_prosody_utterances(*inputs, [split], selection) for split in ("train", args.split))
    if not any((utterance.f0 > 0).any() for utterance in held_out):
        raise UserError(f"{inputs.corpus}: expected voiced speech in split '{args.split}', found none")
    rows, control_rows = score(prosody, train, held_out)
    metrics, seconds = summarise_prosody(rows), round(sum(row["duration"] for row in rows), 2)
    controls = {name: summarise_prosody(side) for name, side in control_rows.items()}
    scores = {
        "exp": str(args.exp),
        "checkpoint": args.checkpoint,
        "step": prosody.step,
        "split": args.split,
        "n_utterances": len(rows),
        "seconds": seconds,
        "metrics": metrics,
        "controls": controls,
        "differences": {name: compare_prosody(rows, side) for name, side in control_rows.items()},
        "utterances": rows,
    }
    write_json(args.exp / "scores.json", scores)
    print(f"{args.exp}, step {prosody.step}: {len(rows)} utterances of {args.split}, {seconds:.1f} s; mean")
    print("over utterances [95 % interval]; voicing and F0 at the true durations\n")
    print(format_prosody(metrics, controls))
    print(f"\nwrote {args.exp}/scores.json")


if __name__ == "__main__":
    run_main(main)
