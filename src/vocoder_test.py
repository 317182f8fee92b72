"""Score vocoders on the test split: how close, how intelligible and how natural their voice is.

Reads a trained voice and its test split: each utterance is spoken from its units and its own F0, and compared with the
recording. Writes the audio of both sides to exp/<name>/test/ and every number to exp/<name>/scores.json, and prints a
table with bootstrap 95 % intervals.

    python src/vocoder_test.py --exp exp/spanish_vocoder_v4

With --pairs, two folders of audio from anywhere are compared instead. More: docs/phase3.md.
"""

import core.quiet_start

import argparse
import functools
import os
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tqdm import tqdm

from audio.audio_io import load_audio, save_audio
from audio.pitch import fill_f0_cache, kept_f0
from core.cli import HELP_FORMATTER, parse_flags, require_not_negative, require_positive, run_main, says_next
from core.commands import as_typed
from core.device import choose_device
from core.errors import UserError
from core.exit_codes import EXIT_SOME_FAILED
from core.files import hash_files, read_json, write_json
from core.frames import HOP_SAMPLES, frames_to_samples
from core.locks import only_run
from core.records import UnitsRow, UtteranceScore, VocoderScores
from encoders.speaker_vectors import known_speaker_vector
from evaluation.asr import Recogniser, load_asr
from evaluation.judges import NO_CACHES, Caches, Pair, add_mos, add_readings, settle_on_originals
from evaluation.mos import MosJudge, load_mos_judge
from evaluation.readings import list_unread, name_reading_problems
from evaluation.scores import compare, format_table, summarise
from evaluation.signal_scores import score_files, score_readable
from languages import command_for, command_for_folder, find_config, resolve_in
from segmentation.folder_survey import describe_ignored, survey_folder
from segmentation.recordings import refuse_repeated
from training.checkpoints import say_no_checkpoint
from training.experiment import require_finished
from units.corpus import frame_units, read_corpus
from units.phase1_inputs import Phase1Inputs, find_inputs
from units.requests import SpokenItem
from units.selection import Selection, is_of, is_selected, read_selection
from vocoder.batches import mel_frames
from vocoder.generators import Vocoder, load_vocoder
from vocoder.synthesis import synthesize_utterances

MAX_FAILED = 5.0  # per cent
DEFINITIONS_VERSION = 3  # raise it where a metric's definition changes: old scores are then computed anew


class Judges(NamedTuple):
    """What listens, each loaded at its first use; None where it was not asked for."""

    asr: Callable[[str | None], Recogniser] | None  # of a language
    mos: Callable[[], MosJudge] | None


class Place(NamedTuple):
    """Where an experiment's inputs lie, and what its scores depend on."""

    inputs: Phase1Inputs
    condition: str  # what the generator is fed: units or logmel
    asr_language: str | None
    identity: dict[str, object]
    selection: Selection  # what the voice was trained on, and is scored on


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_choice_flags(parser)
    add_judge_flags(parser)
    group = parser.add_argument_group("execution")
    group.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    group.add_argument("--batch_size", type=int, default=8, help="windows of 30 s that Whisper hears at once")
    group.add_argument("--num_workers", type=int, help="processes for the signal metrics; by default one a core")
    args = parse_flags(parser, argv)
    check_flags(args)
    return args


def add_choice_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to score")
    group.add_argument("--exp", type=Path, nargs="+", help="vocoder experiments; each one is compared with the first")
    group.add_argument(
        "--pairs", type=Path, nargs=2, metavar=("ORIGINAL_DIR", "RESYNTHESIS_DIR"), help="any two folders"
    )
    group.add_argument("--out", type=Path, help="with --pairs: JSON file for the scores (printed only where left out)")
    group.add_argument(
        "--max_failed",
        type=float,
        help=f"with --pairs: per cent of the pairs that may be unreadable before exit code 3 ({MAX_FAILED:g})",
    )
    group.add_argument(
        "--split", default="test", choices=("test", "val", "train"), help="split of the corpus to score on"
    )
    group.add_argument("--checkpoint", default="best", choices=("best", "latest"), help="best by validation, or latest")
    group.add_argument("--max_utterances", type=int, help="score only so many utterances, spread over the split")
    group.add_argument("--allow_unfinished", action="store_true", help="score a training that has not finished yet")
    group.add_argument("--overwrite", action="store_true", help="score again where the same scores are there already")


