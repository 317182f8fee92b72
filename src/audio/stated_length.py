"""The length that a recording's container states, to be compared with what decoding finds."""

import functools
import os
import struct
from pathlib import Path

import av

UNKNOWN_WAV_SIZE = 0x7FFFF000  # recorders that stream, or pass 2 GB, write this or more


def stated_seconds(path: Path) -> float | None:
    """The duration that the container states; None where it states none (OGG, an MP3 without a Xing or VBRI header)."""
    if path.suffix.lower() == ".wav":
        return _stated_wav_seconds(path)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        if container.format.name == "mp3":
            return _stated_mp3_seconds(path, stream.rate)
        if stream.duration is not None:
            return float(stream.duration * stream.time_base)
        return container.duration / av.time_base if container.duration else None


def _stated_wav_seconds(path: Path) -> float | None:
    """What a RIFF header says; FFmpeg and libsndfile report what is there instead. None for other or streamed files."""
    bytes_a_second = None
    with open(path, "rb") as wav:
        if wav.read(4) != b"RIFF":
            return None
        wav.seek(12)
        while len(header := wav.read(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if name == b"data":
                known = bytes_a_second and 0 < size < UNKNOWN_WAV_SIZE
                return size / bytes_a_second if known else None
            chunk = wav.read(16) if name == b"fmt " else b""
            if len(chunk) == 16:
                bytes_a_second = struct.unpack("<HHIIHH", chunk)[3]
            wav.seek(size + size % 2 - len(chunk), os.SEEK_CUR)
    return None


def _stated_mp3_seconds(path: Path, rate: int) -> float | None:
    """What the first frame's Xing or VBRI header says; without one FFmpeg guesses a duration from the size."""
    with open(path, "rb") as mp3:
        start = mp3.read(10)
        size = functools.reduce(lambda total, byte: total << 7 | byte & 0x7F, start[6:10], 0)
        mp3.seek(10 + size if start[:3] == b"ID3" else 0)
        head = mp3.read(4096)
    n_frames = None
    for tag, offset in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        place = head.find(tag)
        # Bit 0 of a Xing header's flags says that the number of frames follows.
        if 0 <= place <= len(head) - 18 and (tag == b"VBRI" or head[place + 7] & 1):
            n_frames = struct.unpack_from(">I", head, place + offset)[0]
    return n_frames * (1152 if rate >= 32000 else 576) / rate if n_frames else None
