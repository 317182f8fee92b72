"""The plain dicts that travel through the project, by name: which keys each one has, and in what unit.

They describe, and check nothing while the program runs. On disk they are objects of JSON (docs/data_formats.md).
Axes: B batch, F frames (50 Hz), N unit streams, S samples.
"""

from typing import NotRequired, TypedDict

SPLITS = ("train", "val", "test")


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


# Scores of voices (exp/<name>/scores.json).


class MetricScore(TypedDict):
    """One metric of a system, or the difference of two systems, with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int  # utterances on which the metric is defined
    unit: str


class UtteranceScore(TypedDict, total=False):
    """A row of ``utterances``: a number, or None, under each name of ``evaluation.metrics.METRICS``, and these keys.

    Error rates come with ``<name>_counts``: edits by kind, and the length of the reference.
    """

    id: str
    duration: float  # s, of the original
    length_difference_samples: int  # resynthesis minus original
    asr_original: str  # what the recogniser reads
    asr_resynthesis: str
    text: str  # the transcript
