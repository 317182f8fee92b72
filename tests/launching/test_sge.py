"""What is handed to Grid Engine and how its answers are read; the engine itself is in tests/cluster/test_sge.py."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import launch

from core.errors import UserError
from core.records import Job, JobRecord
from launching import attempts, sge, sge_task
from launching.attempts import append_row, task_progress
from launching.job import Resources, create_folder, make_job, read_job, write_job
from launching.scheduler_queries import ask
from synthetic import REPOSITORY, run_bash

LISTING = """<?xml version='1.0'?>
<job_info><queue_info>
  <job_list state="running"><JB_job_number>7</JB_job_number><state>r</state><tasks>2</tasks></job_list>
  <job_list state="running"><JB_job_number>8</JB_job_number><state>dr</state></job_list>
</queue_info><job_info>
  <job_list state="pending"><JB_job_number>7</JB_job_number><state>hqw</state><tasks>3</tasks></job_list>
</job_info></job_info>
"""


def add_program(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that prints ``text``, the first of its name on the path."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


def new_job(commands: list[list[str]], **resources: object) -> Job:
    return make_job("voice", commands, backend="sge", resources=Resources(hours=2.0, **resources))


def directives(job: Job) -> list[str]:
    return [line[3:] for line in sge.describe(job).splitlines() if line.startswith("#$ ")]


def test_the_script_asks_for_what_the_job_needs(language_roots: dict[str, Path]) -> None:
    commands = [["src/extract_units.py", "--shard_index", str(index)] for index in range(3)]
    resources = {"cpus": 4, "memory_gb": 1.5, "partition": "long.q", "account": "speech", "constraint": "arch=lx-amd64"}
    job = new_job(commands, **resources) | {"array_parallelism": 2}
    before = new_job([["src/x.py"]]) | {"ids": ["31"]}
    lines = directives(job | {"after": [before, before | {"ids": ["32"]}]})
    folder = language_roots["exp"] / "voice" / "jobs" / "001"
    assert lines == [
        "-N voice",
        "-S /bin/bash",
        f"-wd {REPOSITORY}",
        "-j y",
        "-o /dev/null",
        "-notify",
        "-r y",
        "-l h_rt=7200,s_rt=7080",
        "-l mem_free=1536M",
        "-l arch=lx-amd64",
        "-pe smp 4",
        "-t 1-3",
        "-tc 2",
        "-hold_jid 31,32",
        "-q long.q",
        "-P speech",
    ]
    text = sge.describe(job)
    assert f'launching.sge_task {folder} "$((SGE_TASK_ID - 1))"' in text
    assert f'\nexec >> {folder}/engine/"$JOB_ID.' in text
    assert text.count("--shard_index") == 3 and "take_gpus" not in text


def test_one_command_makes_no_array_and_no_parallel_environment(language_roots: dict[str, Path]) -> None:
    job = make_job("3rd", [["src/x.py"]], backend="sge", resources=Resources(hours=0.01))
    lines = directives(job)
    assert lines[0] == "-N job_3rd"  # a name must not begin with a digit
    assert lines[-1] == "-l h_rt=36,s_rt=27"
    assert "$((SGE_TASK_ID" not in sge.describe(job)


@pytest.mark.parametrize(
    ("consumable", "wanted", "expected"),
    [
        ("JOB", {"gpus": 2, "cpus": 4}, "gpu=2"),
        ("YES", {"gpus": 2, "cpus": 2}, "gpu=1"),
        ("YES", {"gpus": 2, "cpus": 1}, "gpu=2"),
        ("YES", {"gpus": 1, "cpus": 4}, None),
    ],
)
def test_gpus_are_asked_for_as_the_site_counts_them(
    language_roots: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    consumable: str,
    wanted: dict,
    expected: str | None,
) -> None:
    complexes = f"#name shortcut type relop requestable consumable default urgency\ngpu g INT <= YES {consumable} 0 0"
    add_program(language_roots["exp"], "qconf", complexes, monkeypatch)
    job = new_job([["src/x.py"]], **wanted)
    if expected is None:
        with pytest.raises(UserError, match="as many --cpus as --gpus"):
            sge.describe(job)
    else:
        assert f"-l {expected}" in directives(job)
        assert f"take_gpus {wanted['gpus']} gpu ||" in sge.describe(job)


def test_a_site_has_its_own_names_and_counts(language_roots: dict[str, Path]) -> None:
    site = {"parallel_environment": "openmp", "gpu_complex": "cuda", "gpu_type_complex": "cuda_type"}
    site |= {"memory_complex": "h_vmem", "memory_per_slot": True, "setup": ["module load cuda/12.1"]}
    asked = {"gpus": 2, "gpu_type": "a100", "cpus": 8, "memory_gb": 32.0, "engine_args": ("-R y", "-l scratch=2")}
    job = make_job("voice", [["src/x.py"]], backend="sge", resources=Resources(hours=2.0, **asked), site=site)
    lines = directives(job)
    assert (
        lines[8:13]
        == [
            "-l h_vmem=4096M",
            "-l cuda=2",
            "-l cuda_type=a100",
            "-pe openmp 8",
            "-R y",
        ]
        and lines[13] == "-l scratch=2"
    )
    text = sge.describe(job)
    assert text.index("\nexport PYTHONPATH=") < text.index("\nmodule load cuda/12.1\n") < text.index("take_gpus 2 cuda")
    job["site"].pop("gpu_type_complex")
    with pytest.raises(UserError, match="set gpu_type_complex in cluster.toml, or give --gpus 2 --constraint"):
        sge.describe(job)


@pytest.mark.parametrize(("consumable", "expected"), [("YES", "mem_free=2048M"), ("NO", "mem_free=8192M")])
def test_memory_is_asked_for_as_the_site_counts_it(
    language_roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch, consumable: str, expected: str
) -> None:
    row = f"#name shortcut type relop requestable consumable\nmem_free mf MEMORY <= YES {consumable} 0 0"
    add_program(language_roots["exp"], "qconf", row, monkeypatch)
    assert f"-l {expected}" in directives(new_job([["src/x.py"]], cpus=4, memory_gb=8.0))


def test_several_nodes_are_refused(language_roots: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="--nodes"):
        sge.describe(new_job([["src/x.py"]], nodes=2))


def test_without_its_clients_the_submission_says_so(
    language_roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="no qsub; use a submit host"):
        sge.submit(new_job([["src/x.py"]]))


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("4711", "4711"),
        ("4711.1-4:1\n", "4711"),
        ("4711\nNOTE: scratch is purged after 30 days", "4711"),
        ("Welcome to node 12!\nscratch: 80 % of 300 GB\n4711.1-4:1\nsee wiki page 99", "4711"),
        ('Your job 4711 ("a") has been submitted', "4711"),
        ('3 jobs so far.\nYour job-array 4711.1-4:1 ("a") has been submitted\nBye 5', "4711"),
        ("Welcome", None),
        ("", None),
    ],
)
def test_a_jobs_number_is_read_by_its_place(said: str, number: str | None) -> None:
    assert sge.read_number(said) == number


def test_a_job_whose_number_is_not_read_keeps_its_folder(
    language_roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    for name, text in (("qsub", "Welcome"), ("qstat", ""), ("qdel", "")):
        add_program(tmp_path, name, text, monkeypatch)
    job = new_job([["src/x.py"]])
    with pytest.raises(UserError, match="named no number"):
        launch.submit_job(job)
    assert read_job(Path(job["folder"])) == job and "Welcome" in (Path(job["folder"]) / "engine/qsub.txt").read_text()


def test_a_site_that_greets_is_no_error() -> None:
    greeted = f"Hello <you>!\n{LISTING}\n>> bye <<"
    assert sge._queued_tasks(greeted, "8") == {0: "dr"} and sge._queued_tasks("Hello", "8") is None


def test_states_come_from_the_queue_then_the_attempts_then_the_accounts(
    language_roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_program(tmp_path, "qstat", LISTING, monkeypatch)
    add_program(tmp_path, "qacct", "=" * 62 + "\ntaskid       5\nfailed 100\nexit_status  137", monkeypatch)
    job = create_folder(new_job([["src/x.py"]] * 6))
    folder, record = Path(job["folder"]), job | {"ids": ["7"]}
    write_job(job)
    for task, code in ((0, 0), (3, 3)):
        append_row(folder, {"task": task, "event": "started"})
        append_row(folder, {"task": task, "event": "ended", "exit_code": code})
    # task 4 is in the accounts, task 5 nowhere
    assert states_of_tasks(record) == ["finished", "running", "pending", "failed", "failed", "unknown"]
    assert sge.state(record) == "running"
    append_row(folder, {"task": 2, "event": "started"})
    assert states_of_tasks(record)[2] == "requeued"
    assert states_of_tasks(record | {"cancelled": "now"})[5] == "cancelled"
    assert sge.state(record | {"ids": []}) == "unknown"


def states_of_tasks(record: JobRecord) -> list[str]:
    (number,), cancelled = record["ids"], "cancelled" in record
    queued = sge._queued_tasks(LISTING, number)
    return [
        sge._task_state(task, progress, queued, lambda: sge._accounts(number), cancelled=cancelled)
        for task, progress in enumerate(task_progress(record))
    ]


def test_the_accounts_tell_what_a_late_file_system_does_not(
    language_roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task is judged by its last attempt; failed 26 (no log can be written) goes with exit_status 0."""
    ends = [("1", "25", "99"), ("1", "0", "0"), ("2", "26", "0"), ("3", "25", "99")]
    blocks = [f"taskid       {task}\nfailed       {failed}\nexit_status  {code}" for task, failed, code in ends]
    add_program(tmp_path, "qacct", f"\n{'=' * 62}\n".join(["", *blocks]), monkeypatch)
    assert sge._accounts("7") == {0: True, 1: False, 2: False}
    job = create_folder(new_job([["src/x.py"]] * 4))
    append_row(Path(job["folder"]), {"task": 0, "event": "started"})
    assert states_of_tasks(job | {"ids": ["9"]}) == ["finished", "failed", "failed", "unknown"]


