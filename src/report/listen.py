"""The report's parts to listen to: test examples with players, spectrograms and F0; motifs cut from the recordings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audio.audio_io import load_audio, load_crop
from audio.mp3 import audio_data_uri
from audio.pitch import extract_f0
from core.frames import SAMPLE_RATE
from core.packed_files import is_file
from core.records import UtteranceScore
from evaluation.metrics import METRICS
from languages import resolve_in
from report.data import Experiment, choose_examples
from report.heard import HeardLine, heard_lines
from report.plots import Picture, PitchTrack, plot_pitch, plot_spectrogram
from report.strips import Sequences, Strip, make_strip, read_sequences
from units.motifs import choose_motifs

MOTIF_MARGIN = 0.15  # seconds of context on either side of a motif: a bare 100 ms cannot be made out
MAX_MOTIF_PLAYERS = 3
FROM_UNITS = "from_units"  # folder of test/ with what synthesize.py --predict spoke, from units alone


class Player(NamedTuple):
    """An ``<audio>`` element: its label for who cannot see it, and its sound as a ``data:`` address."""

    label: str
    source: str


class Sound(NamedTuple):
    """A player under its heading, and its spectrogram; the experiment that is heard, None for the original."""

    heading: str
    experiment: Experiment | None
    series: int | None
    player: Player
    picture: Picture
    strip: Strip | None


class ExampleCard(NamedTuple):
    """One test utterance: the original, every resynthesis of it, and what was spoken from its units alone."""

    number: int
    name: str
    rank: str
    details: str
    sounds: list[Sound]
    pitch: Picture | None
    heard: list[HeardLine]


class MotifRow(NamedTuple):
    """One motif, with players of places where it occurs."""

    units: str
    n_times: int
    milliseconds: float
    players: list[tuple[Player, str]]  # and the place in words


def example_cards(
    experiments: Sequence[Experiment], *, n_examples: int, max_seconds: float
) -> tuple[list[ExampleCard], list[str]]:
    """Test utterances from best to worst of the first scored experiment, and the names of files not found.

    Every experiment that has the same utterance stands next to the original. Audio is cut to ``max_seconds``.
    """
    scored = [(index, item) for index, item in enumerate(experiments) if item.scores]
    if not scored:
        return [], []
    metric, chosen = choose_examples(scored[0][1].scores.utterances, n_examples)
    cards, lost = [], []
    names = [utterance["id"] for _, utterance in chosen]
    sequences = [read_sequences(item, names) for _, item in scored]
    for number, (rank, utterance) in enumerate(chosen):
        details = _format_score(metric, utterance)
        card, not_found = _example_card(scored, sequences, utterance, number, max_seconds, rank=rank, details=details)
        cards.append(card)
        lost += not_found
    return cards, lost


def _format_score(metric: str | None, utterance: UtteranceScore) -> list[str]:
    if metric is None:
        return []
    return [f"{METRICS[metric].label} {utterance[metric]:.{METRICS[metric].decimals}f}"]


def _example_card(
    scored: Sequence[tuple[int, Experiment]],
    sequences: Sequence[Sequences],
    utterance: UtteranceScore,
    number: int,
    max_seconds: float,
    *,
    rank: str,
    details: list[str],
) -> tuple[ExampleCard, list[str]]:
    name, limit, first = utterance["id"], int(max_seconds * SAMPLE_RATE), scored[0][1]
    sounds, tracks, lost = [], [], []
    original = _test_audio(first, "original", name, lost)
    if original is not None:
        if len(original) > limit:
            details = [*details, f"the first {max_seconds:g} of {len(original) / SAMPLE_RATE:.0f} seconds"]
        title, place = f"original of {name}", f"ex{number}-o"
        strip = make_strip(sequences[0], name, _seconds(original[:limit]), f"{place}-units")
        sounds.append(_make_sound(original[:limit], title, place, heading="Original", strip=strip))
        tracks.append(PitchTrack("original", extract_f0(original[:limit]), None))
    for (index, experiment), known in zip(scored, sequences):
        waveform = _test_audio(experiment, "resynthesis", name, lost)
        if waveform is None:
            continue
        title, place = f"resynthesis of {name} by {experiment.name}", f"ex{number}-r{index}"
        strip = make_strip(known, name, _seconds(waveform[:limit]), f"{place}-units")
        if len(scored) > 1:
            sounds.append(_make_sound(waveform[:limit], title, place, experiment=experiment, series=index, strip=strip))
        else:
            sounds.append(_make_sound(waveform[:limit], title, place, heading="Resynthesis", strip=strip))
        if (experiment.path / "test" / FROM_UNITS).is_dir():
            sounds += _spoken_from_units(experiment, name, limit, f"ex{number}-u{index}", lost)
        label = experiment.name if len(scored) > 1 else "resynthesis"
        tracks.append(PitchTrack(label, extract_f0(waveform[:limit]), index))
    pitch = None
    if any(len(track.f0) for track in tracks):
        pitch = plot_pitch(tracks, title=f"{name}, original and resynthesis", name=f"ex{number}-f0")
    return ExampleCard(number, name, rank, " · ".join(details), sounds, pitch, heard_lines(scored, utterance)), lost


def _make_sound(
    waveform: np.ndarray,
    title: str,
    name: str,
    *,
    heading: str = "",
    experiment: Experiment | None = None,
    series: int | None = None,
    strip: Strip | None = None,
) -> Sound:
    """Heading: a text, or the badge of ``experiment``; ``name`` makes the picture's ids unique."""
    player = Player(title, audio_data_uri(waveform))
    return Sound(heading, experiment, series, player, plot_spectrogram(waveform, title=title, name=name), strip)


