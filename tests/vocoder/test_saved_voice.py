"""Saved voices: they load in one call, speak what the experiment speaks, and run without this repository's code."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

import pytest
import soundfile
from safetensors.torch import load, load_file, save

import export_vocoder
import speak_exported
import synthesize

from core.errors import UserError
from models.discriminator_v3 import DiscriminatorV3
from models.hashed_noise import hashed_noise, noise_key
from models.prosody_predictor import N_HABITS, ProsodyPredictor
from prosody.batches import CORPUS
from prosody.prediction import Prosody, choose_durations, predict_durations, predict_f0, predict_pitch
from synthetic import write_units
from training.checkpoints import OLD_NAMES, save_checkpoint
from training.initial_weights import BASE_VOICES
from units.corpus import write_corpus
from units.kmeans import load_kmeans, quantize_to_units
from units.requests import SpokenItem
from vocoder.generators import Vocoder, build_generator, load_vocoder
from vocoder.page_example import find_example
from vocoder.saved_voice import (
    included_prosody,
    load_clusters,
    load_discriminator,
    load_voice,
    load_voice_prosody,
    save_voice,
    units_hash,
)
from vocoder.synthesis import speak, synthesize_utterances
from vocoder.torchscript import export_generator, export_prosody
from vocoder.voice_card import read_licence

N_UNITS = 12
SPEAKERS = ["ana", "rui"]
STATISTICS = {CORPUS: [5.0, 0.2], "rui": [4.7, 0.1]}
# Runs with nothing of the repository on the path: loads, calls and saves.
CALL = """
import sys, torch
assert not any(name in sys.modules for name in ("models", "frames", "training"))
module, calls, out = torch.jit.load(sys.argv[1]), torch.load(sys.argv[2]), sys.argv[3]
with torch.inference_mode():
    torch.save([getattr(module, name)(*inputs) for name, inputs in calls], out)
"""


def run_outside(arguments: list, folder: Path) -> str:
    """Python in an empty environment that cannot import from this repository; returns what it printed."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    env = kept | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, check=False, cwd=folder, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def call_outside(module: Path, calls: list, folder: Path) -> list:
    """[(method, inputs)] -> what a TorchScript file answers in a process of its own."""
    torch.save(calls, folder / "calls.pt")
    run_outside(["-c", CALL, module, folder / "calls.pt", folder / "answers.pt"], folder)
    return torch.load(folder / "answers.pt", weights_only=True)