def test_where_qstat_does_not_answer_a_job_that_may_come_back_is_not_called_failed(
    language_roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sge, "ask", lambda *words: "")
    job = create_folder(new_job([["src/x.py"]]))
    record, folder = job | {"ids": ["7"]}, Path(job["folder"])
    for code, expected in ((99, "unknown"), (3, "failed"), (0, "finished")):
        append_row(folder, {"task": 0, "event": "ended", "exit_code": code, "stopped": False})
        assert sge.state(record) == expected
    append_row(folder, {"task": 0, "event": "skipped"})
    assert sge.state(record) == "cancelled"


def test_the_state_of_a_thousand_tasks_takes_one_reading_and_one_question(
    language_roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, read = [], []
    monkeypatch.setattr(
        sge, "ask", lambda *words: asked.append(words[0]) or ("<job_info/>" if words[0] == "qstat" else "")
    )
    monkeypatch.setattr(attempts, "read_attempts", lambda folder: read.append(folder) or [])
    assert sge.state(new_job([["src/x.py"]] * 1000) | {"ids": ["7"]}) == "unknown"
    assert asked == ["qstat", "qacct"] and len(read) == 1
    job = create_folder(new_job([["src/x.py"]] * 1000))
    write_job(job)
    assert not sge_task.has_ended_badly(job) and len(read) == 2


def test_names_of_other_peoples_jobs_may_have_any_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_program(tmp_path, "qstat", LISTING, monkeypatch)
    path = tmp_path / "bin" / "qstat"
    path.write_bytes(path.read_bytes().replace(b"<state>dr", b"<JB_name>caf\xe9</JB_name><state>dr"))
    assert sge._queued_tasks(ask("qstat"), "8") == {0: "dr"}


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("qw", "pending"),
        ("hqw", "pending"),
        ("Rq", "requeued"),
        ("hRwq", "requeued"),
        ("Eqw", "failed"),
        ("t", "running"),
    ]
    + [("r", "running"), ("Rr", "running"), ("dr", "running"), ("S", "running")],
)
def test_letters_of_the_queue(letters: str, expected: str) -> None:
    assert sge._state_of_letters(letters, started=False) == expected


