"""Jobs on a real Grid Engine of one node: arrays, dependencies, signals, requeued by exit 99 and resumed, refused."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from cluster_runs import (
    N_STEPS,
    ODD_NAME,
    PAUSED_TRAINER,
    TRAINING,
    WAIT_SECONDS,
    launch,
    run_in_the_sites_way,
    tell_while_it_stands,
    tiny_cluster,
    train_uninterrupted,
    wait_for_state,
    write,
)
from engines import ask, wait_until
from grid_engine import N_GPUS, accounts, wait_for_last_attempt
from launch import submit_job

from equal_runs import differences, folder_differences, without_times
from launching import sge
from launching.attempts import exit_codes, read_attempts
from launching.job import Resources, find_records, log_file, make_job
from synthetic import REPOSITORY, run_bash, run_script, shell_environment
from trainer_runs import load, metrics

EXTRACTION = "--language spanish --n_units 12 --n_shard_utterances 1 --num_workers 1 --quiet".split()
N_SHARDS = 8
N_LONG_STEPS = 60  # so many that whoever watches the training finds it at it
# Saves when it is told to, unless a mark says that it did so before.
SAVES = """
import signal, sys, time, pathlib
folder = pathlib.Path(sys.argv[1])
if (folder / "saved").exists():
    sys.exit(0)
signal.signal(signal.SIGTERM, lambda *_: ((folder / "saved").touch(), sys.exit(99)))
(folder / "up").touch()
time.sleep(600)
"""
WAITS = """
import sys, time, pathlib
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.1)
sys.exit(int(sys.argv[2]))
"""
# A GPU that is busy, and three that are free.
NVIDIA_SMI = "#!/bin/sh\nprintf '0, 9000\\n1, 0\\n2, 3\\n3, 12\\n'\n"


@pytest.fixture(scope="module")
def cluster(grid_engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterable[dict]:
    """Roots with a tiny language, and the variables of Grid Engine's clients, set in this process too: root, env."""
    variables = {"VIRTUAL_ENV": sys.prefix, "TRAINING_LANGUAGE": ""}
    with tiny_cluster(tmp_path_factory.mktemp("sge"), grid_engine, **variables) as made:
        yield made


@pytest.fixture(scope="module")
def uninterrupted(cluster: dict) -> Path:
    return train_uninterrupted(cluster)


def submit(cluster: dict, name: str, *words: object) -> dict:
    launch(cluster, "submit", "--backend", "sge", "--hours", 1, "--name", name, *words)
    return find_records(name)[-1]


def suspend(cluster: dict, number: str) -> None:
    """What a queue of higher priority does: USR1 to the job, and a stop of its processes after a while."""
    assert "suspended job" in ask("qmod", "-sj", number, env=cluster["env"])


def account(cluster: dict, number: str) -> list[tuple[str, str]]:
    """(failed, exit_status) of every attempt, the first of which has ended."""
    return wait_until(lambda: accounts(cluster["env"], number), f"the accounts of {number}", WAIT_SECONDS)


def test_an_array_of_eight_shards_gives_the_bytes_of_one_process(cluster: dict) -> None:
    """Twenty-odd jobs in four stages, each after the one before, at most three of an array at a time."""
    name, exp = "spanish_units_array", cluster["root"] / "exp"
    flags = [*EXTRACTION, "--tag", "array"]
    submit(cluster, name, "--shards", N_SHARDS, "--array_parallelism", 3, "--", "src/extract_units.py", *flags)
    records = find_records(name)
    assert [len(record["commands"]) for record in records] == [N_SHARDS, 1, N_SHARDS, 1]
    run_script("src/extract_units.py", *EXTRACTION, "--tag", "whole", env=cluster["env"])
    assert wait_for_state(sge, records[-1], "finished", "failed", "cancelled") == "finished"
    for file in ("corpus_timestamped.json", "kmeans.npz", "kmeans.pkl"):
        assert (exp / name / file).read_bytes() == (exp / "spanish_units_whole" / file).read_bytes(), file
    assert all(sge.state(record) == "finished" for record in records)
    events = [row["event"] for row in read_attempts(Path(records[2]["folder"]))]
    running = [events[:end].count("started") - events[:end].count("ended") for end in range(len(events) + 1)]
    assert len(events) == 2 * N_SHARDS and 2 <= max(running) <= 3


