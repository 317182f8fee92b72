"""An upload to the Modal volume, with a folder of this machine in its place: resumed, complete, tables last."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import upload_to_modal
from fake_volume import open_fake_volume

from core.errors import UserError
from core.files import is_current, read_json
from synthetic import run_script


@pytest.fixture
def volume(tiny_language: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The volume as a folder of this machine, and the container's function as a call here."""
    volume = open_fake_volume(tmp_path / "vol")
    volume.unpack = SimpleNamespace(remote=upload_to_modal.unpack.local)
    monkeypatch.setattr(upload_to_modal, "open_volume", lambda name: volume)
    monkeypatch.setattr(upload_to_modal, "MOUNT", volume.mount)
    monkeypatch.setattr(upload_to_modal, "unpack", SimpleNamespace(with_options=lambda volumes: volume.unpack))
    cut = upload_to_modal.cut_archives
    monkeypatch.setattr(upload_to_modal, "cut_archives", lambda files: cut(files, n_files=3))
    return volume


def upload(language: str = "", folder: str = "", *, again: bool = False) -> None:
    upload_to_modal.upload_chosen(language, folder, "bible-audio-data", again=again)


def test_an_upload_that_broke_off_goes_on_and_a_second_one_has_nothing_to_do(volume, tiny_language, capsys) -> None:
    names = [row["audio"] for row in tiny_language["rows"]]
    volume.fail_at = 1
    with pytest.raises(ConnectionError):
        upload("spanish")
    assert len(volume.log) == 1 and not (volume.mount / "data/spanish/segments.jsonl").exists()
    volume.fail_at = None
    upload("spanish")
    assert all((volume.mount / "data" / n).read_bytes() == (tiny_language["data"] / n).read_bytes() for n in names)
    assert volume.log[-1] == "data/spanish/segments.jsonl" and len(set(volume.log)) == len(volume.log)
    assert not list((volume.mount / "data" / ".archives").rglob("*.tar"))
    n_archives = sum(name.endswith(".tar") for name in volume.log)
    volume.log.clear()
    upload("spanish")
    assert not [name for name in volume.log if name.endswith(".tar")]
    assert f"uploaded 0 of {n_archives} archives" in capsys.readouterr().out
    upload("spanish", again=True)
    assert sum(name.endswith(".tar") for name in volume.log) == n_archives > 1


def test_going_back_to_earlier_segments_brings_them_back(volume, tiny_language: dict) -> None:
    """First, second, first again: the volume holds what the manifest here names, each time, and dates that say so."""
    row = tiny_language["rows"][1]["audio"]
    here, there = tiny_language["data"] / row, volume.mount / "data" / row
    untouched = volume.mount / "data" / tiny_language["rows"][5]["audio"]
    first = here.read_bytes()
    upload("spanish")
    other_date = untouched.stat().st_mtime_ns
    for content in (first[:-2] + b"xy", first):
        made = there.parent / "f0.npy"
        made.write_text("computed from what lies there")
        here.write_bytes(content)
        upload("spanish")
        assert there.read_bytes() == content
        assert not is_current(made, there)
    assert untouched.stat().st_mtime_ns == other_date
    volume.log.clear()
    upload("spanish")
    assert not [name for name in volume.log if name.endswith(".tar")]


def test_another_language_that_shares_segments_is_uploaded_again_too(volume, tiny_language: dict) -> None:
    data = tiny_language["data"]
    shutil.copytree(data / "spanish", data / "english", ignore=shutil.ignore_patterns("segments"))
    audio = data / tiny_language["rows"][0]["audio"]
    first = audio.read_bytes()
    upload("english")
    audio.write_bytes(first[:-2] + b"xy")
    upload("spanish")
    audio.write_bytes(first)
    upload("english")
    assert (volume.mount / "data" / tiny_language["rows"][0]["audio"]).read_bytes() == first


def test_an_archive_that_nobody_unpacked_is_removed_with_the_segments_it_held(volume, tiny_language: dict) -> None:
    unpack, volume.unpack.remote = volume.unpack.remote, lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        upload("spanish")
    volume.unpack.remote = unpack
    for row in tiny_language["rows"]:
        audio = tiny_language["data"] / row["audio"]
        audio.write_bytes(audio.read_bytes()[:-2] + b"xy")
    upload("spanish")
    assert not list((volume.mount / "data" / ".archives").rglob("*.tar"))


def test_an_unpacking_that_was_preempted_after_its_work_ends_well(volume, tiny_language: dict) -> None:
    upload("spanish")
    (mark, *_) = (volume.mount / "data/.archives/spanish").glob("*.done")
    names = read_json(mark)["names"]
    assert volume.unpack.remote("bible-audio-data", "spanish", mark.stem, names) == len(names)


def test_a_folder_of_transcribed_speech_goes_up_without_its_caches_and_secrets(volume, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "how2"
    went = ("dataset_dict.json", "train/data-00000.arrow", "train/state.json", "transcripts.tsv", "raw/a.wav")
    stayed = (".env", "cache/speech_features/0.npy", "hf_token.txt", "exp/run/latest.pt", "my_secrets.json")
    for name in (*went, *stayed):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.wav").write_text("linked/b.wav")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    upload(folder=str(folder))
    there = volume.mount / "data" / "how2"
    assert {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()} == {
        *went,
        "linked/b.wav",
    }
    assert all((there / name).read_text() == name for name in went) and volume.log[-1] == "data/how2/transcripts.tsv"
    assert "src/trainer_base.py --data data/how2" in capsys.readouterr().out
    for wrong, named in ((tmp_path / "none", "expected a folder"), (tmp_path / "data" / "spanish", "--language")):
        with pytest.raises(UserError, match=named):
            upload(folder=str(wrong))
    (folder / "raw" / "lost.wav").symlink_to(tmp_path / "gone.wav")
    with pytest.raises(UserError, match="lost.wav: expected a file, found a link to nothing"):
        upload(folder=str(folder))


def test_a_missing_segment_stops_the_upload_before_it_starts(volume, tiny_language: dict) -> None:
    (tiny_language["data"] / tiny_language["rows"][3]["audio"]).unlink()
    with pytest.raises(UserError, match=tiny_language["rows"][3]["id"]):
        upload("spanish")
    assert volume.log == []


def test_run_by_itself_it_checks_the_data_and_then_the_token(tiny_language: dict, tmp_path: Path) -> None:
    nowhere = {"MODAL_CONFIG_PATH": str(tmp_path / "none.toml"), "MODAL_TOKEN_ID": "", "MODAL_TOKEN_SECRET": ""}
    script = "scripts/upload_to_modal.py"
    assert "--again" in run_script(script, "--help", env=nowhere).stdout
    there = nowhere | {"DATA_ROOT": str(tiny_language["data"])}
    for env, language, expected in (
        (there, "spanish", "modal token new"),
        (nowhere | {"DATA_ROOT": str(tmp_path)}, "spanish", "segments.jsonl"),
        (there, "klingon", "klingon"),
    ):
        lines = run_script(script, "--language", language, env=env, code=2).stderr.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: ") and expected in lines[0], lines
