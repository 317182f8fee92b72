"""Where in the index a query was itself cut from: what is searched for is no find."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from core.composed_names import composed, find_composed
from core.frames import UNIT_RATE
from core.records import Segment
from spoken_search.decisions import REJECTED
from spoken_search.index import Index
from spoken_search.matching import Place
from spoken_search.queries import QueryClip


def own_places(
    index: Index, clips: Sequence[QueryClip], raw: Path, audio_path: Callable[[str], Path]
) -> list[tuple[Place, str]]:
    """The places of ``clips`` in the segments, to be left out; ``raw``: folder of the recordings; ``audio_path``: of
    a segment's audio.
    """
    found, in_raw = [], functools.cache(functools.partial(find_composed, Path(raw)))
    for number, segment in enumerate(index.segments):
        n_frames = int(index.bounds[number + 1] - index.bounds[number])
        for clip in clips:
            for first, last, ahead in _pieces(segment, clip.path, in_raw, audio_path, n_frames / UNIT_RATE):
                start = max(first, (clip.start or 0.0) - ahead)
                end = min(last, (last + ahead if clip.end is None else clip.end) - ahead)
                if end > start:
                    found.append((Place(number, round(start * UNIT_RATE), round(end * UNIT_RATE), 0.0), REJECTED))
    return found


def _pieces(
    segment: Segment, path: Path, in_raw: Callable[[str], Path], audio_path: Callable[[str], Path], seconds: float
) -> Iterator[tuple[float, float, float]]:
    """(start, end, s that the times of ``path`` are ahead) of what a segment of so many seconds holds of a file."""
    if _is_same(path, audio_path(segment["audio"])):
        yield 0.0, seconds, 0.0
        return
    whole = [{"source": segment.get("source") or "", "start": segment.get("start", 0.0), "offset": 0.0}]
    parts = segment.get("parts") or whole
    ends = [part["offset"] for part in parts[1:]] + [seconds]
    for part, end in zip(parts, ends):
        if part["source"] and _is_same(path, in_raw(part["source"])):
            yield part["offset"], end, part["start"] - part["offset"]


def _is_same(path: Path, other: Path) -> bool:
    """Whether two files are one, or copies by name and size."""
    try:
        if os.path.samefile(path, other):
            return True
        return composed(path.name) == composed(other.name) and os.path.getsize(path) == os.path.getsize(other)
    except OSError:
        return False
