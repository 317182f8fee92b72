"""What lies on a linguist's stick: each case was tried by hand first (docs/results/field_recordings.md)."""

import errno
import importlib.util
import io
import os
import shutil
from pathlib import Path

import numpy as np

import openpyxl
import pytest
import soundfile

from export_annotations import name_files

from annotations.find_annotations import find_annotations
from annotations.spans import Span
from annotations.write_annotations import write_annotations
from audio.audio_io import load_audio, save_audio
from audio.audio_spans import load_span
from core.cli import run_main
from core.errors import UserError
from core.files import read_json
from report.inspection import recording_cells
from segmentation.annotated_pieces import plan_annotated
from segmentation.cut_recording import CutFlags, CutJob, cut_recording, result_file
from segmentation.folder_survey import survey_folder
from segmentation.inspection import InspectionJob, inspect_recording
from segmentation.tables import read_speakers, read_transcripts, texts_of_segments
from speech_llm.transcribed_items import load_transcribed
from synthetic import speech_like

HEADER = "source\tstart\tend\ttext\n"


def write_table(folder: Path, content: str | bytes, name: str = "transcripts.tsv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def cut(path: Path, folder: Path, **options: object) -> tuple[str | None, dict]:
    """Why cutting failed, or None and the result."""
    job = CutJob(path.name, path, path.stem, CutFlags(), False, folder / "segments", folder / "results", **options)
    job.segments.mkdir(exist_ok=True)
    job.results.mkdir(exist_ok=True)
    reason = cut_recording(job)
    return reason, {} if reason else read_json(result_file(job))


# Tables.


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffsep=;\r\nsource;start;end;text\r\na.wav;0:01:02,5;64;água\r\n",
        "sep=,\nsource,start,end,text\n.\\a.wav,62.5,1:04,água\n",
        HEADER + "a.wav\t62,5\t64\tágua\na.wav\t62,5\t64\tágua\n",
        HEADER + 'a.wav\t62,5\t64\t"água"\n\n',
        'source\tstart\tend\ttext\tchecked\na.wav\t62,5\t64\t"água"\tyes\n',
    ],
)
def test_tables_of_spreadsheets_are_read(tmp_path: Path, content: str) -> None:
    """Excel's line for itself, clock times, Windows' slashes, rows that repeat others, quotes."""
    assert read_transcripts(write_table(tmp_path, content)) == {"a.wav": [(62.5, 64.0, "água")]}


def test_quotes_are_read_though_one_row_is_shorter(tmp_path: Path) -> None:
    table = 'source\tstart\tend\ttext\tchecked\na.wav\t0\t2\t"She said, ""come"""\tyes\na.wav\t2\t3\tno\n'
    assert read_transcripts(write_table(tmp_path, table))["a.wav"][0][2] == 'She said, "come"'


def test_breaks_inside_a_cell_end_no_line(tmp_path: Path) -> None:
    table = HEADER + "a.wav\t0\t2\tone\u2028two\x0bthree\n" + 'b.wav\t0\t2\t"four\nfive"\n'
    read = read_transcripts(write_table(tmp_path, table))
    assert [rows[0][2] for rows in read.values()] == ["one two three", "four five"]


