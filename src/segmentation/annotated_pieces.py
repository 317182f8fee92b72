"""Where a recording is cut when people have annotated it: at their annotations, not at pauses.

Times are in seconds. A *piece* is what becomes one segment: of one speaker, with the texts of the annotations in it.
"""

import bisect
from collections.abc import Callable, Sequence
from typing import NamedTuple

from annotations.spans import Span
from segmentation.tables import OUTSIDE

LONGEST_GAP = 1.0  # s: annotations of one speaker that are farther apart are not joined
LEAST_INSIDE = 1 / 3  # of an annotation that reaches past the end of the recording
SMALLEST_OVERLAP = 0.1  # s: less is how people mark the turn of a speaker


class AnnotatedPlan(NamedTuple):
    """What becomes of a recording's annotations."""

    pieces: list["AnnotatedPiece"]  # in order of time
    left_out: dict[str, int]  # texts, by reason


class AnnotatedPiece(NamedTuple):
    """``is_overlapped``: somebody else speaks at the same time, so that no voice should be trained on it."""

    start: float
    end: float
    speaker: str | None
    text: str
    is_overlapped: bool


def plan_annotated(
    spans: Sequence[Span], *, n_seconds: float, min_duration: float, max_duration: float
) -> AnnotatedPlan:
    """The pieces of a recording.

    spans: those of the tiers that hold what is said. Annotations shorter than ``min_duration`` join the next one of the
    same speaker across gaps of at most a second, unless somebody else speaks between; what stays short is kept as it
    is. An annotation longer than ``max_duration``, or with most of it past the end of the recording, is left out.
    """
    left_out = {OUTSIDE: 0, "longer than --max_duration": 0, "without length": 0}
    usable = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        end = min(span.end, n_seconds)
        if is_outside(span, n_seconds):
            left_out[OUTSIDE] += 1
        elif end <= span.start:
            left_out["without length"] += 1
        elif end - span.start > max_duration:
            left_out["longer than --max_duration"] += 1
        else:
            usable.append(span._replace(end=end))
    near = _finder(usable, max_duration)
    joined = _join_short(usable, near, min_duration, max_duration)
    pieces = [
        AnnotatedPiece(
            group[0].start,
            max(span.end for span in group),
            group[0].speaker,
            " ".join(span.text for span in group),
            _is_overlapped(group, near),
        )
        for group in joined
    ]
    return AnnotatedPlan(sorted(pieces), {reason: count for reason, count in left_out.items() if count})


def is_outside(span: Span, n_seconds: float) -> bool:
    """Whether an annotation lies past the end of its recording of ``n_seconds``, or most of it does."""
    return span.start >= n_seconds or n_seconds - span.start < LEAST_INSIDE * (span.end - span.start)


def _finder(spans: Sequence[Span], max_duration: float) -> Callable[[float, float], Sequence[Span]]:
    """(start, end) -> the spans that may touch it; none of ``spans``, in order of time, is longer than the limit."""
    starts = [span.start for span in spans]

    def near(start: float, end: float) -> Sequence[Span]:
        return spans[bisect.bisect_left(starts, start - max_duration) : bisect.bisect_left(starts, end)]

    return near


def _join_short(
    spans: Sequence[Span],
    near: Callable[[float, float], Sequence[Span]],
    min_duration: float,
    max_duration: float,
) -> list[list[Span]]:
    """Groups of annotations of one speaker, each long enough where its neighbours allow it."""
    open_groups: dict[str | None, list[Span]] = {}
    done = []
    for span in spans:
        group = open_groups.get(span.speaker)
        if group and _may_join(group, span, near, max_duration):
            group.append(span)
        else:
            if group:
                done.append(group)
            group = open_groups[span.speaker] = [span]
        if group[-1].end - group[0].start >= min_duration:
            done.append(open_groups.pop(span.speaker))
    return done + list(open_groups.values())


def _may_join(
    group: list[Span], span: Span, near: Callable[[float, float], Sequence[Span]], max_duration: float
) -> bool:
    start, reached = group[0].start, group[-1].end
    if span.start - reached > LONGEST_GAP or span.end - start > max_duration or span.start < reached:
        return False
    between = near(reached, span.start)
    return not any(other.speaker != span.speaker and other.end > reached for other in between)


def _is_overlapped(group: list[Span], near: Callable[[float, float], Sequence[Span]]) -> bool:
    start, end = group[0].start, group[-1].end
    return any(
        min(end, other.end) - max(start, other.start) > SMALLEST_OVERLAP
        for other in near(start, end)
        if other.speaker != group[0].speaker
    )


def lanes(bounds: Sequence[tuple[float, float]]) -> list[list[int]]:
    """Numbers of (start, end), in order of time, in lists in which nothing overlaps: each can be cut in one pass."""
    found: list[list[int]] = []
    for number, (start, _) in enumerate(bounds):
        lane = next((lane for lane in found if bounds[lane[-1]][1] <= start), None)
        if lane is None:
            found.append(lane := [])
        lane.append(number)
    return found
