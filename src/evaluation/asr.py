"""A local Whisper as a listener: recordings in, texts out, through transformers.

A. Radford et al. (2022), "Robust Speech Recognition via Large-Scale Weak Supervision". Greedy decoding, one window of
at most 30 s at a time, no prompt from the window before, so that a text depends on its own recording alone. With
timestamps, as Whisper's own command decodes, and a second reading with a beam where the first has hardly any text for
the sound there is: greedy decoding may stop at the pause after a first short word. A reading that says one thing over
and over is read again as Whisper's authors do (their section 4.5): with a beam, then drawn at rising temperatures.
"""

import logging
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tqdm import tqdm

from core.commands import how_to_get_model
from core.device import has_fast_bf16
from core.errors import UserError
from core.frames import SAMPLE_RATE
from evaluation.judgement_cache import fingerprint, judge_cached

WINDOW_SAMPLES = 30 * SAMPLE_RATE
MIN_WINDOW_SAMPLES = 20 * SAMPLE_RATE  # a cut is looked for between here and 30 s
QUIET_SAMPLES = SAMPLE_RATE // 5  # the cut lies in the quietest fifth of a second
# Fast speech is below 10 tokens per second even where Whisper spells by bytes: more is a loop.
TOKENS_PER_SECOND, SPARE_TOKENS, MAX_TOKENS = 16, 32, 440
# Slow speech has 8 characters per second; below this a reading has stopped early.
MIN_CHARACTERS_PER_SECOND, BEAMS = 3.0, 5
# The same four times in a row, 24 characters in all, is a loop. The authors' sign of it, that zlib shortens the text to
# less than 1 / 2.4, takes menus for loops ("press one for …, two for …"), most of all in scripts of two bytes a letter.
LOOP, LOOP_CHARACTERS = re.compile(r"(.+?)\1{3,}", re.DOTALL), 24
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)  # the authors'
LOUD_SAMPLES, LOUD_DB = SAMPLE_RATE // 50, 35.0  # a stretch counts as sound if it is this near to the loudest
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Recogniser(NamedTuple):
    """A Whisper with all that ``transcribe`` needs."""

    name: str  # folder or hub id
    model: torch.nn.Module
    extractor: object  # WhisperFeatureExtractor
    tokenizer: object  # a transformers tokenizer
    language: str | None
    dtype: str  # "fp32" or "bf16"
    fingerprint: str  # of weights and settings: readings are kept under it


def load_asr(name: str, *, language: str | None = None, device: str = "cpu", dtype: str = "auto") -> Recogniser:
    """Whisper from a folder or a hub id, ready for ``transcribe``.

    language: as Whisper names it ("es", "pt"); None lets the model guess for each window (``settle_language``: once).
    dtype: "fp32", "bf16", or "auto": bf16 where the processor or GPU computes in it (1.5 x faster), else fp32. Raises
    UserError for a model that does not exist or is no Whisper, and for a language that it does not know.
    """
    from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration
    from transformers.utils import logging as transformers_logging

    if dtype == "auto":
        dtype = "bf16" if has_fast_bf16(device) else "fp32"
    transformers_logging.disable_progress_bar()
    try:
        extractor = WhisperFeatureExtractor.from_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = WhisperForConditionalGeneration.from_pretrained(name, dtype=DTYPES[dtype])
    except (OSError, ValueError, KeyError) as error:
        # What transformers says of a model that is nowhere is a paragraph on its own hub.
        missing = isinstance(error, OSError) and not Path(name).exists()
        reason = "none" if missing else str(error).strip().splitlines()[0]
        raise UserError(
            f"{name}: expected a Whisper, by folder or hub id, found {reason}; {how_to_get_model(name)}"
        ) from error
    finally:
        transformers_logging.enable_progress_bar()
    _check_language(name, model, language)
    # It warns at each call that max_new_tokens wins over the default length.
    logging.getLogger("transformers.generation.utils").setLevel(logging.ERROR)
    return Recogniser(
        name=str(name),
        model=model.to(device).eval(),
        extractor=extractor,
        tokenizer=tokenizer,
        language=language,
        dtype=dtype,
        fingerprint=_fingerprint(model, language, dtype),
    )


