"""Sizes of a model by flag, checked against its constructor."""

import inspect
from collections.abc import Callable, Sequence

from errors import UserError

# These follow from the data, or have a flag of their own.
DERIVED = ("n_units", "n_streams", "n_speakers", "condition")


def read_sizes(constructor: Callable, words: Sequence[str]) -> dict[str, int | float]:
    """["n_blocks=4", …] as keyword arguments of ``constructor``, each of its default's type.

    Raises UserError for an argument it does not have, a value that is no number above 0, or a name given twice.
    """
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(constructor).parameters.items()
        if name not in DERIVED and isinstance(parameter.default, (int, float))
    }
    sizes: dict[str, int | float] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in defaults or name in sizes:
            known = " ".join(f"{key}={default}" for key, default in defaults.items())
            raise UserError(f"--sizes {word}: expected NAME=VALUE, each name once, of (with defaults) {known}")
        sizes[name] = _read_value(word, value, type(defaults[name]))
    return sizes


def _read_value(word: str, value: str, kind: type) -> int | float:
    try:
        number = kind(value)
    except ValueError:
        number = 0
    if not number > 0:
        raise UserError(f"--sizes {word}: expected a number ({kind.__name__}) above 0")
    return number
