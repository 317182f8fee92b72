"""Copies of segments at other speeds: pitch and vocal tract move together, as they do between people."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torchaudio.functional import resample

from audio.audio_io import load_audio, save_audio
from core.files import write_json, write_text
from core.frames import SAMPLE_RATE
from core.records import Segment
from languages import data_root, resolve_in


def copy_at_speed(row: Segment, speed: float, folder: Path) -> Segment:
    """``row`` played ``speed`` times as fast, as a file of its own in ``folder``, by a speaker of its own.

    A file that is there already is taken for the copy of an earlier run.
    """
    ending = f"_x{round(100 * speed)}"
    path = folder / f"{row['id']}{ending}.wav"
    waveform = torch.from_numpy(load_audio(resolve_in(data_root(), row["audio"])))
    # Taken for a recording at 16,000 times the speed: 13,920 Hz for .87.
    played = resample(waveform, round(SAMPLE_RATE * speed), SAMPLE_RATE).numpy()
    if not path.exists():
        save_audio(path, played)
    copy = row | {
        "id": path.stem,
        "audio": str(path.relative_to(data_root())),
        "duration": len(played) / SAMPLE_RATE,
        "speaker": f"{row['speaker']}{ending}",
    }
    copy.pop("parts", None)  # their times are those of the original
    return copy


def write_segments_list(paths: Mapping[str, Path], rows: Sequence[Segment]) -> None:
    """The splits and the manifest of a corpus whose segments lie elsewhere; the manifest last, as it says all is there.

    paths: of ``language_paths``.
    """
    write_json(paths["splits"], {row["source"]: row["split"] for row in rows})
    write_text(paths["manifest"], "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
