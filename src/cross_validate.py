"""Compare settings of speech to text on the training split alone, by cross-validation.

Reads transcribed speech. Trains once a fold, on all the others, and transcribes the fold that was held out. So every
training utterance is read by a model that has never heard it, and the test split is not touched. Settings that differ
in decoding alone share their models. Cached features make it cheap. Choose here, then read the test split once.

    python src/cross_validate.py --exp exp/english_folds --folds 4 --setting "narrow: --num_beams 4" \\
        --setting "wide: --num_beams 16" -- --data data/english --factor 2 --ctc_warmup_steps 300

Reads transcribed speech, as the trainer does: what stands behind -- are flags of src/trainer_base.py for all settings.
Writes <setting>_predictions.json and cross_validation.json into --exp. Started again, it goes on where it was; settings
may be added.

More: docs/speech_llm.md.
"""

import core.quiet_start

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from core.exit_codes import EXIT_STOPPED
from core.files import read_json, write_json
from core.locks import only_run
from core.text_normalisation import normalise_text
from evaluation.word_errors import (
    compare_errors,
    count_errors,
    count_search_errors,
    normalise_predictions,
    read_predictions,
    summarise_errors,
)
from speech_llm.decoding import DECODING_FLAGS
from speech_llm.folds import HELD_OUT
from training.experiment import is_finished

TRAINER = Path(__file__).resolve().with_name("trainer_base.py")
DECODING = {"--" + name for name in (*DECODING_FLAGS, "no_mend", "generate_batch_size", "generate_bsize")}
OWN = ("--exp", "--out_dir", "--do_train", "--do_generate", "--resume", "--overwrite", "--fold", "--test_splits")


class Setting(NamedTuple):
    name: str
    training: tuple[str, ...]  # flags of the trainer that change its model
    decoding: tuple[str, ...]  # flags of the trainer that do not


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--exp", "--out_dir", type=Path, required=True, help="folder for models and scores")
    parser.add_argument("--folds", type=int, default=4, help="parts of the training split, each held out once")
    parser.add_argument(
        "--setting",
        action="append",
        default=None,
        metavar="'NAME: FLAGS'",
        help="a name and flags of src/trainer_base.py; give it once a setting; the others are compared with the first",
    )
    parser.add_argument("common", nargs="*", metavar="FLAG", help="flags of src/trainer_base.py for all, behind --")
    # What stands behind -- is the trainer's, down to its underlines.
    words = list(sys.argv[1:] if argv is None else argv)
    place = words.index("--") if "--" in words else len(words)
    args = parse_flags(parser, words[:place])
    args.common += words[place + 1 :]
    if args.folds < 2:
        raise UserError(f"--folds {args.folds}: expected 2 or more")
    return args


def read_setting(text: str) -> Setting:
    """``NAME: FLAGS`` -> its parts. Raises UserError."""
    name, colon, flags = text.partition(":")
    name, words = name.strip(), shlex.split(flags)
    if not colon or not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name[:1] == ".":
        raise UserError(f"--setting '{text}': expected 'NAME: FLAGS' with letters and digits as NAME, as in 'wide: …'")
    training, decoding = part_flags(words)
    return Setting(name, training, decoding)


