"""The script: texts go to recordings by name, mistakes are one line, and a whole run writes what training reads."""

import json
import unicodedata
from unittest import mock

import numpy as np

import pytest

import align_text

from alignment.align_recording import WHISPER_SCALE, hear_by_reading
from audio.audio_io import save_audio
from core.errors import UserError
from core.exit_codes import EXIT_SOME_FAILED

WRONG_PAGE = "".join(
    f"{number} {word}\n" for number, word in enumerate(["wuxizepu", "yebugivo", "hapucixe", "dujovegy"] * 4)
)
FLAGS = ["tale.wav", "--text", "tale.txt", "--out", "aligned"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "expected one of --model"),
        (["--model", "x", "--whisper", "y"], "expected one of --model"),
        (["--model", "x", "--language", "es"], "is for --whisper"),
        (["--whisper", "y"], "give --language too"),
        (["--model", "x", "--min_confidence", "2"], "min_confidence"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags, said) -> None:
    with pytest.raises(UserError, match=said):
        align_text.parse_args([*FLAGS, *flags])


def test_a_text_belongs_to_the_recording_of_its_name(tmp_path) -> None:
    names = [unicodedata.normalize(form, "niño") for form in ("NFC", "NFD")]
    (tmp_path / f"{names[1]}.usfm").write_text("x")
    assert align_text.pair_texts({f"{names[0]}.mp3": tmp_path}, tmp_path)[f"{names[0]}.mp3"].suffix == ".usfm"
    with pytest.raises(UserError, match=r"expected b.txt .* for b.mp3"):
        align_text.pair_texts({"b.mp3": tmp_path}, tmp_path)
    with pytest.raises(UserError, match="one text, found 2 recordings"):
        align_text.pair_texts({"a.mp3": tmp_path, "b.mp3": tmp_path}, tmp_path / f"{names[1]}.usfm")


def test_texts_are_read_before_anything_is_heard(tmp_path, capsys) -> None:
    (tmp_path / "good.txt").write_text("uno\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "story.docx").write_bytes(b"PK")
    lines, failed = align_text.read_texts(
        {name: tmp_path / name for name in ("good.txt", "empty.txt")}, spoken_headings=False
    )
    assert [line.text for line in lines["good.txt"]] == ["uno"] and list(failed) == ["empty.txt"]
    assert "left out" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"story.docx: expected plain text or USFM, found a document"):
        align_text.read_texts({"a": tmp_path / "story.docx"}, spoken_headings=False)


def listen(words):
    """A listener that hears ``words`` (text, start, end), whatever the recording holds."""
    text, starts, ends = "", [], []
    for word, start, end in words:
        edges = np.linspace(start, end, len(word) + 2)
        text, starts, ends = f"{text} {word}", [*starts, *edges[:-1]], [*ends, *edges[1:]]
    window = {"start": 0.0, "end": 9.0, "text": text, "starts": starts, "ends": ends}
    return align_text.Listener("a fake", lambda _, lines, *__: hear_by_reading([window], lines), WHISPER_SCALE)


@pytest.mark.parametrize(("text", "code"), [("1 tama lino\n2 kora sefu\n", 0), (WRONG_PAGE, EXIT_SOME_FAILED)])
def test_a_run_writes_a_folder_that_training_reads(tmp_path, monkeypatch, capsys, text, code) -> None:
    samples = np.zeros(9 * 16000, np.float32)
    words = [("tama", 1.0, 1.5), ("lino", 1.5, 2.0), ("kora", 5.0, 5.5), ("sefu", 5.5, 6.0)]
    for _, start, end in words:
        samples[round(start * 16000) : round(end * 16000)] = 0.1
    save_audio(tmp_path / "tale.wav", samples)
    (tmp_path / "tale.txt").write_text(text, encoding="utf-8")
    out = tmp_path / "aligned"
    flags = [str(tmp_path / "tale.wav"), "--text", str(tmp_path / "tale.txt"), "--out", str(out), "--model", "x"]
    monkeypatch.setattr("sys.argv", ["align_text.py", *flags])
    with mock.patch.object(align_text, "load_listener", lambda *_: listen(words)):
        assert align_text.main() == code
    [found] = json.loads((out / "alignment.json").read_text(encoding="utf-8"))["recordings"]
    assert found["text_file"] == "tale.txt" and found["summary"]["wrong_page"] == bool(code)
    rows = [line.split("\t") for line in (out / "transcripts.tsv").read_text(encoding="utf-8").splitlines()]
    assert [row[3:5] for row in rows[1:]] == ([] if code else [["tama lino", "1"], ["kora sefu", "2"]])
    assert (out / "raw" / "tale.wav").samefile(tmp_path / "tale.wav")
    assert {path.suffix for path in out.glob("tale.*")} == {".eaf", ".TextGrid", ".srt", ".vtt"}
    assert ("right page?" in capsys.readouterr().out) == bool(code)
    with pytest.raises(UserError, match="exists already"):
        align_text.parse_args(flags)
    monkeypatch.setattr("sys.argv", ["align_text.py", *flags, "--overwrite", "--format", "srt"])
    with mock.patch.object(align_text, "load_listener", lambda *_: listen(words)):
        assert align_text.main() == code
    assert {path.suffix for path in out.glob("tale.*")} == {".srt"}, "of the run before"