def voice_inputs(n_items: int, n_frames: int, n_streams: int) -> tuple[torch.Tensor, ...]:
    """Gliding F0 with unvoiced stretches, a padded row, every kind of speaker."""
    torch.manual_seed(100 * n_items + n_frames)
    units = torch.randint(0, N_UNITS, (n_items, n_frames, n_streams))
    f0 = 150 + 60 * torch.sin(torch.arange(n_frames) / 9 + torch.arange(n_items)[:, None])
    f0[:, torch.arange(n_frames) % 17 < 4] = 0
    units[-1, n_frames // 2 + 1 :] = -1
    keys = torch.tensor([noise_key(0, f"u{row}") for row in range(n_items)])
    return units, f0, keys, torch.rand(n_items, dtype=torch.float64), torch.arange(n_items) % 3


@pytest.mark.parametrize(("version", "n_streams", "n_speakers"), [("v3", 1, 0), ("v3", 2, 2), ("v4", 2, 2)])
def test_a_traced_generator_equals_the_model_at_any_size(
    version: str, n_streams: int, n_speakers: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    sizes = {"n_units": N_UNITS, "n_streams": n_streams, "n_speakers": n_speakers, "channels": 32}
    generator = build_generator(version, sizes).eval()
    export_generator(generator, tmp_path / "voice.torchscript")
    calls, expected = [], []
    for n_items, n_frames in [(1, 1), (1, 500), (2, 3), (3, 40), (7, 11)]:
        units, f0, keys, phase, speaker = voice_inputs(n_items, n_frames, n_streams)
        noise = generator.excite(keys, n_frames, first_sample=12_345)
        if version == "v3":
            assert torch.equal(noise, hashed_noise(keys, 320 * n_frames + 1280, start=12_345 - 640))
        with torch.inference_mode():
            waveform = generator(units, f0, speaker if n_speakers else None, noise=noise, phase=phase)
        calls += [("noise", (keys, torch.tensor(12_345), f0)), ("forward", (units, f0, noise, phase, speaker))]
        expected += [noise, waveform]
    answers = call_outside(tmp_path / "voice.torchscript", calls, tmp_path)
    for (name, inputs), answer, wanted in zip(calls, answers, expected):
        assert answer.shape == wanted.shape and wanted.abs().max() > 1e-2
        assert (answer - wanted).abs().max() < 1e-3 * wanted.abs().max(), (name, inputs[0].shape)


def test_a_compiled_prosody_predictor_equals_the_model_at_any_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    predictor = ProsodyPredictor(N_UNITS, n_speakers=2, habits=True, channels=24).eval()
    predictor.set_habits(torch.randn(N_UNITS, N_HABITS))
    torch.nn.init.normal_(predictor.frame_head.weight)
    statistics = torch.tensor([STATISTICS[CORPUS], STATISTICS[CORPUS], STATISTICS["rui"]], dtype=torch.float64)
    for name in ("prosody", "again"):
        export_prosody(predictor, statistics, (60.0, 500.0), tmp_path / f"{name}.torchscript")
    files = [(tmp_path / f"{name}.torchscript").read_bytes() for name in ("prosody", "again")]
    assert files[0] == files[1]
    prosody = Prosody(predictor, SPEAKERS, STATISTICS, torch.device("cpu"))
    shapes, inputs, calls = [(1, 1), (1, 300), (4, 21)], [], []
    for shape in shapes:
        units, durations = torch.randint(0, N_UNITS, shape), torch.randint(1, 9, shape)
        inputs.append((units, durations, torch.arange(shape[0]) % 3))
        calls += [("forward", inputs[-1]), ("duration_classes", inputs[-1][::2]), ("pitch", inputs[-1])]
    answers = iter(call_outside(tmp_path / "prosody.torchscript", calls, tmp_path))
    for units, durations, speaker in inputs:
        outputs, (probabilities, class_frames), pitch = (next(answers) for _ in range(3))
        with torch.inference_mode():
            for answer, wanted in zip(outputs, predictor(units, durations, speaker)):
                assert answer.shape == wanted.shape and (answer - wanted).abs().max() < 1e-3
        for row in range(len(units)):
            name = [None, *SPEAKERS][row % 3]
            single, lengths = units[row].numpy(), durations[row].numpy()
            chosen = choose_durations(probabilities[row].numpy(), class_frames.double().numpy())
            np.testing.assert_array_equal(chosen, predict_durations(prosody, single, name))
            f0 = predict_f0(prosody, single, lengths, name)
            np.testing.assert_allclose(pitch[row, : len(f0)], f0, rtol=1e-3)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiments as training leaves them: a V3, a V2 and a V4 vocoder, and a prosody predictor of two speakers."""
    root = tmp_path_factory.mktemp("export")
    units = write_units(root, [], n_units=N_UNITS)
    with np.load(units / "kmeans.npz") as arrays:
        described = dict(arrays) | {"description": np.array('{"encoder": "mfcc", "layer": null, "options": {}}')}
    np.savez(units / "kmeans.npz", **described)
    derived = {"language": "spanish", "n_units": N_UNITS, "n_streams": 1, "cache": str(root / "cache")}
    for version in ("v3", "v2", "v4"):
        torch.manual_seed(0)
        sizes = {"n_units": N_UNITS, "n_streams": 1, "n_speakers": 2, "channels": 32}
        state = {"version": version, "sizes": sizes, "speakers": SPEAKERS, "step": 7}
        state["generator_ema"] = build_generator(version, sizes).state_dict()
        write_experiment(root / f"spanish_vocoder_{version}", state, derived | {"generator": version}, units)
    torch.manual_seed(1)
    sizes = {"n_units": N_UNITS, "n_speakers": 2, "channels": 24}
    state = {"sizes": sizes, "speakers": SPEAKERS, "step": 5, "statistics": STATISTICS}
    state["predictor_ema"] = ProsodyPredictor(**sizes).state_dict()
    derived |= {"units_hash": units_hash(root / "spanish_vocoder_v3")}
    write_experiment(root / "spanish_prosody", state, derived, units)
    return root


def write_experiment(exp: Path, state: dict, derived: dict, units: Path) -> None:
    save_checkpoint(exp / "checkpoints" / "best.pt", state)
    config = {"derived": derived, "environment": {"git_commit": "abc", "packages": {}}, "arguments": {"exp": str(exp)}}
    (exp / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (exp / "units").mkdir()
    (exp / "units" / "kmeans.npz").write_bytes((units / "kmeans.npz").read_bytes())


def export(monkeypatch: pytest.MonkeyPatch, *flags: object) -> int:
    monkeypatch.setattr(sys, "argv", ["export_vocoder", *map(str, flags)])
    return export_vocoder.main()


@pytest.fixture(scope="module")
def voice(roots: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_ROOT", str(roots / "data"))
        (roots / "data" / "spanish").mkdir(parents=True)
        (roots / "data" / "spanish" / "LICENSE_SOURCE.txt").write_text("share alike")
        (roots / "data" / "spanish" / "ATTRIBUTION.txt").write_text("recorded by Allison Smith")
        flags = ("--exp", roots / "spanish_vocoder_v3", "--prosody", roots / "spanish_prosody")
        assert export(patch, *flags, "--out", roots / "voice", "--license", "cc-by-sa-3.0") == 0
    return roots / "voice"


def test_a_saved_voice_is_the_voice(roots: Path, voice: Path) -> None:
    original, loaded = load_vocoder(roots / "spanish_vocoder_v3"), load_voice(voice)
    assert None not in loaded[:-1] and not loaded.generator.training
    assert loaded.speaker_vectors is None  # it knows speakers by a table
    assert (loaded.step, loaded.speakers) == (7, SPEAKERS) == (original.step, original.speakers)
    item = SpokenItem("a", np.arange(40)[:, None] % N_UNITS, np.full(40, 120, np.float32), "rui")
    spoken = [next(synthesize_utterances(which, [item]))[1] for which in (original, loaded)]
    np.testing.assert_array_equal(*spoken)
    assert np.abs(spoken[0]).max() > 1e-3
    weights = load_file(voice / "model.safetensors")
    assert weights.keys() == original.generator.state_dict().keys()


def test_a_voice_in_half_precision_speaks_nearly_the_same_and_brings_what_is_asked(
    roots: Path, voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    exp = tmp_path / "exp"
    shutil.copytree(roots / "spanish_vocoder_v3", exp)
    state = torch.load(exp / "checkpoints" / "best.pt", weights_only=True)
    opponent = DiscriminatorV3(width=4).state_dict()
    save_checkpoint(exp / "checkpoints" / "best.pt", state | {"discriminator": opponent})
    (tmp_path / "about.md").write_text("## Data\n\nMade of thin air.\n")
    flags = ("--exp", exp, "--prosody", roots / "spanish_prosody", "--half", "--no_torchscript", "--discriminator")
    assert export(monkeypatch, *flags, "--about", tmp_path / "about.md", "--out", tmp_path / "half") == 0
    assert not list((tmp_path / "half").rglob("*.torchscript")) and not (tmp_path / "half" / "speak.py").exists()
    assert "Made of thin air." in (tmp_path / "half" / "README.md").read_text()
    for file in ("model.safetensors", "prosody/model.safetensors"):
        assert (tmp_path / "half" / file).stat().st_size < 0.6 * (voice / file).stat().st_size
    item = SpokenItem("a", np.arange(40)[:, None] % N_UNITS, np.full(40, 120, np.float32), "rui")
    loaded = load_voice(tmp_path / "half")
    assert {value.dtype for value in loaded.generator.state_dict().values()} == {torch.float32}
    whole, half = (next(synthesize_utterances(which, [item]))[1] for which in (load_voice(voice), loaded))
    assert 0 < np.abs(half - whole).max() < 0.01 * np.abs(whole).max()
    prosodies = [load_voice_prosody(folder / "prosody") for folder in (voice, tmp_path / "half")]
    units, durations = np.arange(30) % N_UNITS, np.full(30, 2)
    np.testing.assert_allclose(*(predict_pitch(prosody, units, durations)[1] for prosody in prosodies), rtol=0.01)
    brought = load_discriminator(tmp_path / "half")
    assert brought.keys() == opponent.keys() == load_discriminator(exp).keys() and load_discriminator(voice) is None
    assert all(torch.equal(brought[name], value.half().float()) for name, value in opponent.items())


def test_a_voice_that_started_from_the_base_says_so_and_brings_its_licence(
    roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    base, exp = tmp_path / "base_v3", tmp_path / "exp"
    base.mkdir()
    (base / "ATTRIBUTION.txt").write_text("many voices")
    (base / "README.md").write_text("---\nlicense: cc-by-sa-3.0\n---\n\n# A base\n")
    monkeypatch.setattr(export_vocoder, "BASE_VOICES", {"v3": base})
    shutil.copytree(roots / "spanish_vocoder_v4", exp)
    config = json.loads((exp / "config.json").read_text())
    config["derived"]["started_from"] = "base_v3"
    (exp / "config.json").write_text(json.dumps(config))
    assert export(monkeypatch, "--exp", exp, "--no_torchscript", "--out", tmp_path / "voice") == 0
    card = (tmp_path / "voice" / "README.md").read_text()
    assert "training steps from the weights of `base_v3`" in card
    assert "started from the voice `base_v3`: the licence of that voice, cc-by-sa-3.0, holds" in card
    page = (tmp_path / "voice" / "voice.html").read_text(encoding="utf-8")
    assert "licence was not named" in page and "the licence of that voice, cc-by-sa-3.0, holds" in page
    assert (tmp_path / "voice" / "ATTRIBUTION_base_v3.txt").read_text() == "many voices"


@pytest.mark.parametrize("flags", [("--discriminator",), ("--about", "nowhere.md")])
def test_what_is_not_there_cannot_be_brought_along(
    flags: tuple, roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=f"{flags[0]}"):
        export(monkeypatch, "--exp", roots / "spanish_vocoder_v3", *flags, "--out", tmp_path / "voice")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("voice", BASE_VOICES.values(), ids=str)
def test_the_cards_of_the_base_voices_name_their_licence(voice: Path) -> None:
    assert read_licence(voice / "README.md") == "cc-by-sa-3.0" and read_licence(voice / "none.md") is None


def test_the_page_is_given_a_held_out_utterance_of_the_corpus(
    roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    units, exp = tmp_path / "units", tmp_path / "exp"
    shutil.copytree(roots / "spanish_vocoder_v4", exp)
    shutil.copytree(exp / "units", units)
    row = {"audio": "spanish/a.wav", "duration": 2.0, "unit_rate": 50, "speaker": "rui", "source": "a.mp3"}
    timed = {"units": [3, 1, 11], "durations": [50, 40, 35]}
    rows = [
        row | timed | {"id": "learnt", "split": "train", "durations": [50, 50, 50]},
        row | timed | {"id": "noisy", "split": "val", "durations": [50, 50, 50], "flags": ["noise"]},
        row | timed | {"id": "held", "split": "val"},
        row | {"id": "long", "split": "test", "units": [2], "durations": [900]},
    ]
    write_corpus(units / "corpus_timestamped.json", rows)
    config = json.loads((exp / "config.json").read_text())
    places = {"corpus": units / "corpus_timestamped.json", "units_exp": units, "data_root": tmp_path / "data"}
    config["derived"] |= {name: str(path) for name, path in places.items()} | {"cache": str(tmp_path / "cache")}
    (exp / "config.json").write_text(json.dumps(config))
    expected = {"units": "3:50 1:40 11:35", "speaker_row": 2, "f0": []}
    assert find_example(exp, SPEAKERS) == expected, "no recording: its melody is not known"
    audio = tmp_path / "data" / "spanish" / "a.wav"
    audio.parent.mkdir(parents=True)
    soundfile.write(audio, np.sin(2 * np.pi * 150 * np.arange(320 * 124) / 16_000), 16_000)
    found = find_example(exp, SPEAKERS)
    assert len(found["f0"]) == 125 and found["f0"][60] == pytest.approx(150, abs=2) and found["f0"][124] == 0
    assert export(monkeypatch, "--exp", exp, "--no_torchscript", "--out", tmp_path / "voice") == 0
    assert "3:50 1:40 11:35</textarea>" in (tmp_path / "voice" / "voice.html").read_text(encoding="utf-8")
    (units / "kmeans.npz").write_bytes(b"other units by now")
    assert find_example(exp, SPEAKERS) is None and find_example(roots / "spanish_vocoder_v4", SPEAKERS) is None


def test_a_generator_is_traced_without_a_warning(tmp_path: Path) -> None:
    for version in ("v3", "v4"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            export_generator(build_generator(version, {"n_units": N_UNITS, "channels": 32}).eval(), tmp_path / version)


def under_old_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as they were saved until the embedding tables had one name everywhere."""
    old_names = {now: was for was, now in OLD_NAMES.items()}
    parts = [name.partition(".") for name in weights]
    names = [old_names.get(table, table) + dot + rest for table, dot, rest in parts]
    return dict(zip(names, weights.values()))


def test_voices_and_checkpoints_with_old_names_speak_the_same(roots: Path, voice: Path, tmp_path: Path) -> None:
    shutil.copytree(voice, tmp_path / "voice")
    for file in (tmp_path / "voice").rglob("model.safetensors"):
        file.write_bytes(save(under_old_names(load(file.read_bytes()))))
    shutil.copytree(roots / "spanish_vocoder_v2", tmp_path / "v2")
    state = torch.load(tmp_path / "v2" / "checkpoints" / "best.pt", weights_only=True)
    state["generator_ema"] = under_old_names(state["generator_ema"])
    save_checkpoint(tmp_path / "v2" / "checkpoints" / "best.pt", state)
    assert {"units.0.weight", "pitch.bins.weight"} <= load_file(tmp_path / "voice" / "model.safetensors").keys()
    assert "pitch.weight" in state["generator_ema"]
    item = SpokenItem("a", np.arange(40)[:, None] % N_UNITS, np.full(40, 120, np.float32), "rui")
    for old, new in ((tmp_path / "voice", voice), (tmp_path / "v2", roots / "spanish_vocoder_v2")):
        spoken = [next(synthesize_utterances(load_voice(folder), [item]))[1] for folder in (old, new)]
        np.testing.assert_array_equal(*spoken)
    prosodies = load_voice_prosody(tmp_path / "voice" / "prosody"), load_voice_prosody(voice / "prosody")
    np.testing.assert_array_equal(*(predict_durations(prosody, np.arange(30) % N_UNITS) for prosody in prosodies))


def test_a_voice_with_vectors_is_saved_and_traced_with_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"n_units": N_UNITS, "speaker_dim": 5, "channels": 32, "n_blocks": 1, "n_head_blocks": 1}
    generator = build_generator("v3", sizes).eval()
    torch.nn.init.normal_(generator.speaker_embedding.weight)
    vectors = torch.cat([torch.zeros(1, 5), torch.randn(2, 5)])
    config = {"derived": {"generator": "v3", "n_units": N_UNITS, "speaker_encoder": "some"}}
    original = Vocoder(generator, SPEAKERS, torch.device("cpu"), False, "v3", sizes, 7, config, vectors)
    save_voice(tmp_path, original, None, "hash")
    loaded = load_voice(tmp_path)
    assert torch.equal(loaded.speaker_vectors, vectors) and loaded.config["derived"]["speaker_encoder"] == "some"
    item = SpokenItem("a", np.arange(9)[:, None] % N_UNITS, np.full(9, 120, np.float32))
    items = [item, item._replace(speaker="rui"), item._replace(speaker_vector=np.ones(5, np.float32))]
    spoken = [[next(synthesize_utterances(which, [one]))[1] for one in items] for which in (original, loaded)]
    np.testing.assert_array_equal(*spoken)
    assert all(np.abs(one - other).max() > 1e-3 for one, other in itertools.combinations(spoken[0], 2))
    export_generator(generator, tmp_path / "voice.torchscript", vectors)
    units, f0 = torch.from_numpy(item.content)[None], torch.from_numpy(item.f0)[None]
    noise = generator.excite(torch.tensor([noise_key(0, "a")]), 9)
    traced = torch.jit.load(tmp_path / "voice.torchscript")
    row = torch.tensor([SPEAKERS.index("rui") + 1])
    answer = traced(units, f0, noise, torch.zeros(1, dtype=torch.float64), row)[0]
    assert np.abs(answer.detach().numpy() - spoken[0][1]).max() < 1e-3
    (tmp_path / "speakers.safetensors").unlink()
    with pytest.raises(UserError, match="speakers.safetensors: expected a vector for each speaker"):
        load_voice(tmp_path)


def test_a_saved_voice_keeps_its_units_and_its_prosody(roots: Path, voice: Path) -> None:
    before, after = load_kmeans(roots / "spanish_vocoder_v3" / "units" / "kmeans.npz"), load_clusters(voice)
    assert before.description == after.description and len(before.books) == len(after.books)
    features = np.random.default_rng(0).standard_normal((50, 39)).astype(np.float32)
    np.testing.assert_array_equal(quantize_to_units(features, before), quantize_to_units(features, after))
    assert units_hash(voice) == units_hash(roots / "spanish_vocoder_v3")
    prosodies = load_voice_prosody(roots / "spanish_prosody"), load_voice_prosody(included_prosody(voice))
    assert None not in prosodies[1] and prosodies[1].statistics == STATISTICS
    units = np.arange(30) % N_UNITS
    np.testing.assert_array_equal(*(predict_durations(prosody, units, "ana") for prosody in prosodies))
    assert included_prosody(roots / "spanish_vocoder_v3") is None


def test_a_saved_voice_tells_nothing_of_the_machine(roots: Path, voice: Path) -> None:
    for path in (voice / "config.json", voice / "README.md", voice / "prosody" / "config.json"):
        assert str(roots) not in path.read_text(encoding="utf-8")
    card = (voice / "README.md").read_text(encoding="utf-8")
    assert "license: cc-by-sa-3.0" in card and "ana, rui" in card and "`mfcc`" in card
    assert (voice / "LICENSE_SOURCE.txt").read_text() == "share alike"
    assert (voice / "ATTRIBUTION.txt").read_text() == "recorded by Allison Smith"


def say(patch: pytest.MonkeyPatch, exp: Path, out: Path, *flags: object) -> dict[str, np.ndarray]:
    patch.setattr(sys, "argv", ["synthesize", *map(str, ("--exp", exp, "--out", out, *flags))])
    assert synthesize.main() == 0
    return {path.stem: soundfile.read(path, dtype="int16")[0].astype(int) for path in out.glob("*.wav")}


def test_synthesize_speaks_from_a_voice_as_from_its_experiment(
    roots: Path, voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "units.txt").write_text("a\t1 2 3 4 5 1 2\nb\t7 8 9\n")
    flags, exp = ("--deduplicated", tmp_path / "units.txt"), roots / "spanish_vocoder_v3"
    from_exp = say(monkeypatch, exp, tmp_path / "exp", *flags, "--prosody", roots / "spanish_prosody")
    from_voice = say(monkeypatch, voice, tmp_path / "voice", *flags)
    assert from_exp.keys() == from_voice.keys() == {"a", "b"}
    assert all(np.array_equal(from_exp[name], from_voice[name]) and from_exp[name].any() for name in from_exp)


def test_the_script_beside_the_voice_speaks_as_synthesize_does(
    voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = {"audio": "", "duration": 0.34, "split": "test", "unit_rate": 50}
    bare = {"id": "bare", "units": [1, 2, 2, 4, 0, 1, 2, 6, 7]}
    full = timed | {"id": "full", "units": [3, 1, 11], "durations": [9, 3, 5], "f0": [0.0] * 4 + [140.5] * 13}
    timed |= {"id": "timed", "units": [3, 1, 11], "durations": [9, 3, 5]}
    (tmp_path / "all.json").write_text(json.dumps([bare, full, timed]))
    run_outside([voice / "speak.py", "all.json", "--out", "spoken", "--speaker", "rui"], tmp_path)
    spoken = {path.stem: soundfile.read(path, dtype="int16")[0] for path in (tmp_path / "spoken").glob("*.wav")}
    write_corpus(tmp_path / "timed.json", [full, timed])
    (tmp_path / "bare.json").write_text(json.dumps([bare]))
    expected = say(monkeypatch, voice, tmp_path / "a", "--units", tmp_path / "timed.json", "--speaker", "rui")
    expected |= say(monkeypatch, voice, tmp_path / "b", "--deduplicated", tmp_path / "bare.json", "--speaker", "rui")
    assert spoken.keys() == expected.keys() == {"bare", "full", "timed"}
    for name, waveform in expected.items():
        assert len(spoken[name]) == len(waveform) and np.abs(waveform).max() > 10
        assert np.abs(spoken[name] - waveform).max() <= 1 + 1e-3 * np.abs(waveform).max()


def test_a_predictor_of_one_prosody_keeps_the_pitch_of_every_speaker(
    roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    vocoder, prosody = roots / "spanish_vocoder_v3", tmp_path / "prosody"
    torch.manual_seed(2)
    sizes = {"n_units": N_UNITS, "n_speakers": 0, "channels": 24}
    state = {"sizes": sizes, "speakers": [], "step": 5, "statistics": STATISTICS | {"ana": [5.4, 0.2]}}
    state["predictor_ema"] = ProsodyPredictor(**sizes).state_dict()
    derived = {"language": "spanish", "n_units": N_UNITS, "n_streams": 1, "units_hash": units_hash(vocoder)}
    write_experiment(prosody, state, derived, vocoder / "units")
    export(monkeypatch, "--exp", vocoder, "--prosody", prosody, "--out", tmp_path / "voice")
    (tmp_path / "bare.json").write_text(json.dumps([{"id": "bare", "units": [1, 2, 2, 4, 0, 1, 2, 6, 7]}]))
    for speaker in SPEAKERS:
        flags = ("--out", tmp_path / speaker, "--speaker", speaker)
        run_outside([tmp_path / "voice" / "speak.py", "bare.json", *flags], tmp_path)
        spoken = soundfile.read(tmp_path / speaker / "bare.wav", dtype="int16")[0]
        flags = ("--prosody", prosody, "--deduplicated", tmp_path / "bare.json", "--speaker", speaker)
        expected = say(monkeypatch, vocoder, tmp_path / f"{speaker}_here", *flags)["bare"]
        assert np.abs(spoken - expected).max() <= 1 + 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"id": "../escaped", "units": [1], "durations": [1], "f0": [0]}]', "without '/'"),
        ('{"id": "a", "units": [1]}\n{"id": "a", "units": [2]}', "twice"),
        ("[{", "expected a JSON array"),
        ('[{"id": "a", "units": [12], "durations": [1], "f0": [0]}]', "0 to 11"),
        ('[{"id": "a", "units": [1, 2], "durations": [1, 1], "f0": [0]}]', "F0"),
        ('[{"id": "a", "units": [1, 2], "durations": [1], "f0": [0]}]', "a duration of each"),
    ],
)
def test_the_script_beside_the_voice_names_mistakes(text: str, message: str, voice: Path, tmp_path: Path) -> None:
    (tmp_path / "units.json").write_text(text)
    with pytest.raises(SystemExit, match=message), pytest.MonkeyPatch.context() as patch:
        flags = (tmp_path / "units.json", "--voice", voice, "--out", tmp_path / "spoken")
        patch.setattr(sys, "argv", ["speak.py", *map(str, flags)])
        speak_exported.main()
    assert not (tmp_path / "escaped.wav").exists()


