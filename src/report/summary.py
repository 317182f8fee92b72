"""The report's first screen: the headline in words for a field linguist, and one line for researchers."""

from collections.abc import Sequence
from pathlib import Path

from languages import find_config
from report.data import is_number, unit_summary
from report.html import METRICS, element, escape


def language_name(experiment: dict) -> str:
    language = experiment["derived"].get("language") or experiment["name"].split("_")[0]
    return find_config(language)["name"]


def report_title(experiments: Sequence[dict]) -> str:
    names = list(dict.fromkeys(language_name(item) for item in experiments))
    return f"{' and '.join(names)}: from recordings to a voice"


def render_summary(experiments: Sequence[dict]) -> str:
    """The first experiment in words and tiles, and a technical line for each."""
    first = experiments[0]
    words = " ".join(describe_in_words(first))
    tiles = "".join(
        element("div", f"<b>{escape(value)}</b><span>{escape(label)}</span>", class_="tile")
        for value, label in headline_tiles(first)
    )
    lines = "<br>".join(escape(describe_for_researchers(item)) for item in experiments)
    return (
        element("p", escape(words), class_="words")
        + (element("div", tiles, class_="tiles") if tiles else "")
        + element("p", lines, class_="researchers")
    )


def describe_in_words(experiment: dict) -> list[str]:
    """Sentences without a technical term; only what was measured is said."""
    scores = experiment["scores"] or {}
    # V1 reads no F0; the others are given the original's.
    melodious = experiment["derived"].get("generator") != "v1"
    given = "those sounds and a melody" if melodious else "those sounds alone"
    sentences = [
        "A computer listened to recordings, found a small set of recurring sounds in them by itself, "
        f"and learned to speak from {given}, without any writing."
    ]
    if scores:
        minutes = scores.get("seconds", 0) / 60
        sentences.append(
            f"It was then tested on {scores.get('n_utterances', 0)} stretches of speech ({minutes:.1f} minutes) "
            "that it had never learned from."
        )
    cer = _mean(scores, "cer")
    if cer is not None:
        right = max(0, round(100 * (1 - cer)))
        sentences.append(
            f"A speech recogniser that hears the copy writes about {right} of 100 letters as it does for the original."
        )
    cents = _mean(scores, "f0_rmse_cents")
    if cents is not None:
        source = ", taken from the original," if melodious else ""
        sentences.append(f"The melody{source} comes out {cents / 100:.1f} semitones off (RMS).")
    if not scores:
        sentences.append("It has not been tested yet.")
    return sentences


def headline_tiles(experiment: dict) -> list[tuple[str, str]]:
    """(value, label) of the few numbers worth a large type."""
    scores, derived = experiment["scores"] or {}, experiment["derived"]
    tiles = []
    for name, label in (
        ("cer", "letters misheard (CER)"),
        ("mos", "naturalness, 1 to 5 (predicted)"),
        ("mel_distance_nat", "log-mel distance"),
        ("f0_rmse_cents", "pitch error, cents"),
        ("vuv_error_percent", "voiced/unvoiced errors, %"),
    ):
        mean = _mean(scores, name)
        if mean is not None:
            tiles.append((f"{mean:.{METRICS[name][2]}f}", label))
    summary = unit_summary(experiment)
    if summary:
        tiles.append((f"{summary['bits_per_second']['total']:.0f}", "bits per second of speech"))
    if is_number(derived.get("n_units")):
        tiles.append((f"{derived['n_units']}", "different units"))
    minutes = training_minutes(experiment)
    if minutes:
        tiles.append((f"{minutes:.1f}", "minutes of training"))
    return tiles


def describe_for_researchers(experiment: dict) -> str:
    """'spanish_vocoder_v3: generator v3, 200 units, step 1,771, CER 0.221 [0.184, 0.262], n=34'."""
    derived, scores = experiment["derived"], experiment["scores"] or {}
    parts = [f"generator {derived['generator']}"] if derived.get("generator") else []
    if derived.get("n_units"):
        streams = derived.get("n_streams") or 1
        source = f" of {experiment['encoder']}" if experiment["encoder"] else ""
        parts.append(f"{derived['n_units']} units{source}" + (f" in {streams} streams" if streams > 1 else ""))
    if is_number(scores.get("step")):
        parts.append(f"checkpoint {scores.get('checkpoint')} at step {scores['step']:,}")
    for name in ("cer", "wer", "mos", "mel_distance_nat", "mcd_db", "f0_rmse_cents"):
        entry = (scores.get("metrics") or {}).get(name)
        if entry and is_number(entry.get("mean")):
            label, _, decimals, _ = METRICS[name]
            interval = f"[{entry['low']:.{decimals}f}, {entry['high']:.{decimals}f}]"
            unit = f" {entry['unit']}" if entry.get("unit") else ""
            parts.append(f"{label} {entry['mean']:.{decimals}f}{unit} {interval}, n={entry['n']}")
    if scores.get("asr"):
        # A folder of this machine tells a reader no more than its name; a hub id is kept whole.
        model = str(scores["asr"].get("model"))
        model = Path(model).name if Path(model).is_absolute() else model
        parts.append(f"judge {model} ({scores['asr'].get('language')})")
    return f"{experiment['name']}: " + ("; ".join(parts) or "no scores yet")


def training_minutes(experiment: dict) -> float:
    """Minutes of wall time that the log covers; 0 without a log."""
    return max((row["seconds"] for row in experiment["metrics"] if is_number(row.get("seconds"))), default=0.0) / 60


def _mean(scores: dict, name: str) -> float | None:
    mean = ((scores.get("metrics") or {}).get(name) or {}).get("mean")
    return mean if is_number(mean) else None
