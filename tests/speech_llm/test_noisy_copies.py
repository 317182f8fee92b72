"""Noisy copies: the same words and length in another noise, the same in every run, and drawn only in training."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from audio.augmentation import SNR_DB
from speech_llm.batches import make_batch
from speech_llm.feature_sources import open_cached_source
from speech_llm.noisy_copies import all_noisy, draw_copy, keep_known_copies, noisy_copy, with_noisy_copies
from synthetic import speech_like

MODEL = SimpleNamespace(
    device=torch.device("cpu"), units=None, characters=" abc", answer_ids=lambda text: [ord(letter) for letter in text]
)


def items_of(n_items: int) -> list[dict]:
    waveforms = [speech_like(0.5 + 0.2 * place, seed=place) for place in range(n_items)]
    return [
        {"id": str(place), "hash": str(place), "duration": len(waveform) / 16000, "text": "ab", "speaker": None}
        | {"load": lambda waveform=waveform: waveform}
        for place, waveform in enumerate(waveforms)
    ]


def test_a_copy_has_as_much_noise_as_was_drawn_and_is_the_same_again() -> None:
    item = items_of(1)[0]
    clean, noisy = item["load"](), noisy_copy(item, 0)["load"]()
    ratio_db = 10 * np.log10(np.square(clean).mean() / np.square(noisy - clean).mean())
    assert noisy.shape == clean.shape and noisy.dtype == np.float32
    assert SNR_DB[0] - 0.01 <= ratio_db <= SNR_DB[1] + 0.01
    np.testing.assert_array_equal(noisy, noisy_copy(item, 0)["load"]())


def test_copies_of_an_utterance_and_of_others_differ() -> None:
    copies = all_noisy(with_noisy_copies(items_of(2), 2))
    assert len({copy["hash"] for copy in copies} | {"0", "1"}) == 6
    assert not np.array_equal(copies[0]["load"](), copies[1]["load"]())


def test_silence_stays_silence() -> None:
    silent = items_of(1)[0] | {"load": lambda: np.zeros(1600, np.float32)}
    assert not noisy_copy(silent, 0)["load"]().any()


def test_without_copies_nothing_is_drawn() -> None:
    item, random = items_of(1)[0], np.random.default_rng(0)
    assert with_noisy_copies([item], 0) == [item] and draw_copy(item, random) is item
    assert random.random() == np.random.default_rng(0).random()


def test_batches_hold_originals_and_copies_out_of_the_cache(tmp_path: Path) -> None:
    items = with_noisy_copies(items_of(3), 1)
    options = {"encoder_id": "mfcc", "layer": None, "padding": "full", "precision": "fp32", "device": "cpu"}
    wanted = [([*items, *all_noisy(items)], (1.0,))]
    source = open_cached_source(tmp_path, wanted, num_workers=1, rank=0, world=1, **options)
    clean, noisy = (source.read(some, [1.0] * 3)[2].astype(np.float32) for some in (items, all_noisy(items)))
    rows = [make_batch(MODEL, source, items, key=(0, step)).features[2].numpy() for step in range(20)]
    n_clean = sum(np.array_equal(row, clean) for row in rows)
    assert 0 < n_clean < 20 and n_clean + sum(np.array_equal(row, noisy) for row in rows) == 20
    assert np.array_equal(make_batch(MODEL, source, items).features[2].numpy(), clean)


def test_a_copy_that_cannot_be_encoded_is_left_out() -> None:
    items = with_noisy_copies(items_of(1), 2)
    first = items[0]["noisy"][0]
    assert keep_known_copies(items, lambda copies: copies[:1])[0]["noisy"] == [first]
