"""--init: a voice that starts from another's weights."""

import logging
from pathlib import Path

import numpy as np
import torch

import pytest

from audio.audio_io import save_audio
from core.errors import UserError
from core.frames import SAMPLE_RATE
from encoders.encode import encode, load_encoder
from models.discriminator_v3 import DiscriminatorV3
from units.kmeans import UnitClusters
from units.utterances import LoadedUtterance
from vocoder import warm_start
from vocoder.generators import Vocoder, build_generator
from vocoder.warm_start import (
    OldVoice,
    check_same_model,
    hear_speakers,
    set_tables,
    start_discriminator,
    start_from,
)

SIZES = {"n_units": 6, "channels": 16, "n_blocks": 1, "head_channels": 8, "n_head_blocks": 1}


def clusters(seed: int = 0, n_units: int = 6, n_streams: int = 1) -> UnitClusters:
    rng = np.random.default_rng(seed)
    books = [rng.standard_normal((n_units, 3)).astype(np.float32) for _ in range(n_streams)]
    return UnitClusters(books, np.zeros(3, np.float32), np.ones(3, np.float32))


def old_voice(**sizes: int) -> OldVoice:
    torch.manual_seed(1)
    chosen = SIZES | sizes
    generator = build_generator("v3", chosen).eval()
    voice = Vocoder(generator, [], torch.device("cpu"), version="v3", sizes=chosen)
    return OldVoice(Path("old"), voice, clusters(n_streams=chosen.get("n_streams", 1)))


def test_the_same_clusters_speak_the_same_at_once() -> None:
    old, new = old_voice(), build_generator("v3", SIZES).eval()
    units, f0 = torch.randint(0, 6, (1, 20)), torch.full((1, 20), 120.0)
    assert not torch.equal(new(units, f0), old.vocoder.generator(units, f0))
    start_from(new, old, [], clusters())
    assert torch.equal(new(units, f0), old.vocoder.generator(units, f0))


@pytest.mark.parametrize("n_speakers", [0, 2])
def test_several_old_speakers_become_their_mean(n_speakers: int) -> None:
    old, new = old_voice(n_speakers=3), build_generator("v3", SIZES | {"n_speakers": n_speakers})
    start_from(new, old, [], clusters())
    mean = old.vocoder.generator.speaker_embedding.weight[1:].mean(dim=0)
    table = old.vocoder.generator.unit_embedding[0].weight
    if n_speakers:
        torch.testing.assert_close(new.speaker_embedding.weight, mean.expand(3, -1))
        torch.testing.assert_close(new.unit_embedding[0].weight, table)
    else:
        torch.testing.assert_close(new.unit_embedding[0].weight, table + mean)


def test_one_speaker_table_without_speakers_changes_nothing() -> None:
    new = build_generator("v3", SIZES)
    with torch.no_grad():
        set_tables(new, [torch.ones(6, 16)], None)
    assert (new.unit_embedding[0].weight == 1).all()


@pytest.mark.parametrize("sizes", [{"channels": 32}, {"n_blocks": 2}, {"condition": "logmel"}])
def test_another_architecture_is_refused_with_what_differs_alone(sizes: dict) -> None:
    check_same_model(old_voice(n_speakers=2), "v3", SIZES | {"n_units": 99, "n_streams": 2, "n_fft": 640})
    ((name, wanted),) = sizes.items()
    with pytest.raises(UserError, match=rf"--init old: expected {name} {wanted}, found {name} [a-z0-9]+; give"):
        check_same_model(old_voice(), "v3", SIZES | sizes)
    with pytest.raises(UserError, match="expected a v2, found a v3"):
        check_same_model(old_voice(), "v2", SIZES)


@pytest.mark.parametrize("n_streams", [1, 2])
def test_units_of_any_encoder_and_number_start_from_what_the_old_voice_hears(n_streams: int, tmp_path: Path) -> None:
    """The new units, made elsewhere, tell a tone from noise as the old ones do: they begin alike."""
    rng, seconds = np.random.default_rng(0), np.arange(SAMPLE_RATE) / SAMPLE_RATE
    waveform = np.concatenate([0.3 * np.sin(2 * np.pi * 300 * seconds), 0.1 * rng.standard_normal(SAMPLE_RATE)])
    save_audio(tmp_path / "a.wav", waveform.astype(np.float32))
    features = encode(load_encoder("mfcc", None), [waveform.astype(np.float32)])[0]
    book = np.stack([features[10:40].mean(axis=0), features[60:90].mean(axis=0)])
    description = {"encoder": "mfcc", "layer": None, "options": {}}
    zero = np.zeros(features.shape[1], np.float32)
    old = old_voice(n_units=2)._replace(clusters=UnitClusters([book], zero, zero + 1, description=description))
    frame_units = np.repeat([[7] * n_streams, [3] * n_streams], 50, axis=0)
    utterance = LoadedUtterance("a", tmp_path / "a.wav", frame_units, np.zeros(100, np.float32), None)
    new = build_generator("v3", SIZES | {"n_units": 9, "n_streams": n_streams})
    start_from(new, old, [utterance], None)
    summed = sum(table.weight for table in new.unit_embedding)
    expected = old.vocoder.generator.unit_embedding[0].weight
    torch.testing.assert_close(summed[[7, 3]], expected, atol=0.1, rtol=0)
    assert torch.equal(new.head.weight, old.vocoder.generator.head.weight)


