"""Hostile recordings, names and folders, for the scripts that read recordings."""

import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import soundfile

from hostile_world import Case, Outcome, World, halve

from core.files import read_json
from segmentation.manifest import read_manifest
from synthetic import speech_like, write_mp3

CUT = ("--language", "{language}", "--num_workers", 1, "--quiet")
SECONDS = 3.0
SPEECH = speech_like(SECONDS, seed=5)


def wav(name: str, samples: np.ndarray = SPEECH, rate: int = 16000, *, subtype: str = "PCM_16", form: str = "WAV"):
    """Spoils by a file that soundfile writes; (S,) or (S, C) samples."""
    return lambda world: soundfile.write(world.raw / name, samples, rate, subtype=subtype, format=form)


def encoded(name: str, change: Callable[[Path], object] = lambda path: None, **how: int):
    """Spoils by a file of FFmpeg's, changed afterwards."""
    return lambda world: change(write_mp3(world.raw / name, SPEECH, **how))


def content(name: str, held: bytes | str):
    """Spoils by a file of these bytes."""

    def write(world: World) -> None:
        (world.raw / name).write_bytes(held.encode() if isinstance(held, str) else held)

    return write


def header(n_bytes: int, *, rate: int = 16000, channels: int = 1, bits: int = 16, tag: int = 1) -> bytes:
    """The 44 bytes before a WAV's samples, telling whatever they are told to tell."""
    block = channels * bits // 8
    size = min(36 + n_bytes, 0xFFFFFFFF)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, tag, channels, rate, rate * block, block, bits)
    return struct.pack("<4sI4s", b"RIFF", size, b"WAVE") + form + struct.pack("<4sI", b"data", n_bytes)


PCM = (SPEECH * 32767).astype("<i2").tobytes()


def scramble(path: Path) -> None:
    """Noise over the middle half of a file."""
    held = bytearray(path.read_bytes())
    quarter = len(held) // 4
    held[quarter : 3 * quarter] = np.random.default_rng(0).bytes(2 * quarter)
    path.write_bytes(held)


def zipped(world: World) -> None:
    with zipfile.ZipFile(world.raw / "bad.wav", "w") as archive:
        archive.writestr("tape.wav", header(len(PCM)) + PCM)


def good_is_cut(world: World, _: Outcome) -> None:
    sources = {row["source"] for row in read_manifest(world.data / "segments.jsonl")}
    assert {"good.wav", "other.wav"} <= sources


def is_used(*names: str):
    """The recordings of these names have segments, all of whose files are there."""

    def check(world: World, outcome: Outcome) -> None:
        good_is_cut(world, outcome)
        rows = list(read_manifest(world.data / "segments.jsonl"))
        assert set(names) <= {row["source"] for row in rows}, outcome.said
        for row in rows:
            found = soundfile.info(world.data.parent / row["audio"])
            assert found.samplerate == 16000 and abs(found.frames / 16000 - row["duration"]) < 1e-3

    return check


# Sound that nobody can use: named, and the good recordings are cut all the same. Exit code 3: one of three failed.
BROKEN = {
    "an MP3 of 0 bytes": (content("bad.mp3", b""), r"bad.mp3: is empty \(0 bytes\)"),
    "an MP3 of spaces": (content("bad.mp3", b" " * 4000), "bad.mp3: expected"),
    "an MP3 with noise over its middle": (encoded("bad.mp3", scramble), "bad.mp3: "),
    "an MP3 cut in half": (encoded("bad.mp3", halve), r"bad.mp3: is truncated: 3.\d s stated"),
    "a FLAC cut in half": (encoded("bad.flac", halve), "bad.flac: is truncated"),
    "an M4A whose recorder died": (encoded("bad.m4a", halve), "bad.m4a: expected"),
    "text called .mp3": (content("bad.mp3", "this is a note, no sound\n" * 40), "bad.mp3: expected"),
    "a page of the web called .wav": (content("bad.wav", "<!DOCTYPE html><html>404</html>"), "bad.wav: expected"),
    "a picture called .wav": (content("bad.wav", b"\x89PNG\r\n\x1a\n" + b"\0" * 500), "bad.wav: expected"),
    "an archive called .wav": (zipped, "bad.wav: expected"),
    "a WAV of its header alone": (content("bad.wav", header(len(PCM))), "bad.wav: "),
    "a WAV of half a header": (content("bad.wav", header(len(PCM))[:20]), "bad.wav: expected"),
    "a WAV that states more than it has": (
        content("bad.wav", header(2 * len(PCM)) + PCM),
        "bad.wav: is truncated: 6.0",
    ),
    "a WAV of no channel": (content("bad.wav", header(len(PCM), channels=0) + PCM), "bad.wav: expected"),
    "a WAV of 0 Hz": (content("bad.wav", header(len(PCM), rate=0) + PCM), "bad.wav: "),
    "a WAV of a billion Hz": (
        content("bad.wav", header(len(PCM), rate=1_179_000_000) + PCM),
        "bad.wav: expected 1000 to 1000000 samples a second, found 1179000000",
    ),
    "a WAV of 1 Hz": (content("bad.wav", header(len(PCM), rate=1) + PCM), "bad.wav: expected 1000 to 1000000 samples"),
    "a WAV of 0 bits": (content("bad.wav", header(len(PCM), bits=0) + PCM), "bad.wav: "),
    "a WAV of a codec that nobody knows": (content("bad.wav", header(len(PCM), tag=0x7777) + PCM), "bad.wav: expected"),
    "a WAV of 5 ms": (wav("bad.wav", SPEECH[:80]), r"bad.wav: is too short \(0.005 s\)"),
    "digital silence": (wav("bad.wav", np.zeros(48000)), "bad.wav: is silent"),
    "silence with an offset": (wav("bad.wav", np.full(48000, 0.3)), "bad.wav: is silent"),
    "one NaN": (wav("bad.wav", np.where(np.arange(48000) == 9, np.nan, SPEECH), subtype="FLOAT"), "found NaN or Inf"),
    "one infinity": (wav("bad.wav", np.where(np.arange(48000) == 9, np.inf, SPEECH), subtype="DOUBLE"), "NaN or Inf"),
    "channels that cancel each other": (
        wav("bad.wav", np.stack([SPEECH, -SPEECH], axis=1)),
        "bad.wav: is silent.*its two channels cancel each other",
    ),
}

