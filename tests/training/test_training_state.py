"""Where a training stands: what is due, the best validation, and the same from checkpoints of every age."""

import math
from pathlib import Path

import torch

import pytest

from core.errors import UserError
from training.training_state import (
    Progress,
    finite_means,
    has_stalled,
    is_due,
    is_last,
    note_validation,
    restore_progress,
)


def test_what_is_due_falls_to_every_so_many_steps_and_the_end_once() -> None:
    due = [step for step in range(12) if is_due(Progress(step=step), 3, ending=step == 10)]
    assert due == [3, 6, 9, 10]
    assert [step for step in range(12) if is_due(Progress(step=step), 3, since=6, ending=step == 6)] == [9]


def test_a_new_training_has_done_nothing_and_validates_after_its_first_step() -> None:
    new = Progress(total_steps=1)
    assert not is_due(new, 1, since=new.validated, ending=True) and not is_last(new)
    first = new._replace(step=new.step + 1)
    assert is_due(first, 1, since=first.validated) and is_last(first) and not has_stalled(first, 1)
    assert note_validation(first, 1e300).best == 1e300 and list(new.since_log) == [] and new.seconds == 0


def test_the_last_step_is_the_planned_one_and_unknown_before_there_is_a_plan() -> None:
    assert [is_last(Progress(step=step, total_steps=5)) for step in (4, 5, 6)] == [False, True, True]
    assert not is_last(Progress(step=10**6))


def test_the_best_validation_and_how_many_came_after_it() -> None:
    progress, seen = Progress(), []
    for step, score in ((10, 2.0), (20, 2.5), (30, 2.0), (40, math.nan), (50, 1.0)):
        progress = note_validation(progress._replace(step=step), score)
        seen.append((progress.best, progress.stale, progress.validated))
    assert seen == [(2.0, 0, 10), (2.0, 1, 20), (2.0, 2, 30), (2.0, 3, 40), (1.0, 0, 50)]
    pairs = note_validation(note_validation(Progress(best=(math.inf, math.inf)), (0.5, 3.0)), (0.5, 2.0))
    assert (pairs.best, pairs.stale) == ((0.5, 2.0), 0)


def test_patience_ends_a_training_only_once_what_is_trained_takes_part() -> None:
    worse = Progress(step=40, stale=3)
    assert has_stalled(worse, 3) and not has_stalled(worse, 4) and not has_stalled(worse, 0)
    assert not has_stalled(worse, 3, since=40) and has_stalled(worse._replace(step=41), 3, since=40)


STATE = {"step": 7, "total_steps": 20, "best": 1.5, "stale": 2, "validated": 6, "seconds": 30.0, "model": {}}


def test_a_runs_own_checkpoint_gives_back_where_it_stood() -> None:
    rows = [{"loss": torch.tensor(0.5)}]
    planned = Progress(total_steps=40)
    restored = restore_progress(STATE | {"since_log": rows}, planned, own=True)
    assert restored == Progress(7, 40, best=1.5, stale=2, validated=6, since_log=rows, seconds=30.0)
    assert restore_progress(STATE, Progress(), own=True, keep_plan=True).total_steps == 20


def test_another_experiments_checkpoint_gives_its_step_alone() -> None:
    restored = restore_progress(STATE, Progress(total_steps=40), own=False, keep_plan=True)
    assert restored == Progress(7, 40, validated=6, since_log=[])


def test_checkpoints_of_older_versions() -> None:
    """The first had no ``validated``; those of the speech LLM called it otherwise, and had lists of scores."""
    without = {name: value for name, value in STATE.items() if name != "validated"}
    assert restore_progress(without, Progress(), own=True).validated == 7
    speech_llm = restore_progress(without | {"evaluated": 4, "best": [0.3, 1.0]}, Progress(), own=True)
    assert (speech_llm.validated, speech_llm.best) == (4, (0.3, 1.0))


def test_means_are_of_the_steps_that_have_the_loss_and_finite() -> None:
    rows = [{"a": torch.tensor(1.0)}, {"a": torch.tensor(2.0), "b": torch.tensor(4.0)}]
    assert finite_means(Path("exp/run"), Progress(since_log=rows)) == {"a": 1.5, "b": 4.0}
    rows.append({"b": torch.tensor(math.inf)})
    with pytest.raises(UserError, match="exp/run: the loss is not finite at step 9 .*lower --lr"):
        finite_means(Path("exp/run"), Progress(step=9, since_log=rows))
