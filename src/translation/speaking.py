"""Translations spoken in a trained voice, and read by a recogniser.

Axes: U deduplicated units, S samples at 16 kHz.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio.audio_io import save_audio
from core.errors import UserError
from evaluation.asr import load_asr, transcribe_cached
from languages import find_config
from prosody.prediction import Prosody, add_prosody
from translation.examples import Example
from translation.generation import translate_sound
from translation.hearing import Sound, count_places
from translation.saved_translator import LoadedTranslator
from unit_lm.generation import Sampling
from unit_lm.inputs import units_of_block
from unit_lm.vocabulary import decode_symbols
from units.requests import Request
from vocoder.generators import Vocoder
from vocoder.hearing import open_prosody
from vocoder.saved_voice import included_prosody, load_voice, units_hash
from vocoder.synthesis import synthesize_utterances

GREEDY = Sampling(temperature=0.0)


class TranslationVoice(NamedTuple):
    vocoder: Vocoder
    prosody: Prosody | None  # None: the translator says the timing, and the voice needs no pitch
    speaker: str | None


def open_translation_voice(
    voice: Path, prosody: Path | None, loaded: LoadedTranslator, device: str, speaker: str | None = None
) -> TranslationVoice:
    """A voice with its prosody predictor; refused where it speaks other units than the translator says."""
    vocoder = load_voice(voice, device=device)
    if units_of_block(loaded.vocabulary, 0) != units_hash(voice):
        raise UserError(f"{voice}: speaks other units than the translator says; train both on one phase 1")
    if vocoder.config["derived"]["n_streams"] > 1:
        raise UserError(f"{voice}: speaks several streams of units, the translator says one; use --n_streams 1")
    folder = prosody or included_prosody(voice)
    if folder is None:
        raise UserError("--prosody exp/<language>_prosody: the voice brings none; train one (src/trainer_prosody.py)")
    return TranslationVoice(vocoder, open_prosody(folder, voice, device), speaker)


def say_units(
    loaded: LoadedTranslator, sound: Sound, sampling: Sampling, *, sample: int = 0
) -> tuple[np.ndarray, np.ndarray | None]:
    """(U,) units of the target for a source and, where the translator says frames, their (U,) durations."""
    language = loaded.vocabulary.languages[0]
    longest = loaded.context - count_places(sound) - 1
    if longest < 1:
        raise UserError(f"expected a source of fewer than {loaded.context - 1} places, found {count_places(sound)}")
    tokens = translate_sound(loaded.model, loaded.vocabulary, sound, sampling, sample=sample, longest=longest)
    return decode_symbols(loaded.vocabulary, language, tokens)


def speak_units(
    voice: TranslationVoice, said: Mapping[str, tuple[np.ndarray, np.ndarray | None]]
) -> dict[str, np.ndarray]:
    """(S,) float32 of each (units, durations or None), by name."""
    requests = [Request(name, units, durations) for name, (units, durations) in said.items() if len(units)]
    items = [add_prosody(request, voice.prosody, (), voice.speaker) for request in requests]
    return dict(synthesize_utterances(voice.vocoder, items))


def speak_translations(
    voice: TranslationVoice, loaded: LoadedTranslator, examples: Sequence[Example]
) -> dict[str, np.ndarray]:
    """The most probable translation of each source, spoken."""
    said = {file_name(place, one): say_units(loaded, one.source, GREEDY) for place, one in enumerate(examples)}
    return speak_units(voice, said)


def speak_targets(
    voice: TranslationVoice, loaded: LoadedTranslator, examples: Sequence[Example]
) -> dict[str, np.ndarray]:
    """The true units of each target, spoken alike: what a perfect translation would sound like."""
    language = loaded.vocabulary.languages[0]
    said = {
        file_name(place, one): decode_symbols(loaded.vocabulary, language, one.target[1:])
        for place, one in enumerate(examples)
    }
    return speak_units(voice, said)


def file_name(place: int, example: Example) -> str:
    """A number, and the prompt's name without what no file may be called."""
    name = re.sub(r"[^\w-]+", "_", example.pair.prompt)
    return f"{place:03d}_{name}"


def read_aloud(
    spoken: Mapping[str, Mapping[str, np.ndarray]], folder: Path, whisper: str, language: str, device: str
) -> dict[str, list[str]]:
    """{system: {name: waveform}} -> {system: what the Whisper reads in each}; the audio lies in ``folder``/<system>."""
    asr = load_asr(whisper, language=find_config(language)["asr_language"], device=device)
    found = {}
    for system, waveforms in spoken.items():
        for name, waveform in waveforms.items():
            save_audio(folder / system / f"{name}.wav", waveform)
        found[system] = transcribe_cached(asr, list(waveforms.values()), folder)
    return found
