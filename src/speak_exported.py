"""Speak units with an exported voice. Needs torch, numpy and soundfile, and no other code than this file.

python speak.py units.json --out spoken

units.json is an array, or one object a line, of utterances: "id"; "units"; "durations" (frames of 20 ms, one a unit);
"f0" (Hz a frame, 0 = unvoiced); "residual_units" where the voice speaks several streams. Where durations or F0 are
missing, the prosody predictor beside the voice fills them in.
"""

import argparse
import hashlib
import json
import re
import warnings
from pathlib import Path

import numpy as np
import torch

import soundfile

NOISE_SEED = 0  # with the utterance's id: the same words sound the same every time


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("units", type=Path, help="JSON file of utterances")
    parser.add_argument("--voice", type=Path, default=Path(__file__).parent, help="folder of the exported voice")
    parser.add_argument("--speaker", default=None, help="one of the speakers in the voice's config.json")
    parser.add_argument("--out", type=Path, default=Path("spoken"), help="folder for <id>.wav")
    return parser.parse_args(argv)


def load_exported(folder: Path) -> dict:
    """The voice, its prosody predictor where there is one, and their speakers."""
    loaded = {"config": json.loads((folder / "config.json").read_text(encoding="utf-8")), "prosody": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        loaded["voice"] = torch.jit.load(folder / "voice.torchscript")
        if (folder / "prosody" / "prosody.torchscript").is_file():
            loaded["prosody"] = torch.jit.load(folder / "prosody" / "prosody.torchscript")
            described = json.loads((folder / "prosody" / "config.json").read_text(encoding="utf-8"))
            loaded["prosody_speakers"] = described["speakers"] or sorted(filter(None, described["statistics"]))
    return loaded


def read_utterances(path: Path) -> list[dict]:
    try:
        text = path.read_text(encoding="utf-8").strip()
        found = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines() if line]
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {path}: expected a JSON array, or one object a line, found: {error}") from error
    seen = set()
    for number, utterance in enumerate(found, 1):
        name = utterance.get("id") if isinstance(utterance, dict) else None
        # Ids become file names.
        if not isinstance(name, str) or not re.fullmatch(r"[^/\\\x00-\x1f]+", name) or set(name) == {"."}:
            raise SystemExit(f"error: {path}, utterance {number}: expected an id without '/', found {name!r}")
        if name in seen:
            raise SystemExit(f"error: {path}: id {name!r} comes twice and would overwrite itself; rename one")
        seen.add(name)
    return found


def check_utterance(utterance: dict, n_units: int, n_streams: int) -> None:
    """Refuse units that the voice does not know, and lists that do not fit each other."""
    streams = [utterance.get("units", []), *utterance.get("residual_units", [])]
    if len(streams) != n_streams or not all(0 <= unit < n_units for stream in streams for unit in stream):
        raise SystemExit(f"error: {utterance['id']}: expected {n_streams} stream(s) of units 0 to {n_units - 1}")
    lengths = {len(streams[0])}, {len(stream) for stream in streams[1:]}
    if utterance.get("durations") is not None:
        lengths[0].add(len(utterance["durations"]))
        lengths[1].add(sum(utterance["durations"]))
        if utterance.get("f0") is not None:
            lengths[1].add(len(utterance["f0"]))
    if lengths[0] == {0} or any(len(found) > 1 for found in lengths):
        raise SystemExit(
            f"error: {utterance['id']}: expected units, a duration of each, and F0 and residual units of every frame; "
            f"found {sorted(lengths[0])} units and durations, {sorted(lengths[1])} frames"
        )


def add_prosody(loaded: dict, utterance: dict, speaker: str | None) -> dict:
    """An utterance with "durations" (U,) frames and "f0" (F,) Hz, predicted where they are missing."""
    units, durations, f0 = np.asarray(utterance["units"]), utterance.get("durations"), utterance.get("f0")
    prosody = loaded["prosody"]
    if prosody is None and (durations is None or f0 is None):
        raise SystemExit(f"error: {utterance['id']}: expected durations and f0, as this voice cannot predict them")
    if durations is None:
        f0, units = None, units[np.flatnonzero(np.diff(units, prepend=-1))]
    if durations is None or f0 is None:
        row = torch.tensor([row_of(loaded["prosody_speakers"], speaker)])
        tensor = torch.from_numpy(units.astype(np.int64))[None]
        if durations is None:
            probabilities, class_frames = prosody.duration_classes(tensor, row)
            durations = choose_durations(probabilities[0].numpy(), class_frames.double().numpy())
        f0 = prosody.pitch(tensor, torch.from_numpy(np.asarray(durations, np.int64))[None], row)[0].numpy()
    return utterance | {"units": units, "durations": durations, "f0": np.asarray(f0, np.float32)}


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


def speak(loaded: dict, utterance: dict, speaker: str | None) -> np.ndarray:
    """An utterance with its prosody to (320 F,) float32 at 16 kHz."""
    streams = [np.repeat(utterance["units"], utterance["durations"]), *utterance.get("residual_units", [])]
    units = torch.from_numpy(np.stack([np.asarray(stream, np.int64) for stream in streams], axis=1))[None]
    f0 = torch.from_numpy(utterance["f0"])[None]
    digest = hashlib.sha256(f"{NOISE_SEED}/{utterance['id']}".encode()).digest()
    key = torch.tensor([int.from_bytes(digest[:4], "little") >> 1])
    noise = loaded["voice"].noise(key, torch.tensor(0), f0)
    row = torch.tensor([row_of(loaded["config"]["speakers"], speaker)])
    return loaded["voice"](units, f0, noise, torch.zeros(1, dtype=torch.float64), row)[0].numpy()


def row_of(speakers: list[str], speaker: str | None) -> int:
    """Row 0 is the unknown speaker."""
    return speakers.index(speaker) + 1 if speaker in speakers else 0


def main() -> None:
    args = parse_args()
    loaded = load_exported(args.voice)
    if args.speaker and args.speaker not in loaded["config"]["speakers"]:
        raise SystemExit(f"error: unknown speaker '{args.speaker}': expected one of {loaded['config']['speakers']}")
    args.out.mkdir(parents=True, exist_ok=True)
    n_units, n_streams = (loaded["config"]["derived"][key] for key in ("n_units", "n_streams"))
    for utterance in read_utterances(args.units):
        check_utterance(utterance, n_units, n_streams)
        with torch.inference_mode():
            waveform = speak(loaded, add_prosody(loaded, utterance, args.speaker), args.speaker)
        pcm = np.clip(np.round(waveform.astype(np.float64) * 32768), -32768, 32767).astype(np.int16)
        soundfile.write(args.out / f"{utterance['id']}.wav", pcm, loaded["config"]["sample_rate_hz"])
        print(args.out / f"{utterance['id']}.wav")


if __name__ == "__main__":
    main()
