"""How many small mistakes in the code do its tests notice? Mutation testing on a random sample.

A mutant is the code with one small change, by an operator of cosmic-ray: + for -, < for <=, 3 for 2, a loop that never
runs. The tests that reach the changed line run on it; a mutant is killed where one of them fails. Places are drawn at
random, in every module as many as its share (three at least), and one change at each, so that the many changes of one
sign count once. Type hints are left out.

First all --tests run on a copy of the repository, and coverage.py notes which test reaches which line: reached.json in
--work, which a later start uses again. Every mutant then runs in a copy of a process that has imported PyTorch. Scripts
that tests start are copies of the test's process. Mutants that are already in --out are not run again.

--again takes the mutants of an earlier --out that lived, and runs today's tests on them: the same lines are changed
in today's code. Those whose lines are no more are "gone".

    pip install cosmic-ray coverage
    python scripts/bench/mutate.py --modules src/units --n_mutants 200 --work /tmp/mutants --out found.json
    python scripts/bench/mutate.py --modules src/units --again found.json --work /tmp/mutants --out again.json
"""

import argparse
import importlib.util
import math
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from core.files import read_json, write_json
from languages import REPOSITORY
from mutant_tests import import_once, read_reached, run_tests, tests_of
from mutants import change_of, draw, first_changed, mutated_source, places_of, repeated_change

COPIED = ("src", "scripts", "tests", "recipes", "docs", "voices", "pyproject.toml", "constraints.txt", "path.sh")
DEAD = ("killed", "hangs")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--modules", nargs="+", required=True, help="files and folders to change, e.g. src/units")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="files and folders of tests")
    parser.add_argument("--n_mutants", type=int, default=100, help="how many in all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--again", type=Path, help="an earlier --out, whose living mutants are run again, no others")
    parser.add_argument("--test_seconds", type=float, default=30.0, help="most seconds of tests for one mutant")
    parser.add_argument("--limit_seconds", type=float, default=60.0, help="of CPU; a mutant that takes more hangs")
    parser.add_argument("--work", type=Path, required=True, help="folder for the copy of the repository")
    parser.add_argument("--out", type=Path, required=True, help="write every mutant and its end as JSON here")
    args = parse_flags(parser, argv)
    require_positive(args, "n_mutants", "test_seconds", "limit_seconds")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    for name in ("cosmic_ray", "coverage"):
        if importlib.util.find_spec(name) is None:
            raise UserError(f"expected the package {name}, found none; pip install cosmic-ray coverage")
    copy, warm, modules = copy_repository(args.work), import_once(), find_modules(args.modules)
    reached = read_reached(args.work / "reached.json", copy, args.tests)
    changes = repeat_changes(args.again, modules, copy) if args.again else draw_changes(modules, args, copy)
    sound: dict[str, bool] = {}  # of each test that failed: whether it passes on the unchanged code
    done = {tuple(row["key"]): row for row in (read_json(args.out, list) if args.out.is_file() else [])}
    for key, after in changes:
        if key not in done:
            done[key] = {"key": list(key)} | judge(key[0], after, copy, reached, args, sound=sound)
            write_json(args.out, list(done.values()))
            print(f"{done[key]['end']:9} {done[key]['seconds']:5.1f} s  {' '.join(map(str, key))}", flush=True)
    print(f"imports took {warm:.0f} s\n" + describe(list(done.values()), modules))


def copy_repository(work: Path) -> Path:
    """A copy that may be changed, new at every start."""
    copy = work / "repository"
    shutil.rmtree(copy, ignore_errors=True)
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    return copy


def find_modules(named: Sequence[str]) -> list[str]:
    found = [
        path
        for name in named
        for path in ([REPOSITORY / name] if name.endswith(".py") else sorted((REPOSITORY / name).glob("*.py")))
    ]
    if not found or not all(path.is_file() for path in found):
        raise UserError(f"expected modules in {' '.join(named)}, found none; name files or folders below src")
    return [str(path.relative_to(REPOSITORY)) for path in found]


