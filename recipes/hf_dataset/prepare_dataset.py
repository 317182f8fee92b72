"""Bring a Hugging Face data set into the form that src/trainer_base.py reads, and say what is in it.

A folder written by ``datasets.save_to_disk`` is that form already: it is checked, not copied. A folder of Parquet files
or a data set of the hub becomes one under ``--out``; audio stays as it was encoded, and code in the hub is never run.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import numpy as np

from core.cli import HELP_FORMATTER, configure_log, parse_flags, run_main
from core.commands import as_typed
from core.errors import UserError
from languages import data_root
from speech_llm.disk_datasets import is_disk_dataset, list_splits
from speech_llm.transcribed_items import load_transcribed


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    group = parser.add_argument_group("data set")
    group.add_argument("--source", required=True, help="folder of save_to_disk or of Parquet files, or a hub id")
    group.add_argument("--config", default=None, help="configuration of a hub data set, as a language code")
    group.add_argument("--revision", default=None, help="revision of a hub data set")
    group.add_argument("--splits", nargs="+", default=None, help="splits to take (default: all)")
    group.add_argument("--audio_field", default="audio", help="column of the audio")
    group.add_argument("--text_field", default="text", help="column of the transcripts")
    group.add_argument("--id_field", default=None, help="column that names the rows (id, where there is one)")
    group.add_argument("--out", type=Path, default=None, help="folder to write (default: NAME under the data root)")
    return parse_flags(parser, argv)


def convert(args: argparse.Namespace, out: Path) -> None:
    """Load Parquet files or a hub data set, its audio undecoded, and write it to ``out``, whole or not at all."""
    import datasets  # takes seconds to import

    try:
        found = datasets.load_dataset(args.source, args.config, revision=args.revision)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetGenerationError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{args.source}: expected a folder of save_to_disk or of Parquet files, or a data set of the hub (and a "
            f"network), found: {reason}; a folder of recordings needs no data set, but a transcripts.tsv beside them"
        ) from error
    missing = sorted(set(args.splits or found) - set(found))
    if missing:
        raise UserError(f"{args.source}: expected a split '{missing[0]}', found {', '.join(found)}; give one of them")
    for split in list(found):
        if split not in (args.splits or found):
            del found[split]
        elif isinstance(found[split].features.get(args.audio_field), datasets.Audio):
            found[split] = found[split].cast_column(args.audio_field, datasets.Audio(decode=False))
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    out.parent.mkdir(parents=True, exist_ok=True)
    found.save_to_disk(temporary)
    os.replace(temporary, out)


def describe(folder: Path, args: argparse.Namespace) -> None:
    """What the trainer will find: utterances, hours, lengths; what it leaves out is named by ``load_transcribed``."""
    splits = args.splits or list_splits(folder, args.audio_field)
    for split in splits:
        fields = {"text_field": args.text_field, "audio_field": args.audio_field, "id_field": args.id_field}
        items = load_transcribed(folder, [split], **fields)[split]
        seconds = np.array([item["duration"] for item in items])
        print(
            f"{split}: {len(items)} utterances, {seconds.sum() / 3600:.2f} hours, {np.median(seconds):.1f} s in the "
            f"middle, {seconds.max():.1f} s the longest, {int((seconds > 30).sum())} over 30 s"
        )


def main() -> int:
    args = parse_args()
    configure_log()
    folder = Path(args.source)
    if not is_disk_dataset(folder):
        name = "_".join(part for part in (Path(args.source).name, args.config) if part)
        folder = args.out or data_root() / name
        if not is_disk_dataset(folder):
            if folder.exists() and any(folder.iterdir()):
                raise UserError(f"{folder}: expected no folder or an empty one, found other files; --out names another")
            convert(args, folder)
    describe(folder, args)
    fields = ["--text_field", args.text_field, "--audio_field", args.audio_field]
    fields += ["--id_field", args.id_field] if args.id_field else []
    command = as_typed("python", "src/trainer_base.py", "--data", folder, *fields)
    print(f"train on it with: {command} --do_train …")
    return 0


if __name__ == "__main__":
    run_main(main)
