"""Score a prosody predictor on held-out speech: durations, voicing and F0, beside the corpus mean and the unit mean.

Durations are predicted from the units alone; voicing and F0 at the true durations, so that frames can be compared.
Written: exp/<name>/scores.json; printed: a table with bootstrap 95 % intervals.

python src/prosody_test.py --exp exp/spanish_prosody
"""

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
from languages import data_root, exp_root
from prosody.batches import CORPUS, load_prosody_utterances, normalise_f0
from prosody.prediction import load_prosody, predict_durations, predict_pitch, round_durations
from prosody.scores import (
    compare_prosody,
    fit_controls,
    format_prosody,
    score_prosody,
    summarise_prosody,
)
from training.experiment import require_finished


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=HELP_FORMATTER)
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


def locate(derived: dict) -> dict[str, Path]:
    """Where the experiment's inputs lie: as recorded, or where they would lie on this machine."""
    recorded = {name: Path(derived[name]) for name in ("corpus", "data_root", "cache")}
    here = {
        "corpus": exp_root() / Path(derived["units_exp"]).name / "corpus_timestamped.json",
        "data_root": data_root(),
        "cache": data_root() / derived["language"] / "cache",
    }
    return {name: path if path.exists() else here[name] for name, path in recorded.items()}


def predict(prosody: dict, utterance: dict) -> dict:
    """The predictor's answer for one utterance, as ``score_prosody`` takes it."""
    speaker = utterance["speaker"]
    voicing, f0 = predict_pitch(prosody, utterance["units"], utterance["durations"], speaker)
    durations = predict_durations(prosody, utterance["units"], speaker)
    return {"durations": durations, "voiced": voicing > 0.5, "f0": f0}


def answer_without_context(control: dict, statistics: dict, utterance: dict) -> dict:
    """A control's answer for one utterance: what it says of each unit, whatever stands around it."""
    frames = np.repeat(utterance["units"], utterance["durations"])
    mean, deviation = statistics.get(utterance["speaker"] or CORPUS, statistics[CORPUS])
    return {
        "durations": round_durations(control["durations"][utterance["units"]]),
        "voiced": control["voiced"][frames],
        "f0": np.exp(mean + deviation * control["log_f0"][frames]),
    }


def score(prosody: dict, train: list[dict], held_out: list[dict]) -> tuple[list[dict], dict[str, list[dict]]]:
    """Rows of scores for every utterance of ``held_out``: the prediction's, and each control's."""
    statistics = prosody["statistics"]
    log_f0 = [normalise_f0(utterance["f0"], statistics, utterance["speaker"]) for utterance in train]
    controls = fit_controls(train, log_f0, prosody["predictor"].n_units)
    rows: list[dict] = []
    control_rows: dict[str, list[dict]] = {name: [] for name in controls}
    for utterance in tqdm(held_out, desc="prosody", unit="utterance", disable=None):
        seconds = {"id": utterance["id"], "duration": len(utterance["f0"]) / UNIT_RATE}
        rows.append(seconds | score_prosody(utterance, predict(prosody, utterance)))
        for name, control in controls.items():
            answer = answer_without_context(control, statistics, utterance)
            control_rows[name].append(score_prosody(utterance, answer))
    return rows, control_rows


def main() -> None:
    args = parse_args()
    if not args.allow_unfinished:
        require_finished(args.exp, phase="training", command="python src/trainer_prosody.py, or --allow_unfinished")
    prosody = load_prosody(args.exp, args.checkpoint, args.device)
    place = locate(prosody["config"]["derived"])
    splits = {
        split: load_prosody_utterances(place["corpus"], place["data_root"], place["cache"], [split])
        for split in {"train", args.split}
    }
    held_out = splits[args.split]
    if not any((utterance["f0"] > 0).any() for utterance in held_out):
        raise UserError(f"{place['corpus']}: expected voiced speech in split '{args.split}', found none")
    rows, control_rows = score(prosody, splits["train"], held_out)
    metrics = summarise_prosody(rows)
    controls = {name: summarise_prosody(side) for name, side in control_rows.items()}
    scores = {
        "exp": str(args.exp),
        "checkpoint": args.checkpoint,
        "step": prosody["step"],
        "split": args.split,
        "n_utterances": len(rows),
        "seconds": round(sum(row["duration"] for row in rows), 2),
        "metrics": metrics,
        "controls": controls,
        "differences": {name: compare_prosody(rows, side) for name, side in control_rows.items()},
        "utterances": rows,
    }
    write_json(args.exp / "scores.json", scores)
    print(f"{args.exp}, step {scores['step']}: {len(rows)} utterances of {args.split}, {scores['seconds']:.1f} s; mean")
    print("over utterances [95 % interval]; voicing and F0 at the true durations\n")
    print(format_prosody(metrics, controls))
    print(f"\nwrote {args.exp}/scores.json")


if __name__ == "__main__":
    run_main(main)
