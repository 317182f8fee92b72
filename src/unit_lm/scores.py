"""The scores of language models of units on the same utterances, each with its 95 % interval, as a table."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.records import MetricScore
from evaluation.bootstrap import bootstrap_mean, bootstrap_ratio, paired_difference, paired_ratio_difference
from unit_lm.duration_bits import DurationCounts, duration_bits
from unit_lm.real_or_not import FALSE_KINDS, Choice, judge
from unit_lm.scoring import as_bits
from unit_lm.systems import System
from unit_lm.utterances import UnitUtterance, seconds_of


class Bits(NamedTuple):
    """Of each utterance: seconds, bits by system, and the same with what the timing costs."""

    seconds: np.ndarray  # (U,)
    plain: dict[str, np.ndarray]  # (U,)
    timed: dict[str, np.ndarray]  # (U,)


def measure_bits(
    systems: Sequence[System], utterances: Sequence[UnitUtterance], durations: dict[str, DurationCounts]
) -> Bits:
    """durations: of each language; systems that do not tell the timing are charged for it."""
    plain = {one.name: np.array([as_bits(row.sum()) for row in one.nats(utterances)]) for one in systems}
    timing = np.array([duration_bits(durations[one.language], one.units, one.durations) for one in utterances])
    timed = {one.name: plain[one.name] + (0 if one.timed else timing) for one in systems}
    return Bits(np.array([seconds_of(one) for one in utterances]), plain, timed)


def summarise_bits(bits: dict[str, np.ndarray], seconds: np.ndarray) -> dict[str, MetricScore]:
    """Bits a second of each system: the sum of its bits over the sum of the seconds."""
    return {name: bootstrap_ratio(values, seconds)._asdict() | {"unit": "bit/s"} for name, values in bits.items()}


def compare_bits(bits: dict[str, np.ndarray], seconds: np.ndarray, first: str) -> dict[str, MetricScore]:
    """Bits a second of the system ``first`` minus those of each other, over the same utterances."""
    return {
        name: paired_ratio_difference((bits[first], seconds), (values, seconds))._asdict() | {"unit": "bit/s"}
        for name, values in bits.items()
        if name != first
    }


def judge_all(systems: Sequence[System], choices: Sequence[Choice]) -> dict[str, list[dict[str, float]]]:
    """For each system, its judgements of the choices (``real_or_not.judge``)."""

    def nats_of(system: System, utterances: Sequence[UnitUtterance]) -> list[float]:
        # A cut utterance does not end, so its last nats say nothing.
        return [float(row[:-1].sum()) for row in system.nats(utterances)]

    return {one.name: judge(choices, lambda utterances, one=one: nats_of(one, utterances)) for one in systems}


def summarise_choices(judged: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, MetricScore]]:
    """{kind of falsehood: {system: accuracy}}; of each kind, the utterances that it could be made of."""
    found: dict[str, dict[str, MetricScore]] = {}
    for kind in FALSE_KINDS:
        values = {name: [row[kind] for row in rows if kind in row] for name, rows in judged.items()}
        if any(values.values()):
            found[kind] = {name: bootstrap_mean(some)._asdict() | {"unit": ""} for name, some in values.items()}
    return found


def compare_choices(judged: dict[str, list[dict[str, float]]], first: str) -> dict[str, dict[str, MetricScore]]:
    """{kind: {system: accuracy of ``first`` minus its own}}, over the same utterances."""
    found: dict[str, dict[str, MetricScore]] = {}
    for kind in FALSE_KINDS:
        values = {name: [row[kind] for row in rows if kind in row] for name, rows in judged.items()}
        if values[first]:
            pairs = {name: paired_difference(values[first], some) for name, some in values.items() if name != first}
            found[kind] = {name: difference._asdict() | {"unit": ""} for name, difference in pairs.items()}
    return found


def format_scores(scores: dict[str, dict[str, MetricScore]], decimals: int, *, signed: bool = False) -> str:
    """A line a system, a column a score."""
    names = list(dict.fromkeys(name for side in scores.values() for name in side))
    width = max(28, *(len(name) + 2 for name in names))
    lines = ["".join([" " * width, *(column.rjust(28) for column in scores)])]
    for name in names:
        cells = (_format_interval(side.get(name), decimals, signed=signed) for side in scores.values())
        lines.append(name.ljust(width) + "".join(cell.rjust(28) for cell in cells))
    return "\n".join(lines)


def _format_interval(score: MetricScore | None, decimals: int, *, signed: bool) -> str:
    if score is None:
        return "-"
    sign = "+" if signed else ""
    mean, low, high = (f"{score[key]:{sign}.{decimals}f}" for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
