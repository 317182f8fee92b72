"""Files of 32-bit float may go over full scale, as field recorders write them; all that follows expects [-1, 1]."""

import functools
import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

import av

from core.errors import UserError

FLOAT_CODECS = "pcm_f"  # pcm_f32le and its like; what an MP3 has over full scale is the codec's ripple, and stays


def full_scale_gain(path: Path | BinaryIO, codec: str, audio_stream: int = 0) -> float:
    """What the samples are multiplied by to fit into [-1, 1]: 1 but for files of float that go over it.

    codec: FFmpeg's name. A file of float is decoded once for that, and remembered. Raises UserError for samples that
    are no numbers.
    """
    if not codec.startswith(FLOAT_CODECS):
        return 1.0
    if hasattr(path, "read"):  # somebody is reading it: its place must stay
        place = path.tell()
        path.seek(0)
        peak = _find_peak(io.BytesIO(path.read()), audio_stream)
        path.seek(place)
    else:
        status = os.stat(path)
        peak = _remembered_peak(str(path), status.st_size, status.st_mtime_ns, audio_stream)
    return 1 / peak if peak > 1 else 1.0


@functools.lru_cache(maxsize=4096)
def _remembered_peak(path: str, size: int, changed: int, audio_stream: int) -> float:
    return _find_peak(path, audio_stream)


def _find_peak(path: str | BinaryIO, audio_stream: int) -> float:
    """The largest sample as it is decoded."""
    peak = 0.0
    with av.open(path) as found:
        for frame in found.decode(audio=audio_stream):
            samples = frame.to_ndarray()
            require_finite(path, samples)
            peak = max(peak, float(np.abs(samples).max(initial=0.0)))
    return peak


def require_finite(path: Path | str | BinaryIO, samples: np.ndarray) -> None:
    """UserError for NaN and infinity, which a crashed program leaves in files of float: sums spread them."""
    if not np.isfinite(samples).all():
        raise UserError(
            f"{path}: expected finite samples, found NaN or Inf; open it in a sound editor and export it as 16 bit"
        )
