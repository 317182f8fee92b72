"""Who speaks in a folder of recordings, in words."""

from collections import Counter

from report.inspection import Folder, folder_rows, say_speakers, text_rows
from report.recording_texts import KnownTexts

NO_TEXTS = KnownTexts([], Counter(), Counter(), Counter(), Counter(), [], [], {}, {}, Counter(), Counter())


def folder(texts: KnownTexts = NO_TEXTS, **minutes: float) -> Folder:
    rows = [
        {"source": name.replace("__", "/") + ".wav", "speech_seconds": 60 * value} for name, value in minutes.items()
    ]
    return Folder("x", rows, {}, {}, texts)


def test_folders_are_offered_as_speakers_where_nobody_is_named() -> None:
    found = folder(ana__1=90, ana__2=30, rui__1=6, loose=3)
    ((name, said),) = folder_rows(found)
    assert name == "folders" and said.startswith("ana: 2 (2.0 h), rui: 1 (6.0 min), beside the folders: 1 (3.0 min)")
    assert "--speaker_from folder" in said and folder_rows(folder(ana__1=1, ana__2=1)) == []
    assert ("folders", said) in text_rows(found)


def test_speech_is_added_up_by_table_and_by_annotations() -> None:
    texts = NO_TEXTS._replace(
        speaker_of={"a.wav": "Maria"}, spoken_seconds=Counter({"Jose": 120.0}), texts=Counter({"b.wav": 4})
    )
    assert say_speakers(folder(texts, a=3, b=5, c=7)) == "Maria 3.0 min, Jose 2.0 min; 7.0 min of nobody named"
