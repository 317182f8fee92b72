"""Lay a known text onto long recordings: when is each verse and each word said?

Reads recordings and the text that is read in them; writes times for ELAN, Praat and subtitles, and training data.

    python src/align_text.py --text mark.txt mark.mp3 --whisper openai/whisper-base --language es --out mark
    python src/align_text.py --text mark.usfm mark.mp3 --model exp/x --out mark
    python src/align_text.py --text texts/ recordings/ --model exp/x --out aligned

The text is plain lines (a verse or sentence each, with or without its number) or USFM. In a folder, a text belongs to
the recording of its name: mark_01.txt to mark_01.mp3. What hears is the CTC head of a speech LLM that was trained on
the language, or Whisper for any language near to one that it knows.

Words that nobody says, speech that is not in the text, and unsure lines are named, and written to alignment.json. Where
hardly any of a text is said, it is taken for the wrong page: the exit code is 3, and training gets none of it.

A killed command that is started again goes on where it was. More: docs/alignment.md.
"""

import core.quiet_start

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from alignment.align_recording import HEAD_SCALE, WHISPER_SCALE, Heard, Scale, align, hear_by_head, hear_by_reading
from alignment.columns import COLUMNS_VERSION
from alignment.head_emissions import fill_emissions, open_emissions
from alignment.known_text import TextLine, read_lines
from alignment.outputs import FORMATS, render_report, trained_rows, write_tiers, write_transcripts
from alignment.whisper_readings import listen_eagerly, read_recording
from audio.audio_io import stream_audio
from core.cli import HELP_FORMATTER, parse_flags, require_positive, require_share, run_main
from core.composed_names import composed
from core.device import choose_device
from core.errors import UserError
from core.exit_codes import EXIT_SOME_FAILED, EXIT_STOPPED
from core.files import hash_files, write_json
from core.frames import SAMPLE_RATE, UNIT_RATE
from core.locks import left_as_found, only_run
from core.output_folder import claim_folder, drop_earlier
from core.records import Alignment
from segmentation.pauses import measure_levels
from segmentation.recordings import find_sources, name_stems
from speech_llm.character_head import load_character_head
from speech_llm.saved_model import find_saved
from training.resuming import catch_stop_signals

TEXT_SUFFIXES = (".txt", ".usfm", ".sfm", ".tsv")
# (recording, lines of its text, file for what was heard, seconds) -> what is heard; None where the run is to stop.
Hear = Callable[[Path, Sequence[TextLine], Path, float], Heard | None]


class Listener(NamedTuple):
    """What hears, and how its confidence is read."""

    name: str
    hear: Hear
    scale: Scale


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    what = parser.add_argument_group("what to align")
    what.add_argument("recordings", nargs="+", type=Path, help="audio files of any format and length, folders of them")
    what.add_argument(
        "--text", type=Path, required=True, help="what is read: a file, or a folder with a file for each recording"
    )
    what.add_argument("--spoken_headings", action="store_true", help="headings (\\s, #) are read aloud too")
    who = parser.add_argument_group("what hears (one of the two)")
    who.add_argument("--model", type=Path, default=None, help="experiment of src/trainer_base.py with a CTC head")
    who.add_argument("--whisper", default=None, metavar="FOLDER", help="a Whisper, by folder or hub id")
    who.add_argument("--language", default=None, help="for --whisper: the language's code, or of one that sounds alike")
    out = parser.add_argument_group("output")
    out.add_argument("--out", type=Path, required=True, help="folder for alignment.json, transcripts.tsv and the rest")
    out.add_argument("--format", nargs="*", choices=FORMATS, type=str.lower, default=list(FORMATS), help="default: all")
    out.add_argument(
        "--min_confidence",
        type=float,
        default=None,
        help="for transcripts.tsv: least confidence of a line, 0 to 1; default: as measured for what hears",
    )
    out.add_argument("--overwrite", action="store_true", help="replace an alignment that is there already")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--batch_size", type=int, default=2, help="windows of 22 s at a time, for --model")
    machine.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, or auto: a GPU where there is one")
    machine.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of frozen models")
    args = parse_flags(parser, argv)
    check_args(args)
    return args


