"""Jobs on this machine, real ones; the command lines and scripts for the others. Real engines: tests/cluster."""

import fcntl
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import launch

from core.errors import UserError
from core.files import write_json
from launching import local, modal_calls, slurm
from launching.attempts import exit_codes, read_attempts
from launching.commands import check_command, resume_words, takes_resume, task_command, torchrun_words
from launching.job import DEFAULT_RESOURCES, combine_states, create_folder, find_records, log_file, make_job, write_job
from synthetic import REPOSITORY, run_bash, run_script, script_environment
from training.experiment import open_experiment

ONE = DEFAULT_RESOURCES
SAVES = """
import signal, sys, time, pathlib
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1], "saved").touch(), sys.exit(99)))
pathlib.Path(sys.argv[1], "up").touch()
time.sleep(60)
"""
RANKS = "import os\nos.write(1, f\"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}\\n\".encode())\n"
SCRIPTS = [path for path in sorted(REPOSITORY.glob("src/*.py")) if "def parse_args" in path.read_text(encoding="utf-8")]


@pytest.fixture
def exp(language_roots: dict[str, Path]) -> Path:
    return language_roots["exp"]


def write(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.py").write_text(text)
    return str(folder / f"{name}.py")


def submit(*words: object, code: int = 0) -> str:
    done = run_script("scripts/launch.py", "submit", "--backend", "local", *words, code=code)
    return done.stderr if code else done.stdout


def wait_for_end(name: str) -> str:
    """The state in which the newest job of ``name`` ends."""
    record, give_up = find_records(name)[-1], time.monotonic() + 120
    while (state := launch.state_of(find_records(name)[-1])) not in ("finished", "failed", "cancelled"):
        assert time.monotonic() < give_up, f"{name} is {state}: {read_attempts(Path(record['folder']))}"
        time.sleep(0.1)
    return state


def wait_for_file(path: Path) -> None:
    give_up = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < give_up, f"{path} never came"
        time.sleep(0.05)


def test_a_job_here_outlives_its_launcher_and_leaves_its_record(exp: Path, tmp_path: Path) -> None:
    script = write(tmp_path, "tell", "import sys, time\ntime.sleep(1)\nprint(sys.argv[1:])\n")
    printed = submit("--name", "tell", "--", script, "--my-flag", "two words")
    assert "tell/1" in printed and str(exp / "tell" / "jobs" / "001") in printed
    assert wait_for_end("tell") == "finished"
    record = find_records("tell")[-1]
    assert log_file(record).read_text() == "['--my-flag', 'two words']\n"
    started, ended = read_attempts(Path(record["folder"]))
    assert started["command"] == [sys.executable, script, "--my-flag", "two words"] and ended["exit_code"] == 0
    shown = run_script("scripts/launch.py", "status", "tell").stdout.splitlines()[1].split()
    assert shown[:5] == ["tell/1", "local", "finished", "0", "1"]
    assert "two words" in run_script("scripts/launch.py", "logs", "tell", "--follow").stdout


def test_a_failing_script_fails_the_job_and_what_comes_after_it(exp: Path, tmp_path: Path) -> None:
    submit("--name", "three", "--", write(tmp_path, "three", "import time\ntime.sleep(2)\nraise SystemExit(3)\n"))
    submit("--name", "after", "--after", "three", "--", write(tmp_path, "never", "raise SystemExit(0)\n"))
    assert launch.state_of(find_records("after")[0]) == "pending"
    assert (wait_for_end("three"), exit_codes(find_records("three")[0])) == ("failed", [3])
    assert wait_for_end("after") == "cancelled"
    assert not log_file(find_records("after")[0]).exists()
    said = submit("--name", "late", "--after", "three", "--", "src/train_bpe.py", code=2)
    assert "three/1 has failed" in said and len(said.splitlines()) == 1


def test_a_job_starts_when_those_before_have_finished(exp: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    slow = write(tmp_path, "slow", f"import time, pathlib\ntime.sleep(1.5)\npathlib.Path({str(mark)!r}).touch()\n")
    submit("--name", "slow", "--", slow)
    submit("--name", "quick", "--", write(tmp_path, "quick", "print()\n"))
    look = write(tmp_path, "look", f"import sys, pathlib\nsys.exit(not pathlib.Path({str(mark)!r}).exists())\n")
    submit("--name", "look", "--after", "slow", "quick/1", "--", look)
    assert wait_for_end("look") == "finished"


def test_cancel_lets_a_command_save(exp: Path, tmp_path: Path) -> None:
    submit("--name", "saves", "--", write(tmp_path, "saves", SAVES), tmp_path)
    wait_for_file(tmp_path / "up")
    assert launch.state_of(find_records("saves")[0]) == "running"
    said = submit("--name", "saves", "--", "src/train_bpe.py", code=2)
    assert "its job 1 is running" in said and len(said.splitlines()) == 1
    submit("--name", "saves", "--after", "saves", "--", "src/train_bpe.py")
    assert run_script("scripts/launch.py", "cancel", "saves/2").stdout == "cancelled saves/2\n"
    assert "cancelled saves/1" in run_script("scripts/launch.py", "cancel", "saves").stdout
    give_up = time.monotonic() + 60
    while launch.state_of(find_records("saves")[0]) == "running" and time.monotonic() < give_up:
        time.sleep(0.1)
    assert launch.state_of(find_records("saves")[0]) == "cancelled" and (tmp_path / "saved").exists()
    assert exit_codes(find_records("saves")[0]) == [99]
    assert "nothing to cancel" in run_script("scripts/launch.py", "cancel", "saves").stdout


def test_a_killed_background_process_takes_its_command_with_it(exp: Path, tmp_path: Path) -> None:
    submit("--name", "killed", "--", write(tmp_path, "saves", SAVES), tmp_path)
    wait_for_file(tmp_path / "up")
    record = find_records("killed")[0]
    attempt = subprocess.run(["pgrep", "-P", record["ids"][0]], check=True, capture_output=True, text=True).stdout
    os.kill(int(record["ids"][0]), signal.SIGKILL)
    os.kill(int(attempt), signal.SIGKILL)
    wait_for_file(tmp_path / "saved")
    assert wait_for_end("killed") == "failed"


def test_the_limit_of_hours_stops_a_command(exp: Path, tmp_path: Path) -> None:
    submit("--name", "limited", "--hours", 2 / 3600, "--", write(tmp_path, "saves", SAVES), tmp_path)
    assert wait_for_end("limited") == "failed"
    assert exit_codes(find_records("limited")[0]) == [99] and (tmp_path / "saved").exists()


def test_an_array_runs_so_many_tasks_at_a_time(exp: Path, tmp_path: Path) -> None:
    script = write(
        tmp_path, "task", "import sys, time\ntime.sleep(0.3)\nprint(sys.argv[1])\nsys.exit(int(sys.argv[1]))\n"
    )
    job = make_job("array", [[script, code] for code in "0301"], backend="local", array_parallelism=2)
    record = launch.submit_job(job)
    assert wait_for_end("array") == "failed"
    assert exit_codes(record) == [0, 3, 0, 1]
    assert [log_file(record, task).read_text().strip() for task in range(4)] == list("0301")
    running = most = 0
    for row in read_attempts(Path(record["folder"])):
        running += 1 if row["event"] == "started" else -1
        most = max(most, running)
    assert most == 2
    assert "0×2 1×1 3×1" in run_script("scripts/launch.py", "status").stdout


def test_a_second_attempt_resumes_and_overwrites_nothing(exp: Path, tmp_path: Path) -> None:
    script = write(tmp_path, "trainer", "import sys\nprint(sys.argv[1:])  # knows --resume\nsys.exit(99)\n")
    job = create_folder(make_job("again", [[script, "--overwrite", "--steps", "5"]], backend="local"))
    write_job(job)
    for _ in range(2):
        command = [sys.executable, "-m", "launching.attempts", job["folder"]]
        assert subprocess.run(command, check=False, env=script_environment()).returncode == 99
    lines = log_file(job).read_text().splitlines()
    assert lines == ["['--overwrite', '--steps', '5']", "['--steps', '5', '--resume', 'auto']"]


@pytest.mark.parametrize(
    ("flags", "resumed"),
    [
        ("--steps 5", "--steps 5 --resume auto"),
        ("--resume --steps 5", "--steps 5 --resume auto"),
        ("--steps 5 --resume", "--steps 5 --resume auto"),
        ("--resume some/latest.pt --steps 5", "--steps 5 --resume auto"),
        ("--resume=latest --overwrite", "--resume auto"),
    ],
)
def test_what_resuming_makes_of_a_command(flags: str, resumed: str) -> None:
    words = resume_words(["src/trainer_vocoder.py", *flags.split()])
    assert words == ["src/trainer_vocoder.py", *resumed.split()]
    assert resume_words(["src/build_report.py", "exp/x"]) == ["src/build_report.py", "exp/x"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_that_know_resume_are_known(path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(path.stem).parse_args(["--help"])
    assert takes_resume(path) == ("--resume" in capsys.readouterr().out)


def test_shell_scripts_that_know_resume_are_known() -> None:
    known = {
        name: takes_resume(REPOSITORY / "scripts" / f"{name}.sh") for name in ("run_phase1", "run_phase3", "run_all")
    }
    assert known == {"run_phase1": True, "run_phase3": True, "run_all": False}


def test_the_command_line_of_one_process_of_several_and_of_a_shell_script() -> None:
    job = {"commands": [["src/trainer_vocoder.py", "--language", "satere"]], "resources": ONE}
    script = str(REPOSITORY / "src" / "trainer_vocoder.py")
    assert task_command(job) == [sys.executable, script, "--language", "satere"]
    words = task_command(job | {"resources": ONE | {"processes": 2}})
    assert words[1:5] == ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"] and words[5] == script
    shell = task_command({"commands": [["scripts/run_phase1.sh", "satere"]], "resources": ONE | {"processes": 2}})
    assert shell == ["bash", str(REPOSITORY / "scripts" / "run_phase1.sh"), "satere"]


def test_two_nodes_meet_at_the_first_of_slurms_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both "nodes" are this machine; everything else is as srun would start it."""
    resources = ONE | {"nodes": 2, "processes": 2}
    assert "$FIRST_NODE" in " ".join(torchrun_words(resources))
    monkeypatch.setenv("SLURM_JOB_ID", str(os.getpid()))
    monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu[07-09,12],login")
    assert f"--rdzv_endpoint=gpu07:{20000 + os.getpid() % 10000}" in torchrun_words(resources)
    monkeypatch.setenv("SLURM_JOB_NODELIST", "localhost")
    command = [sys.executable, *torchrun_words(resources), write(tmp_path, "ranks", RANKS)]
    agents = [
        subprocess.Popen(command, env=script_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [agent.communicate(timeout=180) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], printed
    ranks = sorted(line for out, _ in printed for line in out.splitlines())
    assert ranks == [f"rank {rank} of 4" for rank in range(4)]


def test_records_are_numbered_without_gaps_or_clashes(exp: Path) -> None:
    jobs = [make_job("x", [["src/train_bpe.py"]], backend="local") for _ in range(3)]
    assert [job["number"] for job in jobs] == [1, 1, 1]
    numbers = [create_folder(job)["number"] for job in jobs]
    assert numbers == [1, 2, 3]
    with pytest.raises(UserError, match="x/4"):
        find_records("x/4")
    (exp / "plain").write_text("")
    with pytest.raises(UserError, match="EXP_ROOT must be writable"):
        create_folder(make_job("plain", [["src/train_bpe.py"]], backend="local"))


def test_overwrite_keeps_the_records_of_jobs(exp: Path) -> None:
    folder = exp / "run"
    write_json(folder / "jobs" / "001" / "job.json", {})
    flags = {"resume": None, "overwrite": True}
    assert open_experiment(folder, flags, inputs=[]) == "new"
    (folder / "checkpoints").mkdir()
    assert open_experiment(folder, flags, inputs=[]) == "new"
    assert not (folder / "checkpoints").exists() and (folder / "jobs" / "001" / "job.json").exists()
    (folder / "config.json").unlink()
    (folder / "mine.txt").touch()
    with pytest.raises(UserError, match="found other files"):
        open_experiment(folder, flags, inputs=[])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--name x", "command after --"),
        ("--name x -- nothing.py", "nothing.py: expected a script, found none"),
        ("--name x -- ls -l", "expected a script (.py or .sh) first"),
        ("-- src/train_bpe.py", "--name: expected the name"),
        ("--name a/b -- src/train_bpe.py", "letters, digits"),
        ("--name x --partition gpu --nodes 2 -- src/train_bpe.py", "--partition, --nodes"),
        ("--name x --nodes 2 -- scripts/run_phase1.sh satere", "run on one node"),
        ("--name x --gpus -1 -- src/train_bpe.py", "expected 0 or more"),
        ("--name x --after nobody -- src/train_bpe.py", "expected a job 'nobody', found none"),
    ],
)
def test_mistakes_are_one_line(exp: Path, words: str, said: str) -> None:
    errors = submit(*words.split(), code=2)
    assert len(errors.splitlines()) == 1 and said in errors
    assert not list(exp.rglob("job.json"))


def test_dry_run_shows_what_each_engine_would_get(exp: Path) -> None:
    words = ["--name", "x", "--gpus", "2", "--hours", "12", "--constraint", "H100", "--requeues", "5", "--dry_run"]
    words += ["--", "src/trainer_vocoder.py", "--language", "satere"]
    shown = run_script("scripts/launch.py", "submit", "--backend", "slurm", *words).stdout
    for line in ("--gpus-per-node=2", "--time=720", "--constraint=H100", "--signal=USR2@120", "--requeue"):
        assert f"#SBATCH {line}\n" in shown
    assert "--nproc_per_node=2 --standalone" in shown
    shown = run_script("scripts/launch.py", "submit", "--backend", "modal", *words).stdout
    assert "modal run --detach" in shown and "--gpu H100:2" in shown and "--retries 5" in shown
    assert not list(exp.iterdir())


def test_shards_become_arrays_one_after_the_other(exp: Path) -> None:
    words = ["--name", "x", "--shards", "4", "--dry_run", "--backend", "slurm", "--array_parallelism", "2"]
    words += ["--", "src/extract_units.py", "--language", "satere"]
    shown = run_script("scripts/launch.py", "submit", *words).stdout
    assert shown.count("#SBATCH --array=0-3%2") == 2 and shown.count("--shard_index 3") == 2
    assert shown.count("#SBATCH --dependency=afterok:") == 3


def test_what_an_engine_cannot_do_is_refused(exp: Path) -> None:
    job = make_job("x", [["src/train_bpe.py"]], backend="modal", resources={"gpus": 1})
    with pytest.raises(UserError, match="name of the GPU"):
        modal_calls.describe(job)
    with pytest.raises(UserError, match="no dependencies"):
        modal_calls.describe(job | {"resources": ONE, "after": [{"ids": ["1"]}]})
    with pytest.raises(UserError, match="no scheduler"):
        local.describe(job | {"resources": ONE | {"memory_gb": 4.0}})
    with pytest.raises(UserError, match="one node"):
        check_command(["scripts/run_phase3.sh"], ONE | {"nodes": 2})


def test_states_of_an_array_and_words_of_slurm() -> None:
    assert combine_states(["finished", "running", "failed"]) == "running"
    assert combine_states(["finished", "failed", "finished"]) == "failed"
    assert combine_states(["finished", "finished"]) == "finished"
    lines = "17_0|RUNNING\n17_1|CANCELLED by 0\n17_[2-3,5,...%2]|PENDING\n18|OUT_OF_MEMORY\n19|COMPLETED\n"
    found = {"17_0": "RUNNING", "17_1": "CANCELLED", "17_": "PENDING", "18": "OUT_OF_MEMORY", "19": "COMPLETED"}
    assert slurm._states(lines) == found
    numbers = ("17_1", "17_4", "18", "19", "20")
    states = [slurm._task_state({}, number, {}, found) for number in numbers]
    assert states == ["cancelled", "pending", "failed", "finished", "unknown"]


def test_what_waits_is_cancelled_before_what_it_waits_for(exp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = []
    backend = SimpleNamespace(cancel=lambda record: cancelled.append(record["number"]))
    monkeypatch.setattr(launch, "state_of", lambda record: "pending")
    monkeypatch.setattr(launch, "backend_of", lambda name: backend)
    for _ in range(3):
        write_job(create_folder(make_job("x", [["src/train_bpe.py"]], backend="sge")))
    launch.cancel(["x"])
    assert cancelled == [3, 2, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/locks tells who waits for a lock")
def test_a_row_waits_for_the_row_of_another_process(tmp_path: Path) -> None:
    """On NFS, what two machines append at once is lost otherwise."""
    path = tmp_path / "attempts.jsonl"
    path.touch()
    with open(path, "ab") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        append = f"from launching.attempts import append_row; append_row({str(tmp_path)!r}, {{'task': 0}})"
        process = subprocess.Popen([sys.executable, "-c", append], env=script_environment())
        while f"-> POSIX  ADVISORY  WRITE {process.pid}" not in Path("/proc/locks").read_text():
            assert process.poll() is None, "it did not wait"
            time.sleep(0.05)
        assert path.read_bytes() == b""
    assert process.wait() == 0 and read_attempts(tmp_path) == [{"task": 0}]


def test_a_phase_with_a_backend_is_submitted_and_runs(tiny_units: dict) -> None:
    script = REPOSITORY / "scripts" / "run_phase2.sh"
    done = run_bash(script, "spanish", "--vocab_size", "40", BACKEND="local", CPUS="1")
    assert done.returncode == 0, done.stderr
    assert "submitted spanish_bpe/1 to local" in done.stdout
    assert wait_for_end("spanish_bpe") == "finished"
    bpe = tiny_units["exp"] / "spanish_bpe"
    assert "next: bash scripts/run_phase3.sh spanish" in log_file(find_records("spanish_bpe")[0]).read_text()
    assert json.loads((bpe / "config.json").read_text())["arguments"]["vocab_size"] == 40
    assert run_bash(script, "spanish", "--help", BACKEND="local").stdout.startswith("usage: train_bpe.py")
