"""Every script at a tiny size, as a person runs it: the chain on a folder of MP3s, killing and resuming, learning."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import torch

import pytest
import soundfile

from audio.audio_io import load_audio
from core.frames import HOP_SAMPLES
from evaluation.mel_distance import compute_mel_distance
from languages import language_paths
from synthetic import (
    REPOSITORY,
    run_bash,
    run_script,
    save_tiny_encoder,
    shell_environment,
    source_names,
    speech_like,
    write_mp3,
    write_recordings,
)
from training.checkpoints import load_checkpoint
from units.corpus import read_corpus
from units.requests import SpokenItem
from units.utterances import LoadedUtterance, load_utterances
from vocoder.generators import Vocoder, load_vocoder
from vocoder.synthesis import synthesize_utterances

NO_ENTRY = "guarani has no entry in LANGUAGE_CONFIGS"
TINY_VOCODER = ("--channels", "32", "--batch_size", "4", "--crop_frames", "24", "--adversarial_after", "1")


def run_chain_script(name: str, *flags: object, **variables: str) -> str:
    """Run scripts/<name>.sh, which must succeed; returns what it printed. A phase names the next command once."""
    done = run_bash(REPOSITORY / "scripts" / f"{name}.sh", *flags, **variables)
    assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert NO_ENTRY not in done.stderr, "it was said when the data were prepared"
    assert (done.stdout + done.stderr).count("next: ") == name.startswith("run_phase"), done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Phases 1 to 3 of a language without an entry, a nested folder of MP3s, on a tiny XLS-R: env, phase outputs."""
    root = tmp_path_factory.mktemp("chain")
    env = {"DATA_ROOT": str(root / "data"), "EXP_ROOT": str(root / "exp")}
    encoder = save_tiny_encoder(root / "tiny_xlsr", "xlsr")
    write_recordings(root / "recordings", source_names(4, 1, 1), seconds=11.0)
    recipe = run_bash(REPOSITORY / "recipes" / "mp3_folder" / "prepare.sh", "guarani", root / "recordings", **env)
    assert recipe.returncode == 0, recipe.stderr[-4000:]
    assert recipe.stderr.count(NO_ENTRY) == 1
    assert recipe.stdout.splitlines()[-1].startswith("next: bash scripts/run_phase1.sh guarani, or the whole chain: ")
    phase1 = ("--encoder", encoder, "--layer", "2", "--n_units", "20")
    phase3 = ("--steps", "4", *TINY_VOCODER)
    outputs = {
        "phase1": run_chain_script("run_phase1", "guarani", *phase1, **env),
        "phase2": run_chain_script("run_phase2", "guarani", "--vocab_size", "40", **env),
        "phase3": run_chain_script("run_phase3", "guarani", *phase3, **env),
    }
    arguments = {"PHASE1_ARGS": phase1, "PHASE2_ARGS": ("--vocab_size", "40"), "PHASE3_ARGS": phase3}
    arguments = {name: " ".join(map(str, words)) for name, words in arguments.items()}
    return {"root": root, "exp": root / "exp", "env": env, "arguments": arguments, "outputs": outputs}


def test_phases_leave_what_the_next_one_reads(chain: dict) -> None:
    exp = chain["exp"]
    utterances = list(read_corpus(exp / "guarani_units" / "corpus_timestamped.json"))
    assert {utterance["split"] for utterance in utterances} == {"train", "val", "test"}
    for utterance in utterances:
        audio = load_audio(chain["root"] / "data" / utterance["audio"])
        assert sum(utterance["durations"]) == len(audio) // HOP_SAMPLES
    assert (exp / "guarani_bpe" / "tokenizer.json").exists()
    assert load_vocoder(exp / "guarani_vocoder_v4").step == 4


def test_each_phase_says_what_it_wrote_and_what_comes_next(chain: dict) -> None:
    outputs = chain["outputs"]
    assert "corpus_timestamped.json" in outputs["phase1"]
    assert outputs["phase1"].splitlines()[-1] == "next: bash scripts/run_phase2.sh guarani"
    assert outputs["phase2"].splitlines()[-1] == "next: bash scripts/run_phase3.sh guarani"
    assert "checkpoints/best.pt" in outputs["phase3"]
    assert "vocoder_test.py" in outputs["phase3"].splitlines()[-1]


def test_phase_scripts_run_again_change_nothing(chain: dict) -> None:
    before = modification_times(chain["exp"])
    run_chain_script("run_phase2", "guarani", "--vocab_size", "40", **chain["env"])
    run_chain_script("run_phase3", "guarani", *chain["arguments"]["PHASE3_ARGS"].split(), **chain["env"])
    assert modification_times(chain["exp"]) == before


