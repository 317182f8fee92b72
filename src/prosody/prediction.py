"""Loading a prosody predictor, and predicting with it.

Axes: U deduplicated units, F frames (50 Hz), C channels.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from core.errors import UserError
from core.files import read_json
from core.frames import F0_CEILING, F0_FLOOR
from languages import command_for_folder
from models.prosody_predictor import ProsodyPredictor
from prosody.batches import CORPUS
from training.checkpoints import build_saved, load_checkpoint, require_keys
from units.corpus import frame_units
from units.requests import Request, SpokenItem

WINDOW_UNITS = 4096  # predicted at once, about two minutes: bounds the memory on long input


class Prosody(NamedTuple):
    """A prosody predictor and where it comes from: the last three are None while it is being trained."""

    predictor: ProsodyPredictor  # in eval mode, with its averaged weights
    speakers: Sequence[str]  # names of rows 1, 2, … of the speaker embedding; row 0 is the unknown speaker
    statistics: dict[str, list[float]]  # mean and deviation of log F0 by speaker, CORPUS for all
    device: torch.device
    sizes: dict | None = None  # the constructor's arguments
    step: int | None = None
    config: dict | None = None  # config.json of the experiment or of the saved voice


def load_prosody(exp: Path, checkpoint: str | Path = "best", device: str | torch.device = "cpu") -> Prosody:
    """The predictor of a trained experiment with its averaged weights.

    checkpoint: "best" (by validation), "latest", or a path. Raises UserError where it is missing or another model's.
    """
    exp = Path(exp)
    path = exp / "checkpoints" / f"{checkpoint}.pt" if checkpoint in ("best", "latest") else Path(checkpoint)
    state = load_checkpoint(path, command=command_for_folder("src/trainer_prosody.py", exp))
    if "predictor_ema" not in state:
        raise UserError(f"{path}: expected a prosody predictor's checkpoint, found keys {sorted(state)[:5]}")
    require_keys(path, state, "sizes", "speakers", "statistics", "step")
    kind, weights = f"a prosody predictor of sizes {state['sizes']}", state["predictor_ema"]
    predictor = build_saved(path, lambda: ProsodyPredictor(**state["sizes"]), weights, kind=kind)
    return Prosody(
        predictor=predictor.eval().to(device),
        speakers=state["speakers"],
        statistics=state["statistics"],
        device=torch.device(device),
        sizes=state["sizes"],
        step=state["step"],
        config=read_json(exp / "config.json"),
    )


@torch.inference_mode()
def predict_durations(prosody: Prosody, units: np.ndarray, speaker: str | None = None) -> np.ndarray:
    """(U,) deduplicated units -> (U,) int64 frames, each at least 1, chosen by ``choose_durations``."""
    predictor = prosody.predictor
    class_frames, parts = predictor.class_frames.double().cpu().numpy(), []
    for window, core in _windows(len(units), predictor.unit_context):
        hidden, habits = _encode(prosody, units[window], speaker)
        parts.append(predictor.duration_logits(hidden, habits)[0, core].softmax(-1).cpu().numpy())
    return choose_durations(np.concatenate([*parts, np.zeros((0, len(class_frames)), np.float32)]), class_frames)


@torch.inference_mode()
def predict_pitch(
    prosody: Prosody, units: np.ndarray, durations: np.ndarray, speaker: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(U,) units, (U,) frames -> (F,) probability of voice, (F,) float32 F0 in Hz on all frames, voiced or not."""
    predictor, voicing, log_f0 = prosody.predictor, [], []
    edges = np.concatenate([[0], np.cumsum(durations)])
    # Every unit lasts at least a frame, so that many units around a window are at least as many frames.
    for window, core in _windows(len(units), predictor.unit_context + predictor.frame_context):
        hidden, habits = _encode(prosody, units[window], speaker)
        lengths = torch.from_numpy(np.asarray(durations[window], np.int64))[None].to(prosody.device)
        logits, values = predictor.decode_frames(hidden, lengths, habits)
        first = edges[window.start]
        frames = slice(edges[window.start + core.start] - first, edges[window.start + core.stop] - first)
        voicing.append(logits[0, frames].sigmoid().cpu().numpy())
        log_f0.append(values[0, frames].double().cpu().numpy())
    mean, deviation = prosody.statistics.get(speaker or CORPUS, prosody.statistics[CORPUS])
    f0 = np.exp(mean + deviation * np.concatenate([*log_f0, np.zeros(0)])).clip(F0_FLOOR, F0_CEILING)
    return np.concatenate([*voicing, np.zeros(0, np.float32)]), f0.astype(np.float32)


