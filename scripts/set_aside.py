"""Put experiments aside whose recordings have changed since, so that the chain makes them again.

Reads the segments of a language, and what the experiments say they were made from. Moves exp/<name> to
exp/before/<name>, in place of what an earlier run has put there; deletes nothing else. run_all.sh calls it:

    python scripts/set_aside.py --language guarani

Other units mean another k-means, so motifs, voice and language model go with them. More: docs/usage.md.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.locks import only_run
from languages import add_language_flags, language_paths
from segmentation.withdrawn import EARLIER
from training.experiment import has_begun, is_finished, is_input, read_arguments

PHASES = ("units", "bpe", "vocoder", "unit_lm")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("experiments, where they have names of their own")
    for phase in PHASES:
        group.add_argument(f"--{phase}", type=Path, default=None, metavar="EXP", help="experiment folder")
    return parse_flags(parser, argv)


def find_outdated(manifest: Path, folders: dict[str, Path]) -> list[Path]:
    """The experiments in ``folders`` (by phase) that were made from other files than those of today."""
    units = folders["units"]
    begun = [folder for folder in folders.values() if has_begun(folder)]
    clusters = read_arguments(units).get("kmeans")
    inputs = [manifest, Path(clusters)] if clusters else [manifest]
    if units not in begun or not all(path.is_file() for path in inputs):
        return []  # phase 1 says what is missing
    if not is_input(units, inputs):
        return begun
    if not is_finished(units):  # so nothing was made of these
        return [folder for folder in begun if folder != units]
    corpus = units / "corpus_timestamped.json"
    standing = [folders[phase] for phase in ("bpe", "vocoder") if folders[phase] in begun]
    return [folder for folder in standing if not is_input(folder, [corpus])]


def set_aside(exp: Path) -> Path:
    """Move an experiment to the folder ``before`` beside it, in place of an earlier one; returns where it is now."""
    kept = exp.parent / EARLIER / exp.name
    with only_run(exp):
        kept.parent.mkdir(exist_ok=True)
        if kept.exists():
            shutil.rmtree(kept)
        exp.rename(kept)
    return kept


def main() -> int:
    args = parse_args()
    paths = language_paths(args.language, args.tag)
    folders = {phase: getattr(args, phase) or paths[phase] for phase in PHASES}
    outdated = find_outdated(paths["manifest"], folders)
    for exp in outdated:
        print(f"{exp}: its recordings have changed; it is made again, and the earlier one is now {set_aside(exp)}")
    if outdated:
        print(
            f"{outdated[0].parent / EARLIER}: holds what was made of the earlier recordings, also of those taken away; "
            "delete it when you no longer need it"
        )
    return 0


if __name__ == "__main__":
    run_main(main)