def modification_times(folder: Path) -> dict[str, int]:
    names = ("corpus_timestamped.json", "kmeans.pkl", "tokenizer.json", "best.pt", "latest.pt", "scores.json")
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.name in names}


def test_run_all_finishes_the_chain_and_then_has_nothing_to_do(chain: dict) -> None:
    """On top of finished phases: data, phases 1 to 3 stay as they are; resynthesis, scores and report are made."""
    vocoder, before = chain["exp"] / "guarani_vocoder_v4", modification_times(chain["exp"])
    printed = run_chain_script("run_all", "guarani", **chain["env"], **chain["arguments"])
    assert "GB of disk" in printed
    assert str(vocoder / "report.html") in printed.splitlines()[-1]
    after = modification_times(chain["exp"])
    assert {name: after[name] for name in before} == before
    scores = json.loads((vocoder / "scores.json").read_text())
    assert scores["n_utterances"] == len(scores["utterances"]) > 0
    for utterance in scores["utterances"]:
        original = soundfile.info(vocoder / "test" / "original" / f"{utterance['id']}.wav")
        resynthesis = soundfile.info(vocoder / "test" / "resynthesis" / f"{utterance['id']}.wav")
        assert resynthesis.frames == original.frames // HOP_SAMPLES * HOP_SAMPLES
    assert "<audio" in (vocoder / "report.html").read_text(encoding="utf-8")
    assert "made from just these" in printed and "nothing to do" in printed
    assert re.search(r"\ndone in \d+ min \d\d s; open in a browser: ", printed)
    printed = run_chain_script("run_all", "guarani", **chain["env"], **chain["arguments"], DATA_ARGS="--max_failed 90")
    assert "nothing to do" in printed and "recordings are cut already" not in printed
    assert "made from just these" not in printed, "flags for the recipe reach it"
    assert modification_times(chain["exp"]) == after


def test_a_recording_more_makes_all_again_and_keeps_the_earlier_voice(chain: dict, tmp_path: Path) -> None:
    """The command that usage.md gives, after a recording has come; in copies, since other tests read the chain."""
    for name in ("data", "exp"):
        shutil.copytree(chain["root"] / name, tmp_path / name, symlinks=True)
    env = chain["env"] | {"DATA_ROOT": str(tmp_path / "data"), "EXP_ROOT": str(tmp_path / "exp")}
    vocoder, coming = tmp_path / "exp" / "guarani_vocoder_v4", chain["root"] / "recordings" / "one_more.mp3"
    old = (vocoder / "checkpoints" / "latest.pt").read_bytes()
    write_mp3(coming, speech_like(6.0, seed=77))
    try:
        printed = run_chain_script("run_all", "guarani", coming.parent, **env, **chain["arguments"])
    finally:
        coming.unlink()
    assert printed.count("its recordings have changed") == 3 and "done in" in printed
    assert (tmp_path / "exp" / "before" / vocoder.name / "checkpoints" / "latest.pt").read_bytes() == old
    spoken = {entry["id"] for entry in read_corpus(tmp_path / "exp" / "guarani_units" / "corpus_timestamped.json")}
    assert any("one_more" in name for name in spoken) and (vocoder / "report.html").exists()


def test_an_unfinished_phase_names_the_command_that_finishes_it(chain: dict) -> None:
    for script, phase in (("run_phase2", "run_phase1.sh"), ("run_phase3", "run_phase1.sh")):
        done = run_bash(REPOSITORY / "scripts" / f"{script}.sh", "guarani", TAG="absent", **chain["env"])
        assert done.returncode == 2
        (error,) = done.stderr.strip().splitlines()
        assert phase in error


def test_synthesize_speaks_recordings_and_units(chain: dict) -> None:
    vocoder, root = chain["exp"] / "guarani_vocoder_v4", chain["root"]
    recording = sorted((root / "recordings").iterdir())[0]
    run_script("src/synthesize.py", recording, "--exp", vocoder, "--out", root / "spoken", env=chain["env"])
    (spoken,) = (root / "spoken").glob("*.wav")
    n_samples = len(load_audio(recording))
    assert soundfile.info(spoken).frames == n_samples // HOP_SAMPLES * HOP_SAMPLES


