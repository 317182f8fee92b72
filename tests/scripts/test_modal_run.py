"""The Modal app without an account: it imports, calls carry their options, entry points take their words."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import modal
import pytest

import modal_run

from core.errors import UserError
from launching.modal_account import VOLUME
from launching.modal_flags import parse_main, parse_phase
from launching.modal_image_contents import BASE_VOICES, CODE_FILES, CODE_FOLDERS, CODE_ROOT
from launching.modal_plan import plan_stages
from launching.modal_spec import function_options
from synthetic import REPOSITORY, run_script, script_environment

TRAIN = ["src/trainer_vocoder.py", "--language", "satere"]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch):
    """The client's command line as a function: words -> exit code; running an app needs no account here."""
    import modal.cli.run
    from modal.cli.entry_point import entrypoint_cli

    @contextlib.contextmanager
    def run_app(app, **_):
        yield app

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["modal", "run", *words])
        with pytest.raises(SystemExit) as ended:
            entrypoint_cli()
        return ended.value.code

    monkeypatch.setattr(modal.cli.run, "run_app", run_app)
    monkeypatch.chdir(REPOSITORY)
    return run


def test_a_call_carries_gpu_limit_retries_and_volume() -> None:
    job = parse_main(["--gpu", "H100:2", "--hours", "2", "--retries", "3", "--", *TRAIN])
    info = modal_run.run_script.with_options(**function_options(job)).info()
    assert (info.gpus, info.timeout, info.max_retries) == ([("H100", 2)], 7200, 3)
    assert (info.cpu, info.memory_mib) == (4.0, 16384)
    assert {path: mount.name for path, mount in info.volumes.items()} == {"/vol": VOLUME}
    other = modal_run.run_script.with_options(**function_options(parse_main(["--", *TRAIN]))).info()
    assert (other.gpus, other.timeout, other.max_retries) == ([], 86400, 10) and other.volumes
    assert modal_run.run_script.info().secrets == [] and not modal_run.run_script.info().gpus


def uploaded_files(image: object) -> set[str]:
    """Where the client itself would put files of this working tree, by all mounts below ``image``."""
    found, todo = set(), [image]
    while todo:
        current = todo.pop()
        for entry in getattr(current, "_entries", []) or []:
            found |= {str(remote) for _, remote in entry.get_files_to_upload()}
        todo += current._deps() if current._deps else []
    return found


def test_the_image_holds_code_and_nothing_else() -> None:
    """Tracked code; no data, no results, no secrets."""
    from modal._utils.async_utils import synchronizer

    found = uploaded_files(synchronizer._translate_in(modal_run.image))
    assert all(name.startswith(f"{CODE_ROOT}/") for name in found)
    below = {name.removeprefix(f"{CODE_ROOT}/") for name in found}
    voices = [REPOSITORY / voice for voice in BASE_VOICES]
    voice = {name for name in below if name.startswith(BASE_VOICES)}
    assert voice == {str(path.relative_to(REPOSITORY)) for folder in voices for path in folder.rglob("*.*")}
    below -= voice
    assert {name.split("/")[0] for name in below} == {*CODE_FOLDERS, *CODE_FILES}
    listed = subprocess.run(
        ["git", "ls-files", *CODE_FOLDERS], check=False, cwd=REPOSITORY, capture_output=True, text=True
    )
    tracked = {name for name in listed.stdout.split() if (REPOSITORY / name).exists()}
    assert {"src/trainer_vocoder.py", "recipes/satere/prepare.sh"} <= below and tracked <= below


def only_spec(shown: str) -> dict:
    """The spec of the command itself, the last of the stages that --dry_run prints."""
    (spec,) = json.loads(shown)[-1]["specs"]
    return spec


