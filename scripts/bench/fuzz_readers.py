"""Feed damaged files to every reader of foreign files, for a while, and see that each answer is an answer or one line.

Atheris (a coverage-guided fuzzer, pip install atheris) mutates small good files: their bytes, and whole values of JSON.
A reader may give back what it read or raise UserError. Anything else, a hang of over --hang seconds, or a file that
runs code is a finding: it is kept in --out with its traceback, and the exit code is 1.

    python scripts/bench/fuzz_readers.py --minutes 1 --out fuzz
    python scripts/bench/fuzz_readers.py --readers eaf textgrid --minutes 10 --out fuzz
"""

import argparse
import contextlib
import io
import json
import os
import random
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
sys.path.extend(filter(None, [os.environ.get("ATHERIS_PATH")]))  # where it is not installed beside the rest

import core.quiet_start

import numpy as np

try:
    import atheris
except ImportError:
    atheris = None

FOLDERS = [
    "alignment",
    "annotations",
    "audio",
    "core",
    "evaluation",
    "phrases",
    "segmentation",
    "spoken_search",
    "units",
]
with atheris.instrument_imports(include=FOLDERS) if atheris else contextlib.nullcontext():
    from odd_values import exchange_one

    from alignment.known_text import read_lines
    from annotations.read_annotations import read_annotations
    from annotations.spans import Span
    from annotations.write_annotations import write_annotations
    from audio.audio_io import load_audio, save_audio
    from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
    from core.errors import UserError
    from core.files import read_json
    from core.packed_files import scan_tar
    from core.tables import read_table
    from evaluation.listening_files import ANSWERS_FORMAT, KEY_FORMAT, read_answers, read_key
    from evaluation.word_errors import read_predictions
    from phrases.names import FORMAT as NAMES_FORMAT
    from phrases.names import read_names
    from segmentation.manifest import read_manifest
    from segmentation.splits import read_splits
    from segmentation.tables import read_speakers, read_transcripts
    from spoken_search.decisions import read_decisions
    from units.corpus import frame_units, read_corpus, write_corpus
    from units.exchange_reading import read_foreign
    from units.kmeans import load_kmeans
    from units.requests import read_deduplicated, read_units

JSON_SHARE = 0.5  # of the changes, that exchange a value
UTTERANCE = {"id": "a", "audio": "x/a.wav", "duration": 0.12, "split": "train", "unit_rate": 50}
UTTERANCE |= {"units": [3, 5, 3], "durations": [2, 1, 3]}
SPANS = [Span("words@ana", 0.1, 0.4, "ʼãẽ", "ana"), Span("notes", 0.5, 0.9, 'a; "b"\tc', None)]


def annotation(form: str) -> Callable[[Path], None]:
    return lambda path: write_annotations(path, SPANS, form=form, media=Path("a.wav"), seconds=1.0)


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content, encoding="utf-8")


def write_npz(path: Path) -> None:
    arrays = {
        name: np.ones((3, 2) if name == "centroids" else 2, np.float32) for name in ("centroids", "mean", "scale")
    }
    np.savez(path, **arrays)


def write_tar(path: Path) -> None:
    with tarfile.open(path, "w") as out:
        member = tarfile.TarInfo("a.wav")
        member.size = 4
        out.addfile(member, io.BytesIO(b"RIFF"))


def read_all_units(path: Path) -> None:
    for utterance in read_corpus(path):
        frame_units(utterance)


def read_all_foreign(form: str) -> Callable[[Path], object]:
    return lambda path: list(read_foreign(form, [path], 50))


def read_key_with_answers(path: Path) -> None:
    (beside := path.with_name("answers.json")).write_text(json.dumps(ANSWERS), encoding="utf-8")
    read_answers(beside, read_key(path))