def _is_multilingual(model: torch.nn.Module) -> bool:
    return bool(getattr(model.generation_config, "is_multilingual", False))


def _check_language(name: str, model: torch.nn.Module, language: str | None) -> None:
    known = ["en"]
    if _is_multilingual(model):
        known = [token.strip("<|>") for token in model.generation_config.lang_to_id]
    if language is not None and language not in known:
        raise UserError(f"language {language}: {name} knows {', '.join(known)}; give one of these, or another Whisper")


def _fingerprint(model: torch.nn.Module, language: str | None, dtype: str) -> str:
    limits = f"{TOKENS_PER_SECOND} {SPARE_TOKENS} {MIN_WINDOW_SAMPLES} {MIN_CHARACTERS_PER_SECOND} {BEAMS}"
    decoding = f"{language} {dtype} {limits} timestamps, loops {LOOP.pattern} {LOOP_CHARACTERS} {TEMPERATURES}"
    return fingerprint(model, decoding)


def settle_language(asr: Recogniser, waveforms: Sequence[np.ndarray], *, batch_size: int = 8) -> Recogniser:
    """The recogniser with one language for all it will read, so that two sides are never read in two.

    Where it is to guess, it takes the language likeliest over all (S,) float32 ``waveforms`` together.
    """
    heard = [waveform[:WINDOW_SAMPLES] for waveform in waveforms if len(waveform)]
    if asr.language is not None or not _is_multilingual(asr.model) or not heard:
        return asr
    language = _guess_language(asr, heard, batch_size)
    return asr._replace(language=language, fingerprint=_fingerprint(asr.model, language, asr.dtype))


