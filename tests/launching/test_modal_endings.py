"""Every ending of an attempt on Modal: how many containers it costs, its exit code, and whose its folder is then."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import modal_run
from modal_container import open_writers
from modal_engine import make_engine

from launching.modal_flags import parse_main
from launching.modal_task import MAX_SILENT, run_spec
from launching.modal_writers import LEASE_SECONDS

SAVE = """
import os
os.makedirs('exp/run/checkpoints', exist_ok=True)
open('exp/run/checkpoints/latest.pt', 'a').write('1')
"""
TELL = "import sys; print('error: no such voice', file=sys.stderr)"
SLEEP = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
open('ready', 'w')
time.sleep(60)
"""
SAVED = SLEEP.replace("sys.exit(1)", "sys.exit(99)")  # the code that says so


@pytest.fixture
def volume(language_roots: dict[str, Path], tmp_path: Path) -> SimpleNamespace:
    """A container's working folder, the volume's exp/, and an engine that runs a script of some lines."""
    found = SimpleNamespace(exp=language_roots["exp"], working=tmp_path / "code", time=1000.0, limit=60.0, commits=[])
    found.writers = open_writers(tmp_path / "writers.json")
    found.script = tmp_path / "script.py"

    def body(spec: dict) -> dict:
        spec = {name: value for name, value in spec.items() if name != "volume"}
        return run_spec(
            **{"owner": found.engine.current} | spec,
            writers=found.writers,
            lives=found.engine.lives,
            working_folder=found.working,
            clock=lambda: found.time,
            commit=lambda: found.commits.append(1),
            preemption_seconds=5.0,
        )

    found.engine = make_engine(body)
    return found


def run(volume: SimpleNamespace, *lines: str, retries: int = 10, words: tuple[str, ...] = ()) -> tuple[int, str]:
    """(exit code, message) of a call that runs a script of ``lines``."""
    volume.script.write_text("\n".join(lines))
    spec = {"words": [str(volume.script), *words], "processes": 1, "folder": "run", "environment": {}}
    spec |= {"limit_seconds": volume.limit, "retries": retries}
    call = volume.engine.function.with_options(retries=retries).spawn(spec)
    try:
        return modal_run.read_end(call.get())
    except RuntimeError as error:
        return modal_run.read_end(error)


def is_free(volume: SimpleNamespace) -> bool:
    return volume.writers.get("run")["until"] == 0.0


@pytest.mark.parametrize(
    ("lines", "retries", "starts", "end"),
    [
        (["pass"], 10, 1, (0, "")),
        ([TELL, "sys.exit(2)"], 10, 1, (2, "error: no such voice")),
        ([SAVE, TELL, "sys.exit(3)"], 10, 1, (3, "error: no such voice")),
        (["raise ValueError('a defect')"], 10, 1, (1, "ValueError: a defect")),
        (["open('exp/run.log', 'w')", "raise ValueError('a defect')"], 10, 1, (1, "ValueError: a defect")),
        ([SAVE, "raise ValueError('after a step')"], 3, 4, (1, "ValueError: after a step")),
        ([SAVE, "raise ValueError('after a step')"], 0, 1, (1, "ValueError: after a step")),
        (["import os", "os.kill(os.getpid(), 9)"], 10, 1, (137, "script.py: exit code -9")),
    ],
)
def test_a_retry_is_made_only_where_it_may_help(
    volume: SimpleNamespace, lines: list[str], retries: int, starts: int, end: tuple[int, str]
) -> None:
    code, said = run(volume, *lines, retries=retries)
    assert (volume.engine.starts, code) == (starts, end[0]) and said.endswith(end[1])
    assert is_free(volume) and volume.commits


def test_a_limit_is_retried_only_where_something_was_saved(volume: SimpleNamespace) -> None:
    volume.limit = 1.0
    code, said = run(volume, SLEEP)
    assert (volume.engine.starts, code) == (1, 1) and "nothing to go on from; give more --hours" in said
    volume.engine.starts = 0
    code, said = run(volume, SAVED, retries=1)
    assert (volume.engine.starts, code) == (2, 99) and is_free(volume)
    volume.engine.starts = 0
    code, said = run(
        volume, "import os", "again = os.path.exists('exp/run/checkpoints')", SAVE, f"again or exec({SLEEP!r})"
    )
    assert (volume.engine.starts, code, said) == (2, 0, "") and is_free(volume)


def test_what_was_gained_is_looked_for_where_the_command_writes(volume: SimpleNamespace) -> None:
    lines = (SAVE.replace("exp/run", "exp/group/deep"), "raise ValueError")
    run(volume, *lines, retries=1, words=("--exp", "exp/group/deep"))
    assert volume.engine.starts == 2


def test_a_preempted_call_keeps_its_folder_and_a_cancelled_one_gives_it_back(volume: SimpleNamespace) -> None:
    def send(number: int) -> None:
        ready = volume.working / "ready"
        while not ready.exists():
            time.sleep(0.01)
        held.append(volume.writers.get("run")["until"])
        ready.unlink()
        os.kill(os.getpid(), number)

    held: list[float] = []
    thread = threading.Thread(target=send, args=(signal.SIGINT,))
    thread.start()
    code, _ = run(
        volume,
        "import os, sys",
        f"os.path.exists('exp/once') or [open('exp/once', 'w'), exec({SAVED!r})]",
    )
    thread.join()
    assert (volume.engine.starts, code) == (2, 0) and held == [1000.0 + LEASE_SECONDS]
    events = [(row["event"], row.get("exit_code"), row.get("reason")) for row in volume.writers.get("run")["rows"]]
    assert events == [("started", None, None), ("ended", 99, "preempted"), ("started", None, None), ("ended", 0, None)]

    before = signal.signal(
        signal.SIGUSR1, lambda *_: (_ for _ in ()).throw(GeneratorExit("cancelled"))
    )  # as Modal does
    try:
        thread = threading.Thread(target=send, args=(signal.SIGUSR1,))
        thread.start()
        with pytest.raises(GeneratorExit):
            run(volume, SAVED, retries=0)
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert is_free(volume)


