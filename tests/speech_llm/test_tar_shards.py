"""Tar shards are read where they lie, and from end to end only once."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np

import pytest
import soundfile

from core.errors import UserError
from core.frames import SAMPLE_RATE
from speech_llm import tar_shards
from speech_llm.transcribed_items import load_transcribed
from synthetic import speech_like


def wav(seconds: float, seed: int) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, speech_like(seconds, seed=seed), SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return out.getvalue()


def write_shard(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    notes = json.dumps({"text": "two  words", "duration": 7.5, "speaker": 3}).encode()
    write_shard(folder / "train-000.tar", {"a/1.txt": b"one\n", "a/1.wav": wav(0.3, 1), "./a/2.wav": wav(0.4, 2)})
    write_shard(folder / "train-001.tar", {"a/2.x.wav": wav(0.5, 3), "a/3.json": notes, "a/3.wav": wav(0.5, 3)})
    write_shard(folder / "dev5" / "0.tar", {"b.wav": wav(0.2, 4), "b.json": json.dumps({"sentence": "so"}).encode()})
    return folder


def test_shards_become_items(corpus: Path) -> None:
    rows = tar_shards.list_shards(corpus)
    assert {split: [path.name for path in paths] for split, paths in rows.items()} == {
        "dev5": ["0.tar"],
        "train": ["train-000.tar", "train-001.tar"],
    }
    item = load_transcribed(corpus, ["dev5"], text_field="sentence")["dev5"][0]
    assert (item["id"], item["text"], item["speaker"]) == ("b", "so", None)
    assert item["duration"] == pytest.approx(0.2)
    np.testing.assert_allclose(item["load"](), speech_like(0.2, seed=4), atol=1e-4)


def test_texts_and_notes_find_their_audio(corpus: Path) -> None:
    items = load_transcribed(corpus, ["train"])["train"]
    found = [(item["id"], item["text"], item["speaker"], round(item["duration"], 3)) for item in items]
    assert found == [("a/1", "one", None, 0.3), ("a/3", "two words", "3", 7.5)]
    np.testing.assert_allclose(items[1]["load"](), speech_like(0.5, seed=3), atol=1e-4)


def test_a_second_start_reads_no_shard(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "hashes.tsv"
    before = load_transcribed(corpus, ["dev5"], text_field="sentence", known_hashes=table)["dev5"]
    monkeypatch.setattr(tar_shards, "_describe_shard", lambda *_: pytest.fail("read again"))
    after = load_transcribed(corpus, ["dev5"], text_field="sentence", known_hashes=table)["dev5"]
    assert [(item["id"], item["hash"]) for item in after] == [(item["id"], item["hash"]) for item in before]


def test_what_is_no_plain_tar_is_told(corpus: Path) -> None:
    (corpus / "train-000.tar").write_bytes(b"compressed, perhaps" * 100)
    with pytest.raises(UserError, match=r"train-000.tar: expected a plain tar file, found"):
        load_transcribed(corpus, ["train"])
    with pytest.raises(UserError, match="expected a split 'test', found dev5, train"):
        load_transcribed(corpus, ["test"])
    write_shard(corpus / "dev5" / "0.tar", {"b.wav": wav(0.2, 4), "b.json": b"{no json"})
    with pytest.raises(UserError, match=r"0.tar, b.json: expected UTF-8 \(and JSON"):
        load_transcribed(corpus, ["dev5"])