def check_args(args: argparse.Namespace) -> None:
    require_positive(args, "batch_size")
    if args.min_confidence is not None:
        require_share(args, "min_confidence")
    if (args.model is None) == (args.whisper is None):
        raise UserError("expected one of --model EXPERIMENT and --whisper FOLDER: what shall hear the recordings?")
    if args.model is not None and args.language is not None:
        raise UserError("--language: is for --whisper; a model of --model knows its language")
    if args.whisper is not None and args.language is None:
        raise UserError("--whisper: give --language too, the code of the language, or of one that sounds alike (es)")
    if (args.out / "alignment.json").exists() and not args.overwrite:
        raise UserError(f"{args.out / 'alignment.json'}: exists already; --overwrite replaces it")


def pair_texts(sources: Mapping[str, Path], text: Path) -> dict[str, Path]:
    """Recording -> its text, by name; UserError for what has none, or could have two."""
    if not text.exists():
        raise UserError(f"--text {text}: expected a text file or a folder of them, found nothing; check the path")
    if text.is_file():
        if len(sources) > 1:
            raise UserError(
                f"--text {text}: is one text, found {len(sources)} recordings; give a folder with a text for each"
            )
        return dict.fromkeys(sources, text)
    files = [path for path in sorted(text.rglob("*")) if path.suffix.lower() in TEXT_SUFFIXES and path.is_file()]
    by_name: dict[str, list[Path]] = {}
    for path in files:
        by_name.setdefault(_key(path), []).append(path)
    found = {source: by_name.get(_key(Path(source)), []) for source in sources}
    if twice := next((paths for paths in found.values() if len(paths) > 1), None):
        raise UserError(f"{twice[0]} and {twice[1]}: belong to the same recording; leave one of them")
    missing = [source for source, paths in found.items() if not paths]
    if missing:
        kinds = ", ".join(TEXT_SUFFIXES)
        raise UserError(
            f"--text {text}: expected {Path(missing[0]).stem}.txt ({kinds}) for {missing[0]}, found none, "
            f"and so for {len(missing) - 1} more; name each text as its recording"
        )
    return {source: paths[0] for source, paths in found.items()}


def _key(path: Path) -> str:
    return composed(path.stem).casefold()


def read_texts(texts: Mapping[str, Path], *, spoken_headings: bool) -> tuple[dict[str, list[TextLine]], dict[str, str]]:
    """(recording -> lines of its text, recording -> why its text cannot be read): said before anything is heard.

    Raises UserError where none can be read.
    """
    lines, failed = {}, {}
    for source, text in texts.items():
        try:
            lines[source] = read_lines(text, spoken_headings=spoken_headings)
        except UserError as error:
            failed[source] = str(error)
    if not lines:
        raise UserError("; ".join(dict.fromkeys(failed.values())))
    for reason in failed.values():
        print(f"left out: {reason}", file=sys.stderr)
    return lines, failed


def load_listener(args: argparse.Namespace, stopped: Sequence[int]) -> Listener:
    """The model of --model or --whisper."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if args.model is not None:
        head = load_character_head(args.model, device=args.device, precision=args.precision)
        folder = find_saved(args.model)
        made_by = hash_files([folder / "config.json", folder / "model.safetensors"])
        identity = {"model": made_by, "precision": args.precision, "columns": COLUMNS_VERSION}
        hear = partial(hear_head, head=head, identity=identity, batch_size=args.batch_size, stopped=stopped)
        return Listener(str(args.model), hear, HEAD_SCALE)
    from evaluation.asr import load_asr

    asr = listen_eagerly(load_asr(args.whisper, language=args.language, device=args.device, dtype=args.precision))
    hear = partial(hear_whisper, asr=asr, identity={"model": asr.fingerprint}, stopped=stopped)
    return Listener(f"{args.whisper} ({args.language})", hear, WHISPER_SCALE)


def hear_head(
    recording: Path, lines: Sequence[TextLine], scratch: Path, seconds: float, *, head, identity, batch_size, stopped
) -> Heard | None:
    """By the CTC head; posteriors are kept on ``scratch``.f16."""
    path, model = scratch.with_name(f"{scratch.name}.f16"), head.model
    options = {"batch_size": batch_size, "stopped": stopped}
    parts = fill_emissions(path, identity | stamp(recording), stream_audio(recording), head, **options)
    with show_progress(f"hearing {recording.name}", seconds) as progress:
        for n_samples in parts:
            progress.update(n_samples / SAMPLE_RATE)
    if stopped:
        return None
    return hear_by_head(open_emissions(path)[0], model.characters, model.connector.factor / UNIT_RATE, lines)


def hear_whisper(
    recording: Path, lines: Sequence[TextLine], scratch: Path, seconds: float, *, asr, identity, stopped
) -> Heard | None:
    """By Whisper's reading, which is kept on ``scratch``.jsonl."""
    journal = scratch.with_name(f"{scratch.name}.jsonl")
    parts = read_recording(asr, stream_audio(recording), journal, identity | stamp(recording), stopped=stopped)
    windows = []
    with show_progress(f"reading {recording.name}", seconds) as progress:
        for window in parts:
            windows.append(window)
            progress.update(window["end"] - window["start"])
    return None if stopped else hear_by_reading(windows, lines, scratch.with_name(f"{scratch.name}.reading"))


