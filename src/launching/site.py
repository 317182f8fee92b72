"""What a cluster does in its own way: the file cluster.toml, read where a job is submitted.

The first of these is read, and the others are not: the file that ORAL_UNITS_SITE names (empty: none),
``~/.config/oral-units/cluster.toml`` (XDG_CONFIG_HOME), ``cluster.toml`` in the repository. A job keeps what held.
"""

import os
import tomllib
from pathlib import Path
from typing import NamedTuple

from core.errors import UserError
from core.records import Job
from languages import REPOSITORY

FILE_NAME = "cluster.toml"


class Site(NamedTuple):
    """The settings of cluster.toml, with what holds where it is silent; docs/launching.md explains each."""

    partition: str = ""
    gpu_partition: str = ""
    account: str = ""
    engine_args: str = ""
    cpus_per_gpu: int = 4
    memory_per_gpu: float = 16.0  # GB; 0: the engine's own
    setup: tuple[str, ...] = ()
    container: str = ""
    container_python: str = "python"
    parallel_environment: str = "smp"
    gpu_complex: str = "gpu"
    gpu_type_complex: str = ""
    memory_complex: str = "mem_free"
    memory_per_slot: bool | None = None  # None: as Grid Engine says (qconf -sc)


PLAIN_SITE = Site()
KIND_OF_SETTING = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", tuple: "a list"}


def site_file() -> Path | None:
    """The file that holds; None where there is none."""
    if (named := os.environ.get("ORAL_UNITS_SITE")) is not None:
        if named and not Path(named).is_file():
            raise UserError(f"ORAL_UNITS_SITE={named}: expected a file as in docs/launching.md, found none")
        return Path(named) if named else None
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    places = (config / "oral-units" / FILE_NAME, REPOSITORY / FILE_NAME)
    return next((place for place in places if place.is_file()), None)


def read_site() -> Site:
    """What the site's file says; UserError for a setting that is unknown or of another kind."""
    path = site_file()
    if path is None:
        return PLAIN_SITE
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected TOML, found an error: {error}") from error
    if unknown := [name for name in given if name not in Site._fields]:
        raise UserError(f"{path}: unknown setting {', '.join(unknown)}; expected {', '.join(Site._fields)}")
    return Site(**{name: _checked(path, name, value) for name, value in given.items()})


def _checked(path: Path, name: str, value: object) -> object:
    """``value`` as the setting's kind."""
    kind = bool if name == "memory_per_slot" else type(getattr(PLAIN_SITE, name))
    if kind is tuple:
        lines = [value] if isinstance(value, str) else value
        fits = isinstance(lines, list) and all(isinstance(line, str) for line in lines)
    elif kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    else:
        fits = type(value) is kind and (kind is not int or value > 0)
    if not fits:
        raise UserError(f"{path}: {name} = {value!r}: expected {KIND_OF_SETTING[kind]}")
    return tuple(lines) if kind is tuple else value


def site_of(job: Job) -> Site:
    """What held where the job was submitted; older jobs know of no site."""
    return Site(**job.get("site", {}))
