"""Where a training starts (``--init``): from noise, from another model's weights, or from this repository's base voice.

The base voice was trained on several languages and speakers, so that a new voice begins with speech instead of noise
(recipes/base_voice/train.sh makes it). It is the default where it fits; where it does not, a training starts from noise
and says why. What is asked for by name is taken or refused.
"""

import argparse
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from core.errors import UserError
from core.files import read_json
from languages import DEFAULT_GENERATOR, REPOSITORY
from training.resuming import find_checkpoint

BASE_VOICES = {version: REPOSITORY / "voices" / f"base_{version}" for version in ("v3", "v4")}
BASE_VOICE = BASE_VOICES[DEFAULT_GENERATOR]
BASE, NOISE = "base", "none"
Model = TypeVar("Model")


class Start(NamedTuple):
    """Where a training starts."""

    name: str  # base, none, or a path: what config.json keeps as --init
    folder: Path | None  # whose weights it takes; None: noise, or the checkpoint that it goes on from
    asked: bool = True  # by name; else it is the default


def add_init_flag(group: argparse._ArgumentGroup, model: str) -> None:
    """``--init``; ``model`` says whose weights PATH may hold."""
    group.add_argument(
        "--init",
        default=None,
        metavar="PATH",
        help=f"start from the weights of {model} at PATH, which may know other units; base: from the repository's own, "
        f"voices/{BASE_VOICE.name}, or that of another version; none: from noise (default: base where sizes fit, "
        "else none)",
    )


def choose_start(
    given: str | None, exp: Path, *, resume: str | None, overwrite: bool, base: Path = BASE_VOICE
) -> Start:
    """Where a run starts by --init, ``given`` None where it is not; ``base``: the base voice that would fit.

    A run that goes on began as its config.json says, and needs no other weights once it has a checkpoint. Raises
    UserError where another experiment's checkpoint shall be continued too.
    """
    resumed, config = resume is not None and not overwrite, exp / "config.json"
    began = read_json(config)["arguments"].get("init", NOISE) if resumed and config.is_file() else None
    continues = resumed and find_checkpoint(resume, exp) is not None
    if continues and began is None and given not in (None, NOISE):
        raise UserError(f"--init {given}: --resume {resume} gives the weights; leave one of the two out")
    name = given or began or (NOISE if continues else BASE)
    if continues or name == NOISE:
        return Start(name, None)
    return Start(name, base if name == BASE else Path(name), asked=(given or began) is not None)


def load_start(start: Start, load: Callable[[Path], Model]) -> tuple[Start, Model | None, str]:
    """The weights to start from by ``load``, and a line for the log.

    Where the default does not fit (UserError), the training starts from noise; what is asked for is refused.
    """
    if start.folder is None:
        return start, None, ""
    try:
        return start, load(start.folder), f"starts from the weights of {start.folder} (--init none: from noise)"
    except UserError as error:
        if start.asked:
            raise
        return Start(NOISE, None), None, f"starts from noise, for the base voice does not fit: {error}"


def check_sizes(
    folder: Path,
    constructor: Callable,
    *,
    found: Mapping[str, object],
    wanted: Mapping[str, object],
    own: Sequence[str],
) -> None:
    """Refuse a model of other sizes (UserError names those that differ); what both leave out keeps its default.

    own: names of the sizes that may differ.
    """
    parameters = inspect.signature(constructor).parameters.values()
    full = {parameter.name: parameter.default for parameter in parameters}
    found, wanted = ({name: _plain(value) for name, value in (full | dict(sizes)).items()} for sizes in (found, wanted))
    names = [name for name in wanted if name not in own and found.get(name) != wanted[name]]
    if names:
        ours, theirs = (", ".join(f"{name} {values.get(name)}" for name in names) for values in (wanted, found))
        raise UserError(f"--init {folder}: expected {ours}, found {theirs}; give the same sizes, or --init none")


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value  # JSON has lists only, constructors take tuples
