"""What Modal's own client says of a call, against a server on this machine: each answer told apart from the others."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from modal_server import serve

from core.errors import UserError
from core.exit_codes import EXIT_SOME_FAILED
from launching import modal_calls


def error_with_code(code: int) -> RuntimeError:
    error = RuntimeError("src/x.py: exit code 7")
    error.exit_code = code
    return error


ANSWERS = {
    "fc-running": "running",
    "fc-done": {"exit_code": 0, "message": "", "rows": []},
    "fc-mistake": {"exit_code": EXIT_SOME_FAILED, "message": "error: x", "rows": []},
    "fc-raised": error_with_code(7),
    "fc-file": FileNotFoundError("segments.jsonl"),
    "fc-preempted": KeyboardInterrupt("src/x.py: preempted"),
    "fc-terminated": "TERMINATED",
    "fc-died": "FAILURE",
    "fc-limit": "TIMEOUT",
    "fc-expired": "expired",
    "fc-missing": "missing",
}


@pytest.fixture(scope="module")
def server() -> Iterator[SimpleNamespace]:
    """The client keeps one connection for the process: other tests must not have opened one to elsewhere."""
    import modal

    before = modal.client._Client._client_from_env
    with pytest.MonkeyPatch.context() as patch, serve(ANSWERS, ("step 1", "step 2")) as found:
        patch.setenv("MODAL_SERVER_URL", found.url)
        patch.setenv("MODAL_TOKEN_ID", "ak-test")
        patch.setenv("MODAL_TOKEN_SECRET", "as-test")
        modal.client._Client._client_from_env = None
        modal_calls.unreachable_reason.cache_clear()
        yield found
        modal.client._Client._client_from_env = before
    modal_calls.unreachable_reason.cache_clear()


@pytest.mark.parametrize(
    ("call", "state", "lives"),
    [
        ("running", "running", True),
        ("done", "finished", False),
        ("mistake", "finished", False),  # modal_backend reads its exit code
        ("raised", "failed", False),
        ("file", "failed", False),
        ("preempted", "failed", False),
        ("terminated", "cancelled", False),
        ("died", "failed", False),
        ("limit", "failed", False),
        ("expired", "forgotten", False),
        ("missing", "unknown", None),
    ],
)
def test_every_answer_is_told_apart(server: SimpleNamespace, call: str, state: str, lives: bool | None) -> None:
    assert modal_calls.ask_call(f"fc-{call}").state == state
    assert modal_calls.call_lives(f"fc-{call}") is lives


def test_an_exit_code_travels_with_the_exception(server: SimpleNamespace) -> None:
    answer = modal_calls.ask_call("fc-raised")
    assert (answer.exit_code, answer.reason) == (7, "src/x.py: exit code 7")
    assert modal_calls.ask_call("fc-mistake").value["exit_code"] == EXIT_SOME_FAILED


def test_a_cancel_that_did_not_happen_is_said(server: SimpleNamespace) -> None:
    modal_calls.cancel_call("fc-running")
    with pytest.raises(UserError, match="no such function call; call fc-missing is not cancelled"):
        modal_calls.cancel_call("fc-missing")
    assert server.cancelled == ["fc-running"]


def test_a_log_is_that_of_the_call(server: SimpleNamespace, capsys: pytest.CaptureFixture) -> None:
    modal_calls.print_call_log("fc-done", lines=10, follow=True)
    assert capsys.readouterr().out.splitlines()[:2] == ["step 1", "step 2"]
    with pytest.raises(UserError, match="log of call fc-missing"):
        modal_calls.print_call_log("fc-missing", lines=10, follow=True)


def test_without_a_network_nobody_knows_and_nothing_waits_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MODAL_SERVER_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        modal_calls.unreachable_reason.cache_clear()
        answer = modal_calls.ask_call("fc-done")
        assert answer.state == "unreachable" and "127.0.0.1 cannot be reached" in answer.reason
        assert modal_calls.call_lives("fc-done") is None
        with pytest.raises(UserError, match="not cancelled"):
            modal_calls.cancel_call("fc-done")
    modal_calls.unreachable_reason.cache_clear()
