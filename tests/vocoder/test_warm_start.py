"""--init: a voice that starts from another's weights."""

from pathlib import Path

import numpy as np
import torch

import pytest

from core.errors import UserError
from units.kmeans import UnitClusters
from vocoder.generators import Vocoder, build_generator
from vocoder.warm_start import (
    OldVoice,
    carry_embeddings,
    check_same_model,
    choose_utterances,
    embed_frames,
    same_clusters,
    set_tables,
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


def test_a_unit_starts_from_the_mean_over_its_frames_and_the_next_stream_from_what_is_left() -> None:
    embedded = np.array([[1.0, 0], [3, 0], [0, 5], [0, 7]])
    units = np.array([[0, 1], [0, 0], [2, 1], [2, 0]])
    first, second = carry_embeddings([(embedded[:1], units[:1]), (embedded[1:], units[1:])], n_units=3, n_streams=2)
    assert first.tolist() == [[2, 0], [1, 3], [0, 6]]  # unit 1 is never heard: the mean of all frames
    assert second.tolist() == [[0.5, 0.5], [-0.5, -0.5], [0, 0]]


def test_units_that_are_the_old_ones_under_other_numbers_get_their_rows() -> None:
    old, renumbered = torch.randn(6, 4), np.array([3, 1, 5, 0, 2, 4])
    frames = np.random.default_rng(0).integers(0, 6, (200, 1))
    (table,) = carry_embeddings([(embed_frames(frames, [old]), renumbered[frames])], n_units=6, n_streams=1)
    torch.testing.assert_close(table[renumbered], old)


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
def test_another_architecture_is_refused_with_both_named(sizes: dict) -> None:
    check_same_model(old_voice(n_speakers=2), "v3", SIZES | {"n_units": 99, "n_streams": 2})
    with pytest.raises(UserError, match=r"--init old: expected a v3 with .*found a v3 with"):
        check_same_model(old_voice(), "v3", SIZES | sizes)


def test_clusters_are_told_apart_by_what_they_hold() -> None:
    assert same_clusters(clusters(), clusters())
    assert not same_clusters(clusters(), clusters(seed=1))
    assert not same_clusters(clusters(), clusters(n_streams=2))
    assert not same_clusters(clusters(), clusters()._replace(description={"encoder": "mfcc"}))


def test_a_long_corpus_is_heard_in_part() -> None:
    class Loaded:  # noqa: D101
        frame_units = np.zeros((500, 1))  # 10 s

    assert len(choose_utterances([Loaded()] * 100, 100.0)) == 10
    assert len(choose_utterances([Loaded()] * 3, 100.0)) == 3
