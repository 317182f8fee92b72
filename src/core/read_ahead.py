"""Work done ahead in threads: what a reader asks for next is ready, or in the making, when it asks."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

POLL_SECONDS = 0.1  # after which a thread looks whether anybody still reads


def map_ahead(work: Callable, chunks: Iterable[tuple[object, list]], n_workers: int) -> Iterator[tuple[object, list]]:
    """Apply ``work`` to every item of (key, items) chunks in threads, one chunk ahead of the reader, in order."""
    with ThreadPoolExecutor(max(1, n_workers)) as pool:
        waiting = None
        for key, items in chunks:
            started = (key, [pool.submit(work, item) for item in items])
            if waiting:
                yield waiting[0], [future.result() for future in waiting[1]]
            waiting = started
        if waiting:
            yield waiting[0], [future.result() for future in waiting[1]]


def run_ahead(work: Callable, jobs: Iterable, *, n_workers: int, n_ahead: int) -> Iterator:
    """``work(job)`` of each job, in order, made in threads up to ``n_ahead`` jobs before it is asked for.

    ``jobs`` may be endless, and is drawn from in a thread too. Without workers all is done when it is asked for. What
    ``work`` or ``jobs`` raise is raised here, in its turn. Closing the iterator ends the threads.
    """
    if n_workers < 1:
        yield from map(work, jobs)
        return
    ready: queue.Queue[Future | None] = queue.Queue(n_ahead)
    closed = threading.Event()
    pool = ThreadPoolExecutor(n_workers)
    threading.Thread(target=_feed, args=(pool, work, jobs, ready, closed), daemon=True).start()
    try:
        while (future := ready.get()) is not None:
            yield future.result()
    finally:
        closed.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _feed(
    pool: ThreadPoolExecutor, work: Callable, jobs: Iterable, ready: queue.Queue, closed: threading.Event
) -> None:
    """In a thread: start the jobs as there is room, then say that there are no more."""
    try:
        for job in jobs:
            if not _put(ready, pool.submit(work, job), closed):
                return
        _put(ready, None, closed)
    except BaseException as error:
        failed: Future = Future()
        failed.set_exception(error)
        _put(ready, failed, closed)


def _put(ready: queue.Queue, value: Future | None, closed: threading.Event) -> bool:
    """Whether there was room before the reader went away."""
    while not closed.is_set():
        try:
            ready.put(value, timeout=POLL_SECONDS)
        except queue.Full:
            continue
        return True
    return False
