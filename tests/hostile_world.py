"""What hostile cases are made of: a world of good files, one thing in it that is wrong, and a script that meets it.

Each case runs in this process, as a person runs the script: its words, its roots, its exit code, what it prints.
"""

import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import pytest
from accelerate.state import AcceleratorState

from audio.audio_io import save_audio
from core.cli import run_main
from models.generator_v3 import GeneratorV3
from synthetic import speech_like, write_segments, write_units
from units.bpe import save_tokenizer, train_tokenizer
from units.corpus import read_corpus
from units.kmeans import UnitClusters, save_kmeans

LANGUAGE = "guarani"
N_UNITS = 12
MFCC = {"encoder": "mfcc", "layer": None, "options": {"subtract_mean": False, "context": 0}}
VOICE_SIZES = {"n_units": N_UNITS, "channels": 16, "n_blocks": 1, "head_channels": 16, "n_head_blocks": 1}


class World(NamedTuple):
    """Folders of one case; what lies there depends on the kind of world."""

    root: Path
    data: Path  # data/guarani
    raw: Path  # data/guarani/raw
    units: Path  # exp/guarani_units
    bpe: Path  # exp/guarani_bpe
    voice: Path  # exp/guarani_vocoder_v3
    index: Path  # exp/guarani_index

    @property
    def exp(self) -> Path:
        return self.units.parent


class Outcome(NamedTuple):
    """How a script ended."""

    code: int
    said: str  # all that it printed and logged


class Case(NamedTuple):
    """One hostile thing, who meets it, and what must come out."""

    name: str
    kind: str  # the world it happens in: one of WORLDS
    spoil: Callable[[World], object]  # makes it hostile
    script: str  # module of a script
    flags: Sequence[object] = ()  # "{root}" and the like stand for the world's folders
    code: int = 2
    says: Sequence[str] = ()  # all of these stand in what is printed
    check: Callable[[World, Outcome], object] | None = None
    patch: Callable[[World, pytest.MonkeyPatch], object] | None = None  # what no file can bring about
    may_change: Sequence[str] = ()  # good files that the script may rewrite


def open_world(root: Path) -> World:
    data, exp = root / "data" / LANGUAGE, root / "exp"
    names = ("units", "bpe", "vocoder_v3", "index")
    return World(root, data, data / "raw", *(exp / f"{LANGUAGE}_{name}" for name in names))


def make_recordings(world: World) -> None:
    """Two good recordings; the second is of another length."""
    for name, seconds in (("good.wav", 5.0), ("other.wav", 3.0)):
        save_audio(world.raw / name, speech_like(seconds, seed=len(name)))


def make_segments(world: World) -> None:
    """Six segments in three splits."""
    write_segments(world.data.parent, LANGUAGE, n_train=4, n_val=1, n_test=1)


def make_units(world: World) -> None:
    """Phase 1 and 2, of units that are drawn at random."""
    make_segments(world)
    rows = [json.loads(line) for line in (world.data / "segments.jsonl").read_text().splitlines()]
    write_units(world.exp, rows, LANGUAGE, n_units=N_UNITS)
    books = [np.random.default_rng(0).standard_normal((N_UNITS, 39)).astype(np.float32)]
    save_kmeans(world.units, UnitClusters(books, np.zeros(39, np.float32), np.ones(39, np.float32)), MFCC)
    corpus = world.units / "corpus_timestamped.json"
    world.bpe.mkdir()
    utterances = (np.asarray(row["units"]) for row in read_corpus(corpus))
    save_tokenizer(world.bpe, train_tokenizer(utterances, n_units=N_UNITS, vocab_size=24))
    config = {"derived": {"n_units": N_UNITS, "n_streams": 1, "language": LANGUAGE}, "arguments": {}}
    (world.bpe / "config.json").write_text(json.dumps(config))
    (world.bpe / "finished.json").write_text("{}")


def make_voice(world: World) -> None:
    """Phase 3, of a tiny V3 that has learnt nothing."""
    make_units(world)
    checkpoints = world.voice / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.manual_seed(0)
    weights = GeneratorV3(**VOICE_SIZES).state_dict()
    state = {"generator_ema": weights, "version": "v3", "sizes": VOICE_SIZES, "step": 7, "speakers": []}
    torch.save(state, checkpoints / "best.pt")
    corpus, cache = world.units / "corpus_timestamped.json", world.data / "cache"
    derived = {"language": LANGUAGE, "corpus": str(corpus), "units_exp": str(world.units), "generator": "v3"}
    derived |= {"data_root": str(world.data.parent), "cache": str(cache), "n_units": N_UNITS, "n_streams": 1}
    (world.voice / "config.json").write_text(json.dumps({"arguments": {}, "derived": derived}))
    (world.voice / "finished.json").write_text("{}")
    (world.voice / "units").mkdir()
    for name in ("kmeans.npz", "config.json"):
        shutil.copy(world.units / name, world.voice / "units" / name)


def make_index(world: World) -> None:
    make_segments(world)
    assert run("index_speech", ["--language", LANGUAGE, "--encoder", "mfcc", "--quiet"], world).code == 0


WORLDS: Mapping[str, Callable[[World], None]] = {
    "nothing": lambda world: None,
    "recordings": make_recordings,
    "segments": make_segments,
    "units": make_units,
    "voice": make_voice,
    "index": make_index,
}


def roots_of(world: World) -> dict[str, str]:
    return {"DATA_ROOT": str(world.data.parent), "EXP_ROOT": str(world.exp), "TQDM_DISABLE": "1", "TAG": ""}


def fill_in(flag: object, world: World) -> str:
    return str(flag).format(**world._asdict(), exp=world.exp, language=LANGUAGE) if "{" in str(flag) else str(flag)


def run(script: str, flags: Sequence[object], world: World, read: Callable[[], str] = str) -> Outcome:
    """Run the script as ``python script flags`` would; what it prints comes from ``read``."""
    module = importlib.import_module(script)
    before = sys.argv, dict(os.environ), {number: signal.getsignal(number) for number in STOPPING}
    sys.argv = [f"{script}.py", *(fill_in(flag, world) for flag in flags)]
    os.environ.update(roots_of(world))
    try:
        run_main(module.main)
    except SystemExit as ended:
        return Outcome(ended.code or 0, read())
    finally:
        sys.argv = before[0]
        os.environ.clear()
        os.environ.update(before[1])
        for number, handler in before[2].items():
            signal.signal(number, handler)
        AcceleratorState._reset_state(reset_partial_state=True)
    raise AssertionError("run_main returned")


STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


def hash_tree(folder: Path) -> dict[str, str]:
    """Relative path -> hash of the content of every plain file."""
    found = {}
    for parent, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = os.path.join(parent, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    found[os.fsdecode(os.path.relpath(path, os.fsencode(folder)))] = hashlib.sha256(
                        file.read()
                    ).hexdigest()
    return found


def edit_json(path: Path, **changes: object) -> None:
    """Change keys of a JSON object; None takes a key away."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def edit_lines(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))


def edit_row(path: Path, number: int, **changes: object) -> None:
    """Change keys of a JSON object that stands in one line, 0 the first; None takes a key away."""

    def change(lines: list[str]) -> list[str]:
        comma = "," * lines[number].endswith(",")
        row = json.loads(lines[number].rstrip(",")) | changes
        lines[number] = json.dumps({key: value for key, value in row.items() if value is not None}) + comma
        return lines

    edit_lines(path, change)


def halve(path: Path) -> None:
    """What a full disk or a pulled stick leaves of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def recode(path: Path, encoding: str) -> None:
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
