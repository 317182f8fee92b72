"""An original and its resynthesis compared: every signal metric of one pair, and of many pairs in parallel."""

import math
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from audio.audio_io import load_audio
from audio.pitch import extract_f0
from core.errors import UserError
from core.frames import SAMPLE_RATE
from core.process_pool import ended_at_once, follow_parent, start_pool
from core.records import UtteranceScore
from evaluation.mcd import compute_mel_cepstrum, mcd_dtw_of_cepstra, mcd_of_cepstra
from evaluation.mel_distance import compute_mel_distance
from evaluation.pitch_scores import compute_pitch_scores
from evaluation.snr import compute_snr

MIN_PAIRS_FOR_POOL = 64  # a tenth of a second each; starting the processes takes seconds


def score_pair(original: np.ndarray, resynthesis: np.ndarray) -> dict[str, float | None]:
    """All signal metrics of (S,) ``resynthesis`` against (S,) ``original``, float in [-1, 1] at 16 kHz.

    Keys: mcd_db, mcd_dtw_db (``evaluation.mcd``), snr_db (``evaluation.snr``), mel_distance_nat
    (``evaluation.mel_distance``), f0_rmse_hz, f0_rmse_cents, gross_pitch_error_percent, vuv_error_percent, ffe_percent
    (``evaluation.pitch_scores``, on F0 by ``audio.pitch.extract_f0`` of both sides). None where a metric is
    undefined, as F0 RMSE without a frame voiced in both. Of unequal lengths the common part is compared; mcd_dtw_db
    takes all of both.
    """
    cepstra = compute_mel_cepstrum(original), compute_mel_cepstrum(resynthesis)
    scores = {
        "mcd_db": mcd_of_cepstra(*cepstra),
        "mcd_dtw_db": mcd_dtw_of_cepstra(*cepstra),
        "snr_db": compute_snr(original, resynthesis),
        "mel_distance_nat": compute_mel_distance(original, resynthesis),
    } | compute_pitch_scores(extract_f0(original), extract_f0(resynthesis))
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}


def score_files(pairs: Sequence[tuple[str, Path, Path]], *, num_workers: int | None = None) -> list[UtteranceScore]:
    """``score_pair`` of (id, original file, resynthesis file), in ``num_workers`` processes (default: one per core).

    Returns, in the order given, {"id", "duration" (seconds of the original), "length_difference_samples"
    (resynthesis minus original), and the metrics}. Raises UserError for a file that cannot be read.
    """
    rows, failed = score_readable(pairs, num_workers=num_workers)
    for reason in failed.values():
        raise UserError(reason)
    return rows


def score_readable(
    pairs: Sequence[tuple[str, Path, Path]], *, num_workers: int | None = None
) -> tuple[list[UtteranceScore], dict[str, str]]:
    """``score_files`` of the pairs that can be read; beside the rows, id -> reason of the others."""
    scored = _score_all(pairs, num_workers)
    rows = [row for row in scored if not isinstance(row, str)]
    return rows, {name: row for (name, _, _), row in zip(pairs, scored) if isinstance(row, str)}


def _score_all(pairs: Sequence[tuple[str, Path, Path]], num_workers: int | None) -> list[UtteranceScore | str]:
    num_workers = min(num_workers or os.cpu_count() or 1, len(pairs))
    bar = {"total": len(pairs), "desc": "signal metrics", "unit": "utterance", "disable": None}
    if num_workers <= 1 or len(pairs) < MIN_PAIRS_FOR_POOL:
        with threadpool_limits(1):  # sums in the same order as in a pool: the same last digit
            return list(tqdm(map(_score_or_reason, pairs), **bar))
    # Spawned, not forked: a fork of a process that has used torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    with ended_at_once(start_pool(num_workers, mp_context=context, initializer=_start_worker)) as pool:
        return list(tqdm(pool.map(_score_or_reason, pairs, chunksize=2), **bar))


def _start_worker() -> None:
    follow_parent()
    torch.set_num_threads(1)
    threadpool_limits(1)


def _score_or_reason(pair: tuple[str, Path, Path]) -> UtteranceScore | str:
    """The scores of a pair, or why one of its files cannot be read."""
    try:
        return _score_files(pair)
    except UserError as error:
        return str(error)


def _score_files(pair: tuple[str, Path, Path]) -> UtteranceScore:
    name, original_file, resynthesis_file = pair
    original, resynthesis = load_audio(original_file), load_audio(resynthesis_file)
    about = {
        "id": name,
        "duration": round(len(original) / SAMPLE_RATE, 4),
        "length_difference_samples": len(resynthesis) - len(original),
    }
    return about | score_pair(original, resynthesis)
