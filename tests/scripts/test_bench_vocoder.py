"""What a vocoder costs, counted by hand; the benchmark at a tiny size."""

import json
import math
from pathlib import Path

import torch
from torch import nn

import pytest

import bench_vocoder

from comparison_tables import quality_tables, speed_table
from core.errors import UserError
from core.files import write_json
from evaluation.scores import summarise
from generator_cost import count_macs, fuse_weight_norm, macs_a_second, peak_memory_mib, random_input
from synthetic import run_script, sharing
from vocoder.generators import build_generator
from vocoder.synthesis import speak

TINY = ["--channels", 32, "--repetitions", 2, "--seconds", 0.5, "--train_steps", 2, "--train_repetitions", 1]
TINY_TRAINING = ["--batch_size", 2, "--crop_frames", 8, "--discriminator_frames", 4, "--discriminator_width", 8]


class Spectrum(nn.Module):
    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfft(torch.fft.rfft(frames), n=frames.shape[-1])


def test_multiplications_of_layers_counted_by_hand() -> None:
    assert count_macs(nn.Conv1d(4, 8, 3, padding=1), torch.zeros(2, 4, 50)) == 2 * 50 * 8 * 4 * 3
    assert count_macs(nn.Conv1d(8, 8, 7, padding=3, groups=8), torch.zeros(1, 8, 50)) == 50 * 8 * 7
    # Every input sample meets every tap of a transposed convolution once.
    assert count_macs(nn.ConvTranspose1d(6, 3, 8, 4, 2), torch.zeros(1, 6, 10)) == 10 * 6 * 3 * 8
    assert count_macs(nn.Linear(5, 7), torch.zeros(3, 11, 5)) == 3 * 11 * 5 * 7
    there_and_back = 2 * 3 * 2.5 * 640 * math.log2(640) / 2
    assert count_macs(Spectrum(), torch.zeros(3, 640)) == pytest.approx(there_and_back, rel=1e-4)


def test_a_second_of_v3_counted_by_hand() -> None:
    channels, blocks, head, head_blocks, bins = 32, 2, 16, 1, 321
    sizes = {"channels": channels, "n_blocks": blocks, "head_channels": head, "n_head_blocks": head_blocks}
    generator = build_generator("v3", {"n_units": 5} | sizes)
    trunk = 2 * channels + blocks * (7 * channels + 6 * channels**2) + channels * 2 * head
    upper = head_blocks * (7 * head + 6 * head**2) + head * 2 * bins
    ffts = 100 * 3 * 1.25 * 640 * math.log2(640)  # of pulses, of noise, and back
    assert macs_a_second(generator, 5, 1) == pytest.approx(50 * trunk + 100 * upper + ffts, rel=1e-3)


def test_fused_weights_say_the_same() -> None:
    torch.manual_seed(0)
    generator = build_generator("v2", {"n_units": 5, "channels": 32}).eval()
    inputs = random_input(5, 1, 0.2)
    with torch.inference_mode():
        before = speak(generator, *inputs)
    fuse_weight_norm(generator)
    assert not any("parametrizations" in name for name, _ in generator.named_parameters())
    with torch.inference_mode():
        torch.testing.assert_close(speak(generator, *inputs), before, atol=1e-6, rtol=1e-4)