def start_phase3(n_steps: int, env: dict[str, str]) -> subprocess.Popen:
    flags = ["--steps", str(n_steps), "--save_every", "5", "--log_every", "1", *TINY_VOCODER]
    return subprocess.Popen(
        ["bash", str(REPOSITORY / "scripts" / "run_phase3.sh"), "spanish", *flags],
        env=shell_environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for_step(running: subprocess.Popen, exp: Path, step: int) -> None:
    deadline = time.monotonic() + 180
    while running.poll() is None and time.monotonic() < deadline:
        metrics = exp / "metrics.jsonl"
        if metrics.exists() and f'"step": {step},' in metrics.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"step {step} never came: {running.communicate()[0][-3000:] if running.poll() else 'slow'}")


def test_phase3_stopped_and_killed_ends_with_the_same_weights(tiny_units: dict, tmp_path: Path) -> None:
    """Told to stop by a scheduler's SIGTERM to the shell script, then killed outright, then left to finish."""
    n_steps, exp = 60, tiny_units["exp"] / "spanish_vocoder_v4"
    running = start_phase3(n_steps, {})
    wait_for_step(running, exp, 7)
    os.kill(running.pid, signal.SIGTERM)
    output = running.communicate(timeout=120)[0]
    assert running.returncode == 99, output[-3000:]
    assert "run the same command again" in output
    running = start_phase3(n_steps, {})
    wait_for_step(running, exp, 33)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate(timeout=120)
    running = start_phase3(n_steps, {})
    output = running.communicate(timeout=300)[0]
    assert running.returncode == 0, output[-3000:]

    other = tmp_path / "uninterrupted"
    other.mkdir()
    (other / "spanish_units").symlink_to(tiny_units["units"])
    running = start_phase3(n_steps, {"EXP_ROOT": str(other)})
    output = running.communicate(timeout=300)[0]
    assert running.returncode == 0, output[-3000:]
    stopped = load_checkpoint(exp / "checkpoints" / "latest.pt", command="")
    whole = load_checkpoint(other / "spanish_vocoder_v4" / "checkpoints" / "latest.pt", command="")
    assert stopped["step"] == whole["step"] == n_steps
    for part in ("generator", "generator_ema"):
        assert all(torch.equal(stopped[part][name], whole[part][name]) for name in whole[part]), part


@pytest.mark.slow
def test_real_prompts_are_learnt(language_roots: dict[str, Path]) -> None:
    """Real Spanish prompts through the whole chain: the true units speak closer to the original than shuffled ones."""
    fetched = run_script("recipes/asterisk_prompts/fetch_prompts.py", "--language", "spanish", code=None)
    if fetched.returncode:
        pytest.skip(f"the prompts cannot be fetched: {fetched.stderr.strip().splitlines()[-1][:300]}")
    flags = ("--max_prompts", "150", "--any_size")
    run_script("recipes/asterisk_prompts/build_chapters.py", "--language", "spanish", *flags)
    run_script("scripts/segment_audio.py", "--language", "spanish")
    run_script("src/extract_units.py", "--language", "spanish", "--n_units", "100")
    budget = ("--steps", "160", "--eval_every", "80", "--validation_seconds", "20", "--num_samples", "0")
    run_script(
        "src/trainer_vocoder.py",
        "--language",
        "spanish",
        *budget,
        "--channels",
        "128",
        "--batch_size",
        "8",
        "--adversarial_after",
        "1",
    )

    paths = language_paths("spanish")
    vocoder = load_vocoder(paths["vocoder"])
    utterances = load_utterances(paths["corpus"], language_roots["data"], paths["cache"], ["test"])[:12]
    true, shuffled = distances(vocoder, utterances), distances(vocoder, [shuffle_units(u) for u in utterances])
    assert np.mean(true < shuffled) >= 0.9
    assert true.mean() < 0.7 * shuffled.mean(), (true.mean(), shuffled.mean())


def shuffle_units(utterance: LoadedUtterance) -> LoadedUtterance:
    """The same units and the same F0, at other times."""
    order = np.random.default_rng(0).permutation(len(utterance.frame_units))
    return utterance._replace(frame_units=utterance.frame_units[order])


def distances(vocoder: Vocoder, utterances: list[LoadedUtterance]) -> np.ndarray:
    """(utterances,) log-mel distance in nats between each original and its resynthesis."""
    items = [SpokenItem(u.id, u.frame_units, u.f0, u.speaker) for u in utterances]
    spoken = dict(synthesize_utterances(vocoder, items))
    return np.array([compute_mel_distance(load_audio(u.audio_path), spoken[u.id]) for u in utterances])
