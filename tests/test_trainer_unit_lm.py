"""The trainer of the unit language model as a person runs it, and its scores."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np

import pytest

from equal_runs import differences, without_times
from synthetic import write_segments, write_units
from trainer_runs import load, metrics, run_to_end, run_until_stopped, start_ranks
from unit_lm.saved_lm import block_units, load_unit_lm

TRAINER = "trainer_unit_lm"
SHAPE = ["--width", 16, "--layers", 1, "--heads", 2]
TINY = ["--language", "spanish", "--context", 64, "--batch_size", 2, "--lr", 1e-2, "--warmup", 3, "--cpu"]
POOLED = ["--more_languages", "italian"]
# Steps between saves, rows and validations share no factor, so that a run is cut at every place it can be cut.
OFTEN = ["--save_every", 5, "--log_every", 3, "--eval_every", 2]
N_STEPS = 14
WHOLE = [*TINY, *POOLED, *SHAPE, *OFTEN, "--steps", N_STEPS]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny languages with finished units; those of the second are others."""
    root = tmp_path_factory.mktemp("unit_lm")
    for language, n_units in (("spanish", 12), ("italian", 7)):
        write_units(root / "exp", write_segments(root / "data", language), language, n_units=n_units)
    return root


@pytest.fixture(scope="module")
def uninterrupted(roots: Path) -> Path:
    run_to_end(TRAINER, WHOLE, roots=roots)
    return roots / "exp" / "spanish_unit_lm"


def test_what_a_run_leaves(uninterrupted: Path) -> None:
    rows = metrics(uninterrupted)
    assert [row["step"] for row in rows if "train_token_nat" in row] == [*range(3, N_STEPS, 3), N_STEPS]
    bits = {row["step"]: row["validation_bits_per_second"] for row in rows if "validation_bits_per_second" in row}
    assert list(bits) == list(range(2, N_STEPS + 1, 2))
    assert load(uninterrupted, "best")["best"] == min(bits.values()) < bits[2]
    assert json.loads((uninterrupted / "finished.json").read_text())["best_validation_bits_per_second"] == min(
        bits.values()
    )
    lm = load_unit_lm(uninterrupted)
    assert lm.vocabulary.languages == ("spanish", "italian") and lm.vocabulary.sizes == (12, 7)
    assert (block_units(uninterrupted, 1) / "kmeans.npz").read_bytes() == (
        uninterrupted.parent / "italian_units" / "kmeans.npz"
    ).read_bytes()
    weights = [load_unit_lm(uninterrupted, weights=name).model.state_dict() for name in ("averaged", "last")]
    assert differences(*weights)


def test_killed_and_resumed_equals_uninterrupted(uninterrupted: Path, roots: Path) -> None:
    exp, flags = roots / "exp" / "killed", [*WHOLE, "--resume", "auto"]
    for step, number in ((3, signal.SIGKILL), (int(np.random.default_rng().integers(5, 9)), signal.SIGINT)):
        code = run_until_stopped(TRAINER, [*flags, "--exp", exp], roots=roots, exp=exp, step=step, number=number)
    assert code == 99  # Ctrl-C saves as well
    run_to_end(TRAINER, [*flags, "--exp", exp], roots=roots)
    for name in ("latest", "best"):
        assert differences(load(exp, name), load(uninterrupted, name)) == [], name
    assert without_times(metrics(exp)) == without_times(metrics(uninterrupted))
    assert "already finished" in run_to_end(TRAINER, [*flags, "--exp", exp], roots=roots)


