"""scripts/segment_audio.py on small folders: manifest, bad files, restarts, kills, path safety."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np

import av
import pytest
import soundfile

import segment_audio

from annotations.spans import Span
from annotations.write_annotations import write_annotations
from audio import stated_length
from audio.pitch import f0_store
from audio.track_store import N_BUCKETS, add_tracks, read_track
from core.errors import UserError
from core.frames import SAMPLE_RATE
from core.packed_files import name_key
from languages import resolve_in
from segmentation import cut_recording, cutting_report
from segmentation.recordings import list_sources
from synthetic import REPOSITORY, speech_like

SCRIPT = REPOSITORY / "scripts" / "segment_audio.py"


@pytest.fixture
def raw(language_roots):
    folder = language_roots["data"] / "satere" / "raw"
    folder.mkdir(parents=True)
    return folder


def record(path, seconds=12.0, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, speech_like(seconds, seed), SAMPLE_RATE)


def segment(monkeypatch, *flags):
    monkeypatch.setattr(
        sys, "argv", ["segment_audio.py", "--language", "satere", "--num-workers", "1", "--quiet", *flags]
    )
    return segment_audio.main()


def read_manifest(raw):
    return [json.loads(line) for line in (raw.parent / "segments.jsonl").read_text().splitlines()]


def fingerprint(raw):
    """Every final file of the language and its bytes; the lock and the recordings' times of change left out."""
    files = [path for path in sorted(raw.parent.rglob("*")) if path.is_file() and raw not in path.parents]
    return {str(path.relative_to(raw.parent)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_manifest_and_segments_agree(raw, monkeypatch):
    for number in range(4):
        record(raw / f"tape_{number}.wav", seed=number)
    assert segment(monkeypatch, "--keep_level") == 0
    rows = read_manifest(raw)
    assert {row["source"] for row in rows} == {f"tape_{number}.wav" for number in range(4)}
    assert rows == sorted(rows, key=lambda row: (row["source"], row["start"]))
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    for row in rows:
        waveform, rate = soundfile.read(resolve_in(raw.parent.parent, row["audio"]), dtype="int16")
        original = soundfile.read(raw / row["source"], dtype="int16")[0]
        assert rate == SAMPLE_RATE and len(waveform) == round(row["duration"] * SAMPLE_RATE)
        start = round(row["start"] * SAMPLE_RATE)
        assert np.abs(waveform - original[start : start + len(waveform)].astype(int)).max() <= 1


def test_a_soft_recording_is_raised_as_a_whole_unless_told_to_stay(raw, monkeypatch, capsys):
    """Units tell loud from soft: the same speech from another phone would have other units."""
    for number, gain in enumerate((0.4, 0.02)):
        raw.mkdir(exist_ok=True)
        waveform = gain * speech_like(12.0, 5)
        soundfile.write(raw / f"tape_{number}.wav", waveform, SAMPLE_RATE, subtype="FLOAT")
    assert segment(monkeypatch, "--margin", "0.1") == 0
    assert "are raised or lowered to the usual level of speech" in capsys.readouterr().out
    loud, soft = ([row for row in read_manifest(raw) if row["source"] == f"tape_{number}.wav"] for number in range(2))
    assert soft[0]["levelled_db"] - loud[0]["levelled_db"] == pytest.approx(26.0, abs=0.6)
    powers = [np.square(np.concatenate([read_samples(raw, row) for row in rows])).mean() for rows in (loud, soft)]
    assert 10 * np.log10(powers[0] / powers[1]) == pytest.approx(0.0, abs=0.6)
    assert segment(monkeypatch, "--margin", "0.1", "--keep_level") == 0
    rows = read_manifest(raw)
    assert not any("levelled_db" in row for row in rows)
    last = read_samples(raw, [row for row in rows if row["source"] == "tape_1.wav"][0])
    assert np.abs(last).max() < 0.02


def read_samples(raw, row):
    return soundfile.read(resolve_in(raw.parent.parent, row["audio"]))[0]


def write_video_only(path):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))


