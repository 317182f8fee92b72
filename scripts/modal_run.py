"""Run any script of this repository on Modal, on GPUs, preempted and resumed without your doing anything.

    python -m modal run --detach scripts/modal_run.py::main --gpu H100:2 -- src/trainer_vocoder.py --language satere
    python scripts/modal_run.py --gpu H100:2 -- src/trainer_vocoder.py --language satere        (the same, in short)
    python -m modal run --detach scripts/modal_run.py::phase1 --language satere --gpu L4 --shards 16
    python -m modal run --detach scripts/modal_run.py::phase3 --language satere --gpu H100 --steps 100000

Several entry points, so Modal wants the name after ``::``. What follows ``--`` is the command as you would type it
here. data/ and exp/ lie on the volume "bible-audio-data"; scripts/upload_to_modal.py fills it and
scripts/download_results.py reads it. docs/launching.md says more.
"""

import argparse
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
from launching.extraction_jobs import ARRAY_STAGES, extraction_stages
from launching.modal_body import run_spec
from launching.modal_image import build_image
from launching.modal_jobs import (
    APP,
    MOUNT,
    VOLUME,
    describe_cost,
    flag_value,
    function_options,
    make_spec,
    parse_main,
    parse_phase,
    require_token,
)

MAX_SECONDS = 24 * 3600

app = modal.App(APP)
image = build_image()
volume = modal.Volume.from_name(VOLUME, create_if_missing=True)
writers = modal.Dict.from_name(f"{APP}-writers", create_if_missing=True)


@app.function(image=image, volumes={str(MOUNT): volume}, timeout=MAX_SECONDS, startup_timeout=1800)
def run_script(spec: dict) -> int:
    """The one job function; GPU, limit and retries come with the call (Function.with_options)."""
    volume.reload()  # a warm container sees what others have committed since
    owner = spec.get("owner") or modal.current_function_call_id() or "unknown"
    return run_spec(spec, owner=owner, writers=writers, commit=volume.commit)


@app.function(image=image, timeout=MAX_SECONDS)
def run_stages(stages: list[dict]) -> int:
    """Stages one after the other, the specs of a stage at once by map; it lives on Modal, so the client may go.

    Only what failed is retried; what still fails is named once the rest of its stage is done.
    """
    owner = modal.current_function_call_id()  # stays when this one is preempted; the ids of its maps do not
    for stage in stages:
        function = run_script.with_options(**stage["options"])
        specs = [spec | {"owner": owner} for spec in stage["specs"]]
        results = list(function.map(specs, return_exceptions=True))
        failed = [spec["folder"] for spec, found in zip(stage["specs"], results) if isinstance(found, BaseException)]
        if failed:
            first = next(found for found in results if isinstance(found, BaseException))
            raise RuntimeError(f"{len(failed)} of {len(results)} failed: {', '.join(failed)}; the first: {first}")
    return 0


def plan_shards(args: argparse.Namespace) -> list[dict]:
    """Phase 1 as stages: samplers, fit, assigners, merge, and the report on the units."""
    stages = extraction_stages(args.words, args.shards)
    found = [
        {
            "options": function_options(args, gpu=flag_value(commands[0], "stage") in ARRAY_STAGES),
            "specs": [make_spec(args, words) for words in commands],
        }
        for commands in stages
    ]
    folder = found[-1]["specs"][0]["folder"]
    report = ["src/validate_units.py", "--exp", f"{MOUNT}/exp/{folder}"]
    return [*found, {"options": function_options(args, gpu=False), "specs": [make_spec(args, report)]}]


def submit(args: argparse.Namespace) -> None:
    """Say what it may cost, hand it over, and wait for it unless asked not to."""
    n_shards = getattr(args, "shards", 1)
    stages = plan_shards(args) if n_shards > 1 else []
    print(describe_cost(args, n_shards))
    if args.dry_run:
        shown = stages or {"options": function_options(args), "spec": make_spec(args)}
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    if args.no_wait and not {"--detach", "-d"} & set(sys.argv):
        raise UserError("--no_wait: expected modal run --detach, for otherwise the job ends with this command")
    function = run_stages if stages else run_script.with_options(**function_options(args))
    call = function.spawn(stages or make_spec(args))
    print(f"submitted {call.object_id}: {' '.join(args.words)}", flush=True)
    if args.call_file:
        write_json(args.call_file, {"calls": [call.object_id], "submitted": time.time()})
    if not args.no_wait:
        call.get()


def run_entry(parse: Callable[[Sequence[str]], argparse.Namespace], words: Sequence[str]) -> None:
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


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    return parse_main(sys.argv[1:] if argv is None else argv)


def hand_to_client() -> None:
    """Run by itself, the script checks flags and token at once, then becomes ``modal run --detach`` of ``main``."""
    args = parse_args()
    if args.dry_run:
        submit(args)
        return
    require_token()
    words = ["-m", "modal", "run", "--detach", f"{Path(__file__).resolve()}::main", *sys.argv[1:]]
    os.execv(sys.executable, [sys.executable, *words])


if __name__ == "__main__":
    run_main(hand_to_client)
