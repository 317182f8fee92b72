"""What the CTC head of a speech LLM hears in a recording of any length: posteriors on a file, window by window.

Axes: P positions, V characters of the head with the blank, C = V + 3 columns of alignment.trellis.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from alignment.columns import columns_of
from alignment.trellis import FIRST_LETTER
from alignment.windows import Window, overlapping_windows
from core.files import write_json
from core.frames import HOP_SAMPLES, SAMPLE_RATE
from speech_llm.character_head import CharacterHead
from speech_llm.decoding import pad_features

HOP_SECONDS, MARGIN_SECONDS = 16.0, 3.0  # a window keeps the first, and sees the second on either side
SHORTEST_SAMPLES = SAMPLE_RATE // 5  # of a window; silence follows a shorter one


class HeadSteps(NamedTuple):
    """How samples, windows and positions go together."""

    position: int  # samples
    hop: int
    margin: int


def head_steps(factor: int) -> HeadSteps:
    """factor: frames a position. Windows begin at whole positions."""
    position = factor * HOP_SAMPLES
    hop, margin = (max(1, round(seconds * SAMPLE_RATE / position)) for seconds in (HOP_SECONDS, MARGIN_SECONDS))
    return HeadSteps(position, hop * position, margin * position)


@torch.inference_mode()
def hear_windows(head: CharacterHead, windows: Sequence[Window], steps: HeadSteps) -> list[np.ndarray]:
    """(P, C) of what each window keeps."""
    from encoders.feature_cache import encode_features

    model = head.model
    waveforms = [np.pad(one.waveform, (0, max(0, SHORTEST_SAMPLES - len(one.waveform)))) for one in windows]
    features = encode_features(head.encoder, waveforms)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=head.half):
        heard = model(*pad_features(features, model.device))
    found = []
    for window, log_probs in zip(windows, heard.float().cpu().numpy()):
        first = window.lead // steps.position
        n_positions = -(-window.kept // steps.position)
        rows = columns_of(log_probs[first : first + n_positions], model.characters)
        missing = n_positions - len(rows)  # a part of a frame at the end
        found.append(np.pad(rows, ((0, missing), (0, 0)), mode="edge") if missing > 0 else rows)
    return found


def fill_emissions(
    path: Path,
    identity: dict[str, object],
    blocks: Iterable[np.ndarray],
    head: CharacterHead,
    *,
    batch_size: int,
    stopped: Sequence[int] = (),
) -> Iterator[int]:
    """Write the posteriors of a recording to ``path`` as rows of float16; yields samples heard since the last time.

    ``path`` with .json holds the ``identity`` of audio and model, and whether all is heard. Where a run was killed, the
    next one goes on behind the last whole window. Ends early once ``stopped`` is not empty.
    """
    steps = head_steps(head.model.connector.factor)
    n_columns = len(head.model.characters) + FIRST_LETTER
    notes = emission_notes(path)
    if notes.get("identity") != _as_json(identity) or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        notes = {"identity": identity, "n_columns": n_columns, "n_samples": None}
        write_json(notes_path(path), notes)
    if notes["n_samples"] is not None:
        yield notes["n_samples"]
        return
    row_bytes = 2 * n_columns
    per_window = steps.hop // steps.position
    n_done = path.stat().st_size // (row_bytes * per_window)
    n_samples = 0
    with open(path, "r+b") as file:
        file.truncate(n_done * row_bytes * per_window)
        file.seek(0, 2)
        for group in _groups(overlapping_windows(blocks, steps.hop, steps.margin), batch_size):
            new = [window for window in group if window.start >= n_done * steps.hop]
            for rows in hear_windows(head, new, steps) if new else ():
                file.write(rows.tobytes())
            file.flush()
            n_samples += sum(window.kept for window in group)
            yield sum(window.kept for window in group)
            if stopped:
                return
    write_json(notes_path(path), notes | {"n_samples": n_samples})


def notes_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def emission_notes(path: Path) -> dict:
    try:
        return json.loads(notes_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def open_emissions(path: Path) -> tuple[np.ndarray, int]:
    """((P, C) float16 on the disk, samples of the recording) of a file that is whole."""
    notes = emission_notes(path)
    n_rows = path.stat().st_size // (2 * notes["n_columns"])
    if not n_rows:
        return np.zeros((0, notes["n_columns"]), np.float16), notes["n_samples"]
    return np.memmap(path, np.float16, "r", shape=(n_rows, notes["n_columns"])), notes["n_samples"]


def _groups(windows: Iterable[Window], size: int) -> Iterator[list[Window]]:
    group: list[Window] = []
    for window in windows:
        group.append(window)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _as_json(identity: dict[str, object]) -> dict[str, object]:
    return json.loads(json.dumps(identity, default=str))
