"""One real engine a test session, started on first use; where it cannot be, its tests are skipped with the reason."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from engines import PACKAGES, running_slurm, turned_off, why_not
from grid_engine import running_grid_engine, why_no_grid_engine


@pytest.fixture(scope="session")
def slurm_engine() -> dict[str, str]:
    """The variables that Slurm's clients need."""
    if reason := turned_off() or why_not(PACKAGES):
        pytest.skip(f"Slurm: {reason}")
    # Sockets want short paths, shorter than pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="slurm_", ignore_cleanup_errors=True) as root:
        with running_slurm(Path(root) / "engine") as env:
            yield env


@pytest.fixture(scope="session")
def grid_engine() -> Iterable[dict[str, str]]:
    """The variables that Grid Engine's clients need."""
    if reason := turned_off() or why_no_grid_engine():
        pytest.skip(f"Grid Engine: {reason}")
    with tempfile.TemporaryDirectory(prefix="sge_", ignore_cleanup_errors=True) as root:
        with running_grid_engine(Path(root) / "engine") as env:
            yield env
