"""Phase 3 as a person runs it: killed and resumed to the bit, stopped, refused, split over processes."""

import argparse
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import torch

import pytest
import soundfile
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer_vocoder import choose_batch_size, choose_schedule, discriminator_rate, gains_nothing, is_short

from audio.pitch import f0_store, fill_f0_cache, kept_f0
from audio.track_store import N_BUCKETS, add_tracks
from core.packed_files import name_key
from equal_runs import differences, without_times
from synthetic import REPOSITORY, run_ranks, store_vector, write_segments, write_units
from trainer_runs import load, metrics, run_to_end, run_until
from training.initial_weights import Start
from training.training_state import Progress
from units.corpus import read_corpus
from vocoder.warm_start import OldVoice

TRAINER = "trainer_vocoder"
TINY = [
    "--language",
    "spanish",
    "--channels",
    16,
    "--batch_size",
    4,
    "--crop_frames",
    16,
    "--warmup",
    3,
    "--adversarial_after",
    1,
]
# Steps between saves, rows and validations share no factor, so that a run is cut at every place it can be cut.
OFTEN = ["--save_every", 5, "--log_every", 3, "--eval_every", 2, "--sample_every", 6, "--num_samples", 1]
ADVERSARIAL = ["--adversarial_after", 0.5, "--discriminator_width", 4, "--discriminator_frames", 8]
N_STEPS = 18
WHOLE = [*TINY, *OFTEN, *ADVERSARIAL, "--steps", N_STEPS]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of a tiny language, its phase 1, and its F0 computed."""
    root = tmp_path_factory.mktemp("phase3")
    rows = write_segments(root / "data", "spanish")
    write_units(root / "exp", rows, n_units=12)
    fill_f0_cache(
        root / "data" / "spanish" / "cache", [(r["id"], root / "data" / r["audio"]) for r in rows], num_workers=1
    )
    return root


@pytest.fixture(scope="module")
def uninterrupted(roots: Path) -> Path:
    exp = roots / "exp" / "uninterrupted"
    run_to_end(TRAINER, [*WHOLE, "--exp", exp], roots=roots)
    return exp


def assert_same_run(exp: Path, reference: Path) -> None:
    for name in ("latest", "best"):
        assert differences(load(exp, name), load(reference, name)) == [], name
    assert without_times(metrics(exp)) == without_times(metrics(reference))
    files = {path.relative_to(reference) for path in (reference / "samples").rglob("*.wav")}
    assert files == {path.relative_to(exp) for path in (exp / "samples").rglob("*.wav")} and files
    assert all((exp / file).read_bytes() == (reference / file).read_bytes() for file in files)
    assert not list(exp.rglob("*.tmp"))
    finished = [json.loads((folder / "finished.json").read_text()) for folder in (exp, reference)]
    assert differences(*finished) == []


def test_what_a_run_leaves(uninterrupted: Path, roots: Path) -> None:
    rows = metrics(uninterrupted)
    assert [row["step"] for row in rows if "train_mel_nat" in row] == list(range(3, N_STEPS + 1, 3))
    assert [row["step"] for row in rows if "validation_mel_nat" in row] == list(range(2, N_STEPS + 1, 2))
    assert [row["step"] for row in rows if "discriminator_loss" in row] == [12, 15, 18]
    validations = {row["step"]: row["validation_mel_nat"] for row in rows if "validation_mel_nat" in row}
    best, latest = load(uninterrupted, "best"), load(uninterrupted, "latest")
    assert latest["step"] == N_STEPS and best["step"] == min(validations, key=validations.get)
    assert best["best"] == latest["best"] == min(validations.values()) < validations[2]
    assert differences(latest["generator"], latest["generator_ema"])
    finished = json.loads((uninterrupted / "finished.json").read_text())
    assert (finished["step"], finished["best_validation_mel_nat"]) == (N_STEPS, latest["best"])
    config = json.loads((uninterrupted / "config.json").read_text())
    assert config["derived"]["n_units"] == 12 and config["arguments"]["channels"] == 16
    assert (config["arguments"]["init"], config["arguments"]["lr"]) == ("none", 1e-3)
    logged = (uninterrupted / "train.log").read_text()
    assert logged.count("wrote") == 1 and "starts from noise, for the base voice does not fit" in logged
    events = EventAccumulator(str(uninterrupted / "tensorboard")).Reload()
    seen = [(event.step, event.value) for event in events.Scalars("validation_mel_nat")]
    assert seen == [(step, pytest.approx(value)) for step, value in validations.items()]
    assert (uninterrupted / "units" / "kmeans.npz").read_bytes() == (
        roots / "exp" / "spanish_units" / "kmeans.npz"
    ).read_bytes()


def test_samples_are_as_long_as_their_units(uninterrupted: Path, roots: Path) -> None:
    corpus = roots / "exp" / "spanish_units" / "corpus_timestamped.json"
    n_frames = {entry["id"]: sum(entry["durations"]) for entry in read_corpus(corpus)}
    samples = sorted((uninterrupted / "samples").rglob("*.wav"))
    assert {path.parent.name for path in samples} == {"step_0000006", "step_0000012", "step_0000018", "original"}
    assert all(soundfile.info(path).frames == 320 * n_frames[path.stem] for path in samples)


def test_killed_and_resumed_equals_uninterrupted(uninterrupted: Path, roots: Path) -> None:
    """kill -9 before the first checkpoint, between checkpoints, and late; each time the same command again."""
    exp, flags = roots / "exp" / "killed", [*WHOLE, "--resume", "auto"]
    for step in (3, *sorted(np.random.default_rng().integers(5, N_STEPS - 1, 3))):
        print(f"killed at step {step}")
        code = run_until(TRAINER, [*flags, "--exp", exp], roots=roots, exp=exp, step=step, number=signal.SIGKILL)
        assert code == -signal.SIGKILL or (exp / "finished.json").exists()
    run_to_end(TRAINER, [*flags, "--exp", exp], roots=roots)
    assert_same_run(exp, uninterrupted)


def test_stopped_by_signals_and_resumed_equals_uninterrupted(uninterrupted: Path, roots: Path) -> None:
    """Ctrl-C, SIGTERM and SIGUSR1 save at the step they find: also where a validation is due, also between two rows."""
    exp, codes, flags = roots / "exp" / "stopped", [], [*WHOLE, "--resume", "auto"]
    while not codes or codes[-1]:
        step = max((row["step"] for row in metrics(exp)), default=0) + 1
        number = (signal.SIGTERM, signal.SIGUSR1)[len(codes) % 2] if codes else signal.SIGINT
        codes.append(run_until(TRAINER, [*flags, "--exp", exp], roots=roots, exp=exp, step=step, number=number))
        assert len(codes) < 2 * N_STEPS
    assert set(codes) == {0, 99} and codes.count(99) >= 2
    assert_same_run(exp, uninterrupted)
    assert "already finished" in run_to_end(TRAINER, [*flags, "--exp", exp], roots=roots)


def test_two_runs_are_equal_and_another_seed_is_not(uninterrupted: Path, roots: Path) -> None:
    again, other = roots / "exp" / "again", roots / "exp" / "other"
    run_to_end(TRAINER, [*WHOLE, "--exp", again], roots=roots)
    assert_same_run(again, uninterrupted)
    run_to_end(TRAINER, [*TINY, "--steps", 1, "--seed", 1, "--exp", other], roots=roots)
    assert differences(load(other, "latest")["generator"], load(again, "latest")["generator"])


def test_reading_ahead_in_threads_changes_nothing(uninterrupted: Path, roots: Path) -> None:
    exp = roots / "exp" / "threads"
    run_to_end(TRAINER, [*WHOLE, "--num_workers", 2, "--exp", exp], roots=roots)
    assert_same_run(exp, uninterrupted)


def test_another_experiments_checkpoint_is_taken_or_refused(uninterrupted: Path, roots: Path) -> None:
    """What it cannot go on from leaves no run that says it has finished."""
    other, latest = roots / "exp" / "borrowed", uninterrupted / "checkpoints" / "latest.pt"
    flags = [*TINY, *OFTEN, *ADVERSARIAL, "--resume", latest, "--exp", other]
    shown = run_to_end(TRAINER, [*flags, "--steps", N_STEPS], roots=roots, code=2)
    assert f"is at step {N_STEPS}" in shown and not (other / "finished.json").exists()
    wider = [word if word != 16 else 32 for word in flags]
    shown = run_to_end(TRAINER, [*wider, "--overwrite", "--steps", 99], roots=roots, code=2)
    assert "exclude each other" in shown
    shutil.rmtree(other)
    shown = run_to_end(TRAINER, [*wider, "--steps", 99], roots=roots, code=2)
    assert "expected a checkpoint of sizes" in shown and "Traceback" not in shown
    shutil.rmtree(other)
    run_to_end(TRAINER, [*flags, "--steps", N_STEPS + 2], roots=roots)
    assert load(other, "best")["step"] > N_STEPS and metrics(other)[0]["step"] > N_STEPS


def test_a_run_starts_from_another_voice_of_other_units(uninterrupted: Path, roots: Path) -> None:
    """What it begins with is nearer to the recordings than noise; resumed it is not begun again."""
    clusters = np.load(uninterrupted / "units" / "kmeans.npz")
    described = {"encoder": "mfcc", "layer": None, "options": {}}
    old = roots / "exp" / "old"
    shutil.copytree(uninterrupted, old)
    np.savez(old / "units" / "kmeans.npz", **clusters, description=np.array(json.dumps(described)))
    exp = roots / "exp" / "warm"
    flags = [*TINY, *OFTEN, *ADVERSARIAL, "--discriminator_lr", 0, "--init", old, "--exp", exp]
    run_to_end(TRAINER, [*flags, "--steps", 2, "--lr", 0], roots=roots)
    warm, cold = (
        [row["validation_mel_nat"] for row in metrics(run) if "validation_mel_nat" in row]
        for run in (exp, uninterrupted)
    )
    assert warm[0] < (cold[0] + cold[-1]) / 2 < cold[0] - 0.01
    assert json.loads((exp / "config.json").read_text())["derived"]["started_from"] == "old"
    assert differences(load(exp, "latest")["discriminator"], load(uninterrupted, "best")["discriminator"]) == []
    shutil.rmtree(old)
    run_to_end(TRAINER, [*flags, "--lr", 0, "--steps", 4, "--resume"], roots=roots)
    shown = run_to_end(
        TRAINER, [*TINY, "--init", old, "--exp", roots / "exp" / "none", "--steps", 2], roots=roots, code=2
    )
    assert f"--init {old}: expected a saved voice" in shown and not (roots / "exp" / "none").exists()


def test_the_schedule_follows_from_where_a_run_starts_and_stays_when_it_goes_on(tmp_path: Path) -> None:
    base, silent = (OldVoice(tmp_path, None, None, discriminator) for discriminator in ({"a": torch.ones(1)}, None))
    noise = choose_schedule(Start("none", None), None, tmp_path)
    warm = choose_schedule(Start("base", tmp_path), base, tmp_path)
    assert (noise["lr"], noise["unit_lr"], warm["lr"], warm["unit_lr"]) == (1e-3, 1.0, 2e-3, 25.0)
    assert (warm["adversarial_after"], warm["discriminator_share"], noise["discriminator_share"]) == (0.3, 0.5, 1.0)
    assert [start["mel_weight"] for start in (noise, warm)] == [15, 4]
    alone = choose_schedule(Start("base", tmp_path), silent, tmp_path)
    assert (alone["mel_weight"], alone["feature_weight"], warm["feature_weight"]) == (15, 2, 6)
    assert [start["hearing"] for start in (noise, alone, warm)] == ["none", "none", "own"]
    assert "adversarial_after" not in noise | alone and alone["discriminator_share"] == 1.0
    # This run began before unit embeddings had a rate of their own.
    arguments = {"init": "base", "lr": 0.002, "warmup": 10, "adversarial_after": None}
    (tmp_path / "config.json").write_text(json.dumps({"arguments": arguments}))
    expected = {"lr": 0.002, "warmup": 10, "unit_lr": 1.0, "discriminator_share": 1.0, "adversarial_after": None}
    expected |= {"mel_weight": 15.0, "feature_weight": 2.0, "hearing": "none"}
    assert choose_schedule(Start("base", None), None, tmp_path) == expected


def test_a_recogniser_hears_runs_that_are_long_enough() -> None:
    def short(steps: int | None, minutes: float | None) -> bool:
        return is_short(argparse.Namespace(steps=steps, max_minutes=minutes))

    assert [short(160, None), short(300, None), short(None, 1.0), short(None, 4.0)] == [True, False, True, False]
    assert not short(None, None)  # epochs


def test_the_batch_is_the_devices_until_a_run_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(**flags: object) -> int:
        return choose_batch_size(
            argparse.Namespace(**{"batch_size": None, "overwrite": False, "cpu": False} | flags), exp
        )

    exp = tmp_path / "voice"
    assert chosen() == (64 if torch.cuda.is_available() else 16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (chosen(), chosen(cpu=True), chosen(batch_size=8)) == (64, 16, 8)
    exp.mkdir()
    (exp / "config.json").write_text('{"arguments": {"batch_size": 24}}')
    assert (chosen(), chosen(overwrite=True), chosen(batch_size=8)) == (24, 64, 8)


def test_a_discriminators_rate_warms_up_from_where_it_takes_part() -> None:
    """Also where --max_minutes becomes a number of steps after the share of them has passed."""

    def rates(total: int, **flags: float | None) -> list[float]:
        known = {"adversarial_after": 0.3, "discriminator_lr": 1.0, "warmup": 10, "max_minutes": None}
        args = argparse.Namespace(**(known | flags))
        return [discriminator_rate(args, step, total) for step in range(total)]

    by_steps, by_minutes = rates(100), rates(60, max_minutes=1.0)
    assert 0 == by_steps[29] < by_steps[30] < 0.1 < max(by_steps) == by_steps[39]
    assert 0 == by_minutes[24] < by_minutes[25] < 0.1 < max(by_minutes) == by_minutes[34]
    assert rates(100, adversarial_after=12, max_minutes=1.0)[12] > 0 == rates(100, adversarial_after=12)[11]


def test_a_lengthened_run_is_unfinished_until_its_end(roots: Path) -> None:
    exp = roots / "exp" / "lengthened"
    run_to_end(TRAINER, [*TINY, *OFTEN, "--steps", 2, "--exp", exp], roots=roots)
    flags = [*TINY, *OFTEN, "--steps", 500, "--resume", "auto", "--exp", exp]
    assert run_until(TRAINER, flags, roots=roots, exp=exp, step=4, number=signal.SIGTERM) == 99
    assert not (exp / "finished.json").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--patience", -1), "--patience -1"),
        (("--lr", -1), "--lr"),
        (("--speaker_embedding",), "speakers.tsv"),
        (("--init", "voices/old", "--random_embeddings"), "leave one of the two out"),
        (("--init", "base"), "voices/base_v4: expected"),
    ],
)
def test_flags_without_a_meaning_are_refused(flags: tuple, expected: str, roots: Path) -> None:
    exp = roots / "exp" / "refused"
    shown = run_to_end(TRAINER, [*TINY, "--steps", 1, *flags, "--exp", exp, "--overwrite"], roots=roots, code=2)
    assert expected in shown and "Traceback" not in shown and not (exp / "finished.json").exists()


def test_two_processes_equal_one(uninterrupted: Path, roots: Path) -> None:
    exp = roots / "exp" / "two_processes"
    env = {"DATA_ROOT": str(roots / "data"), "EXP_ROOT": str(roots / "exp"), "TAG": ""}
    run_ranks(REPOSITORY / "src" / f"{TRAINER}.py", *WHOLE, "--exp", exp, "--cpu", env=env)
    ours, theirs = metrics(exp), metrics(uninterrupted)
    assert [(row["step"], row.keys()) for row in ours] == [(row["step"], row.keys()) for row in theirs]
    for name in ("train_mel_nat", "validation_mel_nat", "gradient_norm"):
        pairs = [(a[name], b[name]) for a, b in zip(ours, theirs) if name in a and a["step"] <= 6]
        assert pairs and all(a == pytest.approx(b, abs=1e-4) for a, b in pairs), (name, pairs)
    assert load(exp, "latest")["processes"] == 2
    assert (exp / "train.log").read_text().count("wrote") == 1


@pytest.mark.parametrize("generator", ["v1", "v2"])
def test_the_other_versions_train_too(roots: Path, generator: str) -> None:
    exp = roots / "exp" / f"spanish_vocoder_{generator}"
    small = ["--channels", 32, "--batch_size", 2, "--discriminator_width", 64, "--discriminator_frames", 16]
    flags = [*TINY, *small, "--generator", generator, "--adversarial_after", 0.5, "--log_every", 1, "--steps", 2]
    run_to_end(TRAINER, flags, roots=roots)
    first, second, validation = metrics(exp)
    assert "discriminator_loss" not in first and np.isfinite(second["discriminator_loss"])
    assert np.isfinite(validation["validation_mel_nat"])
    assert load(exp, "best")["version"] == generator


def test_a_voice_that_a_recogniser_hears_resumes_to_the_bit(roots: Path, tiny_whisper: Path) -> None:
    whole, stopped = roots / "exp" / "heard", roots / "exp" / "heard_stopped"
    flags = [*TINY, *OFTEN, *ADVERSARIAL, "--hearing", tiny_whisper, "--hearing_weight", 2.0]
    run_to_end(TRAINER, [*flags, "--steps", 6, "--exp", whole], roots=roots)
    stopping = [*flags, "--steps", 6, "--exp", stopped]
    run_until(TRAINER, stopping, roots=roots, exp=stopped, step=3, number=signal.SIGTERM)
    run_to_end(TRAINER, [*flags, "--steps", 6, "--exp", stopped, "--resume"], roots=roots)
    assert_same_run(stopped, whole)
    heard = [row["hearing_loss"] for row in metrics(whole) if "hearing_loss" in row]
    assert len(heard) == 2 and all(np.isfinite(heard))
    assert not any("hearing" in name for name in load(whole, "latest"))


def test_the_oracle_resumes_to_the_bit_and_is_scored_but_does_not_speak_units(roots: Path) -> None:
    whole, stopped = roots / "exp" / "oracle", roots / "exp" / "oracle_stopped"
    flags = [
        *TINY,
        *OFTEN,
        "--generator",
        "v3",
        "--condition",
        "logmel",
        "--sizes",
        "n_blocks=1",
        "--steps",
        8,
        "--resume",
        "auto",
    ]
    run_to_end(TRAINER, [*flags, "--exp", whole], roots=roots)
    state = load(whole, "best")
    assert (state["sizes"]["condition"], state["sizes"]["n_blocks"]) == ("logmel", 1)
    run_until(TRAINER, [*flags, "--exp", stopped], roots=roots, exp=stopped, step=2, number=signal.SIGTERM)
    run_to_end(TRAINER, [*flags, "--exp", stopped], roots=roots)
    assert_same_run(stopped, whole)
    run_to_end("vocoder_test", ["--exp", whole, "--max_utterances", 1], roots=roots)
    assert np.isfinite(json.loads((whole / "scores.json").read_text())["metrics"]["mel_distance_nat"]["mean"])
    corpus = roots / "exp" / "spanish_units" / "corpus_timestamped.json"
    screen = run_to_end("synthesize", ["--exp", whole, "--units", corpus, "--split", "test"], roots=roots, code=2)
    assert "log-mel" in error_line(screen)


def test_several_streams_and_speakers(roots: Path) -> None:
    rows = [json.loads(line) for line in (roots / "data" / "spanish" / "segments.jsonl").read_text().splitlines()]
    rows = [row | {"speaker": f"narrator {number % 2}"} for number, row in enumerate(rows)]
    write_units(roots / "exp", rows, tag="streams", n_units=7, n_streams=3)
    run_to_end(TRAINER, [*TINY, "--tag", "streams", "--speaker_embedding", "--steps", 2], roots=roots)
    state = load(roots / "exp" / "spanish_vocoder_v4_streams", "best")
    assert state["speakers"] == ["narrator 0", "narrator 1"]
    assert {key: state["sizes"][key] for key in ("n_units", "n_streams", "n_speakers")} == {
        "n_units": 7,
        "n_streams": 3,
        "n_speakers": 2,
    }


def test_speakers_by_vectors(roots: Path) -> None:
    """The vectors lie in the cache already, so that no package is needed; a voice starts from such a voice, too."""
    rows = [json.loads(line) for line in (roots / "data" / "spanish" / "segments.jsonl").read_text().splitlines()]
    rows = [row | ({"speaker": f"narrator {number % 2}"} if number % 5 else {}) for number, row in enumerate(rows)]
    write_units(roots / "exp", rows, tag="vectors", n_units=12)
    for row in rows:
        vector = np.eye(256, dtype=np.float32)[len(row["speaker"] or "")]
        store_vector(roots / "data" / "spanish" / "cache", row, roots / "data", vector)
    flags = [*TINY, "--tag", "vectors", "--steps", 2]
    run_to_end(TRAINER, [*flags, "--speaker_vectors"], roots=roots)
    exp = roots / "exp" / "spanish_vocoder_v4_vectors"
    state = load(exp, "best")
    assert state["speakers"] == ["narrator 0", "narrator 1"] and state["sizes"]["speaker_dim"] == 256
    known = np.eye(256, dtype=np.float32)[len("narrator 0")]
    np.testing.assert_allclose(state["speaker_vectors"].numpy(), [0 * known, known, known])
    assert state["generator"]["speaker_embedding.weight"].abs().max() > 0
    assert json.loads((exp / "config.json").read_text())["derived"]["speaker_encoder"] == "resemblyzer"
    run_to_end(TRAINER, [*flags, "--init", exp, "--exp", roots / "exp" / "from_vectors"], roots=roots)
    assert "speaker_embedding.weight" not in load(roots / "exp" / "from_vectors", "best")["generator"]
    both = [*flags, "--speaker_vectors", "--speaker_embedding", "--exp", roots / "exp" / "both"]
    assert "give one" in run_to_end(TRAINER, both, roots=roots, code=2)


def test_patience_stops_early(roots: Path) -> None:
    """With a learning rate of 0 no validation is better than the first."""
    exp = roots / "exp" / "patience"
    flags = [*TINY, "--lr", 0, "--eval_every", 2, "--patience", 2, "--steps", 40, "--exp", exp]
    run_to_end(TRAINER, flags, roots=roots)
    assert json.loads((exp / "finished.json").read_text())["step"] == 6
    assert (load(exp, "latest")["step"], load(exp, "best")["step"]) == (6, 2)


def test_patience_waits_for_a_discriminator_that_is_planned() -> None:
    stalled = Progress(step=40, total_steps=100, stale=3)
    assert gains_nothing(stalled, 3, 1.0) and gains_nothing(stalled, 3, None), "without one"
    assert not gains_nothing(stalled, 3, 0.5) and gains_nothing(stalled._replace(step=60), 3, 0.5)


def test_epochs_are_passes_over_the_training_split(roots: Path) -> None:
    exp = roots / "exp" / "epochs"
    run_to_end(TRAINER, [*TINY, "--crop_frames", 48, "--epochs", 1.5, "--exp", exp], roots=roots)
    corpus = roots / "exp" / "spanish_units" / "corpus_timestamped.json"
    n_crops = sum(max(1, round(sum(entry["durations"]) / 48)) for entry in read_corpus(corpus, splits=["train"]))
    assert json.loads((exp / "finished.json").read_text())["step"] == -(-3 * n_crops // 8)


def test_minutes_become_steps(roots: Path) -> None:
    exp = roots / "exp" / "minutes"
    screen = run_to_end(TRAINER, [*TINY, "--max_minutes", 0.05, "--log_every", 10, "--exp", exp], roots=roots)
    step = json.loads((exp / "finished.json").read_text())["step"]
    assert f"stand for {step} steps" in screen
    assert load(exp, "latest")["total_steps"] == load(exp, "latest")["step"] == step > 25
    assert "already finished" in run_to_end(
        TRAINER, [*TINY, "--max_minutes", 0.05, "--resume", "auto", "--exp", exp], roots=roots
    )


def error_line(screen: str) -> str:
    (line,) = [line for line in screen.splitlines() if line.startswith("error:")]
    assert "Traceback" not in screen
    return line


def keep_f0(cache: Path, audio: Path) -> None:
    """Its F0 is that of the file as it is now, as if a disk had gone bad unseen."""
    os.utime(audio, (0, 0))
    track = (audio.stem, audio.stat().st_size, time.time_ns(), np.array(kept_f0(cache, audio.stem)))
    add_tracks(f0_store(cache), name_key(audio.stem) % N_BUCKETS, [track])


def test_nan_stops_with_one_line_and_an_intact_checkpoint(roots: Path, tmp_path: Path) -> None:
    shutil.copytree(roots / "data", tmp_path / "data")
    shutil.copytree(roots / "exp" / "spanish_units", tmp_path / "exp" / "spanish_units")
    exp, flags = tmp_path / "exp" / "spanish_vocoder_v4", [*TINY, *OFTEN, "--resume", "auto"]
    run_to_end(TRAINER, [*flags, "--steps", 6], roots=tmp_path)
    before = (exp / "checkpoints" / "latest.pt").read_bytes()
    for audio in (tmp_path / "data" / "spanish" / "segments").glob("*.wav"):
        soundfile.write(audio, np.full(soundfile.info(audio).frames, np.nan), 16000, subtype="FLOAT")
        keep_f0(tmp_path / "data" / "spanish" / "cache", audio)
    line = error_line(run_to_end(TRAINER, [*flags, "--steps", 12], roots=tmp_path, code=2))
    assert "tale_00" in line and "expected finite samples, found NaN" in line
    assert (exp / "checkpoints" / "latest.pt").read_bytes() == before
    assert all(torch.isfinite(value).all() for value in load(exp, "latest")["generator_ema"].values())


def test_a_mad_learning_rate_never_saves_what_is_not_finite(roots: Path) -> None:
    exp = roots / "exp" / "mad"
    screen = run_to_end(TRAINER, [*TINY, *OFTEN, "--lr", 1e30, "--steps", 12, "--exp", exp], roots=roots, code=2)
    assert "not finite" in error_line(screen)
    for path in (exp / "checkpoints").glob("*.pt"):
        assert all(torch.isfinite(value).all() for value in load(exp, path.stem)["generator"].values())


def test_names_are_not_reused_by_accident(roots: Path) -> None:
    exp = roots / "exp" / "names"
    flags = [*TINY, "--exp", exp]
    assert "nothing to resume" in error_line(run_to_end(TRAINER, [*flags, "--resume"], roots=roots, code=2))
    run_to_end(TRAINER, [*flags, "--steps", 1], roots=roots)
    assert "exists already" in error_line(run_to_end(TRAINER, [*flags, "--steps", 1], roots=roots, code=2))
    both = [*flags, "--steps", 1, "--resume", "--overwrite"]
    assert "exclude each other" in error_line(run_to_end(TRAINER, both, roots=roots, code=2))
    changed = [*flags, "--steps", 2, "--resume", "--lr", 0.5]
    assert "lr: 0.001 -> 0.5" in error_line(run_to_end(TRAINER, changed, roots=roots, code=2))
    run_to_end(TRAINER, [*flags, "--steps", 2, "--resume"], roots=roots)
    assert load(exp, "latest")["step"] == 2
    run_to_end(TRAINER, [*flags, "--steps", 1, "--lr", 0.5, "--overwrite"], roots=roots)
    assert load(exp, "latest")["step"] == 1
    (exp / "checkpoints" / "latest.pt").write_bytes(b"damaged")
    damaged = error_line(run_to_end(TRAINER, [*flags, "--steps", 2, "--lr", 0.5, "--resume"], roots=roots, code=2))
    assert "latest.pt" in damaged
    from_best = [*flags, "--steps", 2, "--lr", 0.5, "--resume", exp / "checkpoints" / "best.pt"]
    run_to_end(TRAINER, from_best, roots=roots)
    assert load(exp, "latest")["step"] == 2


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--steps", 0], "--steps 0"),
        (["--batch_size", -1], "--batch_size -1"),
        (["--eval_every", 0], "--eval_every 0"),
        (["--max_minutes", 0], "--max_minutes 0"),
        (["--generator", "v1"], "multiple of 32"),
        (["--generator", "v2", "--channels", 32, "--condition", "logmel"], "the oracle is v3's"),
        (["--sizes", "n_block=4"], "n_blocks=4"),
        (["--unit_noise", 1], "--unit_noise 1.0: expected a number from 0 to below 1"),
        (["--ema", -0.1], "--ema -0.1"),
        (["--adversarial_after", 0.5, "--discriminator_frames", 3], "expected at least 4"),
        (["--discriminator_share", 0], "--discriminator_share 0.0: expected a number above 0"),
        (["--sizes", "channels=32"], "give one"),
        (["--hearing_weight", -1], "--hearing_weight -1"),
        (["--language", "klingon"], "spanish"),
        (["--tag", "never_made"], "run_phase1.sh spanish"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(roots: Path, flags: list, expected: str) -> None:
    screen = run_to_end(TRAINER, [*TINY, "--exp", roots / "exp" / "mistakes", *flags], roots=roots, code=2)
    assert expected in error_line(screen) and len(screen.splitlines()) == 1
    assert not (roots / "exp" / "mistakes").exists()
