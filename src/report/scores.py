"""The rows of the report's two tables of scores: each system's means, and paired differences to the first system."""

from collections.abc import Sequence
from typing import NamedTuple

from core.records import MetricScore
from evaluation.metrics import METRICS, Metric
from evaluation.scores import compare, excludes_zero
from report.data import Experiment, is_number

# The order of the rows. A metric that is not named here follows after these.
ROW_ORDER = (
    *("cer", "wer", "cer_text", "wer_text", "cer_text_original", "wer_text_original"),
    *("mel_distance_nat", "mcd_db", "mcd_dtw_db"),
    *("f0_rmse_hz", "f0_rmse_cents", "gross_pitch_error_percent", "vuv_error_percent", "ffe_percent"),
    *("mos", "mos_original", "snr_db"),
)


class Cell(NamedTuple):
    """A number of the table as text, with the digits of its metric."""

    mean: str
    interval: str  # "[low, high]"
    n: int | str
    verdict: str = ""  # of a difference, in words


class ScoreRow(NamedTuple):
    """A metric and its number in each column; None where a system does not have it."""

    metric: Metric
    unit: str
    cells: list[Cell | None]


class WorstRow(NamedTuple):
    """A metric and the utterances that fare worst by it: (id, number) pairs."""

    metric: Metric
    unit: str
    utterances: list[tuple[str, str]]


def describe_metric(name: str) -> Metric:
    """The metric of that name; one that this version does not know stands under its bare name."""
    return METRICS.get(name) or Metric(unit="", decimals=3, label=name, meaning="", better="")


def make_cell(entry: MetricScore | None, metric: Metric, *, signed: bool = False) -> Cell | None:
    """``signed``: the entry is a difference, and gets a verdict."""
    mean, low, high = ((entry or {}).get(key) for key in ("mean", "low", "high"))
    if mean is None:
        return None
    form = f"{'+' if signed else ''}.{metric.decimals}f"
    interval = "" if low is None else f"[{low:{form}}, {high:{form}}]"
    verdict = judge_difference(entry, metric) if signed else ""
    return Cell(format(mean, form), interval, entry.get("n", "?"), verdict)


def judge_difference(entry: MetricScore, metric: Metric) -> str:
    """Whether the interval of a difference leaves out zero, and on which side."""
    if not excludes_zero(entry):
        return "no clear difference"
    return "better" if (entry["mean"] > 0) == (metric.better == "higher") else "worse"


def score_rows(experiments: Sequence[Experiment]) -> list[ScoreRow]:
    """The scores of all ``experiments``, which must have some, in columns."""
    columns = [item.scores.metrics for item in experiments]
    present = {name for column in columns for name in column}
    names = [name for name in ROW_ORDER if name in present] + sorted(present - set(ROW_ORDER))
    return [_score_row(name, columns, signed=False) for name in names]


def difference_rows(differences: Sequence[dict[str, MetricScore]]) -> list[ScoreRow]:
    """Paired differences to the first experiment, a column for each of the others."""
    present = {name for column in differences for name in column}
    return [_score_row(name, differences, signed=True) for name in ROW_ORDER if name in present]


def _score_row(name: str, columns: Sequence[dict[str, MetricScore]], *, signed: bool) -> ScoreRow:
    metric, entries = describe_metric(name), [column.get(name) for column in columns]
    unit = next((entry.get("unit") or "" for entry in entries if entry), "")
    return ScoreRow(metric, unit, [make_cell(entry, metric, signed=signed) for entry in entries])


def worst_utterances(experiment: Experiment, n_worst: int) -> list[WorstRow]:
    """The ``n_worst`` utterances of every score that has a better side, the worst first; equal ones go by id."""
    rows, utterances = [], experiment.scores.utterances
    for name in ROW_ORDER:
        metric = describe_metric(name)
        found = [row for row in utterances if is_number(row.get(name))]
        if not found or name.endswith("_original"):
            continue
        sign = 1 if metric.better == "higher" else -1
        found.sort(key=lambda row: (sign * row[name], row["id"]))
        unit = experiment.scores.metrics.get(name, {}).get("unit") or ""
        rows.append(
            WorstRow(metric, unit, [(row["id"], f"{row[name]:.{metric.decimals}f}") for row in found[:n_worst]])
        )
    return rows


def paired_differences(experiments: Sequence[Experiment]) -> dict[str, dict[str, MetricScore]]:
    """{experiment's name: {metric: its mean minus the first experiment's, paired, with its 95 % interval}}."""
    if not experiments or not experiments[0].scores:
        return {}
    first = experiments[0].scores.utterances
    return {item.name: compare(item.scores.utterances, first) for item in experiments[1:] if item.scores}
