"""From scores of utterances to scores of a system: means with intervals, paired differences, tables."""

from collections.abc import Sequence

from core.text import normalise_text
from evaluation.bootstrap import bootstrap_mean, bootstrap_ratio, paired_difference, paired_ratio_difference
from evaluation.text_errors import count_edits, total_edits

# metric: (unit, decimals shown). Defined where each is computed: evaluation.signal_scores, mos, and this module (error
# rates).
METRICS = {
    "cer": ("", 3),
    "wer": ("", 3),
    "cer_text": ("", 3),
    "wer_text": ("", 3),
    "cer_text_original": ("", 3),
    "wer_text_original": ("", 3),
    "mos": ("1-5", 2),
    "mos_original": ("1-5", 2),
    "mcd_db": ("dB", 2),
    "mcd_dtw_db": ("dB", 2),
    "mel_distance_nat": ("nat", 3),
    "f0_rmse_hz": ("Hz", 1),
    "f0_rmse_cents": ("cent", 0),
    "gross_pitch_error_percent": ("%", 1),
    "vuv_error_percent": ("%", 1),
    "ffe_percent": ("%", 1),
    "snr_db": ("dB", 2),
}
# Error rates are of the corpus: edits of all utterances over letters or words of all references.
RATES = {name: f"{name}_counts" for name in METRICS if name.startswith(("cer", "wer"))}


def score_readings(original: str, resynthesis: str, text: str | None = None) -> dict:
    """Error rates of one utterance from what the recogniser wrote for both sides, and from its transcript if any.

    ``cer``, ``wer``: the resynthesis against the recogniser's reading of the original; ``cer_text``, ``wer_text``: the
    resynthesis against the transcript; ``cer_text_original``, ``wer_text_original``: the original against the
    transcript, what the recogniser itself gets wrong. On normalised text (``evaluation.text_errors``); characters
    include the single spaces between words. Beside each rate, its ``…_counts`` of substitutions, deletions, insertions
    and reference length. A rate over an empty reference is None and without counts.
    """
    pairs = {"": (original, resynthesis)}
    if text is not None:
        pairs |= {"_text": (text, resynthesis), "_text_original": (text, original)}
    scores = {}
    for suffix, texts in pairs.items():
        reference, hypothesis = map(normalise_text, texts)
        scores |= _rate(f"cer{suffix}", reference, hypothesis)
        scores |= _rate(f"wer{suffix}", reference.split(), hypothesis.split())
    return scores


def _rate(name: str, reference: Sequence, hypothesis: Sequence) -> dict:
    if not reference:
        return {name: None}
    counts = count_edits(reference, hypothesis)
    return {name: total_edits(counts) / counts["reference"], RATES[name]: counts}


def summarise(utterances: Sequence[dict]) -> dict[str, dict]:
    """{metric: {"mean", "low", "high", "n", "unit"}} of all metrics that at least one utterance has.

    Means are over utterances, error rates over the corpus; intervals are bootstrap 95 % over utterances; n counts the
    utterances on which the metric is defined.
    """
    metrics = {}
    for name, (unit, _) in METRICS.items():
        defined = [item for item in utterances if item.get(name) is not None]
        if not defined:
            continue
        if name in RATES:
            interval = bootstrap_ratio(*_rate_columns(name, defined))
        else:
            interval = bootstrap_mean([item[name] for item in defined])
        metrics[name] = interval | {"unit": unit}
    return metrics


def compare(first: Sequence[dict], second: Sequence[dict]) -> dict[str, dict]:
    """{metric: {"mean", "low", "high", "n", "unit"}} of ``first`` minus ``second``, paired by utterance id.

    Only utterances on which both have the metric are used; a metric without one is left out.
    """
    others, differences = {item["id"]: item for item in second}, {}
    for name, (unit, _) in METRICS.items():
        both = [(item, others[item["id"]]) for item in first if item.get(name) is not None and item["id"] in others]
        both = [(one, other) for one, other in both if other.get(name) is not None]
        if not both:
            continue
        ones, twos = zip(*both)
        if name in RATES:
            interval = paired_ratio_difference(_rate_columns(name, ones), _rate_columns(name, twos))
        else:
            interval = paired_difference([item[name] for item in ones], [item[name] for item in twos])
        differences[name] = interval | {"unit": unit}
    return differences


def _rate_columns(name: str, utterances: Sequence[dict]) -> tuple[list[int], list[int]]:
    counts = [item[RATES[name]] for item in utterances]
    return [total_edits(item) for item in counts], [item["reference"] for item in counts]


def format_table(metrics: dict[str, dict], *, signed: bool = False) -> str:
    """One line a metric: name, mean [low, high], unit, n; ``signed`` for differences, marked * where 0 is outside."""
    lines = []
    for name, entry in metrics.items():
        sign, decimals = "+" if signed else "", METRICS[name][1]
        interval = f"[{entry['low']:{sign}.{decimals}f}, {entry['high']:{sign}.{decimals}f}]"
        clear = " *" if signed and (entry["low"] > 0 or entry["high"] < 0) else ""
        lines.append(
            f"{name:<26}{entry['mean']:>{sign}9.{decimals}f}  {interval:<20}{entry['unit']:<5} n={entry['n']}{clear}"
        )
    return "\n".join(lines)
