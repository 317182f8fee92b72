"""Which folders of PYTHONPATH may stay; standard library only, run by path.sh with python -I.

    python -I scripts/check_pythonpath.py <repository> "$PYTHONPATH"

Prints the list without the folders that hold modules of the environment's own names, as an environment module
(module load …) sets them: Python would take those instead. Each folder that is left out is named on stderr.
"""

import argparse
import os
import sys
from pathlib import Path

HARMLESS = frozenset({"__pycache__", "test", "tests", "site", "sitecustomize", "usercustomize"})
MOST_NAMED = 3


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path, help="its own folders stay")
    parser.add_argument("folders", help="the value of PYTHONPATH")
    return parser.parse_args(argv)


def top_level_names(folder: str) -> set[str]:
    """What ``import`` finds in a folder: modules, compiled ones, and folders with Python files in them."""
    if not os.path.isdir(folder):
        return set()
    with os.scandir(folder) as entries:
        names = {entry.name.partition(".")[0] for entry in entries if _is_importable(entry)}
    return {name for name in names if name.isidentifier()} - HARMLESS


def _is_importable(entry: os.DirEntry) -> bool:
    if entry.name.endswith((".py", ".so", ".pyc")):
        return True
    return "." not in entry.name and os.path.exists(os.path.join(entry.path, "__init__.py"))


def find_hiding(folders: list[str], repository: Path, own: list[str]) -> dict[str, list[str]]:
    """Of each folder that hides something of ``own``, the environment's folders, or of Python: what it hides.

    The repository's own folders stay, whatever they hold.
    """
    known = set(sys.stdlib_module_names).union(*map(top_level_names, own))
    ours = {os.path.realpath(place) for place in own}
    others = [
        folder
        for folder in folders
        if os.path.realpath(folder) not in ours and not Path(folder).resolve().is_relative_to(repository.resolve())
    ]
    found = {folder: sorted(top_level_names(folder) & known) for folder in others}
    return {folder: names for folder, names in found.items() if names}


def main() -> None:
    args = parse_args()
    folders = [folder for folder in args.folders.split(os.pathsep) if folder]
    own = [place for place in sys.path if os.path.basename(place) in ("site-packages", "dist-packages")]
    hiding = find_hiding(folders, args.repository, own)
    for folder, names in hiding.items():
        named = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if names[MOST_NAMED:] else "")
        print(f"path.sh: PYTHONPATH: {folder} hides the environment's {named}; left out", file=sys.stderr)
    print(os.pathsep.join(folder for folder in folders if folder not in hiding))


if __name__ == "__main__":
    main()
