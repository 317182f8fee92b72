"""Hits of a spoken search as one page that needs no network: heard, accepted or rejected, and saved as a file."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from audio.mp3 import audio_data_uri
from core.frames import SAMPLE_RATE
from core.hashing import hash_content
from core.records import Hit, HitDecision, SearchResult
from report.clip_page import render_clips
from report.listening_page import level_clip
from spoken_search.decisions import FORMAT, FORMAT_VERSION

WORD_MARGIN, AROUND_SECONDS = 0.1, 1.5  # s on either side of a hit


def build_search_page(
    result: SearchResult,
    queries: Sequence[np.ndarray],
    load: Callable[[str], np.ndarray],
    labels: Mapping[str, Any],
    earlier: Sequence[HitDecision] = (),
) -> str:
    """The page as one string of HTML.

    queries: waveforms (S,) at 16 kHz. load: a segment's path, relative to DATA_ROOT -> its waveform. earlier: decisions
    on places that are not among the hits, which the next file of decisions shall hold too.
    """
    hits = result["hits"]
    shown = {(hit["id"], hit["audio_start"], hit["audio_end"]) for hit in hits}
    content = {
        "title": labels["title_word"].format(result["word"]) if result["word"] else labels["title"],
        "labels": dict(labels),
        "word": result["word"],
        "language": result["language"],
        "hours": f"{result['seconds_searched'] / 3600:.2f}",
        "search": name_search(result),
        "hits": hits,
        "clips": [cut_hit(load(hit["audio"]), hit) for hit in hits],
        "queries": [audio_data_uri(level_clip(waveform)) for waveform in queries],
        "earlier": [row for row in earlier if (row["id"], row["audio_start"], row["audio_end"]) not in shown],
        "decisions_format": FORMAT,
        "format_version": FORMAT_VERSION,
    }
    return render_clips("search", content, labels)


def name_search(result: SearchResult) -> str:
    """Eight letters that another search hardly has: what the browser keeps decisions under."""
    told = {name: result[name] for name in ("language", "queries", "index")}
    places = [(hit["id"], hit["audio_start"], hit["audio_end"]) for hit in result["hits"]]
    return hash_content(json.dumps([told, places], sort_keys=True).encode())[:8]


def cut_hit(segment: np.ndarray, hit: Hit) -> dict[str, str]:
    """The word itself, and with what stands around it, of the segment (S,), as addresses to play."""
    clips = {}
    for name, margin in (("word", WORD_MARGIN), ("around", AROUND_SECONDS)):
        first = max(round((hit["audio_start"] - margin) * SAMPLE_RATE), 0)
        last = round((hit["audio_end"] + margin) * SAMPLE_RATE)
        clips[name] = audio_data_uri(level_clip(segment[first:last]))
    return clips
