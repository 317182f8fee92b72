"""Units and speakers read in one way by all generators, under the names that old checkpoints have."""

import torch

import pytest

from models.generator import Generator
from models.generator_v2 import GeneratorV2
from models.generator_v3 import GeneratorV3
from models.pitch_embedding import pitch_bins
from models.unit_embedding import add_speaker, embed_units, speaker_table, unit_mask, unit_tables

SHAPE = {"n_streams": 2, "n_speakers": 3, "channels": 32}
UNITS = torch.tensor([[[1, 2], [3, 4], [0, 0]], [[5, 6], [-1, -1], [-1, -1]]])


@pytest.mark.parametrize(
    ("build", "tables"),
    [
        (Generator, ["units.0.weight", "units.1.weight", "speakers.weight"]),
        (GeneratorV2, ["units.0.weight", "units.1.weight", "pitch.weight", "speakers.weight"]),
        (GeneratorV3, ["units.0.weight", "units.1.weight", "speakers.weight"]),
    ],
)
def test_checkpoints_keep_their_names_and_shapes(build, tables: list[str]) -> None:
    state = build(9, **SHAPE).state_dict()
    embedding = 32 if build is GeneratorV3 else 128
    for name in tables:
        rows = {"pitch.weight": 32, "speakers.weight": 4}.get(name, 9)
        assert state[name].shape == (rows, 32 if name == "pitch.weight" else embedding), name
    kept = [name for name in state if name.split(".")[0] in ("units", "speakers") or name == "pitch.weight"]
    assert [name for name in kept if name in tables] == tables == kept


@pytest.mark.parametrize("speaker", [None, torch.tensor([3, 1])])
def test_v1_and_v2_compute_what_they_did(speaker: torch.Tensor | None) -> None:
    f0 = torch.tensor([[110.0, 0.0, 150.0], [220.0, 0.0, 0.0]])
    index = torch.zeros(2, dtype=torch.int64) if speaker is None else speaker
    mask = (UNITS[..., 0] >= 0).float()[:, None]
    for build in (Generator, GeneratorV2):
        torch.manual_seed(0)
        model = build(9, **SHAPE).eval()
        x = model.units[0](UNITS[..., 0].clamp_min(0)) + model.units[1](UNITS[..., 1].clamp_min(0))
        x = x + model.speakers(index)[:, None]
        if build is GeneratorV2:
            x = torch.cat([x, model.pitch(pitch_bins(f0, 32))], dim=-1)
        with torch.no_grad():
            assert torch.equal(model(UNITS, f0, speaker), model.trunk(x.transpose(1, 2), mask))


def test_a_single_stream_needs_no_axis_and_a_single_voice_no_table() -> None:
    tables = unit_tables(9, 1, 4)
    assert torch.equal(embed_units(UNITS[..., 0], tables), embed_units(UNITS[..., :1], tables))
    assert torch.equal(unit_mask(UNITS[..., 0], torch.float32), torch.tensor([[[1.0, 1, 1]], [[1, 0, 0]]]))
    x = torch.randn(2, 3, 4)
    assert speaker_table(0, 4) is None and add_speaker(x, None, torch.tensor([1, 2])) is x
    table = speaker_table(2, 4)
    assert torch.equal(add_speaker(x, table, None), x + table.weight[0])
