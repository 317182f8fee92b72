"""Where somebody speaks, by a small neural network (Silero VAD), for recordings whose loudness does not tell.

The energy curve of ``pauses`` takes everything loud for speech. Under music, rain or a motor that is wrong. The network
is an optional package (``pip install silero-vad``), whose wheel holds its weights. Axes: S samples at 16 kHz, C chunks
of 512 samples (32 ms), T steps of 10 ms, L lanes.
"""

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch

from core.errors import UserError
from core.frames import SAMPLE_RATE
from segmentation.pauses import STEP_SAMPLES, find_runs

CHUNK_SAMPLES, CONTEXT_SAMPLES = 512, 64  # a chunk is heard with the end of the one before
# What needs no memory is computed for many chunks at once. The memory follows a recording in many places at once, each
# after a run-up that fills it.
CHUNKS_AT_ONCE = 512
LANES, LANE_SECONDS, RUN_UP_SECONDS = 64, 15.0, 2.0
LANE_CHUNKS = round(LANE_SECONDS * SAMPLE_RATE / CHUNK_SAMPLES)
RUN_UP_CHUNKS = round(RUN_UP_SECONDS * SAMPLE_RATE / CHUNK_SAMPLES)
# Speech begins above the first and ends below the second. The package has .5 and .35. Chosen on English prompts: over
# music 5 dB below them 99.4 % of the speech is kept, not 98.7, and 5.5 % of the ends lie in words, not 10.9.
SPEECH, STILL_SPEECH = 0.2, 0.1
SHORTEST_SPEECH, SHORTEST_GAP = 10, 10  # steps of 10 ms: a click is no word, a stop consonant no pause
# ``auto`` hears windows of 4 s of a long recording: up to so many, evenly spread.
WINDOW_SECONDS, MOST_WINDOWS = 4.0, 32
# Of what is loud, so much may hold no speech before loudness is not trusted. Up to .02 in clean English prompts, .11 to
# .44 over music, rain or engines at 20 to 5 dB, but for one song with long quiet parts.
MOST_FALSE_SOUND = 0.08

Windows = list[tuple[int, np.ndarray]]  # first step, samples


class Network(NamedTuple):
    """The parts of the network, so that each is called once for many chunks and not once for each chunk."""

    spectra: Callable[[torch.Tensor], torch.Tensor]  # (B, 576) -> (B, bins, 4)
    encoder: Callable[[torch.Tensor], torch.Tensor]  # (B, bins, 4) -> (B, D, 1)
    memory: torch.nn.LSTM
    decoder: Callable[[torch.Tensor], torch.Tensor]  # (B, D, 1) -> (B, 1, 1)


