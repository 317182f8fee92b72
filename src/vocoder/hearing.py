"""What a voice hears in a recording: the units that it was trained with; and the prosody predictor that fits it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from audio.audio_io import load_audio
from core.errors import UserError
from core.frames import HOP_SAMPLES
from encoders.encode import encode, load_encoder
from prosody.prediction import Prosody
from segmentation.levelling import level_speech
from units.kmeans import quantize_to_units, read_description
from vocoder.saved_voice import load_clusters, load_voice_prosody, units_hash


def read_recording(path: Path, *, keep_level: bool = False) -> np.ndarray:
    """(S,) float32 at 16 kHz, a frame or more, at the level that a corpus has (``level_speech``)."""
    waveform = load_audio(path)
    if len(waveform) < HOP_SAMPLES:
        raise UserError(f"{path}: expected at least {HOP_SAMPLES} samples (20 ms), found {len(waveform)}")
    return waveform if keep_level else level_speech(waveform)


def open_ears(voice: Path, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """(S,) waveform -> (F, N) units, by the encoder and clusters that a voice was trained with."""
    kmeans = load_clusters(voice)
    if kmeans is None:
        raise UserError(f"{voice}: its units were made elsewhere, without clusters; give --units instead of recordings")
    description = read_description(kmeans)
    if description is None:
        raise UserError(f"{voice}: expected clusters with a description of their encoder; rerun phases 1 and 3")
    encoder = load_encoder(description["encoder"], description["layer"], device, **description["options"])
    return lambda waveform: quantize_to_units(encode(encoder, [waveform])[0], kmeans)


def open_prosody(folder: Path, voice: Path, device: str) -> Prosody:
    """A prosody predictor; refused where it was trained on other units than the voice."""
    prosody = load_voice_prosody(folder, device)
    if prosody.config["derived"]["units_hash"] != units_hash(voice):
        raise UserError(f"{folder}: was trained on other units than {voice}; train both on one phase 1")
    return prosody
