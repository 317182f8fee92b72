"""Recordings that have come or gone: what was made of the others is put aside, and nothing else."""

import os
from pathlib import Path

import pytest

from core.locks import only_run
from languages import language_paths
from synthetic import run_script, write_segments, write_units
from training.experiment import mark_finished, open_experiment

PHASES = ("units", "bpe", "vocoder", "unit_lm")


@pytest.fixture
def paths(language_roots: dict[str, Path]) -> dict[str, Path]:
    """A language whose four experiments have ended."""
    rows = write_segments(language_roots["data"], "guarani")
    write_units(language_roots["exp"], rows, language="guarani", n_units=12)
    paths = language_paths("guarani")
    (paths["units"] / "config.json").unlink(missing_ok=True)
    for phase in PHASES:
        begin(paths, phase)
        mark_finished(paths[phase], {})
    return paths


def begin(paths: dict[str, Path], phase: str, **flags: object) -> None:
    inputs = [paths["manifest"]] if phase == "units" else [paths["corpus"]]
    open_experiment(paths[phase], {"resume": "auto", "overwrite": False} | flags, inputs=inputs)


def set_aside(paths: dict[str, Path], *flags: object, code: int = 0) -> str:
    done = run_script("scripts/set_aside.py", "--language", "guarani", *flags, env=dict(os.environ), code=code)
    return done.stdout + done.stderr


def standing(paths: dict[str, Path]) -> list[str]:
    return [phase for phase in PHASES if paths[phase].exists()]


def kept(paths: dict[str, Path]) -> list[str]:
    return [phase for phase in PHASES if (paths["units"].parent / "before" / paths[phase].name).is_dir()]


def test_without_changes_everything_stays(paths: dict[str, Path]) -> None:
    assert set_aside(paths) == "" and standing(paths) == list(PHASES) and not kept(paths)


def test_another_recording_sets_all_of_them_aside_once(paths: dict[str, Path]) -> None:
    marked = paths["vocoder"] / "checkpoints.txt"
    marked.write_text("hours of work")
    text = paths["manifest"].read_text()
    paths["manifest"].write_text(text + text.splitlines()[-1].replace('"id": "', '"id": "new_') + "\n")
    said = set_aside(paths)
    assert said.count("its recordings have changed") == 4 and "exp/before: holds" in said
    assert standing(paths) == [] and kept(paths) == list(PHASES)
    assert (paths["units"].parent / "before" / paths["vocoder"].name / marked.name).read_text() == "hours of work"
    begin(paths, "units")
    assert set_aside(paths) == "" and standing(paths) == ["units"]


def test_what_older_units_were_spoken_by_does_not_stay_beside_new_ones(paths: dict[str, Path]) -> None:
    """As an interrupted ``--overwrite`` leaves it: new units, finished or not, and an old voice."""
    (paths["units"] / "finished.json").unlink()
    set_aside(paths)
    assert standing(paths) == ["units"] and kept(paths) == ["bpe", "vocoder", "unit_lm"]


def test_only_the_voice_of_other_units_goes(paths: dict[str, Path]) -> None:
    paths["corpus"].write_text(paths["corpus"].read_text() + "\n")
    begin(paths, "bpe", overwrite=True)
    set_aside(paths)
    assert standing(paths) == ["units", "bpe", "unit_lm"] and kept(paths) == ["vocoder"]


def test_units_that_are_gone_leave_their_voice_alone(paths: dict[str, Path]) -> None:
    (paths["units"] / "config.json").unlink()
    assert set_aside(paths) == "" and "vocoder" in standing(paths)


def test_a_training_that_runs_is_not_moved(paths: dict[str, Path]) -> None:
    paths["manifest"].write_text(paths["manifest"].read_text() + "\n")
    with only_run(paths["units"]):
        said = set_aside(paths, code=2)
    assert "another run is at work here" in said and standing(paths) == list(PHASES)
