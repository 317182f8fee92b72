"""Speak on: a recording is continued by a language model of units, several times, in a trained voice.

Reads a recording, a trained language model of units, a voice and its prosody predictor. Writes a WAV file for each
continuation, with what was said before it, continuations.json, and continuations.html: a page to listen to in any
browser, without a network.

    python src/continue_speech.py recording.mp3 --exp exp/spanish_unit_lm --voice exp/spanish_vocoder_v4 \\
        --prosody exp/spanish_prosody --out continued

More: docs/language_model.md.
"""

import core.quiet_start

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audio.audio_io import save_audio
from audio.pitch import extract_f0
from core.cli import HELP_FORMATTER, configure_log, parse_flags, require_not_negative, require_positive, run_main
from core.device import choose_device
from core.errors import UserError
from core.files import write_json, write_text
from core.frames import UNIT_RATE, frames_to_samples
from core.locks import only_run
from core.records import Continuation, ContinuationResult
from prosody.prediction import Prosody
from report.continuation_page import build_continuation_page
from report.listening_page import read_labels
from unit_lm.generation import Sampling
from unit_lm.inputs import units_of_block
from unit_lm.saved_lm import UnitLM, load_unit_lm
from unit_lm.vocabulary import language_row
from vocoder.generators import Vocoder
from vocoder.hearing import open_ears, open_prosody, read_recording
from vocoder.saved_voice import included_prosody, load_voice, units_hash
from vocoder.speaking_on import (
    Prompt,
    as_spoken,
    continuation_alone,
    describe_continuation,
    draw,
    make_prompt,
    time_units,
)
from vocoder.synthesis import synthesize_utterances

log = logging.getLogger("oral_units")

FORMAT, FORMAT_VERSION = "oral-units continuations", 1


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("recording", type=Path, help="an audio file of any format: what the model goes on from")
    parser.add_argument("--out", type=Path, required=True, help="folder for the page, the WAV files and the list")
    parser.add_argument(
        "--keep_level", action="store_true", help="hear it as loud as it is, however far from the usual level of speech"
    )
    add_model_flags(parser.add_argument_group("models"))
    add_drawing_flags(parser.add_argument_group("drawing"))
    args = parse_flags(parser, argv)
    args.prosody = args.prosody or included_prosody(args.voice)
    if args.prosody is None:
        raise UserError("--prosody exp/<language>_prosody: the voice brings none; train one (src/trainer_prosody.py)")
    require_positive(args, "n_samples", "seconds", "prompt_seconds", "top_p")
    require_not_negative(args, "temperature", "seed")
    if args.top_p > 1:
        raise UserError(f"--top_p {args.top_p}: expected a share, up to 1")
    args.device = choose_device(args.device)
    return args


def add_model_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--exp", type=Path, required=True, help="experiment folder of the language model of units")
    group.add_argument("--checkpoint", default="best", help="of --exp: best, latest, or the path of a checkpoint")
    group.add_argument("--voice", type=Path, required=True, help="experiment folder of the vocoder, or a saved voice")
    group.add_argument(
        "--prosody",
        type=Path,
        default=None,
        help="experiment folder of the prosody predictor (src/trainer_prosody.py); a saved voice may bring its own",
    )
    group.add_argument("--language", default=None, help="language of the recording (default: the model's first)")
    group.add_argument("--speaker", default=None, help="speaker to speak as, where the voice has several")
    group.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")


def add_drawing_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--n_samples", type=int, default=3, help="how often to go on from the recording")
    group.add_argument("--seconds", type=float, default=5.0, help="a continuation is never longer")
    group.add_argument(
        "--prompt_seconds", type=float, default=None, help="go on from the first so many seconds (default: all)"
    )
    group.add_argument(
        "--temperature", type=float, default=0.8, help="under 1: surer; 0: always the most probable unit"
    )
    group.add_argument("--top_p", type=float, default=0.95, help="draw from the units that have this share together")
    group.add_argument("--seed", type=int, default=0, help="the same seed says the same")
    group.add_argument("--page_language", default="en", help="of the page: en, es, pt, or a JSON file of its labels")


