"""From the path through a trellis to words, lines and gaps with their times and how sure they are.

Axes: P positions, N letters, W words, T steps of 10 ms.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scipy.ndimage import maximum_filter1d

from alignment.known_text import SpokenText
from alignment.trellis import ANY_COLUMN, BEST_COLUMN, BLANK, BLANK_COLUMN, PAUSE_COLUMN, STAR, Script
from core.records import AlignedLine, TimedWord, UnknownSpeech
from segmentation.pauses import STEPS_PER_SECOND, find_active, find_runs, find_threshold, is_silent

ANY_DOUBT = -0.4  # nats of a position that may sound like anything: neither sure nor wrong
LONGEST_ECHO = 0.4  # s: so far may sound before the first and behind the last letter still be the word's
SHORTEST_PAUSE = 4  # steps of 10 ms: a stop closes the mouth for as long
SLACK = 0.04  # s: so far may a pause reach into what is marked as a letter
TOKEN_SLACK = 0.3  # s: so far before its sound may a token begin
LEAST_OF_TOKEN, LONGEST_LEAST = 0.25, 0.15  # so much of a word's time, and s, is sound, whatever pause follows
# Chosen on four Russian sentences and one English recording, judged on others (docs/results/alignment.md).
LOCAL_DROP_DB, LOCAL_STEPS = 35, 50  # below the loudest of so many steps on either side: a pause
LEAST_CLEAR = 0.08  # s: a shorter silence may be a stop within a word
LONG_PAUSE = 0.5  # s: longer ones are no better
SHORTEST_WORD = 0.01  # s
LONGEST_GAP = 2.0  # s of what the text holds no words for, within one stretch of speech beyond it
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
        values = np.where(columns == ANY_COLUMN, rows[:, BEST_COLUMN] + np.float32(ANY_DOUBT), values)
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


class Edges(NamedTuple):
    """Where the sound of each said word (n,) may begin and end, in seconds."""

    starts: np.ndarray  # as heard
    ends: np.ndarray
    earliest: np.ndarray  # the pause before the word lies behind this
    start_limit: np.ndarray  # and begins before this
    end_limit: np.ndarray  # the pause behind the word ends behind this
    latest: np.ndarray  # and begins before this


def edges_of_letters(heard: HeardWords, clock: np.ndarray, said: np.ndarray, lead: float, echo: float) -> Edges:
    """For letters that are marked where they sound: pauses lie between them. clock: (P, 2) s of each position."""
    starts, ends = clock[heard.starts[said], 0], clock[heard.ends[said] - 1, 1]
    before, after = np.append(-1.0, ends[:-1]), np.append(starts[1:], np.inf)
    return Edges(starts - lead, ends + echo, before - SLACK, starts + SLACK, ends - SLACK, after + SLACK)


def edges_of_tokens(
    heard: HeardWords, clock: np.ndarray, said: np.ndarray, read_words: np.ndarray, lead: float
) -> Edges:
    """For tokens of a reading, which begin early and go on through pauses.

    read_words: (P,) int, the number of the word that was read at each position, growing from 0. lead: s that a token's
    attention comes behind the sound.
    """
    clock = np.maximum(clock - lead, 0.0)
    starts, ends = clock[heard.starts[said], 0], clock[heard.ends[said] - 1, 1]
    _, first = np.unique(read_words, return_index=True)
    begins = np.append(clock[first, 0], np.inf)
    stops = clock[np.append(first[1:], len(clock)) - 1, 1]
    sounded = np.append(-1.0, begins[:-1] + _least_sound(stops - begins[:-1]))
    own = starts + _least_sound(ends - starts)
    read_first, read_last = read_words[heard.starts[said]], read_words[heard.ends[said] - 1]
    before, after = sounded[read_first], begins[read_last + 1]
    # Two words of the text may share one that was read.
    shared = read_first[1:] == read_last[:-1]
    before[1:][shared], after[:-1][shared] = own[:-1][shared], starts[1:][shared]
    reach = np.minimum(starts + TOKEN_SLACK, (starts + ends) / 2 + lead)
    return Edges(starts, ends, before, reach, own, after + TOKEN_SLACK)


def _least_sound(durations: np.ndarray) -> np.ndarray:
    return np.minimum(LEAST_OF_TOKEN * durations, LONGEST_LEAST)


def refine_times(edges: Edges, levels: np.ndarray, *, by_length: bool) -> np.ndarray:
    """(n, 2) float64 seconds of the words of ``edges``, moved to the pauses in the sound's level (T,).

    by_length: long pauses count more than near ones, else the nearest one counts. Words without a pause between them
    meet: in the middle between their letters, or where the later token begins.
    """
    quiet, total = find_quiet(levels), len(levels) / STEPS_PER_SECOND
    times = np.stack([edges.starts, edges.ends], axis=1)
    moved = np.zeros(times.shape, bool)
    # A token behind a pause begins in it or beside it, so the pause behind a word lies where the next one begins.
    following = np.where(np.isfinite(edges.latest), edges.latest - TOKEN_SLACK, edges.ends) if by_length else edges.ends
    for number in range(len(times)):
        windows = (edges.earliest[number], edges.start_limit[number]), (edges.end_limit[number], edges.latest[number])
        for side, (low, high) in enumerate(windows):
            place = following[number] if side else edges.starts[number]
            pause = _choose_pause(_pauses_between(quiet, low, high), place, 1 - side, by_length)
            if pause is not None:
                times[number, side], moved[number, side] = pause[1 - side], True
    touching = np.flatnonzero(~moved[:-1, 1] & ~moved[1:, 0])
    for number in touching:
        middle = times[number + 1, 0] if by_length else (times[number, 1] + times[number + 1, 0]) / 2
        if middle > times[number, 0]:
            times[number, 1] = times[number + 1, 0] = middle
    times = np.clip(times, 0.0, total)
    times[:-1, 1] = np.maximum(np.minimum(times[:-1, 1], times[1:, 0]), times[:-1, 0] + SHORTEST_WORD)
    return np.stack([times[:, 0], np.maximum(times[:, 1], times[:, 0] + SHORTEST_WORD)], axis=1)


def find_quiet(levels: np.ndarray) -> np.ndarray:
    """(n, 2) seconds of pauses in (T,) levels: below the threshold of the recording, or far below the speech around.

    In a quiet room a word fades for a quarter of a second until its echo and the breath behind it reach the noise; who
    listens hears its end where it is LOCAL_DROP_DB softer than what is said around it.
    """
    threshold = find_threshold(levels, 10.0)
    if is_silent(threshold):
        return np.zeros((0, 2))
    around = maximum_filter1d(levels, 2 * LOCAL_STEPS + 1).astype(np.int16)
    silent = ~find_active(levels, threshold)
    # A closure before a last consonant is far below its vowel too, but seldom for so long.
    soft = _long_runs(silent | (levels < around - 2 * LOCAL_DROP_DB), round(LEAST_CLEAR * STEPS_PER_SECOND))
    return find_runs(soft | _long_runs(silent, SHORTEST_PAUSE)) / STEPS_PER_SECOND


def _long_runs(mask: np.ndarray, least: int) -> np.ndarray:
    """(T,) bool: the runs of ``least`` steps and more."""
    kept = np.zeros(len(mask), bool)
    for start, end in find_runs(mask):
        kept[start:end] = end - start >= least
    return kept


def _pauses_between(quiet: np.ndarray, low: float, high: float) -> np.ndarray:
    """Pauses that begin at ``low`` or later, and end by ``high`` or reach over it."""
    if not len(quiet):
        return quiet
    first, last = np.searchsorted(quiet[:, 0], low), np.searchsorted(quiet[:, 0], high)
    return quiet[first:last]


def _choose_pause(pauses: np.ndarray, place: float, side: int, by_length: bool) -> np.ndarray | None:
    """The pause whose edge (``side``) is next to ``place``; by_length: a long one of at least LEAST_CLEAR, near it."""
    if by_length:
        pauses = pauses[pauses[:, 1] - pauses[:, 0] >= LEAST_CLEAR]
    if not len(pauses):
        return None
    if by_length:
        away = np.maximum(0.0, np.maximum(pauses[:, 0] - place, place - pauses[:, 1]))
        lengths = np.minimum(pauses[:, 1] - pauses[:, 0], LONG_PAUSE)
        return pauses[np.argmax(lengths - 2 * away)]
    nearest = pauses[np.argmin(np.abs(pauses[:, side] - place))]
    return nearest if abs(nearest[side] - place) <= LONGEST_ECHO else None


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
    for first, last, word in _join_near(wildcards, clock):
        start, end = (round(float(at) * STEPS_PER_SECOND) for at in (clock[first, 0], clock[last - 1, 1]))
        loud = np.flatnonzero(active[start:end])
        if len(loud) < SHORTEST_UNKNOWN * STEPS_PER_SECOND:
            continue
        bounds = [(start + int(place)) / STEPS_PER_SECOND for place in (loud[0], loud[-1] + 1)]
        before = text.lines[text.words[word - 1].line].name if word else None
        found.append({"start": bounds[0], "end": bounds[1], "after": before})
    return found


def _join_near(wildcards: Sequence[tuple[int, int, int]], clock: np.ndarray) -> list[tuple[int, int, int]]:
    """Wildcards before the same word are one, unless a long pause parts them."""
    joined: list[tuple[int, int, int]] = []
    for first, last, word in wildcards:
        if joined and joined[-1][2] == word and clock[first, 0] - clock[joined[-1][1] - 1, 1] < LONGEST_GAP:
            joined[-1] = (joined[-1][0], last, word)
        else:
            joined.append((first, last, word))
    return joined