def part_flags(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Flags of the trainer, with their values -> those that change the model, those that do not. Raises UserError."""
    parts: tuple[list[str], list[str]] = ([], [])
    for word in words:
        if word.startswith("--"):
            flag = word.partition("=")[0].replace("-", "_").replace("__", "--", 1)
            if flag in OWN:
                raise UserError(f"{flag}: is set by this command for every fold; leave it out")
            chosen = parts[flag in DECODING]
        elif not any(parts):
            raise UserError(f"{word}: expected flags of src/trainer_base.py, as in --num_beams 8")
        chosen.append(word)
    return tuple(parts[0]), tuple(parts[1])


def note_settings(
    exp: Path, settings: Sequence[Setting], common: Sequence[str], n_folds: int
) -> dict[tuple[str, ...], str]:
    """Note what each name means; refuse one that meant something else. {training flags: setting with the models}."""
    names = [setting.name for setting in settings]
    if len(set(names)) < len(names) or {"folds", "common"} & set(names):
        raise UserError(f"--setting: expected each name once, and not folds or common, found {', '.join(names)}")
    path = exp / "settings.json"
    wanted = {"folds": n_folds, "common": list(common)} | {
        s.name: [list(s.training), list(s.decoding)] for s in settings
    }
    known = read_json(path) if path.is_file() else {}
    changed = [name for name, value in wanted.items() if known.get(name, value) != value]
    if changed:
        raise UserError(f"{path}: '{changed[0]}' has meant something else; take another name, or another --exp")
    write_json(path, known | wanted)
    owners: dict[tuple[str, ...], str] = {}
    for name, value in (known | wanted).items():
        if name not in ("folds", "common"):
            owners.setdefault(tuple(value[0]), name)
    return owners


def run_trainer(flags: Sequence[str]) -> None:
    """Raises UserError where it fails, SystemExit where it was stopped."""
    done = subprocess.run([sys.executable, TRAINER, *map(str, flags)], check=False)
    if done.returncode == EXIT_STOPPED:
        raise SystemExit(EXIT_STOPPED)
    if done.returncode:
        raise UserError(f"exit code {done.returncode} of: {shlex.join(['python', TRAINER.name, *map(str, flags)])}")


def read_fold(exp: Path, setting: Setting, trained_by: str, fold: str, common: Sequence[str]) -> list[dict]:
    """The held-out predictions of one fold; the model is trained first, where it is not."""
    number = fold.partition("/")[0]
    kept, model = exp / setting.name / f"{number}.json", exp / trained_by / f"fold_{number}"
    if not kept.is_file():
        flags = ["--exp", model, "--fold", fold, *common, *setting.training]
        if not is_finished(model):
            run_trainer([*flags, "--do_train", "--resume", "auto"])
        run_trainer([*flags, *setting.decoding, "--do_generate"])
        write_json(kept, read_json(model / f"{HELD_OUT}_predictions.json", list))
    return read_json(kept, list)


def score_settings(exp: Path, names: Sequence[str]) -> dict[str, dict[str, object]]:
    """{setting: WER with interval, difference to the first, search errors} of the pooled predictions."""
    paths = {name: exp / f"{name}_predictions.json" for name in names}
    texts = {name: normalise_predictions(read_predictions(path), normalise_text) for name, path in paths.items()}
    counts = {name: count_errors(predictions) for name, predictions in texts.items()}
    first, *others = names
    differences = dict(zip(others, compare_errors(counts[first], [counts[name] for name in others])))
    scores = {}
    for name in names:
        rates = summarise_errors(counts[name])
        scores[name] = {
            key: getattr(rates, key) for key in ("wer", "wer_ci", "cer", "cer_ci", "n_words", "n_utterances")
        }
        if searched := count_search_errors(paths[name]):
            scores[name] |= dict(zip(("search_errors", "n_wrong_utterances"), searched))
        if name in differences:
            scores[name]["against"] = {"setting": first} | differences[name]._asdict()
    return scores


def format_scores(scores: dict[str, dict[str, object]]) -> str:
    """A line for each setting."""
    rows = [("setting", "WER", "[95 %]", "minus the first [95 %]", "search errors")]
    for name, found in scores.items():
        low, high = found["wer_ci"]
        against, difference = found.get("against"), ""
        if against:
            difference = "{:+.3f} [{:+.3f}, {:+.3f}]".format(against["wer_difference"], *against["ci"])
        searched = f"{found['search_errors']} of {found['n_wrong_utterances']}" if "search_errors" in found else ""
        rows.append((name, f"{found['wer']:.3f}", f"[{low:.3f}, {high:.3f}]", difference, searched))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def main() -> None:
    args = parse_args()
    settings = [read_setting(text) for text in args.setting or ["trained: "]]
    part_flags(args.common)
    with only_run(args.exp):
        args.exp.mkdir(parents=True, exist_ok=True)
        owners = note_settings(args.exp, settings, args.common, args.folds)
        folds = [f"{number}/{args.folds}" for number in range(1, args.folds + 1)]
        for setting in settings:
            owner = owners[setting.training]
            rows = [row for fold in folds for row in read_fold(args.exp, setting, owner, fold, args.common)]
            write_json(args.exp / f"{setting.name}_predictions.json", rows)
        scores = score_settings(args.exp, [setting.name for setting in settings])
        write_json(args.exp / "cross_validation.json", scores)
        print(format_scores(scores))
        best = min(scores, key=lambda name: scores[name]["wer"])
        print(f"lowest: {best}; wrote {args.exp / 'cross_validation.json'}.", end=" ")
        print("Freeze a setting before the test split is read")


if __name__ == "__main__":
    run_main(main)
