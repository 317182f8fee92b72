"""Speak with a trained vocoder: from recordings, or from a file of units.

python src/synthesize.py --exp exp/spanish_vocoder_v3 recording.mp3 folder/ --out spoken
python src/synthesize.py --exp exp/spanish_vocoder_v3 --units exp/spanish_units/corpus_timestamped.json --split test
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tqdm import tqdm

from cli import HELP_FORMATTER, configure_log, parse_flags, run_main
from errors import UserError
from frames import HOP_SAMPLES, frames_to_seconds
from languages import data_root, resolve_in
from speech.audio import AUDIO_SUFFIXES, load_audio, save_audio
from speech.encoders import encode, load_encoder
from speech.pitch import cached_f0, extract_f0
from training.vocoder import load_vocoder, synthesize_utterances
from units.corpus import deduplicate, frame_units, read_corpus, write_corpus
from units.kmeans import load_kmeans, quantize_to_units, read_description


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=HELP_FORMATTER)
    what = parser.add_argument_group("what to speak")
    what.add_argument("recordings", nargs="*", type=Path, help="audio files of any format, or folders of them")
    what.add_argument(
        "--units",
        type=Path,
        default=None,
        help="JSON array of utterances with id, units, durations (frames of 20 ms), and f0 (Hz a frame, 0 = unvoiced) "
        "or audio (relative to DATA_ROOT) to take the pitch from: corpus_timestamped.json is one",
    )
    what.add_argument("--split", choices=("train", "val", "test"), default=None, help="only this split of --units")
    voice = parser.add_argument_group("voice")
    voice.add_argument("--exp", type=Path, required=True, help="experiment folder of the vocoder")
    voice.add_argument("--checkpoint", default="best", help="best, latest, or the path of a checkpoint")
    voice.add_argument("--speaker", default=None, help="speaker of the training data to speak as, where it has several")
    voice.add_argument("--f0_scale", type=float, default=1.0, help="multiply the pitch: 0.8 is lower, 1.25 higher")
    out = parser.add_argument_group("output and machine")
    out.add_argument("--out", type=Path, default=None, help="folder for <id>.wav (default: <exp>/synthesis)")
    out.add_argument(
        "--save_units", action="store_true", help="write the units and F0 of recordings to <out>/units.json"
    )
    out.add_argument("--max_batch_frames", type=int, default=3000, help="frames of a batch, padding included")
    out.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    return parse_flags(parser, argv)


def find_recordings(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """(id, file) for every audio file named or lying in a named folder; ids are file names, made unique by folders."""
    found: list[tuple[str, Path]] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
            if not inside:
                raise UserError(f"{path}: expected audio files ({', '.join(AUDIO_SUFFIXES)}), found none")
            found += [("_".join(file.relative_to(path).with_suffix("").parts), file) for file in inside]
        elif path.is_file():
            found.append((path.stem, path))
        else:
            raise UserError(f"{path}: expected an audio file or a folder, found nothing; check the path")
    names = [name for name, _ in found]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UserError(f"recordings of the same name would overwrite each other: {', '.join(repeated)}; rename them")
    return found


def items_from_recordings(exp: Path, recordings: list[tuple[str, Path]], device: str) -> Iterator[dict]:
    """Recording -> units by the encoder and clusters the vocoder was trained with, and F0."""
    kmeans = load_kmeans(exp / "units" / "kmeans.npz")
    description = read_description(kmeans)
    if description is None:
        raise UserError(f"{exp / 'units' / 'kmeans.npz'}: expected a description of its encoder; rerun phases 1 and 3")
    encoder = load_encoder(description.pop("encoder"), description.pop("layer"), device, **description)
    for name, path in recordings:
        waveform = load_audio(path)
        if len(waveform) < HOP_SAMPLES:
            raise UserError(f"{path}: expected at least {HOP_SAMPLES} samples (20 ms), found {len(waveform)}")
        units = quantize_to_units(encode(encoder, [waveform])[0], kmeans)
        yield {"id": name, "units": units, "f0": extract_f0(waveform)}


def items_from_units(path: Path, split: str | None, n_units: int, n_streams: int, cache: Path) -> Iterator[dict]:
    """Utterances of a units file, checked against the vocoder, with their own F0 or that of their recording."""
    for entry in read_corpus(path, splits=[split] if split else None):
        units = frame_units(entry)
        if units.shape[1] != n_streams or (len(units) and not 0 <= units.min() <= units.max() < n_units):
            raise UserError(
                f"{path}, {entry['id']}: expected {n_streams} stream(s) of units 0 to {n_units - 1}, found "
                f"{units.shape[1]} with {units.min()} to {units.max()}; use the vocoder trained on these units"
            )
        f0 = read_f0(path, entry, cache)
        if len(f0) != len(units):
            raise UserError(f"{path}, {entry['id']}: expected F0 for {len(units)} frames, found {len(f0)}")
        if len(units):
            yield {"id": entry["id"], "units": units, "f0": f0}


def read_f0(path: Path, entry: dict, cache: Path) -> np.ndarray:
    if "f0" in entry:
        return np.asarray(entry["f0"], np.float32)
    if not entry["audio"]:
        raise UserError(f"{path}, {entry['id']}: expected f0 (Hz a frame) or audio to take it from, found neither")
    return cached_f0(cache, entry["id"], resolve_in(data_root(), entry["audio"]))


def as_utterance(item: dict) -> dict:
    """An item as an entry of a units file, so that it can be spoken again, edited, or sent elsewhere."""
    units, durations = deduplicate(item["units"][:, 0])
    residual = [stream.tolist() for stream in item["units"].T[1:]]
    return {
        "id": item["id"],
        "audio": "",
        "duration": frames_to_seconds(len(item["units"])),
        "split": "test",
        "unit_rate": 50,
        "units": units.tolist(),
        "durations": durations.tolist(),
        "f0": [round(float(value), 2) for value in item["f0"]],
    } | ({"residual_units": residual} if residual else {})


def main() -> int:
    args = parse_args()
    log = configure_log()
    if bool(args.recordings) == bool(args.units):
        raise UserError("expected either recordings or --units FILE, one of the two")
    vocoder = load_vocoder(args.exp, args.checkpoint, args.device)
    derived = vocoder["config"]["derived"]
    if args.speaker and args.speaker not in vocoder["speakers"]:
        known = ", ".join(vocoder["speakers"]) or "none (trained without --speaker_embedding)"
        raise UserError(f"unknown speaker '{args.speaker}': expected one of: {known}")
    out = args.out or args.exp / "synthesis"
    if args.units:
        items = items_from_units(
            args.units, args.split, derived["n_units"], derived["n_streams"], Path(derived["cache"])
        )
        total = None
    else:
        recordings = find_recordings(args.recordings)
        items, total = items_from_recordings(args.exp, recordings, args.device), len(recordings)

    kept: list[dict] = []

    def prepared() -> Iterator[dict]:
        for item in items:
            kept.extend([as_utterance(item)] if args.save_units else [])
            yield item | {"speaker": args.speaker, "f0": item["f0"] * np.float32(args.f0_scale)}

    n_written, seconds = 0, 0.0
    spoken = synthesize_utterances(vocoder, prepared(), max_batch_frames=args.max_batch_frames)
    for name, waveform in tqdm(spoken, total=total, desc="speaking", unit="recording", disable=None):
        save_audio(out / f"{name}.wav", waveform)
        n_written, seconds = n_written + 1, seconds + frames_to_seconds(len(waveform) // HOP_SAMPLES)
    if args.save_units:
        write_corpus(out / "units.json", kept)
    log.info("wrote %d recordings (%.1f s) to %s", n_written, seconds, out)
    return 0


if __name__ == "__main__":
    run_main(main)
