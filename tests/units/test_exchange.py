"""Units written for other tools and read back: exact where the format has the place, refused in a line where not."""

import csv
import json
from pathlib import Path

import numpy as np

import pytest

from core.errors import UserError
from core.records import Utterance
from synthetic import write_segments
from units.corpus import frame_units
from units.exchange_formats import FORMATS, Surroundings, acoustemes, as_json, csv_lines, describe_loss
from units.exchange_import import (
    ImportCounts,
    _count_samples,
    complete_utterances,
    describe_counts,
    fit_frames,
    new_counts,
    read_segments,
    survey_units,
)
from units.exchange_reading import ForeignUtterance, as_frames, find_files, read_foreign, split_of
from units.exchange_writing import check_out, check_streams, count_utterances, first_stream, write_units
from units.shards import describe_utterance

WITH_STREAMS = [name for name, form in FORMATS.items() if "streams" in form.holds]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A data root with six segments, the manifest and, as phase 1 writes them, utterances of one and of two streams."""
    root = tmp_path_factory.mktemp("data")
    rows = write_segments(root, "spanish", n_train=3, n_val=1, n_test=2)
    manifest = root / "spanish" / "segments.jsonl"
    rng = np.random.default_rng(0)
    corpora = {}
    for n_streams in (1, 2):
        corpora[n_streams] = []
        for number, row in enumerate(rows):
            n_samples = round(row["duration"] * 16000)
            frames = np.repeat(rng.integers(0, 9, (n_samples // 320, n_streams)), 1 + number % 3, axis=0)
            said = {"speaker": f"speaker {number % 2}", "text": f"¿línea {number}, «sí»?"}
            corpora[n_streams].append(describe_utterance(row | said, n_samples, frames[: n_samples // 320]))
    return {"root": root, "manifest": manifest, "corpora": corpora}


def write(place: dict, form: str, folder: Path, n_streams: int = 1) -> list[Utterance]:
    corpus = place["corpora"][n_streams]
    splits, _, all_speak = count_utterances(corpus)
    around = Surroundings("spanish", place["root"], n_streams, all_speak)
    write_units(folder, form, lambda wanted: [row for row in corpus if row["split"] in wanted], splits, around)
    return corpus


def read(form: str, path: Path, rate: int = 50) -> list[ForeignUtterance]:
    return list(read_foreign(form, find_files(form, path), rate))


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_units_timing_and_split_survive_the_way_there_and_back(place: dict, tmp_path: Path, form: str) -> None:
    corpus = write(place, form, tmp_path / "out")
    found = {utterance.id: utterance for utterance in read(form, tmp_path / "out")}
    assert found.keys() == {row["id"] for row in corpus}
    for row in corpus:
        foreign = found[row["id"]]
        np.testing.assert_array_equal(foreign.frame_units, frame_units(row))
        assert foreign.split == row["split"]
        assert foreign.speaker == (row["speaker"] if "speaker" in FORMATS[form].holds else None)
        assert foreign.text == (row["text"] if "text" in FORMATS[form].holds else None)
        assert ("audio" in FORMATS[form].holds) == (foreign.audio is not None)
    held = {word for word in ("speaker", "text", "audio") if word in FORMATS[form].holds}
    assert {*describe_loss(form).split(", ")} - {""} == {"speaker", "text", "audio"} - held


@pytest.mark.parametrize("form", sorted(FORMATS))
@pytest.mark.parametrize("with_manifest", [True, False])
def test_the_corpus_is_the_same_again(place: dict, tmp_path: Path, form: str, with_manifest: bool) -> None:
    corpus = write(place, form, tmp_path / "out")
    segments = read_segments(place["manifest"] if with_manifest else tmp_path / "none.jsonl")
    counts = new_counts()
    found = [*complete_utterances(read(form, tmp_path / "out"), segments, place["root"], None, counts)]
    again = {row["id"]: row for row in found}
    for row in corpus:
        assert (again[row["id"]]["units"], again[row["id"]]["durations"]) == (row["units"], row["durations"])
        expected = row["audio"] if with_manifest or "audio" in FORMATS[form].holds else ""
        assert again[row["id"]]["audio"] == expected
        assert form != "hf" or again[row["id"]] == row
    assert counts.fitted == [] and len(counts.all) == len(corpus)
    assert len(counts.unknown) == (0 if with_manifest else len(corpus))


@pytest.mark.parametrize("form", WITH_STREAMS)
def test_several_streams_survive_where_there_is_a_place(place: dict, tmp_path: Path, form: str) -> None:
    corpus = write(place, form, tmp_path / "out", n_streams=2)
    found = {utterance.id: utterance for utterance in read(form, tmp_path / "out")}
    for row in corpus:
        np.testing.assert_array_equal(found[row["id"]].frame_units, frame_units(row))
    assert survey_units(found.values(), tmp_path) == (9, 2)


def test_several_streams_are_refused_elsewhere() -> None:
    for form in FORMATS:
        if form in WITH_STREAMS:
            check_streams(form, 2)
        else:
            with pytest.raises(UserError, match="csv, hf.*--first_stream"):
                check_streams(form, 2)


# The grammars as their tools document them.


def test_acoustemes_hold_their_three_keys_and_runs_without_gaps(place: dict, tmp_path: Path) -> None:
    row = write(place, "acoustemes", tmp_path / "out")[0]
    content = json.loads((tmp_path / f"out/{row['split']}/{row['id']}_acoustemes.json").read_text())
    assert content.keys() == {"duration_sec", "num_frames", "segments"}
    assert content["num_frames"] == sum(row["durations"]) and content["duration_sec"] == row["duration"]
    runs = content["segments"]
    assert [run["unit_id"] for run in runs] == row["units"] and runs[0].keys() == {"start", "end", "unit_id"}
    assert runs[0]["start"] == 0 and runs[-1]["end"] == pytest.approx(content["num_frames"] / 50)
    assert all(one["end"] == other["start"] for one, other in zip(runs, runs[1:]))


def test_acoustemes_whose_times_are_spread_over_the_recording(tmp_path: Path) -> None:
    """Their script spreads the frames evenly from 0 to the end, so that a run is not a number of 20 ms."""
    units = np.repeat(np.arange(400) % 7, 3)
    times = np.linspace(0, 24.02, len(units)).round(4)
    starts = [0, *(np.flatnonzero(np.diff(units)) + 1)]
    ends = [*starts[1:], len(units) - 1]
    runs = [
        {"start": times[start], "end": times[end], "unit_id": int(units[start])} for start, end in zip(starts, ends)
    ]
    content = {"duration_sec": 24.02, "num_frames": len(units), "segments": runs}
    (tmp_path / "tale_acoustemes.json").write_text(json.dumps(content))
    (found,) = read("acoustemes", tmp_path)
    assert found.id == "tale" and found.split is None
    np.testing.assert_array_equal(found.frame_units[:, 0], units)
    content["segments"][3]["start"] += 0.009
    (tmp_path / "tale_acoustemes.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="on a grid"):
        read("acoustemes", tmp_path)


def test_the_rows_of_a_spreadsheet_follow_each_other(place: dict, tmp_path: Path) -> None:
    write(place, "csv", tmp_path / "out", n_streams=2)
    with open(tmp_path / "out/units.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [*rows[0]] == ["id", "start", "end", "unit", "unit_2", "split", "speaker", "audio"]
    pairs = [(one, other) for one, other in zip(rows, rows[1:]) if one["id"] == other["id"]]
    assert pairs and all(one["end"] == other["start"] for one, other in pairs)
    assert all((one["unit"], one["unit_2"]) != (other["unit"], other["unit_2"]) for one, other in pairs)


def test_a_fairseq_line_and_a_textless_folder(place: dict, tmp_path: Path) -> None:
    row = write(place, "fairseq", tmp_path / "fairseq")[0]
    name, _, units = (tmp_path / "fairseq/train.txt").read_text().splitlines()[0].partition("|")
    assert name == row["id"] and [int(unit) for unit in units.split(" ")] == frame_units(row)[:, 0].tolist()
    write(place, "textless", tmp_path / "textless")
    root, first, *_ = (tmp_path / "textless/train.tsv").read_text().splitlines()
    path, n_samples = first.split("\t")
    assert (Path(root) / path).is_file() and int(n_samples) == round(row["duration"] * 16000)
    lines = [(tmp_path / f"textless/train.{name}").read_text().splitlines()[0] for name in ("units", "durations")]
    assert lines == [f"{row['id']}\t{' '.join(map(str, row[name]))}" for name in ("units", "durations")]


def test_a_line_of_speech_resynthesis_is_a_literal_and_nothing_in_it_is_run(place: dict, tmp_path: Path) -> None:
    row = write(place, "speech-resynthesis", tmp_path / "out")[0]
    line = (tmp_path / "out/train.txt").read_text().splitlines()[0]
    assert line.startswith("{'audio': '") and f"'duration': {row['duration']}" in line and "'hubert': '" in line
    (tmp_path / "out/train.txt").write_text(line.replace("{", "{'x': __import__('os').getcwd(), ", 1) + "\n")
    with pytest.raises(UserError, match=r"train\.txt, line 1"):
        read("speech-resynthesis", tmp_path / "out/train.txt")


def test_slamkit_has_features_and_tokens(place: dict, tmp_path: Path) -> None:
    row = write(place, "slamkit", tmp_path / "out")[0]
    features, tokens = (
        json.loads((tmp_path / f"out/train_{name}.jsonl").read_text().splitlines()[0])
        for name in ("features", "tokens")
    )
    assert features == {"units": row["units"], "duration": row["durations"], "file_name": tokens["file_name"]}
    assert tokens["audio_repr"] == "".join(f"<Un{unit}>" for unit in row["units"])
    with pytest.raises(UserError, match="no timing; give SlamKit's features"):
        read("slamkit", tmp_path / "out/train_tokens.jsonl")


def test_datasets_loads_the_folder(place: dict, tmp_path: Path) -> None:
    from datasets import load_dataset

    corpus = write(place, "hf", tmp_path / "out", n_streams=2)
    loaded = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 3, "validation": 1, "test": 2}
    first = loaded["train"][0]
    for key in ("id", "units", "durations", "residual_units", "text", "speaker", "audio", "duration"):
        assert first[key] == corpus[0][key]


def test_unit_hifigan_reads_its_manifest(place: dict, tmp_path: Path) -> None:
    row = write(place, "unit-hifigan", tmp_path / "out")[0]
    first = json.loads((tmp_path / "out/train.jsonl").read_text().splitlines()[0])
    assert first == {
        "audio": str(place["root"] / row["audio"]),
        "units": frame_units(row)[:, 0].tolist(),
        "speaker": row["speaker"],
    }
    theirs = pytest.importorskip("unit_hifigan.data", reason="unit-hifigan needs Python 3.13")
    assert theirs.read_manifest(tmp_path / "out/train.jsonl")["units"].to_list()[0] == first["units"]


def test_discophon_reads_its_units(place: dict, tmp_path: Path) -> None:
    corpus = write(place, "discophon", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"units-spanish-{split}.jsonl" for split in ("train", "dev", "test")
    }
    lines = (tmp_path / "out/units-spanish-dev.jsonl").read_text().splitlines()
    own = {row["id"]: frame_units(row)[:, 0].tolist() for row in corpus if row["split"] == "val"}
    assert {row["file"]: row["units"] for row in map(json.loads, lines)} == own
    assert json.loads(lines[0]).keys() == {"file", "units"}
    theirs = pytest.importorskip("discophon.data", reason="discophon needs Python 3.12")
    assert theirs.read_submitted_units(tmp_path / "out/units-spanish-dev.jsonl") == own


def test_a_speaker_that_some_lack_is_left_out_for_all(place: dict, tmp_path: Path) -> None:
    corpus = [row | {"speaker": None} if number == 0 else row for number, row in enumerate(place["corpora"][1])]
    splits, n_utterances, all_speak = count_utterances(corpus)
    assert (splits, n_utterances, all_speak) == (["train", "val", "test"], 6, False)
    around = Surroundings("spanish", place["root"], 1, all_speak)
    write_units(tmp_path / "out", "unit-hifigan", lambda wanted: corpus, splits, around)
    assert "speaker" not in (tmp_path / "out/val.jsonl").read_text()


def test_files_appear_whole_or_not_at_all(place: dict, tmp_path: Path) -> None:
    def broken(_: list[str]):
        yield place["corpora"][1][0]
        raise UserError("cut short")

    around = Surroundings("spanish", place["root"], 1, True)
    for form in FORMATS:
        with pytest.raises(UserError, match="cut short"):
            write_units(tmp_path / "out", form, broken, ["train"], around)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    check_out(tmp_path / "out", overwrite=False)
    (tmp_path / "out/mine.txt").write_text("kept")
    with pytest.raises(UserError, match="--overwrite"):
        check_out(tmp_path / "out", overwrite=False)
    write(place, "csv", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"mine.txt", "units.csv"}


# What others write.


def test_frames_at_the_end_are_fitted_and_more_are_refused() -> None:
    foreign = ForeignUtterance("one", np.arange(10)[:, None])
    assert fit_frames(foreign, 12)[:, 0].tolist() == [*range(10), 9, 9]
    assert fit_frames(foreign, 8)[:, 0].tolist() == [*range(8)]
    for n_frames in (7, 13, 20):
        with pytest.raises(UserError, match=rf"expected {n_frames} units.*--input_rate"):
            fit_frames(foreign, n_frames)


def test_units_of_another_rate_are_repeated(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a|3 3 1\n")
    assert read("fairseq", tmp_path, rate=25)[0].frame_units[:, 0].tolist() == [3, 3, 3, 3, 1, 1]
    (tmp_path / "units.csv").write_text("id,start,end,unit\na,0,0.08,3\na,0.08,0.12,1\n")
    assert read("csv", tmp_path, rate=25)[0].frame_units[:, 0].tolist() == [3, 3, 3, 3, 1, 1]


def test_textless_without_names_or_durations(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text("/audio\nsub/a.wav\t960\nb.wav\t640\n")
    (tmp_path / "dev.units").write_text("1 1 2\n3 4\n")
    one, other = read("textless", tmp_path)
    assert (one.id, one.audio, one.seconds, one.split) == ("a", "/audio/sub/a.wav", 0.06, "val")
    assert one.frame_units[:, 0].tolist() == [1, 1, 2] and other.id == "b"
    (tmp_path / "dev.tsv").unlink()
    with pytest.raises(UserError, match=r"dev\.units, line 1.*names in dev\.tsv"):
        read("textless", tmp_path)


def test_audio_elsewhere_is_found_by_its_name(place: dict, tmp_path: Path) -> None:
    row = place["corpora"][1][0]
    line = as_json({"audio": f"/somewhere/else/{row['id']}.wav", "units": frame_units(row)[:-1, 0].tolist()})
    (tmp_path / "train.jsonl").write_text(line + "\n")
    counts = new_counts()
    found = read("unit-hifigan", tmp_path)
    (again,) = complete_utterances(found, read_segments(place["manifest"]), place["root"], None, counts)
    assert again["audio"] == row["audio"] and counts.fitted == [row["id"]]
    assert sum(again["durations"]) == sum(row["durations"])
    (alone,) = complete_utterances(found, read_segments(tmp_path / "none"), place["root"], None, counts)
    assert alone["audio"] == "" and sum(alone["durations"]) == sum(row["durations"]) - 1


@pytest.mark.parametrize(
    ("form", "name", "content", "expected"),
    [
        ("unit-hifigan", "train.jsonl", '{"audio": "a.wav"}', "no 'units'"),
        ("unit-hifigan", "train.jsonl", '{"audio": "a.wav", "units": [1', "line 1"),
        ("unit-hifigan", "train.jsonl", '{"audio": "a.wav", "units": [-1, 2]}', "the unit -1"),
        ("fairseq", "train.txt", "a 1 2 3", r"name\|1 2 3"),
        ("fairseq", "train.txt", "a|1 x", "invalid literal"),
        ("csv", "units.csv", "id,start,unit\na,0,1", "missing end"),
        ("csv", "units.csv", "id,start,end,unit\na,0,0.02,1\na,0.04,0.06,1", "follow each other"),
        ("csv", "units.csv", "id,start,end,unit\na,0,0.03,1", "follow each other"),
        ("speech-resynthesis", "train.txt", "{'audio': 'a.wav', 'duration': 1}", "units under one of"),
        ("acoustemes", "a_acoustemes.json", '{"duration_sec": 1, "segments": []}', "no 'num_frames'"),
        ("hf", "train.parquet", "no parquet", "expected units as hf writes them"),
        ("discophon", "train.txt", "", "folder with units-"),
    ],
)
def test_what_is_not_of_the_format_is_refused_in_a_line(
    tmp_path: Path, form: str, name: str, content: str, expected: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=expected) as refused:
        read(form, tmp_path)
    assert str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)


DEEP = "[" * 100_000
LONG_FIELD = "x" * 200_000
BROKEN = [
    ("acoustemes", DEEP),
    ("acoustemes", '{"duration_sec": 1, "num_frames": Infinity, "units": [1]}'),
    ("acoustemes", '{"duration_sec": 1, "num_frames": 2, "units": [1e300]}'),
    ("acoustemes", '{"duration_sec": 1, "num_frames": 2, "units": [1000000000000000000000000]}'),
    ("acoustemes", '{"duration_sec": 1, "num_frames": 2, "segments": [7]}'),
    ("acoustemes", '{"duration_sec": 1, "num_frames": 9, "segments": [{"start": 0.5, "unit_id": 1}]}'),
    ("csv", "id,start,end,unit\na,0,1e12,3\n"),
    ("csv", "id,start,end,unit\na,0,nan,3\n"),
    ("csv", f"id,start,end,unit\na,0,{LONG_FIELD},3\n"),
    ("discophon", f'{{"file": "a", "units": {DEEP}}}'),
    ("discophon", '{"file": "a", "units": [1000000000000000000000000]}'),
    ("discophon", '["file"]'),
    ("discophon", "no object"),
    ("slamkit", '{"file_name": "a", "units": [1], "duration": [1000000000000]}'),
    ("speech-resynthesis", '{"audio": "a.wav", "hubert": 7}'),
    ("speech-resynthesis", f'{{"audio": "a.wav", "hubert": {"(" * 5000}'),
    ("unit-hifigan", '{"audio": "a.wav", "units": {"a": 1}}'),
]


@pytest.mark.parametrize(("form", "content"), BROKEN, ids=[f"{form} {content:.60}" for form, content in BROKEN])
def test_damaged_units_of_others_are_one_line_and_take_no_memory(tmp_path: Path, form: str, content: str) -> None:
    path = tmp_path / "train"
    path.write_text(content)
    with pytest.raises(UserError) as refused:
        list(read_foreign(form, [path], 50))
    said = str(refused.value)
    assert said.startswith(f"{path}") and "\n" not in said and len(said) < 600


def test_ids_are_given_once_and_splits_at_all(tmp_path: Path) -> None:
    twice = [ForeignUtterance("a", np.zeros((3, 1), np.int64))] * 2
    with pytest.raises(UserError, match="each id once, found a again"):
        survey_units(twice, tmp_path)
    with pytest.raises(UserError, match="--split train"):
        list(complete_utterances(twice[:1], read_segments(tmp_path / "none"), tmp_path, None, new_counts()))
    (kept,) = complete_utterances(twice[:1], read_segments(tmp_path / "none"), tmp_path, "val", new_counts())
    assert (kept["split"], kept["durations"], kept["duration"]) == ("val", [3], 0.06)


def test_the_length_is_the_audio_s_else_the_list_s_else_the_file_s_else_the_units(place: dict) -> None:
    foreign = ForeignUtterance("a", np.zeros((3, 1), np.int64), seconds=0.07)
    segment = read_segments(place["manifest"])[0]["tale_000_0000"]
    audio = place["root"] / segment["audio"]
    assert _count_samples(foreign, segment | {"duration": 0.5}, audio) == round(segment["duration"] * 16000)
    assert _count_samples(foreign, segment | {"duration": 0.5}, audio.with_name("none.wav")) == 8000
    assert _count_samples(foreign, None, None) == 1120
    assert _count_samples(foreign._replace(seconds=None), None, None) == 960


# Every byte that is written, of two utterances of one language.

KNOWN = {"unit_rate": 50, "source": "a.mp3", "start": 0.0, "end": 0.1}
WRITTEN = [
    KNOWN
    | {"id": "a", "audio": "x/a.wav", "duration": 0.0801, "split": "train", "speaker": "ana"}
    | {"units": [3, 1], "durations": [3, 1]},
    KNOWN
    | {"id": "b", "audio": "", "duration": 0.04, "split": "val", "speaker": "bel", "text": "uno"}
    | {"units": [1], "durations": [2]},
]
A, B = '"audio":"/data/x/a.wav"', '"audio":"b.wav"'
BYTES = {
    "csv": {
        "units.csv": "id,start,end,unit,split,speaker,audio\na,0.00,0.06,3,train,ana,x/a.wav\n"
        "a,0.06,0.08,1,train,ana,x/a.wav\nb,0.00,0.04,1,val,bel,\n"
    },
    "discophon": {
        "units-spanish-train.jsonl": '{"file":"a","units":[3,3,3,1]}\n',
        "units-spanish-dev.jsonl": '{"file":"b","units":[1,1]}\n',
    },
    "fairseq": {"train.txt": "a|3 3 3 1\n", "val.txt": "b|1 1\n"},
    "slamkit": {
        "train_features.jsonl": '{"units":[3,1],"duration":[3,1],"file_name":"/data/x/a.wav"}\n',
        "val_features.jsonl": '{"units":[1],"duration":[2],"file_name":"b.wav"}\n',
        "train_tokens.jsonl": '{"file_name":"/data/x/a.wav","audio_repr":"<Un3><Un1>"}\n',
        "val_tokens.jsonl": '{"file_name":"b.wav","audio_repr":"<Un1>"}\n',
    },
    "speech-resynthesis": {
        "train.txt": "{'audio': '/data/x/a.wav', 'hubert': '3 3 3 1', 'duration': 0.080125}\n",
        "val.txt": "{'audio': 'b.wav', 'hubert': '1 1', 'duration': 0.04}\n",
    },
    "textless": {
        "train.units": "a\t3 1\n",
        "val.units": "b\t1\n",
        "train.durations": "a\t3 1\n",
        "val.durations": "b\t2\n",
        "train.tsv": "/data\nx/a.wav\t1282\n",
        "val.tsv": "/data\nb.wav\t640\n",
    },
    "unit-hifigan": {
        "train.jsonl": f'{{{A},"units":[3,3,3,1],"speaker":"ana"}}\n',
        "val.jsonl": f'{{{B},"units":[1,1],"speaker":"bel"}}\n',
    },
    "acoustemes": {
        "train/a_acoustemes.json": '{"duration_sec":0.0801,"num_frames":4,"segments":['
        '{"start":0.0,"end":0.06,"unit_id":3},{"start":0.06,"end":0.08,"unit_id":1}]}\n',
        "val/b_acoustemes.json": '{"duration_sec":0.04,"num_frames":2,"segments":['
        '{"start":0.0,"end":0.04,"unit_id":1}]}\n',
    },
}


def write_known(folder: Path, form: str) -> int:
    splits, _, all_speak = count_utterances(WRITTEN)
    around = Surroundings("spanish", Path("/data"), 1, all_speak)
    return write_units(folder, form, lambda wanted: [row for row in WRITTEN if row["split"] in wanted], splits, around)


@pytest.mark.parametrize("form", sorted(BYTES))
def test_what_is_written_to_the_letter(tmp_path: Path, form: str) -> None:
    assert write_known(tmp_path / "out", form) == len(BYTES[form])
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path / "out")): path.read_text() for path in files} == BYTES[form]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("rows", [1, 1000])
def test_a_parquet_file_has_its_columns_whatever_is_held_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    from pyarrow import parquet

    monkeypatch.setattr("units.exchange_writing.ROWS_AT_ONCE", rows)
    monkeypatch.setattr("units.exchange_reading.PARQUET_ROWS", rows)
    (tmp_path / "out" / "data").mkdir(parents=True)
    splits, around = ["train"], Surroundings("spanish", Path("/data"), 1, True)
    both = [row | {"split": "train"} for row in WRITTEN]
    assert write_units(tmp_path / "out", "hf", lambda _: both, splits, around) == 1
    path = tmp_path / "out" / "data" / "train-00000-of-00001.parquet"
    names = ["id", "audio", "source", "speaker", "text", "duration", "start", "end", "unit_rate", "units", "durations"]
    table = parquet.read_table(path)
    assert table.column_names == names and parquet.ParquetFile(path).num_row_groups == (2 if rows == 1 else 1)
    assert table.to_pylist() == [{name: row.get(name) for name in names} for row in both]
    assert [one.id for one in read("hf", tmp_path / "out")] == ["a", "b"]


def test_an_utterance_of_nothing_has_no_row() -> None:
    nothing = WRITTEN[0] | {"units": [], "durations": []}
    assert csv_lines(nothing, None) == "" and acoustemes(nothing)["segments"] == []
    assert acoustemes(nothing)["num_frames"] == 0


@pytest.mark.parametrize(("n_names", "end"), [(5, "a0, a1, a2, a3, a4)"), (6, "a0, a1, a2, a3, a4, …)")])
def test_what_was_done_to_the_units_is_told_with_five_names(n_names: int, end: str) -> None:
    names = [f"a{number}" for number in range(n_names)]
    counts = ImportCounts([*names, "z"], names, ["z"], names)
    assert describe_counts(counts, has_manifest=True) == [
        f"{n_names} of {n_names + 1} utterances are not in segments.jsonl: kept as their file describes them ({end}",
        f"1 of {n_names + 1} utterances have no audio under DATA_ROOT: motifs and scores work, a voice needs the audio "
        "(z)",
        f"{n_names} of {n_names + 1} utterances were up to two frames longer or shorter than their audio: the end was "
        f"cut, or its last unit repeated ({end}",
    ]
    assert len(describe_counts(counts, has_manifest=False)) == 2
    assert describe_counts(new_counts(), has_manifest=True) == []


def test_units_are_surveyed_over_all_streams(tmp_path: Path) -> None:
    def foreign(name: str, *rows: list[int]) -> ForeignUtterance:
        return ForeignUtterance(name, np.array(rows, np.int64).reshape(len(rows), -1))

    assert survey_units([foreign("a", [3, 9], [0, 1]), foreign("b", [4, 4])], tmp_path) == (10, 2)
    for found, said in (
        ([foreign("a", [3, 9]), foreign("b", [4])], r"as many streams, found \[1, 2\]"),
        ([ForeignUtterance("a", np.zeros((0, 1), np.int64))], r"expected units, .* found \[1\]"),
        ([], r"expected units, .* found \[\]"),
    ):
        with pytest.raises(UserError, match=said):
            survey_units(found, tmp_path)


def test_audio_of_another_tool_is_known_by_where_it_lies(place: dict, tmp_path: Path) -> None:
    segments, counts = read_segments(place["manifest"]), new_counts()
    row = next(iter(segments.by_id.values()))
    frames = np.ones((round(row["duration"] * 16000) // 320, 1), np.int64)

    def complete(**known: object) -> dict:
        foreign = ForeignUtterance("other", frames, split="test", speaker="eva", **known)
        return next(iter(complete_utterances([foreign], segments, place["root"], None, counts)))

    for audio in (row["audio"], str(place["root"] / row["audio"]), f"spanish/../{row['audio']}"):
        found = complete(audio=audio)
        assert (found["id"], found["audio"], found["split"]) == (row["id"], row["audio"], row["split"])
        assert found["speaker"] == "eva", "segments.jsonl says nothing of it"
    assert (counts.unknown, counts.without_audio, counts.fitted) == ([], [], [])
    for audio in (str(tmp_path / "a.wav"), "../a.wav", None, ""):
        assert (complete(audio=audio)["id"], complete(audio=audio)["audio"]) == ("other", "")
    assert len(counts.unknown) == len(counts.without_audio) == 8 and counts.fitted == []


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.txt", "train"),
        ("Valid_units.txt", "val"),
        ("dev-clean.km100.txt", "val"),
        ("training.txt", None),
        ("train_to_test.txt", "test"),
        ("test/units.txt", "test"),
        ("my test/units.txt", None),
        ("test/val1.txt", "val"),
    ],
)
def test_a_file_s_name_tells_its_split(name: str, split: str | None) -> None:
    assert split_of(Path("data") / name) == split


@pytest.mark.parametrize(
    ("units", "durations", "said"),
    [
        ([3, 1], [2, 0], ""),
        ([3.0, 1], None, ""),
        ([], [], ""),
        ([3.5], None, "units or durations that are no whole numbers"),
        ([2**53], None, "units or durations that are no whole numbers"),
        (["a"], None, "units or durations that are no whole numbers"),
        ([True], None, "units or durations that are no whole numbers"),
        ([-1, -4], None, "the unit -4"),
        ([1, 2], [1], "2 units and 1 durations"),
        ([1], [1, 2], "1 units and 2 durations"),
        ([1, 2], [1, -1], "a duration below 0"),
        ([1], [24 * 3600 * 50 + 1], "4320001 frames of 20 ms, more than 24 hours"),
    ],
    ids=str,
)
def test_units_become_frames_or_a_reason(units: list, durations: list | None, said: str) -> None:
    if not said:
        expected = np.repeat(units, durations if durations is not None else 1).tolist()
        assert as_frames(units, 50, durations)[:, 0].tolist() == expected
        return
    with pytest.raises(ValueError, match=f"^{said}$"):
        as_frames(units, 50, durations)


def test_a_day_of_units_is_the_longest_and_counted_at_our_rate() -> None:
    day = 24 * 3600 * 25
    assert len(as_frames([1], 25, [day])) == 2 * day
    with pytest.raises(ValueError, match="^4320002 frames"):
        as_frames([1], 25, [day + 1])
    assert as_frames([2**53 - 1], 50)[0, 0] == 2**53 - 1


@pytest.mark.parametrize(("end", "fits"), [("0.0249", True), ("0.0251", False), ("0.0151", True), ("0.0149", False)])
def test_times_may_miss_their_frame_by_a_quarter(tmp_path: Path, end: str, fits: bool) -> None:
    (tmp_path / "units.csv").write_text(f"id,start,end,unit\na,0,{end},3\na,{end},0.06,1\n")
    if fits:
        assert read("csv", tmp_path)[0].frame_units[:, 0].tolist() == [3, 1, 1]
        return
    with pytest.raises(UserError, match=r"a: expected rows that follow each other from 0 s in steps of 0\.02 s"):
        read("csv", tmp_path)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a,0.02,0.04,3\n", "follow each other from 0 s"),
        ("a,0,0,3\n", "follow each other from 0 s"),
        ("a,0,0.04,3\na,0.02,0.06,1\n", "follow each other from 0 s"),
        ("a,0,inf,3\n", "a: expected start and end in seconds, found NaN or Inf"),
    ],
)
def test_rows_that_leave_or_share_time_are_refused(tmp_path: Path, rows: str, said: str) -> None:
    (tmp_path / "units.csv").write_text("id,start,end,unit\n" + rows)
    with pytest.raises(UserError, match=said):
        read("csv", tmp_path)


def test_a_spreadsheet_s_splits_are_its_column_s_or_its_name_s(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(
        "\ufeffid,start,end,unit,unit_2,unit_x,split,audio,speaker\n"
        "a,0,0.02,3,5,x,dev,a.wav,\nb,0,0.02,4,6,x,other,,eva\nb,0.02,0.06,7,8,x,,,\n"
    )
    first, second = read("csv", tmp_path)
    assert (first.split, first.audio, first.speaker) == ("val", "a.wav", None)
    assert (second.split, second.audio, second.speaker) == ("train", None, "eva")
    assert second.frame_units.tolist() == [[4, 6], [7, 8], [7, 8]]


def test_folders_that_hold_something_are_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file: expected a folder, found a file; give another name"):
        check_out(tmp_path / "file", overwrite=True)
    with pytest.raises(UserError, match=r"holds files already; give --overwrite to replace those of the same name"):
        check_out(tmp_path, overwrite=False)
    check_out(tmp_path, overwrite=True)
    check_out(tmp_path / "new", overwrite=False)
    check_streams("fairseq", 1)
    with pytest.raises(UserError, match="--format fairseq: holds one stream of units, found 3; choose one of csv, hf"):
        check_streams("fairseq", 3)
    assert first_stream(WRITTEN[0] | {"residual_units": [[1]]}) == WRITTEN[0]
    with pytest.raises(UserError, match=r"--input .*empty: expected a file, or a folder with \*\.units \(textl"):
        find_files("textless", tmp_path / "empty")
