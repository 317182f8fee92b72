"""Speak with a trained voice: from recordings, units, deduplicated units, or BPE tokens.

Reads a trained voice, and recordings or units; writes a WAV file for each of them to --out.

    python src/synthesize.py --exp exp/spanish_vocoder_v4 recording.mp3 folder/ --out spoken
    python src/synthesize.py --exp exp/spanish_vocoder_v4 --units exp/spanish_units/corpus_timestamped.json --split test
    python src/synthesize.py --exp exp/spanish_vocoder_v4 --units hours.json --stream --out spoken
    python src/synthesize.py --exp exp/spanish_vocoder_v4 --prosody exp/spanish_prosody --deduplicated units.txt
    python src/synthesize.py --exp exp/spanish_vocoder_v4 --voice_of clip.wav --units units.json --out spoken
    python src/synthesize.py --exp voices/spanish --bpe exp/spanish_bpe --tokens tokens.txt --out spoken

More: docs/phase3.md.
"""

import core.quiet_start

import argparse
import logging
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tqdm import tqdm

from audio.audio_io import load_audio, save_audio, save_audio_pieces
from audio.pitch import extract_f0
from core.cli import HELP_FORMATTER, configure_log, parse_flags, run_main
from core.device import choose_device, has_fast_bf16
from core.errors import UserError
from core.exit_codes import EXIT_SOME_FAILED
from core.frames import HOP_SAMPLES, UNIT_RATE, frames_to_seconds
from core.locks import only_run
from core.records import SPLITS, UnitsRow
from encoders.speaker_vectors import speaker_vector
from languages import data_root, resolve_in
from prosody.prediction import add_prosody
from segmentation.recordings import find_sources, refuse_repeated
from training.checkpoints import require_keys
from units.corpus import deduplicate, write_corpus
from units.requests import Request, SpokenItem, bpe_units, check_ids, read_deduplicated, read_tokens, read_units
from vocoder.generators import Vocoder
from vocoder.hearing import open_ears, open_prosody, read_recording
from vocoder.saved_voice import included_prosody, load_voice
from vocoder.synthesis import stream_item, synthesize_utterances

log = logging.getLogger("oral_units")

PREDICTIONS = {"missing": (), "f0": ("f0",), "durations": ("durations",), "durations,f0": ("durations", "f0")}
TEXT_FORMAT = "text with one utterance a line, 'id<TAB>12 12 45 …'"
LEAST_F0_SCALE, MOST_F0_SCALE = 0.25, 4.0  # two octaves: no voice goes farther
EVERYDAY_FLAGS = (
    *("units", "deduplicated", "tokens", "bpe", "split"),
    *("exp", "speaker", "voice_of", "f0_scale", "prosody", "out", "stream"),
)


class Clip(NamedTuple):
    """A recording to sound like."""

    speaker_vector: np.ndarray  # (D,) float32
    median_f0: float  # Hz; 0 where nothing is voiced


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_input_flags(parser)
    add_voice_flags(parser)
    add_output_flags(parser)
    args = parse_flags(parser, argv, everyday=EVERYDAY_FLAGS)
    args.prosody = args.prosody or included_prosody(args.exp)
    args.device = choose_device(args.device)
    check_input_flags(args)
    check_prosody_flags(args)
    check_f0_scale(args.f0_scale)
    check_voice_flags(args)
    return args


def add_input_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to speak (one of)")
    group.add_argument("recordings", nargs="*", type=Path, help="audio files of any format, or folders of them")
    group.add_argument(
        "--units",
        type=Path,
        default=None,
        help=f"units with their timing: {TEXT_FORMAT}, a unit a frame of 20 ms; or a JSON array of utterances with id, "
        "units, durations (frames), and f0 (Hz a frame, 0 = unvoiced) or audio (relative to DATA_ROOT) to take the "
        "pitch from: corpus_timestamped.json is one",
    )
    group.add_argument(
        "--deduplicated",
        type=Path,
        default=None,
        help=f"units without timing, each standing for a run: {TEXT_FORMAT}, or JSON with id and units",
    )
    group.add_argument(
        "--tokens",
        type=Path,
        default=None,
        help=f"BPE tokens of phase 2: {TEXT_FORMAT} of token ids or token strings, or JSON with id and tokens",
    )
    group.add_argument("--bpe", type=Path, default=None, help="phase 2 folder that --tokens come from")
    group.add_argument("--split", choices=SPLITS, default=None, help="only this split of a JSON file")
    group.add_argument(
        "--keep_level",
        action="store_true",
        help="hear recordings as loud as they are; else those far from the usual level of speech are brought there",
    )
    group.add_argument(
        "--max_failed",
        type=float,
        default=5.0,
        help="per cent that may be unreadable before exit code 3 (5)",
    )