def test_a_discriminator_is_taken_over_where_its_sizes_fit() -> None:
    ours, theirs, wider = DiscriminatorV3(width=4), DiscriminatorV3(width=4), DiscriminatorV3(width=8)
    old = old_voice()._replace(discriminator=theirs.state_dict())
    assert start_discriminator(ours, old) and not start_discriminator(wider, old)
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    assert not start_discriminator(ours, old_voice())


VECTORS = torch.randn(2, 256, generator=torch.Generator().manual_seed(2))


def old_with_vectors() -> OldVoice:
    old = old_voice(speaker_dim=256)
    torch.nn.init.normal_(old.vocoder.generator.speaker_embedding.weight)
    return old._replace(vocoder=old.vocoder._replace(speaker_vectors=torch.zeros(1, 256)))


def test_a_map_of_vectors_is_taken_over() -> None:
    old, new = old_with_vectors(), build_generator("v3", SIZES | {"speaker_dim": 256}).eval()
    start_from(new, old, [], clusters())
    units, f0 = torch.randint(0, 6, (2, 20)), torch.full((2, 20), 120.0)
    assert torch.equal(new(units, f0, VECTORS), old.vocoder.generator(units, f0, VECTORS))


@pytest.mark.parametrize("n_speakers", [0, 1])
def test_a_voice_without_vectors_starts_as_the_old_one_speaks_what_it_heard(n_speakers: int) -> None:
    old = old_with_vectors()._replace(heard=VECTORS[: 1 + n_speakers])
    new = build_generator("v3", SIZES | {"n_speakers": n_speakers}).eval()
    start_from(new, old, [], clusters())
    units, f0, row = torch.randint(0, 6, (1, 20)), torch.full((1, 20), 120.0), torch.tensor([n_speakers])
    torch.testing.assert_close(new(units, f0, row), old.vocoder.generator(units, f0, VECTORS[row]))


def test_a_voice_with_vectors_starts_from_one_that_knows_none() -> None:
    old, new = old_voice(), build_generator("v3", SIZES | {"speaker_dim": 256}).eval()
    check_same_model(old, "v3", SIZES | {"speaker_dim": 256})
    start_from(new, old, [], clusters())
    units, f0 = torch.randint(0, 6, (2, 20)), torch.full((2, 20), 120.0)
    assert torch.equal(new(units, f0, VECTORS), old.vocoder.generator(units, f0))


def test_who_speaks_is_heard_by_name_and_overall(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    utterances = [
        LoadedUtterance(name, tmp_path / f"{name}.wav", np.zeros((50, 1), np.int16), np.zeros(50, np.float32), speaker)
        for name, speaker in (("a", "rui"), ("b", "rui"), ("c", None))
    ]
    vectors = dict(zip("abc", np.eye(256, dtype=np.float32)))
    monkeypatch.setattr(warm_start, "utterance_vectors", lambda *_: vectors.__getitem__)
    heard = hear_speakers(old_with_vectors(), utterances, ["rui", "ana"], tmp_path).heard
    assert heard[1, :3].tolist() == pytest.approx([0.5**0.5, 0.5**0.5, 0])
    assert heard[0, :3].tolist() == heard[2, :3].tolist() == pytest.approx([3**-0.5] * 3)
    assert hear_speakers(old_voice(), utterances, ["rui"], tmp_path).heard is None


def test_without_the_package_a_voice_starts_from_no_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog
) -> None:
    def lack(*_: object) -> None:
        raise UserError("no package")

    monkeypatch.setattr(warm_start, "utterance_vectors", lack)
    logger = logging.getLogger("oral_units")
    monkeypatch.setattr(logger, "propagate", True)
    old = hear_speakers(old_with_vectors(), [], [], tmp_path)
    assert old.heard is None and "no one's voice: no package" in caplog.text
    new = build_generator("v3", SIZES).eval()
    start_from(new, old, [], clusters())
    units, f0 = torch.randint(0, 6, (1, 20)), torch.full((1, 20), 120.0)
    assert torch.equal(new(units, f0), old.vocoder.generator(units, f0))


def test_a_small_discriminator_takes_its_part_of_a_large_one_and_a_large_one_begins_with_a_small_one() -> None:
    small, wide = DiscriminatorV3(width=4), DiscriminatorV3(width=4, size="wide")
    assert start_discriminator(small, old_voice()._replace(discriminator=wide.state_dict()))
    assert all(torch.equal(value, wide.state_dict()[name]) for name, value in small.state_dict().items())
    fresh = DiscriminatorV3(width=4, size="complex")
    before = {name: value.clone() for name, value in fresh.further.state_dict().items()}
    assert start_discriminator(fresh, old_voice()._replace(discriminator=small.state_dict()))
    assert torch.equal(fresh.resolutions[2].score.bias, small.resolutions[2].score.bias)
    assert all(torch.equal(value, before[name]) for name, value in fresh.further.state_dict().items())
