"""What launch.py shows of jobs: a row for each, and the ends of their logs."""

from pathlib import Path

import pytest

from core.records import JobRecord
from launching import display
from launching.attempts import append_row, end_attempt
from launching.job import create_folder, engine_folder, make_job, write_job, write_record


@pytest.fixture
def record(language_roots: dict[str, Path]) -> JobRecord:
    """Three tasks on Grid Engine: the first two have ended, the third was started twice and runs."""
    job = create_folder(make_job("voice", [["src/x.py", "a b"]] * 3, backend="sge"))
    write_job(job)
    record = job | {"ids": ["17"]}
    write_record(record)
    for task in (0, 1, 2, 2):
        append_row(job["folder"], {"task": task, "event": "started", "at": "now"})
    for task, code in ((0, 0), (1, 3)):
        end_attempt(job["folder"], task, code, stopped=False)
    return record


def test_a_row_counts_the_codes_and_attempts_of_an_array(
    record: JobRecord, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(display, "state_of", lambda record: "running")
    name, backend, state, codes, attempts, submitted, number, command = display.status_row(record)
    assert (name, backend, state, codes, attempts) == ("voice/1", "sge", "running", "0×1 3×1", "4")
    assert record["submitted"].startswith(submitted) and number == "17"
    assert command == "src/x.py 'a b'  (and 2 more)"
    display.show_status([])
    heading, row, *_ = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["job", "backend", "state"] and row.split()[:3] == ["voice/1", "sge", "running"]


def test_it_says_which_tasks_of_an_array_failed(
    record: JobRecord, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(display, "state_of", lambda record: "failed")
    monkeypatch.setattr("launching.sge.task_states", lambda record: ["finished", "failed", "failed"])
    display.show_status(["voice"])
    failures, again = capsys.readouterr().out.splitlines()[2:]
    assert failures == (
        "voice/1: failed tasks: 1 (exit code 3), 2 (no exit code: killed, or out of memory); "
        f"see {record['folder']}/output_1.log"
    )
    assert again == "  run task 1 again: python scripts/launch.py submit --name voice -- src/x.py 'a b'"
    assert display.as_ranges([9, 1, 4, 3, 5]) == "1, 3-5, 9"


def test_without_jobs_it_says_where_it_looked(language_roots: dict[str, Path], capsys: pytest.CaptureFixture) -> None:
    display.show_status([])
    assert capsys.readouterr().out == f"no jobs in {language_roots['exp']}\n"


def test_the_engines_own_messages_are_shown_where_a_job_ended_badly(record: JobRecord) -> None:
    engine_folder(record).mkdir()
    own, engine = Path(record["folder"]) / "output_1.log", engine_folder(record) / "17.1.log"
    for path in (own, engine, own.with_name("output_2.log")):
        path.write_text("" if path.name == "output_2.log" else "printed\n")
    assert display.log_files(record, "finished") == [own]
    assert display.log_files(record, "failed") == [own, engine]


def test_a_log_is_shown_from_its_last_lines_on(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    log = tmp_path / "output.log"
    log.write_text("first\nsecond\nthird\n")
    end = display.print_log(log, None, 2)
    assert capsys.readouterr().out == f"==> {log} <==\nsecond\nthird\n"
    with open(log, "a") as out:
        out.write("fourth\n")
    assert display.print_log(log, end, 2) == log.stat().st_size and capsys.readouterr().out == "fourth\n"
