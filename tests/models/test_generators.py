"""V1 to V4: exact lengths, padding, purity of noise and phase, gradients; the excitation they share."""

import numpy as np
import torch
from torch import nn

import pytest

from models.generator_v4 import N_BINS, band_interpolation, minimum_phase_matrix, overlap_add, split_windows
from models.hashed_noise import hashed_noise, hashed_rows, noise_key
from models.pulse_train import framewise_pulse_train, pulse_train
from units.requests import SpokenItem
from vocoder.generators import GENERATORS, Vocoder, build_generator
from vocoder.losses import mel_loss
from vocoder.synthesis import speak, synthesize_utterances

VERSIONS = sorted(GENERATORS)
N_UNITS = 11


def tiny(version: str, **sizes: object) -> nn.Module:
    """A narrow generator whose output is far from zero, so that comparisons say something."""
    torch.manual_seed(0)
    generator = build_generator(version, {"n_units": N_UNITS, "channels": 32} | sizes)
    for name, parameter in generator.named_parameters():
        if name.endswith("original0"):
            nn.init.constant_(parameter, 1.0)
    return generator.eval()


def inputs(n_frames: int, *, batch: int = 1, n_streams: int = 1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """units (B, F, n_streams), F0 (B, F): voiced and unvoiced stretches."""
    random = torch.Generator().manual_seed(seed)
    units = torch.randint(0, N_UNITS, (batch, n_frames, n_streams), generator=random)
    f0 = 100 + 100 * torch.rand(batch, n_frames, generator=random)
    f0[:, n_frames // 3 : n_frames // 2] = 0
    return units, f0


@pytest.mark.parametrize("version", VERSIONS)
def test_every_length_is_exact(version: str) -> None:
    generator = tiny(version)
    for n_frames in (1, 2, 3, 4, 5, 7, 13, 50, 51):
        with torch.inference_mode():
            waveform = generator(*inputs(n_frames))
        assert waveform.shape == (1, 320 * n_frames)
        assert waveform.dtype == torch.float32 and torch.isfinite(waveform).all()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_padded_batch_equals_its_utterances(version: str) -> None:
    generator, lengths = tiny(version), (37, 12, 1)
    units, f0 = inputs(37, batch=3)
    for row, length in enumerate(lengths):
        units[row, length:], f0[row, length:] = -1, 0
    with torch.inference_mode():
        together = generator(units, f0)
        assert together.std() > 1e-3
        for row, length in enumerate(lengths):
            alone = generator(units[row : row + 1, :length], f0[row : row + 1, :length])
            torch.testing.assert_close(together[row : row + 1, : 320 * length], alone, atol=1e-5, rtol=1e-4)
            assert not together[row, 320 * length :].any()


@pytest.mark.parametrize("version", VERSIONS)
def test_units_with_and_without_a_stream_axis(version: str) -> None:
    generator, (units, f0) = tiny(version), inputs(9)
    with torch.inference_mode():
        torch.testing.assert_close(generator(units[..., 0], f0), generator(units, f0), rtol=0, atol=0)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_stream_counts(version: str) -> None:
    generator, (units, f0) = tiny(version, n_streams=2), inputs(9, n_streams=2)
    with torch.inference_mode():
        before = generator(units, f0)
        for stream in range(2):
            other = units.clone()
            other[..., stream] = (other[..., stream] + 1) % N_UNITS
            assert not torch.allclose(generator(other, f0), before)


@pytest.mark.parametrize("version", VERSIONS)
def test_speakers_have_a_voice_each_and_row_0_is_unknown(version: str) -> None:
    generator, (units, f0) = tiny(version, n_speakers=2), inputs(9)
    with torch.inference_mode():
        unknown = generator(units, f0)
        torch.testing.assert_close(generator(units, f0, torch.tensor([0])), unknown, rtol=0, atol=0)
        voices = [unknown, *(generator(units, f0, torch.tensor([row])) for row in (1, 2))]
    assert not torch.allclose(voices[0], voices[1]) and not torch.allclose(voices[1], voices[2])


@pytest.mark.parametrize("version", VERSIONS)
def test_pitch_is_heard_by_all_but_v1(version: str) -> None:
    generator, (units, f0) = tiny(version), inputs(9)
    with torch.inference_mode():
        assert torch.equal(generator(units, f0), generator(units, f0 * 1.5)) == (version == "v1")


def test_v3_without_harmonics_has_no_pitch_but_the_trunks() -> None:
    """Without the pulse train, F0 is heard through the trunk alone: the head has half the gains."""
    units, f0 = inputs(30)
    with torch.inference_mode():
        whole, flat = tiny("v3"), tiny("v3", harmonic=False)
        assert 2 * flat.head.out_features == whole.head.out_features
        assert flat(units, f0).std() > 1e-3 and flat(units, f0).shape == whole(units, f0).shape
        gains = flat.filters(units, f0, None)
    assert len(gains) == 1


@pytest.mark.parametrize("pitch", ["bins", "value"])
def test_v3_is_told_f0_in_one_form_only(pitch: str) -> None:
    generator = tiny("v3", pitch=pitch)
    kept = {name.split(".")[1] for name, _ in generator.named_parameters() if name.startswith("pitch_embedding.")}
    assert kept == {"bins" if pitch == "bins" else "values"}
    units, f0 = inputs(30)
    with torch.inference_mode():
        # 1 Hz stays in its bin, so that the trunk hears it as a value only.
        same_bin = torch.where(f0 > 0, torch.full_like(f0, 150.0), f0)
        near = torch.where(f0 > 0, torch.full_like(f0, 151.0), f0)
        filters, moved = generator.filters(units, same_bin, None), generator.filters(units, near, None)
    assert torch.equal(filters[0], moved[0]) == (pitch == "bins")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_gradient_reaches_every_parameter(version: str) -> None:
    generator = tiny(version, n_streams=2, n_speakers=2).train()
    units, f0 = inputs(24, batch=2, n_streams=2)
    target = 0.1 * torch.randn(2, 24 * 320)
    mel_loss(generator(units, f0, torch.tensor([0, 2])), target).backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("version", VERSIONS)
def test_one_step_lowers_the_loss(version: str) -> None:
    torch.manual_seed(1)
    generator = build_generator(version, {"n_units": N_UNITS, "channels": 32}).train()
    optimizer = torch.optim.AdamW(generator.parameters(), lr=1e-3)
    (units, f0), target = inputs(24, batch=2), 0.1 * torch.randn(2, 24 * 320)
    before = mel_loss(generator(units, f0), target)
    before.backward()
    optimizer.step()
    with torch.inference_mode():
        assert mel_loss(generator(units, f0), target) < before


@pytest.mark.parametrize("version", VERSIONS)
def test_bfloat16_gives_nearly_the_same(version: str) -> None:
    generator, (units, f0) = tiny(version), inputs(20)
    with torch.inference_mode():
        exact = generator(units, f0)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = generator(units, f0)
    assert (rounded.float() - exact).abs().mean() < 0.1 * exact.abs().mean()


def test_full_sizes_are_the_constructors_defaults() -> None:
    with torch.device("meta"):
        millions = {
            version: sum(p.numel() for p in GENERATORS[version](100).parameters()) / 1e6 for version in VERSIONS
        }
    assert 12 < millions["v1"] < 16 and 12 < millions["v2"] < 16  # the published unit HiFi-GAN has 14.2 M
    assert 4 * millions["v4"] < millions["v3"] < millions["v1"]


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_in_chunks_equals_the_whole(version: str) -> None:
    """With its neighbours as context, the noise of its place and the phase so far, it is what the whole has there."""
    generator, (units, _) = tiny(version), inputs(160)
    f0, key = torch.full((1, 160), 140.0), torch.tensor([5])
    with torch.inference_mode():
        whole = speak(generator, units, f0, None, key)
        start, stop, context = 60, 100, 40
        left, right = start - context, stop + context
        first_sample = 320 * left
        noise = generator.excite(key, right - left, first_sample=first_sample)
        phase = torch.tensor([140.0 * first_sample / 16000], dtype=torch.float64) % 1
        chunk = generator(units[:, left:right], f0[:, left:right], noise=noise, phase=phase)
    inner = chunk[:, 320 * context : 320 * (context + stop - start)]
    expected = whole[:, 320 * start : 320 * stop]
    assert expected.std() > 1e-3
    assert (inner - expected).abs().max() < 1e-3 * expected.abs().max()


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_without_noise_and_phase_it_takes_key_0(version: str) -> None:
    generator, (units, f0) = tiny(version), inputs(12)
    with torch.inference_mode():
        default = generator(units, f0)
        torch.testing.assert_close(speak(generator, units, f0, None, torch.tensor([0])), default, rtol=0, atol=0)
        assert not torch.allclose(speak(generator, units, f0, None, torch.tensor([1])), default)
        assert not torch.allclose(generator(units, f0, phase=torch.tensor([0.5], dtype=torch.float64)), default)


@pytest.mark.parametrize("version", VERSIONS)
def test_synthesis_keeps_the_order_and_does_not_depend_on_the_batch(version: str) -> None:
    vocoder = Vocoder(tiny(version), [], torch.device("cpu"))
    items = []
    for number, n_frames in enumerate((30, 28, 1, 40, 41, 200, 39, 2)):
        units, f0 = inputs(n_frames, seed=number)
        items.append(SpokenItem(f"item_{number}", units[0].numpy(), f0[0].numpy()))
    alone = dict(pair for item in items for pair in synthesize_utterances(vocoder, [item]))
    for max_batch_frames in (1, 100, 3000):
        together = list(synthesize_utterances(vocoder, iter(items), max_batch_frames=max_batch_frames))
        assert [name for name, _ in together] == [item.id for item in items]
        for (name, waveform), item in zip(together, items):
            assert waveform.dtype == np.float32 and len(waveform) == 320 * len(item.content)
            np.testing.assert_allclose(waveform, alone[name], atol=1e-5)


# The oracle
def oracle_inputs(n_frames: int, *, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mel above its floor (B, F, 80), and F0."""
    random = torch.Generator().manual_seed(1)
    return 6 * torch.rand(batch, n_frames, 80, generator=random), inputs(n_frames, batch=batch)[1]


def test_the_oracle_hears_log_mel_and_no_units() -> None:
    generator, (mel, f0) = tiny("v3", condition="logmel"), oracle_inputs(21, batch=2)
    assert not any(name.startswith("unit_embedding") for name, _ in generator.named_parameters())
    mel[1, 13:], f0[1, 13:] = -1, 0
    with torch.inference_mode():
        together, alone = generator(mel, f0), generator(mel[1:, :13], f0[1:, :13])
        assert together.shape == (2, 320 * 21) and together.std() > 1e-3 and not together[1, 320 * 13 :].any()
        torch.testing.assert_close(together[1:, : 320 * 13], alone, atol=1e-5, rtol=1e-4)
        louder = generator(mel[:1] + 1, f0[:1])
    assert not torch.allclose(louder, together[:1])


def test_the_oracle_is_an_addition_to_v3() -> None:
    """The weights of a generator of units keep their names, and the other versions have no oracle."""
    names = set(tiny("v3").state_dict())
    assert not any(name.startswith("mel") for name in names) and "unit_embedding.0.weight" in names
    different = set(tiny("v3", condition="logmel").state_dict()) ^ names
    assert different == {"unit_embedding.0.weight", "mel.weight", "mel.bias"}
    for version in ("v1", "v2"):
        with pytest.raises(TypeError, match="condition"):
            tiny(version, condition="logmel")


def test_the_oracle_speaks_items_in_batches() -> None:
    vocoder = Vocoder(tiny("v3", condition="logmel"), [], torch.device("cpu"))
    mel, f0 = (tensor[0].numpy() for tensor in oracle_inputs(40))
    items = [SpokenItem(str(n), mel[:n], f0[:n]) for n in (40, 33)]
    alone = dict(pair for item in items for pair in synthesize_utterances(vocoder, [item]))
    for name, waveform in synthesize_utterances(vocoder, items):
        assert waveform.shape == (320 * int(name),)
        np.testing.assert_allclose(waveform, alone[name], atol=1e-5)


# V4's tables
@pytest.mark.parametrize("n_bands", [2, 32, 64])
def test_bands_share_every_bin(n_bands: int) -> None:
    weights = band_interpolation(n_bands)
    assert weights.shape == (n_bands, N_BINS) and weights.min() >= 0 and (weights.amax(1) > 0.4).all()
    torch.testing.assert_close(weights.sum(0), torch.ones(N_BINS, dtype=torch.float64))
    assert weights[0, 0] == weights[-1, -1] == 1


def test_the_minimum_phase_is_that_of_a_decaying_resonance() -> None:
    """A two-pole resonator is causal and stable, so its own phase is the minimum phase of its magnitude."""
    z = torch.exp(-2j * torch.pi * torch.arange(N_BINS, dtype=torch.float64) / 320)
    response = 1 / (1 - 2 * 0.9 * np.cos(0.4) * z + 0.81 * z**2)
    phase = response.abs().log() @ minimum_phase_matrix()
    assert response.angle().abs().max() > 1
    torch.testing.assert_close(phase, response.angle(), atol=1e-6, rtol=0)


def test_windows_that_overlap_add_up_again() -> None:
    waveform, window = torch.randn(2, 320 * 5), torch.sin(torch.pi * (torch.arange(320) + 0.5) / 320)
    again = overlap_add(split_windows(waveform) * window, window)
    assert again.shape == waveform.shape
    torch.testing.assert_close(again[:, 80:-80], waveform[:, 80:-80])


def test_v4_without_minimum_phase_is_as_loud() -> None:
    units, f0 = inputs(40)
    with torch.inference_mode():
        waves = [tiny("v4", minimum_phase=flag)(units, f0).double() for flag in (True, False)]
    assert not torch.allclose(*waves) and waves[0].std() / waves[1].std() == pytest.approx(1, rel=0.05)


def test_rows_from_an_offset_are_those_of_the_whole_and_all_as_likely() -> None:
    keys = torch.tensor([3, 2**31 - 1])
    whole = hashed_rows(keys, 20_000, 16, start=-10)
    assert torch.equal(hashed_rows(keys, 50, 16, start=100), whole[:, 110:160])
    assert whole.min() == 0 and torch.equal(hashed_rows(keys[1:], 20_000, 16, start=-10), whole[1:])
    assert (torch.bincount(whole[0], minlength=16) - 1250).abs().max() < 5 * 1250**0.5
    assert (whole[0] == whole[1]).float().mean() < 0.1


# Noise
def test_noise_from_an_offset_is_the_noise_of_the_whole() -> None:
    keys = torch.tensor([0, 1, 2**31 - 1])
    whole = hashed_noise(keys, 5000, start=-1000)
    for start, n_samples in ((-1000, 1), (-1, 2), (0, 320), (777, 3223)):
        assert torch.equal(
            hashed_noise(keys, n_samples, start=start), whole[:, 1000 + start : 1000 + start + n_samples]
        )
    for row in range(3):
        assert torch.equal(hashed_noise(keys[row : row + 1], 5000, start=-1000)[0], whole[row])


def test_noise_is_white_with_unit_variance() -> None:
    n_samples = 200_000
    noise = hashed_noise(torch.tensor([noise_key(0, "a"), noise_key(0, "b"), 0]), n_samples)
    assert noise.dtype == torch.float32 and noise.abs().max() <= 3**0.5 + 1e-6
    error = 5 / n_samples**0.5
    for row in noise.double():
        assert abs(row.mean()) < error and abs(row.var() - 1) < error
        for lag in (1, 2, 3, 160, 320, 65_536):
            assert abs((row[lag:] * row[:-lag]).mean()) < 2 * error, lag
        power = torch.fft.rfft(row[: 1 << 17].reshape(-1, 1 << 8)).abs().square().mean(0)[1:-1] / (1 << 8)
        assert (power - 1).abs().max() < 0.3
    correlations = torch.corrcoef(noise.double()) - torch.eye(3)
    assert correlations.abs().max() < 2 * error


def test_keys_are_the_same_everywhere_and_apart() -> None:
    # sha256 of "0/tale_001_0003" begins with fe14dfd3.
    assert noise_key(0, "tale_001_0003") == int.from_bytes(bytes.fromhex("fe14dfd3"), "little") >> 1
    keys = {noise_key(seed, str(item)) for seed in range(3) for item in range(2000)}
    assert len(keys) >= 5995 and all(0 <= key < 2**31 for key in keys)


# Excitation
def cycles_apart(first: torch.Tensor, second: torch.Tensor | float) -> float:
    return abs((first - second + 0.5) % 1 - 0.5).item()


@pytest.mark.parametrize("hertz", [60.0, 123.0, 251.0, 499.0])
def test_pulses_have_the_right_f0_unit_power_and_no_alias(hertz: float) -> None:
    pulses, _ = pulse_train(torch.full((1, 50), hertz), hop=320, sample_rate=16000)
    assert pulses.shape == (1, 16_000)
    assert pulses.square().mean().item() == pytest.approx(1.0, rel=0.02)
    power = np.abs(np.fft.rfft(pulses[0].double().numpy())) ** 2  # bins of 1 Hz: harmonics fall on bins
    harmonics = np.arange(hertz, 8000, hertz).astype(int)
    assert power[harmonics].sum() > 0.999 * power.sum()
    assert power[harmonics].min() > 0.9 * power[harmonics].max()


def test_pulses_are_silent_where_unvoiced() -> None:
    f0 = torch.tensor([[0.0, 120, 120, 0, 0, 200, 0]])
    pulses, _ = pulse_train(f0, hop=320, sample_rate=16000)
    loud = pulses.reshape(7, 320).abs().sum(1) > 0
    assert loud.tolist() == (f0[0] > 0).tolist()


def test_pulses_frame_by_frame_are_those_sample_by_sample() -> None:
    """But for the harmonic next to 8 kHz, which comes and goes by frames."""
    f0 = 140 + 40 * torch.sin(torch.arange(150) / 9)[None]
    f0[:, 40:55], f0[:, 100:101], f0[:, :3] = 0, 0, 0
    phase = torch.tensor([0.3], dtype=torch.float64)
    expected, _ = pulse_train(f0, hop=320, sample_rate=16000, phase=phase)
    pulses = framewise_pulse_train(f0, hop=320, sample_rate=16000, phase=phase)
    assert torch.equal(pulses.reshape(150, 320).abs().sum(1) > 0, f0[0] > 0)
    difference = torch.fft.rfft((pulses - expected).double()).abs().square()
    assert difference.sum() < 0.02 * torch.fft.rfft(expected.double()).abs().square().sum()
    assert difference[:, : int(0.9 * difference.shape[1])].sum() < 0.05 * difference.sum()


def test_pulses_glide_between_voiced_frames_without_reaching_for_zero() -> None:
    """Beside an unvoiced frame F0 stays at the voiced one's value: it does not glide towards 0 Hz."""
    pulses, phase = pulse_train(torch.tensor([[0.0, 150, 150, 0]]), hop=320, sample_rate=16000)
    assert cycles_apart(phase, 150 * 640 / 16000) < 1e-5
    _, phase = pulse_train(torch.tensor([[100.0, 200.0]]), hop=320, sample_rate=16000)
    assert cycles_apart(phase, 150 * 640 / 16000) < 1e-3
    assert torch.isfinite(pulses).all()


@pytest.mark.parametrize("cut", [7, 20, 31])
def test_phase_carried_over_equals_the_whole(cut: int) -> None:
    f0 = torch.cat([torch.full((20,), 123.4), torch.zeros(4), torch.linspace(180, 220, 16)])[None].clone()
    f0[:, 30:33] = f0[:, 31:32]  # steady around the third cut
    whole, end = pulse_train(f0, hop=320, sample_rate=16000)
    first, phase = pulse_train(f0[:, :cut], hop=320, sample_rate=16000)
    second, phase = pulse_train(f0[:, cut:], hop=320, sample_rate=16000, phase=phase)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, atol=1e-3, rtol=1e-3)
    assert cycles_apart(phase, end) < 1e-6


def test_phase_does_not_drift_in_minutes() -> None:
    _, phase = pulse_train(torch.full((1, 50 * 180), 123.25), hop=320, sample_rate=16000)
    assert phase.dtype == torch.float64
    assert cycles_apart(phase, 123.25 * 180) < 1e-6
