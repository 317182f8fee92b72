"""The report's first screen: the headline in words for a field linguist, and one line for researchers."""

from collections.abc import Sequence
from pathlib import Path

from evaluation.metrics import METRICS
from evaluation.readings import name_reading_problems
from evaluation.scores import format_score
from languages import find_config
from report.data import Experiment, Scores, is_number, unit_summary

# metric: label of its tile
TILES = {
    "cer": "letters misheard (CER)",
    "mos": "naturalness, 1 to 5 (predicted)",
    "mel_distance_nat": "log-mel distance",
    "f0_rmse_cents": "pitch error, cents",
    "vuv_error_percent": "voiced/unvoiced errors, %",
}
RESEARCHERS_METRICS = ("cer", "wer", "mos", "mel_distance_nat", "mcd_db", "f0_rmse_cents")


def language_name(experiment: Experiment) -> str:
    return find_config(experiment.language)["name"]


def report_title(experiments: Sequence[Experiment]) -> str:
    names = list(dict.fromkeys(language_name(item) for item in experiments))
    return f"{' and '.join(names)}: from recordings to a voice"


def describe_in_words(experiment: Experiment) -> list[str]:
    """Sentences without a technical term; only what was measured is said."""
    # V1 reads no F0; the others are given the original's.
    melodious = experiment.generator != "v1"
    given = "those sounds and a melody" if melodious else "those sounds alone"
    sentences = [
        "A computer listened to recordings, found a small set of recurring sounds in them by itself, "
        f"and learned to speak from {given}, without any writing."
    ]
    if experiment.scores is None:
        return [*sentences, "It has not been tested yet."]
    return sentences + _describe_scores(experiment.scores, melodious)


def _describe_scores(scores: Scores, melodious: bool) -> list[str]:
    sentences = [
        f"It was then tested on {scores.n_utterances} stretches of speech ({scores.seconds / 60:.1f} minutes) "
        "that it had never learned from."
    ]
    cer, cents = _mean(scores, "cer"), _mean(scores, "f0_rmse_cents")
    if problems := name_reading_problems(scores.utterances):
        sentences += [f"PROBLEM: {problem}." for problem in problems]
    elif cer is not None:
        right = max(0, round(100 * (1 - cer)))
        sentences.append(
            f"A speech recogniser that hears the copy writes about {right} of 100 letters as it does for the original."
        )
    if cents is not None:
        source = ", taken from the original," if melodious else ""
        sentences.append(f"The melody{source} comes out {cents / 100:.1f} semitones off (RMS).")
    return sentences


def headline_tiles(experiment: Experiment) -> list[tuple[str, str]]:
    """(value, label) of the few numbers worth a large type."""
    means = {name: _mean(experiment.scores, name) for name in TILES}
    if experiment.scores and name_reading_problems(experiment.scores.utterances):
        means["cer"] = None
    tiles = [(f"{mean:.{METRICS[name].decimals}f}", TILES[name]) for name, mean in means.items() if mean is not None]
    summary = unit_summary(experiment)
    if summary:
        tiles.append((f"{summary['bits_per_second']['total']:.0f}", "bits per second of speech"))
    if is_number(experiment.n_units):
        tiles.append((f"{experiment.n_units}", "different units"))
    minutes = training_minutes(experiment)
    if minutes:
        tiles.append((f"{minutes:.1f}", "minutes of training"))
    return tiles


def describe_for_researchers(experiment: Experiment) -> str:
    """'spanish_vocoder_v4: generator v3, 200 units, step 1,771, CER 0.221 [0.184, 0.262], n=34'."""
    parts = [f"generator {experiment.generator}"] if experiment.generator else []
    if experiment.n_units:
        source = f" of {experiment.encoder}" if experiment.encoder else ""
        streams = f" in {experiment.n_streams} streams" if experiment.n_streams > 1 else ""
        parts.append(f"{experiment.n_units} units{source}{streams}")
    if speakers := experiment.arguments.get("speaker"):
        parts.append(f"trained on {' and '.join(speakers)} alone")
    if experiment.scores:
        parts += _list_scores(experiment.scores)
    return f"{experiment.name}: " + ("; ".join(parts) or "no scores yet")


def _list_scores(scores: Scores) -> list[str]:
    parts = [f"checkpoint {scores.checkpoint} at step {scores.step:,}"] if is_number(scores.step) else []
    for name in RESEARCHERS_METRICS:
        if _mean(scores, name) is not None:
            entry = scores.metrics[name]
            mean, interval = format_score(name, entry)
            unit = f" {entry['unit']}" if entry.get("unit") else ""
            parts.append(f"{METRICS[name].label} {mean}{unit} {interval}, n={entry['n']}")
    if scores.asr:
        # A folder of this machine tells a reader no more than its name; a hub id is kept whole.
        model = str(scores.asr.get("model"))
        model = Path(model).name if Path(model).is_absolute() else model
        parts.append(f"judge {model} ({scores.asr.get('language')})")
    return parts


def training_minutes(experiment: Experiment) -> float:
    """Minutes of wall time that the log covers; 0 without a log."""
    return max((row["seconds"] for row in experiment.log if is_number(row.get("seconds"))), default=0.0) / 60


def _mean(scores: Scores | None, name: str) -> float | None:
    entry = scores.metrics.get(name) if scores else None
    mean = (entry or {}).get("mean")
    return mean if is_number(mean) else None
