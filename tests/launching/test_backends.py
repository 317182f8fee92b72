"""Which engine is chosen."""

import shutil

import pytest

from core.errors import UserError
from launching.backends import choose_backend


def clients(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name in found.split() else None)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("sbatch qsub pbsnodes", "slurm"),
        ("qsub qconf", "sge"),
        ("qsub qconf pbsnodes", "sge"),
        ("qsub", "sge"),
        ("", "local"),
    ],
)
def test_what_is_on_the_path_decides(monkeypatch: pytest.MonkeyPatch, found: str, expected: str) -> None:
    clients(monkeypatch, found)
    assert choose_backend("auto") == expected and choose_backend("modal") == "modal"


@pytest.mark.parametrize("name", ["auto", "sge"])
def test_the_qsub_of_pbs_is_not_taken_for_grid_engines(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    clients(monkeypatch, "qsub pbsnodes")
    with pytest.raises(UserError, match="found that of PBS"):
        choose_backend(name)
    assert choose_backend("local") == "local"
