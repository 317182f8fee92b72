"""V3's discriminators: a large one holds the small one, and all of them can tell speech from noise."""

import torch
from torch.utils.flop_counter import FlopCounterMode

import pytest

from models.discriminator_v3 import FURTHER, DiscriminatorV3, longest_window
from vocoder.losses import discriminator_loss

SECONDS = torch.arange(16000) / 16000


def tones(n: int, generator: torch.Generator) -> torch.Tensor:
    """(n, 16000): harmonics of a pitch between 100 and 200 Hz."""
    pitch = 100 + 100 * torch.rand(n, 1, 1, generator=generator)
    return torch.sin(2 * torch.pi * pitch * torch.arange(1, 9)[:, None] * SECONDS).mean(dim=1)


@pytest.mark.parametrize("size", FURTHER)
def test_each_learns_to_tell_tones_from_noise(size: str) -> None:
    torch.manual_seed(0)
    generator, model = torch.Generator().manual_seed(0), DiscriminatorV3(width=4, size=size)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        real, false = tones(2, generator), 0.3 * torch.randn(2, 16000, generator=generator)
        loss = discriminator_loss(model(real), model(false))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("size", FURTHER)
def test_a_large_one_judges_with_the_small_one_and_more(size: str) -> None:
    small, large = DiscriminatorV3(width=4), DiscriminatorV3(width=4, size=size)
    large.load_state_dict(small.state_dict(), strict=False)
    waveform = torch.randn(2, 8000, generator=torch.Generator().manual_seed(1))
    judged, judged_small = large(waveform), small(waveform)
    assert len(judged) == 3 + len(FURTHER[size].resolutions)
    for ours, theirs in zip(judged[:3], judged_small, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("size", FURTHER)
def test_it_needs_no_more_than_its_longest_window(size: str) -> None:
    model, longest = DiscriminatorV3(width=4, size=size), longest_window(size)
    assert all(score.isfinite().all() for *_, score in model(torch.randn(1, longest)))
    with pytest.raises(RuntimeError):
        model(torch.randn(1, longest - 1))


def test_bands_see_every_bin_once() -> None:
    judge = DiscriminatorV3(width=4, size="complex").further[0]
    assert judge.edges[0] == 0 and judge.edges[-1] == judge.n_fft // 2 + 1
    waveform = torch.randn(1, 4096, requires_grad=True)
    judge(waveform)[0].square().sum().backward()
    assert waveform.grad.isfinite().all() and waveform.grad.abs().sum() > 0


def test_the_small_one_is_as_cheap_as_before() -> None:
    with FlopCounterMode(display=False) as counter:
        DiscriminatorV3()(torch.zeros(1, 16000))
    with FlopCounterMode(display=False) as wide:
        DiscriminatorV3(size="wide")(torch.zeros(1, 16000))
    assert counter.get_total_flops() < 0.15 * wide.get_total_flops()
