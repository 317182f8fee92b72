"""From the path through a trellis to words, lines and gaps with their times and how sure they are.

Axes: P positions, N letters, W words, T steps of 10 ms.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alignment.known_text import SpokenText
from alignment.trellis import BEST_COLUMN, BLANK, BLANK_COLUMN, PAUSE_COLUMN, STAR, Script
from core.records import AlignedLine, TimedWord, UnknownSpeech
from segmentation.pauses import STEPS_PER_SECOND, find_active, find_runs, find_threshold, is_silent

LONGEST_ECHO = 0.4  # s: so far may sound before the first and behind the last letter still be the word's
SHORTEST_PAUSE = 4  # steps of 10 ms: a stop closes the mouth for as long
SLACK = 0.04  # s: so far may a pause reach into what is marked as a letter
SHORTEST_UNKNOWN = 0.5  # s of sound: less is a breath or a click


class HeardWords(NamedTuple):
    """Where each word lies on the path, in positions; -1 where nobody says it."""

    starts: np.ndarray  # (W,) int64 first position of the first letter
    ends: np.ndarray  # (W,) int64 behind the last position of the last letter
    nats: np.ndarray  # (W,) mean log-probability of its letters


def position_nats(emissions: np.ndarray, path: np.ndarray, script: Script) -> np.ndarray:
    """(P,) float32: how far what the path says lies below the best at each position; NaN at wildcards."""
    nats = np.full(len(path), np.nan, np.float32)
    for low in range(0, len(path), 1 << 16):
        rows, said = np.asarray(emissions[low : low + (1 << 16)]), path[low : low + (1 << 16)]
        columns = np.where(said == BLANK, PAUSE_COLUMN, script.columns[np.maximum(said, 0)])
        values = rows[np.arange(len(rows)), columns].astype(np.float32)
        # A blank within a word is no pause, but the two are seldom far apart.
        values = np.where(said == BLANK, np.maximum(values, rows[:, BLANK_COLUMN]), values)
        nats[low : low + len(rows)] = np.where(said <= STAR, np.nan, values - rows[:, BEST_COLUMN])
    return nats


def find_words(path: np.ndarray, nats: np.ndarray, script: Script) -> HeardWords:
    """path: of ``best_path``; nats: (P,) of ``position_nats``."""
    n_words = len(script.hubs) - 1
    starts, ends, sure = np.full(n_words, -1), np.full(n_words, -1), np.full(n_words, -np.inf, np.float32)
    positions = np.flatnonzero(path >= 0)
    words = np.searchsorted(script.hubs, path[positions], side="right") - 1
    said, first, counts = np.unique(words, return_index=True, return_counts=True)
    starts[said] = positions[first]
    ends[said] = positions[first + counts - 1] + 1
    if len(said):
        sure[said] = np.add.reduceat(nats[positions], first) / counts
    return HeardWords(starts, ends, sure)


def find_wildcards(path: np.ndarray) -> list[tuple[int, int, int]]:
    """(first position, position behind the last, number of the word before which it lies) of speech beyond the text."""
    stars = np.where(path <= STAR, STAR - path, -1)
    changes = np.flatnonzero(np.diff(stars)) + 1
    bounds = [0, *changes.tolist(), len(path)]
    return [(a, b, int(stars[a])) for a, b in zip(bounds[:-1], bounds[1:]) if a < b and stars[a] >= 0]


def refine_times(heard: HeardWords, levels: np.ndarray, clock: np.ndarray, lead: float, echo: float) -> np.ndarray:
    """(W, 2) float64 seconds, NaN for words that nobody says.

    A word that a pause follows or precedes reaches to the pause, by the sound's level (T,) (segmentation.pauses). Words
    without a pause between them meet in the middle between their letters. clock: (P, 2) s at which each position begins
    and ends. lead, echo: s that a word begins before its first position, and goes on behind its last.
    """
    said = np.flatnonzero(heard.starts >= 0)
    times = np.full((len(heard.starts), 2), np.nan)
    if not len(said):
        return times
    heard_starts, heard_ends = clock[heard.starts[said], 0], clock[heard.ends[said] - 1, 1]
    raw_starts, raw_ends = heard_starts - lead, heard_ends + echo
    quiet = find_quiet(levels)
    starts, ends = raw_starts.copy(), raw_ends.copy()
    total = len(levels) / STEPS_PER_SECOND
    for place in range(len(said) + 1):
        low = heard_ends[place - 1] - SLACK if place else -1.0
        high = heard_starts[place] + SLACK if place < len(said) else total + 1.0
        inside = _quiet_between(quiet, low, high)
        if place and place < len(said) and not len(inside):
            middle = (raw_ends[place - 1] + raw_starts[place]) / 2
            middle = min(max(middle, starts[place - 1] + 0.01), high)
            ends[place - 1] = starts[place] = middle
            continue
        if place:
            ends[place - 1] = _nearest(inside[:, 0] if len(inside) else inside, raw_ends[place - 1])
        if place < len(said):
            starts[place] = _nearest(inside[:, 1] if len(inside) else inside, raw_starts[place])
    times[said, 0], times[said, 1] = np.clip(starts, 0, total), np.clip(ends, 0, total)
    times[said, 1] = np.maximum(times[said, 1], times[said, 0] + 0.01)
    return times


def find_quiet(levels: np.ndarray) -> np.ndarray:
    """(n, 2) seconds of pauses in (T,) levels."""
    threshold = find_threshold(levels, 10.0)
    if is_silent(threshold):
        return np.zeros((0, 2))
    runs = find_runs(~find_active(levels, threshold))
    return runs[runs[:, 1] - runs[:, 0] >= SHORTEST_PAUSE] / STEPS_PER_SECOND


def _quiet_between(quiet: np.ndarray, low: float, high: float) -> np.ndarray:
    """Pauses that lie between two words, or reach into the place between them."""
    if not len(quiet):
        return quiet
    first = int(np.searchsorted(quiet[:, 0], low - LONGEST_ECHO))
    last = int(np.searchsorted(quiet[:, 0], high))
    near = quiet[max(0, first - 1) : last]
    return near[(near[:, 1] > low) & (near[:, 0] < high) & (near[:, 0] >= low)]


def _nearest(edges: np.ndarray, raw: float) -> float:
    """The edge of a pause next to ``raw``, where one is near enough."""
    if not len(edges):
        return raw
    edge = float(edges[np.argmin(np.abs(edges - raw))])
    return edge if abs(edge - raw) <= LONGEST_ECHO else raw


def rate_line(nats: np.ndarray, first: int, last: int, window: int) -> float:
    """The mean nats of the least sure ``window`` positions of (P,) from ``first`` to ``last``, wildcards left out."""
    own = nats[first:last]
    own = own[~np.isnan(own)]
    if not len(own):
        return -math.inf
    if len(own) <= window:
        return float(own.mean())
    sums = np.concatenate([[0.0], np.cumsum(own, dtype=np.float64)])
    return float((sums[window:] - sums[:-window]).min() / window)


def describe_lines(
    text: SpokenText, heard: HeardWords, times: np.ndarray, nats: np.ndarray, window: int
) -> list[AlignedLine]:
    """Each line with its words; where nobody says any of them, it has no times. window: positions of ``rate_line``."""
    found = []
    rows: list[list[int]] = [[] for _ in text.lines]
    for number, word in enumerate(text.words):
        rows[word.line].append(number)
    for line, words in zip(text.lines, rows):
        said = [word for word in words if heard.starts[word] >= 0]
        row: AlignedLine = {"name": line.name, "text": line.text, "start": None, "end": None, "confidence": 0.0}
        if said:
            first, last = int(heard.starts[said[0]]), int(heard.ends[said[-1]])
            sure = math.exp(rate_line(nats, first, last, window)) * len(said) / len(words)
            row |= {"start": round(float(times[said[0], 0]), 3), "end": round(float(times[said[-1], 1]), 3)}
            row["confidence"] = round(sure, 4)
        row["words"] = [_timed(text.words[word].text, times[word], heard.nats[word]) for word in said]
        row["missing"] = [text.words[word].text for word in words if heard.starts[word] < 0]
        if line.heading:
            row["heading"] = line.heading
        found.append(row)
    return found


def _timed(text: str, bounds: np.ndarray, nats: float) -> TimedWord:
    start, end = (round(float(bound), 3) for bound in bounds)
    return {"text": text, "start": start, "end": end, "confidence": round(math.exp(nats), 4)}


def describe_unknown(
    wildcards: Sequence[tuple[int, int, int]], text: SpokenText, levels: np.ndarray, clock: np.ndarray
) -> list[UnknownSpeech]:
    """Stretches of sound that are not in the text, of at least half a second, and the line that comes before."""
    threshold = find_threshold(levels, 10.0)
    active = np.zeros(len(levels), bool) if is_silent(threshold) else find_active(levels, threshold)
    found: list[UnknownSpeech] = []
    for first, last, word in wildcards:
        start, end = (round(float(at) * STEPS_PER_SECOND) for at in (clock[first, 0], clock[last - 1, 1]))
        loud = np.flatnonzero(active[start:end])
        if len(loud) < SHORTEST_UNKNOWN * STEPS_PER_SECOND:
            continue
        bounds = [(start + int(place)) / STEPS_PER_SECOND for place in (loud[0], loud[-1] + 1)]
        before = text.lines[text.words[word - 1].line].name if word else None
        found.append({"start": bounds[0], "end": bounds[1], "after": before})
    return found
