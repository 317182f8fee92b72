"""Run any script of this repository on Modal, on GPUs, preempted and resumed without your doing anything.

    python -m modal run --detach scripts/modal_run.py::main --gpu H100:2 -- src/trainer_vocoder.py --language satere
    python scripts/modal_run.py --gpu H100:2 -- src/trainer_vocoder.py --language satere        (the same, in short)
    python -m modal run --detach scripts/modal_run.py::phase1 --language satere --gpu L4 --shards 16
    python -m modal run --detach scripts/modal_run.py::phase3 --language satere --gpu H100 --steps 100000

Several entry points, so Modal wants the name after ``::``. What follows ``--`` is the command as you would type it
here. data/ and exp/ lie on the volume "bible-audio-data"; scripts/upload_to_modal.py fills it and
scripts/download_results.py reads it. docs/launching.md says more.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import modal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from core.cli import run_main
from core.errors import UserError
from core.exit_codes import EXIT_USER_MISTAKE
from core.files import write_json
from core.records import ModalSpec, ModalStage
from launching.commands import flag_value
from launching.extraction_jobs import extraction_stages
from launching.modal_account import APP, MOUNT, VOLUME, require_token
from launching.modal_cost import describe_cost
from launching.modal_flags import ModalJob, parse_main, parse_phase
from launching.modal_image import build_image
from launching.modal_spec import function_options, make_spec, written_folder
from launching.modal_task import run_spec
from units.extraction_parts import ARRAY_STAGES

MAX_SECONDS = 24 * 3600

app = modal.App(APP)
image = build_image()
volume = modal.Volume.from_name(VOLUME, create_if_missing=True)
writers = modal.Dict.from_name(f"{APP}-writers", create_if_missing=True)


@app.function(image=image, volumes={str(MOUNT): volume}, timeout=MAX_SECONDS, startup_timeout=1800)
def run_script(spec: ModalSpec) -> int:
    """The one job function; GPU, limit and retries come with the call (Function.with_options)."""
    volume.reload()  # a warm container sees what others have committed since
    own_call = {"owner": modal.current_function_call_id() or "unknown"}
    return run_spec(**own_call | spec, writers=writers, commit=volume.commit)


@app.function(image=image, timeout=MAX_SECONDS)
def run_stages(stages: list[ModalStage]) -> int:
    """Stages one after the other, the specs of a stage at once by map; it lives on Modal, so the client may go.

    Only what failed is retried; what still fails is named once the rest of its stage is done.
    """
    owner = modal.current_function_call_id()  # stays when this one is preempted; the ids of its maps do not
    for stage in stages:
        options, specs = stage["options"], [spec | {"owner": owner} for spec in stage["specs"]]
        results = list(run_script.with_options(**options).map(specs, return_exceptions=True))
        errors = {spec["folder"]: found for spec, found in zip(specs, results) if isinstance(found, BaseException)}
        if errors:
            first = next(iter(errors.values()))
            raise RuntimeError(f"{len(errors)} of {len(results)} failed: {', '.join(errors)}; the first: {first}")
    return 0


def plan_shards(job: ModalJob) -> list[ModalStage]:
    """Phase 1 as stages: samplers, fit, assigners, merge, and the report on the units."""
    stages = extraction_stages(job.words, job.shards)
    report = ["src/validate_units.py", "--exp", f"{MOUNT}/exp/{written_folder(job.words)}"]
    return [plan_stage(job, commands) for commands in [*stages, [report]]]


def plan_stage(job: ModalJob, commands: list[list[str]]) -> ModalStage:
    """The commands of a stage as specs; only stages of many jobs use the GPU."""
    gpu = flag_value(commands[0], "stage") in ARRAY_STAGES
    return {"options": function_options(job, gpu=gpu), "specs": [make_spec(job, words) for words in commands]}


def submit(job: ModalJob) -> None:
    """Say what it may cost, hand it over, and wait for it unless asked not to."""
    stages = plan_shards(job) if job.shards > 1 else []
    print(describe_cost(job, job.shards))
    if job.dry_run:
        shown = stages or {"options": function_options(job), "spec": make_spec(job)}
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    if job.no_wait and not {"--detach", "-d"} & set(sys.argv):
        raise UserError("--no_wait: expected modal run --detach, for otherwise the job ends with this command")
    function = run_stages if stages else run_script.with_options(**function_options(job))
    call = function.spawn(stages or make_spec(job))
    print(f"submitted {call.object_id}: {' '.join(job.words)}", flush=True)
    if job.call_file:
        write_json(job.call_file, {"calls": [call.object_id], "submitted": time.time()})
    if not job.no_wait:
        call.get()


def run_entry(parse: Callable[[Sequence[str]], ModalJob], words: Sequence[str]) -> None:
    """As cli.run_main: a user mistake becomes one line and exit code 2, inside the client's own command too."""
    try:
        submit(parse(words))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_MISTAKE)


@app.local_entrypoint()
def main(*words: str) -> None:
    """Any script: flags of the job, then --, then the command."""
    run_entry(parse_main, words)


@app.local_entrypoint()
def phase1(*words: str) -> None:
    """scripts/run_phase1.sh; with --shards N its stages in N containers at once."""
    run_entry(lambda given: parse_phase(1, given), words)


@app.local_entrypoint()
def phase2(*words: str) -> None:
    """scripts/run_phase2.sh."""
    run_entry(lambda given: parse_phase(2, given), words)


@app.local_entrypoint()
def phase3(*words: str) -> None:
    """scripts/run_phase3.sh."""
    run_entry(lambda given: parse_phase(3, given), words)


def parse_args(argv: Sequence[str] | None = None) -> ModalJob:
    return parse_main(sys.argv[1:] if argv is None else argv)


def hand_to_client() -> None:
    """Run by itself, the script checks flags and token at once, then becomes ``modal run --detach`` of ``main``."""
    job = parse_args()
    if job.dry_run:
        submit(job)
        return
    require_token()
    words = ["-m", "modal", "run", "--detach", f"{Path(__file__).resolve()}::main", *sys.argv[1:]]
    os.execv(sys.executable, [sys.executable, *words])


if __name__ == "__main__":
    run_main(hand_to_client)
