"""Audio read ahead in threads: one chunk is decoded while the one before it is being encoded."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor


def map_ahead(work: Callable, chunks: Iterable[tuple[object, list]], n_workers: int) -> Iterator[tuple[object, list]]:
    """Apply ``work`` to every item of (key, items) chunks in threads, one chunk ahead of the reader, in order."""
    with ThreadPoolExecutor(n_workers) as pool:
        waiting = None
        for key, items in chunks:
            started = (key, [pool.submit(work, item) for item in items])
            if waiting:
                yield waiting[0], [future.result() for future in waiting[1]]
            waiting = started
        if waiting:
            yield waiting[0], [future.result() for future in waiting[1]]
