"""From speech features to positions that a language model reads among its token embeddings.

Axes: B batch, F frames in, D features a frame, P positions out, W width inside, E the LLM's embedding size.
Every kind gives P = ceil(F / factor) positions, and what it gives does not depend on the padding of its neighbours.
Frame stacking with a projection: SLAM-ASR (Ma et al. 2024). Windowed queries: SALMONN (Tang et al. 2024). The speech
encoder's own top layers, trained on behind its frozen lower ones: "encoder".
"""

import math

import torch
from torch import nn
from torch.nn import functional

KINDS = ("transformer", "mlp", "conv", "qformer", "encoder")
ATTENTION_KINDS = ("transformer", "qformer", "encoder")
HEAD_SIZE = 64  # channels an attention head, unless the number of heads is given
CONV_FRAMES = 5  # that a convolution sees
WINDOW_QUERIES = 4  # positions that one window of the qformer gives


def count_heads(width: int, n_heads: int | None = None) -> int:
    """Attention heads: as many as are asked for, else one for HEAD_SIZE channels."""
    return n_heads or max(1, width // HEAD_SIZE)


def length_mask(lengths: torch.Tensor, longest: int) -> torch.Tensor:
    """(B,) lengths -> (B, longest) bool, True where there is something."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


def count_positions(lengths: torch.Tensor, factor: int) -> torch.Tensor:
    """(B,) frames -> (B,) positions; an incomplete last one counts."""
    return torch.div(lengths + factor - 1, factor, rounding_mode="floor")


def stack_frames(features: torch.Tensor, lengths: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, F, D) -> (B, P, factor * D), with (B,) lengths in positions; frames past a length count as zeros."""
    n_positions = -(-features.shape[1] // factor)
    kept = features.masked_fill(~length_mask(lengths, features.shape[1])[..., None], 0.0)
    padded = functional.pad(kept, (0, 0, 0, n_positions * factor - features.shape[1]))
    return padded.reshape(len(features), n_positions, -1), count_positions(lengths, factor)


def average_frames(features: torch.Tensor, lengths: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, F, D) -> (B, P, D), the means of ``count`` frames each, with (B,) lengths; frames past a length are none."""
    inside = length_mask(lengths, features.shape[1]).to(features.dtype)[..., None]
    sums, positions = stack_frames(features, lengths, count)
    members, _ = stack_frames(inside, lengths, count)
    sums = sums.unflatten(-1, (count, -1)).sum(-2)
    return sums / members.sum(-1, keepdim=True).clamp_min(1.0), positions


def sinusoids(n_positions: int, width: int, device: torch.device) -> torch.Tensor:
    """(P, W) sines and cosines of geometric periods (Vaswani et al. 2017), as many positions as are asked for."""
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10000.0) / width))
    angles = torch.arange(n_positions, device=device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


class Connector(nn.Module):
    """``encode`` to (B, P, W), where a CTC head may listen, then ``project`` to the LLM's embeddings.

    in_dim: D; out_dim: E; factor: frames a position; norm: "pre" or "post" (transformer, encoder); n_heads,
    feedforward: of the attention layers (None: by the width); target_rms: root mean square of the LLM's token
    embeddings, which every position gets at the start. Of the kind "encoder" D is the width; merge: frames that are
    averaged before its layers, a divisor of the factor.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        kind: str = "transformer",
        factor: int = 6,
        width: int = 512,
        n_layers: int = 2,
        n_heads: int | None = None,
        feedforward: int | None = None,
        norm: str = "pre",
        final_norm: bool = True,
        positions: bool = True,
        dropout: float = 0.1,
        merge: int = 1,
        target_rms: float = 1.0,
    ):
        super().__init__()
        assert kind in KINDS and norm in ("pre", "post"), f"unknown connector: {kind}, {norm}-norm"
        assert merge == 1 or (kind == "encoder" and factor % merge == 0), f"{merge} of {factor} frames merged"
        self.kind, self.factor, self.width, self.positions = kind, factor, width, positions
        self.merge = merge
        self.shift, self.gain = None, None  # an encoder's own layers take its features as they are
        if kind != "encoder":
            self.shift, self.gain = nn.Parameter(torch.zeros(in_dim)), nn.Parameter(torch.ones(in_dim))
        attention = {"n_heads": n_heads, "feedforward": feedforward, "norm": norm, "dropout": dropout}
        if kind == "transformer":
            self.body = _transformer(factor * in_dim, width, n_layers, **attention)
        elif kind == "mlp":
            self.body = _mlp(factor * in_dim, width, n_layers, dropout)
        elif kind == "conv":
            self.body = _conv(in_dim, width, factor, n_layers, dropout)
        elif kind == "encoder":
            assert in_dim == width, f"an encoder's layers of {width} channels read {in_dim}"
            self.body = _encoder_layers(width, factor // merge, n_layers, **attention)
        else:
            self.body = _qformer(in_dim, width, n_layers, **attention)
        self.final_norm = nn.LayerNorm(width) if final_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, out_dim)
        self.scale = nn.RMSNorm(out_dim, eps=1e-6)
        nn.init.constant_(self.scale.weight, target_rms)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, F, D) float with (B,) lengths in frames -> (B, P, E), (B,) lengths in positions."""
        hidden, lengths = self.encode(features, lengths)
        return self.project(hidden), lengths

    @torch.no_grad()
    def standardize(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        """Start from channels of mean 0 and deviation 1, by the (D,) statistics of ``hear``.

        Whisper's last layer has a few channels ten times as large as the rest, which would drown them.
        """
        gain = 1.0 / deviation.clamp_min(1e-4)
        if self.kind == "encoder":
            count = self.factor // self.merge
            self.body["stack"].weight.copy_(gain.diag().repeat(1, count) / count)
            self.body["stack"].bias.copy_(-mean * gain)
            return
        self.shift.copy_(mean)
        self.gain.copy_(gain)

    def hear(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, F, D), (B,) -> what is standardized, (B, F, D), (B,): features, or what an encoder's layers make of them.

        These give one frame for ``merge``.
        """
        if self.kind != "encoder":
            return features, lengths
        if self.merge > 1:
            features, lengths = average_frames(features, lengths, self.merge)
        hidden, ignored = self.dropout(features), ~length_mask(lengths, features.shape[1])
        for layer in self.body["layers"]:
            hidden = layer(hidden, src_key_padding_mask=ignored)
        return self.body["norm"](hidden), lengths

    def encoder_parts(self) -> tuple[str, ...]:
        """The names of what is copied from the encoder; none but for the kind "encoder"."""
        return ("body.layers", "body.norm") if self.kind == "encoder" else ()

    def take_layers(self, state: dict[str, torch.Tensor]) -> None:
        """Start from the weights of the encoder's own layers and norm, by their names in the body."""
        missing, unknown = self.body.load_state_dict(state, strict=False)
        assert not unknown and {name.partition(".")[0] for name in missing} == {"stack"}, (missing, unknown)

    def encode(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, F, D), (B,) -> (B, P, W), (B,)."""
        if self.kind != "encoder":
            features = (features - self.shift) * self.gain
        hidden, lengths = getattr(self, f"_encode_{self.kind}")(features, lengths)
        return self.final_norm(hidden), lengths

    def project(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, P, W) -> (B, P, E) of the LLM's scale."""
        return self.scale(self.output(self.dropout(hidden)).float())

    def _place(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.positions:
            return self.dropout(hidden)
        return self.dropout(hidden + sinusoids(hidden.shape[1], self.width, hidden.device))

    def _encode_transformer(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        stacked, lengths = stack_frames(features, lengths, self.factor)
        hidden = self._place(self.body["input"](stacked))
        ignored = ~length_mask(lengths, hidden.shape[1])  # True is what attention must not see
        for layer in self.body["layers"]:
            hidden = layer(hidden, src_key_padding_mask=ignored)
        return hidden, lengths

    def _encode_encoder(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        stacked, lengths = stack_frames(*self.hear(features, lengths), self.factor // self.merge)
        return self.body["stack"](stacked), lengths

    def _encode_mlp(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        stacked, lengths = stack_frames(features, lengths, self.factor)
        return self.body(stacked), lengths

    def _encode_conv(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kept = length_mask(lengths, features.shape[1])[:, None]
        hidden = features.transpose(1, 2) * kept
        for number, layer in enumerate(self.body["layers"]):
            added = self.dropout(functional.gelu(layer(hidden))) * kept
            hidden = hidden + added if number else added
        stacked, lengths = stack_frames(hidden.transpose(1, 2), lengths, self.factor)
        return self.body["stride"](stacked), lengths

    def _encode_qformer(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        batch, dim = len(features), features.shape[2]
        window = self.factor * WINDOW_QUERIES
        stacked, _ = stack_frames(features, lengths, window)
        n_windows = stacked.shape[1]
        frames = self.body["input"](stacked.reshape(batch * n_windows, window, dim))
        frames = self.dropout(frames + sinusoids(window, self.width, frames.device))
        starts = torch.arange(n_windows, device=lengths.device) * window
        inside = (lengths[:, None] - starts).clamp(0, window).flatten()
        # A window of padding alone would attend to nothing, which is NaN: it sees its first zero frame instead.
        ignored = ~length_mask(inside.clamp_min(1), window)
        queries = self.body["queries"].weight.expand(batch * n_windows, -1, -1)
        for layer in self.body["layers"]:
            queries = layer(queries, frames, memory_key_padding_mask=ignored)
        n_positions = -(-features.shape[1] // self.factor)
        positions = queries.reshape(batch, n_windows * WINDOW_QUERIES, -1)[:, :n_positions]
        return positions, count_positions(lengths, self.factor)


def _attention_layers(
    kind: type[nn.Module],
    n_layers: int,
    width: int,
    *,
    n_heads: int | None,
    feedforward: int | None,
    norm: str,
    dropout: float,
) -> nn.ModuleList:
    """``n_layers`` of PyTorch's transformer layers, of one ``kind`` (encoder or decoder)."""
    layers = [
        kind(
            d_model=width,
            nhead=count_heads(width, n_heads),
            dim_feedforward=feedforward or 4 * width,
            dropout=dropout,
            activation="gelu",
            batch_first=True,
            norm_first=norm == "pre",
        )
        for _ in range(n_layers)
    ]
    return nn.ModuleList(layers)


def _transformer(in_dim: int, width: int, n_layers: int, **attention) -> nn.Module:
    layers = _attention_layers(nn.TransformerEncoderLayer, n_layers, width, **attention)
    return nn.ModuleDict({"input": nn.Linear(in_dim, width), "layers": layers})


def _encoder_layers(width: int, factor: int, n_layers: int, *, norm: str, **attention) -> nn.Module:
    """Layers at the rate of the frames, the norm behind them, and what makes positions: the means of their frames."""
    layers = _attention_layers(nn.TransformerEncoderLayer, n_layers, width, norm=norm, **attention)
    for layer in layers:
        layer.self_attn.dropout = 0.0  # Whisper had none; with it the CPU keeps all weights, gigabytes for a minute
    stack = nn.Linear(factor * width, width)
    with torch.no_grad():
        stack.weight.copy_(torch.eye(width).repeat(1, factor) / factor)
        stack.bias.zero_()
    last = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
    return nn.ModuleDict({"layers": layers, "norm": last, "stack": stack})


def _mlp(in_dim: int, width: int, n_layers: int, dropout: float) -> nn.Module:
    hidden = [nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)) for _ in range(n_layers - 1)]
    return nn.Sequential(nn.Linear(in_dim, width), *hidden, nn.GELU())


def _conv(in_dim: int, width: int, factor: int, n_layers: int, dropout: float) -> nn.Module:
    layers = [nn.Conv1d(width if row else in_dim, width, CONV_FRAMES, padding="same") for row in range(n_layers)]
    stride = nn.Sequential(nn.Dropout(dropout), nn.Linear(factor * width, width), nn.GELU())
    return nn.ModuleDict({"layers": nn.ModuleList(layers), "stride": stride})


def _qformer(in_dim: int, width: int, n_layers: int, **attention) -> nn.Module:
    layers = _attention_layers(nn.TransformerDecoderLayer, n_layers, width, **attention)
    queries = nn.Embedding(WINDOW_QUERIES, width)
    nn.init.normal_(queries.weight, std=0.02)
    return nn.ModuleDict({"input": nn.Linear(in_dim, width), "queries": queries, "layers": layers})