def test_two_processes_do_what_one_does(roots: Path) -> None:
    flags = [*TINY, *POOLED, *SHAPE, "--dropout", 0, "--steps", 4, "--log_every", 1, "--eval_every", 4]
    flags += ["--mixed_precision", "no"]  # rounding to bf16, where the machine has it, differs by the batch
    run_to_end(TRAINER, [*flags, "--exp", roots / "exp" / "one"], roots=roots)
    started = start_ranks(TRAINER, [*flags, "--exp", roots / "exp" / "two"], 2, roots=roots)
    for process, output in started:
        process.join(240)
        assert process.exitcode == 0, output.read_text()
    for ours, theirs in zip(metrics(roots / "exp" / "one"), metrics(roots / "exp" / "two"), strict=True):
        for name in ours.keys() - {"seconds"}:
            assert theirs[name] == pytest.approx(ours[name], rel=2e-4), name


def test_a_run_starts_from_another_of_other_languages(uninterrupted: Path, roots: Path) -> None:
    exp = roots / "exp" / "warm"
    flags = ["--language", "italian", *TINY[2:], "--init", uninterrupted, "--steps", 1, "--lr", 0, "--exp", exp]
    run_to_end(TRAINER, flags, roots=roots)
    old, new = load_unit_lm(uninterrupted), load_unit_lm(exp)
    tables = [lm.model.get_input_embeddings().weight for lm in (old, new)]
    # <pad>, <end> and two languages, the twelve Spanish units, the seven Italian ones; then without Spanish.
    assert (tables[1][3:10] == tables[0][16:23]).all() and (tables[1][2] == tables[0][3]).all()
    name = "model.layers.0.mlp.down_proj.weight"
    assert (new.model.state_dict()[name] == old.model.state_dict()[name]).all()


def test_scores_beside_the_controls(uninterrupted: Path, roots: Path) -> None:
    control = roots / "exp" / "shuffled"
    run_to_end(TRAINER, [*TINY, *POOLED, *SHAPE, "--steps", 2, "--shuffle_units", "--exp", control], roots=roots)
    lengths = ["--prompt_seconds", 0.5, "--continuation_seconds", 1]
    (roots / "data" / "spanish" / "words.tsv").write_text(
        "source\tstart\tend\ttext\n"
        + "".join(f"tale_{n:03d}.mp3\t{t / 5}\t{t / 5 + 0.2}\tla\n" for n in range(10) for t in range(9))
    )
    screen = run_to_end("unit_lm_test", ["--exp", uninterrupted, "--compare", control, *lengths], roots=roots)
    scores = json.loads((uninterrupted / "scores.json").read_text())
    names = ["spanish_unit_lm", "kneser_ney", "unigram", "shuffled"]
    assert list(scores["bits_per_second"]) == list(scores["timed_bits_per_second"]) == names
    assert all(name in screen for name in names) and scores["n_utterances"] == scores["n_choices"] == 4
    for name in names:
        plain, timed = (scores[kind][name] for kind in ("bits_per_second", "timed_bits_per_second"))
        assert 0 < plain["low"] <= plain["mean"] <= plain["high"] < timed["mean"] and plain["n"] == 4
    assert set(scores["real"]) == {"reversed", "shuffled", "other", "spliced"}
    assert [scores["real"][kind]["unigram"]["n"] for kind in ("spliced", "shuffled")] == [2, 4]
    assert set(scores["by_language"]) == {"spanish", "italian"}


def test_mistakes_are_named_in_one_line(uninterrupted: Path, roots: Path) -> None:
    exp = ["--exp", roots / "exp" / "no"]
    for flags, message in (
        ([*TINY, "--input", "bpe", *exp], "run_phase2.sh"),
        ([*TINY, "--bpe_exp", roots, *exp], "needs --input bpe"),
        ([*TINY, "--init", uninterrupted, "--width", 16, *exp], "--width: --init gives the model its shape"),
        ([*TINY, "--more_languages", "spanish", *exp], "expected each once"),
        ([*TINY, *SHAPE, "--steps", 20, "--resume", uninterrupted / "checkpoints" / "latest.pt", *exp], "languages"),
    ):
        screen = run_to_end(TRAINER, flags, roots=roots, code=2)
        errors = [line for line in screen.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and message in errors[0], screen
    shutil.rmtree(roots / "exp" / "no", ignore_errors=True)
