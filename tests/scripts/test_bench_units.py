"""Benchmarks of units: phones told apart, noise that changes units, motifs on phones, and what assignment costs."""

import json
import sys
from pathlib import Path

import numpy as np

import pytest

import bench_abx
import bench_assignment
import bench_motifs
import bench_noise

from audio.audio_io import load_audio, save_audio
from audio.pitch import extract_f0
from core.errors import UserError
from core.files import read_json
from core.frames import SAMPLE_RATE
from core.tables import write_table
from synthetic import speech_like
from units.corpus import deduplicate, write_corpus
from units.kmeans import fit_kmeans, save_kmeans

TONES = {"a": 300.0, "b": 1200.0, "c": 4000.0}  # Hz: three phones that nothing confuses
PHONE = 0.1  # seconds
LANGUAGE = "russian"


@pytest.fixture
def tones(language_roots: dict[str, Path]) -> Path:
    """data/russian: eight clips of tones in random order, with phones.tsv; four are of the test split."""
    folder, rows, phones = language_roots["data"] / LANGUAGE, [], []
    random = np.random.default_rng(0)
    for number in range(8):
        said = [list(TONES)[place] for place in random.integers(0, 3, 24)]
        times = np.arange(round(PHONE * SAMPLE_RATE)) / SAMPLE_RATE
        waveform = np.concatenate([0.3 * np.sin(2 * np.pi * TONES[phone] * times) for phone in said])
        waveform += 1e-3 * random.standard_normal(len(waveform))
        name = f"clip{number}"
        save_audio(folder / "segments" / f"{name}.wav", waveform.astype(np.float32))
        seconds = len(waveform) / SAMPLE_RATE
        row = {"id": name, "audio": f"{LANGUAGE}/segments/{name}.wav", "source": f"{name}.wav", "start": 0.0}
        row |= {"end": seconds, "duration": seconds, "speaker": f"s{number % 2}", "flags": []}
        rows.append(row | {"split": "train" if number < 4 else "test"})
        phones += [(f"{name}.wav", f"{n * PHONE:.3f}", f"{(n + 1) * PHONE:.3f}", said[n]) for n in range(24)]
    (folder / "segments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    write_table(folder / "phones.tsv", ("source", "start", "end", "phone"), phones)
    return folder


def test_tones_are_told_apart_by_features_and_by_units(tones: Path, monkeypatch, capsys) -> None:
    flags = ["--language", LANGUAGE, "--n_units", "2", "8", "--n_train", "3", "--n_resamples", "20"]
    monkeypatch.setattr(sys, "argv", ["bench_abx.py", *flags])
    assert bench_abx.main() == 0
    setting, raw, normalized, two, eight = map(json.loads, capsys.readouterr().out.splitlines())
    assert setting["frames"] == 3 * 120
    for row in (raw, normalized):
        assert row["abx"]["within"]["value"] < 0.25
    assert eight["abx_units"]["within"]["value"] < two["abx_units"]["within"]["value"]
    assert eight["phones"]["pnmi"]["value"] > two["phones"]["pnmi"]["value"] + 0.1
    assert two["bits_per_second"] < eight["bits_per_second"] <= 50 * 3 and 0 <= eight["one_frame_runs"] < 1


def test_clips_to_fit_on_and_to_judge_must_be_there(tones: Path, monkeypatch) -> None:
    lines = [line for line in (tones / "segments.jsonl").read_text().splitlines() if '"train"' in line]
    (tones / "segments.jsonl").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(sys, "argv", ["bench_abx.py", "--language", LANGUAGE])
    with pytest.raises(UserError, match="test clips with phones, found 4, 0"):
        bench_abx.main()


def write_phase1(exp: Path, tones: Path, n_units: int) -> Path:
    """Units of the tones as phase 1 leaves them, by clusters of their own MFCC."""
    from encoders.encode import encode, load_encoder
    from units.kmeans import quantize_to_units

    exp.mkdir(parents=True)
    rows = [json.loads(line) for line in (tones / "segments.jsonl").read_text().splitlines()]
    encoder = load_encoder("mfcc", None)
    features = [encode(encoder, [load_audio(tones.parent / row["audio"])])[0] for row in rows]
    clusters = fit_kmeans(np.concatenate(features), n_units)
    save_kmeans(exp, clusters, {"encoder": "mfcc", "layer": None, "options": {}})
    found = []
    for row, one in zip(rows, features):
        units, durations = deduplicate(quantize_to_units(one, clusters)[:, 0])
        found.append(row | {"unit_rate": 50, "units": units.tolist(), "durations": durations.tolist()})
    write_corpus(exp / "corpus_timestamped.json", found)
    (exp / "config.json").write_text(json.dumps({"derived": {"n_units": n_units}}))
    return exp


def test_motifs_of_tones_hold_the_same_phones_in_test(tones: Path, language_roots: dict[str, Path], capsys) -> None:
    exp = write_phase1(language_roots["exp"] / "tones", tones, 6)
    flags = ["--language", LANGUAGE, "--exp", str(exp), "--vocab_size", "12", "--n_resamples", "10"]
    assert bench_motifs.main(flags) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["exp"] == "tones" and found["units_per_second"] > found["motifs_per_second"]
    assert found["units_per_motif"] == pytest.approx(found["units_per_second"] / found["motifs_per_second"])
    assert found["phones_in_motifs_read_right"] > found["phones_read_right_turned_round"] + 0.2
    assert found["pnmi"]["value"] > found["pnmi_shuffled"]["value"] + 0.3


def test_noise_changes_more_units_than_a_codec(
    tones: Path, language_roots: dict[str, Path], tmp_path: Path, capsys
) -> None:
    folders = [write_phase1(language_roots["exp"] / name, tones, n) for name, n in (("six", 6), ("four", 4))]
    noise, out = tmp_path / "noise", tmp_path / "noisy"
    save_audio(noise / "hiss.wav", 0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32))
    flags = ["--language", LANGUAGE, "--units", *map(str, folders), "--noise", str(noise), "--snr", "40", "0"]
    bench_noise.main([*flags, "--max_utterances", "2", "--out", str(out), "--clean_f0"])
    scores = read_json(out / "unit_errors.json")
    assert set(scores["six"]) == {"clean", "noise_40db", "noise_0db", "room", "mp3", "opus"}
    rates = {name: row["unit_error_rate"]["mean"] for name, row in scores["six"].items()}
    assert rates["clean"] == 0 and max(rates["noise_40db"], rates["mp3"], rates["opus"]) < 0.1 < rates["noise_0db"]
    assert scores["six"]["clean"]["frame_agreement"]["mean"] == 1
    assert scores["four"]["clean"]["against_first"]["frame_agreement"]["mean"] < 1
    assert len(list((out / "room").glob("*.wav"))) == 2
    [first, _] = read_json(out / "six_noise_0db.json", list)
    f0 = extract_f0(load_audio(out / "clean" / f"{first['id']}.wav"))
    assert first["f0"] == f0[: sum(first["durations"])].tolist() and "2 clips" in capsys.readouterr().out
    with pytest.raises(UserError, match="expected recordings of noise"):
        (tmp_path / "none").mkdir()
        bench_noise.load_noises([tmp_path / "none"])


def test_a_room_begins_with_the_direct_sound_and_dies_away() -> None:
    response = bench_noise.room_response(np.random.default_rng(0))
    assert len(response) == SAMPLE_RATE and response[0] == pytest.approx(1) and response.max() < 2
    assert np.square(response[:4000]).sum() > 10 * np.square(response[8000:]).sum() > 0


def test_the_same_noise_lies_under_every_ratio() -> None:
    speech = speech_like(0.5)
    kinds = [[0.1 * np.random.default_rng(seed).standard_normal(9000).astype(np.float32)] for seed in range(3)]
    loud, quiet = (bench_noise.add_recorded(speech, np.random.default_rng(5), kinds, snr) - speech for snr in (0, 20))
    assert np.allclose(loud, 10 * quiet, atol=1e-5)


def test_assignment_is_timed_for_an_hour(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_assignment.py", "--minutes", "0.2", "--n_units", "8"])
    bench_assignment.main()
    mfcc, units = capsys.readouterr().out.splitlines()
    assert mfcc.startswith("MFCC: ") and units.startswith("K = 8: nearest ") and float(mfcc.split()[1]) > 0
