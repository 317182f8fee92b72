"""ABX over triphones: is X (bag) nearer to another "bag" A than to B (big)? 0: always, 0.5: by chance.

Items are triphones, and A and B differ in the phone between equal neighbours. *Within* speakers all three are of one
speaker, *across* speakers X is of another one. Distances of items are means along the best alignment (dynamic time
warping). Error rates are averaged over contexts, then over speakers, then over pairs of phones. T. Schatz et al.,
"Evaluating speech features with the minimal-pair ABX task", Interspeech 2013; the numbers are those of fastabx (M. Poli
et al., 2025), which needs a newer Python than this project. Axes: F frames, D features, I items, M pairs, C cells.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from core.frames import UNIT_RATE
from units.abx_distance import AbxItems, Distance, item_distances
from units.phone_labels import PhoneLabels
from units.phone_scores import STEP_MS
from units.quality import Interval, with_interval

MAX_SPEAKERS = 5  # other speakers that X is taken from, in one cell: as in the ZeroSpeech challenges
PAIRS_AT_ONCE = 1 << 21


class Cell(NamedTuple):
    """One comparison: places of items, and what is averaged over."""

    x: np.ndarray
    a: np.ndarray
    b: np.ndarray
    key: tuple[int, int, int, int]  # context, phone of A, phone of B, speaker of A


class AbxScore(NamedTuple):
    """Error rates, 0.5 by chance; None where nothing can be compared (across: with one speaker)."""

    within: Interval | None
    across: Interval | None
    n_items: int
    n_cells: int  # of both


def find_items(
    labels: PhoneLabels, spans: Sequence[tuple[str, float, int]], speakers: Sequence[str | None]
) -> AbxItems:
    """Every triphone without silence, of utterances given as (source, start in s, frames) and their speakers.

    An item holds the frames whose middle lies between the start of the first phone and the end of the third.
    """
    known = {name: number for number, name in enumerate(sorted({name or "" for name in speakers}))}
    rows = []
    for place, ((source, begin, n_frames), speaker) in enumerate(zip(spans, speakers)):
        for onset, offset, phones in _triphones(labels, source, begin):
            start, stop = np.ceil(onset * UNIT_RATE - 0.5), np.floor(offset * UNIT_RATE - 0.5) + 1
            if 0 <= start < stop <= n_frames:
                context = phones[0] * len(labels.names) + phones[2]
                rows.append((place, start, stop, phones[1], context, known[speaker or ""]))
    return AbxItems(*np.array(rows, np.int64).reshape(-1, 6).T)


def _triphones(labels: PhoneLabels, source: str, begin: float) -> Iterator[tuple[float, float, np.ndarray]]:
    """(onset, offset, phones) of a recording's triphones; times in s from ``begin``, free of rounding errors."""
    if source not in labels.spans:
        return
    starts, ends, phones = labels.spans[source]
    joined = starts[1:] - ends[:-1] < STEP_MS / 1000
    for place in np.flatnonzero(joined[:-1] & joined[1:]):
        three = phones[place : place + 3]
        if three.all():
            yield round(starts[place] - begin, 6), round(ends[place + 2] - begin, 6), three


def list_cells(items: AbxItems, *, across: bool, seed: int = 0) -> Iterator[list[Cell]]:
    """The cells of each context that has any.

    Within speakers, A and X are the same items, and a cell needs two of them. Across speakers, X is of another speaker
    than A and B: of up to ``MAX_SPEAKERS`` others, drawn with ``seed``.
    """
    rng, order = np.random.default_rng(seed), np.argsort(items.context, kind="stable")
    borders = np.flatnonzero(np.diff(items.context[order])) + 1
    for members in np.split(order, borders) if len(order) else []:
        groups: dict[tuple[int, int], np.ndarray] = {}
        for speaker in np.unique(items.speaker[members]):
            of_speaker = members[items.speaker[members] == speaker]
            for phone in np.unique(items.phone[of_speaker]):
                groups[int(speaker), int(phone)] = of_speaker[items.phone[of_speaker] == phone]
        found = list(_cells_of_context(groups, int(items.context[members[0]]), across, rng))
        if found:
            yield found


def _cells_of_context(
    groups: dict[tuple[int, int], np.ndarray], context: int, across: bool, rng: np.random.Generator
) -> Iterator[Cell]:
    for (speaker, phone), a in groups.items():
        for (other_speaker, other), b in groups.items():
            if other_speaker != speaker or other == phone:
                continue
            key = (context, phone, other, speaker)
            if not across:
                if len(a) > 1:
                    yield Cell(a, a, b, key)
                continue
            theirs = [x for (third, same), x in groups.items() if same == phone and third != speaker]
            for place in rng.permutation(len(theirs))[:MAX_SPEAKERS]:
                yield Cell(theirs[place], a, b, key)


