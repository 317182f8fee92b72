"""The layers of a Whisper that hear a voice in training, cut out: they hear what the whole one's lowest layers hear."""

import runpy
from pathlib import Path

import torch

import pytest

from core.errors import UserError
from synthetic import REPOSITORY
from vocoder.heard_features import Hearing

SCRIPT = runpy.run_path(str(REPOSITORY / "recipes" / "base_voice" / "cut_hearing.py"))


def run(monkeypatch: pytest.MonkeyPatch, *flags: object) -> int:
    monkeypatch.setattr("sys.argv", ["cut_hearing.py", *map(str, flags)])
    return SCRIPT["main"]()


def test_the_cut_hears_as_the_whole(tiny_whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "hearing"
    assert run(monkeypatch, "--whisper", tiny_whisper, "--layers", 2, "--positions", 60, "--out", out) == 0
    whole, part = Hearing(str(tiny_whisper)), Hearing(str(out))
    crops = 0.1 * torch.randn(2, 15_360, generator=torch.Generator().manual_seed(0))
    heard, expected = part(crops), whole(crops)
    assert len(heard) == 3 and len(expected) == 4
    for ours, theirs in zip(heard, expected):
        assert torch.allclose(ours, theirs, atol=0.02)  # half precision
    assert {path.name for path in out.iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
        "LICENSE_WHISPER.txt",
    }
    assert str(tmp_path) not in (out / "README.md").read_text() + (out / "config.json").read_text()


def test_more_than_there_is_cannot_be_cut(tiny_whisper: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--layers 4: .* has 3"):
        SCRIPT["cut"](str(tiny_whisper), 4, 60)
    with pytest.raises(UserError, match="--positions 2000: .* has 1500"):
        SCRIPT["cut"](str(tiny_whisper), 2, 2000)
