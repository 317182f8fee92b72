"""Score vocoders on the test split: how close, how intelligible and how natural their voice is.

Each test utterance is spoken from its units and its own F0, and compared with the recording. Written: the audio of both
sides in exp/<name>/test/, every number in exp/<name>/scores.json, and a table with bootstrap 95 % intervals. With
--pairs, two folders of audio from anywhere are compared instead.
"""

import argparse
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tqdm import tqdm

from audio.audio_io import AUDIO_SUFFIXES, load_audio, save_audio
from audio.pitch import cached_f0
from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.device import choose_device
from core.errors import UserError
from core.files import hash_files, read_json, write_json
from core.frames import HOP_SAMPLES, frames_to_samples
from evaluation.asr import load_asr
from evaluation.judges import NO_CACHES, Caches, Pair, add_mos, add_readings
from evaluation.mos import load_mos_judge
from evaluation.scores import compare, format_table, summarise
from evaluation.signal_scores import score_files
from languages import LANGUAGE_CONFIGS, command_for, data_root, exp_root, resolve_in
from training.experiment import require_finished
from units.corpus import frame_units, read_corpus
from vocoder.batches import mel_frames
from vocoder.synthesis import load_vocoder, synthesize_utterances

DEFINITIONS_VERSION = 2  # raise it where a metric's definition changes: old scores are then computed anew


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    what = parser.add_argument_group("what to score")
    what.add_argument("--exp", type=Path, nargs="+", help="vocoder experiments; each one is compared with the first")
    what.add_argument(
        "--pairs", type=Path, nargs=2, metavar=("ORIGINAL_DIR", "RESYNTHESIS_DIR"), help="any two folders"
    )
    what.add_argument("--out", type=Path, help="with --pairs: JSON file for the scores (printed only where left out)")
    what.add_argument(
        "--split", default="test", choices=("test", "val", "train"), help="split of the corpus to score on"
    )
    what.add_argument("--checkpoint", default="best", choices=("best", "latest"), help="best by validation, or latest")
    what.add_argument("--max_utterances", type=int, help="score only so many utterances, spread over the split")
    what.add_argument("--allow_unfinished", action="store_true", help="score a training that has not finished yet")
    what.add_argument("--overwrite", action="store_true", help="score anew where the same scores are there already")
    judges = parser.add_argument_group("judges")
    judges.add_argument("--asr", metavar="FOLDER_OR_ID", help="a Whisper that listens to both sides, for CER and WER")
    judges.add_argument("--asr_language", help="its language, as in es; by default the language table's, else guessed")
    judges.add_argument(
        "--asr_dtype",
        default="auto",
        choices=("auto", "fp32", "bf16"),
        help="auto: bf16 where the device computes in it",
    )
    judges.add_argument("--mos", action="store_true", help="predict MOS with DistillMOS (pip install distillmos)")
    work = parser.add_argument_group("execution")
    work.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    work.add_argument("--batch_size", type=int, default=8, help="windows of 30 s that Whisper hears at once")
    work.add_argument("--num_workers", type=int, help="processes for the signal metrics; by default one a core")
    args = parse_flags(parser, argv)
    _check_flags(args)
    return args


def _check_flags(args: argparse.Namespace) -> None:
    if (args.exp is None) == (args.pairs is None):
        raise UserError("expected either --exp FOLDER [FOLDER …] or --pairs ORIGINAL_DIR RESYNTHESIS_DIR")
    if args.out and not args.pairs:
        raise UserError("--out goes with --pairs; with --exp the scores are written to exp/<name>/scores.json")
    if args.asr_language and not args.asr:
        raise UserError("--asr_language needs --asr FOLDER_OR_ID")
    require_positive(args, "max_utterances", "batch_size", "num_workers")
    args.device = choose_device(args.device)


def load_judges(args: argparse.Namespace) -> dict[str, Callable]:
    """The judges asked for, each loaded at its first use: {"asr": language -> model, "mos": () -> model}."""
    judges: dict[str, Callable] = {}
    if args.asr:
        judges["asr"] = functools.cache(
            lambda language: load_asr(args.asr, language=language, device=args.device, dtype=args.asr_dtype)
        )
    if args.mos:
        judges["mos"] = functools.cache(lambda: load_mos_judge(args.device))
        judges["mos"]()  # a missing package is said before the work, not after it
    return judges


