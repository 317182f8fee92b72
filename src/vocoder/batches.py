"""Training items as a pure function of (seed, item number): resuming and sharding need no state but the step.

Axes: B batch, F frames (50 Hz), N unit streams, S samples.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from audio.audio_io import LOG_FLOOR, compute_mel_spectrogram, load_crop
from core.errors import UserError
from core.frames import HOP_SAMPLES
from models.hashed_noise import noise_key
from units.utterances import PADDING_UNIT

MEL_CONTEXT_FRAMES = 2  # more than half a window, so that a crop's log-mel is that of the whole
PADDING_KEYS = {"units": PADDING_UNIT, "f0": 0.0, "audio": 0.0}


def mel_frames(audio: Path, start: int, stop: int, n_frames: int) -> np.ndarray:
    """Frames ``start`` to ``stop`` of a recording of ``n_frames`` as log-mel above its floor: (F, 80) float32.

    Never negative, so that -1 stands for padding as it does for units.
    """
    first, last = max(0, start - MEL_CONTEXT_FRAMES), min(n_frames, stop + MEL_CONTEXT_FRAMES)
    waveform = load_crop(audio, first * HOP_SAMPLES, (last - first) * HOP_SAMPLES)
    mel = compute_mel_spectrogram(torch.from_numpy(waveform)[None])[0].T - math.log(LOG_FLOOR)
    return mel[start - first : stop - first].clamp_min(0).numpy()


def with_mel(utterance: dict) -> dict:
    """The utterance for a generator of condition "logmel": (F, 80) float32 frames in place of its units."""
    n_frames = len(utterance["units"])
    return utterance | {"units": mel_frames(utterance["audio"], 0, n_frames, n_frames)}


class CropDataset(Dataset):
    """Item number -> crop. An epoch visits every slot of ``crop_frames`` of every utterance once, in shuffled order.

    condition: what "units" holds, units or, with "logmel", the crop's ``mel_frames``. unit_noise: share of the units
    that are replaced by any of the ``n_units``, so that no single one is relied on.
    """

    def __init__(
        self,
        utterances: list[dict],
        *,
        crop_frames: int,
        seed: int,
        speakers: Sequence[str] = (),
        condition: str = "units",
        unit_noise: float = 0.0,
        n_units: int = 0,
    ):
        self.unit_noise, self.n_units = unit_noise, n_units
        self.utterances, self.crop_frames, self.seed, self.condition = utterances, crop_frames, seed, condition
        self.speakers = {name: row for row, name in enumerate(speakers, 1)}
        slots = [max(1, round(len(u["units"]) / crop_frames)) for u in utterances]
        self.slot_utterance = np.repeat(np.arange(len(utterances)), slots)
        self._order = (-1, np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.slot_utterance)

    def __getitem__(self, item: int) -> dict:
        """{"units" (crop_frames, N) int64, "f0" (crop_frames,) float32, "audio" (S,) float32, "key", "speaker"}."""
        epoch, position = divmod(item, len(self))
        utterance = self.utterances[self.slot_utterance[self._epoch_order(epoch)[position]]]
        random = np.random.default_rng((self.seed, item))
        n_frames = len(utterance["units"])
        start = int(random.integers(0, max(0, n_frames - self.crop_frames) + 1))
        stop = min(start + self.crop_frames, n_frames)
        # One crop in ten is spoken by "unknown" (row 0), so that unseen speakers have a trained fallback.
        known = random.random() >= 0.1
        if self.condition == "logmel":
            units = mel_frames(utterance["audio"], start, stop, n_frames)
        else:
            units = utterance["units"][start:stop].astype(np.int64)
            if self.unit_noise:
                wrong = random.random(units.shape) < self.unit_noise
                units = np.where(wrong, random.integers(0, self.n_units, units.shape), units)
        return {
            "units": torch.from_numpy(units),
            "f0": torch.from_numpy(utterance["f0"][start:stop]),
            "audio": torch.from_numpy(load_crop(utterance["audio"], start * HOP_SAMPLES, (stop - start) * HOP_SAMPLES)),
            "key": noise_key(self.seed, str(item)),
            "speaker": self.speakers.get(utterance["speaker"], 0) if known else 0,
            "crop_frames": self.crop_frames,
        }

    def _epoch_order(self, epoch: int) -> np.ndarray:
        order = self._order  # another thread may be an epoch ahead
        if order[0] != epoch:
            order = self._order = (epoch, np.random.default_rng((self.seed, epoch)).permutation(len(self)))
        return order[1]


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


def collate(items: list[dict]) -> dict[str, torch.Tensor]:
    """Pad to the crop length: units (B, F, N) with -1, F0 (B, F) and audio (B, S) with 0; keys and speakers (B,)."""
    n_frames = items[0]["crop_frames"]
    lengths = {"units": n_frames, "f0": n_frames, "audio": n_frames * HOP_SAMPLES}
    batch = {
        key: torch.stack([_pad(item[key], length, PADDING_KEYS[key]) for item in items])
        for key, length in lengths.items()
    }
    for key in ("key", "speaker"):
        batch[key] = torch.tensor([item[key] for item in items], dtype=torch.int64)
    return batch


def _pad(values: torch.Tensor, length: int, padding: float) -> torch.Tensor:
    padded = values.new_full((length, *values.shape[1:]), padding)
    padded[: len(values)] = values
    return padded
