"""What is said often, as one page that needs no network: heard, named, and saved as a file."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from audio.mp3 import audio_data_uri
from core.hashing import hash_content
from core.records import NamedPhrase, PhraseOccurrence, PhraseResult
from phrases.describe import cut_clip
from phrases.meanings import LONGEST_SECONDS
from phrases.names import FORMAT, FORMAT_VERSION, names_elsewhere
from report.clip_page import render_clips
from report.listening_page import level_clip

CLIP_MARGIN = 0.1  # s on either side


def build_phrases_page(
    result: PhraseResult,
    load: Callable[[str], np.ndarray],
    labels: Mapping[str, Any],
    *,
    n_phrases: int,
    n_clips: int,
    earlier: Sequence[NamedPhrase] = (),
    meanings: Mapping[str, str] | None = None,
) -> str:
    """The page as one string of HTML: the first ``n_phrases``, each with ``n_clips`` occurrences to listen to.

    load: a segment's path, relative to DATA_ROOT -> its waveform (S,). earlier: names of an earlier file, which the
    next one shall hold too. meanings: label -> ``data:`` address of a recorded meaning.
    """
    shown = result["phrases"][:n_phrases]

    def sound_of(row: PhraseOccurrence) -> str:
        return audio_data_uri(level_clip(cut_clip(load(row["audio"]), row, CLIP_MARGIN)))

    clips = [[sound_of(row) for row in phrase["occurrences"][:n_clips]] for phrase in shown]
    content = {
        "title": labels["title"],
        "labels": dict(labels),
        "language": result["language"],
        "hours": f"{result['seconds_searched'] / 3600:.2f}",
        "dictionary": name_dictionary(result),
        "n_phrases": len(result["phrases"]),
        "phrases": shown,
        "clips": clips,
        "meanings": [(meanings or {}).get(phrase["label"], "") for phrase in shown],
        "longest_meaning": LONGEST_SECONDS,
        "earlier": names_elsewhere(shown, earlier),
        "names_format": FORMAT,
        "format_version": FORMAT_VERSION,
    }
    return render_clips("phrases", content, labels)


def name_dictionary(result: PhraseResult) -> str:
    """Eight letters that another dictionary hardly has: what the browser keeps names under."""
    places = [[(row["id"], row["audio_start"]) for row in phrase["occurrences"]] for phrase in result["phrases"]]
    return hash_content(json.dumps([result["language"], result["index"], places]).encode())[:8]
