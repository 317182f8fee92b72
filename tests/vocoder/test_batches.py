"""Training items: every slot once an epoch, pure in the item number, aligned, padded with what is no unit."""

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import torch

import pytest

from audio.audio_io import load_audio, save_audio
from audio.pitch import extract_f0
from core.errors import UserError
from synthetic import write_units
from units.corpus import frame_units, read_corpus
from units.utterances import PADDING_UNIT, LoadedUtterance, load_utterances
from vocoder.batches import CropDataset, StepSampler, collate, read_content

LENGTHS = (100, 37, 48, 7, 260)


@pytest.fixture
def utterances(tmp_path: Path) -> list[LoadedUtterance]:
    """Utterance i of LENGTHS[i] frames: its unit is i, its F0 at frame f is f + 1, its PCM there i * 1000 + f."""
    made = []
    for number, n_frames in enumerate(LENGTHS):
        frames = np.arange(n_frames)
        path = tmp_path / f"{number}.wav"
        save_audio(path, np.repeat(number * 1000 + frames, 320) / 32768)
        units = np.full((n_frames, 1), number, np.int16)
        speaker = f"speaker {number % 2}" if number else None
        f0 = (frames + 1).astype(np.float32)
        made.append(LoadedUtterance(str(number), path, units, f0, speaker))
    return made


def dataset(utterances: list[LoadedUtterance], **options: object) -> CropDataset:
    return CropDataset(utterances, **({"crop_frames": 24, "seed": 3} | options))


def test_an_epoch_visits_every_slot_once(utterances: list[LoadedUtterance]) -> None:
    data = dataset(utterances)
    expected = {number: max(1, round(n_frames / 24)) for number, n_frames in enumerate(LENGTHS)}
    assert len(data) == sum(expected.values())
    orders = []
    for epoch in range(4):
        items = [int(data[item].content[0, 0]) for item in range(epoch * len(data), (epoch + 1) * len(data))]
        assert Counter(items) == expected
        orders.append(items)
    assert orders[0] != orders[1]


def test_audio_units_and_f0_of_a_crop_are_the_same_frames(utterances: list[LoadedUtterance]) -> None:
    data = dataset(utterances)
    for item in range(3 * len(data)):
        crop = data[item]
        frames = crop.f0.long() - 1
        assert (frames.diff() == 1).all()
        number = int(crop.content[0, 0])
        assert (crop.content == number).all() and len(frames) == min(24, LENGTHS[number])
        pcm = torch.round(crop.waveform * 32768).long().reshape(-1, 320)
        assert (pcm == (1000 * number + frames)[:, None]).all()


def test_log_mel_of_a_crop_is_that_of_the_whole_recording(utterances: list[LoadedUtterance]) -> None:
    """For the oracle: frames in place of units, aligned with F0, and negative on padding only."""
    units, oracle = dataset(utterances), dataset(utterances, condition="logmel")
    wholes = [read_content(utterance, "logmel") for utterance in utterances]
    assert [whole.shape for whole in wholes] == [(n_frames, 80) for n_frames in LENGTHS]
    assert all(whole.min() >= 0 and whole.max() > 1 for whole in wholes)
    for item in range(2 * len(units)):
        crop, frames = oracle[item], units[item].f0.long() - 1
        expected = torch.from_numpy(wholes[int(units[item].content[0, 0])])[frames]
        torch.testing.assert_close(crop.content, expected, atol=1e-4, rtol=0)
        assert torch.equal(crop.waveform, units[item].waveform) and crop.key == units[item].key
    short = next(oracle[item] for item in range(len(oracle)) if len(oracle[item].content) == 7)
    batch = collate([short], 24)
    assert (batch.content[0, 7:] == PADDING_UNIT).all() and batch.content.shape == (1, 24, 80)


def test_crops_reach_both_ends(utterances: list[LoadedUtterance]) -> None:
    data = dataset(utterances[2:3])
    starts = {int(data[item].f0[0]) - 1 for item in range(400)}
    assert starts == set(range(48 - 24 + 1))


def test_an_item_depends_on_seed_and_number_alone(utterances: list[LoadedUtterance]) -> None:
    first, second = dataset(utterances), dataset(utterances)
    numbers = list(range(60))
    forwards = {number: first[number] for number in numbers}
    for number in reversed(numbers):
        for key, value in second[number]._asdict().items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(getattr(forwards[number], key))), key
    other = dataset(utterances, seed=4)
    assert any(not torch.equal(other[number].f0, forwards[number].f0) for number in numbers)
    assert len({forwards[number].key for number in numbers}) == 60


def test_unit_noise_replaces_that_share_and_no_audio(utterances: list[LoadedUtterance]) -> None:
    clean, noisy = dataset(utterances), dataset(utterances, unit_noise=0.3, n_units=1000)
    pairs = [(clean[number], noisy[number]) for number in range(200)]
    changed = torch.cat([(a.content != b.content).flatten().float() for a, b in pairs])
    assert 0.25 < changed.mean() < 0.35
    assert all(torch.equal(a.waveform, b.waveform) and torch.equal(a.f0, b.f0) for a, b in pairs)
    assert all(torch.equal(noisy[number].content, b.content) for number, (_, b) in zip(range(20), pairs))
    assert all(0 <= b.content.min() and b.content.max() < 1000 for _, b in pairs)


