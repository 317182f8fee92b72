"""What a job on Modal is, without Modal: flags, GPU names and limits checked, folders, what is uploaded, what it costs.

A spec is what the job function gets, plain data: ``words`` (the command as a person types it, beginning with a script
of this repository), ``processes`` (over 1: torchrun), ``folder`` (what it writes under EXP_ROOT: one writer at a time),
``limit_seconds``, ``environment``.
"""

import argparse
import os
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from core.cli import HELP_FORMATTER, parse_flags
from core.errors import UserError
from languages import LANGUAGE_CONFIGS, REPOSITORY, language_paths
from launching.commands import check_command

APP = "oral-units"
VOLUME = "bible-audio-data"
MOUNT = PurePosixPath("/vol")
CODE = PurePosixPath("/oral-units")
SYSTEM_PACKAGES = ("g++",)  # for torch.compile; the wheels bring ffmpeg, libsndfile and Praat with them

# modal.com/docs/guide/gpu: name -> most in one container. The client passes on any name and any number.
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
STOP_SECONDS = 600.0  # before the engine's own limit, for the checkpoint and the commit; a tenth of short limits
MIN_HOURS = 0.05

# Only these are uploaded, so that recordings and results never are, however the working folder looks.
CODE_FOLDERS = ("src", "scripts", "recipes")
CODE_FILES = ("path.sh", "pyproject.toml", "constraints.txt")
IGNORED_FOLDERS = {"exp", "data", "modal_downloads", "__pycache__", "node_modules", "wandb", "runs"}
IGNORED_SUFFIXES = {
    *(".pyc", ".tmp", ".log", ".pt", ".ckpt", ".safetensors", ".npz", ".npy", ".pkl"),
    *(".wav", ".mp3", ".flac", ".ogg", ".m4a", ".tar", ".zip", ".gz"),
    *(".env", ".pem", ".key", ".p12", ".pfx", ".netrc", ".secret", ".token"),
}
IGNORED_WORDS = ("secret", "credential", "password", "id_rsa", "id_ed25519")

# Script -> the entry of language_paths that it writes to. Others are known by --exp, or by their own name.
WRITES = {
    "extract_units.py": "units",
    "validate_units.py": "units",
    "run_phase1.sh": "units",
    "train_bpe.py": "bpe",
    "run_phase2.sh": "bpe",
    "trainer_vocoder.py": "vocoder",
    "run_phase3.sh": "vocoder",
    "trainer_prosody.py": "prosody",
}
ONLINE_SCRIPTS = ("fetch_models.py", "fetch_prompts.py", "prepare.sh")


def add_job_flags(parser: argparse.ArgumentParser) -> None:
    job = parser.add_argument_group("job")
    job.add_argument(
        "--gpu", default=None, help=f"GPU and number, as in H100:2; one of: {', '.join(GPUS)}; none: CPU only"
    )
    job.add_argument(
        "--processes", type=int, default=None, help="processes, by torchrun where over 1; by default one a GPU"
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
    job.add_argument("--no_wait", action="store_true", help="return once submitted; asks for modal run --detach")
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


def parse_main(words: Sequence[str]) -> argparse.Namespace:
    """``--gpu H100:2 -- src/trainer_vocoder.py --language satere``: the job, its command in ``words``."""
    own, command = split_words(words)
    parser = argparse.ArgumentParser(
        prog="modal run scripts/modal_run.py::main",
        description="Run any script of this repository on Modal: flags of the job, then --, then the command.",
        formatter_class=HELP_FORMATTER,
        allow_abbrev=False,
    )
    add_job_flags(parser)
    return check_job(parse_flags(parser, own), command)


def parse_phase(phase: int, words: Sequence[str]) -> argparse.Namespace:
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
        help=f"language, one of: {', '.join(sorted(LANGUAGE_CONFIGS))}; TRAINING_LANGUAGE sets it too",
    )
    if phase == 1:
        parser.add_argument("--shards", type=int, default=1, help="containers that extract at once, by map")
    args, unknown = _parse_known(parser, own)
    language_paths(args.language)
    flags = [*unknown, *further]
    if getattr(args, "shards", 1) > 1:
        return check_job(args, ["src/extract_units.py", "--language", args.language, *flags])
    return check_job(args, [f"scripts/run_phase{phase}.sh", "--language", args.language, *flags])


