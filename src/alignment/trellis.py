"""A known text on hours of posteriors: the likeliest path, in which words may be unsaid and other speech may come.

CTC segmentation (Kürzinger et al. 2020) with two ways out. Between two words, a wildcard may take speech that is not in
the text (the star token of Pratap et al. 2023); and words that nobody says may be passed over. Both cost nats, so that
they are used only where the text does not fit. The path is the best one: no beam, but for states far behind.

Memory stays bounded: the forward pass keeps only some of its rows, and what lies between them is computed again with
back-pointers, from the end to the start, with ever fewer of the words.

Axes: P positions of the posteriors, C columns of them, N letters of the text, W words, H = W + 1 hubs. Hub h is the
place before word h, the last hub the place behind the text. Values are nats, float32.
"""

import math
from typing import NamedTuple

import numpy as np

BLANK_COLUMN, PAUSE_COLUMN, BEST_COLUMN, ANY_COLUMN, FIRST_LETTER = 0, 1, 2, 3, 4
# Below the best, of a word that may sound like anything, such as a number. At each position it is more than speech
# beyond the text costs, or a number would take the announcement behind it too.
ANY_NATS = -1.0
IMPOSSIBLE = np.float32(-1e30)
DEFAULT_BYTES = 1 << 27  # for back-pointers, and as many for rows
PRUNE_EVERY = 64  # positions
# What a position of a path is, where it is no letter (from 0 on); the wildcard of hub h is STAR - h.
BLANK, STAR = -1, -2
# Codes of back-pointers. Letters: from themselves, from the blank before, from the letter before. Blanks and hubs:
# from themselves, from the letter before, (hubs) from the wildcard. Wildcards: themselves, the hub, the letter before.
STAY, FROM_BLANK, FROM_LETTER = 0, 1, 2
HUB_LETTER, HUB_STAR = 1, 2
STAR_HUB, STAR_LETTER = 1, 2


class Costs(NamedTuple):
    """Nats that the ways out cost."""

    star_enter: float = 6.0  # to begin with speech that is not in the text
    star_position: float = 0.8  # below the best column, at each of its positions
    skip_start: float = 6.0  # to begin to pass over words
    skip_letter: float = 1.5  # of those words
    skip_most: float = 60.0  # for the letters of one stretch, however long: a chapter may be missing


DEFAULT_COSTS = Costs()


class Script(NamedTuple):
    """The text as the trellis sees it."""

    columns: np.ndarray  # (N,) int64 column of each letter
    hubs: np.ndarray  # (H,) int64: the letter before which each hub lies; the first is 0, the last N


class Row(NamedTuple):
    """The best scores of all states behind one position."""

    letters: np.ndarray  # (N,)
    blanks: np.ndarray  # (N + 1,): before each letter and behind the last; those at hubs are the hubs
    stars: np.ndarray  # (H,)


class _Pointers(NamedTuple):
    """Where each state of one position came from."""

    letters: np.ndarray  # (N,) uint8
    blanks: np.ndarray  # (N + 1,) uint8
    stars: np.ndarray  # (H,) uint8
    skipped_from: np.ndarray | None  # (H,) int32 hub from which words are passed over, -1: none; None: none at all
    skipped_letter: np.ndarray | None  # (H,) bool: the hub's letter before it is where passing over begins


class _Place(NamedTuple):
    """A state: ``kind`` is "letter", "blank" or "star", ``index`` that of its array, of the whole text."""

    kind: str
    index: int


class _Search(NamedTuple):
    """What all parts of one search share."""

    emissions: np.ndarray  # (P, C)
    path: np.ndarray  # (P,) int32, filled from the end
    script: Script  # of the whole text
    costs: Costs
    most_bytes: int
    reach: float


def make_script(words: list[list[int]]) -> Script:
    """words: the columns of each word's letters, at least one each."""
    assert words and all(words), "expected words with letters"
    lengths = np.array([len(word) for word in words])
    return Script(np.concatenate([np.array(word, np.int64) for word in words]), np.concatenate([[0], lengths.cumsum()]))


