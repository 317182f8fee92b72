"""Models as they leave this repository: TorchScript with fixed inputs, which runs where torch is and nothing else.

Axes: B batch, U deduplicated units, F frames (50 Hz), N unit streams, K duration classes, S = 320 F samples.
"""

import io
import warnings
from pathlib import Path

import torch
from torch import nn

from models.generator_v3 import GeneratorV3
from models.generator_v4 import GeneratorV4
from models.prosody_predictor import ProsodyPredictor


class ExportedVoice(nn.Module):
    """A V3 or V4 generator with every input given, and the noise it expects."""

    def __init__(self, generator: GeneratorV3 | GeneratorV4, speaker_vectors: torch.Tensor | None = None):
        """speaker_vectors: (n_speakers + 1, D) float32 of a voice that knows speakers by vectors; rows choose them."""
        super().__init__()
        self.generator = generator
        self.register_buffer("speaker_vectors", speaker_vectors)

    def forward(
        self,
        units: torch.Tensor,
        f0: torch.Tensor,
        noise: torch.Tensor,
        phase: torch.Tensor,
        speaker: torch.Tensor,
    ) -> torch.Tensor:
        """units (B, F, N) int64, -1 = padding; f0 (B, F) float32 Hz, 0 = unvoiced; noise of ``noise``; phase (B,)
        float64 cycles, 0 at the start; speaker (B,) int64, 0 = unknown. Returns (B, S) float32.
        """
        known = speaker if self.speaker_vectors is None else self.speaker_vectors[speaker]
        return self.generator(units, f0, known, noise=noise, phase=phase)

    def noise(self, keys: torch.Tensor, start: torch.Tensor, f0: torch.Tensor) -> torch.Tensor:
        """keys (B,) int64, one an utterance; start () int64, the absolute sample that f0 (B, F) begins with.

        Returns, for V3, (B, S + 1280) float32, from two frames before the first sample to two after the last; for V4,
        (B, 2 F) int64 from 0 to 255.
        """
        return self.generator.excite(keys, f0.shape[1], first_sample=start)


class ExportedProsody(nn.Module):
    """A prosody predictor that answers in frames and Hz."""

    def __init__(self, predictor: ProsodyPredictor, statistics: torch.Tensor, f0_range: tuple[float, float]):
        """statistics: (n_speakers + 1, 2) float64, mean and deviation of log F0 of unknown and known speakers."""
        super().__init__()
        self.predictor = predictor
        self.floor, self.ceiling = f0_range
        self.register_buffer("statistics", statistics)

    def forward(
        self, units: torch.Tensor, durations: torch.Tensor, speaker: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What ``ProsodyPredictor.forward`` returns: duration logits (B, U, K), voicing logits and log F0 (B, F)."""
        return self.predictor(units, durations, speaker)

    @torch.jit.export
    def duration_classes(self, units: torch.Tensor, speaker: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, U) int64, (B,) int64 -> probabilities of duration classes (B, U, K), and the frames each lasts (K,)."""
        habits = self.predictor.look_up(units)
        logits = self.predictor.duration_logits(self.predictor.encode(units, speaker, habits), habits)
        return logits.softmax(-1), self.predictor.class_frames

    @torch.jit.export
    def pitch(self, units: torch.Tensor, durations: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        """(B, U) units lasting (B, U) frames, (B,) -> F0 (B, F) float32 Hz, 0 = unvoiced, as a voice takes it."""
        habits = self.predictor.look_up(units)
        hidden = self.predictor.encode(units, speaker, habits)
        voicing, log_f0 = self.predictor.decode_frames(hidden, durations, habits)
        mean, deviation = self.statistics[speaker].unbind(-1)
        f0 = torch.exp(mean[:, None] + deviation[:, None] * log_f0.double()).clamp(self.floor, self.ceiling)
        return torch.where(voicing > 0, f0.float(), torch.zeros_like(voicing))


def example_inputs(voice: ExportedVoice) -> tuple[torch.Tensor, ...]:
    """Inputs of ``forward`` for two utterances of three frames: units, f0, noise, phase, speaker."""
    units = torch.zeros(2, 3, voice.generator.n_streams, dtype=torch.int64)
    f0, keys = torch.full((2, 3), 100.0), torch.zeros(2, dtype=torch.int64)
    return units, f0, voice.noise(keys, torch.tensor(0), f0), torch.zeros(2, dtype=torch.float64), keys


@torch.no_grad()
def export_generator(
    generator: GeneratorV3 | GeneratorV4, path: Path, speaker_vectors: torch.Tensor | None = None
) -> None:
    """Trace a V3 or V4 generator on the CPU; batch size and length stay free. speaker_vectors: of ``ExportedVoice``."""
    voice, start = ExportedVoice(generator.eval(), speaker_vectors), torch.tensor(0)
    inputs = example_inputs(voice)
    _, f0, _, _, keys = inputs
    with warnings.catch_warnings():
        # TorchScript is deprecated for compiling; for a file that any torch reads without our code it has no successor.
        warnings.simplefilter("ignore", FutureWarning)
        traced = torch.jit.trace_module(voice, {"forward": inputs, "noise": (keys, start, f0)})
        _write(traced, path)


def export_prosody(
    predictor: ProsodyPredictor, statistics: torch.Tensor, f0_range: tuple[float, float], path: Path
) -> None:
    """Compile a prosody predictor on the CPU; batch size and lengths stay free."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        _write(torch.jit.script(ExportedProsody(predictor.eval(), statistics, f0_range)), path)


def _write(module: torch.jit.ScriptModule, path: Path) -> None:
    """Through memory: a file's own name would be in the archive, and two exports would differ."""
    archive = io.BytesIO()
    torch.jit.save(module, archive)
    path.write_bytes(archive.getvalue())