# Sound that is odd and can be used.
ODD = {
    "8 bit": wav("odd.wav", subtype="PCM_U8"),
    "24 bit": wav("odd.wav", subtype="PCM_24"),
    "32 bit": wav("odd.wav", subtype="PCM_32"),
    "64 bit float": wav("odd.wav", subtype="DOUBLE"),
    "float at 40 times full scale": wav("odd.wav", SPEECH * 40, subtype="FLOAT"),
    "µ-law": wav("odd.wav", subtype="ULAW"),
    "IMA ADPCM": wav("odd.wav", subtype="IMA_ADPCM"),
    "GSM of a telephone": wav("odd.wav", SPEECH[::2], 8000, subtype="GSM610"),
    "an extensible header": wav("odd.wav", form="WAVEX"),
    "RF64": wav("odd.wav", form="RF64"),
    "W64 called .wav": wav("odd.wav", form="W64"),
    "AIFF called .mp3": wav("odd.mp3", form="AIFF"),
    "5.1 channels": wav("odd.wav", np.stack([SPEECH, *np.zeros((5, 48000))], axis=1)),
    "4 kHz": wav("odd.wav", SPEECH[::4], 4000),
    "192 kHz": wav("odd.wav", np.repeat(SPEECH, 12), 192_000),
    "11.025 kHz": wav("odd.wav", SPEECH, 11_025),
    "an offset": wav("odd.wav", np.clip(SPEECH + 0.4, -1, 1)),
    "everything clipped": wav("odd.wav", np.clip(SPEECH * 30, -1, 1)),
    "one loud click": wav("odd.wav", np.where(np.arange(48000) == 20000, 1.0, SPEECH * 0.05)),
    "a header of length 0": content("odd.wav", header(0) + PCM),
    "a header of 4 GB": content("odd.wav", header(0xFFFFFFFF) + PCM),
    "an odd number of bytes": content("odd.wav", header(len(PCM)) + PCM + b"\1"),
    "a comment before the samples": content(
        "odd.wav",
        header(len(PCM))[:36] + struct.pack("<4sI", b"LIST", 4000) + b"x" * 4000 + header(len(PCM))[36:] + PCM,
    ),
    "an MP3 with a tag of 300 kB": encoded(
        "odd.mp3", lambda path: path.write_bytes(b"ID3\3\0\0\0\x12\x27\x60" + b"\0" * 300_000 + path.read_bytes())
    ),
    "an MP3 with text behind it": encoded("odd.mp3", lambda path: path.write_bytes(path.read_bytes() + b"TAG" * 60)),
    "an Opus file called .wav": encoded(
        "odd.ogg", lambda path: path.rename(path.with_suffix(".wav")), sample_rate=48000
    ),
}

# Names that file systems allow. Each is a recording like the good one.
NAMES = {
    "spaces": " my tape  7 .wav",
    "quotes": 'it\'s a "tape" `x`.wav',
    "emoji": "🎙️ grabación.wav",
    "a line break": "a\nb.wav",
    "a carriage return and a bell": "a\r\ab.wav",
    "a tab": "a\tb.wav",
    "a leading dash": "-rf.wav",
    "words of a shell": "$(touch x);&|<>.wav",
    "words of a format": "%s {0} {language} %(a)d.wav",
    "words of a path": "..wav",
    "a name of Windows' own": "CON.wav",
    "a backslash": "a\\b.wav",
    "letters from right to left": "\u202egnos\u05d0.wav",
    "no ending": "tape seven",
    "255 bytes": "é" * 125 + ".wav",
    "many dots": "a.b.c...wav",
}


