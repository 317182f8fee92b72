"""What can V4's signal model say at best, and what would a finer one bring?

    python scripts/bench/bench_signal_model.py --language spanish --out signal_model.json

The filters of V4 are fitted to recordings by gradient, with the recordings' own F0, no units and no network. What is
heard then is the ceiling of every voice that speaks through them. ``--variants`` are finer models, one change each:

    f0_200        F0 at 200 Hz instead of 50
    hop_80        filters every 5 ms instead of 10
    f0_200_hop_80 both
    pulsed_noise  a second noise, as loud as the pulses' phase says: breath that follows the glottis
    window_640    windows of 40 ms instead of 20
    all_bins      a band for every bin

Reads segments of a split; judges by DistillMOS (pip install distillmos).
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import numpy as np
import torch

import parselmouth
from tqdm import tqdm

from audio.audio_io import load_audio
from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from core.files import write_json
from core.frames import F0_CEILING, F0_FLOOR, HOP_SAMPLES, SAMPLE_RATE
from evaluation.bootstrap import bootstrap_mean, paired_difference
from evaluation.mos import load_mos_judge, predict_mos
from languages import add_language_flags, data_root, language_paths
from models.generator_v4 import band_interpolation, minimum_phase_matrix
from models.pulse_train import pulse_train
from segmentation.manifest import read_manifest
from vocoder.losses import mel_loss

START = {"pulses": -4.0, "noise": -5.0}  # log gains before the fit
LR = 0.1  # of Adam, on log gains


class SignalModel(NamedTuple):
    """How finely a voice is described; the defaults are V4's."""

    f0_rate: int = 50  # Hz
    hop: int = 160  # samples
    window: int = 320  # samples
    bands: int = 64
    noise_bands: int = 32
    pulsed_noise: bool = False