def write_mp3(path, waveform):
    with av.open(str(path), "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray((waveform * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def truncate(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def test_bad_files_are_named_and_skipped(raw, monkeypatch, capsys):
    record(raw / "good.wav")
    (raw / "undecodable.mp3").write_bytes(np.random.default_rng(0).bytes(5000))
    (raw / "empty.mp3").write_bytes(b"")
    soundfile.write(raw / "silent.wav", np.zeros(SAMPLE_RATE * 5), SAMPLE_RATE)
    soundfile.write(raw / "no_samples.wav", np.zeros(0), SAMPLE_RATE)
    write_video_only(raw / "no_audio.m4a")
    header = bytearray((raw / "good.wav").read_bytes())
    header[22:24] = b"\0\0"
    (raw / "no_channels.wav").write_bytes(header)
    record(raw / "cut.wav")
    record(raw / "cut.flac")
    write_mp3(raw / "cut.mp3", speech_like(12.0))
    for suffix in ("wav", "flac", "mp3"):
        truncate(raw / f"cut.{suffix}")
    assert segment(monkeypatch) == 3
    report = json.loads((raw.parent / "segmentation.json").read_text())
    bad = {path.name for path in raw.iterdir()} - {"good.wav"}
    assert set(report["failed"]) == bad
    for name, word in {"empty.mp3": "empty", "silent.wav": "silent", "no_audio.m4a": "audio stream"}.items():
        assert word in report["failed"][name]
    printed = capsys.readouterr()
    assert all(f"failed: {name}: " in printed.out for name in bad) and "--max_failed" in printed.err
    assert {row["source"] for row in read_manifest(raw)} == {"good.wav"}
    assert segment(monkeypatch, "--max_failed", "95") == 0


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_truncated_files_are_recognised_and_can_be_kept(raw, monkeypatch, suffix):
    path = raw / f"tape.{suffix}"
    if suffix == "mp3":
        write_mp3(path, speech_like(30.0))
    else:
        record(path, 30.0)
    assert segment(monkeypatch) == 0
    truncate(path)
    with pytest.raises(UserError, match="truncated"):
        segment(monkeypatch)
    assert segment(monkeypatch, "--keep_truncated") == 0
    assert 8 < read_manifest(raw)[-1]["end"] < 16


def test_tags_at_the_end_of_an_mp3_are_no_failure(raw, monkeypatch):
    write_mp3(raw / "tape.mp3", speech_like(12.0))
    segment(monkeypatch)
    clean = read_manifest(raw)
    with open(raw / "tape.mp3", "ab") as mp3:
        mp3.write(b"APETAGEX" + np.random.default_rng(0).bytes(3000))
    assert segment(monkeypatch) == 0
    assert read_manifest(raw) == clean


def test_an_mp3_without_a_length_header_is_not_called_truncated(raw, monkeypatch):
    path = raw / "tape.mp3"
    with av.open(str(path), "w", format="mp3", options={"write_xing": "0"}) as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            (speech_like(12.0) * 32767).astype(np.int16)[None], format="s16", layout="mono"
        )
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert stated_length.stated_seconds(path) is None
    write_mp3(path, speech_like(12.0))
    assert stated_length.stated_seconds(path) == pytest.approx(12.0, abs=0.15)
    assert segment(monkeypatch) == 0


def test_a_second_run_redoes_nothing_and_changes_nothing(raw, monkeypatch):
    for number in range(3):
        record(raw / f"tape_{number}.wav", seed=number)
    segment(monkeypatch)
    before = fingerprint(raw)
    monkeypatch.setattr(segment_audio, "cut_recording", lambda job: pytest.fail(f"cut {job.source} again"))
    monkeypatch.setattr(segment_audio, "write_manifest", lambda *args, **flags: pytest.fail("written again"))
    assert segment(monkeypatch) == 0
    assert fingerprint(raw) == before


def test_a_length_that_is_no_round_number_is_not_cut_again(raw, monkeypatch, capsys):
    record(raw / "word.wav", 1.0 + 1 / SAMPLE_RATE)
    assert segment(monkeypatch) == 0 and segment(monkeypatch) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_a_changed_a_missing_and_a_removed_file(raw, monkeypatch):
    for number in range(4):
        record(raw / f"tape_{number}.wav", seed=number)
    segment(monkeypatch)
    before = fingerprint(raw)
    segments = raw.parent / "segments"
    (segments / "tape_1_0000.wav").unlink()
    (segments / "tape_2_0001.wav").write_bytes(b"half")
    (segments / ".tape_2_0001.wav.7.ab.tmp").write_bytes(b"left by a kill")
    segment(monkeypatch)
    assert fingerprint(raw) == before
    (raw / "tape_3.wav").unlink()
    segment(monkeypatch)
    assert not list(segments.glob("tape_3_*")) and "tape_3.wav" not in {row["source"] for row in read_manifest(raw)}
    record(raw / "tape_0.wav", 5.0, seed=9)
    segment(monkeypatch)
    listed = {row["audio"].rpartition("/")[2] for row in read_manifest(raw)}
    assert {path.name for path in segments.iterdir()} == listed


def fill_caches(raw, names):
    """F0 and speaker vectors of segments, and what judges and trainers keep for all recordings together."""
    cache = raw.parent / "cache"
    for store in (f0_store(cache), cache / "speaker_resemblyzer"):
        for name in names:
            add_tracks(store, name_key(name) % N_BUCKETS, [(name, 1, 1, np.full(3, 111.0, np.float32))])
    for name in ("asr_1.json", "mos_1.json", "unit_tables/a/names.jsonl", "speech_features/w/shard.npy"):
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_text("{}")
    return cache


def test_a_recording_that_is_taken_away_leaves_no_number_and_no_name(raw, language_roots, monkeypatch, capsys):
    for number in range(6):
        record(raw / f"tape_{number}.wav", 5.0, seed=number)
    record(raw / "clara.wav", 5.0, seed=9)
    segment(monkeypatch)
    splits = json.loads((raw.parent / "splits.json").read_text())
    names = [row["id"] for row in read_manifest(raw)]
    cache = fill_caches(raw, names)
    for name in ("satere_units", "satere_index", "before/satere_units", "spanish_units"):
        (language_roots["exp"] / name).mkdir(parents=True)
    (raw / "clara.wav").unlink()
    record(raw / "tape_9.wav", 5.0, seed=10)
    capsys.readouterr()
    segment(monkeypatch)
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if line.startswith("taken away: 1 recordings (clara.wav)")]
    for name in ("satere_units", "satere_index", "before/satere_units"):
        assert str(language_roots["exp"] / name) in line
    assert "spanish_units" not in line and "A speaker withdraws" in line
    later = json.loads((raw.parent / "splits.json").read_text())
    assert later == {key: value for key, value in splits.items() if key != "clara.wav"} | {
        "tape_9.wav": later["tape_9.wav"]
    }
    for store in (f0_store(cache), cache / "speaker_resemblyzer"):
        known = {name for name in names if read_track(store, name) is not None}
        assert known == {name for name in names if not name.startswith("clara")}
        assert {float(value) for name in known for value in read_track(store, name)} == {111.0}
    assert sorted(path.name for path in cache.iterdir() if not path.name.startswith(".")) == [
        "f0_praat",
        "segments",
        "speaker_resemblyzer",
    ]
    left = [path for path in raw.parent.rglob("*") if path.is_file() and raw not in path.parents]
    assert not [path for path in left if "clara" in path.name or b"clara" in path.read_bytes()]
    segment(monkeypatch)
    assert "taken away" not in capsys.readouterr().out


