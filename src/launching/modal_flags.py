"""The flags of a job on Modal, checked here because the client passes on whatever it is given."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from core.cli import HELP_FORMATTER, parse_flags
from core.errors import UserError
from languages import REPOSITORY, language_help, language_paths
from launching.commands import check_command
from launching.modal_account import default_volume
from launching.modal_image_contents import CODE_FOLDERS
from launching.modal_paths import check_paths

# modal.com/docs/guide/gpu: name -> most in one container.
GPUS = {
    "T4": 8,
    "L4": 8,
    "A10": 4,
    "L40S": 8,
    "A100": 8,
    "A100-40GB": 8,
    "A100-80GB": 8,
    "RTX-PRO-6000": 8,
    "H100": 8,
    "H100!": 8,
    "H200": 8,
    "B200": 8,
    "B200+": 8,
}
MAX_HOURS = 24.0
MAX_RETRIES = 10
MIN_HOURS = 0.05
ONLINE_SCRIPTS = ("fetch_models.py", "fetch_prompts.py", "prepare.sh")


class ModalJob(NamedTuple):
    """A job as its flags and its command say."""

    words: list[str]  # the command, from the script on, relative to the repository
    gpu_name: str | None
    n_gpus: int
    processes: int
    cpus: float  # cores
    memory_gb: float
    hours: float  # limit of one attempt
    retries: int  # further attempts
    no_wait: bool
    take_over: bool  # stop the call that writes to the folder
    call_file: Path | None  # where to write the ids of the calls
    dry_run: bool
    shards: int  # containers that extract units at once
    max_containers: int | None  # of those, at a time
    volume: str  # name of the volume
    region: str | None  # where containers may run
    hf_secret: str | None  # name of a secret of the account that holds HF_TOKEN
    gpu_price: float | None  # US dollars a GPU-hour, as the user has looked it up


def add_job_flags(parser: argparse.ArgumentParser) -> None:
    job = parser.add_argument_group("job")
    job.add_argument(
        "--gpu", default=None, help=f"GPU and number, as in H100:2; one of: {', '.join(GPUS)}; none: CPU only"
    )
    job.add_argument(
        "--processes", type=int, default=None, help="processes, by torchrun where over 1; by default one per GPU"
    )
    job.add_argument("--cpus", type=float, default=4.0, help="CPU cores")
    job.add_argument("--memory_gb", type=float, default=16.0, help="memory (GB)")
    job.add_argument(
        "--hours",
        type=float,
        default=MAX_HOURS,
        help=f"limit of one attempt (hours), at most {MAX_HOURS:g}; before it the run saves and is retried",
    )
    job.add_argument("--retries", type=int, default=MAX_RETRIES, help=f"further attempts, at most {MAX_RETRIES}")
    job.add_argument(
        "--volume", default=default_volume(), help="volume of data/ and exp/; ORAL_UNITS_VOLUME sets it too"
    )
    job.add_argument("--region", default=None, help="where containers may run, as in eu or us-east,us-west (dearer)")
    job.add_argument("--max_containers", type=int, default=None, help="containers of --shards at a time")
    job.add_argument(
        "--hf_secret",
        default=None,
        help="secret of your Modal account that holds HF_TOKEN, for scripts that fetch models",
    )
    job.add_argument("--gpu_price", type=float, default=None, help="price of a GPU-hour (US dollars) for the cost line")
    job.add_argument("--no_wait", action="store_true", help="return once submitted; asks for modal run --detach")
    job.add_argument(
        "--take_over", action="store_true", help="stop the call that writes to the same folder, and go on from its save"
    )
    job.add_argument("--call_file", type=Path, default=None, help="write the ids of the calls to this file (JSON)")
    job.add_argument("--dry_run", action="store_true", help="print what would be submitted, and submit nothing")


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The launcher's own flags, and the command: what follows ``--``, else what begins with a script's name."""
    words = [*words]
    if "--" in words:
        cut = words.index("--")
        return words[:cut], words[cut + 1 :]
    scripts = [number for number, word in enumerate(words) if word.endswith((".py", ".sh"))]
    cut = scripts[0] if scripts else len(words)
    return words[:cut], words[cut:]


def parse_main(words: Sequence[str]) -> ModalJob:
    """``--gpu H100:2 -- src/trainer_vocoder.py --language satere``: the job and its command."""
    own, command = split_words(words)
    parser = argparse.ArgumentParser(
        prog="modal run scripts/modal_run.py::main",
        description="Run any script of this repository on Modal: flags of the job, then --, then the command.",
        formatter_class=HELP_FORMATTER,
        allow_abbrev=False,
    )
    add_job_flags(parser)
    flags = vars(parse_flags(parser, own))
    del flags["flag_defaults"]
    return check_job(command, **flags)


