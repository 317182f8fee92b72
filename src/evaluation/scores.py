"""From scores of utterances to scores of a system: means with intervals, paired differences, tables."""

from collections.abc import Sequence

from core.records import MetricScore, UtteranceScore
from core.text_normalisation import normalise_text
from evaluation.bootstrap import (
    Interval,
    bootstrap_mean,
    bootstrap_ratio,
    paired_difference,
    paired_ratio_difference,
)
from evaluation.metrics import METRICS, RATES
from evaluation.readings import holds_words
from evaluation.text_errors import EditCounts, count_character_edits, count_word_edits, error_rate, total_edits


def score_readings(original: str, resynthesis: str, text: str | None = None) -> UtteranceScore:
    """Error rates of one utterance from what the recogniser wrote for both sides, and from its transcript if any.

    - ``cer``, ``wer``: the resynthesis against the recogniser's reading of the original
    - ``cer_text``, ``wer_text``: the resynthesis against the transcript
    - ``cer_text_original``, ``wer_text_original``: the original against the transcript (the recogniser's own errors)

    On normalised text (``core.text_normalisation``); characters include the single spaces between words. Each rate has
    its ``…_counts`` of substitutions, deletions, insertions and reference length. A rate over an empty reference is
    None and without counts; a reading of the original that is a placeholder (``holds_words``) is empty.
    """
    pairs = {"": (original if holds_words(original) else "", resynthesis)}
    if text is not None:
        pairs |= {"_text": (text, resynthesis), "_text_original": (text, original)}
    scores: UtteranceScore = {}
    for suffix, texts in pairs.items():
        reference, hypothesis = map(normalise_text, texts)
        scores |= _rate(f"cer{suffix}", count_character_edits(reference, hypothesis))
        scores |= _rate(f"wer{suffix}", count_word_edits(reference, hypothesis))
    return scores


def _rate(name: str, counts: EditCounts) -> UtteranceScore:
    if not counts.reference:
        return {name: None}
    return {name: error_rate([counts]), RATES[name]: counts._asdict()}


def summarise(utterances: Sequence[UtteranceScore]) -> dict[str, MetricScore]:
    """{metric: its mean over the utterances} of all metrics that at least one utterance has.

    Means are over utterances, error rates over the corpus; intervals are bootstrap 95 % over utterances; n counts the
    utterances on which the metric is defined.
    """
    metrics = {}
    for name, metric in METRICS.items():
        defined = [row for row in utterances if row.get(name) is not None]
        if not defined:
            continue
        if name in RATES:
            interval = bootstrap_ratio(*_rate_columns(name, defined))
        else:
            interval = bootstrap_mean([row[name] for row in defined])
        metrics[name] = _with_unit(interval, metric.unit)
    return metrics


def compare(first: Sequence[UtteranceScore], second: Sequence[UtteranceScore]) -> dict[str, MetricScore]:
    """{metric: mean of ``first`` minus mean of ``second``}, paired by utterance id.

    Only utterances on which both have the metric are used; a metric without one is left out.
    """
    differences = {}
    for name, metric in METRICS.items():
        ones, twos = _paired_rows(name, first, second)
        if not ones:
            continue
        if name in RATES:
            interval = paired_ratio_difference(_rate_columns(name, ones), _rate_columns(name, twos))
        else:
            interval = paired_difference([row[name] for row in ones], [row[name] for row in twos])
        differences[name] = _with_unit(interval, metric.unit)
    return differences


def _paired_rows(
    name: str, first: Sequence[UtteranceScore], second: Sequence[UtteranceScore]
) -> tuple[list[UtteranceScore], list[UtteranceScore]]:
    """The rows of both sides on which both have the metric ``name``, in the order of ``first``."""
    ones, twos = ({row["id"]: row for row in side if row.get(name) is not None} for side in (first, second))
    shared = [key for key in ones if key in twos]
    return [ones[key] for key in shared], [twos[key] for key in shared]


def _with_unit(interval: Interval, unit: str) -> MetricScore:
    return interval._asdict() | {"unit": unit}


def _rate_columns(name: str, utterances: Sequence[UtteranceScore]) -> tuple[list[int], list[int]]:
    counts = [EditCounts(**row[RATES[name]]) for row in utterances]
    return [total_edits(edits) for edits in counts], [edits.reference for edits in counts]


def format_score(name: str, entry: MetricScore, *, signed: bool = False) -> tuple[str, str]:
    """A mean and its interval as text with the metric's decimals: ("0.221", "[0.184, 0.262]")."""
    form = f"{'+' if signed else ''}.{METRICS[name].decimals}f"
    mean, low, high = (format(entry[key], form) for key in ("mean", "low", "high"))
    return mean, f"[{low}, {high}]"


def excludes_zero(entry: MetricScore) -> bool:
    """Whether the interval of a difference leaves out 0."""
    return entry["low"] > 0 or entry["high"] < 0


def format_table(metrics: dict[str, MetricScore], *, signed: bool = False) -> str:
    """A line for each metric: name, mean [low, high], unit, n.

    ``signed``: they are differences, marked * where the interval leaves out 0.
    """
    lines = []
    for name, entry in metrics.items():
        mean, interval = format_score(name, entry, signed=signed)
        clear = " *" if signed and excludes_zero(entry) else ""
        lines.append(f"{name:<26}{mean:>9}  {interval:<20}{entry['unit']:<5} n={entry['n']}{clear}")
    return "\n".join(lines)
