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
from functools import partial
from pathlib import Path

import modal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from core.cli import run_main
from core.errors import UserError
from core.exit_codes import EXIT_USER_MISTAKE
from core.files import write_json
from core.records import ModalOutcome, ModalSpec, ModalStage
from launching.modal_account import APP, MOUNT, VOLUME, open_calls, open_writers, require_token
from launching.modal_calls import call_lives, cancel_call
from launching.modal_cost import describe_cost
from launching.modal_flags import MAX_RETRIES, ModalJob, parse_main, parse_phase
from launching.modal_image import build_image
from launching.modal_image_contents import CODE_ROOT
from launching.modal_plan import plan_stages
from launching.modal_spec import written_folder
from launching.modal_staging import staged_segments
from launching.modal_task import read_end, run_spec
from launching.modal_writers import free_folders

MAX_SECONDS = 24 * 3600
ENTRY_POINTS = {"main": parse_main} | {f"phase{number}": partial(parse_phase, number) for number in (1, 2, 3)}

app = modal.App(APP)
image = build_image()
volume = modal.Volume.from_name(VOLUME, create_if_missing=True)
calls = open_calls()


@app.function(image=image, volumes={str(MOUNT): volume}, timeout=MAX_SECONDS, startup_timeout=1800)
def run_script(spec: ModalSpec) -> ModalOutcome:
    """The one job function; GPU, limit and retries come with the call (Function.with_options)."""
    name, call = spec.pop("volume", VOLUME), modal.current_function_call_id() or "unknown"
    mounted = open_volume(name)
    try:
        mounted.reload()  # a warm container sees what others have committed since
        return run_spec(
            staged=staged_segments(spec.pop("staged_language", None), Path(MOUNT) / "data"),
            **{"owner": call} | spec,
            call=call,
            writers=open_writers(name),
            lives=call_lives,
            working_folder=Path(CODE_ROOT),
            commit=mounted.commit,
        )
    except UserError as error:  # which a retry would meet again
        print(f"error: {error}", file=sys.stderr, flush=True)
        return {"exit_code": EXIT_USER_MISTAKE, "message": f"error: {error}", "rows": []}
    except modal.exception.Error as error:  # of this function, not of the question how it ended
        raise RuntimeError(f"Modal's volume or Dict: {error}; the retry resumes") from error


def open_volume(name: str) -> modal.Volume:
    return modal.Volume.from_name(name, create_if_missing=True)


@app.function(image=image, timeout=MAX_SECONDS, retries=MAX_RETRIES)
def run_stages(stages: list[ModalStage]) -> ModalOutcome:
    """Stages one after the other, the specs of a stage at once; it lives on Modal, so the client may go.

    Only what failed is retried; what still fails is named once the rest of its stage is done. Preempted, or at the end
    of its own 24 hours, it starts again and waits for the calls that it made before.
    """
    owner = modal.current_function_call_id()  # stays when this one is started again
    for number, stage in enumerate(stages):
        specs = [spec | {"owner": owner} for spec in stage["specs"]]
        function = run_script.with_options(**client_options(stage["options"]))
        results = wait_for_calls(make_calls(f"{owner}/{number}", specs, function.spawn))
        outcome = combine_ends([spec["folder"] for spec in specs], results)
        if outcome["exit_code"]:
            break
    return outcome


def combine_ends(folders: Sequence[str], results: Sequence[ModalOutcome | BaseException]) -> ModalOutcome:
    """The end of the first call that failed, all of them named; it is returned, for an exception is retried."""
    ends = {folder: read_end(found) for folder, found in zip(folders, results)}
    failed = {folder: end for folder, end in ends.items() if end[0]}
    if not failed:
        return {"exit_code": 0, "message": "", "rows": []}
    code, said = next(iter(failed.values()))
    message = f"error: {len(failed)} of {len(results)} failed: {', '.join(failed)}; the first: {said}"
    return {"exit_code": code, "message": message if len(results) > 1 else said, "rows": []}


def make_calls(key: str, specs: list[ModalSpec], spawn: Callable[[ModalSpec], object]) -> list[modal.FunctionCall]:
    """A call for each spec, by ``spawn``, unless an earlier attempt of the same stage has made it."""
    made = []
    for number, spec in enumerate(specs):
        if known := calls.get(f"{key}/{number}"):
            made.append(modal.FunctionCall.from_id(known))
            continue
        made.append(spawn(spec))
        calls.put(f"{key}/{number}", made[-1].object_id)
    return made


def wait_for_calls(made: list[modal.FunctionCall]) -> list[ModalOutcome | BaseException]:
    """What each call has come to; a cancelled orchestrator cancels them all."""
    results = []
    try:
        for call in made:
            try:
                results.append(call.get())
            except Exception as error:
                results.append(error)
    except modal.exception.InputCancellation:
        for call in made:
            call.cancel()
        raise
    return results


