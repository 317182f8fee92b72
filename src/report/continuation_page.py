"""Continuations of a recording as one page that needs no network: what was said, and how a model goes on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audio.mp3 import audio_data_uri
from core.records import ContinuationResult
from report.clip_page import render_clips
from report.listening_page import level_clip


def build_continuation_page(
    result: ContinuationResult,
    recorded: np.ndarray,
    spoken: Sequence[tuple[np.ndarray, np.ndarray]],
    labels: Mapping[str, Any],
) -> str:
    """The page as one string of HTML.

    recorded: the prompt as it was recorded, (S,) at 16 kHz. spoken: of each sample the whole, and the continuation
    alone, which is empty where the model says nothing more.
    """
    samples = [{name: value for name, value in row.items() if name != "durations"} for row in result["samples"]]
    content = {
        "title": labels["title"],
        "labels": dict(labels),
        **{name: result[name] for name in ("recording", "language", "model", "voice", "temperature", "top_p", "seed")},
        "longest_seconds": result["longest_seconds"],
        "n_with_loops": result["n_with_loops"],
        "samples": [row | {"n_units": len(row["units"]), "units": []} for row in samples],
        "prompt": sound_of(recorded),
        "clips": [{"whole": sound_of(whole), "alone": sound_of(alone)} for whole, alone in spoken],
    }
    return render_clips("continuation", content, labels)


def sound_of(waveform: np.ndarray) -> str:
    """The address of a sound to play; "" where there is none."""
    return audio_data_uri(level_clip(waveform)) if len(waveform) else ""
