"""Sizes of a model by flag, checked against its constructor."""

import inspect
from collections.abc import Callable, Sequence
from typing import Literal, get_args, get_origin

from core.errors import UserError

# These follow from the data, or have a flag of their own.
DERIVED = ("n_units", "n_streams", "n_speakers", "speaker_dim", "condition")


def read_sizes(constructor: Callable, words: Sequence[str]) -> dict[str, int | float | bool | str]:
    """["n_blocks=4", …] as keyword arguments of ``constructor``, each of its default's type.

    Numbers are above 0, switches 0 or 1, words those of the argument's Literal. Raises UserError for an argument it
    does not have, a value that does not fit, or a name given twice.
    """
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(constructor).parameters.items()
        if name not in DERIVED and (isinstance(parameter.default, (int, float)) or _choices(parameter))
    }
    sizes: dict[str, int | float | bool | str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in parameters or name in sizes:
            known = " ".join(f"{key}={parameter.default}" for key, parameter in parameters.items())
            raise UserError(f"--sizes {word}: expected NAME=VALUE, each name once, of (with defaults) {known}")
        sizes[name] = _read_value(word, value, parameters[name])
    return sizes


def _choices(parameter: inspect.Parameter) -> tuple[str, ...]:
    return get_args(parameter.annotation) if get_origin(parameter.annotation) is Literal else ()


def _read_value(word: str, value: str, parameter: inspect.Parameter) -> int | float | bool | str:
    kind = type(parameter.default)
    choices = ("0", "1") if kind is bool else _choices(parameter)
    if choices and value not in choices:
        raise UserError(f"--sizes {word}: expected one of {', '.join(choices)}")
    if choices:
        return value == "1" if kind is bool else value
    try:
        number = kind(value)
    except ValueError:
        number = 0
    if not number > 0:
        raise UserError(f"--sizes {word}: expected a number ({kind.__name__}) above 0")
    return number
