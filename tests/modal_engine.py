"""Modal on this machine, as far as jobs are concerned: calls, retries, cancels, and what the client's ``get`` raises.

A call runs in this process when it is spawned. An exception is retried, up to the function's ``retries``; a
KeyboardInterrupt (a preemption) starts it again and counts as no retry; a returned value ends it. That is how
modal 1.6.4 (modal/_runtime/container_io_manager.py: handle_input_exception) and its server treat them.
"""

import itertools
from collections.abc import Callable
from types import SimpleNamespace


def make_engine(body: Callable[[object], object], *, most_preemptions: int = 5) -> SimpleNamespace:
    """``engine.function`` stands for a modal.Function over ``body``; ``engine.starts`` counts its containers."""
    numbers, ended = itertools.count(1), {}
    engine = SimpleNamespace(starts=0, current=None, ended=ended, cancelled=[])

    def attempt(argument: object) -> tuple[object, BaseException | None]:
        engine.starts += 1
        try:
            return body(argument), None
        except BaseException as error:
            return None, error

    def run(argument: object, retries: int) -> tuple[object, BaseException | None]:
        failures = preemptions = 0
        while True:
            value, error = attempt(argument)
            if isinstance(error, KeyboardInterrupt) and preemptions < most_preemptions:
                preemptions += 1
                continue
            failures += error is not None
            if error is None or failures > retries:
                return value, error

    def with_options(**options: object) -> SimpleNamespace:
        def spawn(argument: object) -> SimpleNamespace:
            number = engine.current = f"fc-{next(numbers)}"
            ended[number] = run(argument, options.get("retries", 0))
            return find_call(number)

        return SimpleNamespace(spawn=spawn)

    def find_call(number: str) -> SimpleNamespace:
        def get(timeout: float | None = None) -> object:
            value, error = ended[number]
            if error is not None:
                raise error
            return value

        return SimpleNamespace(object_id=number, get=get, cancel=lambda: engine.cancelled.append(number))

    engine.function = SimpleNamespace(with_options=with_options)
    engine.lives = lambda number: number not in ended
    return engine
