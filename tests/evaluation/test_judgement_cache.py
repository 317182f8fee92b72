"""Judgements kept by the hash of the audio."""

import io
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tqdm import tqdm

from audio.audio_io import save_audio
from evaluation.judgement_cache import fingerprint, hash_audio, judge_cached
from evaluation.judges import add_mos
from evaluation.mos import MosJudge
from synthetic import speech_like


class Loudness(nn.Module):
    """A stand-in for DistillMOS: (1, S) -> (1,)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.heard = nn.Parameter(torch.ones(1)), 0
        self.norm = nn.BatchNorm1d(1)  # its counter is a tensor without axes

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        self.heard += 1
        return self.scale * waveform.abs().mean(1)


def test_only_what_is_new_is_judged(tmp_path: Path) -> None:
    path, asked = tmp_path / "kept" / "judge.json", []

    def judge(waveforms: list[np.ndarray]) -> list[float]:
        asked.append(len(waveforms))
        return [float(waveform.max()) for waveform in waveforms]

    a, b, c = (speech_like(0.1, seed=seed) for seed in range(3))
    first = judge_cached(judge, [a, b, a], path)
    assert first[0] == first[2] and judge_cached(judge, [c, a], path)[1] == first[0]
    assert asked == [2, 1]
    path.write_text(json.dumps({hash_audio(a): 7.0}))
    assert judge_cached(judge, [a], path) == [7.0]
    path.write_text("{cut off")
    assert judge_cached(judge, [a, b], path) == first[:2]
    assert judge_cached(judge, [a], None) == first[:1] and asked == [2, 1, 2, 1]


def test_what_another_process_wrote_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "judge.json"

    def judge(waveforms: list[np.ndarray]) -> list[str]:
        path.write_text(json.dumps({"of another": "text"}))
        return ["mine"] * len(waveforms)

    judge_cached(judge, [speech_like(0.1, seed=0)], path)
    assert sorted(json.loads(path.read_text()).values()) == ["mine", "text"]


def test_other_weights_or_settings_are_another_judge() -> None:
    one, other = Loudness(), Loudness()
    assert fingerprint(one, "fp32") == fingerprint(other, "fp32") != fingerprint(one, "bf16")
    nn.init.constant_(other.scale, 2)
    assert fingerprint(one, "fp32") != fingerprint(other, "fp32")


def test_originals_are_judged_once_for_all_experiments(tmp_path: Path) -> None:
    def pair(folder: str, seed: int) -> tuple[str, Path, Path]:
        sides = tmp_path / "original.wav", tmp_path / folder / "resynthesis.wav"
        sides[1].parent.mkdir()
        for path, side_seed in zip(sides, (0, seed)):
            save_audio(path, speech_like(0.5, seed=side_seed))
        return "a", *sides

    model = Loudness()
    judge = MosJudge(model, "cpu", fingerprint(model, ""))
    for folder, seed, heard in (("one", 1, 2), ("two", 2, 3)):
        rows, files = [{"id": "a", "duration": 0.5}], [pair(folder, seed)]
        add_mos(judge, rows, files, caches=(tmp_path / "cache", tmp_path / folder))
        assert rows[0]["mos"] != rows[0]["mos_original"] > 0 and model.heard == heard
        add_mos(judge, rows, files, caches=(tmp_path / "cache", tmp_path / folder))
        assert model.heard == heard


def test_audio_is_known_by_its_16_bits() -> None:
    one = np.array([0.5, -0.25, 0.1])
    assert hash_audio(one) == hash_audio(one + 0.4 / 32768) == hash_audio(one.astype(np.float32)) != hash_audio(-one)
    assert hash_audio(one) != hash_audio(one + 0.6 / 32768) and len(hash_audio(one)) == 32
    assert len(fingerprint(Loudness(), "x")) == 16


def test_the_bar_moves_by_what_is_known_already(tmp_path: Path) -> None:
    path, bar = tmp_path / "judge.json", tqdm(total=1, disable=False, file=io.StringIO())
    known, new = speech_like(0.5, seed=0), speech_like(0.25, seed=1)
    judge_cached(lambda waveforms: [1.0] * len(waveforms), [known], path, bar)
    assert bar.n == 0, "the judge moves it by what it hears"
    judge_cached(lambda waveforms: [1.0] * len(waveforms), [known, new, known, new], path, bar)
    assert bar.n == 1.25, "twice the one, and the new one's second time"