def test_a_copy_that_was_there_before_costs_no_cache_but_the_first_time(raw, monkeypatch, capsys):
    for number in range(4):
        record(raw / f"tape_{number}.wav", 5.0, seed=number)
    segment(monkeypatch)
    (raw / "again.wav").write_bytes((raw / "tape_1.wav").read_bytes())
    cache = fill_caches(raw, [])
    segment(monkeypatch)
    assert "left out as copies" in capsys.readouterr().out and (cache / "asr_1.json").is_file()
    # As an older version, which cut copies too, has left it.
    splits = json.loads((raw.parent / "splits.json").read_text())
    (raw.parent / "splits.json").write_text(json.dumps(splits | {"again.wav": "train"}))
    record(raw / "tape_5.wav", 5.0, seed=5)
    segment(monkeypatch)
    assert not (cache / "asr_1.json").exists() and "taken away" not in capsys.readouterr().out


def test_a_recording_that_cannot_be_read_today_is_not_taken_away(raw, monkeypatch, capsys):
    for number in range(4):
        record(raw / f"tape_{number}.wav", 5.0, seed=number)
    segment(monkeypatch)
    before, cache = (raw.parent / "splits.json").read_text(), fill_caches(raw, [])
    (raw / "tape_2.wav").write_bytes(b"half")
    segment(monkeypatch, "--max_failed", "90")
    assert "taken away" not in capsys.readouterr().out and (cache / "asr_1.json").is_file()
    assert (raw.parent / "splits.json").read_text() == before


def test_other_flags_cut_anew_and_leave_no_orphans(raw, monkeypatch):
    record(raw / "tape.wav", 40.0)
    segment(monkeypatch)
    many = len(read_manifest(raw))
    segment(monkeypatch, "--min_pause", "2.0")
    rows = read_manifest(raw)
    assert len(rows) < many
    assert len(list((raw.parent / "segments").iterdir())) == len(rows)


def test_workers_give_the_same_files_as_one_process(raw, monkeypatch):
    for number in range(4):
        record(raw / f"tape_{number}.wav", seed=number)
    segment(monkeypatch)
    before = fingerprint(raw)
    for path in (raw.parent / "cache" / "segments").iterdir():
        path.unlink()
    segment(monkeypatch, "--num_workers", "3")
    assert fingerprint(raw) == before


def test_killed_at_any_moment_it_ends_with_the_same_files(raw):
    for number in range(4):
        record(raw / f"tape_{number}.wav", 90.0, seed=number)
    command = [sys.executable, str(SCRIPT), "--language", "satere", "--num_workers", "2", "--quiet"]
    kill_points = (1, 12)  # segments written by then
    for n_segments in kill_points:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None and len(list((raw.parent / "segments").glob("*.wav"))) < n_segments:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    interrupted = fingerprint(raw)
    assert not [name for name in interrupted if "tmp" in name]
    for path in sorted(raw.parent.rglob("*"), reverse=True):
        if path.is_file() and raw not in path.parents:
            path.unlink()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert fingerprint(raw) == interrupted


def test_texts_speakers_and_unknown_sources(raw, monkeypatch, capsys):
    record(raw / "ana" / "tape.wav", 12.0)
    (raw.parent / "transcripts.tsv").write_text("ana/tape.wav\t\t\twhole text\n../../etc/passwd\t0\t1\tstray\n")
    segment(monkeypatch, "--min_pause", "3", "--speaker_from", "folder")
    (row,) = read_manifest(raw)
    assert row["text"] == "whole text" and row["speaker"] == "ana" and row["id"] == "ana_tape_0000"
    assert "../../etc/passwd" in capsys.readouterr().out
    segment(monkeypatch, "--max_duration", "5")
    printed = capsys.readouterr().out
    lost = "texts left out: 2 of transcripts.tsv: 1 recording not found, 1 cut through by a pause; to keep those"
    assert lost in printed and "text" not in read_manifest(raw)[0]
    (raw.parent / "speakers.tsv").write_text("source\tspeaker\nana/tape.wav\tAna M.\n")
    segment(monkeypatch, "--min_pause", "3")
    assert read_manifest(raw)[0]["speaker"] == "Ana M."
    segment(monkeypatch, "--min_pause", "3", "--speaker_from", "none")
    assert read_manifest(raw)[0]["speaker"] is None


def test_noise_is_flagged_and_dropped_on_demand(raw, monkeypatch):
    record(raw / "speech.wav")
    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE * 5) * 0.1
    soundfile.write(raw / "hiss.wav", noise, SAMPLE_RATE)
    segment(monkeypatch)
    flags = {row["source"]: row["flags"] for row in read_manifest(raw)}
    assert flags == {"speech.wav": [], "hiss.wav": ["noise_or_music"]}
    segment(monkeypatch, "--drop_flagged")
    assert {row["source"] for row in read_manifest(raw)} == {"speech.wav"}
    assert json.loads((raw.parent / "segmentation.json").read_text())["seconds"]["flagged"] > 4


