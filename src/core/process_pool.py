"""Many items, several processes, bounded memory; a process that crashes costs one item, not the run."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from core.errors import UserError
from core.files import delete_unfinished
from core.interrupts import ignore_interrupts

Job = TypeVar("Job")
CRASHED = "the decoder crashed on it"
ENDING_SECONDS = 5.0


def run_in_processes(
    function: Callable[[Job], str | None], jobs: Iterable[Job], n_workers: int
) -> Iterator[tuple[Job, str | None]]:
    """Yield (job, ``function(job)``) as they finish. A job whose process dies gives ``CRASHED``.

    Exceptions of ``function`` are raised here. Only a few jobs wait in the pool at any time.
    """
    waiting, suspects = iter(jobs), []
    if n_workers == 1:
        yield from ((job, function(job)) for job in waiting)
        return
    more = True
    while more:
        suspects, more = yield from _run_pool(function, waiting, n_workers)
        for job in suspects:
            yield job, _run_alone(function, job)


def _run_pool(function: Callable, waiting: Iterator[Job], n_workers: int):
    """Work until all is done or a process dies; returns the jobs then in flight and whether others may be left."""
    in_flight, pool = {}, _make_pool(n_workers)
    try:
        while True:
            while len(in_flight) < 2 * n_workers and (job := next(waiting, None)) is not None:
                in_flight[pool.submit(function, job)] = job
            if not in_flight:
                pool.shutdown()
                return [], False
            for future in wait(in_flight, return_when=FIRST_COMPLETED).done:
                result = future.result()
                yield in_flight.pop(future), result
    except BrokenProcessPool:
        pool.shutdown()
        return list(in_flight.values()), True
    except BaseException:
        _end_at_once(pool)
        raise


@contextlib.contextmanager
def ended_at_once(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """``pool``, whose workers call ``follow_parent``; an exception that leaves the block waits for none of its jobs."""
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        _end_at_once(pool)
        raise


def _end_at_once(pool: ProcessPoolExecutor) -> None:
    """Waiting for the jobs in hand may take minutes; whoever interrupts wants none of them.

    A worker deletes first what it is writing; one that does not answer within ``ENDING_SECONDS`` is killed.
    """
    processes = {process.sentinel: process for process in (pool._processes or {}).values()}
    for process in processes.values():
        process.terminate()
    give_up = time.monotonic() + ENDING_SECONDS
    while processes and (left := give_up - time.monotonic()) > 0:
        for ended in multiprocessing.connection.wait(list(processes), left):
            del processes[ended]
    for process in processes.values():
        process.kill()
    pool.shutdown(wait=False, cancel_futures=True)


def _run_alone(function: Callable, job: Job) -> str | None:
    with _make_pool(1) as pool:
        try:
            return pool.submit(function, job).result()
        except BrokenProcessPool:
            return CRASHED


def _make_pool(n_workers: int) -> ProcessPoolExecutor:
    # Forking shares the imported libraries' memory; elsewhere than on Linux system libraries do not survive it.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    return start_pool(n_workers, mp_context=context, initializer=follow_parent)


def start_pool(n_workers: int, **settings: object) -> ProcessPoolExecutor:
    """A pool of processes. Raises UserError where the system has no room for the locks that they share."""
    try:
        return ProcessPoolExecutor(n_workers, **settings)
    except OSError as error:
        raise UserError(
            f"expected room in /dev/shm for the locks that {n_workers} processes share, found: {error.strerror}; make "
            "room there (docker run --shm-size 64m), or work with one: --num_workers 1"
        ) from error


def follow_parent() -> None:
    """End this process when its parent is killed: a pool's worker would wait for ever otherwise.

    Ctrl-C reaches every process of a terminal; the parent alone answers it, and ends these. What this process is
    writing then goes with it.
    """
    ignore_interrupts()
    sentinel = multiprocessing.parent_process().sentinel

    def end(*_: object) -> None:
        delete_unfinished()
        os._exit(1)

    def watch() -> None:
        multiprocessing.connection.wait([sentinel])
        end()

    signal.signal(signal.SIGTERM, end)

    threading.Thread(target=watch, daemon=True).start()