def ended_job(name: str, rows: list[dict]) -> Job:
    job = create_folder(make_job(name, [["src/x.py"]] * 2, backend="sge"))
    write_job(job)
    for row in rows:
        append_row(Path(job["folder"]), row)
    return job


def test_a_job_starts_only_where_every_task_before_it_ended_well(
    language_roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sge_task, "PATIENCE_SECONDS", 0)
    ended = [{"task": task, "event": "ended", "exit_code": 0} for task in range(2)]
    good = ended_job("good", ended)
    bad = ended_job("bad", [ended[0], ended[1] | {"exit_code": 99}])
    half = ended_job("half", ended[:1])
    assert sge_task.find_unfinished([]) is None
    assert sge_task.find_unfinished([good]) is None
    assert sge_task.find_unfinished([good, bad]) == "bad/1"
    assert sge_task.find_unfinished([half, good]) == "half/1"


def stopping_job(language_roots: dict[str, Path], code: str, requeues: int) -> Path:
    script = language_roots["exp"] / "stops.py"
    script.write_text(f"import os, signal, time\n{code}\nos.kill(os.getppid(), signal.SIGUSR1)\ntime.sleep(60)\n")
    job = create_folder(new_job([[str(script)]], requeues=requeues))
    write_job(job)
    return Path(job["folder"])


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("", 99),  # SIGTERM ends it: what it had is on disk, and it goes on from there
        ("signal.signal(signal.SIGTERM, lambda *_: os._exit(99))", 99),
        ("signal.signal(signal.SIGTERM, lambda *_: os._exit(0))", 0),
    ],
)
def test_a_stopped_task_asks_for_another_attempt(language_roots: dict[str, Path], code: str, expected: int) -> None:
    folder = stopping_job(language_roots, code, requeues=1)
    command = [shutil.which("python"), "-m", "launching.sge_task", str(folder)]
    env = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    codes = [subprocess.run(command, check=False, env=env, capture_output=True, timeout=60).returncode for _ in "12"]
    assert codes == [expected, 1 if expected else 0]  # one requeue, then it is given up