TABLE = "source\tstart\tend\ttext\na.mp3\t1.0\t2.5\tʼãẽ\n"
BARE = json.dumps({"id": "a", "units": [1, 2]}) + "\n"
DECISION = {"id": "a", "audio_start": 0.1, "audio_end": 0.5, "decision": "accepted"}
DECISIONS = {"format": "oral-units search decisions", "version": 1, "language": "x", "decisions": [DECISION]}
KEY_TRIAL = {"id": "t1", "kind": "mos", "clips": ["c1"]}
KEY = {"format": KEY_FORMAT, "format_version": 1, "test": "x", "title": "t", "systems": ["a"]}
KEY |= {"clips": {"c1": {"system": "a"}}, "trials": [KEY_TRIAL]}
ANSWER = {"trial": "t1", "shown": ["c1"], "answer": "4", "plays": [1], "repeat": False, "seconds": 3.5}
ANSWERS = {"format": ANSWERS_FORMAT, "format_version": 1, "test": "x", "listener": "ana", "answers": [ANSWER]}
PLACE = {"id": "a", "audio_start": 0.1, "audio_end": 0.5, "decision": "accepted"}
NAMES = {"format": NAMES_FORMAT, "language": "x", "phrases": [{"name": "n", "gloss": "g", "occurrences": [PLACE]}]}
# Units as other tools write them: format -> a small good file.
FOREIGN = {
    "acoustemes": {"duration_sec": 0.06, "num_frames": 3, "segments": [{"start": 0, "unit_id": 3}]},
    "discophon": {"file": "a", "units": [3, 3, 5]},
    "slamkit": {"file_name": "a.wav", "units": [3, 5], "duration": [2, 1]},
    "unit-hifigan": {"audio": "a.wav", "units": [3, 3, 5], "speaker": "ana"},
    "speech-resynthesis": {"audio": "a.wav", "hubert": "3 3 5", "duration": 0.06},
}
FOREIGN = {form: json.dumps(row) + "\n" for form, row in FOREIGN.items()}
FOREIGN |= {"fairseq": "a|3 3 5\n", "textless": "a\t3 3 5\n", "csv": "id,start,end,unit\na,0,0.04,3\na,0.04,0.06,5\n"}
# name -> (suffix, writer of a good file, reader)
READERS: dict[str, tuple[str, Callable[[Path], object], Callable[[Path], object]]] = {
    "eaf": (".eaf", annotation("eaf"), read_annotations),
    "textgrid": (".TextGrid", annotation("textgrid"), read_annotations),
    "audacity": (".txt", annotation("audacity"), read_annotations),
    "srt": (".srt", annotation("srt"), read_annotations),
    "csv": (".csv", annotation("csv"), read_annotations),
    "table": (
        ".tsv",
        text(TABLE),
        lambda path: read_table(path, ["source"]),
    ),
    "manifest": (".jsonl", text(json.dumps(UTTERANCE) + "\n"), lambda path: list(read_manifest(path))),
    "corpus": (".json", lambda path: write_corpus(path, [UTTERANCE, UTTERANCE | {"id": "b"}]), read_all_units),
    "units": (".txt", text("a\t3 3 5 3\nb\t1 2\n"), lambda path: list(read_units(path))),
    "units json": (".json", text(json.dumps([UTTERANCE])), lambda path: list(read_units(path))),
    "deduplicated": (
        ".jsonl",
        text(BARE),
        lambda path: list(read_deduplicated(path)),
    ),
    "json": (".json", text('{"a": [1, 2.5, null]}'), read_json),
    "predictions": (".json", text('{"test": {"predictions": ["a"], "labels": ["b"]}}'), read_predictions),
    "decisions": (".json", text(json.dumps(DECISIONS)), lambda path: read_decisions([path], "x")),
    "known text": (".txt", text("1 Mat 1:1 one\n2 two\n"), read_lines),
    "listening key": (".json", text(json.dumps(KEY)), read_key_with_answers),
    "listening answers": (".json", text(json.dumps(ANSWERS)), lambda path: read_answers(path, KEY)),
    "names of phrases": (".json", text(json.dumps(NAMES)), lambda path: read_names([path], "x")),
    "splits": (".json", text('{"a.mp3": "train", "b.mp3": [["train", 1.0], ["val", 2.5]]}'), read_splits),
    "transcripts": (".tsv", text(TABLE), read_transcripts),
    "speakers": (".tsv", text("source\tspeaker\na.mp3\tana\n"), read_speakers),
    **{f"units of {form}": (".txt", text(good), read_all_foreign(form)) for form, good in FOREIGN.items()},
    "kmeans": (".npz", write_npz, load_kmeans),
    "tar": (".tar", write_tar, scan_tar),
    "wav": (".wav", lambda path: save_audio(path, np.zeros(400)), load_audio),
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    group = parser.add_argument_group("fuzzing")
    group.add_argument("--readers", nargs="+", choices=sorted(READERS), default=sorted(READERS), help="which of them")
    group.add_argument("--minutes", type=float, default=1.0, help="of CPU, for each reader")
    group.add_argument("--hang", type=float, default=5.0, help="seconds of CPU after which a reader hangs")
    group.add_argument("--out", type=Path, default=Path("fuzz"), help="folder for what was found")
    args = parse_flags(parser, argv)
    require_positive(args, "minutes", "hang")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if atheris is None:
        raise UserError("fuzz_readers: expected the package atheris, found none; pip install atheris")
    print("| reader | files tried | answers | refusals | findings |\n| --- | --- | --- | --- | --- |")
    n_findings = 0
    for name in args.readers:
        # libFuzzer ends the process that it runs in.
        process = os.fork()
        if process == 0:
            fuzz(name, args)
        _, status = os.waitpid(process, 0)
        note = args.out / f"{name.replace(' ', '_')}.json"
        found = read_json(note) if note.exists() else {"tried": 0, "answered": 0, "refused": 0, "findings": ["crash"]}
        if os.waitstatus_to_exitcode(status) not in (0, 1):
            found["findings"].append(f"ended by {os.waitstatus_to_exitcode(status)}")
        n_findings += len(found["findings"])
        print(
            f"| {name} | {found['tried']:,} | {found['answered']:,} | {found['refused']:,} | {len(found['findings'])} |"
        )
        for line in found["findings"]:
            print(f"{name}: {line}", file=sys.stderr)
    return int(n_findings > 0)


def fuzz(name: str, args: argparse.Namespace) -> None:
    """Try one reader until its time is up, in a process of its own; leaves a note in --out."""
    suffix, write, read = READERS[name]
    args.out.mkdir(parents=True, exist_ok=True)
    note, folder = args.out / f"{name.replace(' ', '_')}.json", Path(tempfile.mkdtemp(prefix="fuzz_"))
    note.unlink(missing_ok=True)
    seeds = folder / "seeds"
    seeds.mkdir()
    write(seeds / f"good{suffix}")
    found = {"tried": 0, "answered": 0, "refused": 0, "findings": []}
    target, give_up = folder / f"tried{suffix}", time.process_time() + 60 * args.minutes

    def finish() -> None:
        note.write_text(json.dumps(found), encoding="utf-8")
        os._exit(0)

    def try_one(content: bytes) -> None:
        target.write_bytes(content)
        began = time.process_time()
        try:
            read(target)
            found["answered"] += 1
        except UserError:
            found["refused"] += 1
        except Exception as error:
            keep(content, f"{type(error).__name__}: {error}")
        found["tried"] += 1
        if time.process_time() - began > args.hang:
            keep(content, f"took {time.process_time() - began:.0f} s")
        if time.process_time() > give_up or len(found["findings"]) >= 20:
            finish()

    def mutate(content: bytes, most: int, seed: int) -> bytes:
        draw = random.Random(seed)
        changed = exchange_one(content, draw) if draw.random() < JSON_SHARE else None
        return changed[:most] if changed else atheris.Mutate(content, most)

    def keep(content: bytes, reason: str) -> None:
        kind = reason.partition(":")[0]
        if any(kind in line for line in found["findings"]):
            return
        place = args.out / f"{name.replace(' ', '_')}_{len(found['findings'])}{suffix}"
        place.write_bytes(content)
        found["findings"].append(f"{place}: {reason[:200]}")

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    atheris.Setup([sys.argv[0], "-max_len=4096", "-timeout=600", str(seeds)], try_one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    run_main(main)