def test_hostile_names_stay_inside_the_data_root(raw, monkeypatch):
    for seed, name in enumerate(("x..wav", "-rf.wav", "a b$(x);.wav", "…/…/~.. .wav")):
        record(raw / name, 5.0, seed)
    segment(monkeypatch)
    rows = read_manifest(raw)
    assert len({row["source"] for row in rows}) == 4
    for row in rows:
        assert resolve_in(raw.parent.parent, row["audio"]).parent == (raw.parent / "segments").resolve()


def test_adding_recordings_moves_no_split(raw, monkeypatch):
    for number in range(4):
        record(raw / f"tape_{number}.wav", 5.0, seed=number)
    segment(monkeypatch)
    before = {row["source"]: row["split"] for row in read_manifest(raw)}
    for number in range(4, 9):
        record(raw / f"tape_{number}.wav", 5.0, seed=number)
    segment(monkeypatch)
    after = {row["source"]: row["split"] for row in read_manifest(raw)}
    assert len(after) == 9 and {source: after[source] for source in before} == before


def test_bare_names_in_tables_are_those_of_recordings_in_folders(raw, monkeypatch, capsys):
    for number in range(4):
        record(raw / f"day_{number % 2}" / f"tape_{number}.wav", 3.0, seed=number)
        record(raw / f"day_{number}" / "again.wav", 3.0, seed=10 + number)
    rows = [
        *(f"tape_{number}.wav\tana\n" for number in range(4)),
        *(f"lost_{number}.wav\tana\n" for number in range(66)),
    ]
    (raw.parent / "speakers.csv").write_text("".join(["again.wav\tana\n", *rows]).replace("\t", ","))
    (raw.parent / "transcripts.tsv").write_text("source\ttext\ntape_1.wav\tone\n")
    segment(monkeypatch)
    assert {row["source"]: row.get("text") for row in read_manifest(raw) if row["speaker"]} == {
        "day_0/tape_0.wav": None,
        "day_1/tape_1.wav": "one",
        "day_0/tape_2.wav": None,
        "day_1/tape_3.wav": None,
    }
    printed = capsys.readouterr().out
    assert "and 47 more; in several folders there is again.wav: write the folder too, as in day_0/again.wav" in printed


def test_copies_of_a_recording_are_left_out_and_named(raw, monkeypatch, capsys):
    for number in range(8):
        record(raw / f"tape_{number}.wav", 3.0, seed=number)
        shutil.copy(raw / f"tape_{number}.wav", raw / f"a copy of tape_{number}.wav")
    (raw / "empty.wav").touch()
    (raw / "empty too.wav").touch()
    (raw.parent / "speakers.tsv").write_text("a copy of tape_0.wav\tana\ntape_1.wav\tana\na copy of tape_1.wav\tana\n")
    assert segment(monkeypatch, "--max_failed", "50") == 0
    sources = {row["source"] for row in read_manifest(raw)}
    assert sources == {"a copy of tape_0.wav"} | {f"tape_{number}.wav" for number in range(1, 8)}
    printed = capsys.readouterr().out
    assert "training and test might share: 8 recordings: a copy of tape_1.wav (of tape_1.wav), " in printed
    assert "not among the recordings" not in printed
    report = json.loads((raw.parent / "segmentation.json").read_text())
    assert report["copies"]["tape_0.wav"] == "a copy of tape_0.wav" and set(report["failed"]) == {
        "empty.wav",
        "empty too.wav",
    }


def cut_or_crash(job):
    if job.source == "tape_2.wav":
        os.kill(os.getpid(), signal.SIGKILL)
    return cut_recording.cut_recording(job)


def test_a_crash_of_the_decoder_costs_one_recording(raw, monkeypatch):
    for number in range(5):
        record(raw / f"tape_{number}.wav", 5.0, seed=number)

    monkeypatch.setattr(segment_audio, "cut_recording", cut_or_crash)
    paths = segment_audio.language_paths("satere")
    jobs = segment_audio.plan(list_sources(raw), paths, {}, cut_recording.CutFlags())
    segment_audio.clean_up(jobs, paths["segments"], paths["cache"] / "segments")
    failed = segment_audio.cut_all(jobs, 2)
    assert list(failed) == ["tape_2.wav"] and "crashed" in failed["tape_2.wav"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--max_duration", "3"],
        ["--min_pause", "0"],
        ["--num_workers", "0"],
        ["--join_clips", "3"],
        ["--join_clips", "121"],
    ],
)
def test_impossible_flags_are_refused(raw, monkeypatch, flags):
    with pytest.raises(UserError):
        segment(monkeypatch, *flags)


def test_no_recordings_names_the_remedy(raw, monkeypatch):
    with pytest.raises(UserError, match="run_all.sh satere <folder of recordings>"):
        segment(monkeypatch)


