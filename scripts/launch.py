"""Run any script of this repository on this machine, Slurm, Grid Engine or Modal: the command a person would type.

    python scripts/launch.py submit --backend slurm --gpus 2 --hours 12 --name satere_vocoder_v4 \\
        -- src/trainer_vocoder.py --language satere
    python scripts/launch.py status satere_vocoder_v4
    python scripts/launch.py logs satere_vocoder_v4 --follow
    python scripts/launch.py cancel satere_vocoder_v4

What follows ``--`` is submitted as it stands, by torchrun where there are several processes. The job's id, its log
and the exact command lie in exp/<name>/jobs/<number>/. A job that is told to stop saves, requeues itself and resumes.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, require_not_negative, require_positive, run_main
from core.errors import UserError
from core.records import Job, JobRecord
from launching.asked_resources import ask_resources
from launching.backends import backend_of, choose_backend, state_of
from launching.commands import check_command, experiment_name
from launching.display import show_logs, show_status
from launching.extraction_jobs import extraction_stages, stage_resources
from launching.job import (
    BACKENDS,
    CLUSTERS,
    END_STATES,
    Resources,
    create_folder,
    existing_records,
    find_records,
    job_title,
    make_job,
    now,
    write_job,
    write_record,
)
from launching.site import PLAIN_SITE, Site, read_site

TAKE_OVER_SECONDS = 180.0  # for a job that was told to stop: to save and to end


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The launcher's flags, and in ``command`` the words after ``--``, untouched."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER, allow_abbrev=False)
    parser.add_argument("action", choices=("submit", "status", "logs", "cancel"), help="what to do")
    parser.add_argument("names", nargs="*", metavar="NAME", help="jobs: NAME (all of it) or NAME/2 (its second)")
    add_job_flags(parser)
    add_resource_flags(parser)
    add_reading_flags(parser)
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    args = parse_flags(parser, joined_options(words[:cut]))
    args.command = words[cut + 1 :]
    if args.action == "submit" and args.names:
        raise UserError(f"{' '.join(args.names)}: expected the command after --, as in: -- src/trainer_vocoder.py …")
    require_positive(args, "nodes", "processes", "cpus", "memory", "hours", "shards", "lines")
    require_not_negative(args, "array_parallelism", "requeues")
    return args


def joined_options(words: list[str]) -> list[str]:
    """--engine_args and its value in one word: the value begins with a dash, which argparse would take for a flag."""
    joined = []
    for word in words:
        if joined and joined[-1] in ("--engine_args", "--engine-args"):
            joined[-1] = f"--engine_args={word}"
        else:
            joined.append(word)
    return joined


def add_job_flags(parser: argparse.ArgumentParser) -> None:
    job = parser.add_argument_group("job (submit)")
    job.add_argument(
        "--backend",
        choices=("auto", *BACKENDS),
        default="auto",
        help="engine; auto (default): Slurm where sbatch is found, Grid Engine where qsub is, else this machine",
    )
    job.add_argument(
        "--name", help="experiment whose jobs/ keeps the record (default: the name of the command's --exp)"
    )
    job.add_argument(
        "--after",
        nargs="+",
        default=[],
        metavar="NAME",
        help="start once the newest job of each has finished with code 0",
    )
    job.add_argument("--shards", type=int, help="cut src/extract_units.py into so many parts, each stage an array")
    job.add_argument(
        "--take_over",
        action="store_true",
        help="stop what still writes to the experiment and go on from what it saves; pass over jobs in unknown states",
    )
    job.add_argument("--dry_run", action="store_true", help="print what would be submitted, and submit nothing")


def add_resource_flags(parser: argparse.ArgumentParser) -> None:
    resources = parser.add_argument_group("resources (submit)")
    resources.add_argument("--gpus", help="GPUs per node, with their type where it matters: 2, a100:2 (default: 0)")
    resources.add_argument("--nodes", type=int, default=1, help="machines, joined by torchrun (default: 1)")
    resources.add_argument("--processes", type=int, help="processes per node, over 1: torchrun (default: one per GPU)")
    resources.add_argument("--cpus", type=int, help="CPU cores per node (default: 4 for each GPU, 1 without)")
    resources.add_argument(
        "--memory", type=float, help="memory per node (GB; default: on clusters 16 for each GPU, else the engine's own)"
    )
    resources.add_argument(
        "--hours",
        type=float,
        help="limit of one attempt (hours; default: 24, on this machine none); it saves before it",
    )
    resources.add_argument("--partition", help="Slurm's partition, Grid Engine's queue")
    resources.add_argument("--account", help="Slurm's account, Grid Engine's project")
    resources.add_argument("--constraint", help="features of the node (Slurm); the GPU's name (Modal), as in H100")
    resources.add_argument(
        "--array_parallelism", type=int, default=0, help="tasks of an array at a time (default: the engine's choice)"
    )
    resources.add_argument(
        "--engine_args",
        metavar="OPTIONS",
        help='further options of sbatch or qsub in one word, as in "--qos=long --exclude=n3" or "-l h_vmem=8G -R y"',
    )
    resources.add_argument(
        "--requeues", type=int, default=20, help="time-outs that are followed by another attempt (default: 20)"
    )


def add_reading_flags(parser: argparse.ArgumentParser) -> None:
    reading = parser.add_argument_group("reading (logs)")
    reading.add_argument("--lines", type=int, default=40, help="last lines to show of each file (default: 40)")
    reading.add_argument("--follow", action="store_true", help="keep showing what is written until the job ends")


def choose_name(name: str | None, command: list[str]) -> str:
    """``name``, or that of the experiment folder in the command."""
    if found := name or experiment_name(command):
        return found
    raise UserError("--name: expected the name of the experiment, as in: --name satere_vocoder_v4")


def choose_resources(args: argparse.Namespace, backend: str, site: Site) -> Resources:
    """What the flags ask for; where they are silent, the site and what suits a GPU."""
    typed = Resources(
        nodes=args.nodes,
        processes=args.processes or 0,
        cpus=args.cpus or 0,
        memory_gb=args.memory,
        hours=args.hours,
        partition=args.partition,
        account=args.account,
        constraint=args.constraint,
        requeues=args.requeues,
    )
    return ask_resources(backend, site, typed, gpus=args.gpus, engine_args=args.engine_args)


def choose_stage_resources(args: argparse.Namespace, resources: Resources, site: Site, command: list[str]) -> Resources:
    """Those of a stage of phase 1: what needs no GPU does not stand in line for the site's partition of GPUs."""
    if args.shards is None:
        return resources
    stage = stage_resources(resources, command)
    if stage.gpus or args.partition or stage.partition != (site.gpu_partition or None):
        return stage
    return stage._replace(partition=site.partition or None)


