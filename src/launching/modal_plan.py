"""A job on Modal as stages, one after the other: what needs no GPU gets none, and only the command itself is cut."""

import os
import shlex
from pathlib import Path

from core.errors import UserError
from core.records import ModalStage
from launching.commands import flag_value
from launching.extraction_jobs import extraction_stages, shares_work
from launching.modal_account import MOUNT
from launching.modal_flags import ModalJob
from launching.modal_spec import check_environment, function_options, language_of, make_spec, written_folder

CHAIN_SCRIPT = "run_all.sh"
VOICE_SCRIPTS = ("trainer_vocoder.py", "run_phase3.sh")


def plan_stages(job: ModalJob) -> list[ModalStage]:
    """The stages of a job; one with one command where nothing is to be done beside it."""
    check_environment(job)
    if job.shards > 1:
        return plan_shards(job)
    if Path(job.words[0]).name == CHAIN_SCRIPT:
        return plan_chain(job)
    if language := trained_language(job):
        return [prepare_f0(job, language), stage_audio(_one_stage(job, [job.words]), language)]
    return [_one_stage(job, [job.words])]


def plan_chain(job: ModalJob) -> list[ModalStage]:
    """The whole chain of one language, as scripts/run_all.sh runs it.

    GPUs are held for units, voice and scores alone, and each folder has a call of its own as its writer.
    """
    language, tag = language_of(job.words), flag_value(job.words, "tag", os.environ.get("TAG", ""))
    further = {word.partition("=")[0] for word in job.words[1:]} - {language, tag, "--language", "--tag"}
    if not language or further:
        raise UserError(
            f"{' '.join(job.words)}: expected a language alone, as in scripts/run_all.sh satere; segments go up with "
            "scripts/upload_to_modal.py, flags go into PHASE1_ARGS, PHASE2_ARGS, PHASE3_ARGS"
        )
    flags = [language, *(["--tag", tag] if tag else [])]
    phases = [
        [f"scripts/run_phase{number}.sh", *flags, *shlex.split(os.environ.get(f"PHASE{number}_ARGS", ""))]
        for number in (1, 2, 3)
    ]
    bpe, voice = (f"{MOUNT}/exp/{written_folder(words)}" for words in phases[1:])
    whisper = os.environ.get("ORAL_UNITS_WHISPER")
    scores = ["src/vocoder_test.py", "--exp", voice, *(["--asr", whisper] if whisper else [])]
    training = _one_stage(job, [phases[2]])
    more = shlex.split(os.environ.get("UNIT_LM_ARGS", ""))
    asked = [["scripts/run_unit_lm.sh", *flags, *more]] if more or os.environ.get("UNIT_LM") else []
    return [
        _one_stage(job, [phases[0]]),
        _one_stage(without_gpu(job), [phases[1]]),
        *([prepare_f0(job, language), stage_audio(training, language)] if job.n_gpus else [training]),
        _one_stage(job._replace(n_gpus=min(1, job.n_gpus), processes=1), [scores]),
        *(_one_stage(job, [words]) for words in asked),
        _one_stage(without_gpu(job), [["src/build_report.py", voice, bpe]]),
    ]


def trained_language(job: ModalJob) -> str | None:
    """The language whose voice a job trains on GPUs."""
    trains = job.n_gpus and Path(job.words[0]).name in VOICE_SCRIPTS
    return language_of(job.words) or None if trains else None


def stage_audio(stage: ModalStage, language: str) -> ModalStage:
    """The stage with a copy of the language's segments on the own disk of each container."""
    return stage | {"specs": [spec | {"staged_language": language} for spec in stage["specs"]]}


def prepare_f0(job: ModalJob, language: str) -> ModalStage:
    """What the command would first do on a processor while its GPUs wait: the F0 of the language's segments."""
    words = ["scripts/fill_f0_cache.py", "--language", language, "--num_workers", str(max(1, int(job.cpus)))]
    return _one_stage(without_gpu(job)._replace(cpus=job.cpus), [words])


def plan_shards(job: ModalJob) -> list[ModalStage]:
    """Phase 1 as stages: samplers, fit, assigners, merge, and the report on the units."""
    report = ["src/validate_units.py", "--exp", f"{MOUNT}/exp/{written_folder(job.words)}"]
    stages = [*extraction_stages(job.words, job.shards), [report]]
    return [_one_stage(job if shares_work(commands[0]) else without_gpu(job), commands) for commands in stages]


def without_gpu(job: ModalJob) -> ModalJob:
    """The same job on a processor alone: in one process, with the threads that each process of the job has."""
    return job._replace(gpu_name=None, n_gpus=0, processes=1, cpus=job.cpus / job.processes)


def _one_stage(job: ModalJob, commands: list[list[str]]) -> ModalStage:
    return {"options": function_options(job), "specs": [make_spec(job, words) for words in commands]}
