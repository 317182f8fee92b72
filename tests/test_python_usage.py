"""The Python of docs/python_usage.md runs as it stands, on a tiny language with a tiny voice."""

import re
from pathlib import Path

import pytest
import soundfile

from test_vocoder_test import write_vocoder

from synthetic import REPOSITORY, speech_like, write_mp3

BLOCKS = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/python_usage.md").read_text("utf-8"), re.DOTALL)


def test_the_blocks_run_one_after_the_other(
    tiny_units: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_vocoder(tiny_units, "spanish_vocoder_v4", seed=0)
    write_mp3(tmp_path / "recording.mp3", speech_like(2.0))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    assert len(BLOCKS) > 5
    for block in BLOCKS:
        exec(compile(block, "docs/python_usage.md", "exec"), names)
    assert soundfile.info("hello.wav").frames == 18 * 320
    assert len(names["again"]) == len(names["original"])
    assert "cer" in names["summarise"](names["first"]) and "frames" in capsys.readouterr().out
