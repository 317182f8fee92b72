"""Does the Python that runs this satisfy pyproject.toml? Standard library only, for it runs before anything is there.

Prints what is missing or too old, one requirement a line, and exits 1 if there is any.
"""

import argparse
import hashlib
import importlib.metadata
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="folder of pyproject.toml; by default this")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--requirements", action="store_true", help="print every requirement instead of checking")
    mode.add_argument(
        "--stamp",
        action="store_true",
        help="print instead a hash of the requirements, of constraints.txt and of the environment's place",
    )
    return parser.parse_args(argv)


def read_requirements(repository: Path) -> list[str]:
    """The requirement lines of pyproject.toml: what runs the project, then what tests it."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["dependencies"] + project["optional-dependencies"]["dev"]


def compute_stamp(repository: Path) -> str:
    """Changes with the requirements, the tested set, the Python and the place, not with pyproject's other settings."""
    constraints = (repository / "constraints.txt").read_text(encoding="utf-8")
    python = f"{sys.executable} {sys.version_info[:2]}"
    text = "\n".join([*read_requirements(repository), constraints, python])
    return hashlib.sha256(text.encode()).hexdigest()


def find_unmet(requirements: list[str]) -> list[str]:
    """The requirements that the running Python does not satisfy, each with what was found instead."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        from pip._vendor.packaging.requirements import Requirement
    unmet = []
    for line in requirements:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        found = _installed_version(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            unmet.append(f"{line} (found {found or 'none'})")
    return unmet


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> int:
    args = parse_args()
    if args.stamp:
        print(compute_stamp(args.repository))
        return 0
    requirements = read_requirements(args.repository)
    lines = requirements if args.requirements else find_unmet(requirements)
    print("\n".join(lines), end="\n" if lines else "")
    return int(bool(lines) and not args.requirements)


if __name__ == "__main__":
    sys.exit(main())
