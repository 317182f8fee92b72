"""Transcribe recordings of any length with a trained speech LLM, with times.

Reads a trained model and recordings; prints the texts, or writes them to --out.

    python src/transcribe.py --model exp/x a.mp3 b.wav
    python src/transcribe.py --model exp/x interview.mp3 --out interview.srt
    python src/transcribe.py --model exp/x recordings/ --out transcripts.tsv
    python src/transcribe.py --model exp/x recordings/ --out subtitles/ --format vtt
    python src/transcribe.py --model exp/x data/x/raw --corrected data/x --out to_correct/ --format eaf --least_sure 10

Recordings are cut at their pauses first. With --out, every text is kept at once: a killed command that is started again
continues. Recordings that cannot be read are named at the end, the others are transcribed, and the exit code is 3.

More: docs/speech_llm.md.
"""

import core.quiet_start

import argparse
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.device import choose_device
from core.errors import UserError
from core.exit_codes import EXIT_SOME_FAILED, EXIT_STOPPED
from core.files import hash_files
from core.locks import only_run
from core.records import TranscriptLine
from segmentation.pauses import MIN_SEGMENT_DURATION
from segmentation.recordings import find_sources, name_stems
from speech_llm.correction_queue import keep_corrected, queue_of, rank_least_sure, read_corrected
from speech_llm.decoding import DECODING_FLAGS
from speech_llm.long_transcription import RecordingPlan, Transcriber, plan_recordings, transcribe_recordings
from speech_llm.subtitles import (
    FORMATS,
    RATED_FORMATS,
    SUFFIXES,
    TABLE_FORMATS,
    WORD_FORMATS,
    render_tsv,
    write_transcript,
)
from training.resuming import catch_stop_signals

BATCHES_PER_GROUP = 4  # that are sorted by length together
MAX_PIECE_SECONDS = 30.0  # Whisper's window
JOURNAL_SUFFIX = ".partial"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    what = parser.add_argument_group("what to transcribe")
    what.add_argument("recordings", nargs="+", type=Path, help="audio files of any format and length, folders of them")
    what.add_argument(
        "--model", type=Path, required=True, help="experiment folder of src/trainer_base.py, or a saved model"
    )
    add_output_flags(parser.add_argument_group("output"))
    add_cutting_flags(parser.add_argument_group("where to cut"))
    add_decoding_flags(parser.add_argument_group("decoding (by default as the model was trained to)"))
    add_machine_flags(parser.add_argument_group("machine"))
    args = parse_flags(parser, argv)
    check_args(args)
    return args


def add_output_flags(out: argparse._ArgumentGroup) -> None:
    out.add_argument(
        "--out",
        type=Path,
        default=None,
        help="FILE.json or FILE.tsv (the columns of transcripts.tsv) for any number of recordings, FILE.srt, .vtt, "
        ".eaf (ELAN) or .TextGrid (Praat) for one, or a folder that gets a file for each; without it, the table goes "
        "to the screen",
    )
    out.add_argument("--format", choices=FORMATS, type=str.lower, default=None, help="of the files in a folder (srt)")
    out.add_argument("--words", action="store_true", help="when each word is said, by alignment to the CTC head")
    out.add_argument("--confidence", action="store_true", help="how sure the model is of each line, 0 to 1")
    out.add_argument(
        "--least_sure",
        type=float,
        default=None,
        metavar="MINUTES",
        help="choose so much speech to correct, of the lines the model is least sure of: a table holds them alone, "
        "least sure first; ELAN and Praat get them on the tier 'transcription', and the others as drafts",
    )
    out.add_argument(
        "--corrected",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="a prepared language (data/guarani), or annotation files corrected before: texts that are there stay, "
        "and are not asked for again",
    )
    out.add_argument("--overwrite", action="store_true", help="replace files that exist already")


def add_cutting_flags(cutting: argparse._ArgumentGroup) -> None:
    cutting.add_argument(
        "--max_duration",
        type=float,
        default=MAX_PIECE_SECONDS,
        help=f"longest piece heard at once, seconds ({MAX_PIECE_SECONDS:.0f}: Whisper's window)",
    )
    cutting.add_argument("--min_pause", type=float, default=0.4, help="shortest pause to cut at, seconds (0.4)")