def test_a_job_gets_its_resources_and_leaves_its_record(cluster: dict, tmp_path: Path) -> None:
    """GPUs are only counted by Grid Engine: which ones, nvidia-smi says. Those of a running job are not given twice."""
    (tmp_path / "nvidia-smi").write_text(NVIDIA_SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    path = f"{tmp_path}:{shell_environment()['PATH']}"
    with_gpus = cluster | {"env": cluster["env"] | {"PATH": path}}
    tell = (
        "import os, sys, time\nprint(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['OMP_NUM_THREADS'], flush=True)\n"
    )
    script = write(cluster, "tell", tell + "time.sleep(float(sys.argv[1]))\n")  # until it is cancelled
    resources = ("--gpus", 2, "--processes", 1, "--cpus", 3, "--memory", 0.5, "--partition", "all.q")
    first = submit(with_gpus, "tell", *resources, "--", script, "600")
    wait_until(lambda: log_file(first).exists() and log_file(first).read_text(), "the first job", WAIT_SECONDS)
    second = submit(with_gpus, "tell_second", "--gpus", 1, "--", script, "0")
    third = submit(with_gpus, "tell_third", "--gpus", N_GPUS - 1, "--", script, "0")
    assert wait_for_state(sge, second, "finished", "failed") == "finished"
    assert sge.state(third) == "pending"
    assert log_file(first).read_text() == "1,2 1\n"
    assert log_file(second).read_text() == "3 1\n"
    shown = ask("qstat", "-j", first["ids"][0], env=cluster["env"])
    assert "gpu=2" in shown and "mem_free=512M" in shown and "h_rt=3600,s_rt=3480" in shown.replace(" ", "")
    assert "smp range: 3" in shown and "all.q" in shown
    row = next(line for line in launch(cluster, "status").splitlines() if line.startswith("tell_second/1"))
    assert row.split()[1:5] == ["sge", "finished", "0", "1"]
    assert launch(cluster, "logs", "tell_second").endswith("3 1\n")
    launch(cluster, "cancel", "tell", "tell_third")


def test_what_a_site_does_in_its_own_way_reaches_the_job(cluster: dict) -> None:
    """Other names of resources, in a "container", with options handed on as they stand."""
    further = 'engine_args = "-p -10"\nmemory_complex = "virtual_free"\n'
    by_hand = ("--engine_args", "-R y -m n -l gpu=0,arch=lx-amd64", "--cpus", 2, "--memory", 0.25)
    record, said = run_in_the_sites_way(cluster, "sge", further, *by_hand)
    assert said == "yes ib0 yes - 1 /opt/of_the_site\n"
    options = (Path(record["folder"]) / "engine" / "job.sh").read_text().splitlines()
    assert {"#$ -R y", "#$ -m n", "#$ -p -10", "#$ -l arch=lx-amd64", "#$ -l virtual_free=256M"} <= set(options)
    refused = ("submit", "--backend", "sge", "--name", "refused", "--memory", 1)
    said = launch(cluster, *refused, "--engine_args", "-l mem_free=2G", "--", "src/train_bpe.py", code=2)
    assert "-l mem_free and --memory: both say the same thing" in said


def test_a_script_that_exits_3_fails_the_job_with_its_code(cluster: dict) -> None:
    record = submit(cluster, "three", "--", write(cluster, "three", "raise SystemExit(3)\n"))
    assert wait_for_state(sge, record, "finished", "failed") == "failed"
    assert exit_codes(record) == [3]
    assert account(cluster, record["ids"][0]) == [("0", "3")]
    said = launch(cluster, "submit", "--backend", "sge", "--after", "three", "--name", "x", "--", "src/x.py", code=2)
    assert len(said.splitlines()) == 1


def test_paths_and_words_may_hold_spaces_and_quotes(cluster: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXP_ROOT", str(cluster["root"] / ODD_NAME))
    script = write(cluster, "words", "import sys\nprint(sys.argv[1:])\n")
    commands = [[str(script), ODD_NAME, str(task)] for task in range(2)]
    record = submit_job(make_job("odd", commands, backend="sge", resources=Resources(hours=0.5)))
    assert wait_for_state(sge, record, "finished", "failed") == "finished"
    assert [log_file(record, task).read_text() for task in range(2)] == [
        f"{[ODD_NAME, str(task)]}\n" for task in range(2)
    ]
    number = record["ids"][0]
    assert {path.name for path in Path(record["folder"], "engine").glob("*.log")} == {
        f"{number}.1.log",
        f"{number}.2.log",
    }


def test_a_job_waits_for_the_one_before_and_goes_where_that_fails(cluster: dict) -> None:
    """-hold_jid waits for the end of all tasks, good or bad; that one of them was bad keeps the next from its work."""
    go = cluster["root"] / "go"
    late = write(cluster, "late", WAITS)
    touch = write(cluster, "touch", "import sys, pathlib\npathlib.Path(sys.argv[1]).touch()\n")
    resources = Resources(hours=0.5)
    commands = {"good": [[str(late), str(go), "0"]] * 2, "bad": [[str(late), str(go), code] for code in "04"]}
    good, bad = (
        submit_job(make_job(name, words, backend="sge", resources=resources)) for name, words in commands.items()
    )
    after_good = submit(cluster, "after_good", "--after", "good", "--", touch, cluster["root"] / "good")
    after_bad = submit(cluster, "after_bad", "--after", "bad", "--", touch, cluster["root"] / "bad")
    go.touch()
    assert wait_for_state(sge, after_good, "finished", "failed", "cancelled") == "finished"
    assert wait_for_state(sge, after_bad, "finished", "failed", "cancelled") == "cancelled"
    assert (cluster["root"] / "good").exists() and not (cluster["root"] / "bad").exists()
    assert (sge.state(good), sge.state(bad)) == ("finished", "failed")
    assert "bad/1: failed tasks: 1 (exit code 4); see " in launch(cluster, "status", "bad")
    ends = [row["at"] for row in read_attempts(Path(good["folder"])) if row["event"] == "ended"]
    assert max(ends) <= read_attempts(Path(after_good["folder"]))[0]["at"]
    log = next(Path(after_bad["folder"]).glob("engine/*.log")).read_text()
    assert "not started, since bad/1 has not finished with code 0" in log


def test_cancel_lets_the_command_save_and_does_not_requeue_it(cluster: dict) -> None:
    folder = cluster["root"] / "cancelled"
    folder.mkdir()
    script = write(cluster, "saves", SAVES)
    running = submit(cluster, "cancelled", "--", script, folder)
    waiting = submit(cluster, "cancelled", "--after", "cancelled", "--", script, folder)
    wait_until((folder / "up").exists, "the command", WAIT_SECONDS)
    assert (sge.state(running), sge.state(waiting)) == ("running", "pending")
    assert launch(cluster, "cancel", "cancelled").count("cancelled cancelled/") == 2
    assert wait_for_state(sge, running, "cancelled", "failed", "requeued", "finished") == "cancelled"
    assert wait_for_state(sge, waiting, "cancelled", "failed") == "cancelled"
    assert (folder / "saved").exists() and exit_codes(running) == [99]
    assert [row["event"] for row in read_attempts(Path(running["folder"]))] == ["started", "ended"]
    assert not read_attempts(Path(waiting["folder"]))


def test_a_time_limit_lets_the_command_save_and_requeues_it(cluster: dict) -> None:
    """A limit of 40 seconds: USR1 after 30 of them."""
    folder = cluster["root"] / "timed_out"
    folder.mkdir()
    record = submit(cluster, "timed_out", "--hours", 40 / 3600, "--", write(cluster, "saves", SAVES), folder)
    assert wait_for_state(sge, record, "finished", "failed", "cancelled") == "finished"
    rows = read_attempts(Path(record["folder"]))
    assert [row["exit_code"] for row in rows if row["event"] == "ended"] == [99, 0]
    assert account(cluster, record["ids"][0])[0] == ("25", "99")


def test_a_suspended_training_equals_the_uninterrupted_to_the_bit(cluster: dict, uninterrupted: Path) -> None:
    """Three times in the middle, Grid Engine suspends the job; it saves, ends with 99, and is started again."""
    steps, marks, exp = (3, 9, 14), cluster["root"] / "marks", cluster["root"] / "exp" / "suspended"
    marks.mkdir()
    command = [PAUSED_TRAINER, marks, ",".join(map(str, steps)), *TRAINING, "--exp", exp]
    record = submit(cluster, "suspended", "--", *command)
    for step in steps:
        wait_until((marks / f"step_{step}").exists, f"step {step}", WAIT_SECONDS)
        suspend(cluster, record["ids"][0])
    assert wait_for_state(sge, record, "finished", "failed", "cancelled") == "finished"
    rows = read_attempts(Path(record["folder"]))
    assert [row["exit_code"] for row in rows if row["event"] == "ended"] == [99, 99, 99, 0]
    commands = [row["command"][-2:] for row in rows if row["event"] == "started"]
    assert commands[0] != ["--resume", "auto"] and commands[1:] == [["--resume", "auto"]] * 3
    assert [status for _, status in account(cluster, record["ids"][0])][:3] == ["99"] * 3
    for name in ("latest", "best"):
        assert differences(load(exp, name), load(uninterrupted, name)) == [], name
    assert without_times(metrics(exp)) == without_times(metrics(uninterrupted))
    assert json.loads((exp / "finished.json").read_text())["step"] == N_STEPS


def test_the_job_script_goes_through_qsub_as_through_bash(cluster: dict, tmp_path: Path) -> None:
    """qsub scripts/train_vocoder.sh, told to stop on its way, against bash scripts/train_vocoder.sh, which is not."""
    flags = [*TRAINING[2:-1], str(N_LONG_STEPS)]
    script, exp = "scripts/train_vocoder.sh", cluster["root"] / "exp"
    variables = cluster["env"] | {"N_GPUS": "0"}
    options = ["-terse", "-l", "gpu=0", "-pe", "smp", "1", "-o", str(tmp_path)]
    done = subprocess.run(
        ["qsub", *options, script, "spanish", *flags],
        check=True,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=shell_environment(**variables, EXPERIMENT="by_qsub"),
    )
    number = done.stdout.strip()
    wait_until(lambda: len(metrics(exp / "by_qsub")) > 1, "some steps", WAIT_SECONDS, 0.02)
    trainer = f"trainer_vocoder.py .*--exp {exp / 'by_qsub'}"
    tell_while_it_stands(trainer, lambda: suspend(cluster, number))
    done = run_bash(REPOSITORY / script, "spanish", *flags, **variables, EXPERIMENT="by_bash")
    assert done.returncode == 0, done.stderr
    assert wait_for_last_attempt(cluster["env"], number, WAIT_SECONDS) == [("25", "99"), ("0", "0")]
    printed = next(tmp_path.glob("train_vocoder.o*")).read_text()
    assert "stopped by a signal" in printed and f"wrote {exp / 'by_qsub'}" in printed
    n_compared, found = folder_differences(exp / "by_qsub", exp / "by_bash")
    assert n_compared > 4 and found == []


def test_the_whole_chain_is_submitted_at_once(cluster: dict) -> None:
    tiny = "--channels 16 --batch_size 4 --crop_frames 16 --adversarial_after 1 --steps 4 --num_samples 1"
    arguments = {"PHASE1_ARGS": "--n_units 12", "PHASE2_ARGS": "--vocab_size 20", "PHASE3_ARGS": tiny}
    variables = cluster["env"] | arguments | {"BACKEND": "sge", "TAG": "chain"}
    done = run_bash(REPOSITORY / "scripts/run_all.sh", "spanish", **variables)
    assert done.returncode == 0, done.stderr
    voice = cluster["root"] / "exp" / "spanish_vocoder_v4_chain"
    assert not (voice / "report.html").exists()
    records = [
        record
        for name in ("spanish_units_chain", "spanish_bpe_chain", "spanish_vocoder_v4_chain")
        for record in find_records(name)
    ]
    assert len(records) == 5
    assert wait_for_state(sge, records[-1], "finished", "failed", "cancelled") == "finished"
    assert all(sge.state(record) == "finished" for record in records)
    assert (voice / "report.html").exists() and (voice / "scores.json").exists()


def test_what_was_killed_has_failed(cluster: dict) -> None:
    """By somebody, without the launcher: no word of the command is left, but the accounts know that it is over."""
    folder = cluster["root"] / "killed"
    folder.mkdir()
    record = submit(cluster, "killed", "--", write(cluster, "saves", SAVES), folder)
    wait_until((folder / "up").exists, "the command", WAIT_SECONDS)
    tasks = subprocess.run(["pgrep", "-f", f"sge_task {record['folder']}"], check=True, capture_output=True, text=True)
    subprocess.run(["kill", "-KILL", *tasks.stdout.split()], check=True)
    assert wait_for_state(sge, record, "finished", "failed", "cancelled", "requeued") == "failed"
    assert exit_codes(record) == [None] and account(cluster, record["ids"][0])[0][1] == "137"
    wait_until((folder / "saved").exists, "SIGTERM to the orphan", WAIT_SECONDS)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--partition", "none.q"], "qsub refused the job: .*unknown queue"),
        (["--constraint", "colour=blue"], "qsub refused the job: .*unknown resource"),
        (["--nodes", "2"], "--nodes: Grid Engine's environment smp holds a job on one node"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line_and_leaves_nothing(
    cluster: dict, flags: list[str], message: str
) -> None:
    words = ["submit", "--backend", "sge", "--name", "refused", *flags, "--", "src/train_bpe.py"]
    said = launch(cluster, *words, code=2)
    assert len(said.splitlines()) == 1 and re.search(message, said), said
    assert not list((cluster["root"] / "exp").glob("refused/jobs/*"))