def show_progress(what: str, seconds: float) -> tqdm:
    """A bar over the seconds of a recording, with the time left."""
    form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of speech [{elapsed}<{remaining}]"
    return tqdm(total=seconds, desc=what, disable=None, bar_format=form)


def stamp(recording: Path) -> dict[str, object]:
    status = os.stat(recording)
    return {"recording": recording.name, "bytes": status.st_size, "changed": status.st_mtime_ns}


def align_recording(
    source: str, recording: Path, lines: Sequence[TextLine], listener: Listener, scratch: Path
) -> Alignment | None:
    """The alignment of one recording; None where the run is to stop."""
    levels, _, n_samples = measure_levels(stream_audio(recording))
    if not n_samples:
        raise UserError(f"{recording}: holds no audio; copy it again")
    heard = listener.hear(recording, lines, scratch, n_samples / SAMPLE_RATE)
    if heard is None:
        return None
    return align(source, heard, levels, listener.scale) | {"recogniser": listener.name}


def write_outputs(
    out: Path, alignments: Sequence[Alignment], sources: Mapping[str, Path], formats: Sequence[str], sure: float
) -> int:
    """All files of a run; returns how many lines are ready for training."""
    stems = name_stems(sources)
    rows, tiers = [], []
    for alignment in alignments:
        source = alignment["source"]
        tiers += write_tiers(out, stems[source], alignment, sources[source], formats)
        rows += trained_rows(alignment, sure)
        link_recording(out / "raw" / source, sources[source])
    write_transcripts(out / "transcripts.tsv", rows)
    write_json(out / "alignment.json", {"recordings": list(alignments)})
    drop_earlier(out, tiers)
    return len(rows)


def link_recording(link: Path, recording: Path) -> None:
    """So that --out is a folder of data for the recipes and for src/trainer_base.py."""
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(recording.resolve())


def main() -> int:
    args = parse_args()
    with left_as_found(args.out):
        claim_folder(args.out)
        with only_run(args.out):
            return align_all(args)


def align_all(args: argparse.Namespace) -> int:
    """Every recording and its text, to the files in --out; returns the exit code."""
    args.device = choose_device(args.device)
    sources = find_sources(args.recordings)
    texts = pair_texts(sources, args.text)
    lines, failed = read_texts(texts, spoken_headings=args.spoken_headings)
    stopped = catch_stop_signals()
    listener = load_listener(args, stopped)
    stems, found = name_stems(sources), []
    for source in lines:
        scratch = args.out / "heard" / stems[source]
        try:
            one = align_recording(source, sources[source], lines[source], listener, scratch)
        except (UserError, OSError) as error:
            failed[source] = str(error)
            continue
        if one is None:
            print("stopped; the same command continues from here", file=sys.stderr)
            return EXIT_STOPPED
        found.append(one | {"text_file": texts[source].name})
        print(render_report(one))
    for reason in failed.values():
        print(f"failed: {reason}", file=sys.stderr)
    if not found:
        raise UserError("none of the recordings could be aligned")
    sure = listener.scale.sure if args.min_confidence is None else args.min_confidence
    n_rows = write_outputs(args.out, found, sources, args.format, sure)
    print(f"{len(found)} of {len(sources)} recordings; {n_rows} lines ready for training; wrote {args.out}")
    wrong = any(one["summary"]["wrong_page"] for one in found)
    return EXIT_SOME_FAILED if failed or wrong else 0


if __name__ == "__main__":
    run_main(main)