def _parse_known(parser: argparse.ArgumentParser, words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Known flags with - and _ alike; the words of unknown ones as they were typed, in their order."""
    names = {f"--{name}" for name in vars(parser.parse_args([]))}
    plain = []
    for word in words:
        flag, equals, value = word.partition("=")
        alike = "--" + flag[2:].replace("-", "_")
        plain.append(alike + equals + value if word.startswith("--") and alike in names else word)
    return parser.parse_known_args(plain)


def check_job(args: argparse.Namespace, words: list[str]) -> argparse.Namespace:
    """Refuse what the engine would take and fail on; adds ``words``, ``gpu_name``, ``gpu_count``, ``timeout``."""
    args.gpu_name, args.gpu_count = parse_gpu(args.gpu)
    args.gpu = f"{args.gpu_name}:{args.gpu_count}" if args.gpu_name else None
    args.processes = max(1, args.gpu_count) if args.processes is None else args.processes
    if not MIN_HOURS <= args.hours <= MAX_HOURS:
        raise UserError(f"--hours {args.hours:g}: expected {MIN_HOURS:g} to {MAX_HOURS:g}; retries resume a longer run")
    if not 0 <= args.retries <= MAX_RETRIES:
        raise UserError(f"--retries {args.retries}: expected 0 to {MAX_RETRIES}")
    for name in ("cpus", "memory_gb", "processes"):
        if not getattr(args, name) > 0:
            raise UserError(f"--{name} {getattr(args, name):g}: expected a number above 0")
    check_command(words, {"nodes": 1, "processes": args.processes})
    args.words, args.timeout = _in_repository(words), round(3600 * args.hours)
    return args


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


def function_options(args: argparse.Namespace, *, gpu: bool = True) -> dict:
    """Arguments of ``Function.with_options``."""
    options = {"cpu": args.cpus, "memory": round(1024 * args.memory_gb), "timeout": args.timeout}
    retries = {"retries": args.retries} if args.retries else {}
    return options | retries | ({"gpu": args.gpu} if gpu and args.gpu else {})


def make_spec(args: argparse.Namespace, words: list[str] | None = None, *, environment: dict | None = None) -> dict:
    """The job function's argument for ``words``, by default the job's own command."""
    words = words or args.words
    return {
        "words": words,
        "processes": args.processes,
        "folder": written_folder(words),
        "limit_seconds": args.timeout - min(STOP_SECONDS, 0.1 * args.timeout),
        "environment": job_environment(words) | (environment or {}),
    }


def flag_value(words: Sequence[str], name: str, default: str = "") -> str:
    """The last value of ``--name value`` or ``--name=value``, - and _ alike."""
    value = default
    for number, word in enumerate(words):
        flag, equals, given = word.partition("=")
        if word.startswith("--") and flag[2:].replace("-", "_") == name:
            value = given if equals else "".join(words[number + 1 : number + 2])
    return value


def written_folder(words: Sequence[str]) -> str:
    """The folder under EXP_ROOT that a command writes to; the shards of an array write different files in one."""
    script, index = Path(words[0]).name, flag_value(words, "shard_index")
    shard = f"/{flag_value(words, 'stage')}_{index}" if index else ""
    if exp := flag_value(words, "exp"):
        return PurePosixPath(exp).name + shard
    language = flag_value(words, "language", os.environ.get("TRAINING_LANGUAGE", ""))
    if script.endswith(".sh") and len(words) > 1 and words[1] in LANGUAGE_CONFIGS:
        language = words[1]
    if script not in WRITES or not language:
        return Path(script).stem + (f"_{language}" if language else "") + shard
    tag = flag_value(words, "tag", os.environ.get("TAG", ""))
    generator = flag_value(words, "generator", "v3")
    return language_paths(language, tag, generator)[WRITES[script]].name + shard


def job_environment(words: Sequence[str]) -> dict[str, str]:
    """Variables of the command that this shell sets; offline, except for what fetches."""
    names = ("TAG", "DATA_ARGS", "PHASE1_ARGS", "PHASE2_ARGS", "PHASE3_ARGS")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    offline = "0" if Path(words[0]).name in ONLINE_SCRIPTS else "1"
    commit = subprocess.run(
        ["git", "-C", str(REPOSITORY), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
        check=False,
        capture_output=True,
        text=True,
    )
    kept |= {"ORAL_UNITS_COMMIT": commit.stdout.strip()} if commit.returncode == 0 else {}
    return kept | {name: offline for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")}


def describe_cost(args: argparse.Namespace, n_containers: int = 1) -> str:
    """What the job can use at most: hours × GPUs. Prices change and are the user's to look up."""
    attempts = args.retries + 1
    if not args.gpu:
        hours = args.hours * args.cpus * n_containers
        return (
            f"cost: at most {hours:g} CPU-core-hours an attempt, {attempts} attempts; no GPU; prices: modal.com/pricing"
        )
    hours = args.hours * args.gpu_count * n_containers
    return (
        f"cost: at most {hours:g} GPU-hours of {args.gpu_name} an attempt ({args.hours:g} h × {args.gpu_count} GPU"
        f"{'s' if args.gpu_count > 1 else ''}{f' × {n_containers} containers' if n_containers > 1 else ''}), "
        f"{attempts} attempts; it ends when the script ends; price of a GPU-hour: modal.com/pricing"
    )


def read_requirements(repository: Path = REPOSITORY) -> list[str]:
    """pyproject.toml's own list, and its tools, which path.sh asks for: the same set as on every other machine."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return sorted(project["dependencies"] + project["optional-dependencies"]["dev"])


def image_environment() -> dict[str, str]:
    return {
        "PYTHONPATH": f"{CODE}/src",
        "DATA_ROOT": f"{MOUNT}/data",
        "EXP_ROOT": f"{MOUNT}/exp",
        "HF_HOME": f"{MOUNT}/huggingface",
        "PYTHONUNBUFFERED": "1",
        "TQDM_MININTERVAL": "30",
    }


def is_ignored(path: Path) -> bool:
    """Whether a file of an uploaded folder stays here; ``path`` is relative to that folder."""
    names = [part.lower() for part in path.parts]
    return (
        any(name in IGNORED_FOLDERS or name.startswith(".") for name in names)
        or path.suffix.lower() in IGNORED_SUFFIXES
        or any(word in names[-1] for word in IGNORED_WORDS)
    )


def require_token() -> None:
    """One line on how to set a token, where there is none; the token itself is never read here."""
    from modal.config import config

    if not (config.get("token_id") and config.get("token_secret")) and not config.get("oauth_client_id"):
        raise UserError(
            "Modal: expected a token, found none; run: python -m modal token new, "
            "or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET in the environment"
        )