def score_experiment(args: argparse.Namespace, exp: Path, judges: dict[str, Callable]) -> dict:
    """Speak and score one experiment; returns and writes the content of its scores.json."""
    place = locate(args, exp)
    known = exp / "scores.json"
    if known.exists() and not args.overwrite and (scores := read_json(known)).get("identity") == place["identity"]:
        print(f"{known}: already scored with these flags; --overwrite scores anew")
        return scores
    vocoder = load_vocoder(exp, args.checkpoint, args.device, allow_oracle=True)
    utterances = choose_utterances(place["corpus"], args.split, args.max_utterances)
    speak_utterances(vocoder, utterances, place, exp / "test")
    files = [(item["id"], *audio_files(exp / "test", item["id"])) for item in utterances]
    rows = score_files(files, num_workers=args.num_workers)
    texts = [item.get("text") for item in utterances]
    caches = place["cache"], exp / "test"
    skipped, asr = judge(args, judges, rows, files, texts=texts, language=place["asr_language"], caches=caches)
    scores = {
        "exp": str(exp),
        "checkpoint": args.checkpoint,
        "step": vocoder["step"],
        "split": args.split,
        "n_utterances": len(rows),
        "seconds": round(sum(row["duration"] for row in rows), 2),
        "metrics": summarise(rows),
        "asr": asr,
        "skipped": skipped,
        "identity": place["identity"],
        "utterances": rows,
    }
    write_json(known, scores)
    return scores


def locate(args: argparse.Namespace, exp: Path) -> dict:
    """Where the experiment's inputs lie, and what its scores depend on; refuses an unfinished training."""
    if not (exp / "config.json").exists():
        command = command_for("run_phase3.sh", None)
        raise UserError(f"{exp}: expected a vocoder experiment (config.json), found none; run: {command}")
    derived = read_json(exp / "config.json")["derived"]
    language, checkpoint = derived["language"], exp / "checkpoints" / f"{args.checkpoint}.pt"
    if not args.allow_unfinished:
        require_finished(exp, phase="training", command=f"bash scripts/run_phase3.sh {language}, or --allow_unfinished")
    if not checkpoint.exists():
        raise UserError(f"{checkpoint}: expected a checkpoint, found none; run: bash scripts/run_phase3.sh {language}")
    corpus = _moved(Path(derived["corpus"]), exp_root() / Path(derived["units_exp"]).name / "corpus_timestamped.json")
    if not corpus.is_file():
        command = command_for("run_phase1.sh", language)
        raise UserError(f"{corpus}: expected the units {exp} was trained on, found none; run: {command}")
    asr_language = args.asr_language or LANGUAGE_CONFIGS.get(language, {}).get("asr_language")
    identity = {"definitions": DEFINITIONS_VERSION, "inputs": hash_files([checkpoint, corpus])}
    identity |= {
        key: getattr(args, key) for key in ("split", "checkpoint", "max_utterances", "asr", "asr_dtype", "mos")
    }
    return {
        "corpus": corpus,
        "data_root": _moved(Path(derived["data_root"]), data_root()),
        "cache": _moved(Path(derived["cache"]), data_root() / language / "cache"),
        "condition": derived.get("condition", "units"),
        "asr_language": asr_language,
        "identity": identity | {"asr_language": asr_language if args.asr else None},
    }


def _moved(recorded: Path, here: Path) -> Path:
    """The recorded path, or where it would lie on this machine when the experiment was made on another."""
    return recorded if recorded.exists() else here


def choose_utterances(corpus: Path, split: str, max_utterances: int | None) -> list[dict]:
    """The split's utterances in the corpus's order, or ``max_utterances`` of them at even distances."""
    utterances = list(read_corpus(corpus, splits={split}))
    if not utterances:
        raise UserError(f"{corpus}: expected utterances of split '{split}', found none; segment more recordings")
    return spread(utterances, max_utterances)


def spread(items: list, n: int | None) -> list:
    """``n`` of the items at even distances; all of them where ``n`` is None or more than there are."""
    if n is None or n >= len(items):
        return items
    return [items[place] for place in np.linspace(0, len(items) - 1, n).round().astype(int)]


def audio_files(folder: Path, name: str) -> tuple[Path, Path]:
    """The original's and the resynthesis's WAV file of one utterance."""
    return resolve_in(folder / "original", f"{name}.wav"), resolve_in(folder / "resynthesis", f"{name}.wav")


def speak_utterances(vocoder: dict, utterances: list[dict], place: dict, folder: Path) -> None:
    """Write ``folder``/original and ``folder``/resynthesis, each utterance exactly frames x 320 samples long."""
    _remove_stale_audio(folder, {item["id"] for item in utterances})
    n_frames = {item["id"]: sum(item["durations"]) for item in utterances}
    by_length = sorted(utterances, key=lambda item: n_frames[item["id"]])
    spoken = synthesize_utterances(vocoder, _speak_items(by_length, place, folder))
    for name, waveform in tqdm(spoken, total=len(utterances), desc="synthesis", unit="utterance", disable=None):
        expected = frames_to_samples(n_frames[name])
        assert len(waveform) == expected, f"{name}: expected {expected} samples, the vocoder gave {len(waveform)}"
        save_audio(audio_files(folder, name)[1], waveform)