def add_voice_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("voice")
    group.add_argument("--exp", type=Path, required=True, help="experiment folder of the vocoder, or a saved voice")
    group.add_argument("--checkpoint", default="best", help="best, latest, or the path of a checkpoint")
    group.add_argument("--speaker", default=None, help="speaker of the training data to speak as, where it has several")
    group.add_argument(
        "--voice_of",
        type=Path,
        metavar="CLIP",
        help="sound like this recording, of anybody; for voices trained with --speaker_vectors",
    )
    group.add_argument(
        "--keep_f0", action="store_true", help="with --voice_of: leave the pitch where it is, not at the clip's median"
    )
    group.add_argument("--f0_scale", type=float, default=1.0, help="multiply the pitch, 0.25 to 4: 0.8 is lower")
    group.add_argument(
        "--prosody",
        type=Path,
        default=None,
        help="experiment folder of the prosody predictor (src/trainer_prosody.py); a saved voice may bring its own",
    )
    group.add_argument(
        "--predict",
        choices=sorted(PREDICTIONS),
        default="missing",
        help="what --prosody predicts, in place of what is given: to measure what a prediction costs",
    )


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output and machine")
    group.add_argument("--out", type=Path, default=None, help="folder for <id>.wav (default: <exp>/synthesis)")
    group.add_argument(
        "--save_units", action="store_true", help="write the units, durations and F0 spoken to <out>/units.json"
    )
    group.add_argument(
        "--stream",
        action="store_true",
        help="write while it speaks, 20 s at a time: <id>.wav.part is a whole WAV that grows until it is <id>.wav",
    )
    group.add_argument(
        "--mixed_precision",
        choices=("auto", "no", "bf16"),
        default="no",
        help="bf16 speaks faster where the processor computes in it, and not to the bit the same; auto = there only",
    )
    group.add_argument("--max_batch_frames", type=int, default=3000, help="frames of a batch, padding included")
    group.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")


def check_input_flags(args: argparse.Namespace) -> None:
    given = [name for name in ("recordings", "units", "deduplicated", "tokens") if getattr(args, name)]
    if len(given) != 1:
        raise UserError(f"expected one of recordings, --units, --deduplicated and --tokens, found {given or 'none'}")
    if bool(args.tokens) != bool(args.bpe):
        raise UserError("--tokens FILE and --bpe exp/<language>_bpe go together")
    if args.split and args.recordings:
        raise UserError("--split chooses from a JSON file; recordings have no splits")
    if args.keep_level and not args.recordings:
        raise UserError("--keep_level: says how recordings are heard; units have no level")


def check_f0_scale(scale: float) -> None:
    if not LEAST_F0_SCALE <= scale <= MOST_F0_SCALE:  # nan is neither
        raise UserError(f"--f0_scale {scale:g}: expected a factor from {LEAST_F0_SCALE} to {MOST_F0_SCALE}")


def check_prosody_flags(args: argparse.Namespace) -> None:
    if args.prosody is None and (args.deduplicated or args.tokens):
        raise UserError("units without timing need --prosody exp/<language>_prosody (src/trainer_prosody.py)")
    if args.prosody is None and args.predict != "missing":
        raise UserError(f"--predict {args.predict} needs --prosody exp/<language>_prosody (src/trainer_prosody.py)")
    if "durations" in args.predict and args.recordings:
        raise UserError("--predict durations: recordings have their own; save them with --save_units and give --units")


def check_voice_flags(args: argparse.Namespace) -> None:
    if args.speaker and args.voice_of:
        raise UserError("--speaker and --voice_of both say who speaks; give one")
    if args.keep_f0 and not args.voice_of:
        raise UserError("--keep_f0 goes with --voice_of CLIP, which moves the pitch")


def open_vocoder(args: argparse.Namespace) -> Vocoder:
    """The vocoder in the precision asked for; refused where it does not know the speaker."""
    vocoder = load_voice(args.exp, args.checkpoint, args.device)
    if args.speaker and args.speaker not in vocoder.speakers:
        known = ", ".join(vocoder.speakers) or "none (trained without --speaker_embedding)"
        raise UserError(f"unknown speaker '{args.speaker}': expected one of: {known}")
    if args.voice_of and vocoder.speaker_vectors is None:
        raise UserError(f"--voice_of: {args.exp} knows no other voices; expected one trained with --speaker_vectors")
    bf16 = args.mixed_precision == "bf16" or (args.mixed_precision == "auto" and has_fast_bf16(args.device))
    return vocoder._replace(bf16=bf16)


