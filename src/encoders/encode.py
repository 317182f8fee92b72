"""Speech encoders, one interface: 16 kHz waveforms in, exactly S // 320 feature frames at 50 Hz out.

``mfcc`` needs no download; any Hugging Face speech encoder of the families in ``FAMILIES`` goes by hub id or folder.
Axes: S samples, F frames of 320 samples, D features, B batch.
"""

from collections.abc import Sequence

import numpy as np
import torch

from core.errors import UserError
from core.frames import UNIT_RATE, frames_to_samples, samples_to_frames
from encoders.mfcc import MFCC_DIM, extract_mfcc
from encoders.pretrained import load_pretrained, read_pretrained_config
from encoders.windows import plan_batches, plan_windows, slice_frames, stitch_windows


def describe_encoder(name: str, layer: int | None) -> dict:
    """What is known without loading weights: ``family``, ``layer``, ``n_layers`` and the feature ``dim``.

    Raises UserError for an unknown model, a family we do not serve, or a layer out of range.
    """
    if name == "mfcc":
        if layer is not None:
            raise UserError(f"mfcc has no layers: expected no --layer, found {layer}; leave it out")
        return {"family": "mfcc", "layer": None, "n_layers": 0, "dim": MFCC_DIM}
    config = read_pretrained_config(name)
    n_layers = config.num_hidden_layers
    if layer is None:
        raise UserError(f"{name}: expected --layer 0..{n_layers} (0 = what enters the first layer), found none")
    if not 0 <= layer <= n_layers:
        raise UserError(f"{name}: expected --layer between 0 and {n_layers}, found {layer}; give one in that range")
    return {"family": config.model_type, "layer": layer, "n_layers": n_layers, "dim": config.hidden_size}


def load_encoder(
    name: str,
    layer: int | None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    window_seconds: float = 30.0,
    overlap_seconds: float = 2.0,
    max_batch_seconds: float = 120.0,
    subtract_mean: bool = False,
    context: int = 0,
    padding: str = "full",
) -> dict:
    """A plain dict for ``encode``: the description, the options and, but for mfcc, the model up to ``layer``.

    Layer 0 is what enters the first transformer layer, layer n what the n-th returns; the last comes behind the model's
    final norm, if it has one. ``dtype`` other than float32 runs the model under autocast; weights stay float32.
    ``window_seconds`` and ``overlap_seconds`` cut longer signals (Whisper: never longer than its own 30 s);
    ``max_batch_seconds`` bounds the padded audio of a batch. ``subtract_mean`` and ``context`` belong to mfcc.
    ``padding`` "short" gives Whisper the signal and a second or two of silence instead of its 30 s; the input of
    others has no fixed length, and the option is refused.
    """
    if not 0 <= overlap_seconds < window_seconds:
        raise UserError(f"expected an overlap shorter than the window, found {overlap_seconds} of {window_seconds} s")
    description = describe_encoder(name, layer)
    options = {"subtract_mean": subtract_mean, "context": context}
    if padding != "full" and description["family"] != "whisper":
        raise UserError(f"{name}: expected padding 'full', found '{padding}'; only Whisper pads its input to 30 s")
    if name == "mfcc":
        return {**description, **options, "name": name, "dim": MFCC_DIM * (2 * context + 1)}
    if any(options.values()):
        raise UserError(f"{name}: mean subtraction and context are options of mfcc alone; leave them out")
    model = load_pretrained(name, layer, torch.device(device), padding)
    window = min(round(window_seconds * UNIT_RATE), model["max_frames"])
    return {
        **description,
        **model,
        "name": name,
        "device": torch.device(device),
        "dtype": dtype,
        "window": window,
        "overlap": min(round(overlap_seconds * UNIT_RATE), window // 2),
        "budget": round(max_batch_seconds * UNIT_RATE),
    }


def position_slack(encoder: dict, n_frames: int) -> int:
    """Frames by which a signal of ``n_frames`` can be shifted inside the encoder's input; 0 without positions.

    Only Whisper adds an absolute position embedding. k-means on its states can cluster the position instead of the
    sound unless the training clips lie at random offsets.
    """
    return max(encoder["max_frames"] - n_frames, 0) if encoder["family"] == "whisper" else 0


def encode(encoder: dict, waveforms: Sequence[np.ndarray], *, offsets: Sequence[int] | None = None) -> list[np.ndarray]:
    """Features of several signals: list of (S,) float32 in [-1, 1] -> list of (S // 320, D) float32.

    Frame f describes the samples 320 f to 320 (f + 1): the field of view of every encoder is centred on 320 f + 160.
    Batched and single results agree within 1e-4. ``offsets`` (frames, up to ``position_slack``) shift each signal in
    the input of an encoder with absolute positions; others, and signals longer than a window, do not heed them.
    """
    if encoder["family"] == "mfcc":
        options = {key: encoder[key] for key in ("subtract_mean", "context")}
        return [extract_mfcc(waveform, **options) for waveform in waveforms]
    counts = [samples_to_frames(len(waveform)) for waveform in waveforms]
    spans = [plan_windows(count, encoder["window"], encoder["overlap"]) if count else [] for count in counts]
    shifts = [
        min(offset, position_slack(encoder, count)) if len(windows) == 1 else 0
        for offset, count, windows in zip(offsets or [0] * len(counts), counts, spans)
    ]
    jobs = [(item, span, shifts[item]) for item, windows in enumerate(spans) for span in windows]
    features = iter(_run_jobs(encoder, [encoder["normalize"](waveform) for waveform in waveforms], jobs))
    empty = np.zeros((0, encoder["dim"]), np.float32)
    return [stitch_windows(windows, [next(features) for _ in windows]) if windows else empty for windows in spans]


def _run_jobs(encoder: dict, waveforms: Sequence[np.ndarray], jobs: Sequence[tuple]) -> list[np.ndarray]:
    """Features of each (item, (start, stop), shift) in order, computed in batches of similar length."""
    lengths = [stop - start for _, (start, stop), _ in jobs]
    costs = [encoder["pad_frames"](length + shift) for length, (_, _, shift) in zip(lengths, jobs)]
    found: list[np.ndarray | None] = [None] * len(jobs)
    for batch in plan_batches(costs, encoder["budget"], equal_only=encoder["equal_only"]):
        pieces = [_cut_piece(encoder, waveforms[jobs[index][0]], *jobs[index][1:]) for index in batch]
        for index, states in zip(batch, _run_batch(encoder, pieces)):
            found[index] = states[-lengths[index] :]
    return found


def _cut_piece(encoder: dict, waveform: np.ndarray, span: tuple[int, int], shift: int) -> np.ndarray:
    """The samples of one window with the encoder's margins, behind ``shift`` frames of silence."""
    left, right = encoder["margins"]
    piece = slice_frames(waveform, *span, left=left, right=right)
    return np.pad(piece, (frames_to_samples(shift), 0)) if shift else piece


@torch.inference_mode()
def _run_batch(encoder: dict, pieces: list[np.ndarray]) -> list[np.ndarray]:
    """Pieces of (S,) samples -> all their frames, (F, D) each; input features are made outside autocast."""
    inputs = {key: value.to(encoder["device"]) for key, value in encoder["prepare"](pieces).items()}
    with torch.autocast(encoder["device"].type, encoder["dtype"], enabled=encoder["dtype"] != torch.float32):
        states = encoder["model"](**inputs).last_hidden_state
    states = states.float().cpu().numpy()
    # A view would keep the whole batch alive, padding included.
    return [state[: encoder["count_frames"](len(piece))].copy() for state, piece in zip(states, pieces)]
