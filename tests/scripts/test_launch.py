"""scripts/launch.py: mistakes in one line, what --dry_run shows, and in which order jobs are cancelled."""

from pathlib import Path
from types import SimpleNamespace

import pytest

import launch

from launching.job import create_folder, make_job, write_job
from synthetic import run_script


@pytest.fixture
def exp(language_roots: dict[str, Path]) -> Path:
    return language_roots["exp"]


def submit(*words: object, code: int = 0) -> str:
    done = run_script("scripts/launch.py", "submit", "--backend", "local", *words, code=code)
    return done.stderr if code else done.stdout


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
        ("--name x --engine_args --qos=long -- src/train_bpe.py", "goes to Slurm or Grid Engine"),
        ("--name x --engine-args=--qos=long -- src/train_bpe.py", "goes to Slurm or Grid Engine"),
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
    for line in ("--gres=gpu:2", "--time=720", "--constraint=H100", "--signal=USR2@120", "--requeue"):
        assert f"#SBATCH {line}\n" in shown
    assert "--nproc_per_node=2 --standalone" in shown
    shown = run_script("scripts/launch.py", "submit", "--backend", "modal", *words).stdout
    assert "modal run --detach" in shown and "--gpu H100:2" in shown and "--retries 5" in shown
    assert not list(exp.iterdir())


def test_what_is_handed_on_reaches_sbatch_as_it_was_typed(exp: Path, tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text('gpu_partition = "gpu"\nsetup = ["module load cuda/12.1"]\n')
    words = ["submit", "--backend", "slurm", "--name", "x", "--dry_run", "--hours", "1", "--engine_args"]
    words += ["--qos=long --exclude=n3 --mail-type=END --gres=gpu:a100:2", "--", "src/trainer_vocoder.py"]
    env = {"ORAL_UNITS_SITE": str(tmp_path / "cluster.toml")}
    shown = run_script("scripts/launch.py", *words, env=env).stdout
    options = ("qos=long", "exclude=n3", "mail-type=END", "gres=gpu:a100:2", "partition=gpu", "mem=32768M")
    assert [option for option in options if f"#SBATCH --{option}\n" not in shown] == []
    assert "\nmodule load cuda/12.1\n" in shown and "--nproc_per_node=2" in shown
    words[words.index("--hours") : words.index("--hours") + 2] = ["--gpus", "2"]
    said = run_script("scripts/launch.py", *words, env=env, code=2).stderr
    assert len(said.splitlines()) == 1 and "--gres=gpu and --gpus" in said


def test_shards_become_arrays_one_after_the_other(exp: Path) -> None:
    words = ["--name", "x", "--shards", "4", "--dry_run", "--backend", "slurm", "--array_parallelism", "2"]
    words += ["--gpus", "2"]
    words += ["--", "src/extract_units.py", "--language", "satere"]
    shown = run_script("scripts/launch.py", "submit", *words).stdout
    assert shown.count("#SBATCH --array=0-3%2") == 2 and shown.count("--shard_index 3") == 2
    assert shown.count("#SBATCH --dependency=afterok:") == 3
    assert shown.count("#SBATCH --gres=gpu:2") == 2 and shown.count("--nproc_per_node=2") == 8


def test_only_the_arrays_of_phase_1_hold_gpus(exp: Path, tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text('partition = "cpu"\ngpu_partition = "gpu"\n')
    words = ["--name", "x", "--shards", "3", "--gpus", "2", "--dry_run", "--backend", "slurm"]
    words += ["--", "src/extract_units.py", "--language", "satere"]
    shown = run_script("scripts/launch.py", "submit", *words, env={"ORAL_UNITS_SITE": str(tmp_path / "cluster.toml")})
    stages = [part for part in shown.stdout.split("# slurm: ") if part]
    assert [("gres=gpu:2" in part, "nproc_per_node" in part, "partition=gpu" in part) for part in stages] == [
        (True, True, True),
        (False, False, False),
    ] * 2


def test_what_waits_is_cancelled_before_what_it_waits_for(exp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = []
    backend = SimpleNamespace(cancel=lambda record: cancelled.append(record["number"]))
    monkeypatch.setattr(launch, "state_of", lambda record: "pending")
    monkeypatch.setattr(launch, "backend_of", lambda name: backend)
    for _ in range(3):
        write_job(create_folder(make_job("x", [["src/train_bpe.py"]], backend="sge")))
    launch.cancel(["x"])
    assert cancelled == [3, 2, 1]