def client_options(options: dict[str, object]) -> dict[str, object]:
    """The options of a stage as ``Function.with_options`` takes them: volume and secret by their names."""
    named = {name: value for name, value in options.items() if name not in ("volume", "hf_secret")}
    if "volume" in options:
        named["volumes"] = {str(MOUNT): open_volume(options["volume"])}
    if "hf_secret" in options:
        named["secrets"] = [modal.Secret.from_name(options["hf_secret"], required_keys=["HF_TOKEN"])]
    return named


def submit(job: ModalJob) -> int:
    """Say what it may cost, hand it over, and wait for it unless asked not to; returns the script's exit code."""
    stages = plan_stages(job)
    print(describe_cost(job, job.shards))
    if job.dry_run:
        print(json.dumps(stages, indent=2, ensure_ascii=False))
        return 0
    if job.no_wait and not {"--detach", "-d"} & set(sys.argv):
        raise UserError("--no_wait: expected modal run --detach, for otherwise the job ends with this command")
    folders = list(dict.fromkeys(spec["folder"] for stage in stages for spec in stage["specs"]))
    free_folders(open_writers(job.volume), folders, call_lives, cancel_call, take_over=job.take_over)
    call = spawn(stages)
    print(f"submitted {call.object_id}: {' '.join(job.words)}", flush=True)
    if job.call_file:
        ids = {"calls": [call.object_id], "app_id": app.app_id, "n_stages": 0 if is_single(stages) else len(stages)}
        write_json(job.call_file, ids | {"submitted": time.time()})
    code = 0 if job.no_wait else wait_for(call)
    if not code:
        print(describe_next(job))
    return code


def wait_for(call: modal.FunctionCall) -> int:
    """The exit code of the call's script; its own last line is the last thing that is printed here."""
    try:
        code, message = read_end(call.get())
    except modal.exception.RemoteError as error:
        code, message = 1, f"{call.object_id}: {str(error) or 'cancelled'}"
    except modal.exception.FunctionTimeoutError as error:
        code, message = 1, f"{call.object_id}: stopped by Modal at its limit ({error}); the same command continues"
    except modal.exception.Error:  # the client's own: what it says is Modal's to print
        raise
    except Exception as error:  # the script's, after its last retry
        code, message = read_end(error)
    if message:
        print(message, file=sys.stderr, flush=True)
    return code


def describe_next(job: ModalJob) -> str:
    """What a script there prints as its next step would run here, where its results are not."""
    chosen = "" if job.volume == VOLUME else f" --volume {job.volume}"
    run = f"python -m modal run --detach scripts/modal_run.py::main{chosen} -- SCRIPT …"
    fetch = f"python scripts/download_results.py {written_folder(job.words)}{chosen}"
    return f"on Modal, a next step that is named above runs by: {run}\nresults come here by: {fetch}"


def is_single(stages: list[ModalStage]) -> bool:
    """A single command needs no orchestrator."""
    return len(stages) == len(stages[0]["specs"]) == 1


def spawn(stages: list[ModalStage]) -> modal.FunctionCall:
    if is_single(stages):
        return run_script.with_options(**client_options(stages[0]["options"])).spawn(stages[0]["specs"][0])
    return run_stages.spawn(stages)


def run_entry(parse: Callable[[Sequence[str]], ModalJob], words: Sequence[str]) -> None:
    """As cli.run_main: a user mistake becomes one line and exit code 2, inside the client's own command too."""
    try:
        code = submit(parse(words))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = EXIT_USER_MISTAKE
    if code:
        sys.exit(code)


def asked_help(argv: Sequence[str]) -> str | None:
    """The entry point whose flags are asked for: Modal's client answers --help by itself, and knows none of them."""
    own = [*argv][: [*argv, "--"].index("--")]
    names = [word.partition("::")[2] for word in own if word.partition("::")[0].endswith(Path(__file__).name)]
    return names[0] if names and {"-h", "--help"} & {*own} else None


if asked_help(sys.argv) in ENTRY_POINTS:
    ENTRY_POINTS[asked_help(sys.argv)](["--help"])


@app.local_entrypoint()
def main(*words: str) -> None:
    """Any script: flags of the job, then --, then the command."""
    run_entry(ENTRY_POINTS["main"], words)


@app.local_entrypoint()
def phase1(*words: str) -> None:
    """scripts/run_phase1.sh; with --shards N its stages in N containers at once."""
    run_entry(ENTRY_POINTS["phase1"], words)


@app.local_entrypoint()
def phase2(*words: str) -> None:
    """scripts/run_phase2.sh."""
    run_entry(ENTRY_POINTS["phase2"], words)


@app.local_entrypoint()
def phase3(*words: str) -> None:
    """scripts/run_phase3.sh."""
    run_entry(ENTRY_POINTS["phase3"], words)


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
    os.execv(sys.executable, [sys.executable, *words])  # noqa: S606 (Modal's client, with our own words)


if __name__ == "__main__":
    run_main(hand_to_client)
