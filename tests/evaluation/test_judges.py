"""The judges at work on files: blocks, bars, what the language is guessed by, and what is told of rates left out."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import pytest
from tqdm import tqdm

from audio.audio_io import save_audio
from core.errors import UserError
from evaluation.asr import Recogniser
from evaluation.judges import add_mos, add_readings, settle_on_originals
from evaluation.mos import MosJudge, load_mos_judge, predict_mos

ASR = Recogniser("x", None, None, None, None, "fp32", "")


class Length(nn.Module):
    """A judge that hears how long a recording is."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        assert torch.is_inference_mode_enabled(), "nothing is kept for gradients"
        return torch.tensor([waveform.shape[1] / 1000])


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[tqdm]:
    shown = []

    def note(**settings: object) -> tqdm:
        shown.append(tqdm(**settings | {"disable": False, "file": io.StringIO()}))
        return shown[-1]

    monkeypatch.setattr("evaluation.judges.tqdm", note)
    return shown


def write_pairs(folder: Path, sizes: list[int]) -> tuple[list[dict], list[tuple[str, Path, Path]]]:
    """Originals of so many samples, and resyntheses of twice as many."""
    rows, files = [], []
    for place, size in enumerate(sizes):
        sides = [folder / side / f"{place}.wav" for side in ("original", "resynthesis")]
        for number, path in enumerate(sides, 1):
            save_audio(path, np.full(number * size, 0.1, np.float32))
        rows.append({"id": f"u{place}", "duration": size / 16_000})
        files.append((f"u{place}", *sides))
    return rows, files


@pytest.mark.parametrize("at_once", [2, 128])
def test_every_pair_is_judged_in_its_row_whatever_is_loaded_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bars: list[tqdm], at_once: int
) -> None:
    monkeypatch.setattr("evaluation.judges.UTTERANCES_AT_ONCE", at_once)
    rows, files = write_pairs(tmp_path, [16_000, 8_000, 4_000, 32_000, 12_000])
    add_mos(MosJudge(Length(), "cpu", "x"), rows, files)
    assert [row["mos_original"] for row in rows] == [16, 8, 4, 32, 12]
    assert [row["mos"] for row in rows] == [32, 16, 8, 64, 24]
    (bar,) = bars
    assert (bar.total, bar.desc, bar.n) == (9, "MOS", pytest.approx(3 * 72_000 / 16_000)), "seconds of both sides"


def test_the_judge_moves_the_bar_by_parts_of_seconds_and_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = tqdm(total=1, disable=False, file=io.StringIO())
    waveforms = [np.zeros(size) for size in (4_000, 8_000)]
    assert predict_mos(MosJudge(Length(), "cpu", "x"), waveforms, bar) == [4.0, 8.0] and bar.n == 0.75
    monkeypatch.setitem(sys.modules, "distillmos", None)
    with pytest.raises(
        UserError, match="--mos: expected the package distillmos, found: .*; run: pip install distillmos, or"
    ):
        load_mos_judge()


@pytest.mark.parametrize(
    ("n_files", "heard"),
    [(0, []), (1, [0]), (32, list(range(32))), (33, list(range(0, 33, 2))), (64, list(range(0, 64, 2)))],
)
def test_the_language_is_guessed_by_an_even_spread_of_at_most_32_originals(
    monkeypatch: pytest.MonkeyPatch, n_files: int, heard: list[int]
) -> None:
    given = []
    monkeypatch.setattr("evaluation.judges.load_audio", lambda path: path)
    monkeypatch.setattr(
        "evaluation.judges.settle_language", lambda asr, found, *, batch_size: given.append((found, batch_size)) or asr
    )
    files = [(str(place), place, "other side") for place in range(n_files)]
    assert settle_on_originals(ASR, files, batch_size=5) is ASR and given == [(heard, 5)]
    told = ASR._replace(language="es")
    assert settle_on_originals(told, files) is told and len(given) == 1, "it has a language"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict], None]:
    """What the recogniser is to read of recordings, by their number of samples."""

    def set_readings(readings: dict[int, str]) -> None:
        def read(asr: Recogniser, waveforms: list, cache: object, **_: object) -> list[str]:
            return [readings[len(waveform)] for waveform in waveforms]

        monkeypatch.setattr("evaluation.judges.transcribe_cached", read)

    return set_readings


def test_readings_and_rates_stand_in_their_rows_and_what_lacks_one_is_named(
    tmp_path: Path, reads: Callable, bars: list[tqdm]
) -> None:
    rows, files = write_pairs(tmp_path, [4_000, 5_000, 6_000])
    long = "[" + "m" * 80 + "]"
    reads({4_000: "uno dos", 8_000: "uno", 5_000: long, 10_000: "tres", 6_000: "", 12_000: "cuatro"})
    said = add_readings(ASR._replace(language="es"), rows, files, texts=["uno dos", None, "..."])
    assert [(row["asr_original"], row["asr_resynthesis"]) for row in rows] == [
        ("uno dos", "uno"),
        (long, "tres"),
        ("", "cuatro"),
    ]
    assert [row.get("text") for row in rows] == ["uno dos", None, "..."] and "text" not in rows[1]
    assert [row["wer"] for row in rows] == [0.5, None, None] and rows[0]["wer_text"] == 0.5
    assert rows[2]["cer_text"] is None and "cer_text" not in rows[1]
    assert said == [
        f"u1: no words read in the original ({long[:60]}), left out of cer and wer",
        "u2: no words read in the original, left out of cer and wer",
        "u2: no words in its transcript, left out of cer_text and wer_text",
    ]
    assert [(bar.total, bar.desc) for bar in bars] == [(2, "ASR")]