def test_merged_cells_hold_for_all_their_rows(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (("source", "start", "end", "text"), ("a.wav", 0, 2, "one"), (None, 2, 4, "two"), ("b.wav", 0, 1, "x")):
        book.active.append(row)
    book.active.merge_cells("A2:A3")
    book.save(tmp_path / "transcripts.xlsx")
    read = read_transcripts(tmp_path / "transcripts.xlsx")
    assert read == {"a.wav": [(0, 2, "one"), (2, 4, "two")], "b.wav": [(0, 1, "x")]}


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_table_that_was_cut_off_is_no_table_without_rows(tmp_path: Path, content: bytes) -> None:
    for name, read in (("transcripts.tsv", read_transcripts), ("speakers.tsv", read_speakers)):
        with pytest.raises(UserError, match=f"{name}.*found an empty file"):
            read(write_table(tmp_path, content, name))


def test_a_row_without_a_recording_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 2: expected the name of a recording"):
        read_transcripts(write_table(tmp_path, HEADER + "\t0\t2\tone\n"))


def test_two_speakers_of_a_recording_are_refused_and_an_empty_cell_is_nobody(tmp_path: Path) -> None:
    table = write_table(tmp_path, "source\tspeaker\na.wav\tAna\na.wav\tAna\nb.wav\t\n", "speakers.tsv")
    assert read_speakers(table) == {"a.wav": "Ana"}
    write_table(tmp_path, "source\tspeaker\na.wav\tAna\na.wav\tRosa\n", "speakers.tsv")
    with pytest.raises(UserError, match="line 3: expected one speaker of a.wav, found Ana and Rosa"):
        read_speakers(table)


def test_a_text_that_ends_after_the_recording_is_not_given_to_its_last_segment() -> None:
    segments = [(0.0, 5.0), (6.0, 10.0)]
    texts = [(0.0, 5.0, "first"), (9.5, 60.0, "a minute"), (70.0, 80.0, "after")]
    assert texts_of_segments(segments, texts, 10.0) == (["first", None], {"outside the recording": 2})
    rounded = [(6.0, 10.2, "rounded up")]
    assert texts_of_segments(segments, rounded, 10.0)[0] == [None, "rounded up"]


def test_an_annotation_mostly_after_the_recording_is_left_out() -> None:
    spans = [Span("a", 0, 3, "inside"), Span("a", 9, 30, "21 s of which 1 is there")]
    plan = plan_annotated(spans, n_seconds=10.0, min_duration=2.0, max_duration=20.0)
    assert [piece.text for piece in plan.pieces] == ["inside"] and plan.left_out == {"outside the recording": 1}


def test_speech_to_text_does_not_learn_a_text_that_ends_after_the_recording(tmp_path: Path) -> None:
    save_audio(tmp_path / "a.wav", speech_like(4.0))
    (tmp_path / "splits.json").write_text('{"a.wav": "train"}', encoding="utf-8")
    inside = "".join(f"a.wav\t{k / 100}\t{k / 100 + 1}\tinside\n" for k in range(200))
    write_table(tmp_path, HEADER + inside + "a.wav\t3.5\t60\ta minute\n")
    assert {item["text"] for item in load_transcribed(tmp_path, ["train"])["train"]} == {"inside"}
    write_table(tmp_path, HEADER + "a.wav\t0\t2\tinside\na.wav\t3.5\t60\ta minute\na.wav\t70\t80\tafter\n")
    with pytest.raises(UserError, match="3.5 to 60 s lies outside its 4.0 s"):
        load_transcribed(tmp_path, ["train"])


# Sound.


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_named(tmp_path: Path, rate: int, bad: float) -> None:
    """One of them made all 20 s of a recording one segment of silence, with exit code 0."""
    wave = speech_like(3.0)
    wave[8000] = bad
    path = tmp_path / "a.wav"
    soundfile.write(path, wave, rate, subtype="FLOAT")
    with pytest.raises(UserError, match="a.wav: expected finite samples, found NaN or Inf"):
        load_audio(path)
    assert "finite" in cut(path, tmp_path)[0] and "finite" in inspect_recording(InspectionJob("a.wav", path))


@pytest.mark.parametrize("factor", [4.0, 32768.0])
def test_float_over_full_scale_is_lowered_not_clipped(tmp_path: Path, factor: float) -> None:
    wave = speech_like(4.0)
    plain, loud = tmp_path / "plain.wav", tmp_path / "loud.wav"
    soundfile.write(plain, wave / np.abs(wave).max(), 16000, subtype="FLOAT")
    soundfile.write(loud, wave / np.abs(wave).max() * factor, 16000, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(loud), load_audio(plain), atol=1e-5)
    np.testing.assert_allclose(load_audio(io.BytesIO(loud.read_bytes())), load_audio(plain), atol=1e-5)
    np.testing.assert_allclose(load_span(loud, 1.0, 2.0), load_span(plain, 1.0, 2.0), atol=1e-5)
    (_, low), (_, high) = (cut(path, tmp_path) for path in (plain, loud))
    assert [row["start"] for row in high["segments"]] == [row["start"] for row in low["segments"]]
    assert high["lowered_db"] == round(20 * np.log10(factor), 1) and "lowered_db" not in low
    row = inspect_recording(InspectionJob("loud.wav", loud)).row
    assert "over_full_scale" in row["flags"] and "clipped" not in row["flags"]


def test_a_silent_first_track_says_that_there_is_another(tmp_path: Path) -> None:
    import av

    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(2)]
        for stream, wave in zip(streams, (np.zeros(48000), speech_like(3.0))):
            frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], format="s16", layout="mono")
            frame.sample_rate = 16000
            out.mux([*stream.encode(frame), *stream.encode(None)])
    assert "the first of 2 sound tracks was taken" in cut(path, tmp_path)[0]
    assert inspect_recording(InspectionJob("two.mkv", path)).row["flags"] == ["silent", "several_tracks"]


# Folders and names.


def test_pipes_loops_and_devices_do_not_count_as_recordings_that_failed(tmp_path: Path) -> None:
    save_audio(tmp_path / "good.wav", speech_like(0.5))
    os.mkfifo(tmp_path / "control")
    os.symlink("/dev/null", tmp_path / "nothing")
    os.symlink("b.wav", tmp_path / "a.wav")
    os.symlink("a.wav", tmp_path / "b.wav")
    survey = survey_folder(tmp_path)
    assert list(survey.recordings) == ["good.wav"] and survey.ignored == {"pipe or device": 2}
    assert survey.unreadable["a.wav"] == "is a link to b.wav, which leads back to it; delete both"


