"""Starting, stopping and ending a run: what is written, what is refused, what a signal does."""

import os
import signal
from pathlib import Path

import torch

import pytest

from core.errors import UserError
from core.files import read_json
from training.checkpoints import load_checkpoint
from training.experiment import append_metrics, is_finished, mark_finished, read_metrics
from training.resuming import (
    STOP_SIGNALS,
    Run,
    check_borrowed,
    end_run,
    find_checkpoint,
    finish_run,
    has_finished,
    is_own,
    note_changes,
    note_plan,
    note_step,
    save_progress,
    start_run,
    training_seconds,
    write_losses,
    write_row,
)
from training.training_state import Progress


@pytest.fixture
def signals():
    """The process's own handlers come back after a test."""
    before = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.fixture
def run(exp: Path, signals: None) -> Run:
    return start_run(exp, Progress(step=10, total_steps=20, seconds=100.0), {"precision": "no"})


def rows(*values: float) -> list[dict[str, torch.Tensor]]:
    return [{"loss": torch.tensor(value)} for value in values]


def test_a_start_drops_what_comes_after_its_step_and_continues_the_clock(exp: Path, signals: None) -> None:
    for step in (5, 10, 15):
        append_metrics(exp, {"step": step})
    mark_finished(exp, {"step": 15})
    run = start_run(exp, Progress(step=10, seconds=100.0), {"precision": "no"})
    assert [row["step"] for row in read_metrics(exp)] == [5, 10] and not is_finished(exp)
    assert 100 <= training_seconds(run) < 110 and run.first_step == 10
    assert run.conditions == {"threads": torch.get_num_threads(), "precision": "no"}


def test_another_process_than_the_first_writes_nothing(exp: Path, signals: None) -> None:
    append_metrics(exp, {"step": 15})
    run = start_run(exp, Progress(step=10), {}, rank0=False)
    progress = write_losses(run, Progress(step=11, since_log=rows(1.0)), {}, shown=["loss"])
    assert progress.since_log == () and [row["step"] for row in read_metrics(exp)] == [15]
    end_run(run, progress, stopping=False)
    assert [path.name for path in exp.iterdir()] == ["metrics.jsonl"]


def test_a_signal_is_noted_and_the_log_says_so_where_it_stopped_the_run(run: Run) -> None:
    os.kill(os.getpid(), signal.SIGUSR1)
    assert run.signals == [signal.SIGUSR1]
    assert end_run(run, Progress(step=15, total_steps=20), stopping=True)
    assert not end_run(run, Progress(step=20, total_steps=20), stopping=True)
    assert not end_run(run, Progress(step=15, total_steps=20), stopping=False)


