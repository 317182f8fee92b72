"""Transcribe recordings of any length with a trained speech LLM, with times.

Reads a trained model and recordings; prints the texts, or writes them to --out.

    python src/transcribe.py --model exp/x a.mp3 b.wav
    python src/transcribe.py --model exp/x interview.mp3 --out interview.srt
    python src/transcribe.py --model exp/x recordings/ --out transcripts.tsv
    python src/transcribe.py --model exp/x recordings/ --out subtitles/ --format vtt

Recordings are cut at their pauses first. With --out, every text is kept at once: a killed command that is started again
continues. Recordings that cannot be read are named at the end, the others are transcribed, and the exit code is 3.

More: docs/speech_llm.md.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from core.exit_codes import EXIT_SOME_FAILED, EXIT_STOPPED
from core.files import hash_files
from core.records import TranscriptLine
from segmentation.pauses import MIN_SEGMENT_DURATION
from segmentation.recordings import find_sources, name_stems
from speech_llm.decoding import DECODING_FLAGS
from speech_llm.long_transcription import RecordingPlan, Transcriber, plan_recordings, transcribe_recordings
from speech_llm.subtitles import FORMATS, TABLE_FORMATS, render_tsv, write_transcript
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
        help="FILE.json or FILE.tsv (the columns of transcripts.tsv) for any number of recordings, FILE.srt or "
        "FILE.vtt for one, or a folder that gets a file for each; without it, the table goes to the screen",
    )
    out.add_argument("--format", choices=FORMATS, default=None, help="of the files in a folder (srt)")
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
        "--character_bonus", type=float, default=None, help="nats a character in joint scores: more misses fewer words"
    )
    decoding.add_argument("--length_penalty", type=float, default=None, help="above 0 favours longer texts of a beam")


def add_machine_flags(machine: argparse._ArgumentGroup) -> None:
    machine.add_argument("--batch_size", type=int, default=8, help="pieces at a time (8)")
    machine.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1 (cpu)")
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
    if args.format and (args.out is None or is_file(args.out)):
        raise UserError(f"--format {args.format} names the files of a folder: give --out FOLDER")
    if args.out is None:
        return
    if is_file(args.out) and kind_of(args.out) not in FORMATS:
        raise UserError(f"--out {args.out}: expected one of {', '.join('.' + kind for kind in FORMATS)}, or a folder")
    if is_file(args.out) and args.out.exists() and not args.overwrite:
        raise UserError(f"--out {args.out}: exists already; --overwrite replaces it")


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
    outputs = {out / f"{stems[source]}.{kind or 'srt'}": [source] for source in sources}
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
    return {"model": hash_files(files)} | {name: getattr(args, name) for name in names}


def load_transcriber(args: argparse.Namespace) -> Transcriber:
    """(S,) waveforms -> texts, by the model of ``--model``."""
    from speech_llm.saved_model import load_speech_llm, transcribe

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    speech_llm = load_speech_llm(args.model, device=args.device, precision=args.precision)
    if speech_llm.encoder is None:
        raise UserError(f"{args.model}: reads units, not audio; use src/trainer_base.py --do_generate on a data folder")
    options = {name: getattr(args, name) for name in DECODING_FLAGS if getattr(args, name) is not None}
    return lambda waveforms: transcribe(speech_llm, waveforms, batch_size=args.batch_size, **options)


def journal_of(out: Path) -> Path:
    return out.with_name(out.name + JOURNAL_SUFFIX) if is_file(out) else out / JOURNAL_SUFFIX


def write_outputs(outputs: dict[Path, list[str]], lines: list[TranscriptLine], failed: dict[str, str]) -> None:
    """Write every file that has a source that did not fail."""
    for path, sources in outputs.items():
        kept = [source for source in sources if source not in failed]
        if kept:
            write_transcript(path, [line for line in lines if line["source"] in kept], kind_of(path))


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
    if args.out is None:
        sys.stdout.write(render_tsv(lines))
    write_outputs(outputs, lines, failed)
    if journal:
        journal.unlink(missing_ok=True)
    report(plans, failed, len(lines), args.out)
    return EXIT_SOME_FAILED if failed else 0


if __name__ == "__main__":
    run_main(main)
