"""The prosody trainer as a person runs it, its scores, and speaking from bare units with it."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import torch

import pytest
import soundfile

from audio.pitch import fill_f0_cache
from core.frames import HOP_SAMPLES
from equal_runs import differences, without_times
from prosody.prediction import add_prosody, load_prosody
from synthetic import write_segments, write_units
from trainer_runs import load, metrics, run_to_end, run_until
from units.bpe import encode_units, save_tokenizer, train_tokenizer
from units.corpus import read_corpus
from units.requests import Request

TRAINER = "trainer_prosody"
TINY = ["--language", "spanish", "--channels", 16, "--batch_size", 4, "--crop_units", 20, "--lr", 1e-2, "--warmup", 3]
# Steps between saves, rows and validations share no factor, so that a run is cut at every place it can be cut.
OFTEN = ["--save_every", 5, "--log_every", 3, "--eval_every", 2]
N_STEPS = 18
WHOLE = [*TINY, *OFTEN, "--steps", N_STEPS]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of a tiny language, its phase 1, its F0 computed, a BPE and a vocoder of a step or two."""
    root = tmp_path_factory.mktemp("prosody")
    rows = write_segments(root / "data", "spanish")
    for tag, n_streams in (("", 1), ("r2", 2)):
        describe_clusters(write_units(root / "exp", rows, tag=tag, n_units=12, n_streams=n_streams))
    pairs = [(row["id"], root / "data" / row["audio"]) for row in rows]
    fill_f0_cache(root / "data" / "spanish" / "cache", pairs, num_workers=1)
    for tag in ("", "r2"):
        vocoder = [
            "--language",
            "spanish",
            "--tag",
            tag,
            "--channels",
            32,
            "--steps",
            1,
            "--num_samples",
            0,
            "--adversarial_after",
            1,
        ]
        run_to_end("trainer_vocoder", [*vocoder, "--batch_size", 2, "--crop_frames", 16], roots=root)
    return root


def describe_clusters(folder: Path) -> None:
    """Say in ``kmeans.npz`` which encoder the clusters belong to, as phase 1 does."""
    with np.load(folder / "kmeans.npz", allow_pickle=False) as arrays:
        description = json.dumps({"encoder": "mfcc", "layer": None, "options": {}})
        np.savez(folder / "kmeans.npz", **{name: arrays[name] for name in arrays}, description=np.array(description))


@pytest.fixture(scope="module")
def uninterrupted(roots: Path) -> Path:
    exp = roots / "exp" / "spanish_prosody"
    run_to_end(TRAINER, WHOLE, roots=roots)
    return exp


@pytest.fixture(scope="module")
def bpe(roots: Path) -> Path:
    folder = roots / "exp" / "spanish_bpe"
    folder.mkdir()
    utterances = [entry["units"] for entry in read_corpus(roots / "exp" / "spanish_units" / "corpus_timestamped.json")]
    save_tokenizer(folder, train_tokenizer(utterances, n_units=12, vocab_size=30))
    return folder


def assert_same_run(exp: Path, reference: Path) -> None:
    for name in ("latest", "best"):
        assert differences(load(exp, name), load(reference, name)) == [], name
    assert without_times(metrics(exp)) == without_times(metrics(reference))
    assert not list(exp.rglob("*.tmp"))
    finished = [json.loads((folder / "finished.json").read_text()) for folder in (exp, reference)]
    assert differences(*finished) == []


def speak(roots: Path, out: str, *flags: object, code: int = 0, tag: str = "") -> dict[str, int]:
    """Frames spoken by utterance; the screen instead where a failure is expected."""
    vocoder = roots / "exp" / f"spanish_vocoder_v4{tag}"
    screen = run_to_end("synthesize", ["--exp", vocoder, "--out", roots / out, *flags], roots=roots, code=code)
    if code:
        return screen
    return {path.stem: soundfile.info(path).frames / HOP_SAMPLES for path in (roots / out).glob("*.wav")}


def test_what_a_run_leaves(uninterrupted: Path, roots: Path) -> None:
    rows = metrics(uninterrupted)
    assert [row["step"] for row in rows if "train_duration_nat" in row] == list(range(3, N_STEPS + 1, 3))
    validations = {row["step"]: row["validation_loss"] for row in rows if "validation_loss" in row}
    assert list(validations) == list(range(2, N_STEPS + 1, 2))
    best, latest = load(uninterrupted, "best"), load(uninterrupted, "latest")
    assert best["best"] == latest["best"] == min(validations.values())
    assert differences(latest["predictor"], latest["predictor_ema"])
    config = json.loads((uninterrupted / "config.json").read_text())
    assert config["derived"]["n_units"] == 12 and config["arguments"]["channels"] == 16