def add_judge_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("judges")
    group.add_argument("--asr", metavar="FOLDER_OR_ID", help="a Whisper that listens to both sides, for CER and WER")
    group.add_argument(
        "--asr_language",
        help="its language, as in es; by default the language table's, else the likeliest for the originals",
    )
    group.add_argument(
        "--asr_dtype",
        default="auto",
        choices=("auto", "fp32", "bf16"),
        help="auto: bf16 where the device computes in it",
    )
    group.add_argument("--mos", action="store_true", help="predict MOS with DistillMOS (pip install distillmos)")


def check_flags(args: argparse.Namespace) -> None:
    if (args.exp is None) == (args.pairs is None):
        raise UserError("expected either --exp FOLDER [FOLDER …] or --pairs ORIGINAL_DIR RESYNTHESIS_DIR")
    if args.out and not args.pairs:
        raise UserError("--out goes with --pairs; with --exp the scores are written to exp/<name>/scores.json")
    if args.max_failed is not None and not args.pairs:
        raise UserError("--max_failed goes with --pairs; with --exp every file is the experiment's own")
    if args.asr_language and not args.asr:
        raise UserError("--asr_language needs --asr FOLDER_OR_ID")
    require_positive(args, "max_utterances", "batch_size", "num_workers")
    require_not_negative(args, "max_failed")
    args.device = choose_device(args.device)


def load_judges(args: argparse.Namespace) -> Judges:
    """The judges asked for."""
    asr, mos = None, None
    if args.asr:
        asr = functools.cache(
            lambda language: load_asr(args.asr, language=language, device=args.device, dtype=args.asr_dtype)
        )
    if args.mos:
        mos = functools.cache(lambda: load_mos_judge(args.device))
        mos()  # a missing package is said before the work, not after it
    return Judges(asr, mos)


def score_experiment(args: argparse.Namespace, exp: Path, judges: Judges) -> VocoderScores:
    """Speak and score one experiment; returns and writes the content of its scores.json."""
    place, known = locate(args, exp), exp / "scores.json"
    # A training that has not finished yet may be scored meanwhile: it writes to other files of the folder.
    with only_run(exp / "test"):
        return _score_unless_known(args, exp, judges, place, known)


def _score_unless_known(
    args: argparse.Namespace, exp: Path, judges: Judges, place: Place, known: Path
) -> VocoderScores:
    if known.exists() and not args.overwrite and (scores := read_json(known)).get("identity") == place.identity:
        print(f"{known}: already scored with these flags; --overwrite scores again")
        return scores
    vocoder = load_vocoder(exp, args.checkpoint, args.device, allow_oracle=True)
    utterances, left_out = choose_utterances(place.inputs.corpus, args.split, args.max_utterances, place.selection)
    speak_utterances(vocoder, utterances, place, exp / "test")
    files = [(item["id"], *audio_files(exp / "test", item["id"])) for item in utterances]
    rows = score_files(files, num_workers=args.num_workers)
    texts = [item.get("text") for item in utterances]
    caches = place.inputs.cache, exp / "test"
    add_naturalness(judges, rows, files, caches)
    skipped, asr = add_intelligibility(
        judges, rows, files, texts, language=place.asr_language, batch_size=args.batch_size, caches=caches
    )
    scores = {
        "exp": str(exp),
        "checkpoint": args.checkpoint,
        "step": vocoder.step,
        "split": args.split,
        **describe_rows(rows),
        "asr": asr,
        "skipped": left_out + skipped,
        "identity": place.identity,
        "utterances": rows,
    }
    write_json(known, scores)
    return scores


