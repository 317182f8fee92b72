"""The plain dicts that travel through the project, by name: which keys each one has, and in what unit.

They describe, and check nothing while the program runs. On disk they are objects of JSON (docs/data_formats.md).
Axes: B batch, F frames (50 Hz), N unit streams, S samples.
"""

from typing import NotRequired, TypedDict


class Segment(TypedDict):
    """A line of ``segments.jsonl``: one stretch of a recording, as a file of its own."""

    id: str
    audio: str  # relative to DATA_ROOT
    source: str  # relative path of the recording it was cut from
    start: float  # s, in the recording
    end: float  # s
    duration: float  # s
    speaker: str | None
    split: str  # train, val or test
    text: NotRequired[str]
