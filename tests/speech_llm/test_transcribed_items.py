"""Transcribed items from segments.jsonl, transcripts.tsv and Hugging Face data sets on disk."""

import io
import json
import logging
import os
import pickle
import shutil
from pathlib import Path

import numpy as np

import pytest
import soundfile

from audio.audio_io import load_audio
from core.errors import UserError
from core.frames import SAMPLE_RATE
from speech_llm.transcribed_items import load_transcribed
from synthetic import source_names, speech_like, write_mp3, write_segments

TEXTS = [f"sentence number {number}" for number in range(10)]


@pytest.fixture
def warnings_seen(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("oral_units"), "propagate", True)
    return caplog


def write_texts(folder: Path, rows: list[dict], texts: list[str | None], key: str = "text") -> Path:
    rows = [row | {key: text} for row, text in zip(rows, texts, strict=True)]
    (folder / "segments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    return write_texts(tmp_path / "spanish", write_segments(tmp_path), TEXTS)


def test_segments_become_items(segments: Path) -> None:
    found = load_transcribed(segments, ["train", "test"])
    assert {split: len(items) for split, items in found.items()} == {"train": 6, "test": 2}
    item = found["train"][1]
    assert (item["id"], item["text"], item["duration"]) == ("tale_001_0000", "sentence number 1", 2.37)
    audio = load_audio(segments / "segments" / "tale_001_0000.wav")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(item["load"]))(), audio)
    assert audio.dtype == np.float32
    assert len({item["hash"] for items in found.values() for item in items}) == 8


def test_the_hash_is_the_audio_s_wherever_it_lies(segments: Path, tmp_path: Path) -> None:
    before = load_transcribed(segments, ["val"])["val"]
    shutil.copytree(segments, tmp_path / "elsewhere" / "spanish")
    assert [item["hash"] for item in load_transcribed(tmp_path / "elsewhere" / "spanish", ["val"])["val"]] == [
        item["hash"] for item in before
    ]
    path = segments / "segments" / f"{before[0]['id']}.wav"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    after = load_transcribed(segments, ["val"])["val"]
    assert after[0]["hash"] != before[0]["hash"]
    assert after[1]["hash"] == before[1]["hash"]