def _speak_items(utterances: list[dict], place: dict, folder: Path) -> Iterator[dict]:
    for item in utterances:
        units, audio = frame_units(item), resolve_in(place["data_root"], item["audio"])
        original = load_audio(audio)[: frames_to_samples(len(units))]
        if len(original) < frames_to_samples(len(units)):
            raise UserError(
                f"{audio}: expected {len(units)} frames of {HOP_SAMPLES} samples as its units say, "
                f"found {len(original)} samples; rerun phase 1"
            )
        save_audio(audio_files(folder, item["id"])[0], original)
        f0 = cached_f0(place["cache"], item["id"], audio)[: len(units)]
        if place["condition"] == "logmel":
            units = mel_frames(audio, 0, len(units), len(units))
        yield {"id": item["id"], "units": units, "f0": f0, "speaker": item.get("speaker")}


def _remove_stale_audio(folder: Path, names: set[str]) -> None:
    for file in [*folder.glob("original/*.wav"), *folder.glob("resynthesis/*.wav")]:
        if file.stem not in names:
            file.unlink()


def score_folders(args: argparse.Namespace, judges: dict[str, Callable]) -> dict:
    """Score --pairs: the files of the same name (whatever the suffix) in two folders."""
    originals, resyntheses = (_files_by_name(folder) for folder in args.pairs)
    names = sorted(originals.keys() & resyntheses.keys())
    if not names:
        raise UserError(f"expected files of the same names in {args.pairs[0]} and {args.pairs[1]}, found none")
    skipped = [f"{name}: in one of the folders only" for name in sorted(originals.keys() ^ resyntheses.keys())]
    names = spread(names, args.max_utterances)
    files = [(name, originals[name], resyntheses[name]) for name in names]
    rows = score_files(files, num_workers=args.num_workers)
    no_texts = [None] * len(rows)
    unread, asr = judge(args, judges, rows, files, texts=no_texts, language=args.asr_language)
    scores = {
        "original": str(args.pairs[0]),
        "resynthesis": str(args.pairs[1]),
        "n_utterances": len(rows),
        "seconds": round(sum(row["duration"] for row in rows), 2),
        "metrics": summarise(rows),
        "asr": asr,
        "skipped": skipped + unread,
        "utterances": rows,
    }
    if args.out:
        write_json(args.out, scores)
    return scores


def _files_by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder of audio, found none")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    return {str(path.relative_to(folder).with_suffix("")): path for path in files}


def judge(
    args: argparse.Namespace,
    judges: dict[str, Callable],
    rows: list[dict],
    files: list[Pair],
    *,
    texts: list[str | None],
    language: str | None,
    caches: Caches = NO_CACHES,
) -> tuple[list[str], dict | None]:
    """Add the judges' numbers to ``rows``; returns what was left out, by name, and the recogniser's description."""
    if "mos" in judges:
        add_mos(judges["mos"](), rows, files, caches=caches)
    if "asr" not in judges:
        return [], None
    asr = judges["asr"](language)
    skipped = add_readings(asr, rows, files, texts=texts, caches=caches, batch_size=args.batch_size)
    return skipped, {"model": asr.name, "language": language, "dtype": asr.dtype}


def print_scores(name: str, scores: dict) -> None:
    print(f"\n{name}: {scores['n_utterances']} utterances, {scores['seconds']:.1f} s; mean [95 % interval] n")
    print(format_table(scores["metrics"]))
    if scores["skipped"]:
        print(f"left out ({len(scores['skipped'])}):")
        for line in scores["skipped"]:
            print(f"  {line}")


def main() -> None:
    args = parse_args()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    judges = load_judges(args)
    if args.pairs:
        print_scores(f"{args.pairs[1]} against {args.pairs[0]}", score_folders(args, judges))
        return
    for exp in args.exp:  # all mistakes are named before the first hour of work
        locate(args, exp)
    scores = [score_experiment(args, exp, judges) for exp in args.exp]
    for exp, result in zip(args.exp, scores):
        print_scores(f"{exp}, {result['checkpoint']} checkpoint of step {result['step']}", result)
    for exp, result in zip(args.exp[1:], scores[1:]):
        print(f"\n{exp} minus {args.exp[0]}, paired; * where the 95 % interval leaves out 0")
        print(format_table(compare(result["utterances"], scores[0]["utterances"]), signed=True))
    for exp in args.exp:
        print(f"wrote {exp}/scores.json and {exp}/test/; next: python src/build_report.py {exp}")


if __name__ == "__main__":
    run_main(main)
