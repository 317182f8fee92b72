"""What the job function on Modal is given: the command, the folder it writes to, its limits and its variables."""

import os
from collections.abc import Sequence
from pathlib import Path

from core.git import ask_git
from core.records import ModalSpec
from languages import REPOSITORY, language_paths
from launching.commands import experiment_name, flag_value
from launching.modal_flags import ModalJob

STOP_SECONDS = 600.0  # before the engine's own limit, for the checkpoint and the commit; a tenth of short limits

# Script -> the entry of language_paths that it writes to. Others are known by --exp, or by their own name.
FOLDER_OF_SCRIPT = {
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


def timeout_seconds(job: ModalJob) -> int:
    """The engine's own limit of one attempt."""
    return round(3600 * job.hours)


def function_options(job: ModalJob, *, gpu: bool = True) -> dict[str, object]:
    """Arguments of ``Function.with_options``; without ``gpu`` those of a stage that needs none."""
    options = {"cpu": job.cpus, "memory": round(1024 * job.memory_gb), "timeout": timeout_seconds(job)}
    retries = {"retries": job.retries} if job.retries else {}
    return options | retries | ({"gpu": f"{job.gpu_name}:{job.n_gpus}"} if gpu and job.n_gpus else {})


def make_spec(job: ModalJob, words: list[str] | None = None) -> ModalSpec:
    """The job function's argument for ``words``, by default the job's own command."""
    words, timeout = words or job.words, timeout_seconds(job)
    return {
        "words": words,
        "processes": job.processes,
        "folder": written_folder(words),
        "limit_seconds": timeout - min(STOP_SECONDS, 0.1 * timeout),
        "environment": job_environment(words),
    }


def written_folder(words: Sequence[str]) -> str:
    """The folder under EXP_ROOT that a command writes to; the shards of an array write different files in one."""
    script, index = Path(words[0]).name, flag_value(words, "shard_index")
    shard = f"/{flag_value(words, 'stage')}_{index}" if index else ""
    if exp := experiment_name(words):
        return exp + shard
    language = flag_value(words, "language", os.environ.get("TRAINING_LANGUAGE", ""))
    if script.endswith(".sh") and len(words) > 1 and not words[1].startswith("-"):
        language = words[1]
    if script not in FOLDER_OF_SCRIPT or not language:
        return Path(script).stem + (f"_{language}" if language else "") + shard
    tag = flag_value(words, "tag", os.environ.get("TAG", ""))
    generator = flag_value(words, "generator", "v3")
    return language_paths(language, tag, generator, may_be_new=True)[FOLDER_OF_SCRIPT[script]].name + shard


def job_environment(words: Sequence[str]) -> dict[str, str]:
    """Variables of the command that this shell sets; offline, except for what fetches."""
    names = ("TAG", "DATA_ARGS", "PHASE1_ARGS", "PHASE2_ARGS", "PHASE3_ARGS")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    offline = "0" if Path(words[0]).name in ONLINE_SCRIPTS else "1"
    commit = ask_git(REPOSITORY, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    kept |= {"ORAL_UNITS_COMMIT": commit} if commit else {}
    return kept | {name: offline for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")}
