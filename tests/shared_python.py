"""The ``python`` of shell scripts under test: their scripts run in copies of one process that has imported torch.

A shell script starts Python for each of its steps, and importing torch takes longer than a tiny step. So the tests
give it an environment whose ``bin/python`` hands its words, variables and folder to this process. A call with flags of
Python's own (``-I``) gets the real one.
"""

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from multiprocessing.connection import Connection, wait
from pathlib import Path

from trainer_runs import run_words, start_copy

# Read at every step of a shell script, so it imports little.
STAND_IN = """#!{python} -IS
import os, sys
words = sys.argv[1:]
if words[:1] == ["-u"]:
    del words[0]
if not words or not (words[0] in ("-c", "-m") or words[0].endswith(".py")):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
import json, signal, socket
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
told = {{"words": words, "environment": dict(os.environ), "folder": os.getcwd()}}
told = json.dumps(told).encode()
socket.send_fds(server, [len(told).to_bytes(8, "big")], [1, 2])
server.sendall(told)
# Also where a background job ignores SIGINT: what a script does with a signal is the script's own choice.
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: server.sendall(bytes([number])))
code = int(server.makefile().readline())
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@functools.cache
def shared_python() -> Path:
    """An environment for VIRTUAL_ENV, which path.sh puts first on the path: a folder with ``bin/python``."""
    folder = Path(tempfile.mkdtemp(prefix="oral_units_python_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "socket"))
    server.listen()
    threading.Thread(target=_serve, args=(server,), daemon=True).start()
    (folder / "bin").mkdir()
    program = folder / "bin" / "python"
    program.write_text(STAND_IN.format(python=sys.executable, address=str(folder / "socket")))
    program.chmod(0o755)
    return folder


def _serve(server: socket.socket) -> None:
    while True:
        caller, _ = server.accept()
        threading.Thread(target=_run_for, args=(caller,), daemon=True).start()


def _run_for(caller: socket.socket) -> None:
    """Run what ``caller`` asks for, hand on its signals, tell it the exit code; killed where the caller is killed."""
    with caller:
        size, descriptors, _, _ = socket.recv_fds(caller, 8, 2)
        told = json.loads(caller.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
        screens = [Connection(descriptor) for descriptor in descriptors]  # what multiprocessing can hand on
        process = start_copy(_run_shown_on, screens, told["words"], told["environment"], told["folder"])
        for screen in screens:
            screen.close()
        while process.sentinel not in wait([process.sentinel, caller]):
            number = caller.recv(1)
            os.kill(process.pid, number[0] if number else signal.SIGKILL)
            if not number:
                break
        process.join()
        with contextlib.suppress(OSError):
            caller.sendall(f"{process.exitcode}\n".encode())


def _run_shown_on(screens: list[Connection], words: list[str], environment: dict[str, str], folder: str) -> None:
    for number, screen in enumerate(screens, 1):
        os.dup2(screen.fileno(), number)
    os.chdir(folder)
    run_words(words, environment)
