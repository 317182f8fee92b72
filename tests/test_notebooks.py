from pathlib import Path

import jupytext
import pytest

from synthetic import REPOSITORY

TRAINERS = sorted((REPOSITORY / "src").glob("trainer_*.py"))


def test_there_are_trainers() -> None:
    assert TRAINERS


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda path: path.name)
def test_trainer_opens_as_a_notebook(trainer: Path) -> None:
    """Prose between code cells, each of which compiles by itself and starts at the top level, and no code is lost."""
    notebook = jupytext.read(trainer)
    cells = {kind: [cell.source for cell in notebook.cells if cell.cell_type == kind] for kind in ("code", "markdown")}
    assert len(cells["code"]) >= 4
    assert len(cells["markdown"]) >= 3
    for source in cells["code"]:
        compile(source, f"{trainer.name} cell", "exec")
    markers = [line for line in trainer.read_text(encoding="utf-8").splitlines() if "# %%" in line]
    assert all(line.startswith("# %%") for line in markers), "a cell starts inside a function"
    rewritten = jupytext.writes(notebook, fmt="py:percent")
    code = [line for line in trainer.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert code == [line for line in rewritten.splitlines() if line and not line.startswith("#")]