def test_a_name_in_a_table_is_one_short_line(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    save_audio(path, speech_like(0.5))
    row = inspect_recording(InspectionJob("new\nline/" + "x" * 4000 + "/tape 7.wav", path)).row
    name = recording_cells(row)[0]
    assert len(name) == 60 and name.startswith("new\\nline/") and name.endswith("x/tape 7.wav")


def test_an_elan_file_of_another_name_is_found_by_its_link(tmp_path: Path) -> None:
    sources = {name: tmp_path / name for name in ("Tape 7.wav", "tape8.wav")}
    for path in sources.values():
        save_audio(path, speech_like(0.5))
    linked, named = tmp_path / "session.eaf", tmp_path / "tape8.eaf"
    write_annotations(linked, [Span("a", 0, 1, "x")], form="eaf", media=Path("C:/old/tape%207.WAV"), seconds=1)
    write_annotations(named, [Span("a", 0, 1, "x")], form="eaf", media=tmp_path / "Tape 7.wav", seconds=1)
    (tmp_path / "damaged.eaf").write_text("<ANNOTATION", encoding="utf-8")
    assert find_annotations(sources) == ({"Tape 7.wav": linked, "tape8.wav": named}, [])


def test_annotations_beside_a_name_in_another_unicode_form(tmp_path: Path) -> None:
    recording, grid = tmp_path / "Jose\u0301.wav", tmp_path / "Jos\u00e9.TextGrid"
    for path in (recording, grid):
        path.touch()
    assert find_annotations({"Jos\u00e9.wav": recording}) == ({"Jos\u00e9.wav": grid}, [])


def test_annotations_of_another_recording_are_no_reason_to_cut_at_pauses(tmp_path: Path) -> None:
    path, labels = tmp_path / "a.wav", tmp_path / "a.srt"
    save_audio(path, speech_like(3.0))
    labels.write_text("1\n00:10:00,000 --> 00:10:02,000\nelsewhere\n", encoding="utf-8")
    reason, _ = cut(path, tmp_path, annotations=labels)
    assert reason.startswith("a.srt: none of its texts lies in the recording (1 outside the recording)")


def test_exports_of_recordings_that_share_a_name_do_not_overwrite_each_other() -> None:
    names = name_files(["a.wav", "a.mp3", "b/a.wav", "B.wav", "b.wav"], ".eaf")
    assert names == {
        "a.wav": "a.wav.eaf",
        "a.mp3": "a.mp3.eaf",
        "b/a.wav": "b/a.eaf",
        "B.wav": "B.wav.3.eaf",
        "b.wav": "b.wav.4.eaf",
    }


def test_a_folder_that_may_not_be_written_is_one_line(capsys) -> None:
    def main() -> int:
        raise PermissionError(errno.EACCES, "Permission denied", "/data/guarani")

    with pytest.raises(SystemExit) as ended:
        run_main(main)
    shown = capsys.readouterr().err
    assert ended.value.code == 2 and shown.startswith("error: /data/guarani: no right to") and shown.count("\n") == 1


# The tables that a folder brings are remembered by content: dates tell nothing where a clock was set back.


@pytest.fixture(scope="module")
def link_recordings():
    path = Path(__file__).parents[1] / "recipes/mp3_folder/link_recordings.py"
    spec = importlib.util.spec_from_file_location("link_recordings", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_newer_table_with_an_older_date_replaces_the_copy(tmp_path: Path, link_recordings, capsys) -> None:
    folder, data = tmp_path / "stick", tmp_path / "data"
    paths = {"transcripts": data / "transcripts.tsv", "speakers": data / "speakers.tsv", "cache": data / "cache"}
    folder.mkdir()
    data.mkdir()
    given = write_table(folder, HEADER + "a.wav\t0\t2\told\n")
    assert link_recordings.copy_tables(folder, paths) == ["transcripts.tsv"]
    write_table(folder, HEADER + "a.wav\t0\t2\tnew\n")
    os.utime(given, (0, 0))  # the clock of the other machine
    link_recordings.copy_tables(folder, paths)
    assert "new" in paths["transcripts"].read_text()

    paths["transcripts"].write_text(HEADER + "a.wav\t0\t2\tmended here\n")
    link_recordings.copy_tables(folder, paths)
    assert "mended" in paths["transcripts"].read_text() and "was changed here, kept" in capsys.readouterr().err

    shutil.copy2(given, paths["transcripts"])
    link_recordings.copy_tables(folder, paths)
    given.unlink()  # its texts were withdrawn
    assert link_recordings.copy_tables(folder, paths) == [] and not paths["transcripts"].exists()


def test_a_table_of_ones_own_stays_where_the_folder_brings_none(tmp_path: Path, link_recordings) -> None:
    paths = {name: tmp_path / f"{name}.tsv" for name in ("transcripts", "speakers")} | {"cache": tmp_path / "cache"}
    own = write_table(tmp_path, HEADER + "a.wav\t0\t2\tmine\n")
    (tmp_path / "stick").mkdir()
    assert link_recordings.copy_tables(tmp_path / "stick", paths) == [] and own.exists()
