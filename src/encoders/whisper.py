"""Whisper's encoder: log-mel of 30 s in, with absolute positions; what lies beyond the signal is cut off."""

import numpy as np
import torch
from torch import nn

from core.errors import UserError
from core.frames import HOP_SAMPLES, SAMPLE_RATE, UNIT_RATE, frames_to_samples, samples_to_frames
from encoders.pretrained import load_weights, read_feature_extractor

# A Whisper frame looks at samples around 320 f, half a frame early; 160 samples more on the left centre frame f + 1.
LEAD = HOP_SAMPLES // 2
PADDINGS = ("full", "short")
# Short padding: at least a second of silence, and inputs of few distinct lengths, so that batches fill.
SHORT_TAIL, SHORT_STEP = UNIT_RATE, UNIT_RATE  # frames


class WhisperEncoder(nn.Module):
    """The first ``layer`` layers of Whisper's encoder. The decoder, half of the file and more, is not read.

    name: hub id or folder. config: of transformers. layer: 0 is what enters the first layer, n what the n-th returns;
    behind the last one stands the final norm. padding: "full" fills 30 s with silence, as Whisper was trained; "short"
    adds a second or two.
    """

    options = ("padding",)
    margins = (LEAD, 0)
    has_positions = True
    is_cheap = False

    def __init__(self, name: str, config, layer: int, *, padding: str = "full") -> None:
        super().__init__()
        if padding not in PADDINGS:
            raise UserError(f"expected padding {' or '.join(PADDINGS)}, found '{padding}'")
        self.padding, self.n_positions = padding, config.max_source_positions
        self.dim = config.hidden_size
        self.longest_window = self.n_positions - 1
        # What a frame is depends on the padding, which must not depend on the neighbours in the batch.
        self.equal_only = padding == "short"
        self.extractor = _read_log_mel(name, self.n_positions, config.num_mel_bins)
        self.network = load_layers(name, config, layer)

    def padded_frames(self, n_frames: int) -> int:
        """Frames that an input of ``n_frames`` has with its padding."""
        if self.padding == "full":
            return self.n_positions
        return min(-(-(n_frames + SHORT_TAIL) // SHORT_STEP) * SHORT_STEP, self.n_positions)

    def normalize(self, waveform: np.ndarray) -> np.ndarray:
        return waveform

    def prepare(self, pieces: list[np.ndarray]) -> dict[str, torch.Tensor]:
        """(B, mel bins, 2 * frames) log-mel; the audio, not the mel, is padded with zeros."""
        longest = max(len(piece) for piece in pieces)
        assert longest <= self.extractor.n_samples, "a window is longer than Whisper's input"
        n_samples = frames_to_samples(self.padded_frames(samples_to_frames(longest)))
        found = self.extractor(
            pieces, sampling_rate=SAMPLE_RATE, padding="max_length", max_length=n_samples, return_tensors="pt"
        )
        return {"input_features": found.input_features}

    def forward(self, input_features: torch.Tensor) -> torch.Tensor:
        """(B, mel bins, 2 * (F + 1)) -> (B, F, D): the hidden state after ``layer``, from its second frame on."""
        if self.padding == "full":
            return self.network(input_features=input_features).last_hidden_state[:, 1:]
        return self._encode_short(input_features)[:, 1:]

    def _encode_short(self, input_features: torch.Tensor) -> torch.Tensor:
        """As transformers computes it, on an input shorter than 30 s, which its own ``forward`` refuses."""
        states = nn.functional.gelu(self.network.conv1(input_features))
        states = nn.functional.gelu(self.network.conv2(states)).permute(0, 2, 1)
        states = states + self.network.embed_positions.weight[: states.shape[1]]
        for layer in self.network.layers:
            states = layer(states, None)
        return self.network.layer_norm(states)


def _read_log_mel(name: str, n_positions: int, n_mels: int):
    """The model's own feature extractor (transformers' WhisperFeatureExtractor)."""
    from transformers import WhisperFeatureExtractor

    seconds = n_positions * HOP_SAMPLES // SAMPLE_RATE
    extractor = read_feature_extractor(name, WhisperFeatureExtractor, feature_size=n_mels, chunk_length=seconds)
    extractor.dither = 0.0  # noise drawn at each call: units would change from run to run
    if extractor.nb_max_frames != 2 * n_positions:
        raise UserError(
            f"{name}: expected a preprocessor for {2 * n_positions} mel frames, found {extractor.nb_max_frames}; "
            "repair preprocessor_config.json"
        )
    return extractor


def load_layers(name: str, config, layer: int) -> nn.Module:
    """The encoder with its first ``layer`` layers: only they are built and read."""
    from transformers.models.whisper import modeling_whisper

    n_layers = config.num_hidden_layers
    config.encoder_layers = layer
    read = modeling_whisper.WhisperEncoder.from_pretrained
    network = load_weights(read, name, config, key_mapping={r"^(model\.)?encoder\.": ""})
    # The norm after the last layer belongs to the last hidden state alone.
    if layer < n_layers:
        network.layer_norm = nn.Identity()
    return network