def parse_phase(phase: int, words: Sequence[str]) -> ModalJob:
    """``--language satere --gpu L4``: the job of a phase; what is not the job's own goes to the phase's script."""
    cut = list(words).index("--") if "--" in words else len(words)
    own, further = list(words[:cut]), list(words[cut + 1 :])
    parser = argparse.ArgumentParser(
        prog=f"modal run scripts/modal_run.py::phase{phase}",
        description=f"Run scripts/run_phase{phase}.sh on Modal; further flags are handed to it.",
        formatter_class=HELP_FORMATTER,
        allow_abbrev=False,
    )
    add_job_flags(parser)
    parser.add_argument(
        "--language",
        default=os.environ.get("TRAINING_LANGUAGE"),
        help=language_help("language"),
    )
    if phase == 1:
        parser.add_argument("--shards", type=int, default=1, help="containers that extract at once, by map")
    flags, unknown = _parse_known(parser, own)
    language = flags.pop("language")
    language_paths(language)
    script = "src/extract_units.py" if flags.get("shards", 1) > 1 else f"scripts/run_phase{phase}.sh"
    return check_job([script, "--language", language, *unknown, *further], **flags)


def _parse_known(parser: argparse.ArgumentParser, words: list[str]) -> tuple[dict[str, object], list[str]]:
    """Known flags with - and _ alike; the words of unknown ones as they were typed, in their order."""
    names = {f"--{name}" for name in vars(parser.parse_args([]))}
    plain = []
    for word in words:
        flag, equals, value = word.partition("=")
        alike = "--" + flag[2:].replace("-", "_")
        plain.append(alike + equals + value if word.startswith("--") and alike in names else word)
    known, unknown = parser.parse_known_args(plain)
    return vars(known), unknown


def check_job(
    words: list[str],
    *,
    gpu: str | None,
    processes: int | None,
    cpus: float,
    memory_gb: float,
    hours: float,
    retries: int,
    shards: int = 1,
    max_containers: int | None = None,
    hf_secret: str | None = None,
    gpu_price: float | None = None,
    **client: object,
) -> ModalJob:
    """Refuse what the engine would take and fail on. ``client``: what only the submitting command obeys."""
    gpu_name, n_gpus = parse_gpu(gpu)
    processes = max(1, n_gpus) if processes is None else processes
    if not MIN_HOURS <= hours <= MAX_HOURS:
        raise UserError(f"--hours {hours:g}: expected {MIN_HOURS:g} to {MAX_HOURS:g}; retries resume a longer run")
    if not 0 <= retries <= MAX_RETRIES:
        raise UserError(f"--retries {retries}: expected 0 to {MAX_RETRIES}")
    positive = {"cpus": cpus, "memory_gb": memory_gb, "processes": processes, "shards": shards}
    for name, value in (positive | {"max_containers": max_containers, "gpu_price": gpu_price}).items():
        if value is not None and not value > 0:
            raise UserError(f"--{name} {value:g}: expected a number above 0")
    if gpu_price and not n_gpus:
        raise UserError("--gpu_price: expected --gpu with it")
    if max_containers and shards == 1:
        raise UserError("--max_containers: expected --shards with it; other jobs have one container at a time")
    check_command(words)
    if hf_secret and not is_online(words):
        raise UserError(f"--hf_secret: {words[0]} runs offline; give it to what fetches: {', '.join(ONLINE_SCRIPTS)}")
    check_paths(words[1:], dict(os.environ))
    return ModalJob(
        words=_in_repository(words),
        gpu_name=gpu_name,
        n_gpus=n_gpus,
        processes=processes,
        cpus=cpus,
        memory_gb=memory_gb,
        hours=hours,
        retries=retries,
        shards=shards,
        max_containers=max_containers,
        hf_secret=hf_secret,
        gpu_price=gpu_price,
        **client,
    )


def is_online(words: Sequence[str]) -> bool:
    """Whether a command may fetch from the network; all others run offline."""
    return Path(words[0]).name in ONLINE_SCRIPTS


def _in_repository(words: list[str]) -> list[str]:
    """The script relative to the repository: another machine has it elsewhere."""
    path = Path(words[0])
    if path.is_absolute() and not path.is_relative_to(REPOSITORY):
        raise UserError(f"{path}: expected a script of {REPOSITORY}; only that is uploaded")
    path = path.relative_to(REPOSITORY) if path.is_absolute() else path
    if path.parts[0] not in CODE_FOLDERS:
        raise UserError(f"{path}: expected a script in {', '.join(CODE_FOLDERS)}; only those are uploaded")
    return [path.as_posix(), *words[1:]]


def parse_gpu(text: str | None) -> tuple[str | None, int]:
    """``"H100:2"`` -> ("H100", 2), ``None`` -> (None, 0); UserError for another name or number."""
    if text is None:
        return None, 0
    name, colon, count = text.upper().partition(":")
    if name not in GPUS:
        raise UserError(f"--gpu {text}: expected one of {', '.join(GPUS)}, with :N for several")
    if colon and not count.isdecimal() or not 1 <= int(count or 1) <= GPUS[name]:
        raise UserError(f"--gpu {text}: expected 1 to {GPUS[name]} of {name} in one container")
    return name, int(count or 1)