def _seconds(waveform: np.ndarray) -> float:
    return len(waveform) / SAMPLE_RATE


def _spoken_from_units(experiment: Experiment, name: str, limit: int, place: str, lost: list[str]) -> list[Sound]:
    """What was spoken from the units alone, which has a rhythm and a length of its own."""
    waveform = _test_audio(experiment, FROM_UNITS, name, lost)
    if waveform is None:
        return []
    heading, title = f"{experiment.name}, from units alone", f"{name} from its units alone by {experiment.name}"
    return [_make_sound(waveform[:limit], title, place, heading=heading)]


def _test_audio(experiment: Experiment, side: str, name: str, lost: list[str]) -> np.ndarray | None:
    """Audio of exp/<name>/test, (S,) float32; None where there is no file, which is then added to ``lost``."""
    path = resolve_in(experiment.path / "test" / side, f"{name}.wav")
    if not path.is_file():
        lost.append(f"{experiment.name}/test/{side}/{name}.wav")
        return None
    return load_audio(path)


def motif_rows(experiment: Experiment, *, n_motifs: int) -> tuple[list[MotifRow], list[str]]:
    """The most frequent and the longest motifs of two units and more, with places to listen to; and files not found."""
    rows, lost = [], []
    for motif in choose_motifs(experiment.motifs, n_motifs):
        units = " ".join(map(str, motif["units"]))
        found = [
            _motif_player(experiment.data_root, f"motif {units}", **example)
            for example in motif["examples"][:MAX_MOTIF_PLAYERS]
        ]
        lost += [missing for _, missing in found if missing]
        players = [player for player, _ in found if player]
        rows.append(MotifRow(units, motif["count"], motif["mean_duration"] * 1000, players))
    return rows, lost


def _motif_player(
    root: Path, motif: str, *, utterance: str, audio: str, start: float, end: float, **_: Any
) -> tuple[tuple[Player, str] | None, str | None]:
    """A player of seconds ``start`` to ``end`` of a recording and its place in words; else the file not found."""
    path = resolve_in(root, audio)
    if not is_file(path):
        return None, audio
    begin = max(0.0, start - MOTIF_MARGIN)
    crop = load_crop(path, round(begin * SAMPLE_RATE), round((end + MOTIF_MARGIN - begin) * SAMPLE_RATE))
    place = f"{utterance}, {start:.2f} to {end:.2f} s"
    return (Player(f"{motif} in {place}", audio_data_uri(crop)), place), None