def test_a_run_starts_from_another_predictor(uninterrupted: Path, roots: Path) -> None:
    exp = roots / "exp" / "warm"
    run_to_end(TRAINER, [*TINY, "--init", uninterrupted, "--exp", exp, "--steps", 1, "--lr", 0], roots=roots)
    assert metrics(exp)[-1]["validation_loss"] == pytest.approx(load(uninterrupted, "best")["best"], rel=1e-4)
    assert json.loads((exp / "config.json").read_text())["derived"]["started_from"] == uninterrupted.name
    vocoder = roots / "exp" / "spanish_vocoder_v4"
    shown = run_to_end(TRAINER, [*TINY, "--init", vocoder, "--exp", roots / "exp" / "no"], roots=roots, code=2)
    assert f"{vocoder}" in shown and "expected a prosody predictor" in shown and not (roots / "exp" / "no").exists()


def test_a_run_of_full_size_starts_from_the_repositorys_predictor(roots: Path) -> None:
    full = [flag for flag in TINY if flag not in ("--channels", 16)]
    losses = {}
    for name in ("base", "none"):
        exp, given = roots / "exp" / f"full_{name}", ["--init", "none"] if name == "none" else []
        screen = run_to_end(TRAINER, [*full, *given, "--exp", exp, "--steps", 1, "--lr", 0], roots=roots)
        config = json.loads((exp / "config.json").read_text())
        assert (config["derived"].get("started_from") == "base_v4") == (name == "base"), screen
        losses[name] = metrics(exp)[-1]["validation_loss"]
    assert losses["base"] != losses["none"]


def test_killed_and_resumed_equals_uninterrupted(uninterrupted: Path, roots: Path) -> None:
    """kill -9 before the first checkpoint, between checkpoints, and late; each time the same command again."""
    exp, flags = roots / "exp" / "killed", [*WHOLE, "--resume", "auto"]
    for step in (3, *sorted(np.random.default_rng().integers(5, N_STEPS - 1, 2))):
        print(f"killed at step {step}")
        code = run_until(TRAINER, [*flags, "--exp", exp], roots=roots, exp=exp, step=step, number=signal.SIGKILL)
        assert code == -signal.SIGKILL or (exp / "finished.json").exists()
    run_to_end(TRAINER, [*flags, "--exp", exp], roots=roots)
    assert_same_run(exp, uninterrupted)


def test_stopped_by_signals_and_resumed_equals_uninterrupted(uninterrupted: Path, roots: Path) -> None:
    exp, codes, flags = roots / "exp" / "stopped", [], [*WHOLE, "--resume", "auto"]
    while not codes or codes[-1]:
        step = max((row["step"] for row in metrics(exp)), default=0) + 1
        number = (signal.SIGTERM, signal.SIGUSR1)[len(codes) % 2] if codes else signal.SIGINT
        codes.append(run_until(TRAINER, [*flags, "--exp", exp], roots=roots, exp=exp, step=step, number=number))
        assert len(codes) < 2 * N_STEPS
    assert set(codes) == {0, 99}
    assert_same_run(exp, uninterrupted)
    assert "already finished" in run_to_end(TRAINER, [*flags, "--exp", exp], roots=roots)


def test_minutes_become_steps_that_a_resumed_run_keeps(uninterrupted: Path, roots: Path) -> None:
    exp = roots / "exp" / "minutes"
    flags = [*TINY, *OFTEN, "--max_minutes", 0.2, "--exp", exp, "--resume", "auto"]
    run_until(TRAINER, flags, roots=roots, exp=exp, step=27, number=signal.SIGTERM)
    planned = load(exp, "latest")["total_steps"]
    run_to_end(TRAINER, flags, roots=roots)
    assert load(exp, "latest")["total_steps"] == planned == json.loads((exp / "finished.json").read_text())["step"]


def test_what_an_older_version_began_ends_as_it_began(uninterrupted: Path, roots: Path) -> None:
    """Before there were habits, neither checkpoints nor config.json named them; the flags of then continue."""
    exp, flags = roots / "exp" / "older", [*TINY, *OFTEN, "--exp", roots / "exp" / "older"]
    run_to_end(TRAINER, [*flags, "--steps", 2, "--no_habits", "--random_embeddings"], roots=roots)
    first = load(exp, "best")["best"]
    for name in ("best", "latest"):
        state = load(exp, name)
        del state["sizes"]["habits"]
        torch.save(state, exp / "checkpoints" / f"{name}.pt")
    config = json.loads((exp / "config.json").read_text())
    del config["arguments"]["no_habits"], config["arguments"]["random_embeddings"]
    (exp / "config.json").write_text(json.dumps(config))
    assert load_prosody(exp).predictor.habit_input is None
    run_to_end(TRAINER, [*flags, "--steps", N_STEPS, "--resume", "auto"], roots=roots)
    assert load(exp, "best")["best"] < first, "a training from zero should learn"
    assert load(exp, "latest")["step"] == N_STEPS and load_prosody(exp).predictor.habit_input is None
    borrowed = [
        *TINY,
        "--steps",
        N_STEPS + 1,
        "--exp",
        roots / "exp" / "newer",
        "--resume",
        exp / "checkpoints" / "latest.pt",
    ]
    assert "expected a checkpoint of sizes" in run_to_end(TRAINER, borrowed, roots=roots, code=2)
    assert load_prosody(uninterrupted).predictor.habit_input is not None


