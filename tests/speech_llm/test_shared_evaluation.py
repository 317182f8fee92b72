"""Several processes that evaluate and transcribe together find what one alone finds, each doing its share."""

import contextlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import pytest

from models.speech_llm_model import SpeechLLMBase
from speech_llm.decoding import cut_shares
from speech_llm.feature_sources import FeatureSource, frames_of_duration, keep_all
from speech_llm.predictions import finish_split
from speech_llm.validation import validate
from tiny_llm import DIM, hearing, tiny_llm, tiny_tokenizer
from training.processes import Team

TEXTS = ("abc", "head", "cab", "bad deed", "a hag", "face")
ITEMS = [
    {"id": f"u{number}", "hash": f"{number}", "text": text, "duration": 0.4 + 0.1 * number}
    for number, text in enumerate(TEXTS)
]


def read(items: list[dict], speeds: list[float]) -> list[np.ndarray]:
    randoms = [np.random.default_rng(int(item["hash"])) for item in items]
    return [random.normal(size=(frames_of_duration(item), DIM)) for random, item in zip(randoms, items)]


SOURCE = FeatureSource(lambda *given: [row.astype(np.float32) for row in read(*given)], frames_of_duration, keep_all, 0)


def in_two(work: Callable[[Team], object]) -> list[object]:
    """What two processes return, here as threads that meet where processes would."""
    meeting, given, found = threading.Barrier(2, timeout=60), [None, None], [None, None]

    def join(rank: int) -> Callable[[list], list]:
        def gather(done: list) -> list:
            given[rank] = done
            meeting.wait()
            everything = given[0] + given[1]
            meeting.wait()
            return everything

        return gather

    def run(rank: int) -> None:
        found[rank] = work(Team(rank, 2, join(rank), meeting.wait))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.fixture(scope="module")
def models() -> list[SpeechLLMBase]:
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        found.append(SpeechLLMBase(tiny_llm("llama"), tiny_tokenizer(), hearing()))
    return found


def test_two_processes_validate_as_one(models: list[SpeechLLMBase]) -> None:
    options = {"ctc_only": False, "batch_size": 2, "autocast": contextlib.nullcontext}
    options["decoding"] = {"decoder": "joint", "num_beams": 2}
    alone = validate(models[0], SOURCE, ITEMS, **options)
    together = in_two(lambda team: validate(models[team.rank], SOURCE, ITEMS, **options, team=team))
    assert together[0] == together[1] == pytest.approx(alone, abs=1e-6)
    assert "validation_wer" in alone and "validation_shuffled_loss_nat" in alone


def test_two_processes_transcribe_each_utterance_once_and_go_on(tmp_path: Path) -> None:
    path, key, decoded = tmp_path / ".test_decoded.jsonl", {"weights": "w"}, []

    def decode(features: list, seconds: list[float], on_batch: Callable) -> list[list[dict]]:
        decoded.extend(seconds)
        found = [[{"text": f"{length:.1f}"}] for length in seconds]
        on_batch(list(range(len(found))), found)
        return found

    def finish(items: list[dict]) -> list[object]:
        return in_two(lambda team: finish_split(path, key, items, SOURCE, decode, batch_size=1, team=team))

    half, expected = ITEMS[:3], {item["id"]: [{"text": f"{item['duration']:.1f}"}] for item in ITEMS}
    assert finish(half) == [{item["id"]: expected[item["id"]] for item in half}] * 2
    assert sorted(decoded) == [item["duration"] for item in half]
    assert sorted(file.name for file in tmp_path.iterdir()) == [".test_decoded.1.jsonl", ".test_decoded.jsonl"]
    assert finish(ITEMS) == [expected] * 2 and sorted(decoded) == [item["duration"] for item in ITEMS]
    # One process goes on from what two have left; other weights begin again.
    assert finish_split(path, key, ITEMS, SOURCE, decode) == expected and len(decoded) == 6
    key["weights"] = "others"
    assert finish(ITEMS) == [expected] * 2 and len(decoded) == 12
    assert json.loads(path.read_text().splitlines()[0]) == key


def test_shares_hold_like_lengths_and_everything_once() -> None:
    lengths = [7, 0, 30, 9, 28, 8, 31, 29]
    assert cut_shares(lengths, 2, 2) == [[6, 2, 3, 5, 1], [7, 4, 0]]
    assert len(cut_shares([5] * 1000, 8, 2)) == 4
    assert cut_shares([9, 8], 8, 2) == [[0], [1]] and cut_shares([9, 8], 8, 1) == [[0, 1]]
    assert cut_shares([], 8, 2) == []
