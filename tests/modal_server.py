"""Modal's server on this machine, for Modal's own client: what it answers about calls, scripted by a table.

answers: call id -> "running", "expired", "missing", a value that the function returned, an exception that it raised, or
a core status of GenericResult such as "TERMINATED" and "TIMEOUT", of which the exception is empty.
"""

import asyncio
import contextlib
import pickle
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import grpclib
from google.protobuf.empty_pb2 import Empty
from grpclib.server import Server
from modal_proto import api_grpc, api_pb2


@contextlib.contextmanager
def serve(answers: dict[str, object], log: tuple[str, ...] = ()) -> Iterator[SimpleNamespace]:
    """Yields ``url`` and ``cancelled``, the ids of the calls that the client has cancelled."""
    cancelled: list[str] = []
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    loop, ready = asyncio.new_event_loop(), threading.Event()

    async def run() -> None:
        server = Server([_service(answers, log, cancelled)])
        await server.start("127.0.0.1", port)
        ready.set()
        await server.wait_closed()

    task = loop.create_task(run())
    thread = threading.Thread(target=lambda: _until_cancelled(loop, task), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}", cancelled=cancelled)
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)


def _until_cancelled(loop: asyncio.AbstractEventLoop, task: asyncio.Task) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(task)


def _service(answers: dict[str, object], log: tuple[str, ...], cancelled: list[str]) -> object:
    """An instance of the client's own abstract server; what a test does not need says UNIMPLEMENTED."""

    async def missing(_: object, stream: grpclib.server.Stream) -> None:
        raise grpclib.GRPCError(grpclib.Status.UNIMPLEMENTED, "not in the test's server")

    def answer(respond: object) -> object:
        async def method(_: object, stream: grpclib.server.Stream) -> None:
            await stream.send_message(respond(await stream.recv_message()))

        return method

    def known(request: object) -> str:
        if answers.get(request.function_call_id, "missing") == "missing":
            raise grpclib.GRPCError(grpclib.Status.NOT_FOUND, "no such function call")
        return request.function_call_id

    def outputs(request: api_pb2.FunctionGetOutputsRequest) -> api_pb2.FunctionGetOutputsResponse:
        found = answers[known(request)]
        if found in ("running", "expired"):
            return api_pb2.FunctionGetOutputsResponse(num_unfinished_inputs=int(found == "running"))
        return api_pb2.FunctionGetOutputsResponse(outputs=[_output(found)])

    def graph(request: api_pb2.FunctionGetCallGraphRequest) -> api_pb2.FunctionGetCallGraphResponse:
        number = known(request)
        status = getattr(api_pb2.GenericResult, f"GENERIC_STATUS_{answers[number]}", 2)
        entry = api_pb2.InputCallGraphInfo(input_id="in-1", function_call_id=number, status=status)
        call = api_pb2.FunctionCallCallGraphInfo(function_call_id=number)
        return api_pb2.FunctionGetCallGraphResponse(inputs=[entry], function_calls=[call])

    def cancel(request: api_pb2.FunctionCallCancelRequest) -> Empty:
        cancelled.append(known(request))
        return Empty()

    def from_id(request: api_pb2.FunctionCallFromIdRequest) -> api_pb2.FunctionCallFromIdResponse:
        handle = api_pb2.FunctionCallFromIdResponse(function_call_id=known(request), num_inputs=1)
        handle.metadata.app_id, handle.metadata.function_id = "ap-1", "fu-1"
        return handle

    def info(request: api_pb2.FunctionCallGetInfoRequest) -> api_pb2.FunctionCallGetInfoResponse:
        found = api_pb2.FunctionCallGetInfoResponse()
        found.info.total_inputs = found.info.succeeded_inputs.total = 1
        return found

    def batch(request: object) -> api_pb2.TaskLogsBatch:
        assert request.app_id == "ap-1" and request.function_call_id
        return api_pb2.TaskLogsBatch(entry_id="1-0", items=[api_pb2.TaskLogs(data=f"{line}\n") for line in log])

    methods = {
        "ClientHello": answer(lambda _: api_pb2.ClientHelloResponse()),
        "AuthTokenGet": answer(lambda _: api_pb2.AuthTokenGetResponse(token="")),
        "FunctionGetOutputs": answer(outputs),
        "FunctionGetCallGraph": answer(graph),
        "FunctionCallCancel": answer(cancel),
        "FunctionCallFromId": answer(from_id),
        "FunctionCallGetInfo": answer(info),
        "AppGetLogs": answer(batch),
    }
    base = api_grpc.ModalClientBase
    return type("Service", (base,), dict.fromkeys(base.__abstractmethods__, missing) | methods)()


def _output(found: object) -> api_pb2.FunctionGetOutputsItem:
    result = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
    if isinstance(found, str):
        result.status = getattr(api_pb2.GenericResult, f"GENERIC_STATUS_{found}")
    elif isinstance(found, BaseException):
        result.status, result.exception = api_pb2.GenericResult.GENERIC_STATUS_FAILURE, repr(found)
        result.data = pickle.dumps(found)
    else:
        result.data = pickle.dumps(found)
    return api_pb2.FunctionGetOutputsItem(result=result, data_format=api_pb2.DATA_FORMAT_PICKLE, idx=0)
