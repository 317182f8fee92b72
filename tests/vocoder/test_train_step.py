"""One step against each of the three discriminators: what it moves, and what it leaves alone."""

import copy
from pathlib import Path

import numpy as np
import torch
from torch import nn

import pytest
from accelerate import Accelerator

from core.errors import UserError
from evaluation.mel_distance import compute_mel_distance
from models.discriminator import Discriminator
from models.discriminator_v2 import DiscriminatorV2
from models.discriminator_v3 import DiscriminatorV3
from vocoder.adversarial_setup import (
    adversarial_window,
    judged_crops,
    split_judgement,
    warn_of_collapse,
)
from vocoder.generators import build_generator
from vocoder.judgement_time import time_judgement
from vocoder.losses import adversarial_loss, discriminator_loss, feature_matching_loss
from vocoder.train_step import (
    Trained,
    discriminator_step,
    generator_step,
    load_optimizer,
    prepare_training,
    set_learning_rate,
)

BUILDERS = {
    "v1": lambda: Discriminator(width=32),
    "v2": lambda: DiscriminatorV2(width=32),
    "v3": lambda: DiscriminatorV3(width=4),
}
STEPPED = {"clip": 1.0, "mel_windows": {256: 20, 1024: 80}}


class Amplifier(nn.Module):
    """A generator of one weight: (B, S) -> (B, S)."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.3))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.gain * waveform


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.fixture
def original() -> torch.Tensor:
    return 0.3 * torch.randn(2, 4800, generator=torch.Generator().manual_seed(0))


def prepared(accelerator: Accelerator, model: nn.Module) -> Trained:
    return prepare_training(accelerator, model, lr=1e-2, weight_decay=0.0)


@pytest.fixture(params=BUILDERS)
def discriminator(request: pytest.FixtureRequest, accelerator: Accelerator) -> Trained:
    torch.manual_seed(0)
    return prepared(accelerator, BUILDERS[request.param]())


@pytest.fixture
def generator(accelerator: Accelerator) -> Trained:
    return prepared(accelerator, Amplifier())


def moved(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def test_the_discriminators_step_moves_its_weights_and_not_the_generators(
    accelerator: Accelerator, discriminator: Trained, generator: Trained, original: torch.Tensor
) -> None:
    before, gain = weights(discriminator.model), weights(generator.model)
    losses = discriminator_step(accelerator, discriminator, original, generator.wrapped(original), clip=1.0)
    assert losses.keys() == {"discriminator_loss"} and losses["discriminator_loss"].isfinite()
    assert moved(discriminator.model, before) == before.keys()
    assert not moved(generator.model, gain) and generator.model.gain.grad is None


def test_the_generators_step_moves_its_weights_and_not_the_discriminators(
    accelerator: Accelerator, discriminator: Trained, generator: Trained, original: torch.Tensor
) -> None:
    before, gain = weights(discriminator.model), weights(generator.model)
    losses = generator_step(
        accelerator,
        generator,
        original,
        generator.wrapped(original),
        discriminator=discriminator.model,
        seen=(slice(None), slice(0, 3200)),
        mel_weight=15.0,
        feature_weight=2.0,
        **STEPPED,
    )
    assert losses.keys() == {"adversarial_loss", "feature_loss", "train_mel_nat", "gradient_norm"}
    assert moved(generator.model, gain) == {"gain"} and all(loss.isfinite() for loss in losses.values())
    assert not moved(discriminator.model, before)
    assert all(value.grad is None and value.requires_grad for value in discriminator.model.parameters())


def test_a_discriminator_learns_to_tell_the_two_apart(
    accelerator: Accelerator, discriminator: Trained, original: torch.Tensor
) -> None:
    resynthesis = 0.05 * original.roll(7, dims=1)
    set_learning_rate(discriminator, 2e-3)
    found = [
        discriminator_step(accelerator, discriminator, original, resynthesis, clip=10.0)["discriminator_loss"].item()
        for _ in range(8)
    ]
    assert min(found[4:]) < 0.9 * found[0]


def test_the_discriminator_adds_to_the_log_mel_loss_of_what_it_sees_alone(
    accelerator: Accelerator, generator: Trained, original: torch.Tensor
) -> None:
    """The rest changes the log-mel loss only; without a discriminator that is all there is."""
    discriminator, seen = DiscriminatorV3(width=4), (slice(1), slice(1600, 4800))
    against = {"discriminator": discriminator, "seen": seen, "mel_weight": 1.0, "feature_weight": 1.0}
    outside = original.clone()
    outside[:, :1600] *= 0.1
    outside[1] *= 0.1
    found = []
    for recording in (original, outside):
        still = copy.deepcopy(generator.model)
        trained = prepared(accelerator, still)
        found.append(generator_step(accelerator, trained, recording, still(original), **against, **STEPPED))
    assert torch.equal(found[0]["adversarial_loss"], found[1]["adversarial_loss"])
    assert torch.equal(found[0]["feature_loss"], found[1]["feature_loss"])
    assert not torch.equal(found[0]["train_mel_nat"], found[1]["train_mel_nat"])
    plain = generator_step(accelerator, generator, original, generator.wrapped(original), **STEPPED)
    assert plain.keys() == {"train_mel_nat", "gradient_norm"}
    assert torch.equal(plain["train_mel_nat"], found[0]["train_mel_nat"])


def test_least_squares_by_hand() -> None:
    features, scores = torch.ones(2, 3), torch.tensor([[1.0, 0.0]])
    originals = [[features, scores], [2 * features, scores + 1]]
    resyntheses = [[features + 0.5, scores], [2 * features, scores]]
    assert discriminator_loss(originals, resyntheses).item() == pytest.approx((0.5 + 0.5 + 0.5 + 0.5) / 2)
    assert adversarial_loss(resyntheses).item() == pytest.approx(0.5)
    assert feature_matching_loss(originals, resyntheses).item() == pytest.approx(0.25)


def test_a_window_lies_in_the_crop_and_depends_on_seed_and_step() -> None:
    sizes = {"crop_frames": 48, "discriminator_frames": 24}
    windows = [adversarial_window(step, seed=0, **sizes) for step in range(200)]
    starts = {window.start // 320 for window in windows}
    assert starts == set(range(25)) and all(window.stop - window.start == 24 * 320 for window in windows)
    assert windows == [adversarial_window(step, seed=0, **sizes) for step in range(200)]
    assert windows != [adversarial_window(step, seed=1, **sizes) for step in range(200)]
    assert adversarial_window(3, seed=0, crop_frames=8, discriminator_frames=24) == slice(0, 8 * 320)


def test_a_share_of_the_crops_is_judged_at_least_one() -> None:
    counts = [(16, 1.0), (16, 0.5), (5, 0.5), (1, 0.1)]
    assert [judged_crops(n_crops, share) for n_crops, share in counts] == [slice(16), slice(8), slice(3), slice(1)]


def test_timing_a_judgement_leaves_the_discriminator_as_it_was(
    accelerator: Accelerator, discriminator: Trained, original: torch.Tensor
) -> None:
    before = copy.deepcopy(discriminator.model.state_dict())
    assert time_judgement(discriminator.model, original, accelerator.autocast) > 0
    assert all(torch.equal(value, before[name]) for name, value in discriminator.model.state_dict().items())
    assert discriminator.model.training and all(p.grad is None for p in discriminator.model.parameters())


def test_halves_of_a_judgement_are_originals_then_resyntheses() -> None:
    of_originals, of_resyntheses = split_judgement([[torch.tensor([1.0, 2.0, 3.0, 4.0]).bfloat16()]])
    assert of_originals[0][0].tolist() == [1, 2] and of_resyntheses[0][0].tolist() == [3, 4]
    assert of_originals[0][0].dtype == torch.float32


@pytest.mark.parametrize(
    ("losses", "warned"), [([0.001] * 10, True), ([0.5] * 10, True), ([0.5, 0.7] * 5, False), ([0.001] * 9, False)]
)
def test_a_discriminator_that_always_wins_or_never_moves_is_named(
    losses: list[float], warned: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vocoder.adversarial_setup.log.propagate", True)
    warn_of_collapse(70, [{"discriminator_loss": torch.tensor(loss)} for loss in losses] + [{"other": torch.tensor(0)}])
    assert ("step 70: collapsed discriminator" in caplog.text) == warned


class Table(nn.Module):
    """A unit embedding and one weight, as all generators name them."""

    def __init__(self) -> None:
        super().__init__()
        self.unit_embedding = nn.ModuleList([nn.Embedding(3, 2)])
        self.gain = nn.Parameter(torch.ones(()))


def table_step(accelerator: Accelerator, unit_lr: float) -> tuple[Trained, dict[str, float]]:
    """One update at a rate of 1e-3 for gradients that are all 1; how far each weight went."""
    torch.manual_seed(0)
    trained = prepare_training(accelerator, Table(), lr=1e-2, weight_decay=0.0, unit_lr=unit_lr)
    before = weights(trained.model)
    set_learning_rate(trained, 1e-3)
    for weight in trained.model.parameters():
        weight.grad = torch.ones_like(weight)
    trained.optimizer.step()
    return trained, {name: float((before[name] - value).mean()) for name, value in weights(trained.model).items()}


def test_unit_embeddings_have_a_rate_of_their_own(accelerator: Accelerator) -> None:
    _, moved_alike = table_step(accelerator, 1.0)
    assert moved_alike == pytest.approx({"gain": 1e-3, "unit_embedding.0.weight": 1e-3}, rel=1e-3)
    _, moved_apart = table_step(accelerator, 25.0)
    assert moved_apart == pytest.approx({"gain": 1e-3, "unit_embedding.0.weight": 25e-3}, rel=1e-3)


def test_an_optimizer_of_other_groups_is_refused_with_the_flag_to_give(accelerator: Accelerator) -> None:
    apart, alike = (table_step(accelerator, unit_lr)[0] for unit_lr in (25.0, 1.0))
    with pytest.raises(UserError, match="latest.pt: expected unit embeddings with a rate.*--unit_lr"):
        load_optimizer(apart, alike.optimizer.state_dict(), Path("latest.pt"))
    load_optimizer(apart, table_step(accelerator, 25.0)[0].optimizer.state_dict(), Path("latest.pt"))
    set_learning_rate(apart, 1e-4)
    assert [group["lr"] for group in apart.optimizer.param_groups] == pytest.approx([1e-4, 25e-4])


def tones(seed: int, n_frames: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Units (F,) in runs of three to eight frames, and (320 F,) samples in which each of them is a tone of its own."""
    random = np.random.default_rng(seed)
    units = np.repeat(random.integers(0, 6, n_frames), random.integers(3, 9, n_frames))[:n_frames]
    cycles = np.cumsum(np.repeat(300 * 1.6**units, 320)) / 16_000
    waveform = 0.3 * np.sin(2 * np.pi * cycles) + 0.003 * random.standard_normal(len(cycles))
    return torch.from_numpy(units), torch.from_numpy(waveform).float()


def test_what_units_sound_like_is_learnt(accelerator: Accelerator) -> None:
    """True units speak closer to a recording that was not heard than the same units in another order."""
    torch.manual_seed(0)
    sizes = {"n_units": 6, "channels": 32, "n_blocks": 2, "head_channels": 32, "n_head_blocks": 1}
    trained, unvoiced = prepared(accelerator, build_generator("v3", sizes)), torch.zeros(4, 32)
    for step in range(60):
        units, originals = map(torch.stack, zip(*(tones(4 * step + row) for row in range(4))))
        generator_step(accelerator, trained, originals, trained.wrapped(units, unvoiced), **STEPPED)
    units, original = tones(999)
    spoken = torch.stack([units, *(units[torch.randperm(32)] for _ in range(3))])
    with torch.inference_mode():
        resyntheses = trained.model(spoken, unvoiced).numpy()
    true, *shuffled = (compute_mel_distance(original.numpy(), resynthesis) for resynthesis in resyntheses)
    assert true < 0.7 * min(shuffled), (true, shuffled)
