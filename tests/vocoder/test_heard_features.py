"""A frozen recogniser that hears crops: Whisper's own log-mel, what the loss orders, and where gradients go."""

from pathlib import Path

import numpy as np
import torch

import pytest
import transformers

from core.errors import UserError
from vocoder import heard_features
from vocoder.heard_features import OWN_HEARING, Hearing, hearing_loss, open_hearing


@pytest.fixture(scope="module")
def hearing(tiny_whisper: Path) -> Hearing:
    return Hearing(str(tiny_whisper))


def speechlike(n_crops: int = 3, seconds: float = 0.96) -> torch.Tensor:
    """(B, S) harmonics under a slow envelope, each crop of another pitch."""
    time = np.arange(int(16_000 * seconds)) / 16_000
    crops = [
        0.1 * np.sin(3 + 4 * time) * sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 20))
        for hertz in (90 + 40 * np.arange(n_crops))
    ]
    return torch.from_numpy(np.stack(crops)).float()


def test_the_log_mel_is_whispers_own(hearing: Hearing, tiny_whisper: Path) -> None:
    crops = speechlike()
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(tiny_whisper)
    flags = {"sampling_rate": 16_000, "padding": "max_length", "max_length": crops.shape[1], "return_tensors": "pt"}
    theirs = extractor(list(crops.numpy()), **flags).input_features
    assert torch.allclose(hearing.log_mel(crops), theirs, atol=1e-4)


def test_every_layer_is_heard_at_fifty_positions_a_second(hearing: Hearing) -> None:
    states = hearing(speechlike())
    assert [tuple(layer.shape) for layer in states] == [(3, 48, 32)] * 4  # the convolutions and three layers


def test_the_loss_tells_a_near_copy_from_another_recording(hearing: Hearing) -> None:
    crops, random = speechlike(), torch.Generator().manual_seed(0)
    noisy = crops + 0.003 * torch.randn(crops.shape, generator=random)
    same, near, other = (hearing_loss(hearing, crops, heard).item() for heard in (crops, noisy, crops.flip(0)))
    assert same == 0 and 0 < near < other


def test_a_channel_counts_as_much_as_any_other(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundredfold channel changes nothing: it is measured in its own standard deviation."""
    crops, random = speechlike(), torch.Generator().manual_seed(0)
    noisy = crops + 0.003 * torch.randn(crops.shape, generator=random)
    before, forward = hearing_loss(hearing, crops, noisy), hearing.forward
    scale = torch.ones(32)
    scale[5] = 100.0
    monkeypatch.setattr(hearing, "forward", lambda waveform: [layer * scale for layer in forward(waveform)])
    assert hearing_loss(hearing, crops, noisy).item() == pytest.approx(before.item(), rel=1e-4)


def test_gradients_reach_the_waveform_and_no_weight(hearing: Hearing) -> None:
    crops = speechlike()
    heard = (0.9 * crops).requires_grad_()
    hearing_loss(hearing, crops, heard + 0.001).backward()
    assert heard.grad.abs().max() > 0
    assert not any(weight.requires_grad or weight.grad is not None for weight in hearing.parameters())


def test_only_a_whisper_hears(tiny_hubert: Path) -> None:
    with pytest.raises(UserError, match="expected a model of whisper, found 'hubert'"):
        Hearing(str(tiny_hubert))


def test_nobody_hears_where_none_is_asked_for() -> None:
    assert open_hearing("none", 15_360) is None and open_hearing(None, 15_360) is None


@pytest.mark.skipif(not OWN_HEARING.is_dir(), reason=f"{OWN_HEARING}: not in this copy")
def test_the_repositorys_own_hears_crops_and_refuses_longer_ones() -> None:
    own = open_hearing("own", 15_360)
    crops, random = speechlike(), torch.Generator().manual_seed(0)
    noisy = crops + 0.0003 * torch.randn(crops.shape, generator=random)
    near, other = (hearing_loss(own, crops, heard).item() for heard in (noisy, crops.flip(0)))
    assert 0.01 < near < other
    with pytest.raises(UserError, match="crops of at most 100 frames, found 101"):
        open_hearing("own", 101 * 320)
    assert sum(path.stat().st_size for path in OWN_HEARING.iterdir()) < 9_000_000
    assert "MIT" in (OWN_HEARING / "LICENSE_WHISPER.txt").read_text()


def test_a_missing_own_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(heard_features, "OWN_HEARING", tmp_path)
    with pytest.raises(UserError, match="--hearing none"):
        open_hearing("own", 15_360)
