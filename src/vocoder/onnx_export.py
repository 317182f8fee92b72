"""A voice as ONNX, for phones, browsers and other languages than Python. Needs the package onnx.

ONNX has no complex numbers, so its transforms are matrix products (``models.fourier``).
"""

import warnings
from importlib.util import find_spec
from pathlib import Path

import torch

from core.errors import UserError
from models.generator_v4 import GeneratorV4
from vocoder.torchscript import ExportedVoice, example_inputs

OPSET = 17
# What may have any length, by input; S = 320 F samples.
FREE_AXES = {
    "units": {0: "batch", 1: "frames"},
    "f0": {0: "batch", 1: "frames"},
    "noise": {0: "batch", 1: "half_frames"},
    "phase": {0: "batch"},
    "speaker": {0: "batch"},
    "waveform": {0: "batch", 1: "samples"},
}


def require_onnx() -> None:
    """Refuse where the package is missing."""
    if find_spec("onnx") is None:
        raise UserError("--onnx: expected the package onnx, found none; run: pip install onnx onnxruntime")


@torch.no_grad()
def export_onnx(generator: GeneratorV4, path: Path, speaker_vectors: torch.Tensor | None = None) -> None:
    """Write a V4 generator with the inputs of ``ExportedVoice``; batch size and length stay free.

    noise is any whole numbers from 0 to 255, (B, 2 F). speaker is an input only of a voice of several speakers.
    """
    voice = ExportedVoice(generator.eval(), speaker_vectors)
    with warnings.catch_warnings():
        # The exporter by tracing is deprecated; the one that follows it needs a third package.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            voice,
            example_inputs(voice),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(FREE_AXES)[:-1],
            output_names=["waveform"],
            dynamic_axes=FREE_AXES,
        )
