"""Meanings that somebody said instead of writing them: recordings inside the file of names, and files beside the LIFT.

A recording travels as a ``data:`` address, as a browser's microphone gives it: WebM, MP4, Ogg or any other audio.
"""

import base64
import binascii
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audio.audio_io import load_audio, save_audio
from audio.mp3 import audio_data_uri
from core.errors import UserError
from core.frames import SAMPLE_RATE
from core.hashing import hash_content
from core.records import Phrase

LONGEST_SECONDS = 60.0
PLAYED_EVERYWHERE = "data:audio/mpeg;base64,"


def read_meaning(path: Path, name: str, address: object) -> str:
    """The recording as an MP3's ``data:`` address, which every browser plays; one that is MP3 stays as it is.

    path, name: of the file of names and of the phrase, for the UserError where it is no audio, or longer than
    LONGEST_SECONDS.
    """
    try:
        waveform = decode_meaning(address)
    except (UserError, ValueError) as error:
        reason = str(error).partition("expected ")[2].partition(";")[0] or str(error)
        raise UserError(
            f"{path}: the recorded meaning of '{name}' cannot be heard ({reason}); record it again"
        ) from error
    seconds = len(waveform) / SAMPLE_RATE
    if not 0 < seconds <= LONGEST_SECONDS:
        raise UserError(
            f"{path}: the recorded meaning of '{name}': expected up to {LONGEST_SECONDS:.0f} s of sound, found "
            f"{seconds:.1f}; record it again"
        )
    return address if address.startswith(PLAYED_EVERYWHERE) else audio_data_uri(waveform)


def decode_meaning(address: object) -> np.ndarray:
    """(S,) at 16 kHz of a ``data:`` address. Raises ValueError for what is no such address, UserError for no audio."""
    kind, comma, content = address.partition(",") if isinstance(address, str) else ("", "", "")
    if not kind.startswith("data:") or not kind.endswith(";base64") or not comma:
        raise ValueError("no data: address in base64")
    try:
        return load_audio(io.BytesIO(base64.b64decode(content, validate=True)))
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def save_meanings(folder: Path, phrases: Sequence[Phrase]) -> dict[str, str]:
    """``meaning_….wav`` of each recorded meaning; label -> name of its file."""
    names = {}
    for phrase in phrases:
        if address := phrase.get("gloss_audio"):
            names[phrase["label"]] = f"meaning_{hash_content(address.encode())[:8]}.wav"
            save_audio(folder / names[phrase["label"]], decode_meaning(address))
    return names


def name_meanings(phrases: Sequence[Phrase], names: dict[str, str]) -> list[Phrase]:
    """The phrases with the place of each recorded meaning, relative to the dictionary, instead of the recording."""
    return [
        {**phrase, "gloss_audio": f"audio/{names[phrase['label']]}"} if phrase["label"] in names else phrase
        for phrase in phrases
    ]
