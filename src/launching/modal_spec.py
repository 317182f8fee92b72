"""What the job function on Modal is given: the command, the folder it writes to, its limits and its variables."""

import os
from collections.abc import Sequence
from pathlib import Path

from core.errors import UserError
from core.expected_gpus import EXPECTED_GPUS
from core.git import ask_git
from core.records import ModalSpec
from languages import DEFAULT_GENERATOR, REPOSITORY, language_paths
from launching.commands import experiment_name, flag_value
from launching.modal_account import MOUNT, VOLUME
from launching.modal_flags import ModalJob, is_online

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
    "run_all.sh": "vocoder",
    "train_vocoder.sh": "vocoder",
    "trainer_prosody.py": "prosody",
    "trainer_unit_lm.py": "unit_lm",
    "run_unit_lm.sh": "unit_lm",
}
# Script -> the experiment that it writes to where EXPERIMENT names none; empty: that of the language.
EXPERIMENT_OF_SCRIPT = {
    "train_vocoder.sh": "",
    "train.sh": "speech_llm",
    "train_pre.sh": "speech_llm_pre",
    "train_post_wlg.sh": "speech_llm_post_wlg",
    "sweep_connectors.sh": "speech_llm_sweep",
}
# Handed on where this shell sets them; none of them holds a secret.
MODEL_VARIABLES = ("ORAL_UNITS_WHISPER", "ORAL_UNITS_LLM")
HANDED_VARIABLES = (
    *("TRAINING_LANGUAGE", "TAG", "DATA_ARGS", "PHASE1_ARGS", "PHASE2_ARGS", "PHASE3_ARGS", "UNIT_LM", "UNIT_LM_ARGS"),
    *("EXPERIMENT", "N_GPUS", "CONNECTORS", "FACTORS", "LARGE_ENCODER", "FROM_PRETRAINED"),
    *("ORAL_UNITS_TRACEBACK", *MODEL_VARIABLES),
)


def timeout_seconds(job: ModalJob) -> int:
    """The engine's own limit of one attempt."""
    return round(3600 * job.hours)


def function_options(job: ModalJob) -> dict[str, object]:
    """What ``Function.with_options`` is called with; ``volume`` and ``hf_secret`` are names (scripts/modal_run.py)."""
    chosen = {
        "retries": job.retries,
        "gpu": f"{job.gpu_name}:{job.n_gpus}" if job.n_gpus else None,
        "region": job.region.split(",") if job.region else None,
        "max_containers": job.max_containers,
        "volume": job.volume if job.volume != VOLUME else None,
        "hf_secret": job.hf_secret,
    }
    always = {"cpu": job.cpus, "memory": round(1024 * job.memory_gb), "timeout": timeout_seconds(job)}
    return always | {name: value for name, value in chosen.items() if value}


def make_spec(job: ModalJob, words: list[str] | None = None) -> ModalSpec:
    """The job function's argument for ``words``, by default the job's own command."""
    words, timeout = words or job.words, timeout_seconds(job)
    return {
        "words": words,
        "processes": job.processes,
        "folder": written_folder(words),
        "limit_seconds": timeout - min(STOP_SECONDS, 0.1 * timeout),
        "environment": job_environment(words, job.n_gpus) | {"OMP_NUM_THREADS": str(threads_of(job))},
        "volume": job.volume,
        "retries": job.retries,
    }


def threads_of(job: ModalJob) -> int:
    """Threads of each process: a container sees all cores of its machine, and would start one for each."""
    return max(1, int(job.cpus / job.processes))


def written_folder(words: Sequence[str]) -> str:
    """The folder under EXP_ROOT that a command writes to; the shards of an array write different files in one.

    Two scripts that write to one folder have one name here, whatever they are called.
    """
    script, index = Path(words[0]).name, flag_value(words, "shard_index")
    shard = f"/{flag_value(words, 'stage')}_{index}" if index else ""
    language = language_of(words)
    if exp := experiment_name(words) or _named_experiment(words):
        return exp + shard
    if script not in FOLDER_OF_SCRIPT or not language:
        return Path(script).stem + (f"_{language}" if language else "") + shard
    tag = flag_value(words, "tag", os.environ.get("TAG", ""))
    generator = flag_value(words, "generator", DEFAULT_GENERATOR)
    return language_paths(language, tag, generator, may_be_new=True)[FOLDER_OF_SCRIPT[script]].name + shard


def _named_experiment(words: Sequence[str]) -> str:
    """What names an experiment without --exp: EXPERIMENT for the job scripts, the first word of the report."""
    script = Path(words[0]).name
    if script in EXPERIMENT_OF_SCRIPT:
        return os.environ.get("EXPERIMENT") or EXPERIMENT_OF_SCRIPT[script]
    if script == "build_report.py" and len(words) > 1 and not words[1].startswith("-"):
        return Path(words[1]).name
    return ""


def language_of(words: Sequence[str]) -> str:
    """The language of a command: a shell script's first word, --language, or TRAINING_LANGUAGE; or empty."""
    if words[0].endswith(".sh") and len(words) > 1 and not words[1].startswith("-"):
        return words[1]
    if Path(words[0]).name == "prepare.sh":  # recipes/<language>/prepare.sh
        return Path(words[0]).parent.name
    return flag_value(words, "language", os.environ.get("TRAINING_LANGUAGE", ""))


def job_environment(words: Sequence[str], n_gpus: int = 0) -> dict[str, str]:
    """Variables of the command that this shell sets; offline, except for what fetches; how many GPUs it is to find."""
    handed = {name: value for name in HANDED_VARIABLES if (value := os.environ.get(name))}
    handed["N_GPUS"] = str(min(int(handed.get("N_GPUS", n_gpus)), n_gpus))  # the job scripts take one by default
    offline = "0" if is_online(words) else "1"
    commit = ask_git(REPOSITORY, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    handed |= {"ORAL_UNITS_COMMIT": commit} if commit else {}
    handed |= {EXPECTED_GPUS: str(n_gpus)} if n_gpus else {}
    return handed | {name: offline for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")}


def check_environment(job: ModalJob) -> None:
    """UserError for a variable of this shell that names a folder of this machine, or more GPUs than the job has."""
    wanted = os.environ.get("N_GPUS") or "0"
    if not wanted.isdecimal() or int(wanted) > job.n_gpus:
        raise UserError(f"N_GPUS={wanted}: expected at most those of --gpu, {job.n_gpus}; as in --gpu L4:2")
    for name in MODEL_VARIABLES:
        value = os.environ.get(name, "")
        if os.path.isabs(value) and not Path(value).is_relative_to(MOUNT):
            raise UserError(
                f"{name}={value}: expected a hub id on Modal, as in openai/whisper-base, found a folder of this "
                "machine; scripts/fetch_models.py puts a model on the volume"
            )