def add_decoding_flags(decoding: argparse._ArgumentGroup) -> None:
    decoding.add_argument(
        "--decoder", choices=("llm", "ctc", "joint"), default=None, help="what writes: LLM, CTC, both"
    )
    decoding.add_argument("--num_beams", type=int, default=None, help="beams; 1 is greedy (joint: 8)")
    decoding.add_argument(
        "--ctc_weight", type=float, default=None, help="share of the CTC head in joint scores, 0 to 1"
    )
    decoding.add_argument(
        "--ctc_temperature", type=float, default=None, help="of the CTC head in joint scores; above 1: it is too sure"
    )
    decoding.add_argument(
        "--character_bonus", type=float, default=None, help="nats a character in joint scores: more misses fewer words"
    )
    decoding.add_argument(
        "--look_ahead", type=float, default=None, help="of joint scores: above 0 favours texts that do not stall"
    )
    decoding.add_argument(
        "--mend",
        action="store_true",
        default=None,
        help="try words of the head's reading, and other tokens, in the text of joint decoding",
    )
    decoding.add_argument("--no_mend", dest="mend", action="store_false", default=None, help="do not")
    decoding.add_argument("--length_penalty", type=float, default=None, help="above 0 favours longer texts of a beam")


def add_machine_flags(machine: argparse._ArgumentGroup) -> None:
    machine.add_argument("--batch_size", type=int, default=8, help="pieces at a time (8)")
    machine.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, or auto: a GPU where there is one")
    machine.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="of frozen models; auto = bf16 if fast",
    )


def check_args(args: argparse.Namespace) -> None:
    require_positive(args, "batch_size", "num_beams", "min_pause")
    if args.max_duration <= 2 * MIN_SEGMENT_DURATION:
        raise UserError(f"--max_duration {args.max_duration}: expected over {2 * MIN_SEGMENT_DURATION} seconds")
    check_contents(args)
    if args.format and (args.out is None or is_file(args.out)):
        raise UserError(f"--format {args.format} names the files of a folder: give --out FOLDER")
    if args.out is None:
        return
    if is_file(args.out) and kind_of(args.out) not in FORMATS:
        raise UserError(f"--out {args.out}: expected one of {', '.join('.' + kind for kind in FORMATS)}, or a folder")
    if is_file(args.out) and args.out.exists() and not args.overwrite:
        raise UserError(f"--out {args.out}: exists already; --overwrite replaces it")


def check_contents(args: argparse.Namespace) -> None:
    """Words and confidences go where a format holds them; a queue needs confidences."""
    require_positive(args, "least_sure")
    args.confidence |= args.least_sure is not None
    kind = written_kind(args.out, args.format)
    for flag, wanted, formats in (("words", args.words, WORD_FORMATS), ("confidence", args.confidence, RATED_FORMATS)):
        if wanted and kind not in formats:
            raise UserError(f"--{flag}: {kind} does not hold it; give --out or --format one of {', '.join(formats)}")


def written_kind(out: Path | None, kind: str | None) -> str:
    """The format that is written: the screen gets a table, a folder ``kind``."""
    if out is None:
        return "tsv"
    return kind_of(out) if is_file(out) else kind or "srt"


def is_file(out: Path) -> bool:
    """A name with a suffix is a file, unless a folder of this name is there."""
    return bool(out.suffix) and not out.is_dir()


def kind_of(out: Path) -> str:
    return out.suffix.lower().removeprefix(".")


def plan_outputs(
    out: Path | None, kind: str | None, sources: dict[str, Path], *, overwrite: bool
) -> dict[Path, list[str]]:
    """{file to write: the sources in it}; refuses what would be lost or cannot be written.

    kind: suffix of the files in a folder.
    """
    if out is None:
        return {}
    if is_file(out):
        if len(sources) > 1 and kind_of(out) not in TABLE_FORMATS:
            raise UserError(
                f"--out {out}: subtitles are of one recording, found {len(sources)}; give --out FOLDER --format "
                f"{kind_of(out)}, or a .tsv or .json file for all"
            )
        return {out: list(sources)}
    stems = name_stems(sources)
    suffix = SUFFIXES.get(kind, kind or "srt")
    outputs = {out / f"{stems[source]}.{suffix}": [source] for source in sources}
    existing = [str(path) for path in outputs if path.exists()]
    if existing and not overwrite:
        raise UserError(f"{existing[0]}: exists already, and {len(existing) - 1} more; --overwrite replaces them")
    return outputs


def describe_settings(args: argparse.Namespace) -> dict[str, object]:
    """What the texts depend on: a journal of other settings is not continued."""
    from speech_llm.saved_model import find_saved

    folder = find_saved(args.model)
    names = ("max_duration", "min_pause", "precision", *DECODING_FLAGS)
    files = [folder / "config.json", folder / "model.safetensors"]
    named = {name: getattr(args, name) for name in (*names, "words", "confidence")}
    return {"model": hash_files(files)} | named


