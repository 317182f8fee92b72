"""Every training script is a notebook as well, in Jupytext's percent format, and can be stepped through.

The convention, for all of ``SCRIPTS``:

- Definitions come first, in plain cells. Then ``main``, and its call, in a cell that a notebook does not run:

      # %% tags=["active-py"]
      if __name__ == "__main__":
          run_main(main)

- The last part of the file is for the notebook alone: after a Markdown cell, cells that do what ``main`` does, one
  thing at a time (flags, data, model, one batch, one step, listen). They are comments in the script, so nothing of them
  runs there, and code in the notebook (https://jupytext.org, "active cells"):

      # %% [markdown]
      # ## Step by step
      #
      # In a notebook these cells do what `main` does, one thing at a time. …

      # %% tags=["active-ipynb"]
      # args = parse_args(["--language", "spanish", "--channels", "64"])

  The cells leave no experiment behind. To listen: ``from IPython.display import Audio``, then
  ``Audio(waveform, rate=SAMPLE_RATE)``.

To have a script executed here, add a row to ``STEPPED``: the script, words of its cells that the test replaces (as
paths), and expressions over the cells' variables that must hold at the end.
"""

import json
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

from speech_texts import write_texts

from pair_examples import write_pairs
from synthetic import REPOSITORY, save_tiny_encoder, script_environment, sharing
from tiny_llm import save_tiny_llm

SRC = REPOSITORY / "src"
SCRIPTS = [*sorted(SRC.glob("trainer_*.py")), SRC / "extract_units.py", SRC / "train_bpe.py"]
STEPPED: list[tuple[str, dict[str, str], list[str]]] = [
    (
        "extract_units.py",
        {'"--n_units", "50"': '"--n_units", "12"'},
        [
            "len(clips) == 10 and all(len(clip.features) == clip.n_samples // 320 for clip in clips)",
            "clusters.books[0].shape == (12, 39)",
            "sum(utterance['durations']) == len(clips[0].features)",
            "0 < sum(map(len, heard)) < sum(len(rows) for rows in frames)",
        ],
    ),
    (
        "trainer_base.py",
        {
            '"HuggingFaceTB/SmolLM2-135M-Instruct"': '"ROOTS/models/llm"',
            '"openai/whisper-base"': '"ROOTS/models/whisper"',
        },
        [
            "len(data.training) == 6 and len(data.validation) == 2",
            "batches[0].features.dim() == 3 and len(batches[0].labels) == 4",
            "losses[-1] < losses[0]",
            "len(found) == 2",
        ],
    ),
    (
        "trainer_vocoder.py",
        {"--channels 64": "--channels 32 --discriminator_width 4 --cpu"},
        ["progress.step == 1", "losses['train_mel_nat'].isfinite() and losses['discriminator_loss'] > 0"],
    ),
    (
        "trainer_unit_lm.py",
        {"--width 64": "--width 16 --heads 2"},
        ["progress.step == 1", "losses['train_token_nat'].isfinite()", "0 < len(units) <= 50"],
    ),
    (
        "trainer_translation.py",
        {"--width 64": "--width 16 --heads 2", "--source english": "--source italian"},
        ["progress.step == 1", "losses['train_contrast_nat'].isfinite()", "0 < len(units) <= 50"],
    ),
    ("trainer_prosody.py", {"--channels 64": "--channels 16"}, ["progress.step == 1", "losses['loss'].isfinite()"]),
]


def test_there_are_trainers() -> None:
    assert SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_opens_as_a_notebook(script: Path) -> None:
    """Prose between code cells, each of which compiles by itself and starts at the top level, and no code is lost."""
    notebook = jupytext.read(script)
    cells = {kind: [cell.source for cell in notebook.cells if cell.cell_type == kind] for kind in ("code", "markdown")}
    assert len(cells["code"]) >= 4
    assert len(cells["markdown"]) >= 3
    for source in cells["code"]:
        compile(source, f"{script.name} cell", "exec")
    markers = [line for line in script.read_text(encoding="utf-8").splitlines() if "# %%" in line]
    assert all(line.startswith("# %%") for line in markers), "a cell starts inside a function"
    rewritten = jupytext.writes(notebook, fmt="py:percent")
    assert [line for line in script.read_text(encoding="utf-8").splitlines() if line] == [
        line for line in rewritten[rewritten.index("# %%") :].splitlines() if line
    ]


def run_cells(
    script: Path, roots: Path, replacements: dict[str, str], checks: list[str]
) -> subprocess.CompletedProcess[str]:
    """Execute the cells of a script in a process of their own, with data and exp below ``roots``."""
    environment = sharing({"DATA_ROOT": str(roots / "data"), "EXP_ROOT": str(roots / "exp"), "TAG": ""})
    words = [REPOSITORY / "tests" / "notebook_cells.py", script, json.dumps(replacements), json.dumps(checks)]
    command, env = [environment["PYTHON_EXEC"], *map(str, words)], script_environment(environment)
    return subprocess.run(command, check=False, env=env, cwd=roots, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished units of two tiny languages that say the same, in their places; texts of another; tiny models."""
    root = tmp_path_factory.mktemp("notebooks")
    write_pairs(root, ("italian",))
    write_texts(root / "data", "english")
    save_tiny_encoder(root / "models" / "whisper", "whisper")
    save_tiny_llm(root / "models" / "llm")
    return root


@pytest.mark.parametrize(("name", "replacements", "checks"), STEPPED, ids=lambda value: str(value).split(".")[0])
def test_script_is_stepped_cell_by_cell(
    name: str, replacements: dict[str, str], checks: list[str], roots: Path
) -> None:
    before = {path for path in (roots / "exp").rglob("*")}
    replacements = {old: new.replace("ROOTS", str(roots)) for old, new in replacements.items()}
    done = run_cells(REPOSITORY / "src" / name, roots, replacements, checks)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "s of sound" in done.stdout
    assert {path for path in (roots / "exp").rglob("*")} == before


def test_a_cell_that_fails_is_named_and_the_script_itself_runs_none(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        '# %%\nx = 1\n\n# %% tags=["active-py"]\nif __name__ == "__main__":\n    print("main", x)\n\n'
        '# %% tags=["active-ipynb"]\n# x += 1\n\n# %% tags=["active-ipynb"]\n# assert x == "GIVEN"\n'
    )
    shown = subprocess.run([sys.executable, str(script)], check=True, capture_output=True, text=True)
    assert shown.stdout == "main 1\n"
    done = run_cells(script, tmp_path, {}, [])
    assert done.returncode and "script.py, code cell 3" in done.stderr and "main" not in done.stdout
    assert run_cells(script, tmp_path, {'"GIVEN"': "2"}, ["x == 2"]).returncode == 0
    assert "x == 3 does not hold" in run_cells(script, tmp_path, {'"GIVEN"': "2"}, ["x == 3"]).stderr
