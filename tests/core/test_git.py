from pathlib import Path

import pytest

from core.git import ask_git
from synthetic import REPOSITORY


def test_without_git_or_a_repository_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask_git(tmp_path, "rev-parse", "HEAD") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask_git(REPOSITORY, "rev-parse", "HEAD") is None
