"""The trainer of translators as a person runs it, its scores, and speech translated."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np

import pytest

from equal_runs import differences, without_times
from pair_examples import write_pairs
from trainer_runs import load, metrics, run_to_end, run_until_stopped, start_ranks
from translation.saved_translator import load_translator

TRAINER = "trainer_translation"
SHAPE = ["--width", 16, "--layers", 1, "--encoder_layers", 1, "--heads", 2]
TINY = ["--target", "spanish", "--batch_size", 4, "--lr", 1e-2, "--warmup", 3, "--cpu", *SHAPE]
POOLED = ["--source", "english", "--source", "italian"]
# Steps between saves, rows and validations share no factor, so that a run is cut at every place it can be cut.
OFTEN = ["--save_every", 5, "--log_every", 3, "--eval_every", 2]
N_STEPS = 12
WHOLE = [*TINY, *POOLED, *OFTEN, "--features", "mfcc", "--text_weight", 0.3, "--steps", N_STEPS]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("translation")
    write_pairs(root)
    return root


@pytest.fixture(scope="module")
def uninterrupted(roots: Path) -> Path:
    run_to_end(TRAINER, WHOLE, roots=roots)
    return roots / "exp" / "english_italian_spanish_translation"


def test_what_a_run_leaves(uninterrupted: Path) -> None:
    rows = metrics(uninterrupted)
    trained = [row for row in rows if "train_token_nat" in row]
    assert [row["step"] for row in trained] == [*range(3, N_STEPS, 3), N_STEPS]
    assert {"train_alone_nat", "train_contrast_nat", "train_letter_nat"} < set(trained[0])
    losses = {row["step"]: row["validation_loss_nat"] for row in rows if "validation_loss_nat" in row}
    assert list(losses) == list(range(2, N_STEPS + 1, 2))
    assert load(uninterrupted, "best")["best"] == min(losses.values())
    assert trained[-1]["train_contrast_nat"] < 0.7 * trained[0]["train_contrast_nat"]
    assert json.loads((uninterrupted / "finished.json").read_text())["best_validation_loss_nat"] == min(losses.values())
    loaded = load_translator(uninterrupted)
    assert loaded.hearing.encoder == "mfcc" and loaded.hearing.vocabulary.languages == ("english", "italian", "spanish")
    assert loaded.vocabulary.languages == ("spanish",) and int(loaded.allowed.sum()) == 13
    assert (uninterrupted / "said" / "blocks" / "0" / "units" / "kmeans.npz").is_file()


def test_killed_and_resumed_equals_uninterrupted(uninterrupted: Path, roots: Path) -> None:
    exp, flags = roots / "exp" / "killed", [*WHOLE, "--resume", "auto"]
    for step, number in ((3, signal.SIGKILL), (int(np.random.default_rng().integers(5, 9)), signal.SIGINT)):
        code = run_until_stopped(TRAINER, [*flags, "--exp", exp], roots=roots, exp=exp, step=step, number=number)
    assert code == 99  # Ctrl-C saves as well
    run_to_end(TRAINER, [*flags, "--exp", exp], roots=roots)
    for name in ("latest", "best"):
        assert differences(load(exp, name), load(uninterrupted, name)) == [], name
    assert without_times(metrics(exp)) == without_times(metrics(uninterrupted))


def test_two_processes_do_what_one_does(roots: Path) -> None:
    flags = [*TINY, *POOLED, "--dropout", 0, "--source_dropout", 0, "--steps", 4, "--log_every", 1, "--eval_every", 4]
    flags += ["--mixed_precision", "no"]  # rounding to bf16, where the machine has it, differs by the batch
    run_to_end(TRAINER, [*flags, "--exp", roots / "exp" / "one"], roots=roots)
    started = start_ranks(TRAINER, [*flags, "--exp", roots / "exp" / "two"], 2, roots=roots)
    for process, output in started:
        process.join(240)
        assert process.exitcode == 0, output.read_text()
    for ours, theirs in zip(metrics(roots / "exp" / "one"), metrics(roots / "exp" / "two"), strict=True):
        for name in ours.keys() - {"seconds"}:
            assert theirs[name] == pytest.approx(ours[name], rel=5e-4), name


def test_mistakes_are_named_in_one_line(roots: Path) -> None:
    exp = ["--exp", roots / "exp" / "no"]
    for flags, message in (
        ([*TINY, "--source", "spanish", *exp], "expected each language once"),
        ([*TINY, "--source", "russian", "--features", "mfcc", *exp], "expected pairs from russian to spanish"),
        ([*TINY, "--source", "english", "--source_input", "bpe", *exp], "run_phase2.sh"),
        ([*TINY, "--source", "english", "--stack", 2, *exp], "belong to --features"),
        ([*TINY, "--source", "english", "--pairs", roots / "none.tsv", *exp], "recipes/prompt_pairs/prepare.sh"),
    ):
        screen = run_to_end(TRAINER, flags, roots=roots, code=2)
        errors = [line for line in screen.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and message in errors[0], screen
    shutil.rmtree(roots / "exp" / "no", ignore_errors=True)


def test_scores_beside_the_controls_and_speech(uninterrupted: Path, roots: Path) -> None:
    control, single = roots / "exp" / "shuffled", roots / "exp" / "single"
    run_to_end(TRAINER, [*TINY, *POOLED, "--steps", 2, "--shuffle_pairs", "--exp", control], roots=roots)
    english = ["--source", "english", "--features", "mfcc"]
    run_to_end(TRAINER, [*TINY, *english, "--steps", 1, "--exp", single], roots=roots)
    screen = run_to_end("translation_test", ["--exp", uninterrupted, "--compare", control, single], roots=roots)
    by_source = json.loads((uninterrupted / "scores.json").read_text())["by_source"]
    assert list(by_source) == ["english", "italian", "together"]
    first = uninterrupted.name
    for language, found in by_source.items():
        assert found["n_targets"] == 2 and found["chance"]["recall_at_1"] == 0.5
        assert len(found["retrieval"]) == (13 if language == "english" else 9)  # single knows English alone
        assert found["retrieval"]["lengths"]["recall_at_10"]["mean"] == 1
        difference = found["differences"][f"{first}/meaning - shuffled/meaning"]["recall_at_1"]
        means = [found["retrieval"][f"{name}/meaning"]["recall_at_1"]["mean"] for name in (first, "shuffled")]
        assert difference["mean"] == pytest.approx(means[0] - means[1])
        assert bool(found["listening"][first]) == (language != "together")
    assert "from together: 2 sources" in screen and "chance" in screen
