"""Posteriors on a file: a run that was stopped goes on behind its last whole window, and ends with the same bytes."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

import pytest

from alignment import head_emissions
from alignment.head_emissions import HeadSteps, fill_emissions, open_emissions
from alignment.windows import Window

HEAD = SimpleNamespace(model=SimpleNamespace(characters=" ab", connector=SimpleNamespace(factor=2)))
N_COLUMNS = 7
HEARD: list[int] = []


@pytest.fixture(autouse=True)
def hearing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head whose posteriors say from which sample they come."""

    def hear(_: object, windows: list[Window], steps: HeadSteps) -> list[np.ndarray]:
        HEARD.extend(window.start for window in windows)
        counts = [-(-window.kept // steps.position) for window in windows]
        return [np.full((n, N_COLUMNS), -one.start / 1e5, np.float16) for n, one in zip(counts, windows)]

    HEARD.clear()
    monkeypatch.setattr(head_emissions, "hear_windows", hear)
    monkeypatch.setattr(head_emissions, "HOP_SECONDS", 1.0)
    monkeypatch.setattr(head_emissions, "MARGIN_SECONDS", 0.2)


def fill(path: Path, identity: str = "a", stopped: tuple = ()) -> list[int]:
    blocks = np.array_split(np.zeros(5 * 16000 + 900, np.float32), 3)
    return list(fill_emissions(path, {"recording": identity}, blocks, HEAD, batch_size=2, stopped=stopped))


def test_a_stopped_run_goes_on_and_a_whole_one_is_read(tmp_path: Path) -> None:
    assert sum(fill(tmp_path / "whole.f16")) == 5 * 16000 + 900
    assert fill(tmp_path / "half.f16", stopped=(15,)) == [32000]
    with open(tmp_path / "half.f16", "ab") as torn:
        torn.write(b"a part of a row")
    HEARD.clear()
    assert sum(fill(tmp_path / "half.f16")) == 5 * 16000 + 900
    assert HEARD == [32000, 48000, 64000, 80000]
    assert (tmp_path / "half.f16").read_bytes() == (tmp_path / "whole.f16").read_bytes()
    rows, n_samples = open_emissions(tmp_path / "half.f16")
    assert (rows.shape, n_samples) == ((127, N_COLUMNS), 5 * 16000 + 900)
    HEARD.clear()
    assert fill(tmp_path / "half.f16") == [5 * 16000 + 900] and not HEARD
    assert fill(tmp_path / "half.f16", "another recording") and HEARD[0] == 0