def test_ctrl_c_is_noted_once_a_press_and_twice_ends(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, ended = [100.0], []
    monkeypatch.setattr("training.resuming.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("training.resuming.end_interrupted", lambda: ended.append(clock[0]))
    for later in (0.0, 0.3):  # from the terminal, and from the shell script that waits
        clock[0] = 100.0 + later
        os.kill(os.getpid(), signal.SIGINT)
    assert run.signals == [signal.SIGINT] and not ended
    clock[0] = 105.0
    os.kill(os.getpid(), signal.SIGINT)
    assert ended == [105.0]


@pytest.mark.parametrize(
    ("sent", "named"),
    [([signal.SIGINT], "Ctrl-C"), ([signal.SIGUSR1, signal.SIGTERM], "SIGUSR1, SIGTERM"), ([], "a signal to another")],
)
def test_a_stopped_run_says_what_stopped_it(
    run: Run, sent: list[int], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    for number in sent:
        os.kill(os.getpid(), number)
    with caplog.at_level("INFO"):
        assert end_run(run, Progress(step=4, total_steps=20), stopping=True)
    assert f"stopped by {named}" in caplog.text and "step 4, saved" in caplog.text


def test_after_the_last_step_ctrl_c_is_an_exception_again(run: Run) -> None:
    end_run(run, Progress(step=20, total_steps=20), stopping=False)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_run_in_the_background_goes_on_ignoring_ctrl_c(exp: Path, signals: None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run = start_run(exp, Progress(step=10), {})
    os.kill(os.getpid(), signal.SIGINT)
    assert run.signals == [] and signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_row_has_the_means_and_begins_the_next(run: Run) -> None:
    progress = note_step(run, Progress(step=10, since_log=rows(1.0)), rows(3.0)[0])
    progress = write_losses(run, progress, {"learning_rate": 0.5}, shown=["train_loss"], prefix="train_")
    (row,) = read_metrics(run.exp)
    assert (row["step"], row["train_loss"], row["learning_rate"]) == (11, 2.0, 0.5) and row["seconds"] >= 100
    assert (progress.step, progress.since_log) == (11, ())


def test_a_checkpoint_holds_the_progress_and_the_parts(run: Run) -> None:
    progress = Progress(step=12, total_steps=20, best=0.5, stale=1, validated=10, since_log=rows(1.0, 2.0))
    save_progress(run, "latest", progress, model={"weight": torch.ones(2)})
    state = load_checkpoint(run.exp / "checkpoints" / "latest.pt", command="")
    seconds = state["seconds"]
    assert {name: state[name] for name in Progress._fields} == progress._replace(seconds=seconds)._asdict()
    assert 100 <= seconds < 110 and state["precision"] == "no" and state["model"]["weight"].tolist() == [1, 1]
    assert "torch" in state["random_state"]


def test_what_is_not_finite_does_not_replace_the_latest(run: Run) -> None:
    save_progress(run, "latest", Progress(step=12))
    with pytest.raises(UserError, match="not finite at step 13"):
        save_progress(run, "latest", Progress(step=13, since_log=rows(float("nan"))))
    assert load_checkpoint(run.exp / "checkpoints" / "latest.pt", command="")["step"] == 12


def test_a_budget_of_minutes_becomes_the_plan(run: Run) -> None:
    assert note_plan(run, Progress(step=12), 300, 0.5).total_steps == 300 and run.bar.total == 300


def test_a_finished_run_is_not_done_again_but_can_be_lengthened(run: Run) -> None:
    assert not has_finished(run.exp, 20)
    finish_run(run, Progress(step=20), {"best_loss": 0.5}, "loss 0.5")
    assert [has_finished(run.exp, steps) for steps in (None, 10, 20, 21)] == [True, True, True, False]


def test_the_checkpoint_to_continue_from(exp: Path, tmp_path: Path) -> None:
    latest, other = exp / "checkpoints" / "latest.pt", tmp_path / "other" / "best.pt"
    assert find_checkpoint("auto", exp) is None and find_checkpoint(None, exp) is None
    latest.parent.mkdir()
    latest.touch()
    assert [find_checkpoint(resume, exp) for resume in ("auto", "latest", str(other))] == [latest, latest, other]
    assert is_own(latest, exp) and not is_own(other, exp)


def test_another_models_checkpoint_is_refused() -> None:
    state, path = {"step": 7, "version": "v3", "sizes": {"channels": 16, "added_later": 1}}, Path("other.pt")
    check_borrowed(state, path, {"version": "v3", "sizes": {"channels": 16}}, 8)
    check_borrowed(state, path, {"version": "v3", "sizes": {"channels": 16, "newer_than_it": 2}}, None)
    with pytest.raises(UserError, match="other.pt: expected a checkpoint of version v2, found v3"):
        check_borrowed(state, path, {"version": "v2"}, 8)
    with pytest.raises(UserError, match="expected a checkpoint of sizes"):
        check_borrowed(state, path, {"sizes": {"channels": 32}}, 8)
    with pytest.raises(UserError, match="is at step 7, of 7 planned here"):
        check_borrowed(state, path, {"version": "v3"}, 7)


def test_conditions_that_changed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("training.resuming.log.warning", lambda text, *values: said.append(text % values))
    note_changes({"threads": 2, "precision": "no"}, {"threads": 4, "precision": "no", "processes": 2})
    assert said == ["threads: 2 when stopped, 4 now; results differ in the last bits"]


def test_the_bar_stands_where_the_training_does_and_shows_the_best(run: Run) -> None:
    assert (run.bar.total, run.bar.n) == (20, 10)
    for best in (0.12345, (0.12345, 7.0)):
        progress = Progress(step=11, since_log=rows(1.0, 2.0), best=best)
        write_losses(run, progress, {}, shown=["train_loss", "unknown"], prefix="train_")
        assert run.bar.postfix == "loss=1.500, best=0.123"


def test_what_is_written_at_the_end_has_minutes_and_tenths_of_seconds(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("training.resuming.log.info", lambda text, *values: said.append(text % values))
    monkeypatch.setattr("training.resuming.training_seconds", lambda _: 99.16789)
    write_row(run, 11, {"loss": 2.0})
    (row,) = read_metrics(run.exp)
    assert row == {"step": 11, "seconds": 99.168, "loss": 2.0}
    finish_run(run, Progress(step=20), {"best_loss": 0.5}, "loss 0.500")
    assert read_json(run.exp / "finished.json") == {"step": 20, "best_loss": 0.5, "seconds": 99.2}
    note_plan(run, Progress(), 300, 0.25)
    assert has_finished(run.exp, None)
    assert said == [
        f"wrote {run.exp}: 20 steps in 1.7 minutes, best loss 0.500",
        "0.2 minutes stand for 300 steps",
        f"{run.exp}: already finished with this configuration; nothing to do",
    ]


def test_a_second_press_within_two_seconds_is_the_same_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, ended = [0.0], []
    monkeypatch.setattr("training.resuming.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("training.resuming.end_interrupted", lambda: ended.append(clock[0]))
    for clock[0] in (50.0, 52.0, 52.1):
        os.kill(os.getpid(), signal.SIGINT)
    assert ended == [52.1] and run.signals == [signal.SIGINT]
