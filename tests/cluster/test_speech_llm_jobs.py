"""The speech LLM's job scripts on a real Grid Engine of one node: to the end, and over a suspension, requeued."""

import json
import os
import sys

import pytest
from engines import ask, wait_until
from speech_texts import write_texts
from tiny_llm import save_tiny_llm

from synthetic import REPOSITORY, save_tiny_encoder

WAIT_SECONDS = 900  # for what takes half a minute on an idle machine
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
    tiny += ["--width", 32, "--bsize", 4, "--steps", N_STEPS, "--eval_steps", N_STEPS]
    words = ["qsub", "-terse", "-wd", REPOSITORY, "-o", cluster["root"], REPOSITORY / "scripts" / script, *tiny, *flags]
    return ask(*map(str, words), env=cluster["env"] | {"EXPERIMENT": experiment}).strip()


def account(cluster: dict, number: str) -> list[tuple[str, str]]:
    """(failed, exit_status) of every finished attempt."""
    lines = [line.split() for line in ask("qacct", "-j", number, env=cluster["env"]).splitlines()]
    found = [(words[0], words[1]) for words in lines if words and words[0] in ("failed", "exit_status")]
    return [(first[1], second[1]) for first, second in zip(found[::2], found[1::2])]


def is_over(cluster: dict, number: str) -> bool:
    return bool(account(cluster, number)) and not ask("qstat", "-j", number, env=cluster["env"])


def test_a_suspended_job_is_requeued_and_goes_on_to_its_scores(cluster: dict) -> None:
    number = qsub(cluster, "train_pre.sh", "pre", "--save_steps", 2)
    assert number.isdigit()
    exp, log = cluster["root"] / "exp" / "pre", cluster["root"] / f"train_pre.o{number}"
    wait_until((exp / "checkpoints" / "latest.pt").exists, "a checkpoint", WAIT_SECONDS, 0.1)
    ask("qmod", "-sj", number, env=cluster["env"])
    wait_until(lambda: account(cluster, number), "the first attempt's end", WAIT_SECONDS)
    ask("qmod", "-usj", number, env=cluster["env"])
    wait_until(lambda: is_over(cluster, number), "the job's end", WAIT_SECONDS)
    assert [status for _, status in account(cluster, number)] == ["99", "0"], log.read_text()
    scores = json.loads((exp / "wer.json").read_text())[str(exp / "test_predictions.json")]
    assert scores["n_utterances"] == 2
    steps = [json.loads(line)["step"] for line in (exp / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) == N_STEPS and json.loads((exp / "config.json").read_text())["arguments"]["norm"] == "pre"
