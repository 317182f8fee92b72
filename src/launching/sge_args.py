"""The options of qsub in --engine_args: which are handed on, and which the launcher has flags for."""

import re
import shlex

from core.errors import UserError
from launching.engine_args import EngineArgs, refuse_own, refuse_twice, split_words
from launching.site import Site

# Option -> the launcher's flag that says the same; empty: the launcher needs its own.
OWN_FLAG = {
    "-N": "--name",
    "-t": "--shards",
    "-tc": "--array_parallelism",
    "-pe": "--cpus, and parallel_environment in cluster.toml",
    "-hold_jid": "--after",
    "-hold_jid_ad": "--after",
} | dict.fromkeys("-o -e -j -wd -cwd -S -notify -r -terse -sync -b -now -verify -soft -hard".split(), "")
# Option -> the launcher's flag, where one of the two may be given.
TYPED_FLAG = {"-q": "partition", "-P": "account"}
TIME_LIMITS = ("h_rt", "s_rt")


def read_sge_args(text: str, site_text: str, site: Site, typed: frozenset[str]) -> EngineArgs:
    """``text`` as typed, and the site's, -> options; ``typed``: names of the launcher's flags that were typed.

    "gpu_type" stands in ``typed`` where --gpus names one. Requests (-l) become one option, "-l h_vmem=4G,exclusive".
    """
    given, requests = read_options(text)
    defaults, site_requests = read_options(site_text)
    for name in given | defaults:
        if name in OWN_FLAG:
            refuse_own(name, OWN_FLAG[name])
    for name in TIME_LIMITS:
        if name in requests | site_requests:
            refuse_own(f"-l {name}", "--hours")
    flag_of_request = {site.gpu_complex: "gpus", site.memory_complex: "memory", site.gpu_type_complex: "gpu_type"}
    for name in given:
        if TYPED_FLAG.get(name) in typed:
            refuse_twice(name, TYPED_FLAG[name])
    for name in requests:
        if flag_of_request.get(name) in typed:
            refuse_twice(f"-l {name}", flag_of_request[name].removesuffix("_type"))
    options = {name: value for name, value in defaults.items() if TYPED_FLAG.get(name) not in typed} | given
    requests = {
        name: value for name, value in site_requests.items() if flag_of_request.get(name) not in typed
    } | requests
    n_gpus = _number(requests.pop(site.gpu_complex, None), site.gpu_complex)
    flags = {flag_of_request[name] for name in requests if name in flag_of_request}
    flags |= {TYPED_FLAG[name] for name in options if name in TYPED_FLAG}
    lines = [shlex.join([name, *values]) for name, values in options.items()]
    wanted = ",".join(f"{name}={value}" if value else name for name, value in requests.items())
    return EngineArgs((*lines, *([f"-l {wanted}"] if wanted else [])), frozenset(flags), n_gpus)


def read_options(text: str) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Options with the words that belong to them, {"-R": ["y"]}, and the requests of -l, {"h_vmem": "4G"}.

    A negative number is a word of the option before it.
    """
    found, requests, name = {}, {}, None
    for word in split_words(text):
        if re.match(r"-[A-Za-z@]", word):
            name = word
            found.setdefault(name, [])
        elif name is None:
            raise UserError(f"--engine_args {word}: expected an option of qsub, as in -l h_vmem=4G")
        elif name == "-l":
            pairs = [item.partition("=") for item in word.split(",") if item]
            requests |= {key: value for key, _, value in pairs}
        else:
            found[name].append(word)
    found.pop("-l", None)
    return found, requests


def _number(text: str | None, name: str) -> int | None:
    if text is not None and not text.isdigit():
        raise UserError(f"--engine_args -l {name}={text}: expected a whole number")
    return None if text is None else int(text)
