"""Recipes: prompts laid out as long recordings, from files made here; the user's own folders."""

import gzip
import json
import os
import runpy
import shutil
import subprocess
import sys
import tarfile

import numpy as np

import av
import pytest

from audio.audio_io import load_audio, save_audio
from core.errors import UserError
from core.files import unpack_tar
from core.tables import read_table
from languages import LANGUAGE_CONFIGS
from synthetic import REPOSITORY, speech_like
from units.phone_labels import read_phones

RECIPES = REPOSITORY / "recipes"
FETCH = RECIPES / "asterisk_prompts" / "fetch_prompts.py"
BUILD = RECIPES / "asterisk_prompts" / "build_chapters.py"


def run(*command, **environment):
    return subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **{key: str(value) for key, value in environment.items()}},
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
    )


def write_g722(path, waveform):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="g722") as container:
        stream = container.add_stream("g722", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray((waveform * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A folder with an archive as the Asterisk project publishes it: 24 prompts, a duplicate, a tone, silence."""
    folder, inside = tmp_path_factory.mktemp("release"), tmp_path_factory.mktemp("inside")
    lines = ["\ufeff; Core sounds, a comment: here", "", "beep: un tono", "silence/1: [one second]", "tone: [tono]"]
    for number in range(24):
        write_g722(inside / "vm" / f"p{number:02d}.g722", speech_like(1.5 + number % 5, number))
        lines.append(f"vm/p{number:02d}: frase  número {number} [temporal]")
    for name in ("beep", "tone", "silence/1"):
        write_g722(inside / f"{name}.g722", speech_like(1.0, 99))
    (inside / "vm" / "twin.g722").write_bytes((inside / "vm" / "p00.g722").read_bytes())
    lines += ["vm/twin: frase número 0", "vm/lost: no sound of this"]
    (inside / "core-sounds-es.txt").write_text("\n".join(lines), encoding="utf-8")
    (inside / "LICENSE-asterisk-core-es-1.6.1").write_text("a licence")
    (inside / "CREDITS-asterisk-core-es-1.6.1").write_text("Recorded by: somebody")
    with tarfile.open(folder / "asterisk-core-sounds-es-g722-1.6.1.tar.gz", "w:gz") as tar:
        tar.add(inside, arcname=".")
    return folder


@pytest.fixture(scope="module")
def built(release, tmp_path_factory):
    """The Spanish recipe's two steps on ``release`` -> data/spanish."""
    root = tmp_path_factory.mktemp("data")
    fetched = run("python", FETCH, "--language", "spanish", "--folder", release, "--source", "folder", DATA_ROOT=root)
    assert fetched.returncode == 0, fetched.stderr
    done = run("python", BUILD, "--language", "spanish", "--n_sessions", 3, "--any_size", DATA_ROOT=root)
    assert done.returncode == 0, done.stderr
    return root / "spanish"


def read_built(table, *columns):
    return [tuple(row.values()) for _, row in read_table(table, columns)]


def test_sessions_hold_every_prompt_once_at_its_time(built):
    truth = read_built(built / "truth.tsv", "source", "start", "end", "prompt")
    assert {prompt for _, _, _, prompt in truth} == {f"vm/p{number:02d}" for number in range(24)}
    for source in sorted({row[0] for row in truth}):
        session = load_audio(built / "raw" / source)
        inside = np.zeros(len(session), bool)
        for place, start, end, _ in truth:
            if place == source:
                inside[round(float(start) * 16000) : round(float(end) * 16000)] = True
        borders = np.flatnonzero(np.diff(inside.astype(int)))
        near = np.zeros(len(session), bool)
        for border in borders:
            near[max(0, border - 800) : border + 800] = True
        outside = session[~inside & ~near]
        assert np.sqrt(np.mean(session[inside] ** 2)) > 30 * np.sqrt(np.mean(outside**2))
        assert 1e-4 < np.sqrt(np.mean(outside**2)) < 3e-3


def test_transcripts_are_clean_and_lie_over_the_truth(built):
    texts = read_built(built / "transcripts.tsv", "source", "start", "end", "text")
    assert len(texts) == 24
    assert {text for _, _, _, text in texts} == {f"frase número {number} temporal" for number in range(24)}
    truth = read_built(built / "truth.tsv", "source", "start", "end", "prompt")
    starts = {row[:2] for row in truth}
    assert all(row[:2] in starts for row in texts)


def test_licence_and_attribution_lie_beside_the_data(built):
    assert "CC-BY-SA" in (built / "ATTRIBUTION.txt").read_text()
    assert "Recorded by: somebody" in (built / "LICENSE_SOURCE.txt").read_text()


def test_building_again_changes_nothing_and_elsewhere_gives_the_same_bytes(built, release, tmp_path):
    times = {path: path.stat().st_mtime_ns for path in built.rglob("*") if path.is_file()}
    again = run("python", BUILD, "--language", "spanish", "--n_sessions", 3, "--any_size", DATA_ROOT=built.parent)
    assert again.returncode == 0
    assert times == {path: path.stat().st_mtime_ns for path in built.rglob("*") if path.is_file()}
    run("python", FETCH, "--language", "spanish", "--folder", release, "--source", "folder", DATA_ROOT=tmp_path)
    run("python", BUILD, "--language", "spanish", "--n_sessions", 3, "--any_size", DATA_ROOT=tmp_path)
    for name in ("raw/session_001.mp3", "raw/session_003.mp3", "truth.tsv", "transcripts.tsv"):
        assert (tmp_path / "spanish" / name).read_bytes() == (built / name).read_bytes()


def test_too_small_splits_are_refused(built):
    refused = run("python", BUILD, "--language", "spanish", "--n_sessions", 4, DATA_ROOT=built.parent)
    assert refused.returncode == 2 and "splits too small" in refused.stderr


def test_a_failed_download_is_one_clear_line(tmp_path):
    nowhere = (tmp_path / "nowhere").as_uri()
    failed = run("python", FETCH, "--language", "italian", "--source", "site", "--site", nowhere, DATA_ROOT=tmp_path)
    assert failed.returncode == 2
    assert len(failed.stderr.strip().splitlines()) == 2 and "--folder" in failed.stderr
    assert not (tmp_path / "italian" / "cache" / "prompts" / "prompts.json").exists()


def test_a_download_is_checked_against_its_published_sum(release, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    archive = next(release.glob("*.tar.gz"))
    (site / archive.name).write_bytes(archive.read_bytes())
    flags = ("--language", "spanish", "--source", "site", "--site", site.as_uri())
    (site / f"{archive.name}.sha1").write_text("0" * 40 + f"  {archive.name}\n")
    refused = run("python", FETCH, *flags, DATA_ROOT=tmp_path)
    assert refused.returncode == 2 and "SHA-1" in refused.stderr
    digest = run("sha1sum", archive).stdout.split()[0]
    (site / f"{archive.name}.sha1").write_text(f"{digest}  {archive.name}\n")
    assert run("python", FETCH, *flags, DATA_ROOT=tmp_path).returncode == 0
    assert json.loads((tmp_path / "spanish/cache/prompts/prompts.json").read_text())["n_sounds"] == 28


def test_every_language_has_a_recipe():
    for language in LANGUAGE_CONFIGS:
        assert (RECIPES / language / "prepare.sh").is_file()
    for recipe in RECIPES.glob("*/prepare.sh"):
        assert subprocess.run(["bash", "-n", recipe], check=False).returncode == 0


@pytest.mark.parametrize("language", ["satere", "portuguese"])
def test_missing_recordings_say_what_to_put_where(language, tmp_path):
    refused = run("bash", RECIPES / language / "prepare.sh", DATA_ROOT=tmp_path)
    assert refused.returncode == 2
    assert str(tmp_path / language / "raw") in refused.stderr and "transcripts.tsv" in refused.stderr


@pytest.fixture
def link(tmp_path, monkeypatch):
    """link(language, folder) -> the message of the mistake, or None."""
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    script = runpy.run_path(str(RECIPES / "mp3_folder" / "link_recordings.py"))

    def link_folder(language, folder, *flags):
        words = ["link_recordings.py", "--language", language, "--folder", str(folder), *flags]
        monkeypatch.setattr(sys, "argv", words)
        try:
            script["main"]()
        except UserError as error:
            return str(error)

    return link_folder


def test_a_name_that_holds_other_recordings_is_refused_before_anything_is_touched(tmp_path, link):
    for name in ("mine", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.wav").write_bytes(b"x")
        (tmp_path / name / "speakers.tsv").write_text(f"{name}.wav\tanna\n")
    data = tmp_path / "satere"
    assert link("satere", tmp_path / "mine") is None
    (data / "segments.jsonl").write_text("{}\n")
    (data / "transcripts.tsv").write_text("mine.wav\t\t\ttyped by hand\n")
    (tmp_path / "other" / "transcripts.tsv").write_text("other.wav\t\t\tnewer\n")
    os.utime(tmp_path / "other" / "transcripts.tsv", (4e9, 4e9))
    said = link("satere", tmp_path / "other")
    assert said == (
        f"{data}: holds other recordings (1 in {tmp_path}/mine); take another name, or add --overwrite to replace them"
    )
    assert (data / "raw" / "mine.wav").exists() and "mine" in (data / "speakers.tsv").read_text()

    (tmp_path / "mine" / "more.wav").write_bytes(b"y")
    assert link("satere", tmp_path / "mine") is None  # files added to the same folder
    assert link("satere", tmp_path / "other", "--overwrite") is None
    assert (data / "raw" / "other.wav").exists() and "other" in (data / "speakers.tsv").read_text()
    assert "typed by hand" in (data / "transcripts_replaced_1.tsv").read_text()


def test_a_users_folder_is_linked_and_never_changed(tmp_path, link):
    folder = tmp_path / "mine"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.mp3").write_bytes(b"x")
    (folder / "transcripts.tsv").write_text("deep/a.mp3\t\t\thello\n")
    assert link("satere", folder) is None
    raw = tmp_path / "satere" / "raw"
    assert raw.is_symlink() and (raw / "deep" / "a.mp3").read_bytes() == b"x"
    assert (tmp_path / "satere" / "transcripts.tsv").read_text() == "deep/a.mp3\t\t\thello\n"
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.wav").write_bytes(b"y")
    assert link("satere", other) is None
    assert (raw / "b.wav").exists() and (folder / "deep" / "a.mp3").exists()


def test_a_table_corrected_by_hand_is_kept(tmp_path, link, capsys):
    folder, target = tmp_path / "mine", tmp_path / "satere" / "transcripts.tsv"
    folder.mkdir()
    (folder / "a.mp3").write_bytes(b"x")
    (folder / "transcripts.tsv").write_text("a.mp3\t\t\told words\n")
    os.utime(folder / "transcripts.tsv", (1e9, 1e9))
    link("satere", folder)
    assert "old words" in target.read_text()
    target.write_text("a.mp3\t\t\tcorrected\n")
    link("satere", folder)
    assert "corrected" in target.read_text() and str(target) in capsys.readouterr().err
    (folder / "transcripts.tsv").write_text("a.mp3\t\t\tnew words\n")
    os.utime(folder / "transcripts.tsv", (4e9, 4e9))
    link("satere", folder)
    assert "new words" in target.read_text()


def test_recordings_in_raw_are_not_replaced(tmp_path, link):
    raw, other = tmp_path / "satere" / "raw", tmp_path / "other"
    for path in (raw / "mine.mp3", other / "b.wav"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    assert "move them away" in link("satere", other) and (raw / "mine.mp3").exists()
    assert link("satere", raw) is None and not raw.is_symlink()


def test_names_that_are_no_folders_and_empty_folders_are_refused(tmp_path, link):
    assert "write satere" in link("Sateré-Mawé", tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    for language in ("satere", "guarani"):
        assert "found none" in link(language, empty) and not (tmp_path / language).exists()


def test_a_language_without_an_entry_begins_with_its_recordings(tmp_path, link):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.mp3").write_bytes(b"x")
    assert link("guarani", folder) is None and (tmp_path / "guarani" / "raw" / "a.mp3").exists()


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("at [@]", "at"),
        ("slash [/]", "slash"),
        ("space []", "space"),
        ("Please hang up. (simple tone sound plays)", "Please hang up."),
        ('IAX (note: does not say "2")', "IAX"),
        ("<beep ascending>", ""),
        ("(beep)", ""),
        ("Sus saludos [temporales] estan actualmente en uso", "Sus saludos temporales estan actualmente en uso"),
        ("[tentativo di] Parcheggio", "tentativo di Parcheggio"),
    ],
)
def test_a_text_is_what_is_spoken(written, spoken):
    assert runpy.run_path(str(BUILD))["spoken_text"](written) == spoken


def test_transcripts_may_be_gzipped(release, tmp_path):
    """Debian's packages carry core-sounds-XX.txt.gz: the same texts must come out."""
    inside = tmp_path / "inside"
    with tarfile.open(next(release.glob("*.tar.gz"))) as tar:
        unpack_tar(tar, inside)
    text = (inside / "core-sounds-es.txt").read_bytes()
    (inside / "core-sounds-es.txt").unlink()
    (inside / "core-sounds-es.txt.gz").write_bytes(gzip.compress(text))
    folder = tmp_path / "again"
    folder.mkdir()
    with tarfile.open(folder / "asterisk-core-sounds-es-g722-1.6.1.tar.gz", "w:gz") as tar:
        tar.add(inside, arcname=".")
    done = run("python", FETCH, "--language", "spanish", "--source", "folder", "--folder", folder, DATA_ROOT=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "spanish" / "cache" / "prompts" / "transcripts.txt").read_bytes() == text


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    """festvox-ru in small: a package with two sentences, their labels and a licence."""
    folder, inside = tmp_path_factory.mktemp("deb"), tmp_path_factory.mktemp("inside")
    place = inside / "usr/share/festival/voices/russian/msu_ru_nsh_clunits"
    for name in ("etc", "lab", "wav"):
        (place / name).mkdir(parents=True)
    for name in ("ru_0001", "ru_0002"):
        save_audio(place / "wav" / f"{name}.wav", speech_like(2.5, 1))
        (place / "lab" / f"{name}.lab").write_text("#\n0.34200 125 pau\n0.39200 125 k\n0.5 125 oo\n2.492 125 a\n")
    texts = '( ru_0001 "Вол+ос за  ухо." )\n( ru_0002 "Да (нет)." )\n'
    (place / "etc" / "txt.done.data").write_text(texts, encoding="utf-8")
    (inside / "usr/share/doc/festvox-ru").mkdir(parents=True)
    (inside / "usr/share/doc/festvox-ru/copyright").write_text("BSD-like")
    (inside / "DEBIAN").mkdir()
    (inside / "DEBIAN/control").write_text(
        "Package: festvox-ru\nVersion: 0.5\nArchitecture: all\nMaintainer: n <n@example.org>\nDescription: small\n"
    )
    subprocess.run(["dpkg-deb", "-b", inside, folder / "festvox-ru_0.5_all.deb"], check=True, capture_output=True)
    return folder


@pytest.fixture
def build_russian(tmp_path, monkeypatch):
    """build_russian(folder) -> data/russian, or the message of the mistake."""
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    script = runpy.run_path(str(RECIPES / "russian" / "build_corpus.py"))

    def build(folder):
        monkeypatch.setattr(sys, "argv", ["build_corpus.py", "--folder", str(folder)])
        try:
            script["main"]()
        except UserError as error:
            return str(error)
        return tmp_path / "russian"

    return build


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs Debian's dpkg-deb")
def test_russian_sentences_come_with_phones_texts_and_licence(voice, build_russian):
    data = build_russian(voice)
    assert (data / "phones.tsv").read_text(encoding="utf-8").splitlines()[:5] == [
        "source\tstart\tend\tphone\tstress",
        "ru_0001.wav\t0.0000\t0.3420\tpau\t",
        "ru_0001.wav\t0.3420\t0.3920\tk\t",
        "ru_0001.wav\t0.3920\t0.5000\too\t1",
        "ru_0001.wav\t0.5000\t2.4920\ta\t0",
    ]
    texts = read_built(data / "transcripts.tsv", "source", "text")
    assert texts == [("ru_0001.wav", "Волос за ухо."), ("ru_0002.wav", "Да (нет).")]
    assert {path.name for path in (data / "raw").iterdir()} == {"ru_0001.wav", "ru_0002.wav"}
    assert "Shmyrev" in (data / "ATTRIBUTION.txt").read_text() and "BSD" in (data / "LICENSE_SOURCE.txt").read_text()
    assert read_phones(data / "phones.tsv").names == ["SIL", "a", "k", "oo"]
    (data / "phones.tsv").write_text("corrected by hand")
    assert build_russian(voice) == data and (data / "phones.tsv").read_text() == "corrected by hand"


def test_a_folder_without_the_voice_is_one_clear_line(tmp_path, build_russian):
    assert "expected festvox-ru_*.deb, found none" in build_russian(tmp_path)


def test_labels_of_another_length_are_refused():
    script = runpy.run_path(str(RECIPES / "russian" / "build_corpus.py"))
    with pytest.raises(UserError, match=r"labels to 3\.000 s"):
        script["label_rows"]("a.wav", [(0.0, 1.0, "a")], 3.0)