def test_entry_points_hand_their_words_through(client, capsys: pytest.CaptureFixture) -> None:
    script = "scripts/modal_run.py"
    assert client(f"{script}::main", "--gpu", "H100:2", "--dry-run", "--", *TRAIN, "--resume") == 0
    cost, _, shown = capsys.readouterr().out.partition("\n")
    assert cost.startswith("cost: at most 48 GPU-hours of H100")
    assert only_spec(shown)["words"] == [*TRAIN, "--resume"]
    assert client(f"{script}::phase3", "--language", "satere", "--dry_run", "--", "--lr", "1") == 0
    shown = only_spec(capsys.readouterr().out.partition("\n")[2])
    assert shown["words"] == ["scripts/run_phase3.sh", "--language", "satere", "--lr", "1"]
    assert client(f"{script}::phase2", "--language", "satere", "--dry_run") == 0
    capsys.readouterr()
    assert client(f"{script}::main", "--gpu", "H1000", "--", *TRAIN) == 2
    assert capsys.readouterr().err.startswith("error: --gpu H1000: expected one of T4, L4")
    assert client(f"{script}::main", "--no_wait", "--", *TRAIN) == 2
    assert "--detach" in capsys.readouterr().err


def test_help_of_an_entry_point_shows_its_flags(client, capsys: pytest.CaptureFixture) -> None:
    for name, flag in (("main", "--gpu_price"), ("phase1", "--shards"), ("phase3", "--language")):
        assert client(f"scripts/modal_run.py::{name}", "--help") == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"usage: modal run scripts/modal_run.py::{name}") and flag in shown
    assert modal_run.asked_help(["modal", "run", "scripts/modal_run.py::main", "--", "src/x.py", "--help"]) is None
    assert modal_run.asked_help(["pytest", "--help"]) is None


def test_run_by_itself_it_checks_first_and_becomes_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    became = []
    monkeypatch.setattr(modal_run, "require_token", lambda: None)
    monkeypatch.setattr(os, "execv", lambda program, words: became.extend([program, *words]))
    monkeypatch.setattr(sys, "argv", ["modal_run.py", "--gpu", "L4", "--", *TRAIN])
    modal_run.hand_to_client()
    script = str(REPOSITORY / "scripts" / "modal_run.py")
    assert became[2:] == ["-m", "modal", "run", "--detach", f"{script}::main", "--gpu", "L4", "--", *TRAIN]
    monkeypatch.setattr(sys, "argv", ["modal_run.py", "--gpu", "L5", "--", *TRAIN])
    with pytest.raises(UserError, match="L5"):
        modal_run.hand_to_client()
    shown = run_script("scripts/modal_run.py", "--help").stdout
    assert "--gpu" in shown and "--retries" in shown


def test_phase_1_in_shards(client, capsys: pytest.CaptureFixture) -> None:
    flags = ["--language", "satere", "--shards", "3", "--gpu", "L4", "--dry_run", "--tag", "t"]
    assert client("scripts/modal_run.py::phase1", *flags) == 0
    stages = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert [len(stage["specs"]) for stage in stages] == [3, 1, 3, 1, 1]
    assert [stage["options"].get("gpu") for stage in stages] == ["L4:1", None, "L4:1", None, None]
    folders = [spec["folder"] for stage in stages for spec in stage["specs"]]
    assert len({folder for folder in folders if "/" in folder}) == 6 and folders[-1] == "satere_units_t"
    assert stages[-1]["specs"][0]["words"] == ["src/validate_units.py", "--exp", "/vol/exp/satere_units_t"]


GOOD = {"exit_code": 0, "message": "", "rows": []}


def spawned(monkeypatch: pytest.MonkeyPatch, end: object = GOOD) -> list:
    """Calls as they would reach Modal; ``end`` is what they return or raise."""
    calls = []

    def get() -> object:
        calls.append("get")
        if isinstance(end, Exception):
            raise end
        return end

    def function(**options) -> SimpleNamespace:
        def spawn(argument):
            calls.append((options, argument))
            return SimpleNamespace(object_id="fc-7", get=get)

        return SimpleNamespace(spawn=spawn)

    monkeypatch.setattr(modal_run, "run_script", SimpleNamespace(with_options=function))
    monkeypatch.setattr(modal_run, "run_stages", function())
    monkeypatch.setattr(modal_run, "open_writers", lambda name: SimpleNamespace(get=lambda folder: None))
    return calls