def best_path(
    emissions: np.ndarray,
    script: Script,
    costs: Costs = DEFAULT_COSTS,
    *,
    most_bytes: int = DEFAULT_BYTES,
    reach: float = 400.0,
) -> tuple[np.ndarray, float]:
    """((P,) int32: the letter said at each position, BLANK, or STAR - hub; nats of the path).

    emissions: (P, C) log-probabilities of any float type: blank, pause (between words), the best of all, any sound
    (the best and ANY_NATS), letters.
    most_bytes: bound of what is held. reach: nats behind the best state, beyond which the beginning of the text is
    given up.
    """
    path = np.empty(len(emissions), np.int32)
    row = _first_row(script, costs)
    if not len(emissions):
        return path, float(row.blanks[-1])
    search = _Search(emissions, path, script, costs, most_bytes, reach)
    _, nats = _solve(search, (0, len(emissions)), (0, row), None)
    return path, nats


def _first_row(script: Script, costs: Costs) -> Row:
    n_letters, n_hubs = len(script.columns), len(script.hubs)
    blanks = np.full(n_letters + 1, IMPOSSIBLE)
    blanks[0] = 0.0
    row = Row(np.full(n_letters, IMPOSSIBLE), blanks, np.full(n_hubs, IMPOSSIBLE))
    reached, _, _ = _pass_over(row.blanks[script.hubs], np.full(n_hubs, IMPOSSIBLE), script, costs)
    blanks[script.hubs] = reached
    return row


