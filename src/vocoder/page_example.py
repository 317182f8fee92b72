"""What voice.html opens with: an utterance of the recordings that the training did not learn from."""

from pathlib import Path

import numpy as np

from audio.audio_io import load_audio
from audio.pitch import extract_f0, f0_store
from audio.track_store import read_track
from core.errors import UserError
from core.files import read_json
from core.frames import UNIT_RATE, frames_to_samples
from core.records import PageExample, Utterance
from languages import resolve_in
from units.corpus import read_corpus
from units.phase1_inputs import Phase1Inputs, find_inputs, hash_units
from units.selection import is_of, is_selected, read_selection
from vocoder.saved_voice import units_hash

HELD_OUT = ("val", "test")
LIKED_SECONDS = 3.0  # a sentence; its units still fit into the field


def find_example(exp: Path, speakers: list[str]) -> PageExample | None:
    """The held-out utterance of the experiment ``exp`` whose length is nearest to 3 s; ``speakers`` as rows 1, 2, ….

    None where its corpus is not at hand, where it has other units by now, or where nothing is held out.
    """
    config = read_json(Path(exp) / "config.json")
    if "units_exp" not in (config.get("derived") or {}):
        return None
    inputs = find_inputs(config["derived"])
    try:
        if not inputs.corpus.is_file() or hash_units(inputs.corpus.parent) != units_hash(exp):
            return None
        selection = read_selection(config.get("arguments") or {})
        rows = [row for row in read_corpus(inputs.corpus, splits=HELD_OUT) if is_of(row, selection.speakers)]
    except (OSError, UserError):
        return None
    rows = [row for row in rows if row["units"] and is_selected(row, selection)]
    if not rows:
        return None
    chosen = min(rows, key=lambda row: (abs(sum(row["durations"]) / UNIT_RATE - LIKED_SECONDS), row["id"]))
    return describe_example(chosen, speakers, inputs)


def describe_example(row: Utterance, speakers: list[str], inputs: Phase1Inputs) -> PageExample:
    """``row`` as the page reads it; without F0 where neither a stored one nor the recording is at hand."""
    units = " ".join(f"{unit}:{frames}" for unit, frames in zip(row["units"], row["durations"]))
    speaker = row.get("speaker")
    speaker_row = speakers.index(speaker) + 1 if speaker in speakers else 0
    return {"units": units, "speaker_row": speaker_row, "f0": _read_f0(row, inputs)}


def _read_f0(row: Utterance, inputs: Phase1Inputs) -> list[float]:
    """Hz of each frame, 0 = unvoiced; [] where it is not known."""
    n_frames = sum(row["durations"])
    track = read_track(f0_store(inputs.cache), row["id"])
    if track is None:
        try:
            track = extract_f0(load_audio(resolve_in(inputs.data_root, row["audio"]))[: frames_to_samples(n_frames)])
        except (OSError, UserError):
            return []
    track = np.asarray(track)[:n_frames]
    return [round(float(hertz), 1) for hertz in np.pad(track, (0, n_frames - len(track)))]
