"""scripts/bench/bench_signal_model.py: spectra and back, sources, and a fit that comes near its recording."""

import math
import runpy
from types import SimpleNamespace

import numpy as np
import torch

import pytest

from models.generator_v4 import GeneratorV4
from synthetic import REPOSITORY, speech_like

bench = SimpleNamespace(**runpy.run_path(str(REPOSITORY / "scripts" / "bench" / "bench_signal_model.py")))


@pytest.mark.parametrize("window, hop", [(320, 160), (320, 80), (640, 160)])
def test_a_waveform_comes_back_from_its_spectra(window: int, hop: int) -> None:
    waveform, shape = torch.randn(1, 3200), torch.sin(math.pi * (torch.arange(window) + 0.5) / window)
    again = bench.to_waveform(bench.to_spectra(waveform, shape, hop), shape, hop)
    torch.testing.assert_close(again[:, window:-window], waveform[:, window:-window], atol=1e-5, rtol=0)


def test_breath_follows_the_pulses_and_is_as_loud_as_the_even_noise() -> None:
    pulses, (even, pulsed) = bench.excite(torch.full((1, 500), 100.0), 50, pulsed_noise=True)
    assert pulsed.square().mean().item() == pytest.approx(even.square().mean().item(), rel=0.05)
    near_pulse = pulses.abs() > 0.5 * pulses.abs().max()
    assert pulsed[near_pulse].square().mean() > 3 * even[near_pulse].square().mean()


def test_the_first_variant_is_the_generator_that_is_trained() -> None:
    generator = GeneratorV4(n_units=4)
    model = bench.VARIANTS["v4"]
    assert (model.bands, model.noise_bands) == generator.n_bands
    assert (model.window, model.hop) == (len(generator.window), len(generator.window) // 2)


def test_a_fit_comes_near_and_finer_filters_nearer() -> None:
    waveform = speech_like(1.0)[:16000].astype(np.float32)
    assert bench.track_f0(waveform, 200).shape == (1, 200)
    _, far = bench.fit(waveform, bench.SignalModel(), 2)
    spoken, near = bench.fit(waveform, bench.SignalModel(), 40)
    _, finer = bench.fit(waveform, bench.SignalModel(hop=80), 40)
    assert spoken.shape == waveform.shape and near < far / 2 and finer < near