def score_cells(
    contexts: Iterable[list[Cell]], measure: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """(C, 4) keys and (C,) error rates; ``measure`` gives the (M,) distances of (M,) and (M,) items."""
    keys, errors = [], []
    for chunk in _chunks(contexts):
        pairs = [_pairs_of_context(cells) for cells in chunk]
        distances = measure(*(np.concatenate(side) for side in zip(*pairs)))
        borders = np.cumsum([len(first) for first, _ in pairs])[:-1]
        for cells, (first, second), found in zip(chunk, pairs, np.split(distances, borders)):
            places = {item: place for place, item in enumerate(np.unique(np.concatenate([first, second])))}
            table = np.full((len(places), len(places)), np.inf, np.float32)
            table[[places[item] for item in first], [places[item] for item in second]] = found
            for cell in cells:
                x, a, b = ([places[item] for item in side] for side in cell[:3])
                keys.append(cell.key)
                errors.append(_cell_error(table[np.ix_(x, a)], table[np.ix_(x, b)], same=cell.x is cell.a))
    return np.array(keys, np.int64).reshape(-1, 4), np.array(errors)


def _chunks(contexts: Iterable[list[Cell]]) -> Iterator[list[list[Cell]]]:
    """Contexts some at a time, of about ``PAIRS_AT_ONCE`` pairs or fewer."""
    chunk, size = [], 0
    for cells in contexts:
        chunk.append(cells)
        size += sum(len(cell.x) * (len(cell.a) + len(cell.b)) for cell in cells)
        if size >= PAIRS_AT_ONCE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _pairs_of_context(cells: Sequence[Cell]) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of X with an A or B, once; an item is not compared with itself."""
    sides = [
        np.stack(np.meshgrid(cell.x, side, indexing="ij"), -1).reshape(-1, 2) for cell in cells for side in cell[1:3]
    ]
    pairs = np.unique(np.concatenate(sides), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return pairs[:, 0], pairs[:, 1]


def _cell_error(to_a: np.ndarray, to_b: np.ndarray, *, same: bool) -> float:
    """Share of (x, a, b) whose X is nearer to B, a draw counts half: (n, p) and (n, q) distances."""
    n_right = 0.0
    ordered = np.sort(to_b, axis=1)
    for distances, others in zip(to_a, ordered):
        below, upto = np.searchsorted(others, distances, "left"), np.searchsorted(others, distances, "right")
        n_right += (len(others) - (below + upto) / 2).sum()
    n_a = to_a.shape[1] - int(same)  # the item itself is infinitely far: never right
    return float(1 - n_right / (len(to_a) * n_a * to_b.shape[1]))


def average_cells(keys: np.ndarray, errors: np.ndarray, *, n_resamples: int = 0, seed: int = 0) -> Interval | None:
    """Mean error rate over contexts, then speakers, then pairs of phones; its interval resamples the contexts."""
    if not len(errors):
        return None
    _, contexts = np.unique(keys[:, 0], return_inverse=True)
    groups, group = np.unique(keys[:, 1:], axis=0, return_inverse=True)
    _, pair = np.unique(groups[:, :2], axis=0, return_inverse=True)
    n_contexts, rng = contexts.max() + 1, np.random.default_rng(seed)

    def average(weights: np.ndarray) -> float:
        """Contexts count (n_contexts,) ``weights`` times."""
        times = weights[contexts]
        sums, counts = (np.bincount(group, column, len(groups)) for column in (times * errors, times))
        seen = counts > 0
        means = np.bincount(pair[seen], sums[seen] / counts[seen]) / np.maximum(np.bincount(pair[seen]), 1)
        return float(means[np.bincount(pair[seen]) > 0].mean())

    drawn = rng.multinomial(n_contexts, np.full(n_contexts, 1 / n_contexts), size=n_resamples)
    return with_interval(average(np.ones(n_contexts)), np.array([average(weights) for weights in drawn]))


def score_abx(
    items: AbxItems, frames: Sequence[np.ndarray], distance: Distance, *, n_resamples: int = 0, seed: int = 0
) -> AbxScore:
    """Error rates of frames, (F,) units or (F, D) unit vectors an utterance, within and across speakers."""
    measure, scores, n_cells = item_distances(items, frames, distance), [], 0
    for across in (False, True):
        keys, errors = score_cells(list_cells(items, across=across, seed=seed), measure)
        scores.append(average_cells(keys, errors, n_resamples=n_resamples, seed=seed))
        n_cells += len(errors)
    return AbxScore(*scores, n_items=len(items.phone), n_cells=n_cells)
