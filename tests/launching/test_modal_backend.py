"""What launch.py hands to Modal's client, and refuses before it asks."""

from pathlib import Path
from types import SimpleNamespace

import pytest

import launch

from core.errors import UserError
from core.files import write_json
from core.records import JobRecord
from launching import display, modal_backend, modal_calls
from launching.attempts import exit_codes
from launching.job import (
    Resources,
    create_folder,
    engine_folder,
    make_job,
    read_record,
    write_job,
    write_record,
)
from launching.modal_calls import CallAnswer


def test_what_modal_cannot_do_is_refused(language_roots: dict[str, Path]) -> None:
    job = make_job("x", [["src/train_bpe.py"]], backend="modal", resources=Resources(gpus=1))
    with pytest.raises(UserError, match="name of the GPU"):
        modal_backend.describe(job)
    plain = make_job("x", [["src/train_bpe.py"]], backend="modal")
    with pytest.raises(UserError, match="no dependencies"):
        modal_backend.describe(plain | {"after": [plain | {"ids": ["1"]}]})
    with pytest.raises(UserError, match="::phase1 --shards"):
        modal_backend.describe(plain | {"commands": [["src/train_bpe.py"]] * 2})
    with pytest.raises(UserError, match="--account: Modal has none"):
        modal_backend.describe(make_job("x", [["src/train_bpe.py"]], backend="modal", resources=Resources(account="a")))


@pytest.fixture
def record(language_roots: dict[str, Path]) -> JobRecord:
    job = create_folder(make_job("voice", [["src/train_bpe.py"]], backend="modal"))
    write_job(job)
    record = job | {"ids": ["fc-1"], "app_id": "ap-1"}
    write_record(record)
    return record


def answer_with(monkeypatch: pytest.MonkeyPatch, *answers: CallAnswer) -> list[str]:
    """The ids that are asked; the last answer stays."""
    asked, left = [], [*answers]

    def ask(number: str) -> CallAnswer:
        asked.append(number)
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(modal_backend, "ask_call", ask)
    return asked


ROWS = [
    {"task": 0, "attempt": 1, "event": "started", "at": "now"},
    {"task": 0, "event": "ended", "at": "now", "exit_code": 3, "stopped": False},
]


