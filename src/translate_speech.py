"""Translate speech: recordings of one language are spoken in a trained voice of another.

Reads recordings, a trained translator, a voice of the target and its prosody predictor. Writes a WAV file for each
recording to --out, and translations.json with the units that were said. No text is made on the way.

    python src/translate_speech.py recording.mp3 --exp exp/english_spanish_translation \\
        --voice exp/spanish_vocoder_v4 --prosody exp/spanish_prosody --out translated

More: docs/translation.md.
"""

import core.quiet_start

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from audio.audio_io import save_audio
from core.cli import HELP_FORMATTER, configure_log, parse_flags, require_not_negative, require_positive, run_main
from core.device import choose_device
from core.errors import UserError
from core.files import write_json
from core.frames import SAMPLE_RATE
from core.locks import only_run
from core.records import Translation
from encoders.feature_cache import encode_features, open_encoder
from segmentation.recordings import find_sources
from translation.hearing import FEATURES, Sound, hear_features, hear_units
from translation.saved_translator import LoadedTranslator, load_translator
from translation.speaking import open_translation_voice, say_units, speak_units
from unit_lm.generation import Sampling
from unit_lm.saved_lm import block_units
from unit_lm.utterances import UnitUtterance
from unit_lm.vocabulary import language_row
from units.corpus import deduplicate
from vocoder.hearing import open_ears, read_recording

log = logging.getLogger("oral_units")

LONGEST_SECONDS = 30.0


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("recordings", nargs="+", type=Path, help="audio files of any format, or folders of them")
    parser.add_argument("--out", type=Path, required=True, help="folder for <name>.wav and translations.json")
    group = parser.add_argument_group("models")
    group.add_argument("--exp", type=Path, required=True, help="experiment folder of the translator")
    group.add_argument("--checkpoint", default="best", help="of --exp: best, latest, or the path of a checkpoint")
    group.add_argument(
        "--voice", type=Path, required=True, help="experiment folder of the target's vocoder, or a voice"
    )
    group.add_argument("--prosody", type=Path, default=None, help="folder of the prosody predictor for --voice")
    group.add_argument("--source", default=None, help="language of the recordings (default: the model's first)")
    group.add_argument("--speaker", default=None, help="speaker to speak as, where the voice has several")
    group.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    group = parser.add_argument_group("drawing")
    group.add_argument("--temperature", type=float, default=0.0, help="0: always the most probable unit; 1: as it is")
    group.add_argument("--top_p", type=float, default=0.95, help="draw from the units that have this share together")
    group.add_argument("--seed", type=int, default=0, help="the same seed says the same")
    args = parse_flags(parser, argv)
    require_positive(args, "top_p")
    require_not_negative(args, "temperature", "seed")
    if args.top_p > 1:
        raise UserError(f"--top_p {args.top_p}: expected a share, up to 1")
    args.device = choose_device(args.device)
    return args


def open_listener(args: argparse.Namespace, loaded: LoadedTranslator, language: str) -> Callable[[np.ndarray], Sound]:
    """(S,) waveform -> what the encoder takes."""
    hearing = loaded.hearing
    if hearing.kind == FEATURES:
        encoder = open_encoder(hearing.encoder, hearing.layer, padding=hearing.padding, device=args.device)
        return lambda waveform: hear_features(hearing, language, encode_features(encoder, [waveform])[0])
    block = hearing.vocabulary.block_of[language_row(hearing.vocabulary, language)]
    ears = open_ears(block_units(args.exp / "heard", block).parent, args.device)
    return lambda waveform: hear_units(hearing, [_as_utterance(language, ears(waveform)[:, 0])])[0]


def _as_utterance(language: str, frames: np.ndarray) -> UnitUtterance:
    return UnitUtterance("", language, *deduplicate(frames))


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    configure_log()
    with only_run(args.out):
        translate(args)


def translate(args: argparse.Namespace) -> None:
    loaded = load_translator(args.exp, args.checkpoint, args.device)
    sources = loaded.config["derived"]["sources"]
    language = args.source or sources[0]
    if language not in sources:
        raise UserError(f"--source {language}: expected one of {', '.join(sources)}, which the translator hears")
    if not loaded.model.speaks:
        raise UserError(f"{args.exp}: learnt retrieval alone, and says nothing; train it with --token_weight 1")
    voice = open_translation_voice(args.voice, args.prosody, loaded, args.device, args.speaker)
    listen, sampling = open_listener(args, loaded, language), Sampling(args.temperature, args.top_p, args.seed)
    rows: list[Translation] = []
    for number, (name, path) in enumerate(find_sources(args.recordings).items()):
        waveform = read_recording(path)
        if len(waveform) > LONGEST_SECONDS * SAMPLE_RATE:
            raise UserError(
                f"{path}: expected up to {LONGEST_SECONDS:g} s, found more; cut it (scripts/segment_audio.py)"
            )
        units, durations = say_units(loaded, listen(waveform), sampling, sample=number)
        stem = "_".join(Path(name).with_suffix("").parts)
        spoken = speak_units(voice, {stem: (units, durations)})
        if not spoken:
            log.warning("%s: no unit was said, left out", path)
            continue
        save_audio(args.out / f"{stem}.wav", spoken[stem])
        seconds = round(len(spoken[stem]) / SAMPLE_RATE, 3)
        rows.append({"recording": name, "audio": f"{stem}.wav", "seconds": seconds, "units": units.tolist()})
    target = loaded.config["derived"]["target"]
    write_json(args.out / "translations.json", {"source": language, "target": target, "translations": rows})
    log.info("wrote %d translations from %s to %s to %s", len(rows), language, target, args.out)


if __name__ == "__main__":
    run_main(main)
