"""The speech LLM's job scripts on a real Grid Engine of one node: to the end, and over a suspension, requeued."""

import json
import os
import sys

import pytest

from cluster_runs import WAIT_SECONDS, tell_while_it_stands
from engines import ask, wait_until
from grid_engine import accounts, wait_for_last_attempt
from speech_texts import write_texts

from synthetic import REPOSITORY, save_tiny_encoder
from tiny_llm import save_tiny_llm

N_STEPS = 60


@pytest.fixture(scope="module")
def cluster(grid_engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Tiny models and texts below ``root``, and the variables of Grid Engine's clients and of the jobs in ``env``."""
    root = tmp_path_factory.mktemp("speech_llm_jobs")
    write_texts(root / "data", "english")
    models = {"enc": save_tiny_encoder(root / "enc", "whisper"), "llm": save_tiny_llm(root / "llm")}
    env = {"DATA_ROOT": str(root / "data"), "EXP_ROOT": str(root / "exp"), "VIRTUAL_ENV": sys.prefix, "N_GPUS": "1"}
    env |= {"PATH": os.environ["PATH"], "TRAINING_LANGUAGE": ""}
    return {"root": root, "env": env | grid_engine, "models": models}


def qsub(cluster: dict, script: str, experiment: str, *flags: object) -> str:
    """Submits as a person does, in the folder of the repository; returns the job's number."""
    tiny = ["--speech_enc_id", cluster["models"]["enc"], "--llm_id", cluster["models"]["llm"]]
    tiny += ["--width", 32, "--batch_size", 4, "--steps", N_STEPS, "--eval_every", N_STEPS]
    words = ["qsub", "-terse", "-wd", REPOSITORY, "-o", cluster["root"], REPOSITORY / "scripts" / script, *tiny, *flags]
    return ask(*map(str, words), env=cluster["env"] | {"EXPERIMENT": experiment}).strip()


def test_a_suspended_job_is_requeued_and_goes_on_to_its_scores(cluster: dict) -> None:
    number = qsub(cluster, "train_pre.sh", "pre", "--save_every", 2)
    assert number.isdigit()
    exp, log = cluster["root"] / "exp" / "pre", cluster["root"] / f"train_pre.o{number}"
    wait_until((exp / "checkpoints" / "latest.pt").exists, "a checkpoint", WAIT_SECONDS, 0.1)
    tell_while_it_stands(f"trainer_base.py .*{exp}", lambda: ask("qmod", "-sj", number, env=cluster["env"]))
    wait_until(lambda: accounts(cluster["env"], number), "the first attempt's end", WAIT_SECONDS)
    ask("qmod", "-usj", number, env=cluster["env"])
    ended = wait_for_last_attempt(cluster["env"], number, WAIT_SECONDS)
    assert [status for _, status in ended] == ["99", "0"], log.read_text()
    scores = json.loads((exp / "wer.json").read_text())[str(exp / "test_predictions.json")]
    assert scores["n_utterances"] == 2
    steps = [json.loads(line)["step"] for line in (exp / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) == N_STEPS and json.loads((exp / "config.json").read_text())["arguments"]["norm"] == "pre"
