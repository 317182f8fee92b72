"""Units as other tools read them: the table of formats, and what phase 1's utterances become in each.

Only the grammars are theirs; docs/exchange.md tells where each stands and what it has no place for.
"""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.frames import SAMPLE_RATE, UNIT_RATE
from core.records import Utterance
from languages import resolve_in
from units.corpus import frame_units

EVERYTHING = ("speaker", "text", "audio", "streams")
CSV_UNIT = "unit"  # further streams: unit_2, unit_3, …
PARQUET_SPLITS = {"train": "train", "val": "validation", "test": "test"}
DISCOPHON_SPLITS = {"train": "train", "val": "dev", "test": "test"}


class Surroundings(NamedTuple):
    """What a line needs to know beyond its utterance."""

    language: str
    data_root: Path
    n_streams: int
    all_speak: bool  # every utterance has a speaker


Lines = Callable[[Utterance, Surroundings], str]  # whole lines, with their ends


class TextFile(NamedTuple):
    """A file that grows by the lines of each utterance; a name without {split} holds every split."""

    name: str
    lines: Lines
    head: Callable[[Surroundings], str] = lambda _: ""
    splits: dict[str, str] | None = None  # what it calls them, where it has other names


class UnitFormat(NamedTuple):
    """A grammar of units. ``holds``: what of ``EVERYTHING`` it has a place for, besides id, units, timing and split."""

    reader: str  # who reads it, for the help
    holds: tuple[str, ...]
    files: tuple[TextFile, ...] = ()  # none: written by a function of its own (units/exchange_writing.py)


def as_json(row: object) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def _line(row: object) -> str:
    return as_json(row) + "\n"


def _numbers(values: np.ndarray | list[int]) -> str:
    return " ".join(map(str, np.asarray(values).tolist()))


def _first_stream(utterance: Utterance) -> list[int]:
    return frame_units(utterance)[:, 0].tolist()


def _audio_path(utterance: Utterance, around: Surroundings) -> str:
    """The file's whole path on this machine; the id where the utterance has none."""
    return str(resolve_in(around.data_root, utterance["audio"])) if utterance["audio"] else f"{utterance['id']}.wav"


def _n_samples(utterance: Utterance) -> int:
    return round(utterance["duration"] * SAMPLE_RATE)


def acoustemes(utterance: Utterance) -> dict[str, object]:
    """One file of the acousteme schema: runs of units in seconds from the start of the utterance."""
    edges = np.concatenate([[0], np.cumsum(utterance["durations"])]) / UNIT_RATE
    runs = zip(edges[:-1].tolist(), edges[1:].tolist(), utterance["units"])
    return {
        "duration_sec": utterance["duration"],
        "num_frames": int(sum(utterance["durations"])),
        "segments": [{"start": start, "end": end, "unit_id": unit} for start, end, unit in runs],
    }


def hifigan_line(utterance: Utterance, around: Surroundings) -> str:
    row = {"audio": _audio_path(utterance, around), "units": _first_stream(utterance)}
    return _line(row | ({"speaker": utterance["speaker"]} if around.all_speak else {}))


def discophon_line(utterance: Utterance, _: Surroundings) -> str:
    return _line({"file": utterance["id"], "units": _first_stream(utterance)})


def resynthesis_line(utterance: Utterance, around: Surroundings) -> str:
    """A Python literal, as its readers expect."""
    row = {"audio": _audio_path(utterance, around), "hubert": _numbers(_first_stream(utterance))}
    return str(row | {"duration": _n_samples(utterance) / SAMPLE_RATE}) + "\n"


def fairseq_line(utterance: Utterance, _: Surroundings) -> str:
    return f"{utterance['id']}|{_numbers(_first_stream(utterance))}\n"


def textless_units(utterance: Utterance, _: Surroundings) -> str:
    return f"{utterance['id']}\t{_numbers(utterance['units'])}\n"


def textless_durations(utterance: Utterance, _: Surroundings) -> str:
    return f"{utterance['id']}\t{_numbers(utterance['durations'])}\n"


def textless_manifest(utterance: Utterance, _: Surroundings) -> str:
    return f"{utterance['audio'] or utterance['id'] + '.wav'}\t{_n_samples(utterance)}\n"


def slamkit_features(utterance: Utterance, around: Surroundings) -> str:
    row = {"units": utterance["units"], "duration": utterance["durations"]}
    return _line(row | {"file_name": _audio_path(utterance, around)})


def slamkit_tokens(utterance: Utterance, around: Surroundings) -> str:
    text = "".join(f"<Un{unit}>" for unit in utterance["units"])
    return _line({"file_name": _audio_path(utterance, around), "audio_repr": text})


def _csv_text(rows: list[list[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def csv_head(around: Surroundings) -> str:
    further = [f"{CSV_UNIT}_{number}" for number in range(2, around.n_streams + 1)]
    return _csv_text([["id", "start", "end", CSV_UNIT, *further, "split", "speaker", "audio"]])


def csv_lines(utterance: Utterance, _: Surroundings) -> str:
    """A row for each stretch in which no stream changes."""
    frames = frame_units(utterance)
    if not len(frames):
        return ""
    starts = np.flatnonzero(np.concatenate([[True], (frames[1:] != frames[:-1]).any(axis=1)]))
    ends = [*starts[1:].tolist(), len(frames)]
    about = [utterance["split"], utterance.get("speaker") or "", utterance["audio"]]
    return _csv_text(
        [
            [utterance["id"], f"{start / UNIT_RATE:.2f}", f"{end / UNIT_RATE:.2f}", *frames[start].tolist(), *about]
            for start, end in zip(starts.tolist(), ends)
        ]
    )


FORMATS: dict[str, UnitFormat] = {
    "acoustemes": UnitFormat("the acousteme tools (beads)", ()),
    "csv": UnitFormat(
        "spreadsheets", ("speaker", "audio", "streams"), (TextFile("units.csv", csv_lines, head=csv_head),)
    ),
    "discophon": UnitFormat(
        "DiscoPhon", (), (TextFile("units-{language}-{split}.jsonl", discophon_line, splits=DISCOPHON_SPLITS),)
    ),
    "fairseq": UnitFormat("fairseq's GSLM", (), (TextFile("{split}.txt", fairseq_line),)),
    "hf": UnitFormat("Hugging Face datasets", EVERYTHING),
    "slamkit": UnitFormat(
        "SlamKit",
        ("audio",),
        (TextFile("{split}_features.jsonl", slamkit_features), TextFile("{split}_tokens.jsonl", slamkit_tokens)),
    ),
    "speech-resynthesis": UnitFormat("speech-resynthesis", ("audio",), (TextFile("{split}.txt", resynthesis_line),)),
    "textless": UnitFormat(
        "textlesslib",
        ("audio",),
        (
            TextFile("{split}.units", textless_units),
            TextFile("{split}.durations", textless_durations),
            TextFile("{split}.tsv", textless_manifest, head=lambda around: f"{around.data_root}\n"),
        ),
    ),
    "unit-hifigan": UnitFormat("unit-hifigan", ("speaker", "audio"), (TextFile("{split}.jsonl", hifigan_line),)),
}


def describe_loss(name: str) -> str:
    """What a format has no place for, in words; empty where it holds everything."""
    lost = [word for word in EVERYTHING if word not in FORMATS[name].holds and word != "streams"]
    return ", ".join(lost)