@torch.inference_mode()
def _guess_language(asr: Recogniser, waveforms: Sequence[np.ndarray], batch_size: int) -> str:
    """The code of the highest mean probability, each waveform of at most 30 s counting alike."""
    model, tokens = asr.model, asr.model.generation_config.lang_to_id
    total = torch.zeros(len(tokens), dtype=torch.float64)
    for start in range(0, len(waveforms), batch_size):
        batch = list(waveforms[start : start + batch_size])
        inputs = asr.extractor(batch, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        features = inputs.input_features.to(model.device, model.dtype)
        first = torch.full((len(batch), 1), model.generation_config.decoder_start_token_id, device=model.device)
        scores = model(features, decoder_input_ids=first).logits[:, -1, list(tokens.values())]
        total += scores.double().softmax(-1).sum(0).cpu()
    return list(tokens)[int(total.argmax())].strip("<|>")


def find_windows(waveform: np.ndarray) -> list[tuple[int, int]]:
    """(start, end) samples of windows of at most 30 s that cover (S,) ``waveform``, cut where it is quietest."""
    windows, start = [], 0
    while len(waveform) - start > WINDOW_SAMPLES:
        searched = np.asarray(waveform[start + MIN_WINDOW_SAMPLES : start + WINDOW_SAMPLES], np.float64)
        cumulated = np.concatenate([[0.0], np.cumsum(searched**2)])
        energy = cumulated[QUIET_SAMPLES:] - cumulated[:-QUIET_SAMPLES]
        end = start + MIN_WINDOW_SAMPLES + int(np.argmin(energy)) + QUIET_SAMPLES // 2
        windows.append((start, end))
        start = end
    return [*windows, (start, len(waveform))]


def transcribe(
    asr: Recogniser, waveforms: Sequence[np.ndarray], *, batch_size: int = 8, bar: tqdm | None = None
) -> list[str]:
    """What Whisper hears in each of (S,) float32 ``waveforms`` at 16 kHz, as it writes it, in the order given.

    Windows are batched by length, longest first; ``bar`` is moved on by the seconds heard. An empty waveform gives "".
    """
    pieces = [
        (number, start, waveform[start:end])
        for number, waveform in enumerate(waveforms)
        for start, end in find_windows(waveform)
        if end > start
    ]
    order = sorted(range(len(pieces)), key=lambda place: -len(pieces[place][2]))
    heard: dict[int, str] = {}
    for begin in range(0, len(order), batch_size):
        batch = order[begin : begin + batch_size]
        windows = [pieces[place][2] for place in batch]
        readings = _transcribe_batch(asr, windows)
        heard.update(zip(batch, _read_doubtful_again(asr, windows, readings)))
        if bar is not None:
            bar.update(sum(map(len, windows)) / SAMPLE_RATE)
    texts: list[list[str]] = [[] for _ in waveforms]
    for place, (number, _, _) in enumerate(pieces):
        texts[number].append(heard[place])
    return [" ".join(text for text in parts if text) for parts in texts]


def _read_doubtful_again(asr: Recogniser, windows: Sequence[np.ndarray], readings: Sequence[str]) -> list[str]:
    """The readings, those that stop early or repeat themselves replaced by second ones."""
    readings = list(readings)
    doubtful = [
        place
        for place, (text, window) in enumerate(zip(readings, windows))
        if stopped_early(text, window) or repeats_itself(text)
    ]
    second = _transcribe_batch(asr, [windows[place] for place in doubtful], n_beams=BEAMS) if doubtful else []
    for place, text in zip(doubtful, second):
        readings[place] = _draw_reading(asr, windows[place]) if repeats_itself(text) else text
    return readings


def _draw_reading(asr: Recogniser, window: np.ndarray) -> str:
    """The first reading without repetition at rising temperatures, else the last; the same whenever it is asked for."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for temperature in TEMPERATURES:
            (text,) = _transcribe_batch(asr, [window], temperature=temperature)
            if not repeats_itself(text):
                break
    return text


def repeats_itself(text: str) -> bool:
    """Whether ``text`` says one thing over and over."""
    return any(len(loop[0]) >= LOOP_CHARACTERS for loop in LOOP.finditer(text))


def stopped_early(text: str, waveform: np.ndarray) -> bool:
    """Whether ``text`` has hardly any characters for the sound in (S,) ``waveform``; silence is not counted."""
    stretches = np.asarray(waveform[: len(waveform) // LOUD_SAMPLES * LOUD_SAMPLES], np.float64)
    power = (stretches.reshape(-1, LOUD_SAMPLES) ** 2).mean(1)
    loud = power > power.max(initial=0.0) * 10 ** (-LOUD_DB / 10)
    return len(text) < MIN_CHARACTERS_PER_SECOND * loud.sum() * LOUD_SAMPLES / SAMPLE_RATE


@torch.inference_mode()
def _transcribe_batch(
    asr: Recogniser, windows: list[np.ndarray], *, n_beams: int = 1, temperature: float = 0.0
) -> list[str]:
    """Texts of at most 30 s each. Every window is filled up to 30 s, so no text depends on its batch.

    temperature: of drawing the tokens; 0 takes the likeliest.
    """
    model = asr.model
    inputs = asr.extractor(windows, sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True)
    limits = [min(MAX_TOKENS, SPARE_TOKENS + TOKENS_PER_SECOND * len(window) // SAMPLE_RATE) for window in windows]
    options = {"language": asr.language, "task": "transcribe"} if _is_multilingual(model) else {}
    if hasattr(model.generation_config, "no_timestamps_token_id"):
        options["return_timestamps"] = True
    if temperature:
        options["temperature"] = temperature
    tokens = model.generate(
        inputs.input_features.to(model.device, model.dtype),
        attention_mask=inputs.attention_mask.to(model.device),
        do_sample=temperature > 0,
        num_beams=n_beams,
        max_new_tokens=max(limits),
        **options,
    )
    limited = [row[:limit] for row, limit in zip(tokens.tolist(), limits)]
    return [text.strip() for text in asr.tokenizer.batch_decode(limited, skip_special_tokens=True)]


def transcribe_cached(
    asr: Recogniser,
    waveforms: Sequence[np.ndarray],
    cache: Path | None,
    *,
    batch_size: int = 8,
    bar: tqdm | None = None,
) -> list[str]:
    """``transcribe``, with the texts kept in ``cache``/asr_<model's fingerprint>.json by the hash of the audio."""
    path = None if cache is None else Path(cache) / f"asr_{asr.fingerprint}.json"
    return judge_cached(partial(transcribe, asr, batch_size=batch_size, bar=bar), waveforms, path, bar)
