"""What a careful reader should know before believing an experiment's numbers."""

import math
from collections.abc import Sequence

import numpy as np

from evaluation.readings import name_reading_problems
from report.curves import metric_keys, read_curve
from report.data import Experiment, Scores, is_number, unit_summary

FEW_UTTERANCES = 10  # below this a mean says little
COLLAPSED_DISCRIMINATOR_LOSS = 0.02  # a discriminator whose loss stays this low no longer teaches the generator
LAST_SHARE = 0.1  # the share of a run that "ended at" means
OVERFIT_RATIO = 1.02  # a last validation this much above the best one is worth a word


def collect_warnings(experiment: Experiment) -> list[str]:
    """What a careful reader should know before believing the numbers, one sentence each."""
    environment = experiment.environment
    found = []
    if environment.get("git_dirty"):
        found.append("The code had changes that were not committed: the commit alone does not reproduce this run.")
    if environment.get("git_dirty") is None:
        found.append("The code's commit is not known (made outside a git checkout).")
    if not experiment.finished:
        found.append("The run has not finished: what follows is its state so far.")
    found += _training_warnings(experiment.log)
    if experiment.scores:
        found += _score_warnings(experiment, experiment.scores)
    return found + _unit_warnings(experiment)


def _training_warnings(rows: Sequence[dict[str, float]]) -> list[str]:
    found = []
    broken = sorted({key for row in rows for key, value in row.items() if _is_broken(value)})
    if broken:
        found.append(f"NaN or infinite values were logged: {', '.join(broken)}.")
    for key in metric_keys(rows):
        steps, values = read_curve(rows, key, "step")
        values = [value for value in values if math.isfinite(value)]
        if not values:
            continue
        end = float(np.mean(values[-max(1, round(LAST_SHARE * len(values))) :]))
        if "discriminator" in key and "loss" in key and end < COLLAPSED_DISCRIMINATOR_LOSS:
            found.append(f"{key} ended at {end:.3g}: the discriminator has won and no longer teaches the generator.")
        if key == "validation_mel_nat" and values[-1] > OVERFIT_RATIO * min(values) > 0:
            best = steps[int(np.argmin(values))]
            found.append(
                f"Validation was best at step {best:,} ({min(values):.3f}) and ended at {values[-1]:.3f}: the model "
                "began to learn its training recordings by heart. The best checkpoint is the one that is scored."
            )
    return found


def _is_broken(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _score_warnings(experiment: Experiment, scores: Scores) -> list[str]:
    found = []
    if scores.n_utterances < FEW_UTTERANCES:
        found.append(f"Only {scores.n_utterances} test utterances: the intervals are wide, or worth nothing.")
    found += [f"PROBLEM: {problem}." for problem in name_reading_problems(scores.utterances)]
    for skipped in scores.skipped:
        found.append(f"Left out of the scores: {skipped if isinstance(skipped, str) else _one_line(skipped)}.")
    steps, values = read_curve(experiment.log, "validation_mel_nat", "step")
    if values and scores.checkpoint == "best" and is_number(scores.step):
        best = steps[int(np.nanargmin(values))] if np.isfinite(values).any() else scores.step
        if scores.step < best:
            found.append(f"The scores are of step {scores.step:,}, but step {best:,} is better by now: score again.")
    if scores.asr and "whisper" in experiment.encoder.lower():
        found.append("The judge (Whisper) is of the same family as the units' encoder: it is not independent.")
    return found


def _one_line(entry: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in entry.items())


def _unit_warnings(experiment: Experiment) -> list[str]:
    report = experiment.unit_report or {}
    found = [f"Units, {problem}." for problem in report.get("problems") or []]
    dead = len(unit_summary(experiment).get("dead_units") or [])
    if dead and not any("never used" in problem for problem in found):
        found.append(f"{dead} of {report.get('n_units')} units are never used (dead units).")
    return found