def _solve(
    search: _Search, bounds: tuple[int, int], start: tuple[int, Row], end: _Place | None
) -> tuple[_Place, float]:
    """Fill path[bounds] and return the state before them, and the nats at their end.

    start: (word from which on states are alive, their row before the bounds). end: the state behind them; None: the
    better end of the text.
    """
    (first, last), (word, row) = bounds, start
    piece = cut_script(search.script, word, _last_word(search.script, end))
    row = _cut_row(row, len(piece.columns), len(piece.hubs))
    pointer_bytes = 2 * len(piece.columns) + 7 * len(piece.hubs) + 200
    if (last - first) * pointer_bytes <= search.most_bytes or last - first == 1:
        return _trace(search, bounds, piece, (word, row), end)
    row_bytes = 8 * len(piece.columns) + 4 * len(piece.hubs) + 400
    wanted = math.ceil((last - first) * pointer_bytes / search.most_bytes)
    n_blocks = max(2, min(wanted, search.most_bytes // row_bytes, last - first))
    cuts = [first + round(block * (last - first) / n_blocks) for block in range(n_blocks + 1)]
    rows, nats = _forward(search, cuts, piece, (word, row)), None
    for begin, stop, kept in reversed(list(zip(cuts[:-1], cuts[1:], rows))):
        end, reached = _solve(search, (begin, stop), kept, end)
        nats = reached if nats is None else nats
    return end, nats


def _last_word(script: Script, end: _Place | None) -> int:
    """The number of words that lie before ``end`` or in it."""
    if end is None:
        return len(script.hubs) - 1
    if end.kind == "star":
        return end.index
    side = "right" if end.kind == "letter" else "left"
    return int(np.searchsorted(script.hubs, end.index, side=side))


def cut_script(script: Script, first: int, last: int) -> Script:
    """Words ``first`` to ``last``, exclusive; of none, a text of one hub."""
    hubs = script.hubs[first : last + 1]
    return Script(script.columns[hubs[0] : hubs[-1]], hubs - hubs[0])


def _cut_row(row: Row, n_letters: int, n_hubs: int) -> Row:
    return Row(row.letters[:n_letters], row.blanks[: n_letters + 1], row.stars[:n_hubs])


def _forward(search: _Search, cuts: list[int], piece: Script, start: tuple[int, Row]) -> list[tuple[int, Row]]:
    """(first living word, row) before each of the ``cuts`` but the last, which nothing follows."""
    word, row = start
    last_word = word + len(piece.hubs) - 1
    found = []
    for begin, stop in zip(cuts[:-1], cuts[1:]):
        found.append((word, row))
        if stop == cuts[-1]:
            break
        for low in range(begin, stop, PRUNE_EVERY):
            repeats = _repeats(piece)
            for position in _positions(search, low, stop):
                row, _ = _advance(row, position, piece, repeats, search.costs)
            given_up = _words_behind(row, piece, search.reach)
            if given_up:
                word += given_up
                row = _drop_words(row, piece, given_up)
                piece = cut_script(search.script, word, last_word)
    return found


def _positions(search: _Search, low: int, stop: int) -> np.ndarray:
    """At most PRUNE_EVERY rows of the posteriors, as float32."""
    return np.asarray(search.emissions[low : min(low + PRUNE_EVERY, stop)], np.float32)


def _words_behind(row: Row, script: Script, reach: float) -> int:
    """How many words at the beginning hold no state within ``reach`` of the best."""
    best = max(row.letters.max(initial=IMPOSSIBLE), row.blanks.max(), row.stars.max())
    hubs = np.maximum(row.blanks[script.hubs], row.stars)
    alive = int(np.argmax(np.append(hubs > best - reach, True)))
    letters = np.maximum(row.letters, row.blanks[:-1]) > best - reach
    if letters.any():
        alive = min(alive, int(np.searchsorted(script.hubs, np.argmax(letters), side="right")) - 1)
    return min(alive, len(script.hubs) - 1)


def _drop_words(row: Row, script: Script, n_words: int) -> Row:
    first = script.hubs[n_words]
    return Row(row.letters[first:], row.blanks[first:], row.stars[n_words:])


def _repeats(script: Script) -> np.ndarray:
    """(N,): 0, or IMPOSSIBLE for a letter that is the same as the one before, which only a blank parts."""
    repeats = np.zeros(len(script.columns), np.float32)
    repeats[1:][script.columns[1:] == script.columns[:-1]] = IMPOSSIBLE
    return repeats


def _advance(
    row: Row, position: np.ndarray, script: Script, repeats: np.ndarray, costs: Costs, *, keep: bool = False
) -> tuple[Row, _Pointers | None]:
    """The row behind one more position (C,), and where its states came from where ``keep``."""
    columns, hubs = script
    letters, blanks, stars = row
    from_blank = blanks[:-1]
    from_letter = np.empty_like(letters)
    from_letter[:1] = IMPOSSIBLE
    np.add(letters[:-1], repeats[1:], out=from_letter[1:])
    best = np.maximum(np.maximum(letters, from_blank), from_letter)
    new_letters = best + position[columns]
    new_blanks = blanks.copy()
    np.maximum(new_blanks[1:], letters, out=new_blanks[1:])
    arrived = new_blanks[hubs]
    new_blanks += position[BLANK_COLUMN]
    new_stars = np.maximum(stars, arrived - costs.star_enter) + (position[BEST_COLUMN] - costs.star_position)
    at_hubs = np.maximum(arrived + position[PAUSE_COLUMN], new_stars)
    ended = np.empty_like(at_hubs)
    ended[0] = IMPOSSIBLE
    ended[1:] = new_letters[hubs[1:] - 1]
    reached, origins, by_letter = _pass_over(at_hubs, ended, script, costs, keep=keep)
    new_blanks[hubs] = reached
    new_row = Row(new_letters, new_blanks, new_stars)
    if not keep:
        return new_row, None
    letter_codes = np.where(best == letters, STAY, np.where(best == from_blank, FROM_BLANK, FROM_LETTER))
    blank_codes = np.zeros(len(blanks), np.uint8)
    np.greater(letters, blanks[1:], out=blank_codes[1:], casting="unsafe")
    star_codes = np.where(stars >= arrived - costs.star_enter, STAY, blank_codes[hubs] + 1)
    by_star = new_stars > arrived + position[PAUSE_COLUMN]
    blank_codes[hubs[by_star]] = HUB_STAR
    return new_row, _Pointers(letter_codes.astype(np.uint8), blank_codes, star_codes, origins, by_letter)


def _pass_over(
    at_hubs: np.ndarray, ended: np.ndarray, script: Script, costs: Costs, *, keep: bool = False
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """(H,) scores of hubs after words were passed over without a position; the hub each came from; whether by letter.

    at_hubs: (H,) scores there; ended: (H,) scores of the letter before. The cost of a stretch is
    skip_start + min(skip_letter · letters, skip_most): two running maxima.
    """
    source = np.maximum(at_hubs, ended)
    lengths = script.hubs * np.float32(costs.skip_letter)
    near, far = source + lengths, source
    near_best, far_best = np.maximum.accumulate(near), np.maximum.accumulate(far)
    by_near = near_best - lengths
    by_far = far_best - np.float32(costs.skip_most)
    skipped = np.maximum(by_near, by_far) - np.float32(costs.skip_start)
    better = skipped > at_hubs
    reached = np.maximum(at_hubs, skipped)
    if not keep or not better.any():
        return reached, None, None
    places = np.arange(len(source), dtype=np.int32)
    near_from = np.maximum.accumulate(np.where(near == near_best, places, 0))
    far_from = np.maximum.accumulate(np.where(far == far_best, places, 0))
    origins = np.where(by_near >= by_far, near_from, far_from).astype(np.int32)
    # A word passed over between a letter and the same hub is none.
    better &= origins < places
    return reached, np.where(better, origins, -1).astype(np.int32), ended > at_hubs


def _trace(
    search: _Search, bounds: tuple[int, int], script: Script, start: tuple[int, Row], end: _Place | None
) -> tuple[_Place, float]:
    """One block with its back-pointers; places are of the whole text, ``script`` is the part that lives in it."""
    word, row = start
    letter = int(search.script.hubs[word])
    path, repeats, pointers = search.path, _repeats(script), []
    for low in range(*bounds, PRUNE_EVERY):
        for position in _positions(search, low, bounds[1]):
            row, where = _advance(row, position, script, repeats, search.costs, keep=True)
            pointers.append(where)
    place = _local(end, word, letter) if end is not None else _better_end(row)
    nats = float({"letter": row.letters, "blank": row.blanks, "star": row.stars}[place.kind][place.index])
    hub_of = {int(at): number for number, at in enumerate(script.hubs)}
    for position, where in zip(range(bounds[1] - 1, bounds[0] - 1, -1), reversed(pointers)):
        said, place = _step_back(place, where, script, hub_of)
        path[position] = said + letter if said >= 0 else said - word if said <= STAR else said
    return _local(place, -word, -letter), nats


def _better_end(row: Row) -> _Place:
    n_letters = len(row.letters)
    if n_letters and row.letters[-1] > row.blanks[-1]:
        return _Place("letter", n_letters - 1)
    return _Place("blank", n_letters)


def _local(place: _Place, word: int, letter: int) -> _Place:
    return _Place(place.kind, place.index - (word if place.kind == "star" else letter))


def _step_back(place: _Place, where: _Pointers, script: Script, hub_of: dict[int, int]) -> tuple[int, _Place]:
    """(what the position says, the state before it)."""
    kind, index = place
    hub = hub_of.get(index) if kind == "blank" else None
    if hub is not None and where.skipped_from is not None and where.skipped_from[hub] >= 0:
        hub = int(where.skipped_from[hub])
        index = int(script.hubs[hub])
        if where.skipped_letter[hub]:
            kind, index = "letter", index - 1
    if kind == "letter":
        code = where.letters[index]
        before = {STAY: ("letter", index), FROM_BLANK: ("blank", index), FROM_LETTER: ("letter", index - 1)}[int(code)]
        return index, _Place(*before)
    if kind == "blank" and not (hub is not None and where.blanks[index] == HUB_STAR):
        return BLANK, _Place(*(("letter", index - 1) if where.blanks[index] == HUB_LETTER else ("blank", index)))
    hub = hub if kind == "blank" else index
    at = int(script.hubs[hub])
    code = int(where.stars[hub])
    before = {STAY: ("star", hub), STAR_HUB: ("blank", at), STAR_LETTER: ("letter", at - 1)}[code]
    return STAR - hub, _Place(*before)