def find_predecessors(names: list[str], backend: str) -> list[JobRecord]:
    """The newest job of each of ``names``; one that has finished already need not be waited for."""
    waited_for = []
    for name in names:
        record = find_records(name)[-1]
        state, where = state_of(record), record["backend"]
        if state in ("failed", "cancelled"):
            raise UserError(f"--after {name}: {job_title(record)} has {state}; submit it again first")
        if state == "finished":
            continue
        if where != backend:
            raise UserError(f"--after {name}: runs on {where}, which {backend} cannot wait for")
        waited_for.append(record)
    return waited_for


def refuse_second_writer(name: str, after: list[JobRecord], *, take_over: bool = False) -> None:
    """Two jobs at once would write to one experiment: a job of ``name`` that may not have ended must be waited for.

    take_over: cancel such a job, and wait until it has saved and ended; pass over one whose state nobody knows.
    """
    waiting, waited_for = [*after], set()
    while waiting:
        record = waiting.pop()
        waited_for.add(job_title(record))
        waiting += record["after"]
    for record in existing_records(name):
        title = job_title(record)
        if title in waited_for or (state := state_of(record)) in END_STATES:
            continue
        if not take_over:
            raise UserError(_describe_writer(record, state))
        if state == "unreachable":
            raise UserError(f"{title}: {record['backend']} cannot be asked now, and it may run; try again later")
        if state != "unknown":
            end_job(record)