VARIANTS = {
    "v4": SignalModel(),
    "f0_200": SignalModel(f0_rate=200),
    "hop_80": SignalModel(hop=80),
    "f0_200_hop_80": SignalModel(f0_rate=200, hop=80),
    "pulsed_noise": SignalModel(pulsed_noise=True),
    "window_640": SignalModel(window=640),
    "all_bins": SignalModel(bands=161, noise_bands=161),
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("fit")
    group.add_argument("--variants", nargs="+", choices=sorted(VARIANTS), default=list(VARIANTS), help="to compare")
    group.add_argument("--split", choices=("train", "val", "test"), default="val", help="segments to fit")
    group.add_argument("--max_utterances", type=int, default=8, help="the shortest that have three seconds or more")
    group.add_argument("--steps", type=int, default=150, help="of Adam, an utterance")
    group.add_argument("--out", type=Path, default=Path("signal_model.json"), help="where the scores go")
    args = parse_flags(parser, argv)
    require_positive(args, "max_utterances", "steps")
    return args


def track_f0(waveform: np.ndarray, rate: int) -> torch.Tensor:
    """(S,) -> (1, S rate / 16000) Hz by Praat's autocorrelation, 0 = unvoiced; value i is at (i + .5) / rate s."""
    n_frames = len(waveform) * rate // SAMPLE_RATE
    sound = parselmouth.Sound(waveform.astype(np.float64), SAMPLE_RATE)
    pitch = sound.to_pitch_ac(1 / rate, F0_FLOOR, pitch_ceiling=F0_CEILING)
    values = [pitch.get_value_at_time((frame + 0.5) / rate) for frame in range(n_frames)]
    return torch.from_numpy(np.nan_to_num(np.asarray(values, np.float32)))[None]


def excite(f0: torch.Tensor, rate: int, *, pulsed_noise: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Pulses (1, S) and noises (1, S) each: an even one and, where asked for, one that follows the pulses' phase."""
    hop = SAMPLE_RATE // rate
    pulses, _ = pulse_train(f0, hop=hop, sample_rate=SAMPLE_RATE)
    noise = torch.randn(pulses.shape, generator=torch.Generator().manual_seed(0))
    if not pulsed_noise:
        return pulses, [noise]
    hertz = f0.repeat_interleave(hop, dim=1)
    phase = 2 * math.pi * torch.cumsum(hertz.double() / SAMPLE_RATE, dim=1)
    loudness = torch.where(hertz > 0, (1 + torch.cos(phase)).float().square() / math.sqrt(35 / 8), 1.0)
    return pulses, [noise, noise.roll(777, dims=1) * loudness]


def to_spectra(waveform: torch.Tensor, window: torch.Tensor, hop: int) -> torch.Tensor:
    """(1, S) -> (1, S / hop, K) complex, windows centred on their hops."""
    margin = (len(window) - hop) // 2
    return torch.fft.rfft(torch.nn.functional.pad(waveform, (margin, margin)).unfold(1, len(window), hop) * window)


def to_waveform(spectra: torch.Tensor, window: torch.Tensor, hop: int) -> torch.Tensor:
    """The inverse of ``to_spectra``: (1, T, K) -> (1, T hop)."""
    windows = torch.fft.irfft(spectra, n=len(window)) * window
    size = (1, (windows.shape[1] - 1) * hop + len(window))

    def overlap(parts: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.fold(parts.transpose(1, 2), size, (1, len(window)), stride=(1, hop))[:, 0, 0]

    whole = overlap(windows) / overlap(window.square().expand_as(windows)).clamp_min(1e-3)
    margin = (len(window) - hop) // 2
    return whole[:, margin : margin + windows.shape[1] * hop]


def fit(waveform: np.ndarray, model: SignalModel, steps: int) -> tuple[np.ndarray, float]:
    """The nearest that ``model`` can say to (S,) of whole frames, and its log-mel loss in nat."""
    original = torch.from_numpy(waveform)[None]
    f0 = track_f0(waveform, model.f0_rate)
    pulses, noises = excite(f0, model.f0_rate, pulsed_noise=model.pulsed_noise)
    window = torch.sin(math.pi * (torch.arange(model.window) + 0.5) / model.window)
    pulses, *noises = (to_spectra(source, window, model.hop) for source in (pulses, *noises))
    n_bins = model.window // 2 + 1
    interpolation = band_interpolation(model.bands, n_bins)
    phase_of_gain = (interpolation @ minimum_phase_matrix(n_bins)).float()
    interpolation, noise_interpolation = interpolation.float(), band_interpolation(model.noise_bands, n_bins).float()
    log_gain = torch.full((*pulses.shape[:2], model.bands), START["pulses"], requires_grad=True)
    noise_log_gains = [
        torch.full((*noise.shape[:2], model.noise_bands), START["noise"], requires_grad=True) for noise in noises
    ]
    optimizer = torch.optim.Adam([log_gain, *noise_log_gains], lr=LR)
    for _ in range(steps):
        spectra = pulses * torch.complex(log_gain @ interpolation, log_gain @ phase_of_gain).exp()
        for noise, noise_log_gain in zip(noises, noise_log_gains, strict=True):
            spectra = spectra + noise * (noise_log_gain @ noise_interpolation).exp()
        spoken = to_waveform(spectra, window, model.hop)
        loss = mel_loss(spoken, original)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return spoken.detach()[0].numpy(), loss.item()


def read_waveforms(args: argparse.Namespace) -> list[np.ndarray]:
    """Whole frames of the shortest segments of the split that last three seconds, float32."""
    manifest = language_paths(args.language)["manifest"]
    rows = [row for row in read_manifest(manifest) if row["split"] == args.split and row["duration"] >= 3]
    if not rows:
        raise UserError(f"{manifest}: expected segments of split {args.split} of three seconds, found none")
    chosen = sorted(rows, key=lambda row: row["duration"])[: args.max_utterances]
    waveforms = [load_audio(data_root() / row["audio"]) for row in chosen]
    return [waveform[: len(waveform) // HOP_SAMPLES * HOP_SAMPLES] for waveform in waveforms]


def main() -> int:
    args = parse_args()
    waveforms, judge = read_waveforms(args), load_mos_judge()
    recordings = predict_mos(judge, waveforms)
    report = {"n_utterances": len(waveforms), "recordings": {"mos": bootstrap_mean(recordings)._asdict()}}
    print(f"recordings: DistillMOS {np.mean(recordings):.2f}")
    first = None
    for name in args.variants:
        fitted = [
            fit(waveform, VARIANTS[name], args.steps) for waveform in tqdm(waveforms, desc=name, unit="utterance")
        ]
        scores = predict_mos(judge, [spoken for spoken, _ in fitted])
        first = first or scores
        mos, gain = bootstrap_mean(scores), paired_difference(scores, first)
        loss = float(np.mean([loss for _, loss in fitted]))
        report[name] = {"mos": mos._asdict(), "minus_first": gain._asdict(), "mel_nat": loss}
        print(
            f"{name}: DistillMOS {mos.mean:.2f}, {gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]; {loss:.3f} nat"
        )
    write_json(args.out, report)
    return 0


if __name__ == "__main__":
    run_main(main)
