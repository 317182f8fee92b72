"""Files inside tars read as if they lay there by themselves: whole, in part, from an address."""

import io
import tarfile
from pathlib import Path

import numpy as np

import fsspec
import pytest
import soundfile

from audio.audio_io import load_audio, load_crop, save_audio
from audio.audio_spans import audio_seconds, load_span
from core import packed_files
from core.errors import UserError
from core.file_facts import stamp
from core.hashing import hash_audio_file
from core.packed_files import file_state, index_file, is_file, read_packed, scan_tar, stored_in, write_index
from synthetic import speech_like


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    """Three clips as WAV, one of them as FLAC too, behind a name that needs a long header."""
    path = tmp_path / "data" / "clips.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as out:
        for number in range(3):
            wav = tmp_path / f"clip{number}.wav"
            save_audio(wav, speech_like(1.0 + 0.1 * number, seed=number))
            out.add(wav, wav.name)
        flac = tmp_path / f"{'ñ' * 120}.flac"
        soundfile.write(flac, load_audio(tmp_path / "clip2.wav"), 16000)
        out.add(flac, flac.name)
    return path


def test_a_packed_file_is_the_file(tar: Path, tmp_path: Path) -> None:
    for number in range(3):
        packed, plain = tar / f"clip{number}.wav", tmp_path / f"clip{number}.wav"
        assert read_packed(packed) == plain.read_bytes() and hash_audio_file(packed) == hash_audio_file(plain)
        np.testing.assert_array_equal(load_audio(packed), load_audio(plain))
        for start, length in ((0, 100), (7777, 4000), (15_900, 9000), (10**6, 5)):
            np.testing.assert_array_equal(load_crop(packed, start, length), load_crop(plain, start, length))
        np.testing.assert_array_equal(load_span(packed, 0.25, 0.5), load_span(plain, 0.25, 0.5))
        assert audio_seconds(packed) == audio_seconds(plain) and file_state(packed)[0] == plain.stat().st_size
    np.testing.assert_array_equal(load_audio(tar / f"{'ñ' * 120}.flac"), load_audio(tmp_path / "clip2.wav"))


def test_an_index_beside_the_tar_says_the_same(tar: Path) -> None:
    before = read_packed(tar / "clip1.wav")
    write_index(tar, scan_tar(tar))
    assert index_file(tar).name == "clips.index.npy" and read_packed(tar / "clip1.wav") == before


def test_what_is_not_there_is_named(tar: Path, tmp_path: Path) -> None:
    assert is_file(tar / "clip0.wav") and not is_file(tar / "clip9.wav") and not is_file(tmp_path / "no.tar/clip0.wav")
    with pytest.raises(UserError, match=r"clips.tar/clip9.wav: expected an audio file in this tar"):
        load_audio(tar / "clip9.wav")
    with pytest.raises(UserError, match=r"no.tar: expected the tar file .*remote.txt"):
        load_crop(tmp_path / "no.tar" / "clip0.wav", 0, 10)
    with pytest.raises(FileNotFoundError):
        stamp(tar / "clip9.wav")
    (tmp_path / "text.tar").write_text("no tar at all")
    with pytest.raises(UserError, match=r"text.tar: expected a plain tar file"):
        read_packed(tmp_path / "text.tar" / "clip0.wav")
    assert stored_in("x/segments-000001.tar/a.wav") == "x/segments-000001.tar" and stored_in("x/a.wav") == "x/a.wav"


def test_a_tar_that_was_cut_short_gives_no_sound(tar: Path) -> None:
    write_index(tar, scan_tar(tar))
    content = tar.read_bytes()
    tar.write_bytes(content[: len(content) // 3])
    with pytest.raises(UserError, match=r"clips.tar: expected"):
        load_audio(tar / "clip2.wav")


@pytest.mark.parametrize("content", [b"", b"no array", "another array"])
def test_a_damaged_index_is_named(tar: Path, content: bytes | str) -> None:
    np.save(index_file(tar), np.arange(3)) if content == "another array" else index_file(tar).write_bytes(content)
    with pytest.raises(UserError, match=r"clips.index.npy: expected the index of clips.tar, found something else; del"):
        read_packed(tar / "clip1.wav")


def test_sound_that_cannot_be_decoded_names_its_place(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as out:
        member = tarfile.TarInfo("a.wav")
        member.size = 9
        out.addfile(member, io.BytesIO(b"not sound"))
    with pytest.raises(UserError, match=r"bad.tar/a.wav: expected decodable audio"):
        load_audio(tmp_path / "bad.tar" / "a.wav")


def test_a_tar_elsewhere_is_read_through_its_address(tar: Path, tmp_path: Path) -> None:
    write_index(tar, scan_tar(tar))
    with fsspec.open("memory://corpus/packed/clips.tar", "wb") as out:
        out.write(tar.read_bytes())
    (tar.parent / "remote.txt").write_text("memory://corpus/packed\n")
    tar.unlink()
    plain = tmp_path / "clip1.wav"
    np.testing.assert_array_equal(load_audio(tar / "clip1.wav"), load_audio(plain))
    np.testing.assert_array_equal(load_crop(tar / "clip1.wav", 5000, 320), load_crop(plain, 5000, 320))
    index_file(tar).unlink()
    packed_files._read_index.cache_clear()  # as in a new process
    with pytest.raises(UserError, match=r"clips.index.npy: expected the index of a tar that lies elsewhere"):
        read_packed(tar / "clip0.wav")