def check_voice(lm: UnitLM, vocoder: Vocoder, voice: Path, language: str) -> None:
    """Refuse a voice of other units than the model's, or of several streams."""
    block = lm.vocabulary.block_of[language_row(lm.vocabulary, language)]
    if units_of_block(lm.vocabulary, block) != units_hash(voice):
        raise UserError(f"{voice}: speaks other units than {language} has in the model; train both on one phase 1")
    if vocoder.config["derived"]["n_streams"] > 1:
        raise UserError(f"{voice}: speaks several streams of units, the model draws one; use a voice of --n_streams 1")


def hear_prompt(args: argparse.Namespace) -> tuple[np.ndarray, Prompt]:
    """The recording, or its beginning, and its units and pitch."""
    waveform = read_recording(args.recording, keep_level=args.keep_level)
    if args.prompt_seconds is not None:
        waveform = waveform[: frames_to_samples(max(1, round(args.prompt_seconds * UNIT_RATE)))]
    frames = open_ears(args.voice, args.device)(waveform)[:, 0]
    return waveform, make_prompt(frames, extract_f0(waveform))


def speak_on(
    args: argparse.Namespace, lm: UnitLM, vocoder: Vocoder, prosody: Prosody, *, language: str, prompt: Prompt
) -> tuple[list[Continuation], list[np.ndarray]]:
    """Each continuation as a row and as a waveform (S,) with the prompt before it."""
    sampling = Sampling(args.temperature, args.top_p, args.seed)
    items, rows = [], []
    for number in range(1, args.n_samples + 1):
        drawn = draw(lm, language, prompt, sampling, sample=number, seconds=args.seconds)
        timed = time_units(prosody, prompt, drawn, args.seconds, args.speaker)
        name = f"continuation_{number:02d}"
        items.append(as_spoken(name, prosody, prompt, timed, args.speaker))
        rows.append(describe_continuation(number, f"{name}.wav", prompt, timed))
    return rows, [waveform for _, waveform in synthesize_utterances(vocoder, items)]


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    configure_log()
    with only_run(args.out):
        continue_all(args)


def continue_all(args: argparse.Namespace) -> None:
    """From a prompt to the page that plays its continuations."""
    labels = read_labels(args.page_language, "continuation")
    lm = load_unit_lm(args.exp, args.checkpoint, args.device)
    vocoder = load_voice(args.voice, device=args.device)
    language = args.language or lm.vocabulary.languages[0]
    check_voice(lm, vocoder, args.voice, language)
    prosody = open_prosody(args.prosody, args.voice, args.device)
    recorded, prompt = hear_prompt(args)
    rows, waveforms = speak_on(args, lm, vocoder, prosody, language=language, prompt=prompt)
    for row, waveform in zip(rows, waveforms):
        save_audio(args.out / row["audio"], waveform)
    result = describe_result(args, lm, language, rows)
    write_json(args.out / "continuations.json", result)
    alone = [continuation_alone(waveform, prompt) for waveform in waveforms]
    page = build_continuation_page(result, recorded, list(zip(waveforms, alone)), labels)
    write_text(args.out / "continuations.html", page)
    log.info(
        "wrote %s: %d continuations, %.1f s in all, %d with loops; open continuations.html",
        args.out,
        len(rows),
        sum(row["seconds"] for row in rows),
        result["n_with_loops"],
    )


def describe_result(
    args: argparse.Namespace, lm: UnitLM, language: str, rows: list[Continuation]
) -> ContinuationResult:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "recording": args.recording.name,
        "language": language,
        "model": args.exp.resolve().name,
        "step": lm.step,
        "voice": args.voice.resolve().name,
        "seed": args.seed,
        "temperature": args.temperature,
        "top_p": args.top_p,
        "longest_seconds": args.seconds,
        "n_with_loops": sum(bool(row["loops"]) for row in rows),
        "samples": rows,
    }


if __name__ == "__main__":
    run_main(main)
