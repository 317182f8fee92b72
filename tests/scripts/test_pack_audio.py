"""Segments in tars: the same units to the byte, read by webdataset, resumed, refused twice."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import fsspec
import pytest

import extract_units
import pack_audio

from core import packed_files
from core.files import read_json
from core.packed_files import read_packed
from languages import language_paths
from synthetic import write_units
from units.corpus import frame_units, read_corpus
from units.utterances import load_utterances
from vocoder.batches import CropDataset


def pack(*flags: str) -> Path:
    pack_audio.main(["--language", "spanish", *flags])
    return language_paths("spanish")["data"] / "packed"


def rows_of(manifest: Path) -> list[dict]:
    return [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]


def test_every_clip_is_in_a_tar_as_it_was(tiny_language: dict, capsys) -> None:
    data = tiny_language["data"]
    folder = pack("--shard_clips", "4")
    assert [path.name for path in sorted(folder.glob("*.tar"))] == [f"segments-00000{n}.tar" for n in range(3)]
    assert "10 clips in tar files" in capsys.readouterr().out
    for packed, row in zip(rows_of(data / "spanish" / "segments.jsonl"), tiny_language["rows"], strict=True):
        assert read_packed(data / packed["audio"]) == (data / row["audio"]).read_bytes()
        assert packed | {"audio": ""} == row | {"audio": ""}
    assert rows_of(data / "spanish" / "segments.unpacked.jsonl") == tiny_language["rows"]


def test_units_over_tars_are_those_over_files(tiny_language: dict) -> None:
    flags = ["--language", "spanish", "--encoder", "mfcc", "--n_units", "8", "--num_workers", "1", "--quiet"]
    exps = [tiny_language["exp"] / name for name in ("files", "tars")]
    assert extract_units.main([*flags, "--exp", str(exps[0])]) == 0
    pack("--shard_mb", "0.2")
    for path in (tiny_language["data"] / "spanish" / "segments").iterdir():
        path.unlink()
    assert extract_units.main([*flags, "--exp", str(exps[1])]) == 0
    corpora = [list(read_corpus(exp / "corpus_timestamped.json")) for exp in exps]
    assert [row | {"audio": ""} for row in corpora[0]] == [row | {"audio": ""} for row in corpora[1]]
    assert ".tar/" in corpora[1][0]["audio"]
    assert (exps[0] / "kmeans.npz").read_bytes() == (exps[1] / "kmeans.npz").read_bytes()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty bucket on a server of this machine that answers as Amazon's S3 does."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    names = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
    for name, value in {**names, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # one that knows another server
    packed_files._open_remote.cache_clear()
    fsspec.filesystem("s3").mkdir("s3://recordings")
    yield "s3://recordings/spanish"
    server.stop()


def test_units_over_tars_in_a_bucket_are_those_over_files(tiny_language: dict, bucket: str) -> None:
    """Read by one process and by two. Needs: pip install s3fs "moto[server]"."""
    flags = ["--language", "spanish", "--encoder", "mfcc", "--n_units", "8", "--quiet", "--num_workers"]
    exps = [tiny_language["exp"] / name for name in ("files", "bucket", "bucket_by_two")]
    assert extract_units.main([*flags, "1", "--exp", str(exps[0])]) == 0
    folder = pack("--shard_mb", "0.2", "--remote", bucket)
    store = fsspec.filesystem("s3")
    for tar in folder.glob("*.tar"):
        store.put_file(str(tar), f"{bucket}/{tar.name}")
        tar.unlink()
    for path in (tiny_language["data"] / "spanish" / "segments").iterdir():
        path.unlink()
    for n_workers, exp in enumerate(exps[1:], 1):
        assert extract_units.main([*flags, str(n_workers), "--exp", str(exp)]) == 0
        corpora = [list(read_corpus(each / "corpus_timestamped.json")) for each in (exps[0], exp)]
        assert [row | {"audio": ""} for row in corpora[0]] == [row | {"audio": ""} for row in corpora[1]]
        assert (exps[0] / "kmeans.npz").read_bytes() == (exp / "kmeans.npz").read_bytes()


def test_crops_over_tars_are_those_over_files(tiny_language: dict) -> None:
    def crops() -> list:
        corpus = write_units(tiny_language["exp"], rows_of(manifest), n_units=12) / "corpus_timestamped.json"
        data = tiny_language["data"]
        return [*map(CropDataset(load(corpus, data), crop_frames=20, seed=0).__getitem__, range(6))]

    def load(corpus: Path, data: Path) -> object:
        return load_utterances(corpus, data, data / "spanish" / "cache", ["train"])

    manifest = tiny_language["data"] / "spanish" / "segments.jsonl"
    before = crops()
    pack()
    for crop, other in zip(before, crops(), strict=True):
        assert crop.waveform.any() and (crop.waveform == other.waveform).all() and (crop.f0 == other.f0).all()


def test_webdataset_reads_the_tars_and_we_read_its_own(tiny_language: dict, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    units = write_units(tiny_language["exp"], tiny_language["rows"], n_units=12)
    folder = pack("--units", str(units))
    samples = list(webdataset.WebDataset(str(folder / "segments-000000.tar"), shardshuffle=False))
    for sample, row, entry in zip(
        samples, tiny_language["rows"], read_corpus(units / "corpus_timestamped.json"), strict=True
    ):
        assert sample["__key__"] == row["id"]
        assert sample["wav"] == (tiny_language["data"] / row["audio"]).read_bytes()
        described = json.loads(sample["json"])
        assert described["split"] == row["split"] and described["frame_units"] == frame_units(entry).tolist()
    with webdataset.TarWriter(str(tmp_path / "theirs.tar")) as out:
        out.write({"__key__": "a", "wav": samples[0]["wav"], "json": {"text": "x"}})
    assert read_packed(tmp_path / "theirs.tar" / "a.wav") == samples[0]["wav"]


def test_a_start_after_a_kill_keeps_the_whole_tars(tiny_language: dict, monkeypatch) -> None:
    write, written = pack_audio.write_tar, []

    def killed_at_the_third(tar: Path, *rest: object) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(tar.name)
        write(tar, *rest)

    manifest = tiny_language["data"] / "spanish" / "segments.jsonl"
    before = manifest.read_bytes()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(pack_audio, "write_tar", killed_at_the_third)
        pack("--shard_clips", "3")
    assert manifest.read_bytes() == before
    monkeypatch.setattr(pack_audio, "write_tar", lambda tar, *rest: (written.append(tar.name), write(tar, *rest)))
    folder = pack("--shard_clips", "3")
    assert written == [f"segments-00000{number}.tar" for number in range(4)]
    assert not [*folder.glob(".*.tmp")]


def test_packing_twice_changes_nothing(tiny_language: dict, capsys: pytest.CaptureFixture) -> None:
    """As after a kill behind the last file: the same command ends well."""
    folder = pack()
    before = {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}
    pack()
    assert "names packed audio already" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()} == before


def test_tars_of_an_earlier_cut_go(tiny_language: dict) -> None:
    """What a speaker took back would be copied to a bucket with the others."""
    manifest = tiny_language["data"] / "spanish" / "segments.jsonl"
    before = manifest.read_bytes()
    folder = pack("--shard_clips", "3")
    (folder / "mine.tar").touch()
    assert len([*folder.glob("segments-*")]) == 8
    manifest.write_bytes(before)
    pack()
    assert sorted(path.name for path in folder.iterdir()) == [
        "mine.tar",
        "segments-000000.index.npy",
        "segments-000000.tar",
    ]


def test_an_address_may_be_given_later(tiny_language: dict) -> None:
    folder = pack()
    pack("--remote", "memory://corpus/packed")
    assert (folder / "remote.txt").read_text() == "memory://corpus/packed\n"


def test_ids_with_dots_keep_their_own_clip(tiny_language: dict) -> None:
    """webdataset would take a.b.wav and a.c.wav for two files of one sample."""
    manifest = tiny_language["data"] / "spanish" / "segments.jsonl"
    rows = rows_of(manifest)
    for row, name in zip(rows, ("a.b", "a.c", "a_b")):
        row["id"] = name
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    folder = pack()
    for packed, row in zip(rows_of(manifest), rows):
        assert (
            read_packed(tiny_language["data"] / packed["audio"]) == (tiny_language["data"] / row["audio"]).read_bytes()
        )
    with tarfile.open(folder / "segments-000000.tar") as opened:
        assert len({name.partition(".")[0] for name in opened.getnames()}) == len(rows)


def test_the_same_clips_give_the_same_bytes(tiny_language: dict, tmp_path: Path) -> None:
    members = pack_audio.name_members(tiny_language["rows"])
    for name in ("a.tar", "b.tar"):
        pack_audio.write_tar(tmp_path / name, tiny_language["rows"], members, None)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    index = np.load(tmp_path / "a.index.npy")
    assert len(index) == 2 * len(members) and read_json(tiny_language["data"] / "spanish" / "splits.json")