def test_scores_beside_the_controls(uninterrupted: Path, roots: Path) -> None:
    screen = run_to_end("prosody_test", ["--exp", uninterrupted], roots=roots)
    scores = json.loads((uninterrupted / "scores.json").read_text())
    assert scores["n_utterances"] == 2 and set(scores["controls"]) == {"corpus_mean", "unit_mean"}
    for name in ("duration_mae_frames", "vuv_error_percent", "f0_rmse_hz", "f0_rmse_cents"):
        assert name in screen
        for side in (scores["metrics"], *scores["controls"].values(), *scores["differences"].values()):
            assert side[name]["low"] <= side[name]["mean"] <= side[name]["high"] and side[name]["n"] == 2


def test_speaks_from_every_input(uninterrupted: Path, bpe: Path, roots: Path) -> None:
    """All from the same test utterances: only what the input leaves open is predicted, and the lengths say which."""
    corpus = roots / "exp" / "spanish_units" / "corpus_timestamped.json"
    entries = list(read_corpus(corpus, splits=["test"]))
    true_frames = {entry["id"]: sum(entry["durations"]) for entry in entries}
    prosody = load_prosody(uninterrupted)
    requests = [Request(e["id"], np.array(e["units"])) for e in entries]
    predicted_frames = {r.id: len(add_prosody(r, prosody, ()).content) for r in requests}
    assert predicted_frames != true_frames
    frame_file, token_file = roots / "frames.txt", roots / "tokens.txt"
    lines = [f"{e['id']}\t{' '.join(map(str, np.repeat(e['units'], e['durations'])))}\n" for e in entries]
    frame_file.write_text("".join(lines))
    tokenizer = train_tokenizer([e["units"] for e in read_corpus(corpus)], n_units=12, vocab_size=30)
    lines = [f"{e['id']}\t{' '.join(map(str, encode_units(tokenizer, e['units'])))}\n" for e in entries]
    token_file.write_text("".join(lines))

    predict = ["--prosody", uninterrupted]
    test = ["--units", corpus, "--split", "test"]
    assert speak(roots, "true", *test) == true_frames
    assert speak(roots, "f0", *test, *predict, "--predict", "f0") == true_frames
    assert speak(roots, "frames", "--units", frame_file, *predict) == true_frames
    assert speak(roots, "durations", *test, *predict, "--predict", "durations") == predicted_frames
    bare = ["--deduplicated", corpus, "--split", "test", "--save_units"]
    assert speak(roots, "bare", *bare, *predict) == predicted_frames
    assert speak(roots, "tokens", "--tokens", token_file, "--bpe", bpe, *predict) == predicted_frames
    assert speak(roots, "again", "--units", roots / "bare" / "units.json") == predicted_frames
    recording = roots / "data" / entries[0]["audio"]
    spoken = speak(roots, "recording", recording, *predict, "--predict", "f0", "--save_units")
    assert spoken == {entries[0]["id"]: true_frames[entries[0]["id"]]}

    name = f"{entries[0]['id']}.wav"
    same = [(roots / out / name).read_bytes() for out in ("bare", "tokens")]
    assert same[0] == same[1], "tokens and the units they stand for should sound the same"
    assert (roots / "f0" / name).read_bytes() == (roots / "frames" / name).read_bytes()
    assert (roots / "f0" / name).read_bytes() != (roots / "true" / name).read_bytes()


def test_what_cannot_be_spoken_says_why(uninterrupted: Path, bpe: Path, roots: Path) -> None:
    corpus = roots / "exp" / "spanish_units" / "corpus_timestamped.json"
    predict = ["--prosody", uninterrupted]
    text = roots / "some.txt"
    text.write_text("a\t1 2 3\n")
    empty = roots / "foreign"
    shutil.copytree(uninterrupted, empty)
    config = json.loads((empty / "config.json").read_text())
    config["derived"]["units_hash"] = "of other clusters"
    (empty / "config.json").write_text(json.dumps(config))
    for flags, message, tag in (
        (["--deduplicated", text], "need --prosody", ""),
        (["--units", text], "f0 are not given; --prosody", ""),
        (["--units", corpus, "--predict", "f0"], "needs --prosody", ""),
        (["--tokens", text, *predict], "--bpe", ""),
        (["--units", corpus, "--deduplicated", text], "expected one of", ""),
        (["--deduplicated", text, "--prosody", roots / "absent"], "trainer_prosody.py", ""),
        (["--deduplicated", text, "--prosody", empty], "other units", ""),
        (["--deduplicated", text, *predict], "2 streams of units", "_r2"),
    ):
        screen = speak(roots, "nothing", *flags, code=2, tag=tag)
        assert screen.startswith("error: ") and message in screen, screen
        assert len(screen.strip().splitlines()) == 1
