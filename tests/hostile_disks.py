"""Hostile disks: full, read-only, failing, and folders that are files; texts to align, and models that are none."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from hostile_sounds import CUT
from hostile_units import BPE, EXTRACT, VALIDATE
from hostile_world import Case, World


def nothing(_: World) -> None:
    """The files are good; the disk is not."""


def fails_to_rename(number: int, *, after: int = 0):
    """Root may write everywhere, so each write after some ends as it does on such a disk: the rename is refused."""

    def patch(world: World, monkeypatch) -> None:
        renamed, replace = [], os.replace

        def fail(source: object, target: object, **named: object) -> None:
            if str(target).startswith(str(world.root)) and len(renamed) >= after:
                raise OSError(number, os.strerror(number), str(source), None, str(target))
            renamed.append(target)
            replace(source, target, **named)

        monkeypatch.setattr(os, "replace", fail)

    return patch


DISKS = {
    "a full disk": (errno.ENOSPC, "no space left on "),
    "a disk whose quota is used up": (errno.EDQUOT, "your quota on "),
    "a read-only disk": (errno.EROFS, " is read-only"),
    "a disk that fails": (errno.EIO, "reading or writing failed.*check the disk"),
    "a disk that nobody may write to": (errno.EACCES, "no right to .*set DATA_ROOT and EXP_ROOT"),
}
WRITERS = {
    "segment_audio": ("recordings", CUT),
    "extract_units": ("segments", EXTRACT),
    "train_bpe": ("units", BPE),
    "validate_units": ("units", VALIDATE),
}


def exp_is_a_file(world: World) -> None:
    shutil.rmtree(world.exp, ignore_errors=True)
    world.exp.write_text("a note")


def data_is_a_file(world: World) -> None:
    shutil.rmtree(world.data.parent, ignore_errors=True)
    world.data.parent.write_text("a note")


def units_are_a_file(world: World) -> None:
    world.exp.mkdir(exist_ok=True)
    world.units.write_text("a note")


def text(name: str, held: bytes | str):
    def write(world: World) -> None:
        (world.root / name).write_bytes(held.encode() if isinstance(held, str) else held)

    return write


def model(change: Callable[[Path], object]):
    """A speech LLM that is none."""

    def make(world: World) -> None:
        folder = world.root / "model"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"format": "oral-units speech llm", "format_version": 1}))
        (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
        change(folder)

    return make


ALIGN = ("{raw}/good.wav", "--text", "{root}/good.txt", "--model", "{root}/model", "--out", "{root}/out")
HEAR = ("{raw}", "--model", "{root}/model", "--out", "{root}/out", "--device", "cpu")
LEARN = ("--data", "{data}", "--exp", "{root}/out", "--do_train", "--cpu", "--llm_id", "{root}/none")
LEARN += ("--speech_enc_id", "{root}/none")
LATER = {"format": "oral-units speech LLM", "format_version": 9}
MODELS = {
    "no model": (nothing, "model: expected a trained speech LLM"),
    "a model of another project": (
        model(lambda folder: (folder / "config.json").write_text('{"format": "x"}')),
        "model: expected a speech LLM that trainer_base.py has trained, found something else",
    ),
    "a model of a later version": (
        model(lambda folder: (folder / "config.json").write_text(json.dumps(LATER))),
        "model: expected 'oral-units speech LLM' up to version 1, found version 9; update this project",
    ),
    "a Whisper in its place": (
        model(lambda folder: (folder / "config.json").write_text('{"model_type": "whisper"}')),
        "model: expected a speech LLM that trainer_base.py has trained, found whisper; name another",
    ),
    "half a config of a model": (
        model(lambda folder: (folder / "config.json").write_text('{"for')),
        "config.json: expected JSON",
    ),
    "a config of a model that is a list": (
        model(lambda folder: (folder / "config.json").write_text("[]")),
        "config.json: expected a JSON object",
    ),
    "a model without a config": (model(lambda folder: (folder / "config.json").unlink()), "config.json"),
}
CASES = [
    *(
        Case(name, kind, nothing, script, flags, 2, [says], patch=fails_to_rename(number))
        for name, (number, says) in DISKS.items()
        for script, (kind, flags) in WRITERS.items()
    ),
    *(
        Case(
            "a disk that is full after three files",
            kind,
            nothing,
            script,
            flags,
            2,
            ["no space left on "],
            patch=fails_to_rename(errno.ENOSPC, after=3),
        )
        for script, (kind, flags) in WRITERS.items()
        if script in ("segment_audio", "extract_units")
    ),
    Case("EXP_ROOT is a file", "segments", exp_is_a_file, "extract_units", EXTRACT, 2, ["exp"]),
    Case("DATA_ROOT is a file", "segments", data_is_a_file, "segment_audio", CUT, 2, ["data"]),
    Case("the experiment is a file", "segments", units_are_a_file, "extract_units", EXTRACT, 2, ["guarani_units"]),
    *(
        Case(f"transcribe: {name}", "recordings", spoil, "transcribe", HEAR, 2, [says])
        for name, (spoil, says) in MODELS.items()
    ),
    Case("align_text: no text", "recordings", nothing, "align_text", ALIGN, 2, ["good.txt: expected"]),
    Case("align_text: a text of 0 bytes", "recordings", text("good.txt", ""), "align_text", ALIGN, 2, ["expected"]),
    Case(
        "align_text: noise as a text", "recordings", text("good.txt", b"\0" * 99), "align_text", ALIGN, 2, ["expected"]
    ),
    Case("trainer_base: no data", "nothing", nothing, "trainer_base", LEARN, 2, ["expected"]),
]
