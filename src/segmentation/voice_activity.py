"""Where somebody speaks, by a small neural network (Silero VAD), for recordings whose loudness does not tell.

The energy curve of ``pauses`` takes everything loud for speech. Under music, rain or a motor that is wrong. The network
is an optional package (``pip install silero-vad``), whose wheel holds its weights. Axes: S samples at 16 kHz, C chunks
of 512 samples (32 ms), T steps of 10 ms, L lanes.
"""

import functools
import warnings
from collections.abc import Iterable, Iterator
from importlib import resources
from importlib.util import find_spec

import numpy as np
import torch

from core.errors import UserError
from core.frames import SAMPLE_RATE
from segmentation.pauses import STEP_SAMPLES, find_runs

CHUNK_SAMPLES = 512
# A recording is heard in many places at once: one row of a batch for each, after a run-up that fills its memory.
LANES, LANE_SECONDS, RUN_UP_SECONDS = 64, 15.0, 2.0
LANE_CHUNKS = round(LANE_SECONDS * SAMPLE_RATE / CHUNK_SAMPLES)
RUN_UP_CHUNKS = round(RUN_UP_SECONDS * SAMPLE_RATE / CHUNK_SAMPLES)
SPEECH, STILL_SPEECH = 0.5, 0.35  # speech begins above the first and ends below the second, as in the package
SHORTEST_SPEECH, SHORTEST_GAP = 10, 10  # steps of 10 ms: a click is no word, a stop consonant no pause
# ``auto``: heard windows of 4 s, from which up to so many are kept, evenly over the recording.
WINDOW_SECONDS, MOST_WINDOWS = 4.0, 32
MOST_FALSE_SOUND = 0.25  # of the loud steps may hold no speech before loudness is not trusted

Windows = list[tuple[int, np.ndarray]]  # first step, samples


@functools.lru_cache(maxsize=1)
def load_network() -> torch.jit.ScriptModule:
    """The network from the installed package; UserError where there is none."""
    if find_spec("silero_vad") is None:
        raise UserError("--vad silero: expected the package silero-vad, found none; run: pip install silero-vad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.load(str(resources.files("silero_vad") / "data" / "silero_vad.jit")).eval()


@torch.inference_mode()
def speech_probabilities(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """16 kHz blocks (S,) of one recording, streamed -> (C,) float32: how likely each chunk holds speech."""
    found, before = [], np.zeros(RUN_UP_CHUNKS * CHUNK_SAMPLES, np.float32)
    for part in regroup(blocks, LANES * LANE_CHUNKS * CHUNK_SAMPLES):
        n_chunks = -(-len(part) // CHUNK_SAMPLES)
        padded = np.pad(part, (0, n_chunks * CHUNK_SAMPLES - len(part)))
        found.append(_hear_lanes(np.concatenate([before, padded]), n_chunks))
        before = np.concatenate([before, padded])[-len(before) :]
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def regroup(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Blocks of any length as blocks of ``size`` samples, the last one as long as it is."""
    held, n_held = [], 0
    for block in blocks:
        held.append(block)
        n_held += len(block)
        while n_held >= size:
            whole = np.concatenate(held)
            yield whole[:size]
            held, n_held = [whole[size:]], n_held - size
    if n_held:
        yield np.concatenate(held)


def _hear_lanes(samples: np.ndarray, n_chunks: int) -> np.ndarray:
    """(run-up + chunks,) samples -> (n_chunks,) probabilities, all lanes at once."""
    n_lanes = -(-n_chunks // LANE_CHUNKS)
    chunks = samples.reshape(-1, CHUNK_SAMPLES)
    chunks = np.pad(chunks, ((0, n_lanes * LANE_CHUNKS - n_chunks), (0, 0)))
    network, heard = load_network(), []
    network.reset_states()
    starts = np.arange(n_lanes) * LANE_CHUNKS
    for chunk in range(RUN_UP_CHUNKS + LANE_CHUNKS):
        probability = network(torch.from_numpy(np.ascontiguousarray(chunks[starts + chunk])), SAMPLE_RATE)[:, 0]
        if chunk >= RUN_UP_CHUNKS:
            heard.append(probability.numpy())
    return np.stack(heard, axis=1).reshape(-1)[:n_chunks].astype(np.float32)


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


def false_sound(active: np.ndarray, windows: Windows) -> float:
    """The share of the loud steps of ``windows`` in which the network hears no speech; 0 where nothing is loud.

    active: (T,) bool by loudness.
    """
    n_loud = n_false = 0
    for first, samples in windows:
        loud = active[first : first + len(samples) // STEP_SAMPLES]
        spoken = find_speech(speech_probabilities([samples]), len(loud))
        n_loud += int(loud.sum())
        n_false += int((loud & ~spoken).sum())
    return n_false / n_loud if n_loud else 0.0