def draw_changes(modules: Sequence[str], args: argparse.Namespace, copy: Path) -> Iterator[tuple[tuple, str]]:
    """(module, line, column, operator) and the changed source of every mutant of a new draw."""
    places = {module: places_of(copy / module) for module in modules}
    if not any(places.values()):
        raise UserError(f"expected code that can be changed in {' '.join(args.modules)}, found none")
    for mutant in draw(places, args.n_mutants, args.seed):
        yield (mutant.module, *mutant.place, mutant.operator), mutated_source(copy / mutant.module, mutant)


def repeat_changes(earlier: Path, modules: Sequence[str], copy: Path) -> Iterator[tuple[tuple, str | None]]:
    """The same of an earlier draw's mutants that lived; no source where the lines that were changed are no more."""
    for row in read_json(earlier, list):
        if row["key"][0] in modules and row["end"] not in DEAD:
            source = (copy / row["key"][0]).read_text(encoding="utf-8")
            yield tuple(row["key"]), repeated_change(source, row["diff"], row["key"][1])


def judge(
    module: str,
    after: str | None,
    copy: Path,
    reached: Mapping[str, dict],
    args: argparse.Namespace,
    *,
    sound: dict[str, bool],
) -> dict[str, object]:
    """How a mutant ends: killed, hangs, survived, unreached by any test, or gone from the code; the change's lines.

    A test that fails after the same others on the unchanged code too kills nothing, and is left out from then on.
    """
    path = copy / module
    before = path.read_text(encoding="utf-8")
    if after is None:
        return {"diff": [], "n_tests": 0, "end": "gone", "seconds": 0.0}
    tests, began = tests_of(module, first_changed(before, after), before, reached, args.test_seconds), time.monotonic()
    tests = [test for test in tests if sound.get(test, True)]
    said = {"diff": change_of(before, after), "n_tests": len(tests)}
    while tests:
        path.write_text(after, encoding="utf-8")
        try:
            code, last = run_tests(copy, ["-x", *tests], args.limit_seconds)
        finally:
            path.write_text(before, encoding="utf-8")
        failed = failed_test(last, tests)
        if failed and failed not in sound:
            same = tests[: tests.index(failed) + 1]
            sound[failed] = run_tests(copy, ["-x", *same], args.limit_seconds)[0] == 0
        if not failed or sound[failed]:
            end = "hangs" if code is None else "survived" if code == 0 else "killed"
            return said | {"end": end, "seconds": round(time.monotonic() - began, 1), "by": last}
        tests.remove(failed)
    return said | {"end": "unreached", "seconds": 0.0}


def failed_test(said: str, tests: Sequence[str]) -> str | None:
    """Which of ``tests`` pytest's line FAILED or ERROR names; None where it names none of them."""
    name = said.partition(" ")[2].partition(" - ")[0]
    return name if name in tests else None


# The score.


def describe(rows: Sequence[Mapping[str, object]], modules: Sequence[str]) -> str:
    """A line for each folder and module: killed of all, with Wilson's 95 % interval."""
    groups = defaultdict(list)
    for row in rows:
        if row["key"][0] in modules:
            for group in ("all", str(Path(row["key"][0]).parent), row["key"][0]):
                groups[group].append(row["end"] in DEAD)
    lines = []
    for group, killed in sorted(groups.items(), key=lambda item: (item[0] != "all", item[0])):
        low, high = wilson(sum(killed), len(killed))
        lines.append(
            f"{group:40} {sum(killed):4} of {len(killed):4}  {sum(killed) / len(killed):.3f} [{low:.3f}, {high:.3f}]"
        )
    return "\n".join(lines)


def wilson(n_right: int, n: int, reach: float = 1.96) -> tuple[float, float]:
    share, spread = n_right / n, reach**2 / n
    half = reach * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return (share + spread / 2 - half) / (1 + spread), (share + spread / 2 + half) / (1 + spread)


if __name__ == "__main__":
    run_main(main)
