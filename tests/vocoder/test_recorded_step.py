"""Steps recorded as CUDA graphs: the same losses, and what happens where recording fails.

Where there is no GPU, a stand-in for the graph computes the step anew on the inputs that the recording kept.
"""

import copy
import logging
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import torch

import pytest
from accelerate import Accelerator

from trainer_vocoder import choose_recorder, train_step

from training.training_state import Losses, Progress
from vocoder import recorded_step
from vocoder.batches import CropBatch
from vocoder.generators import DISCRIMINATORS, build_generator
from vocoder.recorded_step import Recorder, Recording, keep_rates_on_device, open_recorder, take_step
from vocoder.train_step import load_optimizer, prepare_training, set_learning_rate
from vocoder.trained_models import Models

SIZES = {"n_units": 20, "channels": 16, "n_blocks": 1, "bands": 8, "noise_bands": 4}
ARGS = Namespace(
    adversarial_after=6,
    clip=1.0,
    compile=False,
    crop_frames=16,
    discriminator_frames=8,
    discriminator_lr=5e-4,
    discriminator_share=0.5,
    ema=0.9,
    feature_weight=6.0,
    max_minutes=None,
    mel_weight=4.0,
    mel_windows=[256, 512],
    no_graph=False,
    seed=0,
    warmup=2,
)


class StandIn:
    """A graph that computes where a real one launches kernels; its losses lie where they lay before."""

    def __init__(self, compute: Callable[..., Losses], kept: list[torch.Tensor], losses: Losses):
        self.compute, self.kept, self.losses = compute, kept, losses

    def replay(self) -> None:
        for name, value in self.compute(*self.kept).items():
            self.losses.setdefault(name, torch.zeros(())).copy_(value.detach())


def stand_in(compute: Callable[..., Losses], inputs: list[torch.Tensor]) -> Recording:
    """A recording that, as a real one, keeps copies of its inputs and computes nothing yet."""
    kept, losses = [torch.zeros_like(tensor) for tensor in inputs], {}
    return Recording(StandIn(compute, kept, losses), kept, losses)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_step, "record", stand_in)
    monkeypatch.setattr(recorded_step, "compute_beside", lambda compute, inputs: compute(*inputs))


def tiny_models(accelerator: Accelerator) -> Models:
    torch.manual_seed(0)
    generator, discriminator = build_generator("v4", SIZES), DISCRIMINATORS["v4"](width=4)
    ema = copy.deepcopy(generator).eval().requires_grad_(False).to(accelerator.device)
    trained = prepare_training(accelerator, generator, lr=1e-3, weight_decay=0.01, unit_lr=25.0)
    opponent = prepare_training(accelerator, discriminator, lr=5e-4, weight_decay=0.01)
    return Models("v4", SIZES, [], None, trained, ema, opponent)


def batch_of(step: int, accelerator: Accelerator) -> CropBatch:
    random = torch.Generator().manual_seed(step)
    batch = CropBatch(
        content=torch.randint(0, 20, (4, 16, 1), generator=random),
        f0=100 + 100 * torch.rand(4, 16, generator=random),
        waveform=0.1 * torch.randn(4, 16 * 320, generator=random),
        key=torch.randint(0, 1 << 30, (4,), generator=random),
        speaker=torch.zeros(4, dtype=torch.int64),
    )
    return CropBatch(*(tensor.to(accelerator.device) for tensor in batch))


def losses_of(accelerator: Accelerator, open_it: Callable[[Models], Recorder | None], n_steps: int) -> list[Losses]:
    models = tiny_models(accelerator)
    recorder = open_it(models)
    steps = []
    for step in range(n_steps):
        progress = Progress(total_steps=40, step=step)
        losses = train_step(ARGS, accelerator, models, batch_of(step, accelerator), progress, recorder=recorder)
        steps.append({name: value.item() for name, value in losses.items()})
    if recorder:
        assert set(recorder.recordings) == {"regression", "adversarial"}
    return steps


@pytest.mark.usefixtures("no_gpu")
def test_a_recorded_training_is_the_training_that_it_recorded() -> None:
    """Other batches, windows and rates in every step; the recordings begin at steps 3 and 9."""
    accelerator = Accelerator(cpu=True)
    launched = losses_of(accelerator, lambda _: None, 14)
    recorded = losses_of(accelerator, lambda _: recorded_step.empty_recorder(), 14)
    assert "discriminator_loss" in launched[-1] and len({step["train_mel_nat"] for step in launched}) == 14
    for one, other in zip(launched, recorded):
        assert one == pytest.approx(other, rel=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_recorded_training_is_the_same_within_rounding() -> None:
    accelerator = Accelerator(mixed_precision="no")
    launched = losses_of(accelerator, lambda _: None, 14)
    recorded = losses_of(accelerator, lambda models: open_recorder([models.generator, models.discriminator]), 14)
    for one, other in zip(launched, recorded):
        assert one == pytest.approx(other, rel=0.02)


@pytest.mark.usefixtures("no_gpu")
def test_the_losses_of_a_step_stay_when_the_next_is_replayed() -> None:
    recorder = recorded_step.empty_recorder()

    def compute(number: torch.Tensor) -> Losses:
        return {"loss": 2 * number}

    found = [take_step(recorder, "any", compute, [torch.tensor(float(number))]) for number in range(6)]
    assert [losses["loss"].item() for losses in found] == [0, 2, 4, 6, 8, 10]
    assert recorder.calls["any"] == 4  # three before, and the one that was recorded


def test_where_recording_fails_steps_go_on_and_the_log_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(compute: object, inputs: object) -> Recording:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(recorded_step, "record", fail)
    monkeypatch.setattr(recorded_step, "compute_beside", lambda compute, inputs: compute(*inputs))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    recorder, calls = recorded_step.empty_recorder(), []

    def compute(number: torch.Tensor) -> Losses:
        calls.append(number.item())
        return {"loss": number}

    with caplog.at_level(logging.WARNING):
        for number in range(8):
            take_step(recorder, "any", compute, [torch.tensor(number)])
    assert calls == list(range(8))
    assert [record.message for record in caplog.records] == [
        "training without a CUDA graph, which is slower: operation not permitted when stream is capturing"
    ]


def test_rates_are_numbers_again_after_a_checkpoint_is_loaded() -> None:
    """A checkpoint of a recorded run has tensors of its GPU there, and goes on anywhere."""
    accelerator = Accelerator(cpu=True)
    models = tiny_models(accelerator)
    keep_rates_on_device(models.generator)
    set_learning_rate(models.generator, 3e-4)
    groups = models.generator.optimizer.param_groups
    assert [group["lr"].item() for group in groups] == pytest.approx([3e-4, 75e-4])
    assert all(group["capturable"] for group in groups)
    state = models.generator.optimizer.state_dict()
    other = tiny_models(accelerator).generator
    load_optimizer(other, state, Path("latest.pt"))
    assert [group["lr"] for group in other.optimizer.param_groups] == pytest.approx([3e-4, 75e-4])
    assert not any(group["capturable"] for group in other.optimizer.param_groups)
    assert all(isinstance(group["lr"], float) for group in other.optimizer.param_groups)


def test_nothing_is_recorded_without_a_gpu() -> None:
    accelerator = Accelerator(cpu=True)
    assert choose_recorder(ARGS, accelerator, tiny_models(accelerator)) is None