def test_peak_memory_is_a_high_water_mark() -> None:
    before = peak_memory_mib()
    torch.ones(64 * 2**20 // 4 + int(before * 2**20) // 4)  # freed at once, larger than anything before
    assert peak_memory_mib() > before + 32


def test_the_small_v2_is_the_narrowest_that_costs_no_less_than_v3() -> None:
    channels = bench_vocoder.small_v2_channels(50, 1, {})
    costs = [
        macs_a_second(build_generator("v2", {"n_units": 50, "channels": n}), 50, 1) for n in (channels - 32, channels)
    ]
    assert costs[0] < macs_a_second(build_generator("v3", {"n_units": 50}), 50, 1) <= costs[1]


def test_ratios_are_of_one_repetition() -> None:
    """A machine that is twice as slow in the second repetition changes no ratio."""
    runs = {
        name: {"without": [v, v], "with": [v / 2, v / 2], "without_mib": 9, "with_mib": 9}
        for name, v in (("v2", 1), ("v3", 40))
    }
    ways = {"1 fp32": {"v2": [4.0, 2.0], "v3": [100.0, 50.0]}, "1 bf16": {"v2": [4.0, 2.0], "v3": [200.0, 100.0]}}
    one = {"parameters": 1e6, "gmac_a_second": 0.25, "synthesis_mib": 300, "channels": None}
    table = speed_table(training=runs, synthesis=ways, v2=one, v3=one)
    assert "synthesis 1 fp32: v3 is 25.0 × v2 (25.0 to 25.0 over 2 repetitions)" in table
    assert "bf16 is 2.00 × fp32" in table and "training with discriminators: v3 is 40.0 × v2" in table
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and len({row.count("|") for row in rows}) == 1


def test_a_table_without_training_compares_v4_with_v3() -> None:
    ways = {"1 fp32": {"v3": [100.0, 50.0], "v4": [500.0, 300.0]}}
    one = {"parameters": 1e6, "gmac_a_second": 0.04, "synthesis_mib": 300, "channels": None}
    table = speed_table(training={}, synthesis=ways, v3=one, v4=one)
    assert "synthesis 1 fp32: v4 is 5.5 × v3 (5.0 to 6.0 over 2 repetitions)" in table and "training" not in table
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and len({row.count("|") for row in rows}) == 1


def test_a_table_of_a_gpu_says_so() -> None:
    runs = {name: {"without": [1.0], "with": [1.0], "without_mib": 9, "with_mib": 9} for name in ("v2", "v3")}
    ways = {f"cuda {precision}": {"v2": [4.0], "v3": [n * 4.0]} for precision, n in (("fp32", 2), ("bf16", 3))}
    one = {"parameters": 1e6, "gmac_a_second": 0.25, "synthesis_mib": 300, "channels": None}
    table = speed_table(training=runs, synthesis=ways, v2=one, v3=one)
    assert "synthesis, GPU, bf16 (× real time)" in table and "- v3, GPU, bf16 is 1.50 × fp32" in table
    assert "core" not in table


def test_only_a_cpu_is_given_small_batches_and_told_to_stay(tiny_units: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(bench_vocoder, "run_script", lambda script, flags: calls.append([script, *map(str, flags)]))
    monkeypatch.setattr(bench_vocoder, "quality_tables", lambda exps: "")
    for device in ("cpu", "cuda"):
        args = bench_vocoder.parse_args(["--systems", "v3", "v2", "--out", str(tiny_units["exp"] / device)])
        args.device = device
        bench_vocoder.measure_quality(args)
    (v3, v2, _), (gpu_v3, gpu_v2, _) = calls[:3], calls[3:]
    assert "--cpu" in v3 and "--cpu" in v2 and "--batch_size" in v2 and "--batch_size" not in v3
    assert not {"--cpu", "--batch_size"} & {*gpu_v3, *gpu_v2}


def test_a_gpu_is_not_answered_with_what_a_cpu_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_vocoder, "choose_device", lambda name: name)
    cpu, cuda = (bench_vocoder.parse_args(["--device", device]).out for device in ("cpu", "cuda"))
    assert cpu != cuda and bench_vocoder.parse_args(["--device", "cuda", "--out", "here"]).out == Path("here")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there_is_one_line() -> None:
    with pytest.raises(UserError, match="found 0 GPUs"):
        bench_vocoder.parse_args(["--device", "cuda"])


def test_quality_tables_give_intervals_and_paired_differences(tmp_path: Path) -> None:
    exps = []
    for name, shift in (("v3", 0.0), ("v2", 0.5)):
        rows = [{"id": str(n), "mcd_db": 5 + n + shift, "snr_db": float((n * 7) % 5)} for n in range(8)]
        scores = {"metrics": summarise(rows), "utterances": rows, "n_utterances": 8, "seconds": 16.0}
        write_json(tmp_path / name / "scores.json", scores)
        write_json(tmp_path / name / "finished.json", {"seconds": 480.0, "step": 77})
        exps.append(tmp_path / name)
    table = quality_tables(exps)
    assert "| v3 | 8.0 | 77 | 8.50 [" in table and "| v2 | **+0.50** [+0.50, +0.50] | +0.00 [+0.00, +0.00] |" in table


@pytest.mark.parametrize("alone", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_speed_stage_measures_once(tiny_units: dict, alone: bool) -> None:
    """Trainings in processes of their own, slower to start, have a memory of their own."""
    env = {} if alone else sharing()
    out = tiny_units["exp"] / "bench"
    flags = ["--stage", "speed", "--versions", "v3", "--out", out, *TINY, "--", *TINY_TRAINING]
    run_script("scripts/bench/bench_vocoder.py", *flags, env=env)
    found = json.loads((out / "speed.json").read_text())
    assert all(len(way["v3"]) == 2 and min(way["v3"]) > 0 for way in found["synthesis"].values())
    assert {kind: len(found["training"]["v3"][kind]) for kind in ("without", "with")} == {"without": 19, "with": 19}
    assert found["training"]["v3"]["with_mib"] > (100 if alone else 0) and found["v3"]["synthesis_mib"] > 100
    assert "measured already" in run_script("scripts/bench/bench_vocoder.py", *flags, env=env).stdout
    assert json.loads((out / "speed.json").read_text()) == found


def test_the_quality_stage_trains_scores_and_compares(tiny_units: dict) -> None:
    out = tiny_units["exp"] / "bench"
    flags = ["--stage", "quality", "--systems", "v3_regression", "v3_logmel", "--minutes", 0.02, "--out", out]
    words = [*flags, "--", *TINY_TRAINING, "--channels", 16, "--warmup", 3]
    run_script("scripts/bench/bench_vocoder.py", *words, env=sharing())
    table = (out / "spanish_0.02min" / "quality.md").read_text()
    assert table.count("| v3_regression |") == 1 and table.count("| v3_logmel |") == 2 and "mel_distance_nat" in table


def test_mistakes_are_one_line(language_roots: dict[str, Path]) -> None:
    for flags, expected in (([], "run_phase1.sh spanish"), (["--train_steps", 1], "at least 2")):
        with pytest.raises(UserError, match=expected):
            bench_vocoder.describe_units(bench_vocoder.parse_args(["--stage", "speed", *map(str, flags)]))
