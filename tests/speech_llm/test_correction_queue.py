"""What was said before stays, and is not asked for again."""

import json
from pathlib import Path

from annotations.find_annotations import find_annotations, holds_drafts_alone, is_table_of_recordings
from annotations.read_annotations import read_annotations
from annotations.spans import choose_text_tiers
from annotations.write_annotations import write_annotations
from speech_llm.correction_queue import keep_corrected, rank_least_sure, read_corrected
from speech_llm.subtitles import line_spans
from synthetic import write_recordings

SEGMENTS = [
    {"id": "a_0", "source": "d/a.wav", "start": 1.0, "end": 3.0, "text": "ʼãẽ  one", "speaker": "Ana"},
    {"id": "a_1", "source": "d/a.wav", "start": 3.0, "end": 4.5, "speaker": "Ana"},  # without text
    {"id": "a_2", "source": "d/a.wav", "start": 2.0, "end": 3.5, "text": "two", "speaker": "Rui"},
    {
        "id": "j",
        "source": "b.wav",
        "start": 0.0,
        "end": 9.0,
        "text": "three four",
        "speaker": None,
        "parts": [
            {"source": "b.wav", "start": 0.0, "end": 1.0, "offset": 0.0, "text": "three"},
            {"source": "c.wav", "start": 0.0, "end": 2.0, "offset": 1.3, "text": "four"},
        ],
    },
]


def write_manifest(folder: Path) -> Path:
    common = {"audio": "x/a.wav", "duration": 1.0, "split": "train"}
    folder.mkdir(parents=True)
    lines = [json.dumps(common | row, ensure_ascii=False) + "\n" for row in SEGMENTS]
    (folder / "segments.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def test_texts_of_a_prepared_language_stand_where_they_are_in_the_recordings(tmp_path: Path) -> None:
    sources = {name: tmp_path / name for name in ("d/a.wav", "c.wav", "other.wav")}
    found = read_corrected(sources, write_manifest(tmp_path / "karo"))
    spans = {name: [(span.start, span.end, span.text, span.speaker) for span in own] for name, own in found.items()}
    assert spans == {
        "d/a.wav": [(1.0, 3.0, "ʼãẽ one", "Ana"), (2.0, 3.5, "two", "Rui")],
        "c.wav": [(0.0, 2.0, "four", None)],
    }


def test_a_queue_keeps_what_was_written_and_who_said_it(tmp_path: Path) -> None:
    """Through ELAN and back: two speakers at once stay two tiers that are read as text."""
    sources = {"d/a.wav": tmp_path / "a.wav"}
    write_recordings(tmp_path, ["a.wav"])
    heard = [
        {"source": "d/a.wav", "start": start, "end": start + 2.0, "text": "heard", "confidence": sure}
        for start, sure in ((1.2, 0.1), (5.0, 0.9), (7.0, 0.2))
    ]
    corrected = read_corrected(sources, write_manifest(tmp_path / "karo"))
    lines = rank_least_sure(keep_corrected(heard, corrected), 0.01)
    assert [(line["text"], line.get("rank")) for line in lines] == [
        ("ʼãẽ one", None),
        ("two", None),
        ("heard", 0),
        ("heard", 1),
    ]
    write_annotations(tmp_path / "q" / "a.eaf", line_spans(lines), form="eaf", media=tmp_path / "a.wav", seconds=9.0)
    spans = read_annotations(tmp_path / "q" / "a.eaf")
    texts = {(span.text, span.speaker) for span in spans if span.tier in choose_text_tiers(spans)}
    assert texts == {("ʼãẽ one", "Ana"), ("two", "Rui"), ("heard", None)}
    assert not holds_drafts_alone(tmp_path / "q" / "a.eaf")


def test_a_queue_of_drafts_alone_and_a_table_of_several_recordings_are_known(tmp_path: Path) -> None:
    write_recordings(tmp_path, ["a.wav"])
    line = {"source": "a.wav", "start": 0.0, "end": 1.0, "text": "heard", "confidence": 0.9, "rank": 0}
    eaf = tmp_path / "a.eaf"
    write_annotations(eaf, line_spans([line]), form="eaf", media=tmp_path / "a.wav", seconds=1.0)
    assert holds_drafts_alone(eaf)
    unheard = line | {"text": "", "rank": 1}  # nobody has filled it in
    write_annotations(eaf, line_spans([unheard]), form="eaf", media=tmp_path / "a.wav", seconds=1.0)
    assert holds_drafts_alone(eaf)
    write_annotations(eaf, line_spans([unheard | {"text": "ʼã"}]), form="eaf", media=tmp_path / "a.wav", seconds=1.0)
    assert not holds_drafts_alone(eaf)
    table, labels = tmp_path / "queue.tsv", tmp_path / "labels.tsv"
    table.write_text("source\tstart\tend\ttext\na.wav\t0\t1\tone\n", encoding="utf-8")
    labels.write_text("0.0\tone\n", encoding="utf-8")
    assert is_table_of_recordings(table, ["a.wav"]) and not is_table_of_recordings(table, ["b.wav"])
    assert not is_table_of_recordings(labels, ["a.wav"]) and not is_table_of_recordings(eaf, ["a.wav"])


def test_elans_link_leads_from_the_file_to_the_recording(tmp_path: Path) -> None:
    write_recordings(tmp_path / "raw", ["a.wav"])
    line = {"source": "a.wav", "start": 0.0, "end": 1.0, "text": "one"}
    for folder, link in ((tmp_path / "out" / "eaf", "../../raw/a.wav"), (tmp_path / "raw", "./a.wav")):
        path = folder / "a.eaf"
        write_annotations(path, line_spans([line]), form="eaf", media=tmp_path / "raw" / "a.wav", seconds=1.0)
        assert f'RELATIVE_MEDIA_URL="{link}"' in path.read_text(encoding="utf-8")
        assert find_annotations({"a.wav": tmp_path / "raw" / "a.wav"}, folder)[0] == {"a.wav": path}
