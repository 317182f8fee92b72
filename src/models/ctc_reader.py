"""What hears letters in a speech LLM, without its LLM: the connector's lower part and the CTC head.

Axes: B batch, F frames, D features a frame, P positions, W width, V characters of the head with the blank.
"""

import torch
from torch import nn

from core.records import SpeechLLMConfig
from models.connector import Connector
from models.ctc import CtcHead

PARTS = ("connector.", "ctc.")  # of a speech LLM's trained weights, by the beginnings of their names


class CtcReader(nn.Module):
    """config: of a speech LLM that reads features and has a CTC head; out_dim: the width of its LLM's embeddings."""

    def __init__(self, config: SpeechLLMConfig, out_dim: int):
        super().__init__()
        self.characters = config["characters"]
        self.connector = Connector(config["in_dim"], out_dim, **config["connector"])
        self.ctc = CtcHead(self.connector.width, len(self.characters))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, F, D) features, (B,) frames -> (B, P, V) log-probabilities."""
        return self.ctc(self.connector.encode(features, lengths)[0])
