"""Speak units with an exported voice. Needs torch and numpy, and no other code than this file.

Reads the voice that lies beside it and a file of units; writes a WAV file for each utterance to --out.

    python speak.py units.json --out spoken

units.json is an array, or one object a line, of utterances: "id"; "units"; "durations" (frames of 20 ms, one a unit);
"f0" (Hz a frame, 0 = unvoiced); "residual_units" where the voice speaks several streams. Where durations or F0 are
missing, the prosody predictor beside the voice fills them in.
"""

import argparse
import hashlib
import json
import os
import re
import warnings
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

NOISE_SEED = 0  # with the utterance's id: the same words sound the same every time


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("units", type=Path, help="JSON file of utterances")
    parser.add_argument("--voice", type=Path, default=Path(__file__).parent, help="folder of the exported voice")
    parser.add_argument("--speaker", default=None, help="one of the speakers in the voice's config.json")
    parser.add_argument("--out", type=Path, default=Path("spoken"), help="folder for <id>.wav")
    return parser.parse_args(argv)


class Exported(NamedTuple):
    """A voice as it lies in its folder, and what its config.json says of it."""

    voice: torch.jit.ScriptModule
    prosody: torch.jit.ScriptModule | None  # predicts durations and F0
    n_units: int
    n_streams: int
    sample_rate: int  # Hz
    speakers: list[str]
    prosody_speakers: list[str]


class Utterance(NamedTuple):
    """What to speak, its keys as in the file of units."""

    id: str
    units: list[int]
    durations: list[int] | None  # frames of 20 ms, one a unit
    f0: list[float] | None  # Hz a frame, 0 = unvoiced
    residual_units: list[list[int]]  # the further streams, one unit a frame


def load_exported(folder: Path) -> Exported:
    """The voice, its prosody predictor where there is one, and their speakers."""
    config, inside = json.loads((folder / "config.json").read_text(encoding="utf-8")), folder / "prosody"
    prosody, prosody_speakers = None, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        voice = torch.jit.load(folder / "voice.torchscript")
        if (inside / "prosody.torchscript").is_file():
            prosody = torch.jit.load(inside / "prosody.torchscript")
            described = json.loads((inside / "config.json").read_text(encoding="utf-8"))
            prosody_speakers = described["speakers"] or sorted(filter(None, described["statistics"]))
    n_units, n_streams = (config["derived"][key] for key in ("n_units", "n_streams"))
    return Exported(voice, prosody, n_units, n_streams, config["sample_rate_hz"], config["speakers"], prosody_speakers)


def read_utterances(path: Path) -> list[Utterance]:
    try:
        text = path.read_text(encoding="utf-8").strip()
        rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines() if line]
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {path}: expected a JSON array, or one object a line, found: {error}") from error
    seen = set()
    for number, row in enumerate(rows, 1):
        name = row.get("id") if isinstance(row, dict) else None
        # Ids become file names.
        if not isinstance(name, str) or not re.fullmatch(r"[^/\\\x00-\x1f]+", name) or set(name) == {"."}:
            raise SystemExit(f"error: {path}, utterance {number}: expected an id without '/', found {name!r}")
        if name in seen:
            raise SystemExit(f"error: {path}: id {name!r} comes twice and would overwrite itself; rename one")
        seen.add(name)
    missing = {"units": [], "durations": None, "f0": None, "residual_units": []}
    filled = [missing | row for row in rows]
    return [Utterance(**{key: row[key] for key in Utterance._fields}) for row in filled]


def check_utterance(utterance: Utterance, n_units: int, n_streams: int) -> None:
    """Refuse units that the voice does not know, and lists that do not fit each other."""
    streams = [utterance.units, *utterance.residual_units]
    if len(streams) != n_streams or not all(0 <= unit < n_units for stream in streams for unit in stream):
        raise SystemExit(f"error: {utterance.id}: expected {n_streams} stream(s) of units 0 to {n_units - 1}")
    by_unit, by_frame = {len(utterance.units)}, {len(stream) for stream in utterance.residual_units}
    if utterance.durations is not None:
        by_unit.add(len(utterance.durations))
        by_frame.add(sum(utterance.durations))
        by_frame |= {len(utterance.f0)} if utterance.f0 is not None else set()
    if by_unit == {0} or len(by_unit) > 1 or len(by_frame) > 1:
        raise SystemExit(
            f"error: {utterance.id}: expected units, a duration of each, and F0 and residual units of every frame; "
            f"found {sorted(by_unit)} units and durations, {sorted(by_frame)} frames"
        )


