"""Hostile units to speak, checkpoints, saved voices, scores and listeners' answers."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from hostile_units import MARK, Payload, half_a_tokenizer, nothing_ran
from hostile_world import Case, Outcome, World, edit_json, halve

SAY = ("--exp", "{voice}", "--units", "{root}/units.txt", "--out", "{root}/out")
SAY_JSON = ("--exp", "{voice}", "--units", "{root}/units.json", "--out", "{root}/out")
ROW = {"id": "a", "units": [1, 2, 3], "durations": [4, 5, 6], "split": "test", "f0": [120.0] * 15}


def text(held: str | bytes):
    return lambda world: (world.root / "units.txt").write_bytes(held.encode() if isinstance(held, str) else held)


def rows(*found: object):
    return lambda world: (world.root / "units.json").write_text(json.dumps(list(found)))


def changed(**changes: object):
    return rows({key: value for key, value in (ROW | changes).items() if value is not None})


UNIT_TEXTS = {
    "no units file": (lambda world: None, "units.txt: expected a file of units or tokens, found none"),
    "a units file of 0 bytes": (text(""), "units.txt: expected utterances, found none"),
    "a units file of comments": (text("# a\n\n#b\n"), "units.txt: expected utterances, found none"),
    "a units file without an id": (text("1 2 3\n"), "units.txt, line 1: expected 'id<TAB>"),
    "units in words": (text("a\tone two\n"), "units.txt, a: expected"),
    "half a unit in text": (text("a\t1.5 2\n"), "units.txt, a: expected"),
    "a unit of another voice": (text("a\t1 2 99\n"), "a: expected 1 stream.s. of units 0 to 11, found"),
    "a unit below zero in text": (text("a\t1 -2\n"), "a: expected"),
    "a unit larger than 64 bits": (text("a\t1 99999999999999999999999\n"), "units.txt, a: expected"),
    "an id of a path": (text("../../a\t1 2\n"), "units.txt: id '../../a': expected a file name"),
    "an id of dots": (text("..\t1 2\n"), "units.txt: id '..': expected a file name"),
    "an id of 300 letters": (text("a" * 300 + "\t1 2\n"), "units.txt: id 'aaa.*: expected"),
    "units in UTF-32": (text("a\t1 2\n".encode("utf-32")[:-2]), "units.txt"),
    "noise as units": (text(bytes(range(128, 256)) * 4), "units.txt"),
}
UNIT_FILES_READ = {
    "units in UTF-16": ("utf-16", "\n"),
    "units with a byte order mark": ("utf-8-sig", "\n"),
    "units with line ends of Windows": ("utf-8", "\r\n"),
}


def lines(encoding: str, end: str):
    """Two utterances, one a line."""
    held = [json.dumps(ROW | {"id": name}, ensure_ascii=False) for name in ("ni\u00f1o 7", "b")]
    return lambda world: (world.root / "units.json").write_bytes((end.join(held) + end).encode(encoding))


UNIT_ROWS = {
    "half a units file": (
        lambda world: (world.root / "units.json").write_text('[{"id": "a", "un'),
        "units.json: expected a JSON array",
    ),
    "units of null": (rows(None), "units.json, utterance 1: expected"),
    "units that are a number": (changed(units=5), "units.json.*expected"),
    "units without an id": (changed(id=None), "units.json.*expected"),
    "an id that is a list": (changed(id=["a"]), "units.json.*expected"),
    "an id twice": (rows(ROW, ROW), "units.json: id 'a' comes twice"),
    "units without durations": (changed(durations=None), "units.json, a: expected durations, found none"),
    "a duration of nothing": (changed(durations=[4, 0, 6]), "units.json, a: expected a duration of 1 frame or more"),
    "a duration of years": (changed(durations=[4, 10**12, 6], f0=None), "a: expected"),
    "pitch of another length": (changed(f0=[120.0] * 3), "a: expected"),
    "pitch that is no number": (changed(f0=[float("nan")] * 15), "a: expected"),
    "pitch in words": (changed(f0=["high"] * 15), "a: expected"),
    "a second stream": (changed(residual_units=[[1] * 15]), "a: expected 1 stream"),
    "a second stream in words": (changed(residual_units=[["x"] * 15]), "a: expected"),
    "audio outside the data, for its pitch": (changed(f0=None, audio="../../x.wav"), "leaves"),
    "a split that no row has": (changed(), "expected utterances of split 'val', found none of 1"),
}


def checkpoint(change: Callable[[Path], object]):
    return lambda world: change(world.voice / "checkpoints" / "best.pt")


def state(**changes: object):
    def edit(path: Path) -> None:
        held = torch.load(path, weights_only=True) | changes
        torch.save({key: value for key, value in held.items() if value is not None}, path)

    return checkpoint(edit)


def loaded_gun(world: World) -> None:
    path = world.voice / "checkpoints" / "best.pt"
    path.write_bytes(pickle.dumps(Payload(world.root / MARK)))


def gun_in_an_archive(world: World) -> None:
    torch.save({"generator_ema": Payload(world.root / MARK)}, world.voice / "checkpoints" / "best.pt")


def voice_without(name: str):
    return lambda world: (world.voice / name).unlink()


VOICES = {
    "no checkpoint": (checkpoint(Path.unlink), "best.pt: expected a checkpoint, found none"),
    "half a checkpoint": (
        checkpoint(halve),
        "best.pt: expected a checkpoint of this project, found something unreadable",
    ),
    "a checkpoint of 0 bytes": (
        checkpoint(lambda path: path.write_bytes(b"")),
        "best.pt: expected a checkpoint of this project",
    ),
    "a checkpoint of text": (
        checkpoint(lambda path: path.write_text("weights")),
        "best.pt: expected a checkpoint of this project",
    ),
    "a checkpoint that is a list": (
        checkpoint(lambda path: torch.save([1, 2], path)),
        "best.pt: expected a checkpoint of this project",
    ),
    "a checkpoint that runs code": (loaded_gun, "best.pt: expected a checkpoint of this project"),
    "a checkpoint with code inside": (gun_in_an_archive, "best.pt: expected a checkpoint of this project"),
    "a checkpoint of another model": (
        state(generator_ema=None, predictor_ema={}),
        "best.pt: expected a vocoder's checkpoint",
    ),
    "a checkpoint of a later version": (state(version="v9"), "best.pt: expected .*v9"),
    "a checkpoint without its sizes": (state(sizes=None), "best.pt: expected .*sizes"),
    "a checkpoint with sizes of another model": (state(sizes={"n_layers": 3}), "best.pt: expected"),
    "a checkpoint with other sizes": (
        state(sizes={"n_units": 12, "channels": 32, "n_blocks": 1, "head_channels": 16, "n_head_blocks": 1}),
        "best.pt: expected",
    ),
    "a checkpoint without a step": (state(step=None), "best.pt: expected .*step"),
    "a voice without a config": (voice_without("config.json"), "config.json: expected a JSON file, found none"),
    "a voice with half a config": (lambda world: halve(world.voice / "config.json"), "config.json: expected JSON"),
    "a voice whose config is a list": (
        lambda world: (world.voice / "config.json").write_text("[1]"),
        "config.json: expected a JSON object",
    ),
    "a voice whose config says nothing": (
        lambda world: edit_json(world.voice / "config.json", derived={}),
        "config.json: expected .*n_units",
    ),
    "no voice at all": (lambda world: shutil.rmtree(world.voice), "best.pt: expected a checkpoint, found none"),
}

SAVE = ("--exp", "{voice}", "--out", "{root}/saved", "--no_torchscript", "--no_page")
SAVED = ("--exp", "{root}/saved", "--units", "{root}/units.txt", "--out", "{root}/out")


def saved(change: Callable[[Path], object]):
    """A saved voice, changed afterwards."""

    def make(world: World) -> None:
        from vocoder.generators import load_vocoder
        from vocoder.saved_voice import load_clusters, save_voice

        vocoder = load_vocoder(world.voice)
        save_voice(world.root / "saved", vocoder, load_clusters(world.voice), "0" * 64)
        text("a\t1 1 2\n")(world)
        change(world.root / "saved")

    return make


SAVED_VOICES = {
    "half the weights of a saved voice": (
        saved(lambda folder: halve(folder / "model.safetensors")),
        "model.safetensors: expected the weights",
    ),
    "a saved voice of text": (
        saved(lambda folder: (folder / "model.safetensors").write_text("x" * 99)),
        "model.safetensors: expected the weights",
    ),
    "weights that claim to be of 2**60 bytes": (
        saved(lambda folder: (folder / "model.safetensors").write_bytes((2**60).to_bytes(8, "little"))),
        "model.safetensors: expected the weights",
    ),
    "a saved voice of a later format": (
        saved(lambda folder: edit_json(folder / "config.json", format_version=9)),
        "config.json: expected 'oral-units voice' up to version 1, found .* version 9",
    ),
    "a saved voice of another project": (
        saved(lambda folder: edit_json(folder / "config.json", format="piper")),
        "found 'piper'",
    ),
    "a saved voice whose version is a word": (
        saved(lambda folder: edit_json(folder / "config.json", format_version="two")),
        "config.json: expected",
    ),
    "a saved voice without its sizes": (
        saved(lambda folder: edit_json(folder / "config.json", sizes=None)),
        "config.json: expected .*sizes",
    ),
    "a saved voice of other sizes": (
        saved(lambda folder: edit_json(folder / "config.json", sizes={"n_units": 5})),
        "expected the weights that config.json describes",
    ),
    "a saved voice of a generator nobody knows": (
        saved(
            lambda folder: edit_json(folder / "config.json", derived={"generator": "v9", "n_units": 12, "n_streams": 1})
        ),
        "expected the weights that config.json describes, found another: 'v9'",
    ),
    "a saved voice that says nothing": (
        saved(lambda folder: (folder / "config.json").write_text("{}")),
        "config.json: expected 'oral-units voice'",
    ),
}
TOKENS = (
    "--exp",
    "{voice}",
    "--tokens",
    "{root}/units.txt",
    "--bpe",
    "{bpe}",
    "--out",
    "{root}/out",
    "--prosody",
    "{root}/none",
)


def speaks(world: World, outcome: Outcome) -> None:
    assert len(list((world.root / "out").glob("*.wav"))) == 2, outcome.said


def says_nothing(world: World, outcome: Outcome) -> None:
    nothing_ran(world, outcome)
    assert not list((world.root / "out").rglob("*.wav"))


def with_units(spoil: Callable[[World], object]):
    return lambda world: (text("a\t1 1 2\n")(world), spoil(world))


def bad_recordings(world: World) -> None:
    (world.raw / "sub").mkdir(parents=True)
    (world.raw / "empty.mp3").touch()
    (world.raw / "sub" / "text.wav").write_text("text")


HEAR = ("{raw}", "--exp", "{voice}", "--out", "{root}/out")
CASES = [
    *(
        Case(f"synthesize: {name}", "voice", spoil, "synthesize", SAY, 2, [says], says_nothing)
        for name, (spoil, says) in UNIT_TEXTS.items()
    ),
    *(
        Case(f"synthesize: {name}", "voice", lines(*how), "synthesize", SAY_JSON, 0, [], speaks)
        for name, how in UNIT_FILES_READ.items()
    ),
    *(
        Case(
            f"synthesize: {name}",
            "voice",
            spoil,
            "synthesize",
            (*SAY_JSON, *(("--split", "val") if "split" in name else ())),
            2,
            [says],
            says_nothing,
        )
        for name, (spoil, says) in UNIT_ROWS.items()
    ),
    *(
        Case(f"synthesize: {name}", "voice", with_units(spoil), "synthesize", SAY, 2, [says], says_nothing)
        for name, (spoil, says) in VOICES.items()
    ),
    *(
        Case(f"export_vocoder: {name}", "voice", spoil, "export_vocoder", SAVE, 2, [says], nothing_ran)
        for name, (spoil, says) in VOICES.items()
        if "half" in name or "later" in name or "code" in name
    ),
    *(
        Case(
            f"vocoder_test: {name}",
            "voice",
            spoil,
            "vocoder_test",
            ("--exp", "{voice}", "--num_workers", 1),
            2,
            [says],
            nothing_ran,
        )
        for name, (spoil, says) in VOICES.items()
        if "half" in name or "later" in name or "code" in name
    ),
    *(
        Case(f"synthesize: {name}", "voice", spoil, "synthesize", SAVED, 2, [says], says_nothing)
        for name, (spoil, says) in SAVED_VOICES.items()
    ),
    Case(
        "synthesize: half a tokenizer",
        "voice",
        with_units(half_a_tokenizer),
        "synthesize",
        (*TOKENS[:-2], "--prosody", "{voice}"),
        2,
        ["expected"],
    ),
    Case(
        "synthesize: nothing but broken recordings",
        "voice",
        bad_recordings,
        "synthesize",
        HEAR,
        2,
        ["empty.mp3.*; and 1 more could not be read"],
        says_nothing,
    ),
]
