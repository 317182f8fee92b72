"""From deduplicated units to how long each lasts, where the voice is on, and how high it is.

What a translation model or phase 2 emits carries neither; a vocoder needs both. Kin: the duration predictor of
FastSpeech (Ren et al. 2019) and the F0 predictor over discrete units of Kreuk et al. (2022, "Textless speech emotion
conversion").

Axes: B batch, U deduplicated units, F frames (50 Hz), C channels, K duration classes, H = K + 3 habits of a unit.
"""

import torch
from torch import nn

from models.convnext import ConvNeXtBlock
from models.unit_embedding import speaker_table

# Class k covers durations from edge k to below edge k + 1, in frames: one class a frame where almost all units lie,
# wider ones for pauses; the last is open.
DURATION_EDGES = (*range(1, 17), 19, 22, 26, 31, 37, 44, 52, 62, 74, 88, 105, 125, 149, 177, 211, 251)
KERNEL = 7  # frames or units a block sees, before dilation
# What each unit does on average (``prosody.habits``), in this order, then a log probability for each duration class.
VOICING, LOG_F0, LOG_DURATION, DURATION_CLASSES = range(4)
N_HABITS = DURATION_CLASSES + len(DURATION_EDGES)


class ProsodyPredictor(nn.Module):
    """units (B, U) -> durations, and with durations per frame voicing and log F0.

    The duration is a distribution over classes, so that its expectation is unbiased and so is the length of what is
    spoken. Dilated blocks see 1.8 s (units) and 3.7 s (frames) at once: enough for the melody of a phrase.

    With ``habits``, what each unit does on average is both an input and what the blocks correct, from a correction of
    zero on: no unit has to be learned from the few places where it occurs.
    """

    def __init__(
        self,
        n_units: int,
        *,
        n_speakers: int = 0,
        habits: bool = False,
        channels: int = 160,
        unit_dilations: tuple[int, ...] = (1, 2, 4, 8),
        frame_dilations: tuple[int, ...] = (1, 2, 4, 8, 16),
        dropout: float = 0.2,
    ):
        super().__init__()
        self.n_units = n_units
        self.unit_embedding = nn.Embedding(n_units, channels)
        self.speaker_embedding = speaker_table(n_speakers, channels)
        self.norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)
        # Without habits the unit itself, which says most, must come through from the first step on.
        scale = 1.0 if habits else 0.2
        self.unit_blocks = nn.ModuleList(_block(channels, dilation, scale) for dilation in unit_dilations)
        self.duration_norm = nn.LayerNorm(channels)
        self.duration_head = nn.Linear(channels, len(DURATION_EDGES))
        self.position = nn.Linear(5 if habits else 3, channels)
        self.frame_blocks = nn.ModuleList(_block(channels, dilation, scale) for dilation in frame_dilations)
        self.frame_norm = nn.LayerNorm(channels)
        self.frame_head = nn.Linear(channels, 2)
        self.first_class = DURATION_CLASSES  # TorchScript sees no global
        self.habit_input = nn.Linear(DURATION_CLASSES, channels) if habits else None
        # Without habits zeros, which older checkpoints do not hold.
        self.register_buffer("unit_habits", torch.zeros(n_units, N_HABITS), persistent=habits)
        if habits:
            for head in (self.duration_head, self.frame_head):
                nn.init.zeros_(head.weight)
                nn.init.zeros_(head.bias)
        self.register_buffer("class_frames", class_midpoints())
        # Log frequencies in the training data: a class that never occurs must not weigh in with its hundreds of frames.
        self.register_buffer("class_prior", torch.zeros(len(DURATION_EDGES)))
        self.unit_context = (KERNEL // 2) * sum(unit_dilations)
        self.frame_context = (KERNEL // 2) * sum(frame_dilations)

    def set_durations(self, class_frames: torch.Tensor, class_prior: torch.Tensor) -> None:
        """(K,) mean frames and (K,) log frequency of each duration class in the training data."""
        self.class_frames.copy_(class_frames)
        self.class_prior.copy_(class_prior)

    def set_habits(self, habits: torch.Tensor) -> None:
        """(n_units, H) of ``prosody.habits``: what each unit does on average."""
        self.unit_habits.copy_(habits)

    def forward(
        self,
        units: torch.Tensor,
        durations: torch.Tensor,
        speaker: torch.Tensor | None = None,
        habits: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Durations by class, then voicing and F0 at the given durations.

        units: (B, U) int64, -1 = padding; durations: (B, U) int64 frames, 0 on padding; speaker: (B,) int64, 0 =
        unknown; habits: (B, U, H) float32, those of the whole training data if None. Returns duration logits (B, U, K),
        voicing logits (B, F) and F0 (B, F), the last in standard deviations of the speaker's log F0 around its mean and
        defined on unvoiced frames too; F is the longest sum of durations, and what lies beyond an utterance's own sum
        is 0.
        """
        if habits is None or self.habit_input is None:
            habits = self.look_up(units)
        hidden = self.encode(units, speaker, habits)
        voicing, log_f0 = self.decode_frames(hidden, durations, habits)
        return self.duration_logits(hidden, habits), voicing, log_f0

    def look_up(self, units: torch.Tensor) -> torch.Tensor:
        """(B, U) units -> (B, U, H) their habits."""
        return self.unit_habits[units.clamp_min(0)]

    def encode(self, units: torch.Tensor, speaker: torch.Tensor | None, habits: torch.Tensor) -> torch.Tensor:
        """(B, U) units with (B, U, H) habits -> (B, U, C): each unit among its neighbours; 0 on padding."""
        mask = (units >= 0)[..., None].float()
        x = self.unit_embedding(units.clamp_min(0))
        # Not add_speaker: TorchScript hands no module to a function.
        if self.speaker_embedding is not None:
            index = torch.zeros(len(units), dtype=torch.int64, device=units.device) if speaker is None else speaker
            x = x + self.speaker_embedding(index)[:, None]
        if self.habit_input is not None:
            x = x + self.habit_input(habits[..., : self.first_class])
        x = self.dropout(self.norm(x)) * mask
        for block in self.unit_blocks:
            x = block(x, mask)
        return x

    def duration_logits(self, hidden: torch.Tensor, habits: torch.Tensor) -> torch.Tensor:
        """(B, U, C), (B, U, H) -> (B, U, K): the log of the duration's distribution but for a constant."""
        usual = self.class_prior + habits[..., self.first_class :]
        return self.duration_head(self.dropout(self.duration_norm(hidden))) + usual

    def decode_frames(
        self, hidden: torch.Tensor, durations: torch.Tensor, habits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, U, C), (B, U) whole frames, (B, U, H) -> voicing logits (B, F), normalised log F0 (B, F)."""
        index, inside = locate_frames(durations)
        mask = (torch.arange(index.shape[1], device=index.device) < durations.sum(1, keepdim=True))[..., None].float()
        x = hidden.gather(1, index[..., None].expand(-1, -1, hidden.shape[-1]))
        usual = habits[..., :2].gather(1, index[..., None].expand(-1, -1, 2))  # voicing and F0
        if self.habit_input is not None:
            inside = torch.cat([inside, usual], dim=-1)
        x = self.dropout(x + self.position(inside)) * mask
        for block in self.frame_blocks:
            x = block(x, mask)
        voicing, log_f0 = ((self.frame_head(self.dropout(self.frame_norm(x))) + usual) * mask).unbind(-1)
        return voicing, log_f0


def _block(channels: int, dilation: int, scale: float) -> ConvNeXtBlock:
    return ConvNeXtBlock(channels, kernel=KERNEL, dilation=dilation, scale=scale)


def locate_frames(durations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, U) frames -> the unit of every frame (B, F) int64, and where in it the frame lies (B, F, 3) float.

    The three: the fraction of the unit that has passed, its log duration, and log frames since it began. Frames beyond
    an utterance's end belong to its last unit and mean nothing.
    """
    edges = durations.cumsum(1)
    frames = torch.arange(int(edges[:, -1].max()), device=durations.device)
    index = torch.searchsorted(edges, frames.expand(len(edges), -1).contiguous(), right=True)
    index = index.clamp_max(durations.shape[1] - 1)
    length = durations.gather(1, index).clamp_min(1).float()
    passed = (frames - (edges.gather(1, index) - durations.gather(1, index))).clamp_min(0).float()
    return index, torch.stack([(passed + 0.5) / length, length.log(), passed.log1p()], dim=-1)


def class_midpoints() -> torch.Tensor:
    """(K,) float32 frames: the middle of each duration class; training replaces it by the mean of what fell there."""
    edges = torch.tensor([*DURATION_EDGES, 2 * DURATION_EDGES[-1]])
    return ((edges[:-1] + edges[1:] - 1) / 2).float()


def duration_classes(durations: torch.Tensor) -> torch.Tensor:
    """(…) frames, at least 1, to (…) int64 classes from 0 to K - 1."""
    edges = torch.tensor(DURATION_EDGES, device=durations.device)
    return torch.bucketize(durations, edges, right=True) - 1
