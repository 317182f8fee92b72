"""Speech encoders, one interface: 16 kHz waveforms in, exactly S // 320 feature frames at 50 Hz out.

Those of ``OWN_ENCODERS`` (encoders/table.py) need no download; any Hugging Face speech encoder of ``FAMILIES`` goes by
hub id or folder. Windows over long signals and batches of similar lengths are made here, for all of them.

**To add an encoder**, write one file in this folder with one ``nn.Module``, and one line in encoders/table.py: in
``OWN_ENCODERS`` for features or a torch model of your own (encoders/logmel.py is the shortest example), in ``FAMILIES``
for a family of transformers models (encoders/convolutional.py). Nothing else names an encoder: the table's name is what
``--encoder`` takes, and all the rest is read from these attributes of the **class**:

- ``options``: the keywords of its constructor among ``file``, ``layer`` (of OWN_ENCODERS alone), ``subtract_mean``,
  ``context`` and ``padding``. With ``file``, ``--encoder NAME:FILE`` gives the path of the weights, which are hashed
- ``dim``, the features of a frame, and ``n_layers``, 0 where there is no ``--layer`` to choose: of OWN_ENCODERS alone;
  a model of FAMILIES has them in its configuration, and is called with (name, config, layer, **options). Where they
  depend on the file, ``read_shape(file)`` -> (n_layers, dim) stands instead (encoders/xeus.py)
- ``weight_files``, where a folder may stand for the file: the patterns of its name. ``beside``: further files that lie
  next to it and count in its hash
- ``is_cheap``: it costs so little that the threads which read audio run it, on the CPU, each signal whole

and from these of the module, class or instance:

- ``dim``, where options change it; ``longest_window``, in frames
- ``margins``: samples of context it wants left and right of a window, so that the field of view of frame f is centred
  on sample 320 f + 160
- ``equal_only``: a batch holds signals of one length, since padding would change the others
- ``has_positions``: it adds an absolute position embedding (see ``position_slack``)
- ``normalize(waveform)``, over a whole signal; ``padded_frames(n_frames)``, what an input costs with its padding
- ``prepare(pieces)``: pieces of left margin + 320 F + right margin samples -> the tensors of a batch
- ``forward(**tensors)`` -> (B, F, D), frame f for the samples 320 f to 320 (f + 1) behind the left margin

tests/encoders/test_encode.py tests each of OWN_ENCODERS without a file by itself; a family needs a tiny model with
random weights in tests/synthetic.py. docs/phase1.md shows an encoder in 20 lines.

Axes: S samples, F frames of 320 samples, D features, B batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from core.errors import UserError
from core.frames import UNIT_RATE, frames_to_samples, samples_to_frames
from encoders.pretrained import bound_memory, read_pretrained_config
from encoders.table import (
    FAMILIES,
    OWN_ENCODERS,
    check_cepstral_options,
    check_padding,
    describe_encoder,
    encoder_file,
    needs_download,
    stays_on_cpu,
    takes_cepstral_options,
)
from encoders.windows import plan_batches, plan_windows, slice_frames, stitch_windows


class Encoder(NamedTuple):
    """A model on its device, and how ``encode`` feeds it."""

    name: str
    layer: int | None
    model: nn.Module
    device: torch.device
    dtype: torch.dtype  # other than float32: under autocast
    window: int  # frames
    overlap: int  # frames, of neighbouring windows
    batch_frames: int  # most frames of a batch, padding included
    beside: Sequence["Encoder"] = ()  # whose features stand next to these


class _Piece(NamedTuple):
    """A window of one signal, behind ``shift`` frames of silence."""

    item: int
    start: int  # frames
    stop: int
    shift: int


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
    add_features: Sequence[tuple[str, int | None]] = (),
) -> Encoder:
    """The model up to ``layer``, ready for ``encode``.

    Layer 0 is what enters the first transformer layer, layer n what the n-th returns; the last comes behind the model's
    final norm, if it has one. ``dtype`` other than float32 runs the model under autocast; weights stay float32.
    ``window_seconds`` and ``overlap_seconds`` cut longer signals (Whisper: never longer than its own 30 s);
    ``max_batch_seconds`` bounds the padded audio of a batch. ``subtract_mean`` and ``context`` belong to mfcc. What
    ``is_cheap`` sees every signal whole and stays on the CPU. ``padding`` "short" gives Whisper the signal and a second
    or two of silence instead of its 30 s; the input of others has no fixed length, and the option is refused.
    ``add_features``: (name, layer) of further encoders, whose features stand next to these in every frame.
    """
    if not 0 <= overlap_seconds < window_seconds:
        raise UserError(f"expected an overlap shorter than the window, found {overlap_seconds} of {window_seconds} s")
    family, *further = [describe_encoder(*one).family for one in ((name, layer), *add_features)]
    check_padding(name, family, padding)
    check_cepstral_options(name, (family, *further), subtract_mean=subtract_mean, context=context)
    if not stays_on_cpu(name):
        bound_memory()
    cepstral = {"subtract_mean": subtract_mean, "context": context}
    model = _build_model(name, family, layer, cepstral | {"padding": padding})
    cheap = model.is_cheap
    windows = {"window_seconds": window_seconds, "overlap_seconds": overlap_seconds}
    beside = [
        load_encoder(
            *one,
            device,
            dtype,
            **windows,
            max_batch_seconds=max_batch_seconds,
            **(cepstral if takes_cepstral_options(other) else {}),
        )
        for one, other in zip(add_features, further)
    ]
    device = torch.device("cpu" if cheap else device)
    window = model.longest_window if cheap else min(round(window_seconds * UNIT_RATE), model.longest_window)
    return Encoder(
        name,
        layer,
        model.to(device).eval().requires_grad_(False),
        device,
        torch.float32 if cheap else dtype,
        window=window,
        overlap=min(round(overlap_seconds * UNIT_RATE), window // 2),
        batch_frames=0 if cheap else round(max_batch_seconds * UNIT_RATE),
        beside=tuple(beside),
    )


def _build_model(name: str, family: str, layer: int | None, options: dict[str, bool | int | str]) -> nn.Module:
    """The module of the table, with those options that its constructor takes."""
    if needs_download(name):
        taken = {key: options[key] for key in FAMILIES[family].options}
        return FAMILIES[family](name, read_pretrained_config(name, FAMILIES), layer, **taken)
    known = options | {"file": encoder_file(name), "layer": layer}
    return OWN_ENCODERS[family](**{key: known[key] for key in OWN_ENCODERS[family].options})


def is_cheap(encoder: Encoder) -> bool:
    """Whether all of it costs so little that the threads which read audio run it."""
    return all(one.model.is_cheap for one in (encoder, *encoder.beside))


def has_positions(encoder: Encoder) -> bool:
    """Whether any of it adds an absolute position embedding (see ``position_slack``)."""
    return any(one.model.has_positions for one in (encoder, *encoder.beside))


def n_features(encoder: Encoder) -> int:
    """D, the features of a frame, those of further encoders included."""
    return sum(one.model.dim for one in (encoder, *encoder.beside))


def position_slack(encoder: Encoder, n_frames: int) -> int:
    """Frames by which a signal of ``n_frames`` can be shifted inside the encoder's input; 0 without positions.

    Only Whisper adds an absolute position embedding. k-means on its states can cluster the position instead of the
    sound unless the training clips lie at random offsets.
    """
    return max(_own_slack(one, n_frames) for one in (encoder, *encoder.beside))


def _own_slack(encoder: Encoder, n_frames: int) -> int:
    return max(encoder.model.longest_window - n_frames, 0) if encoder.model.has_positions else 0


def encode(
    encoder: Encoder, waveforms: Sequence[np.ndarray], *, offsets: Sequence[int] | None = None
) -> list[np.ndarray]:
    """Features of several signals: list of (S,) float32 in [-1, 1] -> list of (S // 320, D) float32.

    Frame f describes the samples 320 f to 320 (f + 1): the field of view of every encoder is centred on 320 f + 160.
    Batched and single results agree within 1e-4. ``offsets`` (frames, up to ``position_slack``) shift each signal in
    the input of an encoder with absolute positions; others, and signals longer than a window, do not heed them.
    Features of further encoders stand to the right, in order.
    """
    found = [_encode_alone(one, waveforms, offsets) for one in (encoder, *encoder.beside)]
    return [np.concatenate(sets, axis=1) for sets in zip(*found)] if encoder.beside else found[0]


def _encode_alone(encoder: Encoder, waveforms: Sequence[np.ndarray], offsets: Sequence[int] | None) -> list[np.ndarray]:
    windows = [_plan_signal(encoder, samples_to_frames(len(waveform))) for waveform in waveforms]
    pieces = []
    for item, (spans, offset) in enumerate(zip(windows, offsets or [0] * len(windows))):
        shift = min(offset, _own_slack(encoder, spans[0][1])) if len(spans) == 1 else 0
        pieces += [_Piece(item, start, stop, shift) for start, stop in spans]
    features = iter(_encode_pieces(encoder, [encoder.model.normalize(waveform) for waveform in waveforms], pieces))
    empty = np.zeros((0, encoder.model.dim), np.float32)
    return [stitch_windows(spans, [next(features) for _ in spans]) if spans else empty for spans in windows]


def _plan_signal(encoder: Encoder, n_frames: int) -> list[tuple[int, int]]:
    """The (start, stop) of a signal's windows in frames; none where it is shorter than a frame."""
    return plan_windows(n_frames, encoder.window, encoder.overlap) if n_frames else []


def _encode_pieces(encoder: Encoder, waveforms: list[np.ndarray], pieces: list[_Piece]) -> list[np.ndarray]:
    """Features of each piece in order, without those of its shift, computed in batches of similar length."""
    costs = [encoder.model.padded_frames(piece.stop - piece.start + piece.shift) for piece in pieces]
    found: list[np.ndarray | None] = [None] * len(pieces)
    for batch in plan_batches(costs, encoder.batch_frames, equal_only=encoder.model.equal_only):
        samples = [_cut_piece(encoder, waveforms[pieces[index].item], pieces[index]) for index in batch]
        for index, states in zip(batch, _encode_batch(encoder, samples)):
            found[index] = states[pieces[index].start - pieces[index].stop :]
    return found


def _cut_piece(encoder: Encoder, waveform: np.ndarray, piece: _Piece) -> np.ndarray:
    """The samples of one window with the encoder's margins, behind ``shift`` frames of silence."""
    left, right = encoder.model.margins
    samples = slice_frames(waveform, piece.start, piece.stop, left=left, right=right)
    return np.pad(samples, (frames_to_samples(piece.shift), 0)) if piece.shift else samples


@torch.inference_mode()
def _encode_batch(encoder: Encoder, samples: list[np.ndarray]) -> list[np.ndarray]:
    """(S,) samples with margins -> all their frames, (F, D) each; input features are made outside autocast."""
    inputs = {key: value.to(encoder.device) for key, value in encoder.model.prepare(samples).items()}
    with torch.autocast(encoder.device.type, encoder.dtype, enabled=encoder.dtype != torch.float32):
        states = encoder.model(**inputs)
    states = states.float().cpu().numpy()
    counts = [samples_to_frames(len(piece) - sum(encoder.model.margins)) for piece in samples]
    # A view would keep the whole batch alive, padding included.
    return [state[:count].copy() for state, count in zip(states, counts)]
