"""Signal metrics of pairs of files: what a row says beside them, and when processes are started."""

from pathlib import Path

import numpy as np

import pytest

from audio.audio_io import save_audio
from core.errors import UserError
from evaluation.signal_scores import score_files, score_pair, score_readable
from synthetic import speech_like

Pair = tuple[str, Path, Path]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    save_audio(tmp_path / "a.wav", speech_like(8_001 / 16_000, seed=0))
    save_audio(tmp_path / "b.wav", speech_like(0.4, seed=1))
    return "one", tmp_path / "a.wav", tmp_path / "b.wav"


def test_a_row_has_the_length_of_the_original_and_by_how_much_the_other_is_longer(pair: Pair) -> None:
    (row,) = score_files([pair], num_workers=1)
    (turned,) = score_files([("other", *pair[:0:-1])], num_workers=1)
    assert (row["id"], row["duration"], row["length_difference_samples"]) == ("one", 0.5001, -1601)
    assert (turned["duration"], turned["length_difference_samples"]) == (0.4, 1601)
    assert [*row][3:] == [
        "mcd_db",
        "mcd_dtw_db",
        "snr_db",
        "mel_distance_nat",
        "f0_rmse_hz",
        "f0_rmse_cents",
        "gross_pitch_error_percent",
        "vuv_error_percent",
        "ffe_percent",
    ]


def test_what_no_frame_defines_is_none() -> None:
    still = np.zeros(8_000, np.float32)
    scores = score_pair(still, still)
    assert {name for name, value in scores.items() if value is None} == {
        "snr_db",
        "f0_rmse_hz",
        "f0_rmse_cents",
        "gross_pitch_error_percent",
    }
    assert scores["mcd_db"] == scores["vuv_error_percent"] == scores["mel_distance_nat"] == 0


def test_what_cannot_be_read_is_told_by_id_or_ends_it(pair: Pair, tmp_path: Path) -> None:
    pairs = [pair, ("gone", tmp_path / "none.wav", pair[2]), ("two", *pair[1:])]
    rows, failed = score_readable(pairs, num_workers=1)
    assert [row["id"] for row in rows] == ["one", "two"] and [*failed] == ["gone"] and "none.wav" in failed["gone"]
    with pytest.raises(UserError, match=r"none\.wav"):
        score_files(pairs, num_workers=1)
    assert score_files([]) == []


@pytest.mark.parametrize(
    ("n_pairs", "num_workers", "n_started"),
    [(64, 3, 3), (63, 3, 0), (64, 2, 2), (64, 1, 0), (66, 80, 66), (64, None, 5)],
)
def test_processes_are_started_for_64_pairs_and_not_more_than_pairs(
    monkeypatch: pytest.MonkeyPatch, n_pairs: int, num_workers: int | None, n_started: int
) -> None:
    started = []

    def start(n: int, **_: object) -> None:
        started.append(n)
        raise KeyboardInterrupt

    monkeypatch.setattr("evaluation.signal_scores.start_pool", start)
    monkeypatch.setattr("evaluation.signal_scores.os.cpu_count", lambda: 5)
    monkeypatch.setattr("evaluation.signal_scores._score_files", lambda pair: {"id": pair[0]})
    pairs = [(str(number), Path(), Path()) for number in range(n_pairs)]
    if n_started:
        with pytest.raises(KeyboardInterrupt):
            score_files(pairs, num_workers=num_workers)
    else:
        assert [row["id"] for row in score_files(pairs, num_workers=num_workers)] == [name for name, *_ in pairs]
    assert started == [n_started] * (n_started > 0)
