"""Training items as a pure function of (seed, item number): resuming and sharding need no state but the step.

Axes: B batch, F frames (50 Hz), N unit streams, S = 320 F samples.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from audio.audio_io import LOG_FLOOR, compute_mel_spectrogram, load_crop
from audio.full_scale import require_finite
from core.errors import UserError
from core.frames import HOP_SAMPLES
from core.shuffling import shuffled_place
from models.hashed_noise import noise_key
from units.utterances import PADDING_UNIT, LoadedUtterance, count_frames

MEL_CONTEXT_FRAMES = 2  # more than half a window, so that a crop's log-mel is that of the whole
UNKNOWN_SHARE = 0.1  # crops spoken by "unknown" (row 0), so that unseen speakers have a trained fallback


class Crop(NamedTuple):
    """A stretch of an utterance: what the generator is fed, and what it should say."""

    content: torch.Tensor  # (F, N) int64 units or, for the oracle, (F, 80) float32 log-mel above its floor
    f0: torch.Tensor  # (F,) float32 Hz, 0 = unvoiced
    waveform: torch.Tensor  # (S,) float32
    key: int  # of its noise
    speaker: torch.Tensor  # () int64 row or, where speakers are vectors, (D,) float32


class CropBatch(NamedTuple):
    """Crops padded to one length; content with -1, F0 and samples with 0."""

    content: torch.Tensor  # (B, F, N) int64 or (B, F, 80) float32
    f0: torch.Tensor  # (B, F) float32 Hz
    waveform: torch.Tensor  # (B, S) float32
    key: torch.Tensor  # (B,) int64
    speaker: torch.Tensor  # (B,) int64 or (B, D) float32


def mel_frames(audio_path: Path, start: int, stop: int, n_frames: int) -> np.ndarray:
    """Frames ``start`` to ``stop`` of a recording of ``n_frames`` as log-mel above its floor: (F, 80) float32.

    Never negative, so that -1 stands for padding as it does for units.
    """
    first, last = max(0, start - MEL_CONTEXT_FRAMES), min(n_frames, stop + MEL_CONTEXT_FRAMES)
    waveform = load_crop(audio_path, first * HOP_SAMPLES, (last - first) * HOP_SAMPLES)
    mel = compute_mel_spectrogram(torch.from_numpy(waveform)[None])[0].T - math.log(LOG_FLOOR)
    return mel[start - first : stop - first].clamp_min(0).numpy()


def read_content(utterance: LoadedUtterance, condition: str) -> np.ndarray:
    """What a generator is fed for a whole utterance: (F, N) units or, of condition "logmel", (F, 80) log-mel."""
    n_frames = len(utterance.frame_units)
    return mel_frames(utterance.audio_path, 0, n_frames, n_frames) if condition == "logmel" else utterance.frame_units


class CropDataset(Dataset):
    """Item number -> crop. An epoch visits every slot of ``crop_frames`` of every utterance once, in shuffled order.

    speakers: names of rows 1, 2, … of a table. vector_of: in its place, of every utterance by id, (D,) float32;
    zeros are the unknown speaker. condition: what the content is, "units" or "logmel" (``mel_frames``). unit_noise:
    share of the units that are replaced by any of the ``n_units``, so that no single one is relied on.
    """

    def __init__(
        self,
        utterances: Sequence[LoadedUtterance],
        *,
        crop_frames: int,
        seed: int,
        speakers: Sequence[str] = (),
        vector_of: Callable[[str], np.ndarray] | None = None,
        condition: str = "units",
        unit_noise: float = 0.0,
        n_units: int = 0,
    ):
        self.unit_noise, self.n_units = unit_noise, n_units
        self.utterances, self.crop_frames, self.seed, self.condition = utterances, crop_frames, seed, condition
        self.speakers = {name: row for row, name in enumerate(speakers, 1)}
        self.vector_of = vector_of
        slots = np.maximum(1, np.rint(count_frames(utterances) / crop_frames))
        self.slot_ends = np.cumsum(slots, dtype=np.int32 if slots.sum() < 2**31 else np.int64)

    def __len__(self) -> int:
        return int(self.slot_ends[-1])

    def __getitem__(self, item: int) -> Crop:
        """At most ``crop_frames`` frames of an utterance: a place, a speaker and unit noise drawn from (seed, item)."""
        epoch, position = divmod(item, len(self))
        slot = shuffled_place(position, len(self), self.seed, epoch)
        utterance = self.utterances[int(np.searchsorted(self.slot_ends, slot, side="right"))]
        random = np.random.default_rng((self.seed, item))
        n_frames = len(utterance.frame_units)
        start = int(random.integers(0, max(0, n_frames - self.crop_frames) + 1))
        stop = min(start + self.crop_frames, n_frames)
        known = random.random() >= UNKNOWN_SHARE
        if self.condition == "logmel":
            content = mel_frames(utterance.audio_path, start, stop, n_frames)
        else:
            content = self._add_noise(utterance.frame_units[start:stop].astype(np.int64), random)
        waveform = load_crop(utterance.audio_path, start * HOP_SAMPLES, (stop - start) * HOP_SAMPLES)
        require_finite(utterance.audio_path, waveform)  # else the loss says so, hours later, and not of which file
        return Crop(
            content=torch.from_numpy(content),
            f0=torch.from_numpy(np.array(utterance.f0[start:stop])),
            waveform=torch.from_numpy(waveform),
            key=noise_key(self.seed, str(item)),
            speaker=self._speaker(utterance, known=known),
        )

    def _speaker(self, utterance: LoadedUtterance, *, known: bool) -> torch.Tensor:
        if self.vector_of is None:
            return torch.tensor(self.speakers.get(utterance.speaker, 0) if known else 0)
        return torch.from_numpy(np.array(self.vector_of(utterance.id))) * known

    def _add_noise(self, units: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if not self.unit_noise:
            return units
        wrong = random.random(units.shape) < self.unit_noise
        return np.where(wrong, random.integers(0, self.n_units, units.shape), units)


def check_batch_size(batch_size: int, world: int) -> None:
    """Every process takes an equal share of a batch, so that their mean is the mean of one process."""
    if batch_size % world:
        raise UserError(f"--batch_size {batch_size}: expected a multiple of the {world} processes")


class StepSampler(Sampler):
    """The item numbers of steps ``first_step`` to ``last_step`` for one of several processes, a batch at a time."""

    def __init__(self, first_step: int, last_step: int, batch_size: int, *, rank: int = 0, world: int = 1):
        check_batch_size(batch_size, world)
        self.steps, self.batch_size, self.rank, self.world = range(first_step, last_step), batch_size, rank, world

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        share = self.batch_size // self.world
        for step in self.steps:
            first = step * self.batch_size + self.rank * share
            yield list(range(first, first + share))


def collate(crops: Sequence[Crop], n_frames: int) -> CropBatch:
    """Pad crops to ``n_frames`` and stack them."""
    content, f0, waveforms, keys, speakers = zip(*crops)
    return CropBatch(
        content=_pad(content, n_frames, PADDING_UNIT),
        f0=_pad(f0, n_frames, 0.0),
        waveform=_pad(waveforms, n_frames * HOP_SAMPLES, 0.0),
        key=torch.tensor(keys, dtype=torch.int64),
        speaker=torch.stack(speakers),
    )


def _pad(tracks: Sequence[torch.Tensor], length: int, padding: float) -> torch.Tensor:
    padded = tracks[0].new_full((len(tracks), length, *tracks[0].shape[1:]), padding)
    for row, track in enumerate(tracks):
        padded[row, : len(track)] = track
    return padded


def move_batch(batch: CropBatch, device: torch.device) -> CropBatch:
    """The batch on ``device``; to a GPU the copy runs while it computes."""
    if device.type != "cuda":
        return CropBatch(*(tensor.to(device) for tensor in batch))
    return CropBatch(*(tensor.pin_memory().to(device, non_blocking=True) for tensor in batch))
