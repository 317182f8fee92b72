"""Which part of phase 1 a job does: light enough for a launcher, and the launcher stands on it, not beneath it."""

import ast
import subprocess
import sys

import pytest

from core.errors import UserError
from synthetic import REPOSITORY, script_environment
from units.extraction_parts import resolve_part


def test_a_launcher_reads_the_stages_without_torch() -> None:
    code = (
        "import sys, launching.extraction_jobs; print({'torch', 'numpy', 'transformers'} & {*sys.modules} or 'light')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, env=script_environment(), capture_output=True, text=True
    )
    assert done.stdout.strip() == "light"


@pytest.mark.parametrize("script", ["extract_units", "validate_units", "train_bpe"])
def test_the_phases_do_not_know_the_launcher(script: str) -> None:
    tree = ast.parse((REPOSITORY / "src" / f"{script}.py").read_text(encoding="utf-8"))
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert modules and not [module for module in modules if module.startswith("launching")]


def test_all_of_it_without_flags() -> None:
    assert resolve_part(None, None, None, overwrite=True) == (1, 0)
    assert resolve_part("merge", 4, None, overwrite=False) == (4, 0)
    assert resolve_part("sample", 4, 3, overwrite=False) == (4, 3)
    with pytest.raises(UserError, match="expected 0 to 3"):
        resolve_part("sample", 4, 4, overwrite=False)


@pytest.mark.parametrize(("name", "number"), [("SLURM_ARRAY_TASK_ID", "1"), ("SGE_TASK_ID", "2")])
def test_the_place_in_an_array_of_two_is_its_part(monkeypatch: pytest.MonkeyPatch, name: str, number: str) -> None:
    for other in ("SLURM_ARRAY_TASK_ID", "SGE_TASK_ID"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, number)
    assert resolve_part("sample", 2, None, overwrite=False) == (2, 1)
    assert resolve_part("sample", 1, None, overwrite=False) == (1, 0)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ((None, 2, None), "--shards: expected --stage with it"),
        ((None, None, 0), "--shards: expected --stage with it"),
        (("sample", 0, None), "--shards 0: expected a number above 0"),
        (("sample", -1, 0), "--shards -1: expected a number above 0"),
        (("sample", 3, -1), "--shard_index -1: expected 0 to 2, of --shards 3"),
        (("fit", 1, 1), "--shard_index 1: expected 0 to 0, of --shards 1"),
        (("sample", 2, None), "--shard_index: expected which shard this job is"),
    ],
    ids=str,
)
def test_a_part_that_makes_no_sense_is_told(monkeypatch: pytest.MonkeyPatch, part: tuple, said: str) -> None:
    for name in ("SLURM_ARRAY_TASK_ID", "SGE_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=f"^{said}"):
        resolve_part(*part, overwrite=False)


def test_the_first_job_of_an_array_and_one_that_is_done_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    assert resolve_part("assign", 3, None, overwrite=False) == (3, 0)
    assert resolve_part("assign", None, None, overwrite=False) == (1, 0)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert resolve_part("fit", 3, None, overwrite=False) == resolve_part("merge", 3, None, overwrite=False) == (3, 0)
    assert resolve_part("assign", 3, 1, overwrite=False) == (3, 1), "the flag has the last word"
    with pytest.raises(UserError, match="--overwrite: not with --stage"):
        resolve_part("fit", None, None, overwrite=True)