@pytest.mark.parametrize(
    ("answer", "state", "codes"),
    [
        (CallAnswer("running"), "running", [None]),
        (CallAnswer("finished", {"exit_code": 0, "message": "", "rows": []}), "finished", [0]),
        (CallAnswer("finished", {"exit_code": 3, "message": "error: x", "rows": ROWS}), "failed", [3]),
        (CallAnswer("finished", 0), "finished", [0]),  # as this code returned once
        (CallAnswer("failed", reason="a defect", exit_code=7), "failed", [7]),
        (CallAnswer("failed", reason="out of memory"), "failed", [1]),
        (CallAnswer("cancelled"), "cancelled", [None]),
        (CallAnswer("forgotten"), "forgotten", [None]),
        (CallAnswer("unreachable", reason="no network"), "unreachable", [None]),
        (CallAnswer("unknown", reason="no such call"), "unknown", [None]),
    ],
)
def test_a_state_and_what_is_kept_of_it(
    record: JobRecord, answer: CallAnswer, state: str, codes: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modal forgets after a week: how a call ended lies in attempts.jsonl from the first time that it is asked."""
    asked = answer_with(monkeypatch, answer, CallAnswer("forgotten"))
    assert modal_backend.state(record) == state and exit_codes(record) == codes
    again = modal_backend.state(record)
    assert again == (state if codes != [None] else "forgotten") and len(asked) == 1 + (codes == [None])


def test_a_cancelled_job_stays_so_and_a_submission_cut_short_is_found_again(
    record: JobRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, CallAnswer("forgotten"))
    assert modal_backend.state(record | {"cancelled": "now"}) == "cancelled"
    asked = answer_with(monkeypatch, CallAnswer("running"))
    lost = record | {"ids": []}
    assert modal_backend.state(lost) == "unknown" and asked == []
    write_json(engine_folder(record) / "calls.json", {"calls": ["fc-9"], "app_id": "ap-9"})
    assert modal_backend.state(lost) == "running" and asked == ["fc-9"]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("running", "its job 1 is running, and both would write .*--take_over"),
        ("unreachable", "is unreachable, and it may write to exp/voice; try again later"),
        ("unknown", "is unknown, and it may write to exp/voice; .*--take_over"),
    ],
)
def test_a_job_that_may_write_lets_no_second_in(
    record: JobRecord, state: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, CallAnswer(state, reason="why"))
    with pytest.raises(UserError, match=said):
        launch.refuse_second_writer("voice", [])
    for over in ("failed", "cancelled", "forgotten"):
        answer_with(monkeypatch, CallAnswer(over))
        launch.refuse_second_writer("voice", [])


def test_taking_over_cancels_what_runs_and_passes_over_what_nobody_knows(
    record: JobRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = []
    monkeypatch.setattr(modal_backend, "cancel_call", cancelled.append)
    answer_with(monkeypatch, CallAnswer("unknown", reason="why"))
    launch.refuse_second_writer("voice", [], take_over=True)
    answer_with(monkeypatch, CallAnswer("unreachable", reason="why"))
    with pytest.raises(UserError, match="cannot be asked now"):
        launch.refuse_second_writer("voice", [], take_over=True)
    assert cancelled == []
    answer_with(monkeypatch, CallAnswer("running"), CallAnswer("cancelled"))
    launch.refuse_second_writer("voice", [], take_over=True)
    assert cancelled == ["fc-1"] and "cancelled" in read_record(record["folder"])


def test_a_cancel_that_failed_is_not_noted(record: JobRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(number: str) -> None:
        raise UserError("Modal: no network; call fc-1 is not cancelled")

    monkeypatch.setattr(modal_backend, "cancel_call", fail)
    answer_with(monkeypatch, CallAnswer("unreachable", reason="why"))
    with pytest.raises(UserError, match="not cancelled"):
        launch.cancel(["voice"])
    assert "cancelled" not in read_record(record["folder"])


def test_one_failed_job_hinders_no_command(
    record: JobRecord, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    answer_with(monkeypatch, CallAnswer("failed", reason="ValueError", exit_code=1))
    monkeypatch.setattr(modal_calls, "print_call_log", lambda number, **how: print("step 9", how))
    display.show_status(["voice"])
    launch.cancel(["voice"])
    display.show_logs(["voice"], lines=5, follow=True)
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].split()[:4] == ["voice/1", "modal", "failed", "1"] and shown[2] == "voice: nothing to cancel"
    assert shown[3:] == ["step 9 {'lines': 5, 'follow': False}", "voice/1: failed, exit code 1"]


def test_the_log_of_a_chain_is_that_of_its_stages_one_after_the_other(
    record: JobRecord, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    made = {"fc-1/0/0": "fc-units"}
    monkeypatch.setattr(modal_calls, "open_calls", lambda: SimpleNamespace(get=made.get))
    monkeypatch.setattr(modal_calls, "unreachable_reason", lambda: "")
    monkeypatch.setattr(display, "FOLLOW_SECONDS", 0.0)
    monkeypatch.setattr(display, "find_records", lambda name: [record | {"n_stages": 2}])

    def print_log(number: str, *, lines: int, follow: bool) -> None:
        print(number, follow)
        made.update({"fc-1/1/0": "fc-voice", "fc-1/1/1": "fc-other"})

    monkeypatch.setattr(modal_calls, "print_call_log", print_log)
    answer_with(
        monkeypatch, CallAnswer("running"), CallAnswer("running"), CallAnswer("finished", {"exit_code": 0, "rows": []})
    )
    display.show_logs(["voice"], lines=5, follow=True)
    shown = capsys.readouterr().out.splitlines()
    assert shown == ["fc-units True", "fc-voice True", "fc-other True", "voice/1: finished, exit code 0"]
