"""Speaking from recordings and from units files: lengths, batches, round trips, mistakes in one line."""

import json
import os
from pathlib import Path

import numpy as np

import pytest
import soundfile

from synthesize import Clip, parse_args, speak_as

from audio.audio_io import load_audio, save_audio
from audio.pitch import extract_f0
from core.errors import UserError
from encoders.encode import encode, load_encoder
from synthetic import speech_like, write_mp3, write_segments, write_units
from trainer_runs import run_to_end
from units.corpus import deduplicate, frame_units, read_corpus, write_corpus
from units.kmeans import fit_kmeans, load_kmeans, quantize_to_units, save_kmeans
from units.requests import SpokenItem

N_UNITS = 12


def cepstra_of(waveform: np.ndarray) -> np.ndarray:
    return encode(load_encoder("mfcc", None), [waveform])[0]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny language with units that are its own (MFCC, k-means), and a vocoder trained for some steps."""
    root = tmp_path_factory.mktemp("synthesis")
    rows = write_segments(root / "data", "spanish")
    units = write_units(root / "exp", rows, n_units=N_UNITS)
    features = {row["id"]: cepstra_of(load_audio(root / "data" / row["audio"])) for row in rows}
    kmeans = fit_kmeans(np.concatenate(list(features.values())), N_UNITS)
    options = {"subtract_mean": False, "context": 0}
    description = {"encoder": "mfcc", "layer": None, "options": options, "duration_penalty": 0.5}
    save_kmeans(units, kmeans, description)
    kmeans = load_kmeans(units / "kmeans.npz")
    corpus = list(read_corpus(units / "corpus_timestamped.json"))
    for entry in corpus:
        found = deduplicate(quantize_to_units(features[entry["id"]], kmeans)[:, 0])
        entry["units"], entry["durations"] = (values.tolist() for values in found)
    write_corpus(units / "corpus_timestamped.json", corpus)
    small = ["--channels", 32, "--batch_size", 4, "--crop_frames", 16, "--warmup", 1, "--adversarial_after", 1]
    run_to_end("trainer_vocoder", ["--language", "spanish", *small, "--steps", 4], roots=root)
    return root


def speak(roots: Path, *flags: object, code: int = 0) -> str:
    return run_to_end("synthesize", ["--exp", roots / "exp" / "spanish_vocoder_v4", *flags], roots=roots, code=code)


def spoken(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: soundfile.read(path, dtype="int16")[0] for path in folder.glob("*.wav")}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of formats, rates and lengths, one in a folder of its own."""
    folder = tmp_path_factory.mktemp("recordings")
    save_audio(folder / "first.wav", speech_like(1.234, seed=11))
    save_audio(folder / "deep" / "third.wav", speech_like(0.021, seed=12))
    write_mp3(folder / "deep" / "second.flac", speech_like(0.9, seed=13), sample_rate=22_050)
    save_audio(folder / "fourth one ñ.wav", speech_like(1.3, seed=14))
    return folder


