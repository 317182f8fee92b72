"""What a folder holds: recordings by content, files without sound by kind, and what nobody can read."""

import os

import numpy as np

import av

from audio.audio_io import save_audio
from segmentation.folder_survey import survey_folder
from synthetic import speech_like


def write_media(path, *, sound=True, container="mp4"):
    """A short film, with sound or without."""
    with av.open(str(path), "w", format=container) as out:
        picture = out.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 32
        voice = out.add_stream("aac", rate=16000, layout="mono") if sound else None
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        out.mux([*picture.encode(frame), *picture.encode(None)])
        if voice:
            samples = (speech_like(1.0) * 32767).astype(np.int16)[None]
            heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            heard.sample_rate = 16000
            out.mux([*voice.encode(heard), *voice.encode(None)])


def test_content_decides_and_not_the_name(tmp_path):
    save_audio(tmp_path / "tape.wav", speech_like(1.0))
    for name in ("no_ending", "REC0001.xyz"):
        (tmp_path / name).write_bytes((tmp_path / "tape.wav").read_bytes())
    write_media(tmp_path / "film.mp4")
    write_media(tmp_path / "mute.mov", sound=False, container="mov")
    (tmp_path / "damaged.mkv").write_bytes(b"damaged")
    (tmp_path / "broken.opus").write_bytes(b"damaged")
    for name in ("notes.pdf", "blob.bin", "strange"):
        (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(4000))
    survey = survey_folder(tmp_path)
    assert set(survey.recordings) == {
        "tape.wav", "no_ending", "REC0001.xyz", "film.mp4", "damaged.mkv", "broken.opus"
    }  # fmt: skip
    assert survey.ignored == {".pdf": 1, ".bin": 1, "without ending": 1, ".mov": 1} and not survey.unreadable


def test_a_film_beside_its_sound_is_not_taken_twice(tmp_path):
    save_audio(tmp_path / "session.wav", speech_like(1.0))
    write_media(tmp_path / "session.mp4")
    write_media(tmp_path / "other.mp4")
    survey = survey_folder(tmp_path)
    assert list(survey.recordings) == ["other.mp4", "session.wav"]
    assert survey.ignored == {".mp4 beside sound of the same name": 1}


def test_names_that_differ_in_unicode_form_or_case(tmp_path):
    for name in ("S\u00e3o.wav", "Sa\u0303o.wav", "tape.wav", "TAPE.wav"):
        save_audio(tmp_path / name, speech_like(0.5))
    survey = survey_folder(tmp_path)
    assert set(survey.recordings) == {"S\u00e3o.wav", "tape.wav", "TAPE.wav"}
    ((name, reason),) = survey.unreadable.items()
    assert "rename" in reason and name in ("S\u00e3o.wav", "Sa\u0303o.wav")


def test_links_rights_and_pipes_are_named(tmp_path, monkeypatch):
    os.symlink(tmp_path / "gone.wav", tmp_path / "dead.wav")
    os.symlink("loop.wav", tmp_path / "loop.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    save_audio(tmp_path / "locked.wav", speech_like(0.5))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    survey = survey_folder(tmp_path)
    assert not survey.recordings
    assert {name: reason.split()[:2] for name, reason in survey.unreadable.items()} == {
        "dead.wav": ["is", "a"],
        "loop.wav": ["is", "a"],
        "pipe.wav": ["is", "neither"],
        "locked.wav": ["may", "not"],
    }


def test_a_path_longer_than_the_system_allows_is_named(tmp_path):
    """A program may walk down step by step and leave a folder that no path of 4,096 characters reaches."""
    save_audio(tmp_path / "tape.wav", speech_like(0.5))
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(20):
            os.mkdir("d" * 240)
            os.chdir("d" * 240)
    finally:
        os.chdir(here)
    survey = survey_folder(tmp_path)
    assert list(survey.recordings) == ["tape.wav"]
    assert [reason for reason in survey.unreadable.values() if "too long" in reason]
