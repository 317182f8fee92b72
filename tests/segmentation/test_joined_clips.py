"""Short clips joined: who with whom, how long, and that audio, times and texts stay together."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import pytest

from audio.audio_io import load_audio, save_audio
from core.frames import HOP_SAMPLES, SAMPLE_RATE
from segmentation.joined_clips import (
    PAUSE_SECONDS,
    ShortClip,
    describe_clip,
    expand_parts,
    join_rows,
    joined_seconds,
    plan_joins,
    remove_other_joined,
)
from synthetic import speech_like


def clips(seconds: Sequence[float], group: tuple = ("a", None, "train", True)) -> list[ShortClip]:
    return [ShortClip(f"{'-'.join(map(str, group))}{number}", value, group) for number, value in enumerate(seconds)]


@pytest.mark.parametrize("seconds", [[1.0] * 40, [1.9, 0.1] * 9, [0.5], [1.5, 1.5], list(np.linspace(0.1, 1.9, 31))])
def test_joined_segments_are_neither_too_long_nor_too_short(seconds: list[float]) -> None:
    asked = clips(seconds)
    joins = plan_joins(asked, longest=10.0, shortest=2.0)
    runs = list({tuple(ids): [clip for clip in asked if clip.id in ids] for ids in joins.values()}.values())
    assert [clip for run in runs for clip in run] == (asked if len(asked) > 1 else []), "in order, each once"
    assert all(joined_seconds(run) <= 10.0 for run in runs)
    assert len(runs) == 1 or all(joined_seconds(run) >= 2.0 for run in runs)


@pytest.mark.parametrize("changed", [("b", None, "train", True), ("a", "ana", "train", True)])
def test_nobody_is_joined_to_another_group(changed: tuple) -> None:
    joins = plan_joins(clips([1, 1]) + clips([1, 1], changed), longest=10.0, shortest=2.0)
    assert len(joins) == 4 and all(
        ids == [name for name in joins if name[:-1] == ids[0][:-1]] for ids in joins.values()
    )


def test_folder_speaker_split_and_text_decide() -> None:
    row = {"id": "x_0000", "source": "deep/er/x.wav", "duration": 1.5, "speaker": "ana", "split": "val"}
    assert describe_clip(row) == ShortClip("x_0000", 1.5, ("deep/er", "ana", "val", False))
    assert describe_clip(row | {"text": "ya"}).group[-1] is True


@pytest.fixture
def joined(tmp_path: Path) -> tuple[Path, list[dict], list[dict]]:
    """(data root, rows of three clips and a long one, rows after joining the clips)."""
    rows = []
    for number, seconds in enumerate((0.7131, 3.0, 1.25, 0.9)):
        audio, end = f"x/segments/c{number}_0000.wav", round(seconds, 4)
        save_audio(tmp_path / audio, speech_like(seconds, seed=number))
        rows.append({"id": f"c{number}_0000", "audio": audio, "source": f"c{number}.mp3", "start": 0.0, "end": end})
        rows[-1] |= {"duration": end, "speaker": "ana", "split": "train", "text": f"word {number}", "flags": []}
    ids = [rows[number]["id"] for number in (0, 2, 3)]
    return tmp_path, rows, list(join_rows(rows, dict.fromkeys(ids, ids), {}, tmp_path))


def test_audio_times_and_texts_stay_together(joined: tuple) -> None:
    root, rows, (alone, found) = joined
    assert alone == rows[1] and (found["id"], found["source"], found["split"]) == ("c0_joined", "c0.mp3", "train")
    assert found["text"] == "word 0 word 2 word 3"
    waveform, heard = load_audio(root / found["audio"]), np.zeros(0, bool)
    assert found["end"] == found["duration"] == pytest.approx(len(waveform) / SAMPLE_RATE, abs=1e-4)
    heard = np.zeros(len(waveform), bool)
    for part, row in zip(found["parts"], (rows[0], rows[2], rows[3]), strict=True):
        clip, begin = load_audio(root / row["audio"]), round(part["offset"] * SAMPLE_RATE)
        np.testing.assert_array_equal(waveform[begin : begin + len(clip)], clip)
        assert begin % HOP_SAMPLES == 0, "units of two clips never share a frame"
        assert {key: part[key] for key in ("source", "start", "end", "text")} == {
            key: row[key] for key in part if key in row
        }
        heard[begin : begin + len(clip)] = True
    assert not waveform[~heard].any() and (~heard).sum() >= 2 * PAUSE_SECONDS * SAMPLE_RATE
    apart = list(expand_parts([alone, found]))
    assert [row["source"] for row in apart] == ["c1.mp3", "c0.mp3", "c2.mp3", "c3.mp3"]
    assert [(row["start"], row["end"], row["text"]) for row in apart[1:]] == [
        (row["start"], row["end"], row["text"]) for row in (rows[0], rows[2], rows[3])
    ]
    assert apart[0] == alone and all(row["id"] == found["id"] for row in apart[1:])


def test_the_same_audio_keeps_its_date_and_old_joins_go(joined: tuple) -> None:
    root, rows, (_, found) = joined
    before = (root / found["audio"]).stat().st_mtime_ns
    ids = [rows[number]["id"] for number in (0, 2, 3)]
    list(join_rows(rows, dict.fromkeys(ids, ids), {}, root))
    assert (root / found["audio"]).stat().st_mtime_ns == before
    (root / "x" / "segments" / "old_joined.wav").write_bytes(b"")
    remove_other_joined(root / "x" / "segments", [found["id"]])
    assert sorted(file.name for file in (root / "x" / "segments").glob("*_joined.wav")) == ["c0_joined.wav"]
    assert len(list((root / "x" / "segments").glob("*_0000.wav"))) == 4