@pytest.fixture(scope="module")
def from_recordings(roots: Path, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("spoken")
    speak(roots, recordings, "--out", out, "--save_units")
    return out


def test_recordings_give_exactly_their_frames(recordings: Path, from_recordings: Path) -> None:
    files = {"first": "first.wav", "deep_second": "deep/second.flac", "deep_third": "deep/third.wav"}
    files |= {"fourth one ñ": "fourth one ñ.wav"}
    waveforms = spoken(from_recordings)
    assert waveforms.keys() == files.keys()
    for name, file in files.items():
        assert len(waveforms[name]) == len(load_audio(recordings / file)) // 320 * 320 > 0
        assert soundfile.info(from_recordings / f"{name}.wav").samplerate == 16000
    assert np.abs(waveforms["first"]).max() > 10


def test_saved_units_are_those_of_the_recordings(recordings: Path, from_recordings: Path, roots: Path) -> None:
    entries = {entry["id"]: entry for entry in read_corpus(from_recordings / "units.json")}
    waveform = load_audio(recordings / "first.wav")
    np.testing.assert_array_equal(np.float32(entries["first"]["f0"]), extract_f0(waveform))
    clusters = load_kmeans(roots / "exp" / "spanish_units" / "kmeans.npz")
    expected = quantize_to_units(cepstra_of(waveform), clusters)
    np.testing.assert_array_equal(frame_units(entries["first"]), expected)


def test_an_utterance_moves_to_the_pitch_of_a_clip_and_voiceless_ones_stay() -> None:
    f0 = np.array([0, 100, 200, 300, 0], np.float32)
    item, clip = SpokenItem("a", np.zeros((5, 1), np.int64), f0, "rui"), Clip(np.ones(3, np.float32), 100.0)
    moved, kept = speak_as(item, clip, keep_f0=False), speak_as(item, clip, keep_f0=True)
    assert moved.f0.tolist() == [0, 50, 100, 150, 0] and moved.f0.dtype == np.float32
    assert kept.f0.tolist() == f0.tolist() and moved.speaker_vector is kept.speaker_vector is clip.speaker_vector
    assert speak_as(item, clip._replace(median_f0=0.0), keep_f0=False).f0.tolist() == f0.tolist()
    assert not speak_as(item._replace(f0=0 * f0), clip, keep_f0=False).f0.any()


def test_saved_units_speak_the_same_again(from_recordings: Path, roots: Path, tmp_path: Path) -> None:
    speak(roots, "--units", from_recordings / "units.json", "--out", tmp_path / "again", "--save_units")
    before, after = spoken(from_recordings), spoken(tmp_path / "again")
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert (tmp_path / "again" / "units.json").read_bytes() == (from_recordings / "units.json").read_bytes()


def test_one_by_one_equals_many_at_once(recordings: Path, from_recordings: Path, roots: Path, tmp_path: Path) -> None:
    speak(roots, recordings, "--out", tmp_path, "--max_batch_frames", 1)
    for name, waveform in spoken(tmp_path).items():
        assert np.abs(waveform.astype(int) - spoken(from_recordings)[name]).max() <= 1
    speak(roots, recordings / "first.wav", "--out", tmp_path / "single")
    assert np.abs(spoken(tmp_path / "single")["first"].astype(int) - spoken(from_recordings)["first"]).max() <= 1


def test_streaming_writes_the_same_files(from_recordings: Path, roots: Path, tmp_path: Path) -> None:
    flags = ("--units", from_recordings / "units.json", "--stream", "--save_units")
    speak(roots, *flags, "--out", tmp_path)
    streamed, whole = spoken(tmp_path), spoken(from_recordings)
    assert streamed.keys() == whole.keys()
    for name, waveform in streamed.items():
        assert waveform.shape == whole[name].shape and np.abs(waveform.astype(int) - whole[name]).max() <= 1
    assert {path.suffix for path in tmp_path.iterdir()} == {".wav", ".json"}, "no unfinished file is left"
    assert (tmp_path / "units.json").read_bytes() == (from_recordings / "units.json").read_bytes()


def test_mixed_precision_is_obeyed(from_recordings: Path, roots: Path, tmp_path: Path) -> None:
    speak(roots, "--units", from_recordings / "units.json", "--mixed_precision", "bf16", "--out", tmp_path)
    rounded, exact = spoken(tmp_path)["first"].astype(int), spoken(from_recordings)["first"]
    assert 0 < np.abs(rounded - exact).max() < 0.1 * np.abs(exact).max()


def test_the_corpus_file_is_a_units_file(roots: Path, tmp_path: Path) -> None:
    corpus = roots / "exp" / "spanish_units" / "corpus_timestamped.json"
    speak(roots, "--units", corpus, "--split", "test", "--out", tmp_path)
    expected = {entry["id"]: 320 * sum(entry["durations"]) for entry in read_corpus(corpus, splits=["test"])}
    assert {name: len(waveform) for name, waveform in spoken(tmp_path).items()} == expected
    # A recording of the corpus speaks as its units do, whichever way they come in.
    entry = next(read_corpus(corpus, splits=["test"]))
    speak(roots, roots / "data" / entry["audio"], "--out", tmp_path / "recording")
    again = spoken(tmp_path / "recording")[entry["id"]]
    assert np.abs(again.astype(int) - spoken(tmp_path)[entry["id"]]).max() <= 1


def test_scaled_pitch_is_spoken_and_saved(from_recordings: Path, roots: Path, tmp_path: Path) -> None:
    speak(roots, "--units", from_recordings / "units.json", "--f0_scale", 0.8, "--out", tmp_path, "--save_units")
    scaled = {entry["id"]: np.array(entry["f0"]) for entry in read_corpus(tmp_path / "units.json")}
    for entry in read_corpus(from_recordings / "units.json"):
        np.testing.assert_allclose(scaled[entry["id"]], 0.8 * np.array(entry["f0"]), rtol=1e-6)
    assert not np.array_equal(spoken(tmp_path)["first"], spoken(from_recordings)["first"])


def write_json(path: Path, **changes: object) -> Path:
    entry = {"id": "a", "audio": "", "duration": 0.1, "split": "test", "unit_rate": 50}
    entry |= {"units": [1, 2], "durations": [2, 3], "f0": [100.0] * 5} | changes
    write_corpus(path, [{key: value for key, value in entry.items() if value is not None}])
    return path


def test_a_units_file_by_hand(roots: Path, tmp_path: Path) -> None:
    speak(roots, "--units", write_json(tmp_path / "units.json"), "--out", tmp_path / "out")
    assert {name: len(waveform) for name, waveform in spoken(tmp_path / "out").items()} == {"a": 1600}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"units": [1, N_UNITS]}, "units 0 to 11"),
        ({"units": [1, -1]}, "0 or more"),
        ({"f0": [100.0] * 4}, "5 frames"),
        ({"f0": None}, "f0"),
        ({"f0": None, "audio": "../../outside.wav"}, "leaves"),
        ({"id": "../escaped"}, "../escaped"),
        ({"residual_units": [[1] * 5]}, "1 stream"),
        ({"durations": [2]}, "duration"),
        ({"durations": None}, "durations"),
    ],
)
def test_units_that_cannot_be_spoken_are_one_line(roots: Path, tmp_path: Path, changes: dict, expected: str) -> None:
    screen = speak(roots, "--units", write_json(tmp_path / "units.json", **changes), "--out", tmp_path / "out", code=2)
    assert screen.startswith("error: ") and len(screen.splitlines()) == 1 and expected in screen
    assert not list(tmp_path.rglob("*.wav"))