def test_short_recordings_stay_as_they_are_and_keep_their_texts(raw, monkeypatch, capsys):
    """A list of words: clips under --min_duration, and longer ones with a pause, each with one text."""
    rows = ["source\ttext"]
    for number in range(6):
        record(raw / f"word_{number}.wav", 0.3 + 0.3 * number, seed=number)
        rows.append(f"word_{number}.wav\tword {number}")
    phrase = np.concatenate([speech_like(1.5, 1), np.zeros(SAMPLE_RATE * 3), speech_like(2.5, 2)])
    soundfile.write(raw / "phrase.wav", phrase, SAMPLE_RATE)
    soundfile.write(raw / "untold.wav", 0.9 * phrase, SAMPLE_RATE)
    rows += ["phrase.wav\ttwo halves", "absent.wav\tnobody recorded this", "silent.wav\tnothing to hear"]
    soundfile.write(raw / "silent.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    (raw.parent / "transcripts.tsv").write_text("\n".join(rows))
    assert segment(monkeypatch, "--max_failed", "50") == 0
    texts = {row["source"]: row.get("text") for row in read_manifest(raw) if row["source"] != "untold.wav"}
    assert texts == {f"word_{number}.wav": f"word {number}" for number in range(6)} | {"phrase.wav": "two halves"}
    assert sum(row["source"] == "untold.wav" for row in read_manifest(raw)) == 2
    (first,) = (row for row in read_manifest(raw) if row["source"] == "word_0.wav")
    assert (first["start"], first["end"]) == (0.0, 0.3)
    report = json.loads((raw.parent / "segmentation.json").read_text())
    assert report["texts_lost"] == {"of a recording that failed": 1, "recording not found": 1}
    assert "failed: silent.wav: " in capsys.readouterr().out
    (raw.parent / "transcripts.tsv").write_text("phrase.wav\t0\t1.4\tfirst\nphrase.wav\t4.6\t7\tsecond\n")
    segment(monkeypatch)
    texts = [row.get("text") for row in read_manifest(raw) if row["source"] == "phrase.wav"]
    assert texts == ["first", "second"]


def test_short_clips_are_joined_on_demand_within_folder_speaker_and_split(raw, monkeypatch, capsys):
    texts, speakers = ["source\ttext"], ["source\tspeaker"]
    for number in range(24):
        source = f"{'ab'[number % 2]}/word_{number:02d}.wav"
        record(raw / source, 0.6 + 0.03 * number, seed=number)
        texts.append(f"{source}\tword {number}")
        speakers.append(f"{source}\t{('ana', 'rui')[number // 12]}")
    record(raw / "a" / "long.wav", 5.0)
    soundfile.write(raw / "b" / "silent.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    (raw.parent / "transcripts.tsv").write_text("\n".join(texts))
    (raw.parent / "speakers.tsv").write_text("\n".join(speakers))
    assert segment(monkeypatch) == 0
    apart = {row["source"]: row for row in read_manifest(raw)}
    assert len(apart) == 25, "each as it is, where nobody asks"
    groups = {}
    for row in apart.values():
        if row["duration"] < 2 and not row["flags"]:
            groups.setdefault((row["source"][0], row["speaker"], row["split"]), []).append(row["source"])
    expected = sorted(source for group in groups.values() if len(group) > 1 for source in group)
    assert segment(monkeypatch, "--join_clips") == 0
    assert len(expected) > 12 and f"{len(expected)} short clips are joined in " in capsys.readouterr().out
    rows, splits = read_manifest(raw), json.loads((raw.parent / "splits.json").read_text())
    joined = [row for row in rows if "parts" in row]
    assert len(joined) < 8 and sorted(part["source"] for row in joined for part in row["parts"]) == expected
    assert {row["source"] for row in rows if "parts" not in row} == apart.keys() - set(expected)
    for row in joined:
        parts = [apart[part["source"]] for part in row["parts"]]
        assert {part["split"] for part in parts} == {row["split"]} == {splits[part["source"]] for part in parts}
        assert {(part["speaker"], part["source"][0]) for part in parts} == {(row["speaker"], row["source"][0])}
        assert row["text"] == " ".join(part["text"] for part in parts) and row["duration"] <= 10
        assert soundfile.info(raw.parent / "segments" / f"{row['id']}.wav").frames == round(
            row["duration"] * SAMPLE_RATE
        )
    report = json.loads((raw.parent / "segmentation.json").read_text())
    assert report["texts_lost"] == {} and report["empty"] == [] and report["counts"]["joined_clips"] == len(expected)
    heard = sum(row["duration"] for row in apart.values())
    assert report["seconds"]["kept"] == pytest.approx(heard), "silence between clips is no speech"
    before = fingerprint(raw)
    (raw / "b" / "silent.wav").unlink()
    assert segment(monkeypatch) == 0 and "nothing to do" not in capsys.readouterr().out
    (raw.parent / "segments" / f"{joined[0]['id']}.wav").unlink()
    assert segment(monkeypatch) == 0 and segment(monkeypatch) == 0
    assert "nothing to do" in capsys.readouterr().out
    without_report = {name: sha for name, sha in before.items() if "segmentation.json" not in name}
    assert {name: sha for name, sha in fingerprint(raw).items() if "segmentation.json" not in name} == without_report
    assert segment(monkeypatch, "--join_clips", "0") == 0
    assert {row["source"]: row for row in read_manifest(raw)} == apart
    assert not list((raw.parent / "segments").glob("*_joined.wav"))


def test_a_recording_that_gives_nothing_is_named(raw, monkeypatch):
    record(raw / "tape.wav")
    clicks = np.zeros(SAMPLE_RATE * 5, np.float32)
    clicks[:: SAMPLE_RATE * 2] = 0.9
    soundfile.write(raw / "clicks.wav", clicks + 1e-4, SAMPLE_RATE)
    assert segment(monkeypatch) == 3
    (reason,) = json.loads((raw.parent / "segmentation.json").read_text())["failed"].values()
    assert "gives no segment" in reason or "is silent" in reason


def test_what_is_no_recording_is_counted_and_what_cannot_be_read_named(raw, monkeypatch, capsys):
    record(raw / "tape.wav")
    for name in ("a.jpg", "b.JPG", "notes.docx", "other.eaf", "nameless"):
        (raw / name).write_bytes(b"no sound in here")
    os.symlink("/media/gone/tape1.wav", raw / "lost.wav")
    with open(os.fsencode(raw) + b"/Jos\xe9.wav", "wb") as latin:
        latin.write((raw / "tape.wav").read_bytes())
    record(raw / "two\nlines \U0001f3a4.wav", seed=1)
    assert segment(monkeypatch) == 3
    printed = capsys.readouterr().out
    assert "2 .jpg, 1 .docx, 1 .eaf, 1 without ending ignored" in printed
    assert "failed: lost.wav: is a link to /media/gone/tape1.wav, which is not there" in printed
    assert "failed: Jos\\xe9.wav: its name, or its folder's, is not UTF-8; rename it" in printed
    assert {row["source"] for row in read_manifest(raw)} == {"tape.wav", "two\nlines \U0001f3a4.wav"}
    report = json.loads((raw.parent / "segmentation.json").read_text())
    assert report["ignored"] == {".jpg": 2, ".docx": 1, ".eaf": 1, "without ending": 1} and report["n_sources"] == 4


def test_a_recording_that_changes_while_it_is_read_is_named(raw, monkeypatch):
    record(raw / "tape.wav")
    record(raw / "other.wav", seed=1)
    stream = cut_recording.stream_audio

    def stream_and_touch(path):
        yield from stream(path)
        if path.name == "tape.wav":
            os.utime(path, (1e9, 1e9 + time.time() % 1e6))

    monkeypatch.setattr(cut_recording, "stream_audio", stream_and_touch)
    assert segment(monkeypatch) == 3
    failed = json.loads((raw.parent / "segmentation.json").read_text())["failed"]
    assert list(failed) == ["tape.wav"] and "changed while it was read" in failed["tape.wav"]
    assert not list((raw.parent / "segments").glob("tape_*"))

    def vanish(path):
        path.unlink()
        return stream(path)

    (raw / "other.wav").touch()
    monkeypatch.setattr(cut_recording, "stream_audio", vanish)
    with pytest.raises(UserError, match="none of 2 recordings could be used"):
        segment(monkeypatch)


def test_flags_of_the_last_run_hold_until_others_are_given(raw, monkeypatch, capsys):
    record(raw / "tape.wav", 40.0)
    segment(monkeypatch, "--min_pause", "2.0", "--drop_flagged")
    before = fingerprint(raw)
    date = (raw.parent / "segments.jsonl").stat().st_mtime_ns
    assert segment(monkeypatch) == 0
    assert "with the flags of the last run: --min_pause 2.0 --drop_flagged" in capsys.readouterr().err
    assert fingerprint(raw) == before and (raw.parent / "segments.jsonl").stat().st_mtime_ns == date
    segment(monkeypatch, "--min_pause", "0.4")
    flags = json.loads((raw.parent / "segmentation.json").read_text())["flags"]
    assert flags["min_pause"] == 0.4 and not flags["drop_flagged"]


def test_folders_and_speakers_stay_in_one_split(raw, monkeypatch):
    speakers = []
    for number in range(12):
        source = f"day_{number % 4}/tape_{number}.wav"
        record(raw / source, 3.0, seed=number)
        speakers.append(f"{source}\tspeaker {number % 3}\n")
    (raw.parent / "speakers.tsv").write_text("".join(speakers))

    def placed(key):
        found = {}
        for row in read_manifest(raw):
            found.setdefault(key(row), set()).add(row["split"])
        return found

    segment(monkeypatch, "--split_by", "folder")
    by_folder = placed(lambda row: row["source"].partition("/")[0])
    assert len(by_folder) == 4 and all(len(splits) == 1 for splits in by_folder.values())
    assert set.union(*by_folder.values()) == {"train", "val", "test"}
    record(raw / "day_1" / "later.wav", 3.0, seed=12)
    segment(monkeypatch)
    assert placed(lambda row: row["source"].partition("/")[0]) == by_folder
    (raw.parent / "splits.json").unlink()
    segment(monkeypatch, "--split_by", "speaker")
    by_speaker = placed(lambda row: row["speaker"])
    assert all(len(splits) == 1 for speaker, splits in by_speaker.items() if speaker) and len(by_speaker) == 4


def annotate(path, spans):
    write_annotations(path, spans, form="eaf", media=path.with_suffix(".wav"), seconds=30.0)


SESSION = [
    Span("ref@Ana", 1.0, 4.0, "001", "Ana"),
    Span("tx@Ana", 1.0, 4.0, "wakʼa toi", "Ana"),
    Span("tx@Rui", 3.5, 6.0, "não", "Rui"),
    Span("tx@Eva", 8.0, 8.6, "ẽ", "Eva"),
    Span("tx@Eva", 9.0, 9.9, "ũ", "Eva"),
    Span("tx@Ana", 12.0, 15.25, "sa’o", "Ana"),
    Span("notes", 0.0, 16.0, "rain on the roof"),
]


def test_a_session_in_elan_gives_speakers_texts_and_overlaps(raw, monkeypatch, capsys):
    for number in range(3):
        record(raw / f"session_{number}.wav", seconds=16.0, seed=number)
    annotate(raw / "session_0.eaf", SESSION)
    assert segment(monkeypatch, "--keep_level") == 0
    printed = capsys.readouterr().out
    assert "1 recordings are cut at their annotations" in printed
    assert re.search(r"^not annotated: session_0.wav \d+\.\d s$", printed, re.MULTILINE), printed
    assert re.search(r"^dropped: .*\d+\.\d s not annotated$", printed, re.MULTILINE)
    rows = [row for row in read_manifest(raw) if row["source"] == "session_0.wav"]
    assert [(row["start"], row["end"], row["speaker"], row["text"]) for row in rows] == [
        (1.0, 4.0, "Ana", "wakʼa toi"),
        (3.5, 6.0, "Rui", "não"),
        (8.0, 9.9, "Eva", "ẽ ũ"),
        (12.0, 15.25, "Ana", "sa’o"),
    ]
    assert ["overlapping_speech" in row["flags"] for row in rows] == [True, True, False, False]
    original = soundfile.read(raw / "session_0.wav", dtype="int16")[0]
    for row in rows:
        waveform = soundfile.read(resolve_in(raw.parent.parent, row["audio"]), dtype="int16")[0]
        start = round(row["start"] * SAMPLE_RATE)
        assert np.abs(waveform - original[start : start + len(waveform)].astype(int)).max() <= 1
    before = fingerprint(raw)
    assert segment(monkeypatch) == 0 and fingerprint(raw) == before
    assert segment(monkeypatch, "--annotations", "none") == 0
    assert not any(row.get("text") for row in read_manifest(raw))


def test_one_recording_that_is_cut_at_its_annotations_is_counted(raw, monkeypatch, capsys):
    record(raw / "session_0.wav", seconds=16.0)
    annotate(raw / "session_0.eaf", SESSION)
    assert segment(monkeypatch) == 0
    assert "\n1 recordings are cut at their annotations" in capsys.readouterr().out


def test_annotations_that_change_or_lack_the_tier_asked_for(raw, monkeypatch, capsys):
    for number in range(3):
        record(raw / f"session_{number}.wav", seconds=16.0, seed=number)
    annotate(raw / "session_0.eaf", SESSION)
    assert segment(monkeypatch) == 0
    annotate(raw / "session_0.eaf", SESSION[:2])
    assert segment(monkeypatch) == 0
    assert [row["text"] for row in read_manifest(raw) if row["source"] == "session_0.wav"] == ["wakʼa toi"]
    capsys.readouterr()
    assert segment(monkeypatch, "--text_tier", "gloss") == 3
    assert "expected the tier gloss, found ref@Ana, tx@Ana" in capsys.readouterr().out


def texts_by_source(raw):
    rows = [row for row in read_manifest(raw) if row.get("text")]
    return {source: [row["text"] for row in rows if row["source"] == source] for source in {r["source"] for r in rows}}


def test_corrections_leave_the_texts_of_other_recordings(raw, tmp_path, monkeypatch, capsys):
    """A queue asks for lines of some recordings: those with texts of their own keep them."""
    for number in range(4):
        record(raw / f"session_{number}.wav", seconds=16.0, seed=number)
    annotate(raw / "session_0.eaf", SESSION[:2])
    (raw.parent / "transcripts.tsv").write_text("source\ttext\nsession_1.wav\tsa’o\n", encoding="utf-8")
    queue = tmp_path / "queue"
    queue.mkdir()
    drafts = [Span("draft", 1.0, 4.0, "heard"), Span("note", 1.0, 4.0, "0.91")]
    for number, spans in ((1, drafts), (2, [Span("transcription", 1.0, 4.0, "corrected"), *drafts])):
        write_annotations(
            queue / f"session_{number}.eaf", spans, form="eaf", media=raw / f"session_{number}.wav", seconds=16.0
        )
    assert segment(monkeypatch, "--annotations", str(queue)) == 0
    assert texts_by_source(raw) == {
        "session_0.wav": ["wakʼa toi"],
        "session_1.wav": ["sa’o"],
        "session_2.wav": ["corrected"],
    }
    (queue / "queue.tsv").write_text("source\tstart\tend\ttext\nsession_3.wav\t0\t4\tmore\n", encoding="utf-8")
    before = fingerprint(raw)
    with pytest.raises(
        UserError, match=r"found a table with 'source' \(queue.tsv\); put its lines below those of tran"
    ):
        segment(monkeypatch, "--annotations", str(queue))
    assert fingerprint(raw) == before


def test_a_folder_of_annotations_is_known_from_anywhere_and_missed_in_one_line(raw, tmp_path, monkeypatch, capsys):
    for number in range(3):
        record(raw / f"session_{number}.wav", seconds=16.0, seed=number)
    (tmp_path / "corrected").mkdir()
    unheard = Span("transcription", 8.0, 10.0, "?")
    path = tmp_path / "corrected" / "session_1.eaf"
    write_annotations(
        path, [Span("transcription", 1.0, 4.0, "one"), unheard], form="eaf", media=raw / "session_1.wav", seconds=16.0
    )
    monkeypatch.chdir(tmp_path)
    assert segment(monkeypatch, "--annotations", "corrected") == 0
    assert texts_by_source(raw) == {"session_1.wav": ["one"]}  # a line that nobody has filled in is no text
    monkeypatch.chdir(raw)
    assert segment(monkeypatch) == 0 and texts_by_source(raw) == {"session_1.wav": ["one"]}
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(UserError, match=r"corrected: expected a folder of annotations, .* or give --annotations besi"):
        segment(monkeypatch)


def test_where_a_split_has_lost_its_last_recording_it_is_said_how_to_deal_again(raw, monkeypatch, capsys):
    for number in range(3):
        record(raw / f"session_{number}.wav", seconds=16.0, seed=number)
    assert segment(monkeypatch) == 0
    splits = raw.parent / "splits.json"
    (alone,) = [source for source, split in json.loads(splits.read_text()).items() if split == "test"]
    (raw / alone).unlink()
    capsys.readouterr()
    assert segment(monkeypatch) == 0
    assert f"nothing is left in test; to deal the recordings again: rm {splits}, and this" in capsys.readouterr().out
    splits.unlink()
    assert segment(monkeypatch) == 0 and '"test"' in splits.read_text()


def test_a_table_beside_the_recordings_is_taken_again_where_it_has_changed(raw, monkeypatch, capsys):
    for number in range(3):
        record(raw / f"session_{number}.wav", seconds=16.0, seed=number)
    table, copy = raw / "transcripts.csv", raw.parent / "transcripts.csv"
    for text in ("one", "two"):
        table.write_text(f"source,text\nsession_1.wav,{text}\n", encoding="utf-8")
        assert segment(monkeypatch) == 0
        assert texts_by_source(raw) == {"session_1.wav": [text]} and copy.read_bytes() == table.read_bytes()
    copy.write_text("source,text\nsession_1.wav,mine\n", encoding="utf-8")
    table.write_text("source,text\nsession_1.wav,three\n", encoding="utf-8")
    capsys.readouterr()
    assert segment(monkeypatch) == 0
    assert texts_by_source(raw) == {"session_1.wav": ["mine"]}
    assert f"{copy}: was changed here, kept; delete it to take {table}" in capsys.readouterr().err
    copy.unlink()
    table.unlink()
    assert segment(monkeypatch) == 0 and texts_by_source(raw) == {}


def test_a_table_of_a_recipe_is_not_replaced_by_one_beside_the_recordings(raw, monkeypatch):
    for number in range(3):
        record(raw / f"session_{number}.wav", seconds=16.0, seed=number)
    (raw.parent / "transcripts.tsv").write_text("source\ttext\nsession_1.wav\tmade\n", encoding="utf-8")
    (raw / "transcripts.csv").write_text("source,text\nsession_1.wav,other\n", encoding="utf-8")
    assert segment(monkeypatch) == 0
    assert texts_by_source(raw) == {"session_1.wav": ["made"]}


def test_steady_noise_is_no_speech_for_the_network(raw, monkeypatch, capsys):
    """Loudness takes bursts of noise for speech; the network does not, and auto finds out by itself."""
    pytest.importorskip("silero_vad", reason="needs the optional package silero-vad")
    random = np.random.default_rng(0)
    is_on = np.arange(24 * SAMPLE_RATE) % (4 * SAMPLE_RATE) < 2.5 * SAMPLE_RATE
    bursts = random.normal(0, 0.1, 24 * SAMPLE_RATE) * is_on
    soundfile.write(raw / "motor.wav", bursts + random.normal(0, 0.001, len(bursts)), SAMPLE_RATE)
    assert segment(monkeypatch) == 0
    assert read_manifest(raw)
    for vad in ("silero", "auto"):
        with pytest.raises(UserError, match="gives no segment"):
            segment(monkeypatch, "--vad", vad)


def test_auto_says_what_it_took(raw, monkeypatch, capsys):
    """A tone is speech where the network agrees; segments, report and last lines name what was trusted."""
    pytest.importorskip("silero_vad", reason="needs the optional package silero-vad")
    monkeypatch.setattr(cut_recording, "speech_probabilities", lambda blocks: heard[0])
    monkeypatch.setattr(segment_audio, "run_in_processes", lambda cut, jobs, n: ((job, cut(job)) for job in jobs))
    time = np.arange(12 * SAMPLE_RATE) / SAMPLE_RATE
    room = np.random.default_rng(0).normal(0, 0.001, len(time))
    soundfile.write(raw / "a.wav", 0.2 * np.sin(1000 * time) * (time % 4 < 2.5) + room, SAMPLE_RATE)
    speech = np.arange(375) * 0.032 % 4 < 2.5
    heard = [speech.astype(np.float32)]
    for found, detector, said in (
        (1, "energy", "in 1 recordings, by the network in 0\n"),
        (0.5, "silero", "in 1: a.wav"),
    ):
        heard[0] = (speech & (np.arange(375) < found * 375)).astype(np.float32)
        os.utime(raw / "a.wav", ns=(0, round(10 * found)))
        assert segment(monkeypatch, "--vad", "auto") == 0
        assert {row["detector"] for row in read_manifest(raw)} == {detector}
        assert said in capsys.readouterr().out
        report = json.loads((raw.parent / "segmentation.json").read_text())
        assert report["by_network"] == ["a.wav"] * (detector == "silero")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0.0 s"), (3.6, "3.6 s"), (252, "4.2 min"), (5400, "90.0 min"), (11_700, "3.25 h")]
)
def test_lengths_are_said_as_a_person_counts_them(seconds: float, said: str) -> None:
    assert cutting_report.say_length(seconds) == said


def test_of_many_recordings_the_longest_are_named() -> None:
    seconds = Counter({f"{number}.wav": float(number) for number in range(1, 11)})
    said = cutting_report.name_amounts(seconds)
    assert said.startswith("10.wav 10.0 s, 9.wav 9.0 s") and said.endswith("3.wav 3.0 s and 2 more")
