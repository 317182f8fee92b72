"""Whole recordings that are shorter than a segment should be, joined to others of the same folder and speaker.

Clips of one split alone are joined, so that no part of a segment lies in another split. Those with a text are joined to
those with a text, since half a text is a wrong one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio.audio_io import load_audio, save_audio
from core.files import write_if_changed
from core.frames import HOP_SAMPLES, SAMPLE_RATE
from core.records import Segment, SegmentPart
from languages import resolve_in

JOIN_SECONDS = 10.0  # longest joined segment where the flag says no number
PAUSE_SECONDS = 0.3  # silence between two clips, at least: shorter than a pause that recordings are cut at
SUFFIX = "_joined"


class ShortClip(NamedTuple):
    """What decides whom a clip is joined to."""

    id: str
    seconds: float
    group: tuple[str, str | None, str, bool]  # folder, speaker, split, whether it has a text


def describe_clip(row: Segment) -> ShortClip:
    group = (row["source"].rpartition("/")[0], row["speaker"], row["split"], "text" in row)
    return ShortClip(row["id"], row["duration"], group)


def plan_joins(clips: Iterable[ShortClip], *, longest: float, shortest: float) -> dict[str, list[str]]:
    """Id of a clip -> ids of all the clips that it is joined to, in their order; clips that stay alone are left out.

    longest, shortest: seconds of a joined segment. The last of a group are shared out, so that none is left too short.
    """
    groups: dict[tuple, list[ShortClip]] = {}
    for clip in clips:
        groups.setdefault(clip.group, []).append(clip)
    plans = [run for members in groups.values() for run in _pack(members, longest, shortest)]
    return {clip.id: [part.id for part in run] for run in plans if len(run) > 1 for clip in run}


def _pack(clips: Sequence[ShortClip], longest: float, shortest: float) -> list[list[ShortClip]]:
    runs: list[list[ShortClip]] = []
    for clip in clips:
        if runs and joined_seconds([*runs[-1], clip]) <= longest:
            runs[-1].append(clip)
        else:
            runs.append([clip])
    if len(runs) > 1 and joined_seconds(runs[-1]) < shortest:
        both = runs.pop(-2) + runs.pop()
        lengths = np.cumsum([clip.seconds for clip in both])
        middle = 1 + int(np.searchsorted(lengths[:-2], lengths[-1] / 2))
        runs += [both[:middle], both[middle:]]
    return runs


def joined_seconds(clips: Sequence[ShortClip]) -> float:
    """Seconds of these clips with the pauses between them."""
    return sum(_padded(round(clip.seconds * SAMPLE_RATE)) for clip in clips[:-1]) / SAMPLE_RATE + clips[-1].seconds


def _padded(n_samples: int) -> int:
    """Samples up to the next clip: a pause, and up to the next whole frame, so that units of two clips never mix."""
    return -(-(n_samples + round(PAUSE_SECONDS * SAMPLE_RATE)) // HOP_SAMPLES) * HOP_SAMPLES


def join_rows(
    rows: Iterable[Segment], joins: Mapping[str, list[str]], waiting: dict[str, Segment], data_root: Path
) -> Iterator[Segment]:
    """The rows; of clips to be joined, one row with its audio once the last of them is there.

    waiting: clips of earlier calls whose segment is not complete, by id.
    """
    for row in rows:
        ids = joins.get(row["id"])
        if ids is None:
            yield row
            continue
        waiting[row["id"]] = row
        if row["id"] == ids[-1]:
            yield write_joined([waiting.pop(name) for name in ids], data_root)


def write_joined(rows: Sequence[Segment], data_root: Path) -> Segment:
    """Write the clips as one WAV file, which stays untouched where nothing changed; returns its row."""
    waveforms = [load_audio(resolve_in(data_root, row["audio"])) for row in rows]
    offsets = np.cumsum([0, *(_padded(len(waveform)) for waveform in waveforms[:-1])])
    joined = np.zeros(offsets[-1] + len(waveforms[-1]), np.float32)
    for offset, waveform in zip(offsets, waveforms):
        joined[offset : offset + len(waveform)] = waveform
    name = rows[0]["id"].rpartition("_")[0] + SUFFIX
    audio = f"{rows[0]['audio'].rpartition('/')[0]}/{name}.wav"
    write_if_changed(data_root / audio, lambda temporary: save_audio(temporary, joined))
    duration = round(len(joined) / SAMPLE_RATE, 4)
    texts = [row["text"] for row in rows if "text" in row]
    return {
        "id": name,
        "audio": audio,
        **{key: rows[0][key] for key in ("source", "speaker", "split")},
        **{"start": 0.0, "end": duration, "duration": duration},
        **({"text": " ".join(texts)} if texts else {}),
        "flags": [],
        "parts": [_describe_part(row, offset / SAMPLE_RATE) for row, offset in zip(rows, offsets.tolist())],
    }


def _describe_part(row: Segment, offset: float) -> SegmentPart:
    times = {"start": row["start"], "end": row["end"], "offset": round(offset, 4)}
    return {"source": row["source"], **times, **({"text": row["text"]} if "text" in row else {})}


def expand_parts(rows: Iterable[Segment]) -> Iterator[Segment]:
    """The rows by recording: of a joined segment a row for each part, with its own times, text and ``offset``."""
    for row in rows:
        if "parts" not in row:
            yield row
            continue
        shared = {key: value for key, value in row.items() if key not in ("parts", "text")}
        yield from (shared | part | {"duration": round(part["end"] - part["start"], 4)} for part in row["parts"])


def remove_other_joined(segments: Path, kept: Iterable[str]) -> None:
    """Delete the joined WAV files of earlier runs; ``kept``: ids of those that belong to the manifest."""
    names = {f"{name}.wav" for name in kept}
    for file in segments.glob(f"*{SUFFIX}.wav"):
        if file.name not in names:
            file.unlink()