def describe_rows(rows: list[UtteranceScore]) -> dict[str, object]:
    """What stands at the head of scores.json: how much was scored, the means with their intervals, what is wrong."""
    seconds, problems = round(sum(row["duration"] for row in rows), 2), name_reading_problems(rows)
    return {"n_utterances": len(rows), "seconds": seconds, "metrics": summarise(rows), "problems": problems}


def locate(args: argparse.Namespace, exp: Path) -> Place:
    """Where the experiment's inputs lie, and what its scores depend on; refuses an unfinished training."""
    if not (exp / "config.json").exists():
        command = command_for_folder("run_phase3.sh", exp)
        raise UserError(f"{exp}: expected a vocoder experiment (config.json), found none; run: {command}")
    config = read_json(exp / "config.json")
    derived, selection = config["derived"], read_selection(config.get("arguments") or {})
    language, checkpoint = derived["language"], exp / "checkpoints" / f"{args.checkpoint}.pt"
    if not args.allow_unfinished:
        require_finished(exp, phase="training", command=f"bash scripts/run_phase3.sh {language}, or --allow_unfinished")
    if not checkpoint.exists():
        raise UserError(say_no_checkpoint(checkpoint, f"bash scripts/run_phase3.sh {language}"))
    inputs = find_inputs(derived)
    if not inputs.corpus.is_file():
        command = command_for("run_phase1.sh", language)
        raise UserError(f"{inputs.corpus}: expected the units {exp} was trained on, found none; run: {command}")
    asr_language = args.asr_language or find_config(language)["asr_language"]
    flags = ("split", "checkpoint", "max_utterances", "asr", "asr_dtype", "mos")
    identity = {
        "definitions": DEFINITIONS_VERSION,
        "inputs": hash_files([checkpoint, inputs.corpus]),
        **{flag: getattr(args, flag) for flag in flags},
        "asr_language": (asr_language or "likeliest") if args.asr else None,
    }
    return Place(inputs, derived.get("condition", "units"), asr_language, identity, selection)


def choose_utterances(
    corpus: Path, split: str, max_utterances: int | None, selection: Selection
) -> tuple[list[UnitsRow], list[str]]:
    """The split's selected utterances in the corpus's order, or ``max_utterances`` of them at even distances.

    Beside them, a line on the segments that are left out because they are flagged.
    """
    found = [entry for entry in read_corpus(corpus, splits={split}) if is_of(entry, selection.speakers)]
    utterances = [entry for entry in found if is_selected(entry, selection)]
    if not utterances:
        whom = f" of {' and '.join(selection.speakers)}" if selection.speakers else ""
        flagged = f"only {len(found)} flagged ones" if found else "none"
        raise UserError(
            f"{corpus}: expected utterances{whom} in split '{split}', found {flagged}; segment more recordings"
        )
    n_flagged = len(found) - len(utterances)
    left_out = [f"{n_flagged} of {len(found)} segments: flagged, as in the training"] if n_flagged else []
    return spread(utterances, max_utterances), left_out


def spread(items: list, n: int | None) -> list:
    """``n`` of the items at even distances; all of them where ``n`` is None or more than there are."""
    if n is None or n >= len(items):
        return items
    return [items[place] for place in np.linspace(0, len(items) - 1, n).round().astype(int)]


def audio_files(folder: Path, name: str) -> tuple[Path, Path]:
    """The original's and the resynthesis's WAV file of one utterance."""
    return resolve_in(folder / "original", f"{name}.wav"), resolve_in(folder / "resynthesis", f"{name}.wav")


def speak_utterances(vocoder: Vocoder, utterances: list[UnitsRow], place: Place, folder: Path) -> None:
    """Write ``folder``/original and ``folder``/resynthesis, each utterance exactly frames x 320 samples long."""
    n_frames = {item["id"]: sum(item["durations"]) for item in utterances}
    _remove_stale_audio(folder, n_frames.keys())
    recordings = [(item["id"], resolve_in(place.inputs.data_root, item["audio"])) for item in utterances]
    fill_f0_cache(place.inputs.cache, recordings)
    by_length = sorted(utterances, key=lambda item: n_frames[item["id"]])
    items = (read_item(item, vocoder, place, audio_files(folder, item["id"])[0]) for item in by_length)
    spoken = synthesize_utterances(vocoder, items)
    for name, waveform in tqdm(spoken, total=len(utterances), desc="synthesis", unit="utterance", disable=None):
        expected = frames_to_samples(n_frames[name])
        assert len(waveform) == expected, f"{name}: expected {expected} samples, the vocoder gave {len(waveform)}"
        save_audio(audio_files(folder, name)[1], waveform)


