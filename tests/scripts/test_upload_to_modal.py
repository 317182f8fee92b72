"""An upload to the Modal volume, with a folder of this machine in its place: resumed, complete, tables last."""

import contextlib
from pathlib import Path
from types import SimpleNamespace

import pytest

import upload_to_modal

from core.errors import UserError
from synthetic import run_script


@pytest.fixture
def volume(tiny_language: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The volume as a folder of this machine; ``log`` is what was put on it, ``fail_at`` breaks the upload off."""
    mount, log = tmp_path / "vol", []

    def put_file(local: Path, remote: str) -> None:
        if len(log) == volume.fail_at:
            raise ConnectionError("no network")
        log.append(remote)
        (mount / remote).parent.mkdir(parents=True, exist_ok=True)
        (mount / remote).write_bytes(Path(local).read_bytes())

    def listdir(path: str) -> list[SimpleNamespace]:
        if not (mount / path).exists():
            raise upload_to_modal.modal.exception.NotFoundError(path)
        return [SimpleNamespace(path=f"{path}/{found.name}") for found in (mount / path).iterdir()]

    def batch_upload(force: bool) -> contextlib.nullcontext:
        return contextlib.nullcontext(SimpleNamespace(put_file=put_file))

    volume = SimpleNamespace(listdir=listdir, batch_upload=batch_upload, log=log, mount=mount, fail_at=None)
    volume.reload = volume.commit = lambda: None
    unpack = upload_to_modal.unpack.local
    monkeypatch.setattr(upload_to_modal, "volume", volume)
    monkeypatch.setattr(upload_to_modal, "MOUNT", mount)
    monkeypatch.setattr(upload_to_modal, "unpack", SimpleNamespace(remote=unpack))
    cut = upload_to_modal.cut_archives
    monkeypatch.setattr(upload_to_modal, "cut_archives", lambda files: cut(files, n_files=3))
    return volume


def test_an_upload_that_broke_off_goes_on_and_a_second_one_has_nothing_to_do(volume, tiny_language, capsys) -> None:
    names = [row["audio"] for row in tiny_language["rows"]]
    volume.fail_at = 1
    with pytest.raises(ConnectionError):
        upload_to_modal.upload("spanish", again=False)
    assert len(volume.log) == 1 and not (volume.mount / "data/spanish/segments.jsonl").exists()
    volume.fail_at = None
    upload_to_modal.upload("spanish", again=False)
    assert all((volume.mount / "data" / n).read_bytes() == (tiny_language["data"] / n).read_bytes() for n in names)
    assert volume.log[-1] == "data/spanish/segments.jsonl" and len(set(volume.log)) == len(volume.log)
    assert not list((volume.mount / "data" / ".archives").rglob("*.tar"))
    n_archives = sum(name.endswith(".tar") for name in volume.log)
    volume.log.clear()
    upload_to_modal.upload("spanish", again=False)
    assert not [name for name in volume.log if name.endswith(".tar")]
    assert f"uploaded 0 of {n_archives} archives" in capsys.readouterr().out
    upload_to_modal.upload("spanish", again=True)
    assert sum(name.endswith(".tar") for name in volume.log) == n_archives > 1


def test_a_missing_segment_stops_the_upload_before_it_starts(volume, tiny_language: dict) -> None:
    (tiny_language["data"] / tiny_language["rows"][3]["audio"]).unlink()
    with pytest.raises(UserError, match=tiny_language["rows"][3]["id"]):
        upload_to_modal.upload("spanish", again=False)
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
