"""Units and speakers read in one way by all generators, under one name, to which old checkpoints come."""

import torch

import pytest

from models.generator import Generator
from models.generator_v2 import GeneratorV2
from models.generator_v3 import GeneratorV3
from models.generator_v4 import GeneratorV4
from models.pitch_embedding import extract_pitch_bins
from models.unit_embedding import add_speaker, embed_units, speaker_table, unit_mask, unit_tables
from training.checkpoints import OLD_NAMES, rename_old_weights

SHAPE = {"n_streams": 2, "n_speakers": 3, "channels": 32}
UNITS = torch.tensor([[[1, 2], [3, 4], [0, 0]], [[5, 6], [-1, -1], [-1, -1]]])


@pytest.mark.parametrize("build", [Generator, GeneratorV2, GeneratorV3])
def test_tables_have_one_name_and_old_checkpoints_load(build) -> None:
    torch.manual_seed(0)
    model, other = build(9, **SHAPE).eval(), build(9, **SHAPE).eval()
    state = model.state_dict()
    tables = {name.partition(".")[0]: tuple(value.shape) for name, value in state.items() if "_embedding" in name}
    width = 32 if build is GeneratorV3 else 128
    assert tables.pop("unit_embedding") == (9, width) and tables.pop("speaker_embedding") == (4, width)
    assert tables.keys() == (set() if build is Generator else {"pitch_embedding"})
    old_names = {now: was for was, now in OLD_NAMES.items()}
    parts = [name.split(".", 1) for name in state]
    old = {f"{old_names.get(table, table)}.{rest}": value for (table, rest), value in zip(parts, state.values())}
    assert {"units.0.weight", "units.1.weight", "speakers.weight"} <= old.keys()
    assert ("pitch.weight" in old) is (build is GeneratorV2) and ("pitch.bins.weight" in old) is (build is GeneratorV3)
    assert list(rename_old_weights(old)) == list(state), "optimizers go by this order"
    other.load_state_dict(rename_old_weights(old))
    f0 = torch.full((2, 3), 110.0)
    with torch.no_grad():
        assert torch.equal(other(UNITS, f0), model(UNITS, f0))


@pytest.mark.parametrize("speaker", [None, torch.tensor([3, 1])])
def test_v1_and_v2_compute_what_they_did(speaker: torch.Tensor | None) -> None:
    f0 = torch.tensor([[110.0, 0.0, 150.0], [220.0, 0.0, 0.0]])
    index = torch.zeros(2, dtype=torch.int64) if speaker is None else speaker
    mask = (UNITS[..., 0] >= 0).float()[:, None]
    for build in (Generator, GeneratorV2):
        torch.manual_seed(0)
        model = build(9, **SHAPE).eval()
        x = model.unit_embedding[0](UNITS[..., 0].clamp_min(0)) + model.unit_embedding[1](UNITS[..., 1].clamp_min(0))
        x = x + model.speaker_embedding(index)[:, None]
        if build is GeneratorV2:
            x = torch.cat([x, model.pitch_embedding(extract_pitch_bins(f0, 32))], dim=-1)
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


@pytest.mark.parametrize("build", [Generator, GeneratorV2, GeneratorV3, GeneratorV4])
def test_vectors_of_speakers_start_without_effect_and_the_zero_vector_is_the_unknown_speaker(build) -> None:
    model = build(9, n_streams=2, speaker_dim=5, channels=32).eval()
    f0, vectors = torch.full((2, 3), 110.0), torch.randn(2, 5)
    with torch.no_grad():
        unknown = model(UNITS, f0)
        assert torch.equal(model(UNITS, f0, vectors), unknown)
        model.speaker_embedding.weight.normal_()
        assert torch.equal(model(UNITS, f0, torch.zeros(2, 5)), unknown) and torch.equal(model(UNITS, f0), unknown)
        assert not torch.equal(model(UNITS, f0, vectors), unknown)


def test_a_voice_knows_speakers_in_one_way() -> None:
    with pytest.raises(AssertionError, match="a table"):
        GeneratorV3(9, n_speakers=2, speaker_dim=5)
