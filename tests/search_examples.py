"""A tiny language in which a word is said at known places, for the tests of spoken search."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio.audio_io import save_audio
from core.frames import SAMPLE_RATE
from synthetic import speech_like

LANGUAGE = "guarani"
WORD_SECONDS = 0.6


class Planted(NamedTuple):
    """Where the word was put."""

    word: np.ndarray  # (S,)
    places: dict[str, float]  # id of a segment -> s


def say_word() -> np.ndarray:
    """(S,): what is planted, syllables without a pause."""
    return speech_like(3.0, seed=77)[: round(WORD_SECONDS * SAMPLE_RATE)]


def write_language(data_root: Path, *, n_segments: int = 12, seconds: float = 4.0) -> Planted:
    """data/guarani with segments of ``seconds``; every third one holds the word."""
    folder, rows, places, word = Path(data_root) / LANGUAGE, [], {}, say_word()
    for number in range(n_segments):
        waveform, name = speech_like(seconds, seed=number), f"tale_{number:03d}_0000"
        if number % 3 == 1:
            start = 0.3 + (seconds - 1.2) * number / n_segments
            places[name] = start
            first = round(start * SAMPLE_RATE)
            waveform[first : first + len(word)] = word
        save_audio(folder / "segments" / f"{name}.wav", waveform)
        times = {"start": 10.0, "end": 10.0 + seconds, "duration": seconds}
        row = {"id": name, "audio": f"{LANGUAGE}/segments/{name}.wav", "source": f"tale_{number:03d}.mp3", **times}
        rows.append(row | {"speaker": "ana", "split": "train", "flags": [], "text": f"said {number}"})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "segments.jsonl").write_text(lines, encoding="utf-8")
    return Planted(word, places)
