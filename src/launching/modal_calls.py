"""What Modal says of a call: the only module that asks, so that every answer is told apart from every other.

``FunctionCall.get(timeout=0)`` of the client 1.6 (modal/_functions.py: poll_function, _process_result) answers with

- the value that the function returned;
- the builtin TimeoutError where there is no result yet;
- OutputExpiredError where nothing is left to run and no result is kept;
- FunctionTimeoutError at the engine's own limit, RemoteError where a container died or the call was cancelled,
  InternalFailure, ExecutionError where the exception cannot be read here;
- the exception that the function raised, of whatever class;
- NotFoundError where this account has no such call;
- AuthError, PermissionDeniedError, ConnectionError, ServiceError, … where the question did not get through.
"""

import functools
import itertools
import socket
import sys
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlparse
from urllib.request import getproxies

from core.errors import UserError
from launching.modal_account import open_calls

REACH_SECONDS = 5.0  # the client itself tries for a minute, for every call


class CallAnswer(NamedTuple):
    """``state`` is one of launching.job.STATES."""

    state: str
    value: object = None  # what the function returned
    reason: str = ""  # why it failed, or why nobody knows
    exit_code: int | None = None


def ask_call(number: str) -> CallAnswer:
    """What has become of the call ``number``; never an exception."""
    import modal
    from modal import exception

    if reason := unreachable_reason():
        return CallAnswer("unreachable", reason=reason)
    unanswered = (
        *(exception.AuthError, exception.PermissionDeniedError, exception.ConnectionError, exception.ServiceError),
        *(exception.InternalError, exception.ResourceExhaustedError, exception.ClientClosed, exception.VersionError),
        *(exception.UnimplementedError, exception.InvalidError, exception.DataLossError),
    )
    try:
        return CallAnswer("finished", modal.FunctionCall.from_id(number).get(timeout=0))
    except (exception.OutputExpiredError, exception.FunctionTimeoutError) as error:
        expired = isinstance(error, exception.OutputExpiredError)
        return CallAnswer("forgotten" if expired else "failed", reason=_in_one_line(error))
    except TimeoutError:
        return CallAnswer("running")
    except exception.NotFoundError as error:
        return CallAnswer("unknown", reason=f"this Modal account has no call {number} ({_in_one_line(error)})")
    except unanswered as error:
        return CallAnswer("unreachable", reason=_in_one_line(error))
    except exception.InputCancellation:
        return CallAnswer("cancelled")
    except exception.RemoteError as error:
        return CallAnswer("cancelled" if _was_terminated(number) else "failed", reason=_in_one_line(error))
    except KeyboardInterrupt as error:
        if _comes_from_here(error):
            raise
        return CallAnswer("failed", reason=_in_one_line(error))
    except BaseException as error:  # the function's own
        return CallAnswer("failed", reason=_in_one_line(error), exit_code=getattr(error, "exit_code", None))


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _comes_from_here(error: KeyboardInterrupt) -> bool:
    """Ctrl-C has no text; an interrupt that a container raised says what was preempted."""
    return not error.args


@functools.cache
def unreachable_reason() -> str:
    """Why Modal's server cannot be reached, asked once; empty where it can."""
    from modal.config import config

    address = urlparse(config.get("server_url") or "")
    if address.scheme not in ("http", "https") or not address.hostname or getproxies():
        return ""
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname, port), REACH_SECONDS).close()
    except OSError as error:
        return f"{address.hostname} cannot be reached ({error.strerror or error})"
    return ""


def _was_terminated(number: str) -> bool:
    """Whether Modal notes the call as terminated: cancelled, or its app was stopped."""
    import modal

    try:
        graph = modal.FunctionCall.from_id(number).get_call_graph()
    except modal.exception.Error:
        return False
    statuses = [entry.status.name for entry in _all_inputs(graph) if entry.function_call_id == number]
    return bool(statuses) and set(statuses) == {"TERMINATED"}


def _all_inputs(graph: list) -> Iterator:
    for entry in graph:
        yield entry
        yield from _all_inputs(entry.children)


def call_lives(number: str) -> bool | None:
    """Whether the call has not ended; None where Modal cannot be asked, or does not know it."""
    state = ask_call(number).state
    return None if state in ("unreachable", "unknown") else state == "running"


def cancel_call(number: str) -> None:
    """UserError where Modal cannot be reached or knows no such call: nothing was cancelled."""
    import modal

    if reason := unreachable_reason():
        raise UserError(f"Modal: {reason}; call {number} is not cancelled")
    try:
        modal.FunctionCall.from_id(number).cancel()
    except modal.exception.Error as error:
        raise UserError(f"Modal: {_in_one_line(error)}; call {number} is not cancelled") from error


def stage_calls(number: str, n_stages: int) -> list[str]:
    """The calls that the orchestrating call ``number`` has made so far, stage by stage (scripts/modal_run.py)."""
    import modal

    if reason := unreachable_reason():
        raise UserError(f"Modal: {reason}; it keeps the calls of {number}")
    made, found = open_calls(), []
    try:
        for stage in range(n_stages):
            found += itertools.takewhile(bool, (made.get(f"{number}/{stage}/{k}") for k in itertools.count()))
    except modal.exception.Error as error:
        raise UserError(f"Modal: {_in_one_line(error)}; it keeps the calls of {number}") from error
    return found


def print_call_log(number: str, *, lines: int, follow: bool) -> None:
    """The last ``lines`` that the call printed; with ``follow``, all that it prints until it ends."""
    import modal

    if reason := unreachable_reason():
        raise UserError(f"Modal: {reason}; it keeps the log of call {number}")
    try:
        log = modal.FunctionCall.from_id(number).logs
        for entry in log.stream() if follow else log.tail(lines):
            stream = sys.stderr if entry.source == "stderr" else sys.stdout
            print(entry.message, end="", file=stream, flush=True)
    except modal.exception.Error as error:
        raise UserError(f"Modal: {_in_one_line(error)}; it keeps the log of call {number}") from error