def _describe_writer(record: JobRecord, state: str) -> str:
    name, title = record["name"], job_title(record)
    if state in ("unknown", "unreachable"):
        remedy = "look at the engine's own tools, then give --take_over" if state == "unknown" else "try again later"
        return f"{name}: the state of its job {record['number']} is {state}, and it may write to exp/{name}; {remedy}"
    return (
        f"{name}: its job {record['number']} is {state}, and both would write to exp/{name}; "
        f"give --after {name}, --take_over, or first: python scripts/launch.py cancel {title}"
    )


def end_job(record: JobRecord, patience: float = TAKE_OVER_SECONDS) -> None:
    """Cancel the job and wait for its end; UserError where it goes on for ``patience`` seconds."""
    cancel_job(record)
    give_up = time.monotonic() + patience
    while (state := state_of(record)) not in (*END_STATES, "unknown"):
        if time.monotonic() > give_up:
            raise UserError(f"{job_title(record)}: cancelled {patience:.0f} s ago and still {state}; try again later")
        time.sleep(1)


def submit(args: argparse.Namespace) -> None:
    """One job, or with --shards one per stage, each after the one before."""
    backend, name = choose_backend(args.backend), choose_name(args.name, args.command)
    site = read_site() if backend in CLUSTERS else PLAIN_SITE
    resources = choose_resources(args, backend, site)
    check_command(args.command, resources.nodes)
    stages = [[args.command]] if args.shards is None else extraction_stages(args.command, args.shards)
    after = find_predecessors(args.after, backend)
    refuse_second_writer(name, after, take_over=args.take_over and not args.dry_run)
    for stage, commands in enumerate(stages, start=1):
        job = make_job(
            name,
            commands,
            backend=backend,
            resources=choose_stage_resources(args, resources, site, commands[0]),
            after=after,
            array_parallelism=args.array_parallelism,
            site=site._asdict() if backend in CLUSTERS else None,
        )
        if args.dry_run:
            print(f"# {backend}: {job['folder']}\n{backend_of(backend).describe(job)}\n")
            after = [job | {"ids": [f"STAGE{stage}"]}]
            continue
        after = [submit_job(job, take_over=args.take_over)]


def submit_job(job: Job, *, take_over: bool = False) -> JobRecord:
    """The job's folder is made first, and goes again where the engine refuses; a job that may run keeps it."""
    job = create_folder(job)
    write_job(job)
    folder, backend = job["folder"], job["backend"]
    try:
        # On Modal, calls that no job here knows of may hold the folder as well.
        options = {"take_over": True} if take_over and backend == "modal" else {}
        record = backend_of(backend).submit(job, **options)
    except UserError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    write_record(record)
    if not record["ids"]:
        raise UserError(f"{job_title(job)}: {backend} took the job and named no number; {folder}/engine says more")
    first, *further = record["ids"]
    ids = f"{first} … {further[-1]}" if further else first
    print(f"submitted {job_title(job)} to {backend} as {ids}; record: {folder}", flush=True)
    return record


def cancel(names: list[str]) -> None:
    """Cancel every job of the names that has not ended, the newest first: what waits for another would start else."""
    for name in names:
        alive = [record for record in find_records(name) if state_of(record) not in END_STATES]
        for record in reversed(alive):
            cancel_job(record)
            print(f"cancelled {job_title(record)}")
        if not alive:
            print(f"{name}: nothing to cancel")


def cancel_job(record: JobRecord) -> None:
    """Noted first, because the job itself looks there before it goes back to the queue; not where the engine fails."""
    write_record(record | {"cancelled": now()})
    try:
        backend_of(record["backend"]).cancel(record)
    except UserError:
        write_record(record)
        raise


def main() -> None:
    args = parse_args()
    if args.action in ("logs", "cancel") and not args.names:
        raise UserError(f"{args.action}: expected the name of a job; launch.py status lists them")
    if args.action == "submit":
        submit(args)
    elif args.action == "status":
        show_status(args.names)
    elif args.action == "logs":
        show_logs(args.names, lines=args.lines, follow=args.follow)
    else:
        cancel(args.names)


if __name__ == "__main__":
    run_main(main)
