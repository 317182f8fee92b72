"""Where an experiment comes from: configuration, commit, machine, command."""

import re
from pathlib import Path

from core.commands import as_typed
from languages import REPOSITORY, exp_root
from report.data import Experiment

# An absolute path among other words; its first parts name this machine, or who works on it.
PLACE = re.compile(r"(?<![\w.…~/:-])~?(?:/[^/\s'\"<>]+){2,}")


def shorten_paths(value: object) -> object:
    """A text with its absolute paths cut to their last two parts, for a page that is given away: "…/exp/spanish"."""
    text = str(value)
    if "/" not in text:
        return value
    return (
        _shorten(text) if text.startswith("/") and "\n" not in text else PLACE.sub(lambda hit: _shorten(hit[0]), text)
    )


def typed_folder(path: object) -> str:
    """An experiment's folder as it is typed in a command, without the folders of this machine.

    A folder that lies neither in the repository nor in EXP_ROOT is FOLDER/NAME: whoever reads it knows where.
    """
    place = Path(str(path)).resolve()
    if place.is_relative_to(REPOSITORY.resolve()):
        return as_typed(place.relative_to(REPOSITORY.resolve()))
    if place.is_relative_to(exp_root()):
        name = re.sub(r'(["$`\\])', r"\\\1", str(place.relative_to(exp_root())))
        return f'"$EXP_ROOT/{name}"' if re.search(r"[^\w./-]", name) else f"$EXP_ROOT/{name}"
    return as_typed(f"FOLDER/{place.name}")


def _shorten(path: str) -> str:
    parts = path.rstrip("/").split("/")
    return "…/" + "/".join(parts[-2:] if len(parts) > 3 else parts[-1:])


def origin_facts(experiment: Experiment) -> dict[str, object]:
    """What is known of the run, by label."""
    environment = experiment.environment
    dirty = " with uncommitted changes" if environment.get("git_dirty") else ""
    packages = (environment.get("packages") or {}).items()
    facts = {
        "Folder": experiment.path,
        "Command": environment.get("command"),
        "Commit": f"{environment.get('git_commit') or 'unknown'}{dirty}",
        "Started": environment.get("started"),
        "Machine": environment.get("machine"),
        "Accelerator": environment.get("cuda") or "none (CPU)",
        "Threads": environment.get("threads"),
        "Python": environment.get("python"),
        "Packages": ", ".join(f"{name} {version}" for name, version in packages),
        "Input (SHA-256)": experiment.input_hash,
    }
    return {label: shorten_paths(value) for label, value in facts.items() if value not in (None, "")}


def settings(experiment: Experiment) -> dict[str, object]:
    """Every argument and derived value that is set, by name."""
    values = {**experiment.arguments, **experiment.derived}
    return {name: shorten_paths(value) for name, value in sorted(values.items()) if value is not None}
