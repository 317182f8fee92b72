"""Recordings of any length to text with times: cut, heard, kept over a kill, written, and what fails is named."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import pytest
import soundfile

import transcribe

from annotations.read_annotations import read_annotations
from annotations.spans import choose_text_tiers
from core.errors import UserError
from core.frames import SAMPLE_RATE
from segmentation.long_recordings import plan_pieces
from segmentation.tables import read_transcripts
from speech_llm.correction_queue import find_doubts, keep_corrected, queue_of, rank_least_sure, read_corrected
from speech_llm.long_transcription import (
    append_journal,
    group_pieces,
    plan_recordings,
    read_journal,
    transcribe_recordings,
)
from speech_llm.subtitles import line_spans, render_json, render_srt, render_tsv, render_vtt
from synthetic import speech_like, write_mp3

IDENTITY = {"model": "abc", "num_beams": None}
LINES = [
    {"source": "a.wav", "start": 0.5, "end": 2.25, "text": "uno & <dos>"},
    {"source": "a.wav", "start": 3.0, "end": 4.0, "text": ""},
    {"source": "a.wav", "start": 3725.9996, "end": 3726.5, "text": "tres"},
]


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mp3(tmp_path_factory.mktemp("long") / "long.mp3", speech_like(75.0, 1))


def spell(waveforms: Sequence[np.ndarray]) -> list[str]:
    """A listener for tests: the length and level of what it is given."""
    return [f" {len(waveform)}\n{np.abs(waveform).max():.3f} " for waveform in waveforms]


def run(sources: dict[str, Path], journal: Path | None = None, listen=spell, **settings):
    plans, failed = plan_recordings(sources, max_duration=10.0)
    lines, given_up = transcribe_recordings(listen, plans, journal, IDENTITY, group_size=3, **settings)
    return lines, failed | given_up


def test_a_long_recording_is_cut_and_its_times_are_its_own(long_recording: Path) -> None:
    lines, failed = run({"long.mp3": long_recording})
    assert not failed and len(lines) > 7
    assert all(0 < line["end"] - line["start"] <= 10 for line in lines)
    assert all(before["end"] <= after["start"] + 1e-3 for before, after in zip(lines, lines[1:]))
    for line in lines:
        n_samples = (line["end"] - line["start"]) * SAMPLE_RATE
        assert int(line["text"].split()[0]) == pytest.approx(n_samples, abs=16) and line["text"].count(" ") == 1
    assert lines[-1]["end"] > 70


def test_short_and_silent_recordings(tmp_path: Path) -> None:
    short = write_mp3(tmp_path / "short.wav", speech_like(1.1, 2))
    assert plan_pieces(short).bounds == [(0, round(1.1 * SAMPLE_RATE))]
    silent = write_mp3(tmp_path / "silent.wav", np.zeros(5 * SAMPLE_RATE, np.float32))
    plan = plan_pieces(silent)
    assert plan.bounds == [] and plan.notes == ["is silent"]


def test_unreadable_recordings_are_named_and_the_others_heard(long_recording: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "text.mp3").write_text("no audio at all" * 100)
    sources = {name: tmp_path / name for name in ("empty.mp3", "text.mp3")} | {"long.mp3": long_recording}
    lines, failed = run(sources)
    assert set(failed) == {"empty.mp3", "text.mp3"} and failed["empty.mp3"].startswith("is empty")
    assert {line["source"] for line in lines} == {"long.mp3"}


def test_a_truncated_recording_is_heard_and_said_to_be(tmp_path: Path) -> None:
    whole = tmp_path / "whole.wav"
    soundfile.write(whole, speech_like(12.0, 3), SAMPLE_RATE, subtype="PCM_16")
    (tmp_path / "cut.wav").write_bytes(whole.read_bytes()[: 44 + 2 * 6 * SAMPLE_RATE])
    plan = plan_pieces(tmp_path / "cut.wav")
    assert plan.bounds and "truncated: 12.0 s stated, 6.0 s found" in plan.notes[0]


def test_what_was_heard_before_a_kill_is_not_heard_again(long_recording: Path, tmp_path: Path) -> None:
    journal, heard = tmp_path / "out.tsv.partial", []

    def die_on_the_third(waveforms: Sequence[np.ndarray]) -> list[str]:
        heard.append(len(waveforms))
        if len(heard) == 3:
            raise KeyboardInterrupt
        return spell(waveforms)

    with pytest.raises(KeyboardInterrupt):
        run({"long.mp3": long_recording}, journal, die_on_the_third)
    with open(journal, "ab") as torn:
        torn.write(b'["long.mp3", 12')
    lines, _ = run({"long.mp3": long_recording}, journal, lambda waves: [heard.append(1) or t for t in spell(waves)])
    whole, _ = run({"long.mp3": long_recording})
    assert lines == whole and sum(heard[3:]) == len(whole) - 6


def test_a_signal_ends_it_between_groups(long_recording: Path, tmp_path: Path) -> None:
    stopped: list[int] = []
    listen = lambda waves: stopped.append(15) or spell(waves)  # noqa: E731
    lines, failed = run({"a.mp3": long_recording, "b.mp3": long_recording}, tmp_path / "j", listen, stopped=stopped)
    assert len(lines) == 3 and not failed and len(stopped) == 1
    assert len(read_journal(tmp_path / "j", IDENTITY)) == 3


def test_a_journal_of_another_model_or_file_is_not_used(tmp_path: Path) -> None:
    journal = tmp_path / "x.partial"
    append_journal(journal, IDENTITY, [["a", 1, 2, 0, 16000, "hola"]])
    append_journal(journal, IDENTITY, [["a", 1, 2, 16000, 32000, "ñ"]])
    assert read_journal(journal, IDENTITY) == {("a", 1, 2, 0, 16000): "hola", ("a", 1, 2, 16000, 32000): "ñ"}
    assert read_journal(journal, IDENTITY | {"num_beams": 4}) == {} and not journal.exists()


def test_groups_hold_few_pieces_and_little_audio() -> None:
    second = SAMPLE_RATE
    pieces = [
        (0, second),
        (second, 2 * second),
        (2 * second, 3 * second),
        (3 * second, 700 * second),
        (700 * second, 701 * second),
    ]
    assert [len(group) for group in group_pieces(pieces, 2)] == [2, 1, 1, 1]
    assert [piece for group in group_pieces(pieces, 2) for piece in group] == pieces


def test_formats(tmp_path: Path) -> None:
    assert json.loads(render_json(LINES)) == LINES and json.loads(render_json([])) == []
    assert render_srt(LINES) == (
        "1\n00:00:00,500 --> 00:00:02,250\nuno & <dos>\n\n2\n01:02:06,000 --> 01:02:06,500\ntres\n\n"
    )
    assert render_vtt(LINES).startswith(
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.250\nuno &amp; &lt;dos&gt;\n\n01:02:06.000"
    )
    (tmp_path / "transcripts.tsv").write_text(render_tsv(LINES))
    assert read_transcripts(tmp_path / "transcripts.tsv") == {
        "a.wav": [(0.5, 2.25, "uno & <dos>"), (3726.0, 3726.5, "tres")]
    }


@pytest.mark.parametrize(
    ("out", "flags", "sources", "expected"),
    [
        ("out.txt", (), 1, "expected one of .json, .tsv, .srt, .vtt, .eaf, .textgrid, or a folder"),
        ("out.srt", (), 2, "subtitles are of one recording, found 2"),
        ("out.json", ("--format", "vtt"), 1, "names the files of a folder"),
        ("there.json", (), 1, "exists already; --overwrite replaces it"),
        ("folder", (), 1, "exists already, and 0 more"),
        ("out.srt", ("--words",), 1, "--words: srt does not hold it"),
        ("out.vtt", ("--least_sure", "5"), 1, "--confidence: vtt does not hold it"),
        ("subs", ("--confidence",), 1, "--confidence: srt does not hold it"),
    ],
)
def test_outputs_that_cannot_be_are_refused(out, flags, sources, expected, tmp_path: Path) -> None:
    (tmp_path / "there.json").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "0.srt").touch()
    with pytest.raises(UserError, match=expected):
        args = transcribe.parse_args(["a.wav", "--model", "exp/x", "--out", str(tmp_path / out), *flags])
        paths = {f"{n}.wav": Path(f"{n}.wav") for n in range(sources)}
        transcribe.plan_outputs(args.out, args.format, paths, overwrite=args.overwrite)


def test_outputs_of_a_folder_have_names_of_their_own(tmp_path: Path) -> None:
    args = transcribe.parse_args(["a.wav", "--model", "exp/x", "--out", str(tmp_path / "subs"), "--format", "vtt"])
    sources = {"a/x.wav": Path("1"), "b/x.wav": Path("2")}
    outputs = transcribe.plan_outputs(args.out, args.format, sources, overwrite=False)
    assert sorted(path.name for path in outputs) == ["a_x.vtt", "b_x.vtt"]
    transcribe.write_outputs(outputs, [LINES[0] | {"source": "a/x.wav"}], {"b/x.wav": "damaged"})
    assert [path.name for path in (tmp_path / "subs").iterdir()] == ["a_x.vtt"]


TIMED = [
    {"source": "a.wav", "start": 1.0, "end": 2.5, "text": "uno dos", "confidence": 0.9, "words": []},
    {"source": "a.wav", "start": 3.0, "end": 4.0, "text": "tres", "confidence": 0.25, "words": []},
    {"source": "b.wav", "start": 0.0, "end": 61.0, "text": "", "confidence": 0.5, "words": []},
]
TIMED[0]["words"] = [
    {"text": "uno", "start": 1.0, "end": 1.4, "confidence": 0.9},
    {"text": "dos", "start": 1.6, "end": 2.1, "confidence": 0.9},
]


def test_words_and_confidences_stand_in_each_format() -> None:
    assert "\nuno <00:00:01.600>dos\n" in render_vtt(TIMED)
    assert render_tsv(TIMED).splitlines() == [
        "source\tstart\tend\ttext\tconfidence",
        "a.wav\t1.000\t2.500\tuno dos\t0.900",
        "a.wav\t3.000\t4.000\ttres\t0.250",
    ]
    assert json.loads(render_json(TIMED)) == TIMED


def test_words_keep_the_time_of_their_recording_over_a_kill(long_recording: Path, tmp_path: Path) -> None:
    def hear(waveforms: Sequence[np.ndarray]) -> list[dict]:
        word = {"text": "hm", "start": 0.25, "end": 99.0, "confidence": 0.5}
        return [{"text": " hm ", "confidence": 0.5, "words": [word]} for _ in waveforms]

    def refuse(waveforms: Sequence[np.ndarray]) -> list[dict]:
        raise AssertionError("heard again")

    journal = tmp_path / "j"
    lines, _ = run({"long.mp3": long_recording}, journal, hear)
    assert lines[1]["words"][0]["start"] == pytest.approx(lines[1]["start"] + 0.25)
    assert lines[1]["words"][0]["end"] == lines[1]["end"] and lines[1]["text"] == "hm"
    assert run({"long.mp3": long_recording}, journal, refuse)[0] == lines


def test_the_least_sure_minutes_are_to_be_corrected() -> None:
    """Letters a second, times what is not sure: 0.47, 3.0, and the usual rate where nothing was heard."""
    assert find_doubts(TIMED) == pytest.approx([0.1 * 7 / 1.5, 0.75 * 4, 0.5 * (7 / 1.5 + 4) / 2])
    ranked = rank_least_sure(TIMED, 1.04)
    assert [line["rank"] for line in ranked] == [0, 1, 2]
    assert [line["rank"] for line in rank_least_sure(TIMED, 0.001)] == [0, 1, 0]
    assert [line["text"] for line in queue_of(ranked)] == ["tres", ""]
    assert [line["text"] for line in transcribe.choose_lines(TIMED, 0.1, "tsv")] == ["tres"]


@pytest.mark.parametrize("suffix", ["eaf", "TextGrid"])
def test_what_was_corrected_in_another_tool_is_read_as_text(suffix: str, tmp_path: Path) -> None:
    """Only the lines that were to be corrected: drafts, words and notes are none."""
    soundfile.write(tmp_path / "a.wav", np.zeros(5 * SAMPLE_RATE, np.float32), SAMPLE_RATE)
    lines = [line for line in rank_least_sure(TIMED, 0.01) if line["source"] == "a.wav"]
    outputs = transcribe.plan_outputs(tmp_path / "out", suffix.lower(), {"a.wav": Path("x")}, overwrite=False)
    transcribe.write_outputs(outputs, lines, {}, {"a.wav": tmp_path / "a.wav"})
    spans = read_annotations(tmp_path / "out" / f"a.{suffix}")
    texts = [span for span in spans if span.tier in choose_text_tiers(spans)]
    assert [(span.start, span.end, span.text) for span in texts] == [(3.0, 4.0, "tres")]
    tiers = {tier: [span.text for span in spans if span.tier == tier] for tier in ("draft", "word", "note")}
    assert tiers == {"draft": ["uno dos"], "word": ["uno", "dos"], "note": ["0.90", "1: 0.25"]}

    silent = [line | {"rank": 0} for line in lines]
    outputs = transcribe.plan_outputs(tmp_path / "none", suffix.lower(), {"a.wav": Path("x")}, overwrite=False)
    transcribe.write_outputs(outputs, silent, {}, {"a.wav": tmp_path / "a.wav"})
    assert not (tmp_path / "none").exists(), "nothing is asked of this recording"

    corrected = read_corrected({"a.wav": tmp_path / "a.wav"}, tmp_path / "out")
    again = rank_least_sure(keep_corrected([TIMED[0], TIMED[1] | {"text": "seis"}, TIMED[2]], corrected), 0.01)
    assert [(line["text"], line.get("rank")) for line in again] == [("uno dos", 0), ("tres", None), ("", 1)]
    assert [span.tier for span in line_spans(again[:2]) if span.text == "tres"] == ["transcription"]
