"""Jobs on a real Slurm of one node: submitted, told to stop, requeued and resumed, refused."""

import json
import os
import socket
import sys
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
    tiny_cluster,
    train_uninterrupted,
    wait_for_state,
    write,
)
from engines import ask, wait_until
from launch import submit_job

from equal_runs import differences, without_times
from launching import slurm
from launching.attempts import exit_codes, read_attempts
from launching.job import Resources, find_records, log_file, make_job
from synthetic import REPOSITORY, run_bash
from trainer_runs import load, metrics

TELL = "import os, sys\nprint(os.environ.get('CUDA_VISIBLE_DEVICES'), os.environ['OMP_NUM_THREADS'], *sys.argv[1:])\n"
LATE = "import sys, time, pathlib\ntime.sleep(2)\npathlib.Path(sys.argv[1]).touch()\n"
EARLY = "import sys, pathlib\nsys.exit(0 if pathlib.Path(sys.argv[1]).exists() else 7)\n"
SAVES = """
import signal, sys, time, pathlib
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1], "saved").touch(), sys.exit(99)))
pathlib.Path(sys.argv[1], "up").touch()
time.sleep(600)
"""


@pytest.fixture(scope="module")
def cluster(slurm_engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Roots with a tiny language, and the variables of Slurm's clients, set in this process too: root, env."""
    with tiny_cluster(tmp_path_factory.mktemp("slurm"), slurm_engine) as made:
        yield made


@pytest.fixture(scope="module")
def uninterrupted(cluster: dict) -> Path:
    return train_uninterrupted(cluster)


def submit(cluster: dict, name: str, *words: object) -> dict:
    """Submit to whatever ``auto`` finds, which is Slurm; the record."""
    launch(cluster, "submit", "--name", name, *words)
    record = find_records(name)[-1]
    assert record["backend"] == "slurm" and record["ids"]
    return record


def start_training(cluster: dict, name: str, pauses: str, *resources: object) -> tuple[dict, Path]:
    marks, exp = cluster["root"] / f"{name}_marks", cluster["root"] / "exp" / name
    marks.mkdir()
    command = [PAUSED_TRAINER, marks, pauses, *TRAINING, "--exp", exp]
    return submit(cluster, name, "--hours", 1, *resources, "--", *command), marks


def wait_for_mark(marks: Path, step: int) -> None:
    wait_until((marks / f"step_{step}").exists, f"{marks.name}: step {step}", WAIT_SECONDS)


def assert_same_training(exp: Path, reference: Path) -> None:
    for name in ("latest", "best"):
        assert differences(load(exp, name), load(reference, name)) == [], name
    assert without_times(metrics(exp)) == without_times(metrics(reference))
    assert json.loads((exp / "finished.json").read_text())["step"] == N_STEPS


@pytest.fixture(scope="module", autouse=True)
def timed_out(cluster: dict) -> dict:
    """A training whose time limit, of two minutes, comes while it is in the middle; started before all else."""
    record, marks = start_training(cluster, "timed_out", "7", "--hours", 2 / 60)
    return {"record": record, "marks": marks}


@pytest.fixture(scope="module", autouse=True)
def chain(cluster: dict, timed_out: dict) -> str:
    """run_all.sh with BACKEND=slurm, on segments that are there already; what it printed."""
    arguments = {
        "PHASE1_ARGS": "--n_units 12",
        "PHASE2_ARGS": "--vocab_size 30",
        "PHASE3_ARGS": "--steps 4 --channels 16 --batch_size 4 --crop_frames 16 --adversarial_after 1",
    }
    variables = cluster["env"] | arguments | {"BACKEND": "slurm", "TAG": "chain", "HOURS": "1"}
    done = run_bash(REPOSITORY / "scripts" / "run_all.sh", "spanish", **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_job_gets_its_resources_and_leaves_its_record(cluster: dict) -> None:
    script = write(cluster, "tell", TELL)
    resources = ("--gpus", 2, "--processes", 1, "--cpus", 2, "--memory", 0.5, "--partition", "debug", "--hours", 0.5)
    record = submit(cluster, "tell", *resources, "--", script, "--flag-of-mine", "two words")
    assert wait_for_state(slurm, record, "finished", "failed") == "finished"
    assert log_file(record).read_text() == "0,1 1 --flag-of-mine two words\n"
    assert record["commands"] == [[str(script), "--flag-of-mine", "two words"]]
    assert Path(record["folder"]) == cluster["root"] / "exp" / "tell" / "jobs" / "001"
    started, ended = read_attempts(Path(record["folder"]))
    assert started["command"] == [sys.executable, str(script), "--flag-of-mine", "two words"]
    assert (started["engine_id"], ended["exit_code"]) == (record["ids"][0], 0)
    # The accounts hear of a job a moment after the controller.
    asked = ("sacct", "-nPX", "-j", record["ids"][0], "-o", "ReqTRES,Timelimit")
    wait_until(lambda: "cpu=" in ask(*asked, env=cluster["env"]), "the accounts of the job", WAIT_SECONDS)
    given = ask(*asked, env=cluster["env"])
    assert "cpu=2" in given and "gres/gpu=2" in given and "mem=512M" in given and "00:30:00" in given
    row = next(line for line in launch(cluster, "status").splitlines() if line.startswith("tell/1"))
    assert row.split()[1:5] == ["slurm", "finished", "0", "1"]
    assert "two words" in launch(cluster, "logs", "tell")


def test_what_a_site_does_in_its_own_way_reaches_the_job(cluster: dict) -> None:
    """Without the submitting shell's variables (SBATCH_EXPORT=NONE), in a "container", with GPUs of a type."""
    by_hand = ("--engine_args", "--comment='by hand' --mail-type=END --gres=gpu:tty:2", "--cpus", 2, "--processes", 1)
    record, said = run_in_the_sites_way(cluster, "slurm", 'partition = "debug"\nmemory_per_gpu = 0.25\n', *by_hand)
    assert said == "yes ib0 yes 0,1 1 /opt/of_the_site\n"
    shown = ask("scontrol", "show", "job", record["ids"][0], env=cluster["env"])
    assert "by hand" in shown and "gpu:tty:2" in shown and "mem=512M" in shown and "submitit" not in shown
    refused = ("submit", "--name", "refused", "--gpus", 1, *by_hand, "--", "src/train_bpe.py")
    assert "leave one out" in launch(cluster, *refused, code=2)


def test_a_script_that_exits_3_fails_the_job_with_its_code(cluster: dict) -> None:
    record = submit(cluster, "three", "--", write(cluster, "three", "print('no')\nraise SystemExit(3)\n"))
    assert wait_for_state(slurm, record, "finished", "failed") == "failed"
    assert exit_codes(record) == [3]
    assert "3:0" in ask("sacct", "-nPX", "-j", record["ids"][0], "-o", "ExitCode", env=cluster["env"])
    assert "exit code 3" in launch(cluster, "logs", "three")
    assert "has failed" in launch(
        cluster, "submit", "--after", "three", "--name", "four", "--", "src/train_bpe.py", code=2
    )


def test_an_array_runs_every_task_and_no_more_at_a_time_than_asked(cluster: dict) -> None:
    script = write(cluster, "task", "import sys, time\ntime.sleep(1)\nsys.exit(int(sys.argv[1]))\n")
    commands = [[str(script), str(code)] for code in (0, 3, 0)]
    record = submit_job(
        make_job("array", commands, backend="slurm", array_parallelism=1, resources=Resources(hours=0.5))
    )
    assert len(set(record["ids"])) == 3
    assert wait_for_state(slurm, record, "finished", "failed") == "failed"
    assert exit_codes(record) == [0, 3, 0]
    assert "array/1: failed tasks: 1 (exit code 3); see " in launch(cluster, "status", "array")
    events = [row["event"] for row in read_attempts(Path(record["folder"]))]
    assert events == ["started", "ended"] * 3


def test_paths_and_words_may_hold_spaces_and_quotes(cluster: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXP_ROOT", str(cluster["root"] / ODD_NAME))
    script = write(cluster, "words", "import sys\nprint(sys.argv[1:])\n")
    commands = [[str(script), ODD_NAME, str(task)] for task in range(2)]
    record = submit_job(make_job("odd", commands, backend="slurm", resources=Resources(hours=0.5)))
    assert wait_for_state(slurm, record, "finished", "failed") == "finished"
    assert [log_file(record, task).read_text() for task in range(2)] == [
        f"{[ODD_NAME, str(task)]}\n" for task in range(2)
    ]


def test_a_job_waits_for_the_one_before_and_goes_where_that_fails(cluster: dict) -> None:
    late, early = write(cluster, "late", LATE), write(cluster, "early", EARLY)
    submit(cluster, "late", "--", late, cluster["root"] / "there")
    good = submit(cluster, "early", "--after", "late", "--", early, cluster["root"] / "there")
    submit(cluster, "breaks", "--", write(cluster, "breaks", "import time\ntime.sleep(2)\nraise SystemExit(1)\n"))
    bad = submit(cluster, "never", "--after", "breaks", "--", early, cluster["root"] / "there")
    broken = find_records("breaks")
    array = submit_job(
        make_job("array_never", [[str(early)]] * 3, backend="slurm", after=broken, resources=Resources(hours=1))
    )
    assert wait_for_state(slurm, good, "finished", "failed") == "finished"
    assert wait_for_state(slurm, bad, "finished", "failed", "cancelled") == "cancelled"
    assert wait_for_state(slurm, array, "finished", "failed", "cancelled") == "cancelled"
    assert not read_attempts(Path(bad["folder"])) + read_attempts(Path(array["folder"]))


def test_cancel_lets_the_command_save_and_does_not_requeue_it(cluster: dict) -> None:
    folder = cluster["root"] / "cancelled"
    folder.mkdir()
    running = submit(cluster, "cancelled", "--", write(cluster, "saves", SAVES), folder)
    waiting = submit(cluster, "cancelled", "--after", "cancelled", "--", "src/train_bpe.py", "--language", "spanish")
    wait_until((folder / "up").exists, "the command", WAIT_SECONDS)
    assert slurm.state(running) == "running" and slurm.state(waiting) == "pending"
    assert launch(cluster, "cancel", "cancelled").count("cancelled cancelled/") == 2
    assert wait_for_state(slurm, running, "cancelled", "failed", "requeued", "finished") == "cancelled"
    assert wait_for_state(slurm, waiting, "cancelled", "failed") == "cancelled"
    assert (folder / "saved").exists() and exit_codes(running) == [99]
    assert len(read_attempts(Path(running["folder"]))) == 2


def test_a_preempted_training_equals_the_uninterrupted_to_the_bit(cluster: dict, uninterrupted: Path) -> None:
    """Three times in the middle, a job of higher priority takes the CPUs; Slurm gives it a minute to save."""
    steps = (3, 9, 14)
    pauses = ",".join(map(str, steps))
    record, marks = start_training(cluster, "preempted", pauses, "--partition", "low", "--cpus", 8)
    short = write(cluster, "short", "import time\ntime.sleep(1)\n")
    for step in steps:
        wait_for_mark(marks, step)
        intruder = submit(cluster, f"intruder_{step}", "--partition", "high", "--cpus", 12, "--", short)
        assert wait_for_state(slurm, intruder, "finished", "failed", "cancelled") == "finished"
    assert wait_for_state(slurm, record, "finished", "failed", "cancelled") == "finished"
    rows = read_attempts(Path(record["folder"]))
    assert [row["exit_code"] for row in rows if row["event"] == "ended"] == [99, 99, 99, 0]
    commands = [row["command"][-2:] for row in rows if row["event"] == "started"]
    assert commands[0] != ["--resume", "auto"] and commands[1:] == [["--resume", "auto"]] * 3
    assert_same_training(cluster["root"] / "exp" / "preempted", uninterrupted)


@pytest.mark.parametrize("place", ["/proc/exp", "a_file/exp"])
def test_where_exp_cannot_be_written_the_submission_says_so(cluster: dict, place: str) -> None:
    (cluster["root"] / "a_file").touch()
    roots = {"EXP_ROOT": str(cluster["root"] / place)}
    before = ask("squeue", "-h", "-o", "%i", env=cluster["env"])
    said = launch(cluster | {"env": cluster["env"] | roots}, "submit", "--name", "x", "--", "src/train_bpe.py", code=2)
    assert len(said.splitlines()) == 1 and "EXP_ROOT must be writable" in said and place in said
    assert set(ask("squeue", "-h", "-o", "%i", env=cluster["env"]).split()) <= set(before.split())


def test_what_sbatch_refuses_is_one_line_and_leaves_nothing(cluster: dict) -> None:
    said = launch(cluster, "submit", "--name", "refused", "--partition", "none", "--", "src/train_bpe.py", code=2)
    assert len(said.splitlines()) == 1 and "invalid partition" in said
    assert not list((cluster["root"] / "exp" / "refused" / "jobs").iterdir())


def test_the_whole_chain_goes_through_as_jobs_that_wait_for_each_other(cluster: dict, chain: str) -> None:
    assert chain.count("submitted ") == 5
    exp = cluster["root"] / "exp"
    records = [record for name in ("units", "bpe", "vocoder_v4") for record in find_records(f"spanish_{name}_chain")]
    for record in records:
        assert wait_for_state(slurm, record, "finished", "failed", "cancelled") == "finished", log_file(
            record
        ).read_text()
    times = {}
    for record in records:
        started, ended = read_attempts(Path(record["folder"]))
        times[f"{record['name']}/{record['number']}"] = (started["at"], ended["at"])
    units, bpe, voice = (times[f"spanish_{name}_chain/1"] for name in ("units", "bpe", "vocoder_v4"))
    scores, report = (times[f"spanish_vocoder_v4_chain/{number}"] for number in (2, 3))
    assert units[1] <= min(bpe[0], voice[0]) and voice[1] <= scores[0] and max(bpe[1], scores[1]) <= report[0]
    assert json.loads((exp / "spanish_vocoder_v4_chain" / "scores.json").read_text())["n_utterances"] == 2
    assert "<audio" in (exp / "spanish_vocoder_v4_chain" / "report.html").read_text(encoding="utf-8")


def test_a_timed_out_training_saves_requeues_itself_and_resumes(
    cluster: dict, timed_out: dict, uninterrupted: Path
) -> None:
    record = timed_out["record"]
    wait_for_mark(timed_out["marks"], 7)
    assert wait_for_state(slurm, record, "finished", "failed", "cancelled") == "finished"
    rows = read_attempts(Path(record["folder"]))
    *stopped, last = [row["exit_code"] for row in rows if row["event"] == "ended"]
    assert (set(stopped), last) == ({99}, 0)
    assert "timed-out" in "".join(path.read_text() for path in Path(record["folder"]).glob("engine/*.err"))
    assert_same_training(cluster["root"] / "exp" / "timed_out", uninterrupted)


def test_a_training_on_a_failed_node_comes_back(cluster: dict, uninterrupted: Path) -> None:
    node, env = socket.gethostname().split(".")[0], cluster["env"]
    wait_until(lambda: not ask("squeue", "-h", env=env).strip(), "an empty queue", WAIT_SECONDS)
    record, marks = start_training(cluster, "node_down", "12")
    wait_for_mark(marks, 12)
    ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test", env=env)
    assert wait_for_state(slurm, record, "requeued", "failed", "cancelled") == "requeued"

    def has_come_back() -> bool:
        # A node that was only called down counts the job as its own for a while, and would hold the next attempt.
        ask("scontrol", "update", f"nodename={node}", "state=resume", env=env)
        ask("scontrol", "release", record["ids"][0], env=env)
        return sum(row["event"] == "started" for row in read_attempts(Path(record["folder"]))) == 2

    wait_until(has_come_back, "the second attempt", WAIT_SECONDS, every=5)
    assert wait_for_state(slurm, record, "finished", "failed", "cancelled") == "finished"
    assert_same_training(cluster["root"] / "exp" / "node_down", uninterrupted)


def test_nothing_of_a_cancelled_or_failed_job_is_left_running(cluster: dict) -> None:
    wait_until(lambda: not ask("squeue", "-h", env=cluster["env"]).strip(), "an empty queue", WAIT_SECONDS)
    root = str(cluster["root"])
    commands = [
        path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.parent.name != str(os.getpid())
    ]
    assert not [words for words in commands if root.encode() in words and b"launching" not in words]