def load_transcriber(args: argparse.Namespace) -> Transcriber:
    """(S,) waveforms -> what is heard, by the model of ``--model``."""
    from speech_llm.saved_model import load_speech_llm, transcribe, transcribe_with_times

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    speech_llm = load_speech_llm(args.model, device=args.device, precision=args.precision)
    if speech_llm.encoder is None:
        raise UserError(f"{args.model}: reads units, not audio; use src/trainer_base.py --do_generate on a data folder")
    options = {name: getattr(args, name) for name in DECODING_FLAGS if getattr(args, name) is not None}
    if args.words and speech_llm.model.ctc is None:
        raise UserError(f"--words: {args.model} has no CTC head, which hears when a letter is said; leave it out")
    options["batch_size"] = args.batch_size
    if not (args.words or args.confidence):
        return lambda waveforms: transcribe(speech_llm, waveforms, **options)
    contents = {"timed": args.words, "rated": args.confidence}
    return lambda waveforms: transcribe_with_times(speech_llm, waveforms, **contents, **options)


def journal_of(out: Path) -> Path:
    return out.with_name(out.name + JOURNAL_SUFFIX) if is_file(out) else out / JOURNAL_SUFFIX


def write_outputs(
    outputs: dict[Path, list[str]],
    lines: list[TranscriptLine],
    failed: dict[str, str],
    media: Mapping[str, Path] | None = None,
) -> None:
    """Write every file that has a source that did not fail; ``media``: the recording of each source."""
    for path, sources in outputs.items():
        kept = [source for source in sources if source not in failed]
        own = [line for line in lines if line["source"] in kept]
        # A queue has no file for a recording of which it asks nothing: its texts, if any, stay where they are.
        asked = any(line.get("rank", 1) for line in own)
        if kept and (asked or not own):
            write_transcript(path, own, kind_of(path), (media or {}).get(kept[0]))


def choose_lines(lines: list[TranscriptLine], minutes: float | None, kind: str) -> list[TranscriptLine]:
    """With --least_sure: the lines with their ranks, and in a table the ranked ones alone."""
    if minutes is None or not lines:
        return lines
    ranked = rank_least_sure(lines, minutes)
    return queue_of(ranked) if kind in TABLE_FORMATS else ranked


def report(plans: dict[str, RecordingPlan], failed: dict[str, str], n_pieces: int, out: Path | None) -> None:
    for source, plan in plans.items():
        for note in plan.notes:
            print(f"{source}: {note}", file=sys.stderr)
    for source, reason in failed.items():
        print(f"failed: {source}: {reason}", file=sys.stderr)
    n_done = len(plans.keys() - failed.keys())
    where = f"; wrote {out}" if out else ""
    print(f"{n_done} of {len(plans.keys() | failed.keys())} recordings, {n_pieces} pieces{where}", file=sys.stderr)


def main() -> int:
    args = parse_args()
    with only_run(args.out) if args.out else contextlib.nullcontext():
        return transcribe_all(args)


def transcribe_all(args: argparse.Namespace) -> int:
    args.device = choose_device(args.device)
    sources = find_sources(args.recordings)
    outputs = plan_outputs(args.out, args.format, sources, overwrite=args.overwrite)
    settings, transcriber = describe_settings(args), load_transcriber(args)
    plans, failed = plan_recordings(sources, max_duration=args.max_duration, min_pause=args.min_pause)
    journal = journal_of(args.out) if args.out else None
    stopped = catch_stop_signals()
    lines, given_up = transcribe_recordings(
        transcriber, plans, journal, settings, group_size=BATCHES_PER_GROUP * args.batch_size, stopped=stopped
    )
    if stopped:
        print("stopped; the same command continues from here" if journal else "stopped", file=sys.stderr)
        return EXIT_STOPPED
    failed |= given_up
    if args.corrected:
        lines = keep_corrected(lines, read_corrected(sources, args.corrected))
    lines = choose_lines(lines, args.least_sure, written_kind(args.out, args.format))
    if args.out is None:
        sys.stdout.write(render_tsv(lines))
    write_outputs(outputs, lines, failed, sources)
    if journal:
        journal.unlink(missing_ok=True)
    report(plans, failed, len(lines), args.out)
    return EXIT_SOME_FAILED if failed else 0


if __name__ == "__main__":
    run_main(main)