NVIDIA_SMI = "0, 9000\n1, 0\n2, 3\n3, 12"


def take_gpus(tmp_path: Path, text: str, **variables: str) -> subprocess.CompletedProcess:
    text = f"set -euo pipefail\nsource '{REPOSITORY}/scripts/gpu_functions.sh'\n{text}"
    environment = {"GPU_LOCKS": str(tmp_path), "CUDA_VISIBLE_DEVICES": "", "PATH": os.environ["PATH"]} | variables
    return run_bash("-c", text, **environment)


def test_free_gpus_are_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_program(tmp_path, "nvidia-smi", NVIDIA_SMI, monkeypatch)
    assert take_gpus(tmp_path, 'take_gpus 2; echo "$CUDA_VISIBLE_DEVICES"').stdout == "1,2\n"
    take = 'take_gpus {} && echo "$CUDA_VISIBLE_DEVICES"'
    beside = "(unset CUDA_VISIBLE_DEVICES; {})"
    words = [take.format(2), beside.format(take.format(1)), beside.format(f"{take.format(2)} || echo none")]
    assert take_gpus(tmp_path, "\n".join(words)).stdout.splitlines() == ["1,2", "3", "none"]
    done = take_gpus(tmp_path, "take_gpus 4")
    assert done.returncode == 2 and "expected 4 free GPUs, found 3 of 4" in done.stderr


def test_free_gpus_are_taken_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_locks: dict[str, str]
) -> None:
    add_program(tmp_path, "nvidia-smi", NVIDIA_SMI, monkeypatch)
    assert take_gpus(tmp_path, 'take_gpus 2; echo "$CUDA_VISIBLE_DEVICES"', **without_locks).stdout == "1,2\n"


def test_what_the_scheduler_says_about_gpus_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_program(tmp_path, "nvidia-smi", NVIDIA_SMI, monkeypatch)
    show = 'take_gpus 2; echo "$CUDA_VISIBLE_DEVICES"'
    assert take_gpus(tmp_path, show, CUDA_VISIBLE_DEVICES="0,3").stdout == "0,3\n"
    assert take_gpus(tmp_path, show, SGE_HGR_gpu="2 3").stdout == "2,3\n"
    show = show.replace("take_gpus 2", "take_gpus 2 cuda")
    assert take_gpus(tmp_path, show, SGE_HGR_gpu="2 3", SGE_HGR_cuda="0 2").stdout == "0,2\n"


def test_the_job_script_runs_as_plain_bash(tiny_units: dict) -> None:
    tiny = "--channels 16 --batch_size 4 --crop_frames 16 --adversarial_after 1 --steps 2 --num_samples 1".split()
    script, roots = REPOSITORY / "scripts/train_vocoder.sh", {"EXP_ROOT": str(tiny_units["exp"])}
    variables = {"DATA_ROOT": str(tiny_units["data"]), "N_GPUS": "0", "EXPERIMENT": "mine", "JOB_ID": ""} | roots
    done = run_bash(script, "spanish", *tiny, **variables)
    assert done.returncode == 0, done.stderr
    assert (tiny_units["exp"] / "mine" / "checkpoints" / "best.pt").exists()


def test_a_copy_of_the_job_script_finds_the_repository_or_says_where_to_call_qsub(tmp_path: Path) -> None:
    spooled = shutil.copy(REPOSITORY / "scripts/train_vocoder.sh", tmp_path / "17")
    there = run_bash(spooled, "--help", SGE_O_WORKDIR=str(REPOSITORY))
    assert there.returncode == 0 and there.stdout.startswith("usage: qsub scripts/train_vocoder.sh")
    lost = run_bash(spooled, "--help", SGE_O_WORKDIR=str(tmp_path))
    assert lost.returncode == 2 and "call qsub in the folder of the repository" in lost.stderr