@functools.lru_cache(maxsize=1)
def load_network() -> Network:
    """The network from the installed package; UserError where there is none or its parts have other names."""
    if find_spec("silero_vad") is None:
        raise UserError("--vad silero: expected the package silero-vad, found none; run: pip install silero-vad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        whole = torch.jit.load(str(resources.files("silero_vad") / "data" / "silero_vad.jit")).eval()
    try:
        model = whole._model
        weights = {f"{name}_l0": value for name, value in model.decoder.rnn.state_dict().items()}
        size = weights["weight_hh_l0"].shape[1]
        memory = torch.nn.LSTM(size, size).eval()
        memory.load_state_dict(weights)
        return Network(model.run_extractors, model.encoder, memory, model.decoder.decoder)
    except (AttributeError, KeyError, RuntimeError) as error:
        raise UserError(
            "--vad silero: expected the network of silero-vad 6.2, found another; run: pip install 'silero-vad==6.2.*'"
        ) from error


def speech_probabilities(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """16 kHz blocks (S,) of one recording, streamed -> (C,) float32: how likely each chunk holds speech."""
    found: list[np.ndarray] = []
    for _ in hear(blocks, found):
        pass
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def hear(blocks: Iterable[np.ndarray], found: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Hand on blocks (S,) of one recording; ``found`` gets the probabilities (C,) of its chunks, part by part."""
    size, before = CHUNKS_AT_ONCE * CHUNK_SAMPLES, np.zeros(CONTEXT_SAMPLES, np.float32)
    waiting = [encode_chunks(np.zeros(CONTEXT_SAMPLES + CHUNK_SAMPLES, np.float32)).repeat(RUN_UP_CHUNKS, 1)]
    n_waiting, most = 0, LANES * LANE_CHUNKS
    samples = before
    for block in blocks:
        yield block
        samples = np.concatenate([samples, block])
        while len(samples) >= CONTEXT_SAMPLES + size:
            waiting.append(encode_chunks(samples[: CONTEXT_SAMPLES + size]))
            samples, n_waiting = samples[size:], n_waiting + CHUNKS_AT_ONCE
        if n_waiting >= most:
            features = torch.cat(waiting)
            found.append(follow_lanes(features))
            waiting, n_waiting = [features[-RUN_UP_CHUNKS:]], 0
    rest = len(samples) - CONTEXT_SAMPLES
    if rest:
        waiting.append(encode_chunks(np.pad(samples, (0, -rest % CHUNK_SAMPLES))))
    if rest or n_waiting:
        found.append(follow_lanes(torch.cat(waiting)))


@torch.inference_mode()
def encode_chunks(samples: np.ndarray) -> torch.Tensor:
    """(64 + 512 C,) samples -> (C, D): what the network makes of each chunk before its memory."""
    network = load_network()
    chunks = torch.from_numpy(samples).unfold(0, CONTEXT_SAMPLES + CHUNK_SAMPLES, CHUNK_SAMPLES)
    return network.encoder(network.spectra(chunks.contiguous()))[:, :, 0]


@torch.inference_mode()
def follow_lanes(features: torch.Tensor) -> np.ndarray:
    """(run-up + C, D) encoded chunks -> (C,) float32 probabilities, by the memory in all lanes at once."""
    network, n_chunks = load_network(), len(features) - RUN_UP_CHUNKS
    padded = torch.nn.functional.pad(features, (0, 0, 0, -n_chunks % LANE_CHUNKS))
    lanes = padded.unfold(0, RUN_UP_CHUNKS + LANE_CHUNKS, LANE_CHUNKS).permute(2, 0, 1)
    states, _ = network.memory(lanes.contiguous())
    heard = states[RUN_UP_CHUNKS:].transpose(0, 1).reshape(-1, states.shape[2], 1)
    return network.decoder(heard).reshape(-1)[:n_chunks].numpy()


def find_speech(probabilities: np.ndarray, n_steps: int) -> np.ndarray:
    """(C,) probabilities -> (n_steps,) bool: stretches that surely hold speech, out to where they hardly do."""
    centres = (np.arange(n_steps) * STEP_SAMPLES + STEP_SAMPLES // 2) // CHUNK_SAMPLES
    steps = np.append(probabilities, 0.0)[np.minimum(centres, len(probabilities))]
    active = np.zeros(n_steps, bool)
    for start, end in find_runs(steps > STILL_SPEECH):
        if steps[start:end].max() > SPEECH and end - start >= SHORTEST_SPEECH:
            active[start:end] = True
    for start, end in find_runs(~active):
        if end - start < SHORTEST_GAP and 0 < start and end < n_steps:
            active[start:end] = True
    return active


def keep_windows(blocks: Iterable[np.ndarray], kept: Windows) -> Iterator[np.ndarray]:
    """Hand on blocks (S,) and keep windows of 4 s of them in ``kept`` as (first step, samples), evenly spread.

    However long the recording is, at most 32 are held: when there are more, every second one goes.
    """
    size, every, position = round(WINDOW_SECONDS * SAMPLE_RATE), 1, 0
    for block in blocks:
        yield block
        for start in range(0, len(block) - size + 1, size):
            number = (position + start) // size
            if number % every == 0:
                kept.append(((position + start) // STEP_SAMPLES, block[start : start + size].copy()))
            if len(kept) > MOST_WINDOWS:
                del kept[1::2]
                every *= 2
        position += len(block)


def false_sound(active: np.ndarray, spoken: np.ndarray) -> float:
    """The share of the loud steps ``active`` (T,) that are not ``spoken`` (T,), both bool; 0 where nothing is loud."""
    return float((active & ~spoken).sum() / max(active.sum(), 1))


def false_sound_in(windows: Windows, active: np.ndarray) -> float:
    """``false_sound`` as the network hears it in windows of a recording of which (T,) bool ``active`` is loud."""
    loud, spoken = [np.zeros(0, bool)], [np.zeros(0, bool)]
    for first, samples in windows:
        loud.append(active[first : first + len(samples) // STEP_SAMPLES])
        spoken.append(find_speech(speech_probabilities([samples]), len(loud[-1])))
    return false_sound(np.concatenate(loud), np.concatenate(spoken))
