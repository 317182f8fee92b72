"""The options of sbatch in --engine_args: which are handed on, and which the launcher has flags for."""

import re

from core.errors import UserError
from launching.engine_args import EngineArgs, refuse_own, refuse_twice, split_words

# Option -> the launcher's flag that says the same; empty: the launcher needs its own.
OWN_FLAG = {
    "job-name": "--name",
    "time": "--hours",
    "nodes": "--nodes",
    "cpus-per-task": "--cpus",
    "cpus-per-gpu": "--cpus",
    "ntasks": "--processes",
    "ntasks-per-node": "--processes",
    "gpus": "--gpus",
    "gpus-per-node": "--gpus",
    "gpus-per-task": "--gpus",
    "array": "--shards and --array_parallelism",
    "dependency": "--after",
} | dict.fromkeys(
    "output error signal requeue no-requeue open-mode export export-file chdir wrap parsable wait test-only".split(), ""
)
# Option -> the launcher's flag, where one of the two may be given.
TYPED_FLAG = {"partition": "partition", "account": "account", "constraint": "constraint"}
TYPED_FLAG |= dict.fromkeys(("mem", "mem-per-cpu", "mem-per-gpu"), "memory")
LONG_FORM = {"A": "account", "a": "array", "b": "begin", "c": "cpus-per-task", "C": "constraint", "d": "dependency"}
LONG_FORM |= {"D": "chdir", "e": "error", "G": "gpus", "J": "job-name", "L": "licenses", "M": "clusters", "n": "ntasks"}
LONG_FORM |= {"N": "nodes", "o": "output", "p": "partition", "q": "qos", "t": "time", "w": "nodelist", "x": "exclude"}


def read_slurm_args(text: str, site_text: str, typed: frozenset[str]) -> EngineArgs:
    """``text`` as typed, and the site's, -> options; ``typed``: names of the launcher's flags that were typed."""
    given, defaults = read_options(text), read_options(site_text)
    for name in given | defaults:
        if name in OWN_FLAG:
            refuse_own(f"--{name}", OWN_FLAG[name])
    for name in given:
        if TYPED_FLAG.get(name) in typed:
            refuse_twice(f"--{name}", TYPED_FLAG[name])
    _, n_gpus, _ = split_gres(given.get("gres") or "")
    if n_gpus is not None and "gpus" in typed:
        refuse_twice("--gres=gpu", "gpus")
    taken = {TYPED_FLAG.get(name, name) for name in given} | typed
    merged = {name: value for name, value in defaults.items() if TYPED_FLAG.get(name, name) not in taken} | given
    gpu_type, n_gpus, others = split_gres(merged.pop("gres", None) or "")
    merged |= {"gres": ",".join(others)} if others else {}
    flags = frozenset(TYPED_FLAG[name] for name in merged if name in TYPED_FLAG)
    return EngineArgs(tuple(_as_text(*option) for option in merged.items()), flags, n_gpus, gpu_type)


def read_options(text: str) -> dict[str, str | None]:
    """{"qos": "long", "exclusive": None} of --qos=long, --qos long, -q long, -qlong, --exclusive."""
    found, waiting = {}, None
    for word in split_words(text):
        if not word.startswith("-"):
            if waiting is None:
                raise UserError(f"--engine_args {word}: expected an option of sbatch, as in --qos=long")
            found[waiting], waiting = word, None
            continue
        name, value = _name_and_value(word)
        found[name] = value
        waiting = name if value is None else None
    return found


def _name_and_value(word: str) -> tuple[str, str | None]:
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        return name, value if equals else None
    name = LONG_FORM.get(word[1:2])
    if not name:
        raise UserError(f"--engine_args {word}: expected the long form of the option, as in --qos=long")
    return name, word[2:] or None


def _as_text(name: str, value: str | None) -> str:
    return f"--{name}" if value is None else f"--{name}={value}"


def additional_parameters(options: list[str]) -> dict[str, object]:
    """The options as submitit takes them: {"qos": "long", "exclusive": True}."""
    pairs = [option[2:].partition("=") for option in options]
    return {name: value if equals else True for name, equals, value in pairs}


def split_gres(text: str) -> tuple[str | None, int | None, list[str]]:
    """'gpu:a100:2,tmp:50G' -> ("a100", 2, ["tmp:50G"]): type and number of the GPUs, and what else there is."""
    items = [item for item in text.split(",") if item]
    gpus = [item for item in items if item.partition(":")[0] == "gpu"]
    others = [item for item in items if item not in gpus]
    if not gpus:
        return None, None, others
    found = re.fullmatch(r"gpu(?::([A-Za-z][\w.-]*))?(?::(\d+))?", gpus[0])
    if len(gpus) > 1 or not found:
        raise UserError(f"--engine_args --gres={text}: expected one kind of GPU, as in gpu:a100:2")
    return found[1], int(found[2] or 1), others