def hear_clip(path: Path) -> Clip:
    """Who speaks in a recording, and how high."""
    waveform = read_recording(path)
    return Clip(speaker_vector(waveform), median_f0(extract_f0(waveform)))


def speak_as(item: SpokenItem, clip: Clip, *, keep_f0: bool) -> SpokenItem:
    """The item as the clip sounds, at its median pitch unless told to keep its own, or one of them is voiceless."""
    median = median_f0(item.f0)
    scale = 1.0 if keep_f0 or not (median and clip.median_f0) else clip.median_f0 / median
    return item._replace(f0=item.f0 * np.float32(scale), speaker_vector=clip.speaker_vector)


def median_f0(f0: np.ndarray) -> float:
    """Hz, of the voiced frames of (F,) Hz; 0 where there are none."""
    return float(np.median(f0[f0 > 0])) if (f0 > 0).any() else 0.0


def check_units_spoken(args: argparse.Namespace, n_units: int, n_streams: int) -> None:
    """Refuse inputs of other units than the vocoder speaks, ``n_streams`` streams of ``n_units``."""
    if n_streams > 1 and (args.deduplicated or args.tokens or "durations" in args.predict):
        raise UserError(
            f"{args.exp}: speaks {n_streams} streams of units, of which deduplicated units and tokens have the first "
            "only; use a vocoder trained on --n_streams 1"
        )
    if args.bpe and (bpe_units(args.bpe) or 0) > n_units:
        raise UserError(f"{args.bpe}: has {bpe_units(args.bpe)} units, the vocoder {n_units}; they do not belong")