def read_item(utterance: UnitsRow, vocoder: Vocoder, place: Place, original: Path) -> SpokenItem:
    """What is spoken for an utterance; writes its recording, as long as its units, to ``original``.

    A voice that knows speakers by vectors speaks as its training knew the speaker, or as this recording sounds.
    """
    content, name = frame_units(utterance), utterance["id"]
    audio_path = resolve_in(place.inputs.data_root, utterance["audio"])
    n_frames, n_samples = len(content), frames_to_samples(len(content))
    waveform = load_audio(audio_path)[:n_samples]
    if len(waveform) < n_samples:
        raise UserError(
            f"{audio_path}: expected {n_frames} frames of {HOP_SAMPLES} samples as its units say, "
            f"found {len(waveform)} samples; rerun phase 1"
        )
    save_audio(original, waveform)
    f0 = np.array(kept_f0(place.inputs.cache, name)[:n_frames])
    if place.condition == "logmel":
        content = mel_frames(audio_path, 0, n_frames, n_frames)
    speaker = utterance.get("speaker")
    unnamed = vocoder.speaker_vectors is not None and speaker not in vocoder.speakers
    vector = known_speaker_vector(place.inputs.cache, name, audio_path) if unnamed else None
    return SpokenItem(name, content, f0, speaker, vector)


def _remove_stale_audio(folder: Path, names: Collection[str]) -> None:
    for file in [*folder.glob("original/*.wav"), *folder.glob("resynthesis/*.wav")]:
        if file.stem not in names:
            file.unlink()


def score_folders(args: argparse.Namespace, judges: Judges) -> tuple[VocoderScores, bool]:
    """Score --pairs: the files of the same name (whatever the suffix) in two folders.

    Returns the scores, and whether more pairs than --max_failed could not be read.
    """
    (originals, unreadable), (resyntheses, also) = (_files_by_name(folder) for folder in args.pairs)
    failed = unreadable | also
    names = sorted((originals.keys() & resyntheses.keys()) - failed.keys())
    if not names:
        raise UserError(f"expected files of the same names in {args.pairs[0]} and {args.pairs[1]}, found none")
    alone = sorted((originals.keys() ^ resyntheses.keys()) - failed.keys())
    files = [(name, originals[name], resyntheses[name]) for name in spread(names, args.max_utterances)]
    n_pairs = len(files) + len(failed)
    rows, found = score_readable(files, num_workers=args.num_workers)
    failed |= found
    if not rows:
        raise UserError(f"none of {len(files)} pairs can be read; the first: {next(iter(found.values()))}")
    files = [pair for pair in files if pair[0] not in failed]
    skipped = [f"{name}: cannot be read: {reason}" for name, reason in sorted(failed.items())]
    skipped += [f"{name}: in one of the folders only" for name in alone]
    add_naturalness(judges, rows, files)
    unread, asr = add_intelligibility(
        judges, rows, files, [None] * len(rows), language=args.asr_language, batch_size=args.batch_size
    )
    scores = {
        "original": str(args.pairs[0]),
        "resynthesis": str(args.pairs[1]),
        **describe_rows(rows),
        "asr": asr,
        "skipped": skipped + unread,
        "utterances": rows,
    }
    if args.out:
        write_json(args.out, scores)
    return scores, name_failures(len(failed), n_pairs, MAX_FAILED if args.max_failed is None else args.max_failed)