def test_the_script_beside_the_voice_says_a_full_disk_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "spoken" / "tale.wav"
    waveform = 0.5 * np.sin(np.arange(320, dtype=np.float32))
    speak_exported.save_wav(path, waveform, 16_000)
    whole = soundfile.read(path, dtype="int16")[0]
    np.testing.assert_array_equal(whole, np.round(waveform.astype(np.float64) * 32768).astype(np.int16))
    (path.parent / ".tale.wav.tmp").symlink_to("/dev/full")
    with pytest.raises(SystemExit, match=r"tale.wav: cannot be written \(No space left on device\); make room"):
        speak_exported.save_wav(path, -waveform, 16_000)
    np.testing.assert_array_equal(soundfile.read(path, dtype="int16")[0], whole, err_msg="the old file stays")
    assert [file.name for file in path.parent.iterdir()] == ["tale.wav"]


@pytest.mark.parametrize(("scored", "shown"), [((7, "test"), True), ((6, "test"), False), ((7, "train"), False)])
def test_the_card_shows_scores_of_these_weights_alone(
    scored: tuple[int, str], shown: bool, roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    metrics = {"mcd_db": {"mean": 5.0, "low": 4.9, "high": 5.1}}
    scores = dict(zip(("step", "split"), scored)) | {"n_utterances": 3, "metrics": metrics}
    path = roots / "spanish_vocoder_v2" / "scores.json"
    path.write_text(json.dumps(scores))
    export(monkeypatch, "--exp", path.parent, "--out", tmp_path / "voice")
    path.unlink()
    assert ("held-out utterances" in (tmp_path / "voice" / "README.md").read_text()) is shown


def test_other_generators_are_saved_without_torchscript(
    roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))  # the licences of a prepared language would be taken along
    assert export(monkeypatch, "--exp", roots / "spanish_vocoder_v2", "--out", tmp_path / "voice") == 0
    assert sorted(path.name for path in (tmp_path / "voice").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "units.safetensors",
    ]
    inputs = torch.ones(1, 5, 1, dtype=torch.int64), torch.full((1, 5), 99.0), torch.tensor([1]), torch.tensor([3])
    with torch.inference_mode():
        spoken = [
            speak(load_voice(folder).generator, *inputs)
            for folder in (tmp_path / "voice", roots / "spanish_vocoder_v2")
        ]
    assert torch.equal(*spoken)