def add_prosody(loaded: Exported, utterance: Utterance, speaker: str | None) -> Utterance:
    """An utterance with its durations and F0, predicted where they are missing."""
    units, durations, f0 = np.asarray(utterance.units), utterance.durations, utterance.f0
    if loaded.prosody is None and (durations is None or f0 is None):
        raise SystemExit(f"error: {utterance.id}: expected durations and f0, as this voice cannot predict them")
    if durations is None:
        f0, units = None, units[np.flatnonzero(np.diff(units, prepend=-1))]
    if durations is None or f0 is None:
        row = torch.tensor([row_of(loaded.prosody_speakers, speaker)])
        tensor = torch.from_numpy(units.astype(np.int64))[None]
        if durations is None:
            probabilities, class_frames = loaded.prosody.duration_classes(tensor, row)
            durations = choose_durations(probabilities[0].numpy(), class_frames.double().numpy())
        lengths = torch.from_numpy(np.asarray(durations, np.int64))[None]
        f0 = loaded.prosody.pitch(tensor, lengths, row)[0].numpy()
    return utterance._replace(units=units, durations=durations, f0=np.asarray(f0, np.float32))


def choose_durations(probabilities: np.ndarray, class_frames: np.ndarray) -> np.ndarray:
    """(U, K) distributions over classes lasting (K,) frames -> (U,) int64 frames, at least 1: of all choices of the
    expected total, the one of least expected absolute error.
    """
    total = (probabilities.astype(np.float64) @ class_frames).sum()
    frames = np.maximum(1, np.round(class_frames)).astype(np.int64)
    longer = 1.0 - np.cumsum(probabilities.astype(np.float64), axis=1)[:, :-1]
    order = np.argsort(-np.minimum.accumulate(longer, axis=1), axis=None, kind="stable")
    spent = np.cumsum(np.diff(frames)[order % longer.shape[1]])
    chosen = order[: np.searchsorted(spent, round(total) - frames[0] * len(probabilities), side="right")]
    return frames[np.bincount(chosen // longer.shape[1], minlength=len(probabilities))]


def speak(loaded: Exported, utterance: Utterance, speaker: str | None) -> np.ndarray:
    """An utterance with its prosody to (320 F,) float32 in [-1, 1]."""
    streams = [np.repeat(utterance.units, utterance.durations), *utterance.residual_units]
    units = torch.from_numpy(np.stack([np.asarray(stream, np.int64) for stream in streams], axis=1))[None]
    f0 = torch.from_numpy(utterance.f0)[None]
    digest = hashlib.sha256(f"{NOISE_SEED}/{utterance.id}".encode()).digest()
    key = torch.tensor([int.from_bytes(digest[:4], "little") >> 1])
    noise = loaded.voice.noise(key, torch.tensor(0), f0)
    row = torch.tensor([row_of(loaded.speakers, speaker)])
    return loaded.voice(units, f0, noise, torch.zeros(1, dtype=torch.float64), row)[0].numpy()


def row_of(speakers: list[str], speaker: str | None) -> int:
    """Row 0 is the unknown speaker."""
    return speakers.index(speaker) + 1 if speaker in speakers else 0


def save_wav(path: Path, waveform: np.ndarray, sample_rate: int) -> None:
    """Write (S,) float in [-1, 1] as mono PCM16, whole or not at all: a full disk is one line."""
    pcm = np.clip(np.round(waveform.astype(np.float64) * 32768), -32768, 32767).astype("<i2")
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file, wave.open(file, "wb") as wav:
            wav.setparams((1, 2, sample_rate, len(pcm), "NONE", ""))
            wav.writeframesraw(pcm.tobytes())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        remedy = "make room, or give --out on another disk"
        raise SystemExit(f"error: {path}: cannot be written ({error.strerror or error}); {remedy}") from error


def main() -> None:
    args = parse_args()
    loaded = load_exported(args.voice)
    if args.speaker and args.speaker not in loaded.speakers:
        raise SystemExit(f"error: unknown speaker '{args.speaker}': expected one of {loaded.speakers}")
    for utterance in read_utterances(args.units):
        check_utterance(utterance, loaded.n_units, loaded.n_streams)
        with torch.inference_mode():
            waveform = speak(loaded, add_prosody(loaded, utterance, args.speaker), args.speaker)
        save_wav(args.out / f"{utterance.id}.wav", waveform, loaded.sample_rate)
        print(args.out / f"{utterance.id}.wav")


if __name__ == "__main__":
    main()
