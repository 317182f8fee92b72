"""scripts/bench/whisper_baseline.py: one language for all recordings, not one guessed for each window."""

import importlib.util
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

import pytest

from synthetic import REPOSITORY


class Listener(NamedTuple):
    language: str | None


@pytest.fixture
def baseline(monkeypatch: pytest.MonkeyPatch) -> object:
    """The script's module, its Whisper and its data made up."""
    spec = importlib.util.spec_from_file_location("baseline", REPOSITORY / "scripts/bench/whisper_baseline.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    items = [{"id": f"u{n}", "text": "ya", "duration": 1.0, "load": lambda n=n: np.full(9, n)} for n in range(70)]
    monkeypatch.setattr(module, "load_transcribed", lambda *_: {"test": items})
    monkeypatch.setattr(module, "load_asr", lambda _, language: Listener(language))
    monkeypatch.setattr(module, "transcribe", lambda asr, heard, **_: [asr.language] * len(heard))
    return module


@pytest.mark.parametrize(("asked", "used"), [(None, "ru"), ("en", "en")])
def test_one_language_reads_all(
    asked: str | None, used: str, baseline: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guessed_on = []

    def settle(asr: Listener, heard: list[np.ndarray], batch_size: int) -> Listener:
        guessed_on.extend(int(waveform[0]) for waveform in heard)
        return asr._replace(language="ru")

    monkeypatch.setattr(baseline, "settle_language", settle)
    flags = ["--data", "x", "--asr", "whisper", "--out", str(tmp_path / "out.json")]
    baseline.main([*flags, *(["--asr_language", asked] if asked else [])])
    assert {row["hypothesis"] for row in json.loads((tmp_path / "out.json").read_text())} == {used}
    spread = [] if asked else list(range(0, 70, 3))
    assert guessed_on == spread, "guessed once, on recordings spread over all"
