"""Hostile manifests, corpora, clusters, tokenizers and units files, for phases 1 to 3 and all that reads units."""

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import soundfile

from hostile_world import Case, Outcome, World, edit_json, edit_lines, edit_row, halve, recode

from units.corpus import read_corpus

EXTRACT = ("--language", "{language}", "--encoder", "mfcc", "--n_units", 8, "--num_workers", 1, "--quiet", "--cpu")
MARK = "code_of_a_file_has_run"


class Payload:
    """Pickled, it makes a folder when it is read."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.place),)


def nothing_ran(world: World, _: Outcome) -> None:
    assert not (world.root / MARK).exists(), "reading a file ran its code"


# segments.jsonl


def manifest(change: Callable[[Path], object]):
    return lambda world: change(world.data / "segments.jsonl")


def row(number: int, **changes: object):
    return manifest(lambda path: edit_row(path, number, **changes))


def clip(change: Callable[[Path], object]):
    """Change the audio of the second segment."""
    return lambda world: change(world.data / "segments" / "tale_001_0000.wav")


def link_out(world: World) -> None:
    """A segment that is a link to a file outside the data."""
    path = world.data / "segments" / "tale_001_0000.wav"
    shutil.move(path, world.root / "outside.wav")
    path.symlink_to(world.root / "outside.wav")


def none_to_train(world: World) -> None:
    edit_lines(world.data / "segments.jsonl", lambda lines: [line.replace('"train"', '"test"') for line in lines])


def is_finished(world: World, _: Outcome) -> None:
    assert len(list(read_corpus(world.units / "corpus_timestamped.json"))) == 6


MANIFESTS = {
    "no manifest": (
        manifest(Path.unlink),
        "no data under that name|segments.jsonl: expected the list of segments, found none",
    ),
    "an empty manifest": (
        manifest(lambda path: path.write_text("")),
        "segments.jsonl: expected segments, found an empty list",
    ),
    "a manifest cut in the middle of a line": (manifest(halve), r"segments.jsonl, line \d: expected one JSON object"),
    "a manifest in UTF-16": (manifest(lambda path: recode(path, "utf-16")), "segments.jsonl.*UTF-8"),
    "a manifest of noise": (
        manifest(lambda path: path.write_bytes(bytes(range(128, 256)) * 9)),
        "segments.jsonl.*UTF-8",
    ),
    "a manifest that is a folder": (
        manifest(lambda path: (path.unlink(), path.mkdir())),
        "segments.jsonl: expected the list of segments",
    ),
    "a manifest that is one array": (
        manifest(lambda path: path.write_text("[" + ",".join(path.read_text().splitlines()) + "]")),
        "segments.jsonl, line 1: expected one JSON object",
    ),
    "a row of null": (
        manifest(lambda path: edit_lines(path, lambda lines: [*lines, "null"])),
        "line 7: expected one JSON object",
    ),
    "a row of a number": (
        manifest(lambda path: edit_lines(path, lambda lines: ["12", *lines])),
        "line 1: expected one JSON object",
    ),
    "a row nested a thousand deep": (
        manifest(lambda path: edit_lines(path, lambda lines: ["[" * 100_000, *lines])),
        "line 1: expected one JSON object",
    ),
    "an id twice": (row(1, id="tale_000_0000"), "segments.jsonl: expected unique ids, found 1 repeated"),
    "an id that is a number": (row(1, id=7), "segments.jsonl, line 2: expected text in 'id'"),
    "an id that leaves the folder": (row(1, id="../../x"), "segments.jsonl, line 2: .*'../../x'"),
    "a row without audio": (row(1, audio=None), "segments.jsonl, line 2: expected keys .* missing audio"),
    "audio that is a list": (row(1, audio=["a.wav"]), "segments.jsonl, line 2: expected text in 'audio'"),
    "audio outside the data": (row(1, audio="../../outside.wav"), "'../../outside.wav' leaves"),
    "audio from the root": (row(1, audio="/etc/passwd"), "'/etc/passwd' leaves"),
    "audio that is a link to the outside": (link_out, "tale_001_0000.wav' leaves"),
    "a duration in words": (row(1, duration="two"), "segments.jsonl, line 2: expected seconds in 'duration'"),
    "a duration that is no number": (
        row(1, duration=float("nan")),
        "segments.jsonl, line 2: expected seconds in 'duration'",
    ),
    "a duration without end": (row(1, duration=float("inf")), "segments.jsonl, line 2: expected seconds in 'duration'"),
    "a duration below zero": (row(1, duration=-2.0), "segments.jsonl, line 2: expected seconds in 'duration'"),
    "a split nobody knows": (
        row(1, split="learning"),
        "segments.jsonl, line 2: expected split train, val, test, found 'learning'",
    ),
    "a split that is a list": (row(1, split=["train"]), "segments.jsonl, line 2: expected split"),
    "nothing to train on": (none_to_train, "expected utterances of the split 'train', found none"),
}
MANIFESTS_READ = {
    "a manifest with a byte order mark": manifest(lambda path: recode(path, "utf-8-sig")),
    "a manifest with line ends of Windows": manifest(
        lambda path: path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    ),
    "a manifest without its last line end": manifest(lambda path: path.write_text(path.read_text().rstrip())),
    "a manifest with empty lines": manifest(
        lambda path: path.write_text("\n\n" + path.read_text().replace("\n", "\n\n"))
    ),
}
CLIPS = {
    "a segment that is gone": (clip(Path.unlink), "tale_001_0000.wav"),
    "a segment of 0 bytes": (clip(lambda path: path.write_bytes(b"")), "tale_001_0000.wav"),
    "a segment of text": (clip(lambda path: path.write_text("none" * 99)), "tale_001_0000.wav"),
    "a segment with a NaN": (
        clip(lambda path: soundfile.write(path, np.full(32000, np.nan), 16000, subtype="FLOAT")),
        "found NaN or Inf",
    ),
    "a segment that is a folder": (clip(lambda path: (path.unlink(), path.mkdir())), "tale_001_0000.wav"),
    "a segment of 10 samples": (
        clip(lambda path: soundfile.write(path, np.zeros(10), 16000)),
        "expected at least 320 samples",
    ),
}

# kmeans.npz


def clusters(change: Callable[[World, Path], object]):
    return lambda world: change(world, world.root / "kmeans.npz")


def books(**changes: object):
    arrays = {
        "centroids": np.zeros((8, 39), np.float32),
        "mean": np.zeros(39, np.float32),
        "scale": np.ones(39, np.float32),
    }
    return clusters(lambda _, path: np.savez(path, **(arrays | changes)))


def pickled_array(world: World, path: Path) -> None:
    np.savez(path, centroids=np.array([Payload(world.root / MARK)], object), mean=np.zeros(39), scale=np.ones(39))


def member_of_text(path: Path, name: str) -> None:
    with zipfile.ZipFile(path, "a") as out:
        out.writestr(name, "3 3 5")


def pickled(world: World) -> None:
    (world.root / "kmeans.pkl").write_bytes(pickle.dumps(Payload(world.root / MARK)))


KMEANS = {
    "no clusters": (clusters(lambda world, path: None), "kmeans.npz: expected k-means clusters, found no file"),
    "clusters of 0 bytes": (clusters(lambda world, path: path.touch()), "kmeans.npz: expected the arrays of a k-means"),
    "clusters of text": (
        clusters(lambda world, path: path.write_text("k-means")),
        "kmeans.npz: expected the arrays of a k-means",
    ),
    "clusters in a pickled array": (clusters(pickled_array), "kmeans.npz: expected the arrays of a k-means"),
    "clusters without centroids": (
        clusters(lambda world, path: np.savez(path, mean=np.zeros(39), scale=np.ones(39))),
        "kmeans.npz: expected the arrays centroids",
    ),
    "an archive of something else": (
        clusters(lambda world, path: zipfile.ZipFile(path, "w").writestr("a.txt", "x")),
        "kmeans.npz",
    ),
    "clusters with a member that is no array": (
        clusters(lambda world, path: member_of_text(path, "residual_centroids.npy")),
        "kmeans.npz: expected the arrays of a k-means, found: residual_centroids is no array",
    ),
    "a description that is no JSON": (books(description=np.array("mfcc")), "kmeans.npz: expected"),
    "clusters of another encoder": (
        books(description=np.array(json.dumps({"encoder": "logmel", "layer": None, "options": {}}))),
        "kmeans.npz: made with .*logmel",
    ),
    "clusters of another size": (
        books(centroids=np.zeros((8, 13), np.float32), mean=np.zeros(13), scale=np.ones(13)),
        "expected",
    ),
    "centroids that do not fit their mean": (books(mean=np.zeros(13, np.float32)), "kmeans.npz: expected"),
    "centroids in a row": (books(centroids=np.zeros(39, np.float32)), "kmeans.npz: expected"),
    "centroids with a NaN": (books(centroids=np.full((8, 39), np.nan, np.float32)), "kmeans.npz: expected finite"),
    "centroids in words": (books(centroids=np.full((8, 39), "x")), "kmeans.npz: expected"),
    "a scale of zero": (books(scale=np.zeros(39, np.float32)), "kmeans.npz: expected"),
}

# corpus_timestamped.json: rows begin in line 1, line 0 is the bracket


def corpus(change: Callable[[Path], object]):
    return lambda world: change(world.units / "corpus_timestamped.json")


def utterance(**changes: object):
    return corpus(lambda path: edit_row(path, 1, **changes))


def first_units(change: Callable[[dict], dict]):
    def edit(path: Path) -> None:
        found = json.loads(path.read_text().splitlines()[1].rstrip(","))
        edit_row(path, 1, **change(found))

    return corpus(edit)


CORPORA = {
    "no corpus": (
        corpus(Path.unlink),
        "corpus_timestamped.json: expected (phase 1's corpus|what the phase before has made), found none",
    ),
    "a corpus of 0 bytes": (corpus(lambda path: path.write_text("")), "corpus_timestamped.json: expected"),
    "half a corpus": (corpus(halve), r"corpus_timestamped.json, line \d: expected one utterance a line"),
    "a corpus without its end": (
        corpus(lambda path: edit_lines(path, lambda lines: lines[:-1])),
        "corpus_timestamped.json: expected a closing",
    ),
    "a corpus in UTF-16": (corpus(lambda path: recode(path, "utf-16")), "corpus_timestamped.json.*UTF-8"),
    "a corpus in one line": (
        corpus(lambda path: path.write_text(json.dumps(json.loads(path.read_text())))),
        "corpus_timestamped.json, line 1: expected one utterance a line",
    ),
    "a corpus of null": (
        corpus(lambda path: edit_lines(path, lambda lines: ["[", "null", "]"])),
        "corpus_timestamped.json, line 2: expected one utterance a line",
    ),
    "a unit out of range": (first_units(lambda found: {"units": [99, *found["units"][1:]]}), "tale_000_0000"),
    "a unit below zero": (first_units(lambda found: {"units": [-1, *found["units"][1:]]}), "tale_000_0000"),
    "a unit in words": (first_units(lambda found: {"units": ["a", *found["units"][1:]]}), "tale_000_0000"),
    "half a unit": (first_units(lambda found: {"units": [0.5, *found["units"][1:]]}), "tale_000_0000"),
    "a unit larger than any number": (
        first_units(lambda found: {"units": [10**30, *found["units"][1:]]}),
        "tale_000_0000",
    ),
    "units that are no list": (utterance(units=5), "tale_000_0000|line 2"),
    "a duration of no frame": (first_units(lambda found: {"durations": [0, *found["durations"][1:]]}), "tale_000_0000"),
    "durations below zero": (first_units(lambda found: {"durations": [-9, *found["durations"][1:]]}), "tale_000_0000"),
    "fewer durations than units": (first_units(lambda found: {"durations": found["durations"][1:]}), "tale_000_0000"),
    "a corpus with a line break in a split": (utterance(split="train\n"), r"found 'train\\n'"),
    "a corpus with a split nobody knows": (utterance(split="learning"), "tale_000_0000.*learning|line 2.*learning"),
    "another unit rate": (utterance(unit_rate=25), "25 Hz in tale_000_0000"),
    "an utterance without units": (utterance(units=None), "corpus_timestamped.json, line 2: expected keys"),
}
BPE = ("--language", "{language}", "--vocab_size", 24, "--examples_audio", 0, "--exp", "{root}/bpe")
VALIDATE = ("--language", "{language}", "--n_resamples", 0)
UNITS_CONFIG = {
    "half a config": (lambda world: halve(world.units / "config.json"), "config.json: expected JSON"),
    "a config that is a list": (
        lambda world: (world.units / "config.json").write_text("[]"),
        "config.json: expected a JSON object",
    ),
    "a config that says nothing": (
        lambda world: (world.units / "config.json").write_text("{}"),
        "config.json: expected .*derived",
    ),
    "a config without its number of units": (
        lambda world: edit_json(world.units / "config.json", derived={"n_streams": 1}),
        "config.json: expected .*n_units",
    ),
    "units that are not finished": (
        lambda world: (world.units / "finished.json").unlink(),
        "expected a finished phase 1",
    ),
}
# What a trainer meets of a corpus; its own steps are tests of their own.
TRAINED = ("half a corpus", "a unit out of range", "units that are no list", "another unit rate", "no corpus")
EXPORT = ("--language", "{language}", "--format", "textless", "--out", "{root}/out")
PROSODY = ("--language", "{language}", "--steps", 1, "--cpu", "--exp", "{root}/prosody")
VOCODER = (
    "--language",
    "{language}",
    "--steps",
    1,
    "--cpu",
    "--exp",
    "{root}/trained",
    "--init",
    "none",
    "--channels",
    16,
    "--batch_size",
    2,
)


def half_a_tokenizer(world: World) -> None:
    halve(world.bpe / "tokenizer.json")


def other_tokenizer(world: World) -> None:
    (world.bpe / "tokenizer.json").write_text("{}")


CASES = [
    *(Case(name, "segments", spoil, "extract_units", EXTRACT, 2, [says]) for name, (spoil, says) in MANIFESTS.items()),
    *(
        Case(name, "segments", spoil, "extract_units", EXTRACT, 0, [], is_finished)
        for name, spoil in MANIFESTS_READ.items()
    ),
    *(Case(name, "segments", spoil, "extract_units", EXTRACT, 3, [says]) for name, (spoil, says) in CLIPS.items()),
    *(
        Case(
            name,
            "segments",
            spoil,
            "extract_units",
            (*EXTRACT, "--kmeans", "{root}/kmeans.npz"),
            2,
            [says],
            nothing_ran,
        )
        for name, (spoil, says) in KMEANS.items()
    ),
    Case(
        "clusters in a pickle",
        "segments",
        pickled,
        "extract_units",
        (*EXTRACT, "--kmeans", "{root}/kmeans.pkl"),
        2,
        ["kmeans.pkl: .*--trust_pickle"],
        nothing_ran,
    ),
    *(
        Case(f"train_bpe: {name}", "units", spoil, "train_bpe", BPE, 2, [says])
        for name, (spoil, says) in CORPORA.items()
    ),
    *(
        Case(f"validate_units: {name}", "units", spoil, "validate_units", VALIDATE, 2, [says])
        for name, (spoil, says) in CORPORA.items()
    ),
    *(
        Case(f"train_bpe: {name}", "units", spoil, "train_bpe", BPE, 2, [says])
        for name, (spoil, says) in UNITS_CONFIG.items()
    ),
    *(
        Case(
            f"{script}: {name}", "units", CORPORA[name][0], script, flags, 2, ["corpus_timestamped.json|tale_000_0000"]
        )
        for script, flags in (("trainer_vocoder", VOCODER), ("trainer_prosody", PROSODY))
        for name in TRAINED
    ),
    *(
        Case(f"trainer_vocoder: {name}", "units", spoil, "trainer_vocoder", VOCODER, 2, [says])
        for name, (spoil, says) in UNITS_CONFIG.items()
    ),
    *(
        Case(f"trainer_prosody: {name}", "units", spoil, "trainer_prosody", PROSODY, 2, [says])
        for name, (spoil, says) in UNITS_CONFIG.items()
    ),
]