def record_further(path: Path, seed: int = 1) -> None:
    """A recording with a sound of its own: a copy of another one would be left out."""
    soundfile.write(path, speech_like(SECONDS, seed=seed), 16000, format="WAV")


def named(name: str):
    return lambda world: record_further(world.raw / name)


def dangling(world: World) -> None:
    (world.raw / "gone.wav").symlink_to("/nowhere/tape.wav")


def looping(world: World) -> None:
    (world.raw / "loop").symlink_to(world.raw)
    (world.raw / "a.wav").symlink_to("b.wav")
    (world.raw / "b.wav").symlink_to("a.wav")


def outside(world: World) -> None:
    """Recordings that lie on another disk and are linked here: the way recipes/mp3_folder does it."""
    (world.root / "stick").mkdir()
    shutil.move(world.raw / "good.wav", world.root / "stick" / "tape.wav")
    (world.raw / "good.wav").symlink_to(world.root / "stick" / "tape.wav")


def not_utf8(world: World) -> None:
    shutil.copy(world.raw / "good.wav", os.fsencode(world.raw) + b"/ni\xf1o.wav")


def only_case_differs(world: World) -> None:
    for seed, name in enumerate(("Good.wav", "GOOD.wav")):
        record_further(world.raw / name, seed)


def two_forms(world: World) -> None:
    for seed, name in enumerate(("ni\u00f1o.wav", "nin\u0303o.wav")):
        record_further(world.raw / name, seed)


def cases_are_apart(world: World, outcome: Outcome) -> None:
    is_used("good.wav", "Good.wav", "GOOD.wav")(world, outcome)
    names = [row["audio"].lower() for row in read_manifest(world.data / "segments.jsonl")]
    assert len(set(names)) == len(names)


def unreadable(world: World, monkeypatch) -> None:
    """Root may read everything, so the answer of the system is put in its place."""
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, *rest: not str(path).endswith("other.wav") and may(path, *rest))


def fails_to_read(world: World, monkeypatch) -> None:
    """A disk that is dying: EIO at the first byte."""
    import av

    opened = av.open

    def fail(path: object, *rest: object, **named: object):
        if str(path).endswith("other.wav"):
            raise OSError(5, "Input/output error", str(path))
        return opened(path, *rest, **named)

    monkeypatch.setattr(av, "open", fail)


def a_folder_called_wav(world: World) -> None:
    (world.raw / "tape.wav").mkdir()
    record_further(world.raw / "tape.wav" / "inside.wav")


def nothing_but_text(world: World) -> None:
    world.raw.mkdir(parents=True)
    (world.raw / "notes.docx").write_text("x")


def only_broken(world: World) -> None:
    for path in world.raw.iterdir():
        path.write_bytes(b"")


def ten_folders_deep(world: World) -> None:
    deep = world.raw.joinpath(*["a b"] * 40)
    deep.mkdir(parents=True)
    record_further(deep / "deep.wav")


def half_a_result(world: World) -> None:
    """What a disk that lost power leaves: a result of an earlier run of half its length."""
    results = world.data / "cache" / "segments"
    results.mkdir(parents=True)
    (results / "good.json").write_text('{"depends_on": {"source": "go')


def old_result(world: World) -> None:
    results = world.data / "cache" / "segments"
    results.mkdir(parents=True)
    (results / "good.json").write_text("[1, 2]")


def half_a_report(world: World) -> None:
    (world.data / "segmentation.json").write_text('{"flags": {"thr')


def report_of_another_kind(world: World) -> None:
    (world.data / "segmentation.json").write_text("[]")


def half_the_splits(world: World) -> None:
    (world.data / "splits.json").write_text('{"good.wav": "tr')


def strange_splits(world: World) -> None:
    (world.data / "splits.json").write_text('{"good.wav": "learning"}')


def both_failed(world: World, outcome: Outcome) -> None:
    assert not (world.data / "segments.jsonl").exists()