def test_a_job_is_spawned_after_its_cost_was_said(monkeypatch, capsys, tmp_path: Path) -> None:
    calls = spawned(monkeypatch)
    words = ["src/extract_units.py", "--language", "satere"]
    job = parse_main(["--gpu", "L4", "--call_file", str(tmp_path / "call.json"), "--", *words])
    assert modal_run.submit(job) == 0
    (options, spec), waited = calls
    assert options["gpu"] == "L4:1" and spec["words"] == words and waited == "get"
    out = capsys.readouterr().out
    assert out.index("cost:") < out.index("submitted fc-7")
    assert "python -m modal run --detach scripts/modal_run.py::main -- SCRIPT" in out
    assert out.endswith("python scripts/download_results.py satere_units\n")
    kept = json.loads((tmp_path / "call.json").read_text())
    assert kept["calls"] == ["fc-7"] and "app_id" in kept
    monkeypatch.setattr(sys, "argv", ["modal", "run", "--detach", "x"])
    calls.clear()
    modal_run.submit(parse_main(["--no_wait", "--", *TRAIN]))
    assert "get" not in calls and len(calls) == 1


def raised(message: str, exit_code: int) -> RuntimeError:
    error = RuntimeError(message)
    error.exit_code = exit_code
    return error


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ({"exit_code": 3, "message": "error: 4 of 9 failed", "rows": []}, 3, "error: 4 of 9 failed"),
        ({"exit_code": -9, "message": "src/x.py: exit code -9", "rows": []}, 137, "src/x.py: exit code -9"),
        (raised("ValueError: a defect", 1), 1, "ValueError: a defect"),
        (raised("src/x.py: stopped at its limit", 99), 99, "src/x.py: stopped at its limit"),
        (modal.exception.RemoteError(""), 1, "fc-7: cancelled"),
        (modal.exception.FunctionTimeoutError("24 h"), 1, "fc-7: stopped by Modal at its limit (24 h)"),
    ],
)
def test_the_command_ends_with_the_scripts_code_and_line(
    end: object, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    spawned(monkeypatch, end)
    with pytest.raises(SystemExit) as ended:
        modal_run.run_entry(parse_main, ["--", *TRAIN])
    assert ended.value.code == code and capsys.readouterr().err.startswith(said)


def test_what_the_client_itself_cannot_do_is_not_taken_for_the_scripts_end(monkeypatch: pytest.MonkeyPatch) -> None:
    spawned(monkeypatch, modal.exception.ConnectionError("no network"))
    with pytest.raises(modal.exception.ConnectionError):
        modal_run.submit(parse_main(["--", *TRAIN]))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Calls of run_script as Modal would make them: ``outcomes`` by folder, ``made`` as they were spawned."""
    engine = SimpleNamespace(outcomes={}, made=[], waited=[], cancelled=[])
    entries = {}

    def call_of(number: str) -> SimpleNamespace:
        options, spec = engine.made[int(number.removeprefix("fc-"))]

        def get() -> object:
            engine.waited.append(number)
            found = engine.outcomes.get(spec["folder"], GOOD)
            if isinstance(found, BaseException):
                raise found
            return found

        return SimpleNamespace(object_id=number, get=get, cancel=lambda: engine.cancelled.append(number))

    def with_options(**options) -> SimpleNamespace:
        def spawn(spec: dict) -> SimpleNamespace:
            engine.made.append((options, spec))
            return call_of(f"fc-{len(engine.made) - 1}")

        return SimpleNamespace(spawn=spawn)

    monkeypatch.setattr(modal_run, "run_script", SimpleNamespace(with_options=with_options))
    monkeypatch.setattr(modal_run, "calls", SimpleNamespace(get=entries.get, put=entries.__setitem__))
    monkeypatch.setattr(modal_run.modal, "FunctionCall", SimpleNamespace(from_id=call_of))
    monkeypatch.setattr(modal_run.modal, "current_function_call_id", lambda: "fc-orchestrator")
    return engine


def phase1_stages() -> list[dict]:
    return plan_stages(parse_phase(1, ["--language", "spanish", "--shards", "2", "--gpu", "L4"]))


def test_stages_wait_for_each_other_and_name_what_failed(engine) -> None:
    engine.outcomes = {"spanish_units/assign_1": RuntimeError("the machine broke")}
    said = "error: 1 of 2 failed: spanish_units/assign_1; the first: the machine broke"
    assert modal_run.run_stages.local(phase1_stages()) == {"exit_code": 1, "message": said, "rows": []}
    assert [options.get("gpu") for options, _ in engine.made] == ["L4:1", "L4:1", None, "L4:1", "L4:1"]
    assert {spec["owner"] for _, spec in engine.made} == {"fc-orchestrator"}


def test_a_final_code_is_the_orchestrators_own(engine) -> None:
    engine.outcomes = {"spanish_units/sample_0": {"exit_code": 2, "message": "error: no voice", "rows": []}}
    end = modal_run.run_stages.local(phase1_stages())
    assert end["exit_code"] == 2 and end["message"].endswith("the first: error: no voice") and len(engine.made) == 2


def test_an_orchestrator_that_starts_again_waits_for_the_calls_it_made(engine) -> None:
    """Preempted, or after its own 24 hours: a second call beside the first would be a second writer."""
    engine.outcomes = {"spanish_units": KeyboardInterrupt("preempted")}  # while it waits for fit
    with pytest.raises(KeyboardInterrupt):
        modal_run.run_stages.local(phase1_stages())
    assert len(engine.made) == 3 and not engine.cancelled
    engine.outcomes.clear()
    assert modal_run.run_stages.local(phase1_stages()) == GOOD
    assert len(engine.made) == 2 + 1 + 2 + 1 + 1 and engine.waited.count("fc-2") == 2
    assert modal_run.run_stages.info().max_retries == 10


def test_a_cancelled_orchestrator_cancels_its_calls(engine) -> None:
    engine.outcomes = {"spanish_units/sample_1": modal_run.modal.exception.InputCancellation()}
    with pytest.raises(modal_run.modal.exception.InputCancellation):
        modal_run.run_stages.local(phase1_stages())
    assert engine.cancelled == ["fc-0", "fc-1"]


def test_volume_region_and_secret_reach_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modal_run, "open_volume", lambda name: modal_run.volume)
    words = ["--volume", "ours", "--region", "eu", "--hf_secret", "hub", "--", "scripts/fetch_models.py"]
    options = modal_run.client_options(function_options(parse_main(words)))
    assert set(options["volumes"]) == {"/vol"} and options["region"] == ["eu"]
    (secret,) = options["secrets"]
    assert isinstance(secret, modal_run.modal.Secret) and "hub" in repr(secret)
    info = modal_run.run_script.with_options(**options).info()
    assert len(info.secrets) == 1 and set(info.volumes) == {"/vol"}


def test_a_mistake_before_the_script_starts_is_returned_too(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """An exception would start the GPU ten times more."""

    def refuse(language: str | None, data: Path) -> None:
        raise UserError(f"{data}: no segments of {language}")

    monkeypatch.setattr(modal_run, "open_volume", lambda name: SimpleNamespace(reload=lambda: None))
    monkeypatch.setattr(modal_run, "staged_segments", refuse)
    end = modal_run.run_script.local({"staged_language": "satere"})
    assert end == {"exit_code": 2, "message": "error: /vol/data: no segments of satere", "rows": []}
    assert end["message"] in capsys.readouterr().err


@pytest.mark.parametrize("script", ["modal_run.py::main", "upload_to_modal.py"])
def test_without_a_token_one_line_says_how_to_set_one(script: str, tmp_path: Path) -> None:
    environment = script_environment({"HOME": str(tmp_path), "MODAL_CONFIG_PATH": str(tmp_path / "none.toml")})
    environment = {name: value for name, value in environment.items() if not name.startswith("MODAL_TOKEN")}
    words = ["--", *TRAIN] if "::" in script else ["--language", "spanish"]
    command = [sys.executable, "-m", "modal", "run", str(REPOSITORY / "scripts" / script), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode != 0 and "Traceback" not in done.stderr + done.stdout
    (line,) = [line for line in (done.stderr + done.stdout).splitlines() if "modal token new" in line]
    assert "Token missing" in line
    assert not os.listdir(tmp_path)