def predict_f0(prosody: Prosody, units: np.ndarray, durations: np.ndarray, speaker: str | None = None) -> np.ndarray:
    """(U,) units, (U,) frames -> (F,) float32 Hz, 0 = unvoiced, as a vocoder takes it."""
    voicing, f0 = predict_pitch(prosody, units, durations, speaker)
    return np.where(voicing > 0.5, f0, np.float32(0.0))


def choose_durations(probabilities: np.ndarray, class_frames: np.ndarray) -> np.ndarray:
    """(U, K) distributions over classes lasting (K,) frames -> (U,) int64 frames, each at least 1.

    Of all choices whose total is the expected total, the one of least expected absolute error: frames go where it is
    most probable that the unit lasts longer. (Medians alone would make speech shorter than it is, since most units last
    one frame and the mean is above it.)
    """
    total = (probabilities.astype(np.float64) @ class_frames).sum()
    frames = np.maximum(1, np.round(class_frames)).astype(np.int64)
    longer = 1.0 - np.cumsum(probabilities.astype(np.float64), axis=1)[:, :-1]
    order = np.argsort(-np.minimum.accumulate(longer, axis=1), axis=None, kind="stable")
    spent = np.cumsum(np.diff(frames)[order % longer.shape[1]])
    chosen = order[: np.searchsorted(spent, round(total) - frames[0] * len(probabilities), side="right")]
    return frames[np.bincount(chosen // longer.shape[1], minlength=len(probabilities))]


def round_durations(expected: np.ndarray) -> np.ndarray:
    """(U,) frames, each at least 1, to (U,) whole ones by rounding where units end: errors do not add up."""
    ends = np.floor(np.cumsum(expected) + 0.5).astype(np.int64)
    return np.diff(ends, prepend=0)


def warp_f0(f0: np.ndarray, durations: np.ndarray, new_durations: np.ndarray) -> np.ndarray:
    """(F,) F0 of units lasting ``durations`` as if they lasted ``new_durations``: each unit keeps its own contour."""
    starts = np.cumsum(durations) - durations
    unit = np.repeat(np.arange(len(durations)), new_durations)
    passed = np.arange(len(unit)) - np.repeat(np.cumsum(new_durations) - new_durations, new_durations)
    inside = (passed + 0.5) / new_durations[unit] * np.asarray(durations)[unit]
    return np.asarray(f0)[starts[unit] + inside.astype(np.int64)]


def add_prosody(
    request: Request, prosody: Prosody | None, predict: Collection[str], speaker: str | None = None
) -> SpokenItem:
    """A request as a vocoder speaks it: each unit as long as it lasts, with F0.

    Predicted is what is missing and what ``predict`` names ("durations", "f0"); a true F0 under predicted durations is
    stretched unit by unit. Raises UserError where something is missing and there is no ``prosody``.
    """
    _check_predictable(request, prosody, predict)
    durations, f0 = request.durations, request.f0
    if durations is None or "durations" in predict:
        durations = predict_durations(prosody, request.units, speaker)
        f0 = None if f0 is None or request.durations is None else warp_f0(f0, request.durations, durations)
    if f0 is None or "f0" in predict:
        f0 = predict_f0(prosody, request.units, durations, speaker)
    frames = frame_units(request._replace(durations=durations)._asdict())
    if len(f0) != len(frames):
        raise UserError(f"{request.id}: expected F0 for {len(frames)} frames, found {len(f0)}")
    return SpokenItem(request.id, frames, np.asarray(f0, np.float32), speaker)


def _check_predictable(request: Request, prosody: Prosody | None, predict: Collection[str]) -> None:
    given = {"durations": request.durations, "f0": request.f0}
    wanted = [name for name, value in given.items() if value is None or name in predict]
    if prosody is None and wanted:
        missing = " and ".join(wanted)
        raise UserError(f"{request.id}: {missing} are not given; --prosody exp/<language>_prosody predicts them")
    if "durations" in wanted and request.residual_units:
        raise UserError(
            f"{request.id}: residual units stand at 50 Hz and cannot follow predicted durations; give --units"
        )


def _windows(n_units: int, context: int) -> Iterator[tuple[slice, slice]]:
    """Windows of units with what their blocks see around them, and the part of each window that counts."""
    for start in range(0, n_units, WINDOW_UNITS):
        stop = min(start + WINDOW_UNITS, n_units)
        window = slice(max(0, start - context), min(stop + context, n_units))
        yield window, slice(start - window.start, stop - window.start)


def _encode(prosody: Prosody, units: np.ndarray, speaker: str | None) -> tuple[torch.Tensor, torch.Tensor]:
    rows = {name: row for row, name in enumerate(prosody.speakers, 1)}
    index = torch.tensor([rows.get(speaker, 0)], device=prosody.device)
    tensor = torch.from_numpy(np.asarray(units, np.int64))[None].to(prosody.device)
    habits = prosody.predictor.look_up(tensor)
    return prosody.predictor.encode(tensor, index, habits), habits