ONE_IN_TWO = r"1 of 2 recordings failed, over --max_failed 5 %"
FOLDERS = [
    Case(
        "a link to nothing",
        "recordings",
        dangling,
        "segment_audio",
        CUT,
        3,
        ["gone.wav: is a link to /nowhere"],
        good_is_cut,
    ),
    Case("links in a ring", "recordings", looping, "segment_audio", CUT, 3, ["a.wav: .*leads back to it"], good_is_cut),
    Case("links that leave the folder", "recordings", outside, "segment_audio", CUT, 0, [], good_is_cut),
    Case(
        "a name that is not UTF-8",
        "recordings",
        not_utf8,
        "segment_audio",
        CUT,
        3,
        [r"ni\\xf1o.wav: its name.*rename"],
        good_is_cut,
    ),
    Case(
        "names that differ in case alone", "recordings", only_case_differs, "segment_audio", CUT, 0, [], cases_are_apart
    ),
    Case(
        "two Unicode forms of one name",
        "recordings",
        two_forms,
        "segment_audio",
        CUT,
        3,
        ["same name in other Unicode"],
        good_is_cut,
    ),
    Case(
        "a recording nobody may read",
        "recordings",
        lambda world: None,
        "segment_audio",
        CUT,
        3,
        ["other.wav: may not be read", ONE_IN_TWO],
        patch=unreadable,
    ),
    Case(
        "a disk that cannot be read",
        "recordings",
        lambda world: None,
        "segment_audio",
        CUT,
        3,
        ["other.wav: .*nput/output error"],
        patch=fails_to_read,
    ),
    Case(
        "a folder called .wav",
        "recordings",
        a_folder_called_wav,
        "segment_audio",
        CUT,
        0,
        [],
        is_used("tape.wav/inside.wav"),
    ),
    Case("forty folders deep", "recordings", ten_folders_deep, "segment_audio", CUT, 0, [], good_is_cut),
    Case(
        "no recording at all",
        "nothing",
        nothing_but_text,
        "segment_audio",
        CUT,
        2,
        ["expected recordings, found none .1 .docx ignored"],
    ),
    Case(
        "nothing but broken recordings",
        "recordings",
        only_broken,
        "segment_audio",
        CUT,
        2,
        ["none of 2 recordings could be used; the first: good.wav: is empty"],
        both_failed,
    ),
    Case(
        "half a result of an earlier run",
        "recordings",
        half_a_result,
        "segment_audio",
        CUT,
        0,
        [],
        good_is_cut,
        may_change=["cache/segments/good.json"],
    ),
    Case(
        "a result of another kind",
        "recordings",
        old_result,
        "segment_audio",
        CUT,
        0,
        [],
        good_is_cut,
        may_change=["cache/segments/good.json"],
    ),
    Case(
        "half a report of an earlier run",
        "recordings",
        half_a_report,
        "segment_audio",
        CUT,
        2,
        ["segmentation.json: expected JSON"],
    ),
    Case(
        "a report of another kind",
        "recordings",
        report_of_another_kind,
        "segment_audio",
        CUT,
        2,
        ["segmentation.json: expected a JSON object"],
    ),
    Case("half the splits", "recordings", half_the_splits, "segment_audio", CUT, 2, ["splits.json: expected JSON"]),
    Case(
        "a split nobody knows",
        "recordings",
        strange_splits,
        "segment_audio",
        CUT,
        2,
        ["splits.json.*good.wav.*learning"],
    ),
]


def zoo(world: World) -> None:
    """All the broken and odd recordings in one folder, each under a number."""
    kept = {path.name for path in world.raw.iterdir()}
    spoilers = [spoil for spoil, _ in BROKEN.values()] + list(ODD.values())
    for number, spoil in enumerate(spoilers):
        spoil(world)
        for path in world.raw.iterdir():
            if path.name not in kept:
                kept.add(path.rename(path.with_name(f"{number:02d}{path.suffix}")).name)


INSPECT = ("{raw}", "--num_workers", 1, "--json", "{root}/look.json")


def all_are_named(world: World, outcome: Outcome) -> None:
    """Every file is in the first look: as a recording, or as one that cannot be read."""
    look = read_json(world.root / "look.json")
    found = {row["source"] for row in look["recordings"]} | set(look["unreadable"])
    assert found >= {path.name for path in world.raw.iterdir()}, outcome.said
    assert len(look["unreadable"]) >= 15


CASES = [
    *(
        Case(name, "recordings", spoil, "segment_audio", CUT, 3, [says], good_is_cut)
        for name, (spoil, says) in BROKEN.items()
    ),
    *(
        Case(
            f"odd: {name}",
            "recordings",
            spoil,
            "segment_audio",
            CUT,
            0,
            [],
            lambda world, outcome: (
                good_is_cut(world, outcome)
                or len(set(row["source"] for row in read_manifest(world.data / "segments.jsonl"))) == 3
            ),
        )
        for name, spoil in ODD.items()
    ),
    *(
        Case(f"a name with {name}", "recordings", named(text), "segment_audio", CUT, 0, [], good_is_cut)
        for name, text in NAMES.items()
    ),
    *FOLDERS,
    Case(
        "a first look at all that is broken or odd",
        "recordings",
        zoo,
        "inspect_recordings",
        INSPECT,
        0,
        [],
        all_are_named,
    ),
]
