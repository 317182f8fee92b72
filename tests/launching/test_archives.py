"""Archives of an upload: cuts that stay, names by content, whole or not there, resumed where it broke off."""

import contextlib
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import download_results
import upload_to_modal

from core.errors import UserError
from core.files import unpack_tar
from launching.archives import archive_name, cut_archives, plan_upload, unpack_archive, write_archive
from synthetic import run_script

FILES = [(f"spanish/segments/s{number:04d}.wav", 1000 + number) for number in range(400)]


def write_files(root: Path, files: list[tuple[str, int]]) -> list[str]:
    for name, size in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bytes(ord(name[-5]) for _ in range(size)))
    return [name for name, _ in files]


def test_every_file_is_in_one_archive_and_one_more_file_changes_one() -> None:
    groups = cut_archives(FILES, n_files=40)
    assert 4 <= len(groups) <= 25 and sorted(sum(groups, [])) == [name for name, _ in FILES]
    assert cut_archives(FILES[::-1], n_files=40) == groups
    more = cut_archives([*FILES, ("spanish/segments/s0200b.wav", 5)], n_files=40)
    assert len([group for group in more if group not in groups]) <= 2
    assert all(len(group) <= 10 for group in cut_archives(FILES, max_bytes=11_000))
    assert cut_archives([("one", 1 << 40)]) == [["one"]] and cut_archives([]) == []


def test_a_name_says_what_is_inside(tmp_path: Path) -> None:
    names = write_files(tmp_path, FILES[:3])
    name = archive_name(tmp_path, names)
    assert archive_name(tmp_path, names) == name != archive_name(tmp_path, names[:2])
    first, second = (tmp_path / names[0]).read_bytes(), (tmp_path / names[1]).read_bytes()
    (tmp_path / names[0]).write_bytes(first + second[:1])
    (tmp_path / names[1]).write_bytes(second[1:])
    assert archive_name(tmp_path, names) != name


def test_archives_are_the_same_bytes_and_give_back_the_files(tmp_path: Path) -> None:
    names = write_files(tmp_path / "here", FILES[:5])
    write_archive(tmp_path / "a.tar", tmp_path / "here", names)
    for name in names:
        (tmp_path / "here" / name).touch()
    write_archive(tmp_path / "b.tar", tmp_path / "here", names)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    unpack_archive(tmp_path / "a.tar", tmp_path / "there", 5)
    assert all((tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes() for name in names)


def test_a_damaged_or_wicked_archive_is_refused(tmp_path: Path) -> None:
    names = write_files(tmp_path / "here", FILES[:5])
    write_archive(tmp_path / "a.tar", tmp_path / "here", names)
    whole = (tmp_path / "a.tar").read_bytes()
    for length, problem in ((len(whole) // 3, "expected 5 files, found 2"), (700, "expected a whole archive")):
        (tmp_path / "a.tar").write_bytes(whole[:length])
        with pytest.raises(UserError, match=f"a.tar: {problem}"):
            unpack_archive(tmp_path / "a.tar", tmp_path / "there", 5)
    (tmp_path / "here" / "x").write_text("x")
    write_archive(tmp_path / "b.tar", tmp_path / "here" / "spanish", ["../x"])
    with pytest.raises(UserError, match="b.tar"):
        unpack_archive(tmp_path / "b.tar", tmp_path / "there" / "inside", 1)
    assert not (tmp_path / "there" / "x").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused_before_anything_is_written(kind: bytes, tmp_path: Path) -> None:
    entry = tarfile.TarInfo("segments/a.wav")
    entry.type, entry.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("segments/first.wav"))
        archive.addfile(entry)
    with tarfile.open(tmp_path / "a.tar") as archive, pytest.raises(UserError, match="a.wav is no plain file"):
        unpack_tar(archive, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_what_is_left_to_do() -> None:
    groups = {"a": ["1"], "b": ["2"], "c": ["3"]}
    assert plan_upload(groups, []) == (groups, [])
    assert plan_upload(groups, ["a.done", "b.tar", "b.tar.part", "z.done"]) == ({"c": ["3"]}, ["b"])


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


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """`modal volume get` as it is: below an existing folder it makes one of the remote's last name."""
    commands = []

    def run_volume(command: list[str]) -> None:
        commands.append(command)
        *_, remote, target = command
        if "broken" in remote:
            raise UserError("exit code 1")
        place = Path(target) / Path(remote).name
        if place.suffix:
            place.write_text(remote)
        else:
            (place / "checkpoints").mkdir(parents=True)
            (place / "checkpoints" / "best.pt").write_text(f"{remote} {len(commands)}")

    monkeypatch.setattr(download_results, "run_volume", run_volume)
    monkeypatch.setattr(download_results, "require_token", lambda: None)
    return commands


def test_results_arrive_whole_or_not_at_all(fetched: list, tmp_path: Path, capsys) -> None:
    place = tmp_path / "exp" / "run" / "checkpoints" / "best.pt"
    download_results.main(["run", "--out", str(tmp_path)])
    assert place.read_text() == "exp/run 1" and "wrote" in capsys.readouterr().out
    assert fetched[0][1:6] == ["-m", "modal", "volume", "get", "bible-audio-data"]
    with pytest.raises(UserError, match="exists already"):
        download_results.main(["run", "--out", str(tmp_path)])
    download_results.main(["run", "--out", str(tmp_path), "--overwrite"])
    assert place.read_text() == "exp/run 2" and len(fetched) == 2
    with pytest.raises(UserError):
        download_results.main(["run", "--only", "config.json", "broken.pt", "--out", str(tmp_path), "--overwrite"])
    assert place.read_text() == "exp/run 2"
    download_results.main(["run", "--only", "config.json", "a/b.pt", "--out", str(tmp_path), "--overwrite"])
    found = {str(path.relative_to(tmp_path / "exp")) for path in (tmp_path / "exp").rglob("*") if path.is_file()}
    assert found == {"run/config.json", "run/a/b.pt"}


@pytest.mark.parametrize("words", [[], ["../x"], ["a/b"], ["run", "--only", "../y"], ["run", "--only", "/etc/passwd"]])
def test_names_stay_inside(fetched: list, words: list[str]) -> None:
    with pytest.raises(UserError):
        download_results.main(words)
    assert fetched == []


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
