"""Recordings that a community takes back: segments, archives, caches and, on request, results leave the volume."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import remove_from_modal
from fake_volume import open_fake_volume
from modal_container import open_writers

from core.errors import UserError

RESULTS = ("spanish_units", "spanish_vocoder_v4", "spanish_prompts_units", "russian_units")


@pytest.fixture
def volume(tiny_language: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A volume with all of Spanish as it lies here, caches and archives of it, experiments, and other languages."""
    volume, data = open_fake_volume(tmp_path / "vol"), tiny_language["data"]
    names = [row["audio"] for row in tiny_language["rows"]]
    for path in sorted(data.rglob("*")):
        if path.is_file():
            write(volume.mount / "data" / path.relative_to(data), path.read_bytes())
    for row in tiny_language["rows"]:
        write(volume.mount / "data/spanish/cache/f0_praat" / f"{row['id']}.npy", b"f0")
    marks = {"one": names[:4], "two": names[4:]}
    for mark, held in marks.items():
        text = json.dumps({"files": len(held), "names": held})
        write(volume.mount / f"data/.archives/spanish/{mark}.done", text.encode())
    write(volume.mount / "data/.archives/spanish/broken_off.tar", b"recordings")
    write(volume.mount / "data/.archives/english/x.done", b'{"files": 1, "names": ["english/segments/a.wav"]}')
    write(volume.mount / "data/spanish_prompts/segments/a.wav", b"a")
    for name in RESULTS:
        write(volume.mount / "exp" / name / "config.json", b"{}")
    monkeypatch.setattr(remove_from_modal, "require_token", lambda: None)
    monkeypatch.setattr(remove_from_modal, "open_existing_volume", lambda name: volume)
    volume.writers = open_writers(tmp_path / "writers.json")
    monkeypatch.setattr(remove_from_modal, "open_writers", lambda name: volume.writers)
    monkeypatch.setattr(remove_from_modal, "call_lives", lambda call: call == "fc-lives")
    return volume


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def files_of(volume: SimpleNamespace) -> set[str]:
    return {path.relative_to(volume.mount).as_posix() for path in volume.mount.rglob("*") if path.is_file()}


def withdraw(language: dict, number: int) -> dict:
    """A row of the manifest leaves it, with its audio, as after segmenting what is left."""
    gone, manifest = language["rows"][number], language["data"] / "spanish" / "segments.jsonl"
    rows = [row for row in language["rows"] if row is not gone]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (language["data"] / gone["audio"]).unlink()
    return gone


def test_what_the_manifest_no_longer_names_goes_and_only_when_asked(volume, tiny_language: dict, capsys) -> None:
    before, gone = files_of(volume), withdraw(tiny_language, 1)
    remove_from_modal.main(["--language", "spanish"])
    said = capsys.readouterr().out
    assert f"data/{gone['audio']}" in said and "nothing was removed; --yes removes it" in said
    assert files_of(volume) == before

    remove_from_modal.main(["--language", "spanish", "--yes"])
    said = capsys.readouterr().out
    assert "spanish_units spanish_vocoder_v4\n" in said and "prompts" not in said
    left = files_of(volume)
    lost = {name for name in before - left if "/cache/" not in name}
    assert lost == {f"data/{gone['audio']}", "data/.archives/spanish/one.done", "data/.archives/spanish/broken_off.tar"}
    assert not [name for name in left if "/cache/" in name]
    assert gone["id"] not in (volume.mount / "data/spanish/segments.jsonl").read_text()
    remove_from_modal.main(["--language", "spanish", "--yes"])
    assert "nothing to remove" in capsys.readouterr().out and files_of(volume) == left


def test_an_archive_that_an_upload_left_behind_may_hold_anything_and_goes(volume, tiny_language: dict) -> None:
    before = files_of(volume)
    remove_from_modal.main(["--language", "spanish", "--yes"])
    assert before - files_of(volume) == {"data/.archives/spanish/broken_off.tar"}


def test_everything_of_a_language_goes_and_nothing_of_one_whose_name_begins_alike(volume, capsys) -> None:
    remove_from_modal.main(["--language", "spanish", "--everything", "--yes"])
    assert files_of(volume) == {
        "data/.archives/english/x.done",
        "data/spanish_prompts/segments/a.wav",
        "exp/spanish_prompts_units/config.json",
        "exp/russian_units/config.json",
    }
    assert "removed from the volume bible-audio-data" in capsys.readouterr().out


def test_named_experiments_go_too(volume, tiny_language: dict) -> None:
    withdraw(tiny_language, 1)
    remove_from_modal.main(["--language", "spanish", "--experiments", "spanish_units", "russian_units", "--yes"])
    assert {path.name for path in (volume.mount / "exp").iterdir()} == {"spanish_vocoder_v4", "spanish_prompts_units"}


@pytest.mark.parametrize(
    "words", [["--language", "../x"], ["--language", ""], ["--language", "spanish", "--experiments", "../data"]]
)
def test_names_stay_inside(volume, words: list[str]) -> None:
    before = files_of(volume)
    with pytest.raises(UserError):
        remove_from_modal.main([*words, "--yes"])
    assert files_of(volume) == before


@pytest.mark.parametrize("folder", ["spanish_vocoder_v4", "spanish_units/assign_3", "fill_f0_cache_spanish"])
def test_nothing_goes_while_a_call_works_on_the_language(volume, folder: str) -> None:
    before = files_of(volume)
    volume.writers.put(folder, {"owner": "fc-lives", "until": 9e9, "attempt": 0})
    with pytest.raises(UserError, match=f"{folder}: expected no writer, found call fc-lives"):
        remove_from_modal.main(["--language", "spanish", "--everything", "--yes"])
    assert files_of(volume) == before


def test_writers_that_ended_and_those_of_other_languages_hinder_nobody(volume) -> None:
    volume.writers.put("spanish_units", {"owner": "fc-ended", "until": 9e9, "attempt": 0})
    volume.writers.put("spanish_vocoder_v4", {"owner": "fc-lives", "until": 0.0, "attempt": 0})
    volume.writers.put("spanish_prompts_units", {"owner": "fc-lives", "until": 9e9, "attempt": 0})
    remove_from_modal.main(["--language", "spanish", "--everything", "--yes"])
    assert not (volume.mount / "data/spanish").exists()