def test_a_second_start_reads_no_audio(segments: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = segments / "cache" / "audio_hashes.tsv"
    before = load_transcribed(segments, ["train", "val"], known_hashes=table)
    monkeypatch.setattr("speech_llm.transcribed_items.hash_audio_file", lambda path: pytest.fail(f"{path} was read"))
    after = load_transcribed(segments, ["train", "val"], known_hashes=table)
    assert [item["hash"] for item in after["train"]] == [item["hash"] for item in before["train"]]
    monkeypatch.setattr("speech_llm.transcribed_items.hash_audio_file", lambda path: "of the one that changed")
    os.utime(after["val"][0]["load"].args[0])
    found = [item["hash"] for item in load_transcribed(segments, ["train", "val"], known_hashes=table)["val"]]
    assert found == ["of the one that changed", before["val"][1]["hash"]]


def test_long_audio_is_known_by_samples_and_time(tmp_path: Path) -> None:
    from core.hashing import WHOLE_BYTES, hash_audio_file

    content = np.random.default_rng(0).bytes(WHOLE_BYTES + 1000)
    (tmp_path / "a").write_bytes(content)
    shutil.copy2(tmp_path / "a", tmp_path / "b")
    assert hash_audio_file(tmp_path / "a") == hash_audio_file(tmp_path / "b")
    (tmp_path / "b").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert hash_audio_file(tmp_path / "a") != hash_audio_file(tmp_path / "b")


def test_items_without_text_are_named(segments: Path, warnings_seen: pytest.LogCaptureFixture) -> None:
    rows = [json.loads(line) for line in (segments / "segments.jsonl").read_text().splitlines()]
    write_texts(segments, rows, [None, " \n", *TEXTS[2:]])
    assert len(load_transcribed(segments, ["train"])["train"]) == 4
    assert "2 of 6 items without text" in warnings_seen.text
    assert "tale_000_0000, tale_001_0000" in warnings_seen.text
    write_texts(segments, rows, [None] * 6 + TEXTS[6:])
    with pytest.raises(UserError, match="expected items with 'text', found none of 6"):
        load_transcribed(segments, ["train"])


def test_mistakes_in_segments_are_told(segments: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="expected a split 'dev5', found train, val, test"):
        load_transcribed(segments, ["dev5"])
    with pytest.raises(UserError, match=r"texts under 'translation'.*its keys: .*text"):
        load_transcribed(segments, ["val"], text_field="translation")
    (segments / "segments" / "tale_006_0000.wav").unlink()
    with pytest.raises(UserError, match=r"1 of 2 items have no usable audio: tale_006_0000.*No such file"):
        load_transcribed(segments, ["val"])
    with pytest.raises(UserError, match="found no such folder; see"):
        load_transcribed(segments / "nothing", ["val"])
    monkeypatch.setenv("DATA_ROOT", str(segments.parent))
    monkeypatch.chdir(segments)
    with pytest.raises(UserError, match=f"found no such folder; DATA_ROOT has {segments}; see"):
        load_transcribed(Path("data") / segments.name, ["val"])


def test_a_repeated_id_is_refused(segments: Path) -> None:
    lines = (segments / "segments.jsonl").read_text()
    (segments / "segments.jsonl").write_text(lines + lines.splitlines()[0] + "\n")
    with pytest.raises(UserError, match="'tale_000_0000' twice"):
        load_transcribed(segments, ["train"])


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three recordings of 9 s, one of each split: two texts in each but the last, which is one whole."""
    folder, rows = tmp_path / "tales", ["source\tstart\tend\ttext"]
    for number, name in enumerate(source_names(1, 1, 1)):
        write_mp3(folder / name, speech_like(9.0, seed=number))
        rows += [f"{name}\t0.5\t3.25\tfirst  of {name}", f"{name}\t4.0\t6.5\tsecond of {name}"]
    rows[-2:] = [f"{name}\t\t\tall of {name}"]
    (folder / "transcripts.tsv").write_text("\n".join(rows))
    return folder


def test_transcripts_over_recordings(recordings: Path) -> None:
    (recordings / "speakers.tsv").write_text(f"{next(recordings.glob('*.mp3')).name}\tMaria\n")
    found = load_transcribed(recordings, ["train", "val", "test"])
    whole = [item for items in found.values() for item in items if item["text"].startswith("all")]
    assert [item["duration"] for item in whole] == [pytest.approx(9.0, abs=0.1)]
    items = [item for items in found.values() for item in items if item not in whole]
    assert len(items) == 4
    assert [item["duration"] for item in items] == [2.75, 2.5] * 2
    for item in [*items, *whole]:
        name = item["text"].split()[-1]
        audio = load_audio(recordings / name)
        start = {"first": 8000, "second": 64000, "all": 0}[item["text"].split()[0]]
        heard = pickle.loads(pickle.dumps(item["load"]))()
        assert len(heard) == pytest.approx(item["duration"] * SAMPLE_RATE, abs=1600)
        np.testing.assert_allclose(heard, audio[start : start + len(heard)], atol=0.02)
    assert len({item["hash"] for item in [*items, *whole]}) == 5
    assert sorted({str(item["speaker"]) for item in [*items, *whole]}) == ["Maria", "None"]


def test_splits_of_recordings_can_be_given(recordings: Path) -> None:
    names = sorted(path.name for path in recordings.glob("*.mp3"))
    (recordings / "splits.json").write_text(json.dumps(dict.fromkeys(names, "dev5") | {names[0]: "train"}))
    found = load_transcribed(recordings, ["dev5", "train"])
    assert {item["text"].split()[-1] for item in found["dev5"]} == set(names[1:])
    with pytest.raises(UserError, match="expected a split 'val', found dev5, train"):
        load_transcribed(recordings, ["val"])


def test_a_recording_that_is_not_there_is_named(recordings: Path) -> None:
    with open(recordings / "transcripts.tsv", "a") as table:
        table.write("\nghost.mp3\t\t\tnobody")
    with pytest.raises(UserError, match=r"found no ghost.mp3"):
        load_transcribed(recordings, ["train"])


def encoded(waveform: np.ndarray, sample_rate: int, kind: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, waveform, sample_rate, format=kind)
    return stream.getvalue()


def save_dataset(folder: Path, audio: list, feature: object, *, texts: list | None = None, **columns: list) -> Path:
    datasets = pytest.importorskip("datasets")
    texts = texts or TEXTS[: len(audio)]
    features = datasets.Features(
        {"audio": feature, "text": datasets.Value("string")}
        | {name: datasets.Value("float64" if name == "duration" else "string") for name in columns}
    )
    rows = datasets.Dataset.from_dict({"audio": audio, "text": texts} | columns, features=features)
    if isinstance(audio[0], dict) and "bytes" in audio[0]:
        rows = rows.cast_column("audio", datasets.Audio(sampling_rate=44100))
    datasets.DatasetDict({"train": rows, "dev5": rows.select([0])}).save_to_disk(folder)
    return folder


def test_a_dataset_of_encoded_audio(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    speech = speech_like(1.5, seed=1)
    audio = [
        {"bytes": encoded(speech, SAMPLE_RATE, "WAV"), "path": None},
        {"bytes": encoded(np.repeat(speech, 3), 3 * SAMPLE_RATE, "FLAC"), "path": "a.flac"},
    ]
    # datasets encodes an Audio column with torchcodec, and reads it so too: neither is needed.
    stored = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    folder = save_dataset(tmp_path / "set", audio, stored, speaker=["Ada", None])
    found = load_transcribed(folder, ["train", "dev5"])
    assert [item["id"] for item in found["train"]] == ["train_0", "train_1"]
    assert [item["text"] for item in found["dev5"]] == ["sentence number 0"]
    assert [item["speaker"] for item in found["train"]] == ["Ada", None]
    for item in found["train"]:
        heard = pickle.loads(pickle.dumps(item["load"]))()
        assert item["duration"] == pytest.approx(1.5)
        assert heard.dtype == np.float32
        assert len(heard) == pytest.approx(len(speech), abs=2)
        assert np.corrcoef(heard[: len(speech) - 8], speech[: len(heard)][: len(speech) - 8])[0, 1] > 0.95
    assert found["dev5"][0]["hash"] == found["train"][0]["hash"] != found["train"][1]["hash"]


def test_a_dataset_of_arrays_and_of_paths(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    speech = speech_like(1.0, seed=1)
    arrays = datasets.Sequence(datasets.Value("float32"))
    folder = save_dataset(tmp_path / "arrays", [speech, speech[:8000]], arrays, id=["one", "two"])
    item = load_transcribed(folder, ["train"])["train"][1]
    assert (item["id"], item["duration"]) == ("two", 0.5)
    np.testing.assert_array_equal(item["load"](), speech[:8000])
    path = write_mp3(tmp_path / "a.mp3", speech)
    folder = save_dataset(tmp_path / "paths", [str(path)], datasets.Value("string"), duration=[1.25])
    item = load_transcribed(folder, ["train"])["train"][0]
    assert item["duration"] == 1.25
    np.testing.assert_array_equal(item["load"](), load_audio(path))
    structs = {"array": arrays, "sampling_rate": datasets.Value("int64")}
    audio = [{"array": np.repeat(speech, 2), "sampling_rate": 2 * SAMPLE_RATE}]
    folder = save_dataset(tmp_path / "structs", audio, structs)
    assert len(load_transcribed(folder, ["dev5"])["dev5"][0]["load"]()) == len(speech)


def test_a_dataset_without_splits_is_train(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"audio": [[0.1] * 400], "text": ["short"]}).save_to_disk(tmp_path / "set")
    assert load_transcribed(tmp_path / "set", ["train"])["train"][0]["duration"] == 400 / SAMPLE_RATE


def test_mistakes_in_a_dataset_are_told(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    value = datasets.Value("string")
    folder = save_dataset(tmp_path / "set", [str(tmp_path / "gone.wav")] * 2, value, texts=["yes", None])
    with pytest.raises(UserError, match="expected a split 'val', found train, dev5"):
        load_transcribed(folder, ["val"])
    with pytest.raises(UserError, match=r"a column 'sentence', found audio \(string\), text \(string\); --text_field"):
        load_transcribed(folder, ["train"], text_field="sentence")
    with pytest.raises(UserError, match=r"a column 'speech', found .*; --audio_field"):
        load_transcribed(folder, ["train"], audio_field="speech")
    with pytest.raises(UserError, match=r"2 of 2 items have no usable audio: train_0, train_1.*gone.wav"):
        load_transcribed(folder, ["train"])
    numbers = datasets.Dataset.from_dict({"audio": [[0.0] * 400], "text": [3]})
    numbers.save_to_disk(tmp_path / "numbers")
    with pytest.raises(UserError, match=r"expected text in 'text', found .*text \(int64\)"):
        load_transcribed(tmp_path / "numbers", ["train"])


def content_of(waveform: np.ndarray) -> dict[str, object]:
    out = io.BytesIO()
    soundfile.write(out, waveform, SAMPLE_RATE, format="WAV")
    return {"bytes": out.getvalue(), "path": None}


@pytest.mark.parametrize("kind", ["int16", "int32", "int64", "uint8", "float32"])
def test_samples_of_any_integer_type_are_within_one(kind: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    waveform = speech_like(0.2)
    full = {"int16": 2**15, "int32": 2**31, "int64": 2**31, "uint8": 2**7, "float32": 1}[kind]
    samples = (0.02 * waveform * full + (full if kind == "uint8" else 0)).astype(kind)
    stored = {"array": datasets.Sequence(datasets.Value(kind)), "sampling_rate": datasets.Value("int64")}
    features = datasets.Features({"audio": stored, "text": datasets.Value("string")})
    rows = {"audio": [{"array": samples, "sampling_rate": SAMPLE_RATE}], "text": ["some words"]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "set")
    found = load_transcribed(tmp_path / "set", ["train"])["train"][0]["load"]()
    np.testing.assert_allclose(found, 0.02 * waveform, atol=1.01 / full if kind == "uint8" else 1e-4)


def test_a_second_start_decodes_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    write_mp3(tmp_path / "a.mp3", speech_like(0.4))
    audio = [content_of(speech_like(0.2)), {"bytes": None, "path": str(tmp_path / "a.mp3")}]
    datasets.Dataset.from_dict({"audio": audio, "text": ["some words"] * 2}).save_to_disk(tmp_path / "set")
    before, again = (
        [(item["hash"], item["duration"]) for item in load_transcribed(tmp_path / "set", ["train"], **kept)["train"]]
        for kept in ({}, {"known_hashes": tmp_path / "hashes.tsv"})
    )
    for name in ("hash_content", "hash_audio_file", "audio_seconds"):
        monkeypatch.setattr(f"speech_llm.disk_datasets.{name}", lambda value: pytest.fail("audio was read"))
    items = load_transcribed(tmp_path / "set", ["train"], known_hashes=tmp_path / "hashes.tsv")["train"]
    assert before == again == [(item["hash"], item["duration"]) for item in items]


def test_rows_without_a_duration_or_with_a_shared_id(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    audio = [content_of(speech_like(0.2 + number / 10)) for number in range(5)]
    columns = {"id": [7, 7, 8, None, 7], "name": list("abcde"), "duration": [None, 0.3, 0.4, float("nan"), -1.0]}
    rows = datasets.Dataset.from_dict({"audio": audio, "text": ["some words"] * 5} | columns)
    rows.save_to_disk(tmp_path / "set")
    items = load_transcribed(tmp_path / "set", ["train"])["train"]
    assert [item["duration"] for item in items] == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6])
    assert [item["id"] for item in items] == ["7_0", "7_1", "8", "train_3", "7_4"]
    named = load_transcribed(tmp_path / "set", ["train"], id_field="name")["train"]
    assert [item["id"] for item in named] == list("abcde")
    with pytest.raises(UserError, match="a column 'other', found .*; --id_field"):
        load_transcribed(tmp_path / "set", ["train"], id_field="other")
    shared = rows.remove_columns("id").add_column("id", ["x", "x", "x_0", "y", "z"])
    shared.save_to_disk(tmp_path / "shared")
    assert len({item["id"] for item in load_transcribed(tmp_path / "shared", ["train"])["train"]}) == 5