def name_failures(n_failed: int, n_pairs: int, max_failed: float) -> bool:
    """Say how many pairs could not be read; returns whether they are over ``max_failed`` per cent."""
    too_many = 100 * n_failed > max_failed * n_pairs
    if too_many:
        said = f"{n_failed} of {n_pairs} pairs could not be read, over --max_failed {max_failed:g} %"
        print(f"error: {said}; see 'left out'", file=sys.stderr)
    return too_many


def _files_by_name(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Name without suffix -> file, and name -> why nobody can read it."""
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder of audio, found none")
    survey = survey_folder(folder)
    if not survey.recordings:
        unreadable = [f"{name}: {reason}" for name, reason in survey.unreadable.items()][:1]
        found = unreadable or [describe_ignored(survey.ignored) or "an empty folder"]
        raise UserError(f"{folder}: expected recordings that can be read, found none ({found[0]})")
    stems = {os.path.splitext(name)[0]: path for name, path in survey.recordings.items()}
    refuse_repeated(os.path.splitext(name)[0] for name in survey.recordings)
    return stems, {os.path.splitext(name)[0]: reason for name, reason in survey.unreadable.items()}


def add_naturalness(judges: Judges, rows: list[UtteranceScore], files: list[Pair], caches: Caches = NO_CACHES) -> None:
    """Add the predicted MOS of both sides to ``rows``, where it was asked for."""
    if judges.mos:
        add_mos(judges.mos(), rows, files, caches=caches)


def add_intelligibility(
    judges: Judges,
    rows: list[UtteranceScore],
    files: list[Pair],
    texts: list[str | None],
    *,
    language: str | None,
    batch_size: int,
    caches: Caches = NO_CACHES,
) -> tuple[list[str], dict[str, str | int | None] | None]:
    """Add error rates to ``rows``, where asked for; returns what was left out, by name, and the recogniser."""
    if not judges.asr:
        return [], None
    asr = settle_on_originals(judges.asr(language), files, batch_size=batch_size)
    if asr.language != language:
        print(f"read as '{asr.language}', the likeliest for the originals; --asr_language names another")
    skipped = add_readings(asr, rows, files, texts=texts, caches=caches, batch_size=batch_size)
    heard = {"model": asr.name, "language": asr.language, "dtype": asr.dtype}
    return skipped, heard | {"n_unread_originals": len(list_unread(rows))}


def print_scores(name: str, scores: VocoderScores) -> None:
    print(f"\n{name}: {scores['n_utterances']} utterances, {scores['seconds']:.1f} s; mean [95 % interval] n")
    print(format_table(scores["metrics"]))
    skipped = scores["skipped"]
    if skipped:
        print("\n".join([f"left out ({len(skipped)}):", *(f"  {line}" for line in skipped)]))
    for problem in scores["problems"]:
        print(f"PROBLEM {problem}")


def print_differences(exps: list[Path], scores: list[VocoderScores]) -> None:
    """Each experiment minus the first, over the utterances that both have."""
    first, *others = (found["utterances"] for found in scores)
    for exp, rows in zip(exps[1:], others):
        print(f"\n{exp} minus {exps[0]}, paired; * where the 95 % interval leaves out 0")
        print(format_table(compare(rows, first), signed=True))


def main() -> int:
    args = parse_args()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    judges = load_judges(args)
    if args.pairs:
        scores, too_many = score_folders(args, judges)
        print_scores(f"{args.pairs[1]} against {args.pairs[0]}", scores)
        return EXIT_SOME_FAILED if too_many else 0
    for exp in args.exp:  # all mistakes are named before the first hour of work
        locate(args, exp)
    scores = [score_experiment(args, exp, judges) for exp in args.exp]
    for exp, found in zip(args.exp, scores):
        print_scores(f"{exp}, {found['checkpoint']} checkpoint of step {found['step']}", found)
    print_differences(args.exp, scores)
    for exp in args.exp:
        command = as_typed("python", "src/build_report.py", exp)
        coming = f"; next: {command}" if says_next() else ""
        print(f"wrote {exp}/scores.json and {exp}/test/{coming}")
    return 0


if __name__ == "__main__":
    run_main(main)