def test_other_mistakes_are_one_line(roots: Path, recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp3").write_bytes(b"no audio")
    (tmp_path / "empty").mkdir()
    (tmp_path / "twice").mkdir()
    save_audio(tmp_path / "twice" / "first.wav", speech_like(0.1))
    save_audio(tmp_path / "short.wav", np.zeros(319))
    os.makedirs(tmp_path / "half" / "checkpoints")
    mistakes = {
        (tmp_path / "missing.wav",): "missing.wav",
        (tmp_path / "broken.mp3",): "broken.mp3",
        (tmp_path / "short.wav",): "short.wav",
        (tmp_path / "empty",): "expected recordings",
        (recordings / "first.wav", tmp_path / "twice"): "first",
        (): "expected one of",
        (recordings, "--units", "x.json"): "expected one of",
        ("--units", tmp_path / "nothing.json"): "nothing.json",
        (recordings, "--speaker", "nobody"): "nobody",
        (recordings, "--voice_of", recordings / "first.wav"): "expected one trained with --speaker_vectors",
        (recordings, "--keep_f0"): "--keep_f0 goes with --voice_of",
        (recordings, "--checkpoint", tmp_path / "none.pt"): "none.pt",
        (recordings, "--exp", tmp_path / "half"): "run_phase3.sh",
    }
    for flags, expected in mistakes.items():
        screen = speak(roots, *flags, "--out", tmp_path / "out", code=2)
        assert screen.startswith("error: ") and len(screen.splitlines()) == 1 and expected in screen, (flags, screen)
    assert not (tmp_path / "out").exists()


def test_units_files_survive_json(from_recordings: Path) -> None:
    entries = json.loads((from_recordings / "units.json").read_text(encoding="utf-8"))
    assert [sum(entry["durations"]) for entry in entries] == [len(entry["f0"]) for entry in entries]
    assert all(entry["duration"] == sum(entry["durations"]) / 50 for entry in entries)


def test_one_bad_recording_is_named_and_the_others_are_spoken(roots: Path, tmp_path: Path) -> None:
    folder = tmp_path / "some"
    for name in "ac":
        save_audio(folder / f"{name}.wav", speech_like(0.3, seed=ord(name)))
    (folder / "b.mp3").write_bytes(b"not audio")
    save_audio(folder / "d.wav", np.zeros(319))
    screen = speak(roots, folder, "--out", tmp_path / "out", "--save_units", code=3)
    assert "failed: b: " in screen and "failed: d: " in screen and "2 of 4" in screen and "--max_failed 5 %" in screen
    assert spoken(tmp_path / "out").keys() == {"a", "c"}
    assert [entry["id"] for entry in read_corpus(tmp_path / "out" / "units.json")] == ["a", "c"]
    speak(roots, folder, "--out", tmp_path / "out", "--max_failed", 50)


def test_units_whose_audio_is_gone_are_named_and_the_others_are_spoken(roots: Path, tmp_path: Path) -> None:
    entry = {"duration": 0.1, "split": "test", "unit_rate": 50, "units": [1, 2], "durations": [2, 3]}
    rows = [entry | {"id": "a", "audio": "gone.wav"}, entry | {"id": "b", "audio": "", "f0": [100.0] * 5}]
    write_corpus(tmp_path / "units.json", rows)
    screen = speak(roots, "--units", tmp_path / "units.json", "--out", tmp_path / "out", "--max_failed", 50)
    assert "failed: a: " in screen and "gone.wav" in screen and spoken(tmp_path / "out").keys() == {"b"}


@pytest.mark.parametrize("scale", ["0", "-1", "1e9", "nan", "0.2", "4.1"])
def test_a_pitch_that_no_voice_has_is_refused(scale: str) -> None:
    with pytest.raises(UserError, match="--f0_scale .*: expected a factor from 0.25 to 4"):
        parse_args(["--exp", "voice", "a.mp3", "--f0_scale", scale])
