"""Work done ahead: in order, before it is asked for, and over when nobody reads any more."""

import itertools
import threading
import time

import pytest

from core.read_ahead import map_ahead, run_ahead


def wait_until(condition) -> bool:
    give_up = time.monotonic() + 30
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.002)
    return condition()


@pytest.mark.parametrize("n_workers", [0, 1, 3])
def test_results_come_in_the_order_of_the_jobs(n_workers: int) -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number**2

    assert list(run_ahead(work, range(20), n_workers=n_workers, n_ahead=4)) == [n**2 for n in range(20)]


def test_so_many_are_made_before_they_are_asked_for_and_no_more() -> None:
    done = []
    found = run_ahead(lambda number: done.append(number) or number, itertools.count(), n_workers=1, n_ahead=3)
    assert next(found) == 0
    # Three are ready, and one waits for a place.
    assert wait_until(lambda: len(done) == 5)
    assert next(found) == 1 and wait_until(lambda: len(done) == 6)
    time.sleep(0.02)
    assert len(done) == 6
    found.close()


def test_without_workers_nothing_is_done_ahead() -> None:
    done = []
    found = run_ahead(lambda number: done.append(number) or number, itertools.count(), n_workers=0, n_ahead=3)
    assert [next(found), next(found), done] == [0, 1, [0, 1]]


def test_errors_come_in_their_turn() -> None:
    def jobs():
        yield 1
        raise ValueError("no more plans")

    found = run_ahead(lambda number: 1 // (number - 2), iter([3, 2, 4]), n_workers=2, n_ahead=4)
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)
    found = run_ahead(lambda number: number, jobs(), n_workers=2, n_ahead=4)
    assert next(found) == 1
    with pytest.raises(ValueError, match="no more plans"):
        next(found)


def test_closing_ends_the_threads() -> None:
    before = set(threading.enumerate())
    found = run_ahead(lambda number: number, itertools.count(), n_workers=2, n_ahead=2)
    assert next(found) == 0
    own = set(threading.enumerate()) - before
    found.close()
    assert own and wait_until(lambda: not any(thread.is_alive() for thread in own))


@pytest.mark.parametrize("n_workers", [0, 1, 3])
def test_chunks_come_whole_and_in_order(n_workers: int) -> None:
    """``--num_workers 0`` is what some trainers have for reading without threads."""
    chunks = [("a", [1, 2]), ("b", []), ("c", [3])]
    assert list(map_ahead(lambda number: 10 * number, chunks, n_workers)) == [("a", [10, 20]), ("b", []), ("c", [30])]