def find_recordings(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """(id, file) for every audio file named or lying in a named folder; ids are file names, made unique by folders."""
    found = [("_".join(Path(name).with_suffix("").parts), path) for name, path in find_sources(paths).items()]
    refuse_repeated(name for name, _ in found)
    return found


def read_recordings(
    exp: Path, recordings: list[tuple[str, Path]], device: str, failed: dict[str, str], *, keep_level: bool = False
) -> Iterator[Request]:
    """Recording -> units by the encoder and clusters the vocoder was trained with, and F0.

    What cannot be read is left out, and put in ``failed`` with the reason.
    """
    hear = open_ears(exp, device)
    for name, path in recordings:
        try:
            waveform = read_recording(path, keep_level=keep_level)
        except (UserError, OSError) as error:
            failed[name] = str(error)
            continue
        frames = hear(waveform)
        units, durations = deduplicate(frames[:, 0])
        residual = [stream.tolist() for stream in frames.T[1:]]
        yield Request(name, units, durations, residual, extract_f0(waveform))


def read_requests(args: argparse.Namespace) -> Iterator[Request]:
    """Requests from the file given."""
    if args.tokens:
        return check_ids(read_tokens(args.tokens, args.bpe, args.split), args.tokens)
    if args.deduplicated:
        return check_ids(read_deduplicated(args.deduplicated, args.split), args.deduplicated)
    return check_ids(read_units(args.units, args.split), args.units)


def drop_empty(requests: Iterator[Request]) -> Iterator[Request]:
    """Requests without a unit are named and left out."""
    for request in requests:
        if len(request.units):
            yield request
        else:
            log.warning("%s: has no units, left out", request.id)


def check_units(request: Request, n_units: int, n_streams: int) -> None:
    """Refuse units that the vocoder does not speak."""
    streams = [request.units, *(np.asarray(stream) for stream in request.residual_units)]
    low, high = min(stream.min() for stream in streams), max(stream.max() for stream in streams)
    if len(streams) != n_streams or not 0 <= low <= high < n_units:
        raise UserError(
            f"{request.id}: expected {n_streams} stream(s) of units 0 to {n_units - 1}, found {len(streams)} with "
            f"{low} to {high}; use the vocoder trained on these units"
        )


def find_f0(request: Request, *, needed: bool, predicted: Collection[str]) -> Request:
    """F0 as given, else from the audio the request names; a vocoder that needs none may have zeros."""
    if request.f0 is not None:
        return request
    if request.audio and "f0" not in predicted:
        return request._replace(f0=extract_f0(load_audio(resolve_in(data_root(), request.audio))))
    return request if needed else request._replace(f0=np.zeros(request.durations.sum(), np.float32))


def name_failed(failed: dict[str, str], n_spoken: int, max_failed: float) -> int:
    """Name what could not be spoken; returns the exit code. UserError where nothing was spoken at all.

    max_failed: per cent of the utterances.
    """
    if failed and not n_spoken:
        more = f"; and {len(failed) - 1} more could not be read" if len(failed) > 1 else ""
        raise UserError(f"{next(iter(failed.values()))}{more}")
    for name, reason in failed.items():
        log.warning("failed: %s: %s", name, reason)
    n_all = n_spoken + len(failed)
    if 100 * len(failed) <= max_failed * n_all:
        return 0
    log.error("error: %d of %d utterances failed, over --max_failed %g %%", len(failed), n_all, max_failed)
    return EXIT_SOME_FAILED


def as_row(item: SpokenItem) -> UnitsRow:
    """An item as a row of a units file, so that it can be spoken again, edited, or sent elsewhere."""
    units, durations = deduplicate(item.content[:, 0])
    residual = [stream.tolist() for stream in item.content.T[1:]]
    return {
        "id": item.id,
        "audio": "",
        "duration": frames_to_seconds(len(item.content)),
        "split": "test",
        "unit_rate": UNIT_RATE,
        "units": units.tolist(),
        "durations": durations.tolist(),
        # The shortest decimals that are the same float32 again: what is saved speaks the same.
        "f0": [float(str(value)) for value in np.asarray(item.f0, np.float32)],
    } | ({"residual_units": residual} if residual else {})


def write_spoken(
    vocoder: Vocoder, items: Iterator[SpokenItem], out: Path, *, stream: bool, max_batch_frames: int
) -> Iterator[float]:
    """Speak items into ``out``, utterance by utterance or, streaming, piece by piece; yields the seconds of each."""
    if stream:
        for item in items:
            n_samples = save_audio_pieces(out / f"{item.id}.wav", stream_item(vocoder, item))
            yield frames_to_seconds(n_samples // HOP_SAMPLES)
        return
    for name, waveform in synthesize_utterances(vocoder, items, max_batch_frames=max_batch_frames):
        save_audio(out / f"{name}.wav", waveform)
        yield frames_to_seconds(len(waveform) // HOP_SAMPLES)


def main() -> int:
    args = parse_args()
    configure_log()
    with only_run(args.out or args.exp / "synthesis"):
        return speak_all(args)


def speak_all(args: argparse.Namespace) -> int:
    """Speak what the flags name; returns the exit code."""
    vocoder = open_vocoder(args)
    derived = vocoder.config.get("derived") or {}
    require_keys(args.exp / "config.json", derived, "n_units", "n_streams")
    n_units, n_streams = derived["n_units"], derived["n_streams"]
    check_units_spoken(args, n_units, n_streams)
    prosody = open_prosody(args.prosody, args.exp, args.device) if args.prosody else None
    clip = hear_clip(args.voice_of) if args.voice_of else None
    failed: dict[str, str] = {}
    recordings = find_recordings(args.recordings)
    if recordings:
        requests = read_recordings(args.exp, recordings, args.device, failed, keep_level=args.keep_level)
    else:
        requests = read_requests(args)
    predicted, needed = PREDICTIONS[args.predict], prosody is not None or vocoder.generator.uses_f0
    rows: list[UnitsRow] = []

    def prepare(request: Request) -> SpokenItem | None:
        check_units(request, n_units, n_streams)
        try:
            request = find_f0(request, needed=needed, predicted=predicted)
        except (UserError, OSError) as error:
            failed[request.id] = str(error)
            return None
        item = add_prosody(request, prosody, predicted, args.speaker or request.speaker)
        item = speak_as(item, clip, keep_f0=args.keep_f0) if clip else item
        item = item._replace(f0=item.f0 * np.float32(args.f0_scale))
        if args.save_units:
            rows.append(as_row(item))
        return item

    out = args.out or args.exp / "synthesis"
    items = filter(None, map(prepare, drop_empty(requests)))
    spoken = write_spoken(vocoder, items, out, stream=args.stream, max_batch_frames=args.max_batch_frames)
    total = len(recordings) or None
    seconds = list(tqdm(spoken, total=total, desc="speaking", unit="utterance", disable=None))
    code = name_failed(failed, len(seconds), args.max_failed)
    if args.save_units:
        write_corpus(out / "units.json", rows)
    log.info("wrote %d utterances (%.1f s) to %s", len(seconds), sum(seconds), out)
    return code


if __name__ == "__main__":
    run_main(main)