def test_a_v4_voice_brings_a_page_and_onnx(roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    flags = ("--exp", roots / "spanish_vocoder_v4", "--prosody", roots / "spanish_prosody", "--license", "cc0-1.0")
    assert export(monkeypatch, *flags, "--onnx", "--out", tmp_path / "voice") == 0
    files = {path.name for path in (tmp_path / "voice").iterdir()}
    assert files >= {"voice.html", "voice.onnx", "voice.torchscript", "speak.py", "model.safetensors"}
    page = (tmp_path / "voice" / "voice.html").read_text(encoding="utf-8")
    assert "A voice for units of spanish" in page and "cc0-1.0" in page and str(roots) not in page
    assert "voice.html" in (tmp_path / "voice" / "README.md").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="--onnx: is written for v4; this voice is v3"):
        export(monkeypatch, "--exp", roots / "spanish_vocoder_v3", "--onnx", "--out", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_mistakes_are_named(roots: Path, voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exp = ("--exp", roots / "spanish_vocoder_v3")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for flags, expected in (
        ((*exp, "--out", voice), "--overwrite"),
        ((*exp, "--out", tmp_path / "mine", "--overwrite"), "something else"),
        ((*exp, "--out", tmp_path / "new", "--prosody", roots / "spanish_units"), "prosody"),
        (("--exp", roots / "spanish_prosody", "--out", tmp_path / "new"), "vocoder"),
    ):
        with pytest.raises(UserError, match=expected):
            export(monkeypatch, *flags)
    assert (tmp_path / "mine" / "thesis.txt").exists() and not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="one checkpoint"):
        load_voice(voice, "latest")
    with pytest.raises(UserError, match="oral-units prosody"):
        load_voice_prosody(voice)


def test_a_damaged_voice_is_named(voice: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "units.safetensors"):
        (tmp_path / name).write_bytes((voice / name).read_bytes())
    for name in ("model.safetensors", "units.safetensors"):
        (tmp_path / name).write_bytes((voice / name).read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"model\.safetensors"):
        load_voice(tmp_path)
    with pytest.raises(UserError, match=r"units\.safetensors"):
        load_clusters(tmp_path)


def test_overwriting_replaces_the_voice(
    roots: Path, voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = ("--out", tmp_path / "voice")
    export(monkeypatch, "--exp", roots / "spanish_vocoder_v3", "--prosody", roots / "spanish_prosody", *out)
    export(monkeypatch, "--exp", roots / "spanish_vocoder_v2", "--encoder", "someone/encoder", *out, "--overwrite")
    assert load_voice(tmp_path / "voice").version == "v2" and included_prosody(tmp_path / "voice") is None
    assert json.loads((tmp_path / "voice" / "config.json").read_text())["derived"]["encoder"] == "someone/encoder"
    assert [path.name for path in tmp_path.iterdir()] == ["voice"]
