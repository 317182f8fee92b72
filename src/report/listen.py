"""The report's parts to listen to: test examples with players, spectrograms and F0; motifs cut from the recordings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audio.audio_io import load_audio, load_crop
from audio.mp3 import audio_data_uri
from audio.pitch import extract_f0
from core.frames import SAMPLE_RATE
from languages import resolve_in
from report import plots
from report.data import choose_examples
from report.html import METRICS, element, escape, name_badge, table, word_difference
from units.motifs import choose_motifs

MOTIF_MARGIN = 0.15  # seconds of context on either side of a motif: a bare 100 ms cannot be made out
PITCH_PANEL_TITLE = "original and resynthesis"


def audio_player(waveform: np.ndarray, label: str) -> str:
    return element("audio", "", controls="controls", preload="metadata", aria_label=label, src=audio_data_uri(waveform))


def render_examples(experiments: Sequence[dict], *, n_examples: int, max_seconds: float) -> tuple[str, list[str]]:
    """Cards of test utterances from best to worst of the first scored experiment, and the names of files not found.

    Every experiment that has the same utterance stands beside the original. Audio longer than ``max_seconds`` is cut.
    """
    scored = [(index, item) for index, item in enumerate(experiments) if item["scores"]]
    if not scored:
        return "", []
    metric, chosen = choose_examples(scored[0][1]["scores"].get("utterances") or [], n_examples)
    cards, lost = [], []
    for number, (label, utterance) in enumerate(chosen):
        card, missing = _example_card(scored, utterance, (label, metric), number, max_seconds)
        cards.append(card)
        lost += missing
    return "".join(cards), lost


def _example_card(
    scored: Sequence[tuple[int, dict]],
    utterance: dict,
    heading: tuple[str, str | None],
    number: int,
    seconds: float,
) -> tuple[str, list[str]]:
    name, limit, lost = utterance["id"], int(seconds * SAMPLE_RATE), []
    original = _test_audio(scored[0][1], "original", name, lost)
    cells, tracks = "", []
    if original is not None:
        cells += _sound_cell("Original", original[:limit], f"original of {name}", f"ex{number}-o")
        tracks.append(("original", extract_f0(original[:limit]), None))
    for index, experiment in scored:
        resynthesis = _test_audio(experiment, "resynthesis", name, lost)
        if resynthesis is None:
            continue
        who = name_badge(experiment, index) if len(scored) > 1 else "Resynthesis"
        title = f"resynthesis of {name} by {experiment['name']}"
        cells += _sound_cell(who, resynthesis[:limit], title, f"ex{number}-r{index}")
        short = experiment["name"] if len(scored) > 1 else "resynthesis"
        tracks.append((short, extract_f0(resynthesis[:limit]), index))
    if tracks and max(len(f0) for _, f0, _ in tracks):
        svg = plots.plot_pitch(tracks, title=f"{name}, {PITCH_PANEL_TITLE}", name=f"ex{number}-f0")
        cells += element("figure", element("h4", "Pitch (F0)") + element("div", svg, class_="timeline"), class_="sound")
    cut = original is not None and len(original) > limit
    note = f"the first {seconds:g} of {len(original) / SAMPLE_RATE:.0f} seconds" if cut else ""
    head = _example_heading(utterance, *heading, note)
    words = _heard(scored, utterance)
    return element("article", head + element("div", cells, class_="grid sounds") + words, class_="card"), lost


def _example_heading(utterance: dict, label: str, metric: str | None, note: str) -> str:
    value = f"{METRICS[metric][0]} {utterance[metric]:.{METRICS[metric][2]}f}" if metric else ""
    details = " · ".join(part for part in (value, note) if part)
    return element(
        "h3", f'<span class="rank">{escape(label)}</span> {escape(utterance["id"])} <small>{escape(details)}</small>'
    )


def _sound_cell(heading: str, waveform: np.ndarray, title: str, name: str) -> str:
    picture = element("div", plots.plot_spectrogram(waveform, title=title, name=name), class_="timeline")
    return element("figure", element("h4", heading) + audio_player(waveform, title) + picture, class_="sound")


def _test_audio(experiment: dict, side: str, name: str, lost: list[str]) -> np.ndarray | None:
    path = resolve_in(experiment["exp"] / "test" / side, f"{name}.wav")
    if not path.is_file():
        lost.append(f"{experiment['name']}/test/{side}/{name}.wav")
        return None
    return load_audio(path)


def _heard(scored: Sequence[tuple[int, dict]], utterance: dict) -> str:
    """What the recogniser wrote for the original and for each resynthesis, differing words marked."""
    original, lines = utterance.get("asr_original"), ""
    if utterance.get("text"):
        lines += _heard_line("Transcript", escape(utterance["text"]))
    if original is None:
        return element("dl", lines, class_="heard") if lines else ""
    for position, (index, experiment) in enumerate(scored):
        by_id = {item["id"]: item for item in experiment["scores"].get("utterances") or []}
        heard = by_id.get(utterance["id"], {}).get("asr_resynthesis")
        if heard is None:
            continue
        before, after = word_difference(original, heard)
        if position == 0:
            lines += _heard_line("Heard in the original", before)
        label = "Heard in the resynthesis" if len(scored) == 1 else f"Heard: {name_badge(experiment, index)}"
        lines += _heard_line(label, after)
    return element("dl", lines, class_="heard")


def _heard_line(label: str, text: str) -> str:
    return element("div", f"<dt>{label}</dt><dd>{text or '<em>nothing</em>'}</dd>")


def render_motifs(experiment: dict, *, n_motifs: int, n_players: int = 3) -> tuple[str, list[str]]:
    """The most frequent and the longest motifs of two units and more, with places to listen to; and files not found."""
    motifs, lost, rows = choose_motifs(experiment["motifs"], n_motifs), [], []
    for motif in motifs:
        players = [
            _motif_player(experiment["data_root"], example, motif, lost) for example in motif["examples"][:n_players]
        ]
        rows.append(
            [
                element("code", escape(" ".join(map(str, motif["units"])))),
                f"{motif['count']:,}",
                f"{motif['mean_duration'] * 1000:.0f}",
                element("div", "".join(players), class_="players"),
            ]
        )
    head = ["Units", "Times", "Mean length, ms", "Listen (where it occurs)"]
    return table(head, rows, f"The {n_motifs} most frequent motifs of two and more units, then the longest ones"), lost


def _motif_player(root: Path, example: dict, motif: dict, lost: list[str]) -> str:
    path = resolve_in(root, example["audio"])
    if not path.is_file():
        lost.append(example["audio"])
        return ""
    start = max(0.0, example["start"] - MOTIF_MARGIN)
    n_samples = round((example["end"] + MOTIF_MARGIN - start) * SAMPLE_RATE)
    place = f"{example['utterance']}, {example['start']:.2f} to {example['end']:.2f} s"
    label = f"motif {' '.join(map(str, motif['units']))} in {place}"
    crop = load_crop(path, round(start * SAMPLE_RATE), n_samples)
    return element("span", audio_player(crop, label) + element("small", escape(place)))
