"""The old commands of docs/launching.md, on real engines and in Modal's job function: each ends with exit code 0."""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from cluster_runs import WAIT_SECONDS, launch, tiny_cluster, wait_for_state
from engines import ask, turned_off
from grid_engine import wait_for_last_attempt
from modal_container import open_writers
from speech_texts import write_texts

from launching import sge, slurm
from launching.job import find_records
from launching.modal_flags import parse_main, parse_phase
from launching.modal_spec import make_spec
from launching.modal_task import run_spec
from synthetic import REPOSITORY, run_bash, save_tiny_encoder
from tiny_llm import save_tiny_llm

TINY = "--channels 32 --batch_size 4 --crop_frames 16 --adversarial_after 1 --num_samples 1 --generator v2".split()
SHORT_TRAININGS = (["--steps", "4"], ["--resume", "--steps", "8"])
VOICE = "spanish_vocoder_v2"
BACKENDS = {"slurm": slurm, "sge": sge}
SMALL_JOB = {"CPUS": "1", "MEMORY": "0.5", "HOURS": "1"}


@pytest.fixture(scope="module", params=["slurm", "sge"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterable[dict]:
    engine = request.getfixturevalue({"slurm": "slurm_engine", "sge": "grid_engine"}[request.param])
    variables = {"VIRTUAL_ENV": sys.prefix, "TRAINING_LANGUAGE": "", "BACKEND": request.param}
    with tiny_cluster(tmp_path_factory.mktemp(request.param), engine, **variables) as made:
        yield made | {"backend": request.param}


def wait_for_newest(cluster: dict, name: str) -> None:
    backend = BACKENDS[cluster["backend"]]
    assert wait_for_state(backend, find_records(name)[-1], "finished", "failed", "cancelled") == "finished"


def test_a_voice_is_trained_continued_and_scored(cluster: dict) -> None:
    """phase3_vocoder_v2.py::main, the same with --resume, vocoder_test_v2.py::main; phase 1 is in the chains' tests."""
    variables = cluster["env"] | SMALL_JOB
    for flags in SHORT_TRAININGS:
        done = run_bash(REPOSITORY / "scripts/run_phase3.sh", "spanish", *TINY, *flags, **variables)
        assert done.returncode == 0, done.stderr
        wait_for_newest(cluster, VOICE)
    exp = cluster["root"] / "exp" / VOICE
    assert json.loads((exp / "finished.json").read_text())["step"] == 8
    scoring = ("--backend", cluster["backend"], "--memory", 0.5, "--name", VOICE, "--", "src/vocoder_test.py")
    launch(cluster, "submit", *scoring, "--exp", exp, "--max_utterances", 50)
    wait_for_newest(cluster, VOICE)
    assert (exp / "scores.json").exists()


def test_the_speech_llm_s_job_script_goes_through_qsub(
    grid_engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("post_wlg")
    write_texts(root / "data", "english")
    encoder, llm = save_tiny_encoder(root / "enc", "whisper"), save_tiny_llm(root / "llm")
    flags = ["--speech_enc_id", encoder, "--llm_id", llm, "--width", 32, "--batch_size", 4, "--steps", 2]
    env = {"DATA_ROOT": str(root / "data"), "EXP_ROOT": str(root / "exp"), "VIRTUAL_ENV": sys.prefix, "N_GPUS": "0"}
    env |= {"PATH": os.environ["PATH"], "TRAINING_LANGUAGE": "", "EXPERIMENT": "post", "LARGE_ENCODER": str(encoder)}
    options = ["-terse", "-wd", REPOSITORY, "-o", root, "-l", "gpu=0", "-pe", "smp", 1]
    script = REPOSITORY / "scripts" / "train_post_wlg.sh"
    words = ["qsub", *options, script, *flags, "--eval_every", 2]
    number = ask(*map(str, words), env=env | grid_engine).strip()
    ended = wait_for_last_attempt(env | grid_engine, number, WAIT_SECONDS)
    assert ended == [("0", "0")], (root / f"train_post_wlg.o{number}").read_text()
    assert (root / "exp" / "post" / "wer.json").exists() and (root / "exp" / "post_small").is_dir()


@pytest.mark.skipif(bool(turned_off()), reason=turned_off())
def test_in_modals_job_function(tmp_path: Path) -> None:
    """Units, training, going on, scores, synthesis and report, one call after the other, as they are typed."""
    code, writers = tmp_path / "code", open_writers(tmp_path / "writers.json")
    code.mkdir()
    for name in ("src", "scripts", "recipes", "path.sh"):
        (code / name).symlink_to(REPOSITORY / name)
    exp = f"exp/{VOICE}"
    commands = [
        ["src/vocoder_test.py", "--exp", exp, "--max_utterances", "50"],
        ["src/synthesize.py", "--exp", exp, "--units", "exp/spanish_units/corpus_timestamped.json", "--split", "test"],
        ["src/build_report.py", exp],
    ]
    with tiny_cluster(tmp_path, {}, VIRTUAL_ENV=sys.prefix):
        jobs = [parse_phase(1, "--language spanish --tag own --encoder mfcc --n_units 12".split())]
        jobs += [parse_phase(3, ["--language", "spanish", *TINY, *flags]) for flags in SHORT_TRAININGS]
        jobs += [parse_main(["--", *command]) for command in commands]
        for number, job in enumerate(jobs):
            spec = make_spec(job) | {"owner": f"fc-{number}"}
            del spec["volume"]
            ended = run_spec(
                **spec, writers=writers, lives=lambda call: False, working_folder=code, commit=lambda: None
            )
            assert (ended["exit_code"], ended["message"]) == (0, "")
    assert (tmp_path / "exp/spanish_units_own/corpus_timestamped.json").exists()
    found = [(code / exp / name).exists() for name in ("finished.json", "scores.json", "synthesis", "report.html")]
    assert found == [True] * 4
