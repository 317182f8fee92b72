"""Motifs cut out of the segments: every sample, the list of them, and what is said where audio is missing."""

import json
from pathlib import Path

import numpy as np

import pytest

from audio.audio_io import save_audio
from core.errors import UserError
from units.motif_audio import cut_examples, cut_motif

RATE = 16_000


def example(name: str, start: float, end: float) -> dict:
    return {"utterance": name, "audio": f"x/{name}.wav", "start": start, "end": end}


@pytest.fixture
def steady(language_roots: dict[str, Path]) -> Path:
    """One second of a level that does not change; returns the folder of experiments."""
    save_audio(language_roots["data"] / "x" / "a.wav", np.full(RATE, 0.5, np.float32))
    return language_roots["exp"]


def test_examples_fade_in_and_out_over_5_ms_and_stand_apart_by_300_ms(steady: Path) -> None:
    """The second is wider than its recording; the one between has no audio."""
    waveform, missing = cut_motif(
        [example("a", 0.2, 0.5), example("none", 0.0, 0.1), example("a", 0.05, 0.95)], context=0.1
    )
    expected = []
    for n_samples in (8_000, RATE):  # 0.1 to 0.6 s, and all of it
        piece = np.full(n_samples, 0.5)
        piece[:80] *= np.arange(80) / 79
        piece[-80:] *= np.arange(80)[::-1] / 79
        expected += [piece, np.zeros(4_800)]
    np.testing.assert_allclose(waveform, np.concatenate(expected), atol=1e-4)
    assert waveform.dtype == np.float32 and missing == ["x/none.wav"]


def test_what_is_cut_is_what_is_said_there(steady: Path, language_roots: dict[str, Path]) -> None:
    rising = np.linspace(0, 0.9, RATE, dtype=np.float32)
    save_audio(language_roots["data"] / "x" / "b.wav", rising)
    waveform, _ = cut_motif([example("b", 0.5, 0.75)], context=0.0)
    assert len(waveform) == 4_000 + 4_800
    np.testing.assert_allclose(waveform[80:3_920], rising[8_080:11_920], atol=1e-4)


def motif(token: int, *examples: dict) -> dict:
    return {"token": token, "units": [1, 2], "count": 3, "mean_duration": 0.3, "examples": list(examples)}


def write_motifs(exp: Path, *motifs: dict) -> Path:
    (exp / "motifs").mkdir(parents=True, exist_ok=True)
    (exp / "motifs.json").write_text(json.dumps(motifs))
    return exp


HEAD = "wav\tunits\tcount\tmean_duration_seconds\texamples\n"


def test_the_list_names_files_units_and_places(
    steady: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    monkeypatch.setattr("units.motif_audio.log.warning", lambda text, *values: said.append(text % values))
    lost = [example(f"lost {number}", 0.0, 0.1) for number in range(4)]
    exp = write_motifs(steady / "bpe", motif(16, example("a", 0.2, 0.5), example("a", 0.05, 0.954)), motif(17, *lost))
    (exp / "motifs" / "token_00009.wav").write_bytes(b"of an earlier run")
    cut_examples(exp, 5, 0.0)
    assert (exp / "motifs" / "index.tsv").read_text() == (
        HEAD + "token_00016.wav\t1 2\t3\t0.3\ta 0.20-0.50, a 0.05-0.95\n"
    )
    assert sorted(path.name for path in (exp / "motifs").glob("*.wav")) == ["token_00016.wav"]
    assert said == ["4 examples skipped, their audio is not there: x/lost 0.wav, x/lost 1.wav, x/lost 2.wav …"]
    assert f"wrote 1 motifs to listen to in {exp / 'motifs'} (index.tsv lists them)" in capsys.readouterr().out


def test_without_motifs_the_list_is_empty_and_without_audio_there_is_none(steady: Path) -> None:
    exp = write_motifs(steady / "bpe")
    cut_examples(exp, 5, 0.0)
    assert (exp / "motifs" / "index.tsv").read_text() == HEAD
    write_motifs(exp, motif(16, example("lost", 0.0, 0.1)))
    with pytest.raises(UserError, match="data: expected the segments of the corpus, found none; set DATA_ROOT"):
        cut_examples(exp, 5, 0.0)