def test_a_container_that_dies_without_a_word_is_not_started_for_ever(volume: SimpleNamespace) -> None:
    """Out of memory, the engine ends the whole container: no row, no exception of ours."""
    claim = {"owner": "fc-1", "call": "fc-1", "until": 9e9, "attempt": 2, "mark": "", "rows": [{"event": "started"}]}
    volume.writers.put("run", claim | {"silent": MAX_SILENT - 1})
    code, said = run(volume, "pass")
    assert code == 1 and "died 3 times without a word" in said and is_free(volume)
    volume.writers.put("run", claim | {"owner": "fc-2", "call": "fc-2", "silent": MAX_SILENT - 2})
    assert run(volume, "pass") == (0, "")


def test_the_holder_is_asked_and_a_refusal_costs_one_start(volume: SimpleNamespace) -> None:
    volume.writers.put("run", {"owner": "fc-other", "until": 0.5, "attempt": 0})  # its lease is over, and it lives
    code, said = run(volume, "pass")
    assert (code, volume.engine.starts) == (2, 1) and "found call fc-other" in said and "--take_over" in said
    volume.engine.ended["fc-other"] = (None, KeyboardInterrupt())  # stopped: its claim still has 20 minutes
    volume.writers.put("run", {"owner": "fc-other", "until": 2000.0, "attempt": 0})
    assert run(volume, "pass") == (0, "")


def test_relative_paths_are_the_volumes_and_what_lies_beside_them_is_saved(volume: SimpleNamespace) -> None:
    lines = ("import sys", "open(sys.argv[1], 'w').write('voice')", "open('demo.wav', 'w').write('heard')")
    assert run(volume, *lines, words=("exp/other.pt",)) == (0, "")
    assert (volume.exp / "other.pt").read_text() == "voice"
    assert (volume.exp / "run" / "working_folder" / "demo.wav").read_text() == "heard"
    (volume.working / "exp").unlink()
    (volume.working / "exp").mkdir()
    code, said = run(volume, *lines, words=("exp/other.pt",))
    assert code == 2 and "expected a link" in said


def call_from_here(volume: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's side asks the same engine and claims as the container's."""
    monkeypatch.setattr(modal_run, "run_script", volume.engine.function)
    monkeypatch.setattr(modal_run, "open_writers", lambda name: volume.writers)
    monkeypatch.setattr(modal_run, "call_lives", volume.engine.lives)


def test_a_mistyped_flag_costs_one_start_and_its_message_comes_last(
    volume: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    call_from_here(volume, monkeypatch)
    words = ["--gpu", "L4", "--", "scripts/show_language.py", "--langage", "satere"]
    with pytest.raises(SystemExit) as ended:
        modal_run.run_entry(parse_main, words)
    captured = capfd.readouterr()
    lines = captured.out.splitlines() + captured.err.splitlines()
    assert (ended.value.code, volume.engine.starts) == (2, 1) and len(lines) <= 5, lines
    assert "unrecognized arguments: --langage" in captured.err.splitlines()[-1]


def test_a_held_folder_is_found_before_anything_starts(
    volume: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    call_from_here(volume, monkeypatch)

    def give_back(call: str) -> None:
        volume.engine.ended[call] = (None, None)
        volume.writers.put("show_language", volume.writers.get("show_language") | {"until": 0.0})

    monkeypatch.setattr(modal_run, "cancel_call", give_back)

    volume.writers.put("show_language", {"owner": "fc-other", "until": 2000.0, "attempt": 0})
    words = ["--", "scripts/show_language.py", "--help"]
    with pytest.raises(SystemExit) as ended:
        modal_run.run_entry(parse_main, words)
    assert (ended.value.code, volume.engine.starts) == (2, 0) and "fc-other" in capsys.readouterr().err
    modal_run.run_entry(parse_main, ["--take_over", *words])
    assert volume.engine.starts == 1 and "stopped call fc-other" in capsys.readouterr().out


def test_segments_are_copied_once_the_folder_is_claimed(volume: SimpleNamespace) -> None:
    copied = []

    @contextlib.contextmanager
    def staged() -> Iterator[dict[str, str]]:
        copied.append(volume.writers.get("run")["owner"])
        yield {"DATA_ROOT": "/local"}

    def attempt(owner: str) -> dict:
        words = [str(volume.script)]
        return run_spec(
            words,
            folder="run",
            owner=owner,
            writers=volume.writers,
            lives=lambda call: call == "fc-other",
            working_folder=volume.working,
            environment={},
            staged=staged(),
            processes=1,
            limit_seconds=60.0,
            retries=0,
            commit=lambda: None,
        )

    volume.script.write_text("import os, sys\nsys.exit(os.environ['DATA_ROOT'] != '/local')")
    volume.writers.put("run", {"owner": "fc-other", "until": 9e9, "attempt": 0})
    assert attempt("fc-own")["exit_code"] == 2 and copied == []
    volume.writers.put("run", {"owner": "fc-other", "until": 0.0, "attempt": 0})
    assert attempt("fc-own")["exit_code"] == 0 and copied == ["fc-own"]
