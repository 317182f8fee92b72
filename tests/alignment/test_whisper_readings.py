"""What a tiny Whisper reads, with times by attention: kept over a kill, and only for its own recording."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

import pytest

from alignment import whisper_readings
from alignment.whisper_readings import listen_eagerly, prompt_tokens, read_journal, read_recording, read_window
from core.frames import SAMPLE_RATE
from evaluation.asr import Recogniser, load_asr
from synthetic import speech_like
from tiny_asr import save_tiny_whisper_asr

IDENTITY = {"model": "abc", "recording": Path("a.wav")}


@pytest.fixture(scope="module")
def asr(tmp_path_factory: pytest.TempPathFactory) -> Recogniser:
    return listen_eagerly(load_asr(str(save_tiny_whisper_asr(tmp_path_factory.mktemp("asr"))), dtype="fp32"))


def test_letters_have_times_in_their_order_and_within_the_window(asr: Recogniser) -> None:
    waveform = speech_like(3.0)
    text, starts, ends = read_window(asr, waveform)
    assert text and len(text) == len(starts) == len(ends)
    assert starts == sorted(starts) and all(0 <= start <= end <= 3.0 for start, end in zip(starts, ends))
    assert starts[1:] == ends[:-1]  # no letter is lost between two
    assert read_window(asr, waveform) == (text, starts, ends)
    assert read_window(asr, speech_like(3.0, seed=1))[0] != text, "the reading does not depend on the sound"
    for unheard in (np.zeros(SAMPLE_RATE, np.float32), waveform[: SAMPLE_RATE // 20]):
        assert read_window(asr, unheard) == ("", [], [])


def test_a_token_begins_where_it_listens(asr: Recogniser, monkeypatch) -> None:
    """Attention of all heads but those that the model names is left out."""
    n_frames, found = 20, {}

    def model(**given: object) -> SimpleNamespace:
        found["ids"] = given["decoder_input_ids"]
        layer = torch.rand(1, 2, 4, n_frames)
        layer[0, 1] = 0.01
        for row, first in enumerate((0, 5, 10, 15)):
            layer[0, 1, row, first : first + 5] = 1.0
        return SimpleNamespace(cross_attentions=(layer,))

    model.generation_config = SimpleNamespace(alignment_heads=[(0, 1)], decoder_start_token_id=7)
    model.device = "cpu"
    monkeypatch.setattr(whisper_readings, "SMOOTHING", 3)
    listener = asr._replace(model=model)
    attention = whisper_readings._attend(listener, None, [8, 9, 10], n_frames * SAMPLE_RATE // 50)
    assert found["ids"].tolist() == [[7, 8, 9, 10]] and attention.shape == (4, n_frames)
    bounds = whisper_readings.token_bounds(attention, n_frames / 50)
    assert bounds == pytest.approx([0.0, 5 / 50, 10 / 50, 15 / 50])


def test_a_median_takes_a_single_frame_away() -> None:
    weights = np.zeros((1, 1, 21))
    weights[0, 0, 3], weights[0, 0, 10:16] = 1.0, 1.0
    smoothed = whisper_readings._median_filter(weights)
    assert smoothed[0, 0, 3] == 0 and smoothed[0, 0, 12] == 1 and smoothed.shape == weights.shape
    short = np.eye(3)[None]
    assert whisper_readings._median_filter(short) is short


def test_the_prompt_names_language_and_task_where_the_model_knows_them(asr: Recogniser) -> None:
    settings = {"decoder_start_token_id": 1, "is_multilingual": True, "no_timestamps_token_id": 9}
    settings |= {"lang_to_id": {"<|es|>": 2}, "task_to_id": {"transcribe": 3}}
    model = SimpleNamespace(generation_config=SimpleNamespace(**settings))
    assert prompt_tokens(asr._replace(model=model, language="es")) == [1, 2, 3, 9]
    assert prompt_tokens(asr) == [3]


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the windows that were read; each is read as two letters."""
    lengths: list[int] = []

    def read(_: object, waveform: np.ndarray) -> tuple[str, list[float], list[float]]:
        lengths.append(len(waveform))
        return "ab", [0.0, 0.5], [0.5, 1.0]

    monkeypatch.setattr(whisper_readings, "read_window", read)
    return lengths


def blocks(seconds: float) -> Iterator[np.ndarray]:
    for number in range(round(seconds / 5)):
        yield speech_like(5.0, seed=number)


def test_windows_cover_a_long_recording_and_are_read_once(reader: list[int], tmp_path: Path) -> None:
    journal = tmp_path / "deep" / "heard.jsonl"
    rows = list(read_recording(None, blocks(80), journal, IDENTITY))
    assert sum(reader) == 80 * SAMPLE_RATE and max(reader) <= 30 * SAMPLE_RATE and len(rows) >= 3
    assert [row["start"] for row in rows[1:]] == [row["end"] for row in rows[:-1]]
    assert rows[1]["starts"] == [round(rows[1]["start"], 3), round(rows[1]["start"] + 0.5, 3)]
    # A kill while a row was being written
    text = journal.read_text(encoding="utf-8")
    journal.write_text(text[:-5], encoding="utf-8")
    reader.clear()
    assert list(read_recording(None, blocks(80), journal, IDENTITY)) == rows
    assert len(reader) == 1 and journal.read_text(encoding="utf-8") == text
    reader.clear()
    assert list(read_recording(None, blocks(80), journal, IDENTITY | {"model": "other"})) == rows
    assert len(reader) == len(rows)


def test_a_signal_ends_it_between_two_windows(reader: list[int], tmp_path: Path) -> None:
    stopped: list[int] = []
    found = read_recording(None, blocks(80), tmp_path / "heard.jsonl", IDENTITY, stopped=stopped)
    next(found)
    stopped.append(15)
    assert list(found) == [] and len(reader) == 1
    kept = read_journal(tmp_path / "heard.jsonl", IDENTITY)
    assert len(kept) == 1 and json.dumps(kept[0])