def test_two_ranks_make_up_the_batch_of_one_process() -> None:
    whole = list(StepSampler(5, 9, 8))
    halves = [list(StepSampler(5, 9, 8, rank=rank, world=2)) for rank in range(2)]
    assert [a + b for a, b in zip(*halves)] == whole
    assert whole == [list(range(8 * step, 8 * step + 8)) for step in range(5, 9)]
    with pytest.raises(UserError, match="batch_size 7.*2 processes"):
        StepSampler(0, 1, 7, world=2)


def test_resuming_at_a_step_gives_the_items_of_that_step() -> None:
    uninterrupted = list(itertools.islice(StepSampler(0, 10**9, 4), 20))
    for step in (0, 1, 13):
        assert list(StepSampler(step, 20, 4)) == uninterrupted[step:]
    assert len(StepSampler(13, 20, 4)) == 7
    assert sorted(itertools.chain(*uninterrupted)) == list(range(80))


def test_padding_is_no_unit_and_silent(utterances: list[LoadedUtterance]) -> None:
    """PEERS: padding with a real unit's id."""
    batch = collate([dataset(utterances, crop_frames=50)[item] for item in range(12)], 50)
    assert batch.content.shape == (12, 50, 1) and batch.content.dtype == torch.int64
    assert batch.f0.shape == (12, 50) and batch.waveform.shape == (12, 50 * 320)
    assert batch.key.shape == batch.speaker.shape == (12,)
    padding = batch.content[..., 0] == PADDING_UNIT
    assert PADDING_UNIT == -1 and padding.any() and not padding.all(1).any()
    for row, number in enumerate(batch.content[:, 0, 0].tolist()):
        assert (~padding[row]).sum() == min(50, LENGTHS[number])
    assert not batch.f0[padding].any() and (batch.f0[~padding] > 0).all()
    assert not batch.waveform.reshape(12, 50, 320)[padding].any()


def test_vectors_go_with_their_utterance_and_one_crop_in_ten_has_none(utterances: list[LoadedUtterance]) -> None:
    vectors = {utterance.id: np.full(3, 1 + int(utterance.id), np.float32) for utterance in utterances}
    crops = [dataset(utterances, vector_of=vectors.__getitem__)[item] for item in range(300)]
    for crop in crops:
        assert crop.speaker.tolist() in ([0.0] * 3, [1.0 + crop.content[0, 0]] * 3)
    assert 0.05 < np.mean([not crop.speaker.any() for crop in crops]) < 0.16
    assert collate(crops[:4], 24).speaker.shape == (4, 3)


def test_speakers_have_rows_and_one_crop_in_ten_is_unknown(utterances: list[LoadedUtterance]) -> None:
    data = dataset(utterances[1:], speakers=["speaker 0", "speaker 1"])
    crops = [data[item] for item in range(600)]
    for crop in crops:
        assert crop.speaker in (0, 1 + int(crop.content[0, 0]) % 2)
    assert 0.05 < np.mean([crop.speaker == 0 for crop in crops]) < 0.16
    assert all(dataset(utterances[:1], speakers=["speaker 0"])[item].speaker == 0 for item in range(20))


def test_utterances_of_a_corpus(tiny_units: dict) -> None:
    corpus = tiny_units["units"] / "corpus_timestamped.json"
    loaded = load_utterances(corpus, tiny_units["data"], tiny_units["data"] / "cache", ["train"])
    entries = list(read_corpus(corpus, splits=["train"]))
    assert [u.id for u in loaded] == [entry["id"] for entry in entries]
    for utterance, entry in zip(loaded, entries):
        np.testing.assert_array_equal(utterance.frame_units, frame_units(entry))
        f0 = extract_f0(load_audio(tiny_units["data"] / entry["audio"]))
        np.testing.assert_array_equal(utterance.f0, f0)
        assert len(f0) == len(utterance.frame_units)
    with pytest.raises(UserError, match="split nowhere"):
        load_utterances(corpus, tiny_units["data"], tiny_units["data"] / "cache", ["nowhere"])


def test_units_that_do_not_fit_their_audio_are_refused(tiny_units: dict) -> None:
    corpus = tiny_units["units"] / "corpus_timestamped.json"
    entries = json.loads(corpus.read_text())
    entries[0]["durations"][0] += 1
    corpus.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n")
    with pytest.raises(UserError, match=entries[0]["id"]):
        load_utterances(corpus, tiny_units["data"], tiny_units["data"] / "cache", ["train"])


def test_audio_outside_the_data_root_is_refused(tiny_units: dict) -> None:
    corpus = tiny_units["units"] / "corpus_timestamped.json"
    corpus.write_text(corpus.read_text().replace("spanish/segments", "../data/spanish/segments"))
    with pytest.raises(UserError, match="leaves"):
        load_utterances(corpus, tiny_units["data"] / "spanish", tiny_units["data"] / "cache", ["train"])


def test_several_streams(tiny_language: dict) -> None:
    folder = write_units(tiny_language["exp"], tiny_language["rows"], n_units=12, n_streams=2)
    corpus = folder / "corpus_timestamped.json"
    loaded = load_utterances(corpus, tiny_language["data"], tiny_language["data"] / "cache", ["train"])
    batch = collate([CropDataset(loaded, crop_frames=20, seed=0)[item] for item in range(4)], 20)
    assert batch.content.shape == (4, 20, 2)
    assert (batch.content[..., 0] != batch.content[..., 1]).any()
