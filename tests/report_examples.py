"""A finished chain of experiments as the phases, the scores and the unit report leave them, small enough for a test."""

import json
from pathlib import Path

import numpy as np

from validate_units import build_unit_report

from audio.audio_io import save_audio
from evaluation.scores import score_readings, summarise
from synthetic import speech_like, write_segments, write_units
from units.corpus import read_corpus
from units.quality import as_json

# metric: its typical mean, in the metric's unit
TYPICAL_MEANS = {
    "mel_distance_nat": 0.8,
    "mcd_db": 6.2,
    "snr_db": -1.4,
    "f0_rmse_hz": 9.0,
    "f0_rmse_cents": 110.0,
    "vuv_error_percent": 7.0,
}
HEARD = "Por favor, introduzca su número de teléfono seguido de almohadilla"
HEARD_WRONG = "Por sabor <script>alert(1)</script> introduzca su numero de teléfono seguida de almohadilla"


def write_vocoder_experiment(
    exp: Path, *, n_utterances: int = 12, n_rows: int = 60, offset: float = 0.0, asr: bool = True, seed: int = 0
) -> Path:
    """A scored phase 3: config, log, scores with test audio. ``offset`` moves every error (a worse experiment)."""
    rng = np.random.default_rng(seed)
    exp.mkdir(parents=True)
    derived = {"language": "spanish", "n_units": 12, "n_streams": 1, "generator": "v4", "units_exp": "spanish_units"}
    environment = {"git_commit": "0123abc" * 5, "git_dirty": True, "machine": "x86_64, 2 cores", "threads": 2}
    environment |= {"python": "3.13.5", "packages": {"torch": "2.14.1"}, "started": "2026-11-21T23:00:00+00:00"}
    environment |= {"cuda": None, "command": "src/trainer_vocoder.py --language spanish --max_minutes 8"}
    config = {"arguments": {"language": "spanish", "batch_size": 16, "patience": None}, "derived": derived}
    _write_json(exp / "config.json", config | {"input_hash": "e3b0c442", "environment": environment})
    _write_json(exp / "finished.json", {})
    (exp / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _log_rows(rng, n_rows)))
    utterances = [_score_utterance(rng, exp, number, offset, asr) for number in range(n_utterances)]
    _write_json(exp / "scores.json", _scores(exp.name, utterances, asr))
    return exp


def _log_rows(rng: np.random.Generator, n_rows: int) -> list[dict]:
    rows = []
    for number in range(1, n_rows + 1):
        fall = 0.7 + 2.0 * np.exp(-number / 12)
        row = {"step": number * 25, "seconds": number * 8.1, "train_mel_nat": fall + 0.03 * rng.standard_normal()}
        row |= {"learning_rate": 8e-4 * 0.98**number, "audio_seconds_per_second": 40 + rng.standard_normal()}
        rows.append(row)
        if number % 6 == 0:
            rise = 0.12 + 0.002 * max(0, number - 36)
            rows.append({"step": number * 25, "seconds": number * 8.1 + 2, "validation_mel_nat": fall + rise})
    return rows


def _score_utterance(rng: np.random.Generator, exp: Path, number: int, offset: float, asr: bool) -> dict:
    name, seconds = f"chapter_{number:02d}_0003", 2.0 + 0.5 * (number % 4)
    original = speech_like(seconds, seed=number)
    smooth = np.convolve(original, np.ones(6) / 6, mode="same") + 0.004 * rng.standard_normal(len(original))
    save_audio(exp / "test" / "original" / f"{name}.wav", original)
    save_audio(exp / "test" / "resynthesis" / f"{name}.wav", smooth)
    item = {"id": name, "duration": seconds}
    item |= {key: mean * (1 + 0.3 * rng.standard_normal()) + offset for key, mean in TYPICAL_MEANS.items()}
    if not asr:
        return item
    heard = " ".join(HEARD_WRONG.split()[: 5 + number % 6])
    return item | {"asr_original": HEARD, "asr_resynthesis": heard} | score_readings(HEARD, heard)


def _scores(name: str, utterances: list[dict], asr: bool) -> dict:
    judge = {"model": "whisper-base", "language": "es", "dtype": "fp32"} if asr else None
    scores = {"exp": name, "checkpoint": "best", "step": 900, "split": "test", "n_utterances": len(utterances)}
    scores |= {"seconds": sum(item["duration"] for item in utterances), "metrics": summarise(utterances)}
    return scores | {"utterances": utterances, "asr": judge, "skipped": []}


def write_chain(data: Path, exp: Path) -> Path:
    """Segments, units, motifs and a vocoder of Spanish under two roots; returns the vocoder's folder."""
    rows = write_segments(data, "spanish")
    units = write_units(exp, rows, n_units=12)
    _write_json(units / "unit_report.json", as_json(build_unit_report(units, n_resamples=20, seed=0)))
    utterances = list(read_corpus(units / "corpus_timestamped.json"))
    motifs = [_motif(utterances, token, length) for token, length in enumerate((1, 2, 2, 3, 4))]
    _write_json(exp / "spanish_bpe" / "motifs.json", motifs)
    return write_vocoder_experiment(exp / "spanish_vocoder_v4")


def _motif(utterances: list[dict], token: int, length: int) -> dict:
    examples = []
    for utterance in utterances[: 3 + token % 2]:
        start = sum(utterance["durations"][:token]) / 50
        end = start + sum(utterance["durations"][token : token + length]) / 50
        examples.append({"utterance": utterance["id"], "audio": utterance["audio"], "start": start, "end": end})
    units = utterances[0]["units"][token : token + length]
    return {"token": token, "units": units, "count": 90 - token, "mean_duration": 0.06 * length, "examples": examples}


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
