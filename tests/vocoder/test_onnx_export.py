"""A V4 voice in onnxruntime is the voice in PyTorch, at any length."""

from pathlib import Path

import numpy as np
import torch

import pytest

from models.fourier import analyse, synthesise
from vocoder.generators import build_generator
from vocoder.onnx_export import export_onnx
from vocoder.synthesis import speak


@pytest.mark.parametrize("n_speakers", [0, 2])
def test_onnxruntime_speaks_what_pytorch_speaks(n_speakers: int, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs onnx and onnxruntime (pip install 'oral-units[onnx]')")
    pytest.importorskip("onnx")
    torch.manual_seed(0)
    sizes = {"n_units": 12, "n_streams": 2, "n_speakers": n_speakers, "channels": 32, "n_blocks": 2}
    generator = build_generator("v4", sizes).eval()
    export_onnx(generator, tmp_path / "voice.onnx")
    session = runtime.InferenceSession(str(tmp_path / "voice.onnx"), providers=["CPUExecutionProvider"])
    assert ("speaker" in {node.name for node in session.get_inputs()}) is bool(n_speakers)
    for n_items, n_frames in [(1, 1), (3, 40), (1, 301)]:
        units = torch.randint(0, 12, (n_items, n_frames, 2))
        f0 = 150 + 60 * torch.sin(torch.arange(n_frames) / 9 + torch.arange(n_items)[:, None])
        f0[:, torch.arange(n_frames) % 17 < 4] = 0
        units[-1, n_frames // 2 + 1 :] = -1
        keys, speaker = torch.arange(n_items), torch.arange(n_items) % (n_speakers + 1)
        with torch.inference_mode():
            expected = speak(generator, units, f0, speaker if n_speakers else None, keys).numpy()
        feed = {"units": units, "f0": f0, "noise": generator.excite(keys, n_frames)}
        feed |= {"phase": torch.zeros(n_items, dtype=torch.float64)} | ({"speaker": speaker} if n_speakers else {})
        (spoken,) = session.run(None, {name: tensor.numpy() for name, tensor in feed.items()})
        assert spoken.shape == expected.shape and np.abs(expected).max() > 1e-2
        assert np.abs(spoken - expected).max() < 1e-4


def test_transforms_as_products_are_the_transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = torch.randn(3, 7, 320)
    planes = analyse(windows)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    for plane, product in zip(planes, analyse(windows)):
        torch.testing.assert_close(product, plane, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(synthesise(*planes), windows, atol=2e-6, rtol=1e-5)
