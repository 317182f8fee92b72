"""Phase 1 as a script: what it writes, what it refuses, and that interruption and sharding change nothing."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import pytest

import extract_units

from audio.audio_io import load_audio
from core.cli import run_main
from core.errors import UserError
from core.frames import samples_to_frames
from encoders.encode import encode, load_encoder
from synthetic import REPOSITORY, run_ranks, run_script, script_environment
from units.corpus import frame_units, read_corpus
from units.kmeans import load_kmeans, quantize_to_units

SMALL = ("--language", "spanish", "--n_units", "12", "--n_shard_utterances", "3", "--num_workers", "2", "--quiet")
OUTPUTS = ("corpus_timestamped.json", "kmeans.npz", "kmeans.pkl")


def extract(exp: Path, *flags: object) -> Path:
    assert extract_units.main([*SMALL, "--exp", str(exp), *map(str, flags)]) == 0
    return exp


def contents(exp: Path) -> dict[str, bytes]:
    return {name: (exp / name).read_bytes() for name in OUTPUTS}


def test_corpus_follows_the_manifest(tiny_language: dict, tmp_path: Path) -> None:
    exp = extract(tmp_path / "units")
    corpus = json.loads((exp / "corpus_timestamped.json").read_text())
    assert [utterance["id"] for utterance in corpus] == [row["id"] for row in tiny_language["rows"]]
    kmeans, encoder = load_kmeans(exp / "kmeans.npz"), load_encoder("mfcc", None)
    for utterance, row in zip(read_corpus(exp / "corpus_timestamped.json"), tiny_language["rows"]):
        waveform = load_audio(tiny_language["data"] / row["audio"])
        assert sum(utterance["durations"]) == samples_to_frames(len(waveform))
        assert utterance["duration"] == len(waveform) / 16000
        assert utterance["split"] == row["split"]
        assert (np.diff(utterance["units"]) != 0).all()
        expected = quantize_to_units(encode(encoder, [waveform])[0], kmeans)
        np.testing.assert_array_equal(frame_units(utterance), expected)
    derived = json.loads((exp / "config.json").read_text())["derived"]
    assert {"encoder": "mfcc", "layer": None, "n_units": 12, "n_streams": 1, "unit_rate": 50}.items() <= derived.items()
    assert not list(exp.rglob("*.tmp"))
    assert sorted(path.name for path in exp.iterdir()) == sorted(
        [*OUTPUTS, "config.json", "finished.json", "train.log"]
    )


def test_kmeans_sees_the_training_split_alone(tiny_language: dict, tmp_path: Path) -> None:
    """Other audio in val and test leaves the clusters as they were."""
    before = load_kmeans(extract(tmp_path / "a") / "kmeans.npz")
    for row in tiny_language["rows"]:
        if row["split"] != "train":
            path = tiny_language["data"] / row["audio"]
            path.write_bytes((tiny_language["data"] / tiny_language["rows"][0]["audio"]).read_bytes())
    np.testing.assert_array_equal(load_kmeans(extract(tmp_path / "b") / "kmeans.npz").books, before.books)


def test_residual_streams_and_workers(tiny_language: dict, tmp_path: Path) -> None:
    one = extract(tmp_path / "one", "--n_streams", 2, "--num_workers", 1)
    assert contents(one) == contents(extract(tmp_path / "three", "--n_streams", 2, "--num_workers", 3))
    for utterance in read_corpus(one / "corpus_timestamped.json"):
        assert len(utterance["residual_units"]) == 1
        assert frame_units(utterance).shape == (sum(utterance["durations"]), 2)
        assert frame_units(utterance).max() < 12


def test_finished_run_is_left_alone(tiny_language: dict, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    exp = extract(tmp_path / "units")
    before = {path: path.stat().st_mtime_ns for path in exp.iterdir()}
    extract(exp, "--resume", "auto")
    assert "already finished" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in exp.iterdir()} == before
    with pytest.raises(UserError, match="exists already"):
        extract(exp)
    with pytest.raises(UserError, match="n_units: 12 -> 13"):
        extract(exp, "--resume", "auto", "--n_units", 13)


KILLED_AT_RENAMES = """
import os, signal, sys
import extract_units
moments, folder, *flags = sys.argv[1:]
replace = os.replace
for moment in map(int, moments.split(",")):
    child = os.fork()  # before anything has run: imports are paid for once
    if child == 0:
        left = [moment]
        def replace_or_die(*paths):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(*paths)
        os.replace = replace_or_die
        extract_units.main([*flags, "--exp", f"{folder}/killed_{moment}"])
        os._exit(0)
    print(moment, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_killed_runs_end_with_the_same_bytes(tiny_language: dict, tmp_path: Path) -> None:
    """kill -9 just before a file gets its name: while sampling, between pickle and arrays, while assigning, merging."""
    expected = contents(extract(tmp_path / "whole"))
    # Renames: config, 2 shards of features and their records, kmeans.pkl, kmeans.npz, 4 shards of units and their
    # records, corpus, finished.
    moments = (3, 7, 11, 16)
    command = [sys.executable, "-c", KILLED_AT_RENAMES, ",".join(map(str, moments)), str(tmp_path)]
    killed = subprocess.run(
        [*command, *SMALL, "--resume", "auto"], check=True, env=script_environment(), capture_output=True, text=True
    )
    assert killed.stdout.splitlines() == [f"{moment} -9" for moment in moments]
    for moment in moments:
        exp = tmp_path / f"killed_{moment}"
        assert not (exp / "finished.json").exists()
        extract(exp, "--resume", "auto")
        assert contents(exp) == expected, moment
        assert not list(exp.rglob("*.tmp"))


def test_two_processes_give_the_same_bytes(tiny_language: dict, tmp_path: Path) -> None:
    expected = contents(extract(tmp_path / "one"))
    run_ranks(REPOSITORY / "src" / "extract_units.py", *SMALL, "--exp", tmp_path / "two")
    assert contents(tmp_path / "two") == expected


def test_pretrained_encoder_by_folder(tiny_language: dict, tiny_xlsr: Path, tmp_path: Path) -> None:
    exp = extract(tmp_path / "units", "--encoder", tiny_xlsr, "--layer", 2, "--cpu", "--max_batch_seconds", 6)
    assert load_kmeans(exp / "kmeans.npz").books[0].shape == (12, 32)
    assert not (exp / "fit").exists()
    encoder = load_encoder(str(tiny_xlsr), 2)
    for utterance in read_corpus(exp / "corpus_timestamped.json"):
        waveform = load_audio(tiny_language["data"] / utterance["audio"])
        expected = quantize_to_units(encode(encoder, [waveform])[0], load_kmeans(exp / "kmeans.npz"))
        assert (frame_units(utterance) == expected).mean() > 0.98  # batches differ by 1e-6: ties may fall otherwise


def test_sampled_features_are_used_again(
    tiny_language: dict, tiny_xlsr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where k-means saw every training frame, the second pass encodes val and test only, and gives the same units."""
    flags = ("--encoder", tiny_xlsr, "--layer", 2, "--cpu")
    kept = extract(tmp_path / "kept", *flags)
    encoded: list[int] = []

    def counting_encode(encoder: dict, waveforms: list, **options: list) -> list:
        encoded.append(len(waveforms))
        return encode(encoder, waveforms, **options)

    monkeypatch.setattr("units.extraction_passes.encode", counting_encode)
    extract(tmp_path / "again", *flags)
    assert sum(encoded) == len(tiny_language["rows"])
    assert contents(tmp_path / "again") == contents(kept)
    encoded.clear()
    anew = extract(tmp_path / "anew", *flags, "--kmeans", kept / "kmeans.npz", "--n_units", 12)
    assert sum(encoded) == len(tiny_language["rows"])
    for one, other in zip(*(read_corpus(exp / "corpus_timestamped.json") for exp in (kept, anew))):
        assert (frame_units(one) == frame_units(other)).mean() > 0.98


def test_whisper_is_fitted_at_random_offsets_and_read_at_none(
    tiny_language: dict, tiny_whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets: list[list[int]] = []

    def recording_encode(encoder: dict, waveforms: list, **options: list) -> list:
        offsets.append(list(options["offsets"]))
        return encode(encoder, waveforms, **options)

    monkeypatch.setattr("units.extraction_passes.encode", recording_encode)
    flags = ("--encoder", tiny_whisper, "--layer", 1, "--cpu", "--n_shard_utterances", 10)
    extract(tmp_path / "one", *flags)
    fitted, read = offsets
    assert len(set(fitted)) == len(fitted) == 6
    assert max(fitted) > 700
    assert read == [0] * 10
    extract(tmp_path / "two", *flags)
    assert offsets[2] == fitted
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_learned_noise_lies_in_the_clusters_and_jobs_give_the_same_bytes(tiny_language: dict, tmp_path: Path) -> None:
    """Whole, in stages by two jobs, and with clusters given: the same network, by which all units are found."""
    few = ("--augment", "--augment_steps", 3)
    whole, staged = extract(tmp_path / "whole", *few), tmp_path / "staged"
    for stage in ("sample", "fit", "assign", "merge"):
        for index in reversed(range(2 if stage in ("sample", "assign") else 1)):
            shards = ("--shards", 2) if stage in ("sample", "assign") else ()
            extract(staged, *few, "--stage", stage, *shards, "--shard_index", index)
    assert contents(staged) == contents(whole)
    clusters, encoder = load_kmeans(whole / "kmeans.npz"), load_encoder("mfcc", None)
    assert clusters.denoiser is not None
    for utterance in read_corpus(whole / "corpus_timestamped.json"):
        features = encode(encoder, [load_audio(tiny_language["data"] / utterance["audio"])])[0]
        np.testing.assert_array_equal(frame_units(utterance), quantize_to_units(features, clusters))
    given = contents(extract(tmp_path / "given", "--kmeans", whole / "kmeans.npz"))
    assert given["corpus_timestamped.json"] == contents(whole)["corpus_timestamped.json"]
    with pytest.raises(UserError, match="have not learned noise"):
        extract(tmp_path / "refused", "--kmeans", whole / "kmeans.npz", *few)


def test_noise_is_learned_for_one_plain_stream_of_cheap_features(tiny_xlsr: Path, tmp_path: Path) -> None:
    for flags, message in (
        (["--augment_steps", 3], "expected --augment with it"),
        (["--augment", "--n_streams", 2], "expected one stream"),
        (["--augment", "--duration_penalty", 1], "expected one stream"),
        (["--augment", "--encoder", tiny_xlsr, "--layer", 1], "expected mfcc or logmel"),
        (["--augment", "--augment_steps", 0], "above 0"),
    ):
        with pytest.raises(UserError, match=message):
            extract(tmp_path / "units", *flags)
    assert not (tmp_path / "units").exists()


def test_clusters_of_another_language(tiny_language: dict, tmp_path: Path) -> None:
    first = extract(tmp_path / "first", "--n_streams", 2)
    again = extract_units.main(
        ["--language", "spanish", "--exp", str(tmp_path / "again"), "--kmeans", str(first / "kmeans.npz"), "--quiet"]
    )
    assert again == 0
    corpora = [json.loads((tmp_path / name / "corpus_timestamped.json").read_text()) for name in ("first", "again")]
    assert corpora[0] == corpora[1]
    for flags, message in (
        (["--kmeans", first / "kmeans.npz", "--n_units", 13], "expected --n_units 13, found 12"),
        (["--kmeans", first / "kmeans.npz", "--cmn"], "same encoder and options"),
        (["--kmeans", first / "kmeans.pkl"], "--trust_pickle"),
        (["--trust_pickle"], "expected --kmeans FILE"),
    ):
        with pytest.raises(UserError, match=message):
            extract(tmp_path / "refused", *flags)
    assert not (tmp_path / "refused").exists()


def test_a_duration_penalty_holds_wherever_the_clusters_go(tiny_language: dict, tmp_path: Path) -> None:
    """Units are those of the clusters' file alone, whoever reads it; 0 is as no flag, to the byte."""
    plain, smooth = extract(tmp_path / "plain"), extract(tmp_path / "smooth", "--duration_penalty", 1.5)
    assert contents(extract(tmp_path / "zero", "--duration_penalty", 0)) == contents(plain)
    corpora = {exp: list(read_corpus(exp / "corpus_timestamped.json")) for exp in (plain, smooth)}
    runs = {exp: sum(len(utterance["units"]) for utterance in corpus) for exp, corpus in corpora.items()}
    assert runs[smooth] < 0.8 * runs[plain]
    clusters, encoder = load_kmeans(smooth / "kmeans.npz"), load_encoder("mfcc", None)
    for utterance in corpora[smooth]:
        waveform = load_audio(tiny_language["data"] / utterance["audio"])
        expected = quantize_to_units(encode(encoder, [waveform])[0], clusters)
        np.testing.assert_array_equal(frame_units(utterance), expected)
    assert json.loads((smooth / "config.json").read_text())["derived"]["duration_penalty"] == 1.5
    given = ("--kmeans", smooth / "kmeans.npz")
    again = contents(extract(tmp_path / "own", *given))
    assert again["corpus_timestamped.json"] == contents(smooth)["corpus_timestamped.json"]
    nearest = read_corpus(extract(tmp_path / "nearest", *given, "--duration_penalty", 0) / "corpus_timestamped.json")
    assert sum(len(utterance["units"]) for utterance in nearest) > 1.2 * runs[smooth]
    with pytest.raises(UserError, match="--duration_penalty -1.0: expected 0 or more"):
        extract(tmp_path / "refused", "--duration_penalty", -1)


def test_a_run_older_than_the_penalty_goes_on(tiny_language: dict, tmp_path: Path) -> None:
    exp = extract(tmp_path / "units")
    config = json.loads((exp / "config.json").read_text())
    del config["arguments"]["duration_penalty"]
    (exp / "config.json").write_text(json.dumps(config))
    extract(exp, "--resume", "auto")
    with pytest.raises(UserError, match="duration_penalty: 0.0 -> 1.0"):
        extract(exp, "--resume", "auto", "--duration_penalty", 1)


def test_speakers_are_normalised_by_themselves_and_strangers_by_what_is_heard(
    tiny_language: dict, tmp_path: Path
) -> None:
    manifest = tiny_language["data"] / "spanish" / "segments.jsonl"
    rows = [row | {"speaker": "abc"[number % 3]} for number, row in enumerate(tiny_language["rows"])]
    rows[0]["speaker"] = None
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    exp = extract(tmp_path / "units", "--normalize", "speaker_root", "--duration_penalty", 1, "--n_shard_utterances", 2)
    clusters, encoder = load_kmeans(exp / "kmeans.npz"), load_encoder("mfcc", None)
    known = {f"spanish/{row['speaker']}" for row in rows if row["split"] == "train" and row["speaker"]}
    assert {*clusters.speakers.names} == known and not (exp / "kmeans.pkl").exists()
    by_name = []
    for utterance in read_corpus(exp / "corpus_timestamped.json"):
        features = encode(encoder, [load_audio(tiny_language["data"] / utterance["audio"])])[0]
        expected = quantize_to_units(features, clusters, f"spanish/{utterance.get('speaker')}")
        np.testing.assert_array_equal(frame_units(utterance), expected)
        by_name.append((expected != quantize_to_units(features, clusters)).any())
    assert any(by_name)
    corpus = (exp / "corpus_timestamped.json").read_bytes()
    again = extract(tmp_path / "again", "--kmeans", exp / "kmeans.npz")
    assert (again / "corpus_timestamped.json").read_bytes() == corpus


def test_streams_from_several_layers_and_encoders(tiny_language: dict, tiny_xlsr: Path, tmp_path: Path) -> None:
    """What kmeans.npz says of its encoders is enough to find the units of a recording again."""
    sets = ("--encoder", tiny_xlsr, "--layer", 2, "--add_features", f"{tiny_xlsr}@1", "mfcc", "--context", 1, "--cpu")
    exp = extract(tmp_path / "separate", *sets, "--separate_streams")
    clusters = load_kmeans(exp / "kmeans.npz")
    description = clusters.description
    assert [np.flatnonzero(book.any(axis=0))[[0, -1]].tolist() for book in clusters.books] == [
        [0, 31],
        [32, 63],
        [64, 180],
    ]
    encoder = load_encoder(description["encoder"], description["layer"], **description["options"])
    utterance = next(read_corpus(exp / "corpus_timestamped.json"))
    features = encode(encoder, [load_audio(tiny_language["data"] / utterance["audio"])])[0]
    found = frame_units(utterance)
    assert found.shape == (len(features), 3) and (quantize_to_units(features, clusters) == found).mean() > 0.98
    np.testing.assert_array_equal(
        features[:, 64:],
        encode(load_encoder("mfcc", None, context=1), [load_audio(tiny_language["data"] / utterance["audio"])])[0],
    )
    assert json.loads((exp / "config.json").read_text())["derived"]["n_streams"] == 3
    for flags, message in (
        (["--separate_streams"], "expected --add_features"),
        (["--kmeans", exp / "kmeans.npz", *sets, "--separate_streams"], "the streams of --kmeans"),
        (["--kmeans", exp / "kmeans.npz", *sets[:4], "--cpu"], "same encoder and options"),
        (["--add_features", f"{tiny_xlsr}@9"], "between 0 and 3, found 9"),
        (["--add_features", "logmel@2"], "logmel has no layers"),
    ):
        with pytest.raises(UserError, match=message):
            extract(tmp_path / "refused", *flags)
    assert not (tmp_path / "refused").exists()


def test_few_failures_are_named_and_many_stop_the_run(
    tiny_language: dict, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows, expected = tiny_language["rows"], contents(extract(tmp_path / "whole"))
    damaged = [tiny_language["data"] / rows[number]["audio"] for number in (1, 7)]
    kept = [path.read_bytes() for path in damaged]
    damaged[0].write_bytes(b"not audio at all")
    damaged[1].unlink()
    exp = tmp_path / "units"
    with pytest.raises(SystemExit) as stopped:
        extract(exp)
    assert stopped.value.code == 3
    assert rows[1]["id"] in capsys.readouterr().err
    extract(tmp_path / "lenient", "--max_failed", 30)
    corpus = list(read_corpus(tmp_path / "lenient" / "corpus_timestamped.json"))
    assert [item["id"] for item in corpus] == [row["id"] for number, row in enumerate(rows) if number not in (1, 7)]
    finished = json.loads((tmp_path / "lenient" / "finished.json").read_text())
    assert [failure["id"] for failure in finished["failed"]] == [rows[1]["id"], rows[7]["id"]]
    for path, audio in zip(damaged, kept):
        path.write_bytes(audio)
    assert contents(extract(exp, "--resume", "auto")) == expected


def test_the_sample_grows_with_the_number_of_units() -> None:
    """256 frames a unit, never fewer than 200,000; a flag is obeyed, and given clusters need no sample."""
    for flags, expected in (
        (["--n_units", "100"], 200_000),
        (["--n_units", "1000"], 256_000),
        (["--n_units", "1000", "--kmeans_frames", "5000"], 5000),
        (["--kmeans", "kmeans.npz"], 200_000),
    ):
        assert extract_units.parse_args(["--language", "spanish", *flags]).kmeans_frames == expected


def test_mistakes_leave_no_folder(tiny_language: dict, tiny_xlsr: Path, tmp_path: Path) -> None:
    for flags, message in (
        (["--encoder", tiny_xlsr, "--layer", 9], "between 0 and 3, found 9"),
        (["--encoder", tiny_xlsr], "expected --layer"),
        (["--layer", 3], "mfcc has no layers"),
        (["--n_units", 5000], "at least 5000 training frames"),
        (["--n_streams", 0], "above 0"),
    ):
        with pytest.raises(UserError, match=message):
            extract(tmp_path / "units", *flags)
    assert not (tmp_path / "units").exists()


def test_script_says_what_it_wrote_and_what_comes_next(
    tiny_language: dict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    done = run_script("src/extract_units.py", *SMALL, "--tag", "t1")
    corpus = tiny_language["exp"] / "spanish_units_t1" / "corpus_timestamped.json"
    assert f"{corpus}: 10 utterances" in done.stderr
    assert "next: python src/train_bpe.py --language spanish --tag t1" in done.stderr
    monkeypatch.setattr(sys, "argv", ["extract_units.py", "--language", "english"])
    with pytest.raises(SystemExit) as stopped:
        run_main(extract_units.main)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: ") and "segments.jsonl" in error
