"""How many small mistakes in the code do its tests notice? Mutation testing on a random sample.

A mutant is the code with one small change, by an operator of cosmic-ray: + for -, < for <=, 3 for 2, a loop that never
runs. The tests that reach the changed line run on it; a mutant is killed where one of them fails. Places are drawn at
random, in every module as many as its share (three at least), and one change at each, so that the many changes of one
sign count once. Type hints are left out.

First all --tests run on a copy of the repository, and coverage.py notes which test reaches which line: reached.json in
--work, which a later start uses again. Every mutant then runs in a copy of a process that has imported PyTorch. Scripts
that tests start are copies of the test's process. Mutants that are already in --out are not run again.

    pip install cosmic-ray coverage
    python scripts/bench/mutate.py --modules src/units --n_mutants 200 --work /tmp/mutants --out found.json
"""

import argparse
import ast
import difflib
import importlib.util
import logging
import math
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.context import ForkContext, ForkProcess
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from core.files import read_json, write_json
from languages import REPOSITORY

COPIED = ("src", "scripts", "tests", "recipes", "docs", "voices", "pyproject.toml", "constraints.txt", "path.sh")
IMPORTED = ("torch", "torchaudio", "transformers", "sklearn.cluster", "scipy.stats", "tokenizers", "parselmouth", "av")
IMPORTED += ("torch._dynamo", "torch.utils.tensorboard", "matplotlib.pyplot", "numba", "datasets", "hypothesis")
IMPORTED += ("soundfile", "rapidfuzz", "jiwer", "pytest", "accelerate", "peft", "librosa")
MEMORY_BYTES = 8 << 30  # of address space beyond what the imports take: a mutant may ask for everything
FEWEST = 3  # mutants of a module
WAITS = 20  # seconds of the clock for one of CPU


class Mutant(NamedTuple):
    module: str  # relative to the repository
    place: tuple[int, int]  # line and column, where cosmic-ray sees the change
    operator: str
    occurrence: int  # of the operator in the module


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--modules", nargs="+", required=True, help="files and folders to change, e.g. src/units")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="files and folders of tests")
    parser.add_argument("--n_mutants", type=int, default=100, help="how many in all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
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
    copy, warm = copy_repository(args.work), import_once()
    reached = read_reached(args.work / "reached.json", copy, args.tests)
    places = {module: places_of(copy / module) for module in find_modules(args.modules)}
    if not any(places.values()):
        raise UserError(f"expected code that can be changed in {' '.join(args.modules)}, found none")
    done = {tuple(row["key"]): row for row in (read_json(args.out, list) if args.out.is_file() else [])}
    for mutant in draw(places, args.n_mutants, args.seed):
        key = (mutant.module, *mutant.place, mutant.operator)
        if key not in done:
            done[key] = {"key": list(key)} | judge(mutant, copy, reached, args.test_seconds, args.limit_seconds)
            write_json(args.out, list(done.values()))
            print(f"{done[key]['end']:9} {done[key]['seconds']:5.1f} s  {' '.join(map(str, key))}", flush=True)
    print(f"imports took {warm:.0f} s\n" + describe(list(done.values()), places))


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


def import_once() -> float:
    began = time.monotonic()
    for name in IMPORTED:
        importlib.import_module(name)
    return time.monotonic() - began


def find_modules(named: Sequence[str]) -> list[str]:
    found = [
        path
        for name in named
        for path in ([REPOSITORY / name] if name.endswith(".py") else sorted((REPOSITORY / name).glob("*.py")))
    ]
    if not found or not all(path.is_file() for path in found):
        raise UserError(f"expected modules in {' '.join(named)}, found none; name files or folders below src")
    return [str(path.relative_to(REPOSITORY)) for path in found]


# Mutants.


def places_of(module: Path) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """Where a module can be changed, and by what: (operator, its occurrence) at each (line, column)."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.operators.provider import OperatorProvider

    source, operators = module.read_text(encoding="utf-8"), OperatorProvider()
    hints, nodes, found = hint_spans(source), list(ast_nodes(get_ast(source))), defaultdict(list)
    for name in operators:
        if operators[name].arguments():
            continue
        starts = [start for node in nodes for start, _ in operators[name]().mutation_positions(node)]
        for occurrence, start in enumerate(starts):
            if not any(first <= start < last for first, last in hints):
                found[start].append((name, occurrence))
    return dict(found)


def hint_spans(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """(line, column) of the beginnings and ends of all type hints, and of the test for a type checker."""
    hints = []
    for node in ast.walk(ast.parse(source)):
        hints += [getattr(node, name, None) for name in ("annotation", "returns")]
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            hints.append(node)
    return [((hint.lineno, hint.col_offset), (hint.end_lineno, hint.end_col_offset)) for hint in hints if hint]


def draw(places: Mapping[str, Mapping], n_mutants: int, seed: int) -> list[Mutant]:
    """One mutant at each of so many places, from every module its share; in random order. A larger draw holds a smaller
    one's places where its modules are the same."""
    n_places, drawn = sum(map(len, places.values())), []
    for module, found in places.items():
        chance = random.Random(f"{seed} {module}")
        order = chance.sample(sorted(found), len(found))
        chosen = [(place, *chance.choice(found[place])) for place in order]
        wanted = max(FEWEST, round(n_mutants * len(found) / n_places))
        drawn += [Mutant(module, *mutant) for mutant in chosen[:wanted]]
    random.Random(seed).shuffle(drawn)
    return drawn


def mutated_source(module: Path, mutant: Mutant) -> str:
    from cosmic_ray.ast import Visitor, get_ast
    from cosmic_ray.operators.provider import OperatorProvider

    operator, seen = OperatorProvider()[mutant.operator](), iter(range(10**9))

    class Change(Visitor):
        def visit(self, node: object) -> object:
            for index, _ in enumerate(operator.mutation_positions(node)):
                if next(seen) == mutant.occurrence:
                    return operator.mutate(node, index)
            return node

    return Change().walk(get_ast(module.read_text(encoding="utf-8"))).get_code()


def judge(
    mutant: Mutant, copy: Path, reached: Mapping[str, dict], test_seconds: float, limit_seconds: float
) -> dict[str, object]:
    """How a mutant ends: killed, hangs, survived, or unreached by any test; the change as a diff."""
    path = copy / mutant.module
    before = path.read_text(encoding="utf-8")
    tests = tests_of(mutant, before, reached, test_seconds)
    after, began, last = mutated_source(path, mutant), time.monotonic(), ""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    said = {
        "diff": [line for line in lines if line[:3] not in ("---", "+++") and line[0] != "@"],
        "n_tests": len(tests),
    }
    if not tests:
        return said | {"end": "unreached", "seconds": 0.0}
    path.write_text(after, encoding="utf-8")
    try:
        code, last = run_tests(copy, ["-x", *tests], limit_seconds)
    finally:
        path.write_text(before, encoding="utf-8")
    end = "hangs" if code is None else "survived" if code == 0 else "killed"
    return said | {"end": end, "seconds": round(time.monotonic() - began, 1), "by": last}


def tests_of(mutant: Mutant, source: str, reached: Mapping[str, dict], most_seconds: float) -> list[str]:
    """The tests that reach the changed line, the quickest first, within so many seconds; for a line that runs when the
    module is imported, those that reach any."""
    lines, seconds = reached["lines"].get(mutant.module, {}), reached["seconds"]
    tests = {test for line in statement_lines(source, mutant.place[0]) for test in lines.get(str(line), [])}
    if not is_in_function(source, mutant.place[0]):
        tests = {test for line in lines.values() for test in line}
    chosen, total = [], 0.0
    for test in sorted(tests - {"import"}, key=lambda test: seconds[test]):
        total += seconds[test]
        if total <= most_seconds or not chosen:
            chosen.append(test)
    return chosen


def statement_lines(source: str, line: int) -> range:
    """The lines of the innermost statement at a line, without its body: coverage.py notes the first of them alone."""
    found = range(line, line + 1)
    for node in ast.walk(ast.parse(source)):  # outer ones first
        if isinstance(node, ast.stmt | ast.ExceptHandler) and node.lineno <= line <= node.end_lineno:
            body = getattr(node, "body", None)
            last = max(node.lineno, body[0].lineno - 1) if isinstance(body, list) and body else node.end_lineno
            if line <= last:
                found = range(node.lineno, last + 1)
    return found


def is_in_function(source: str, line: int) -> bool:
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    return any(function.body[0].lineno <= line <= function.end_lineno for function in functions)


# Tests, in a copy of this process.


def run_tests(copy: Path, words: Sequence[str], limit_seconds: float, plugin: object = None) -> tuple[int | None, str]:
    """(exit code of pytest, or None where it took too long; the last line that names a test). In seconds of CPU, as
    other work on the machine makes the clock run."""
    screen = copy.parent / "screen.txt"
    child = os.fork()
    if not child:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (round(limit_seconds),) * 2)
        os._exit(be_pytest(copy, words, screen, plugin))
    give_up = time.monotonic() + WAITS * limit_seconds  # for what waits and computes nothing
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended or time.monotonic() > give_up:
            break
        time.sleep(0.05)
    try:
        os.killpg(child, signal.SIGKILL)  # also what its tests have left running
    except ProcessLookupError:
        pass
    if not ended:
        os.waitpid(child, 0)
    shutil.rmtree(copy.parent / "tmp", ignore_errors=True)
    failed = [line for line in screen.read_text(errors="replace").splitlines() if line.startswith(("FAILED", "ERROR"))]
    code = os.waitstatus_to_exitcode(status) if ended else None
    return (None if code in (-signal.SIGXCPU, -signal.SIGKILL) else code), (failed or [""])[-1][:200]


def be_pytest(copy: Path, words: Sequence[str], screen: Path, plugin: object) -> int:
    import pytest

    written = os.open(screen, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(written, 1)
    os.dup2(written, 2)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + MEMORY_BYTES,) * 2)
    for name, module in list(sys.modules.items()):
        where = f"{vars(module).get('__file__')} {vars(module).get('__path__')}"  # folders have a path alone
        if str(REPOSITORY) in where and name != "__main__":
            del sys.modules[name]
    sys.path[:] = [folder for folder in sys.path if not folder.startswith(str(REPOSITORY))]
    os.environ["PYTHONPATH"] = f"{copy / 'src'}"
    sys.dont_write_bytecode = plugin is None  # where two changes of one size fall into one second
    os.chdir(copy)
    words = [
        "-q",
        "--tb=no",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--basetemp",
        str(copy.parent / "tmp"),
        *words,
    ]
    try:
        return pytest.main(words, plugins=[ScriptsAsForks(plugin.save), plugin] if plugin else [ScriptsAsForks()])
    except BaseException:
        return 1


def address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


class ScriptsAsForks:
    """A plugin of pytest: scripts run in copies of the test's process, where the changed module is imported already."""

    def __init__(self, at_end: Callable[[], None] = lambda: None):
        self.at_end = at_end

    def pytest_collection_finish(self) -> None:
        if "trainer_runs" in sys.modules:
            sys.modules["trainer_runs"]._server = Forks(self.at_end)


class Forks(ForkContext):
    """Processes that write to their own screen, not to pytest's, and do ``at_end`` before they end."""

    def __init__(self, at_end: Callable[[], None]):
        super().__init__()
        self.at_end = at_end

    def Process(self, *, target: Callable, args: tuple) -> ForkProcess:  # noqa: N802 (multiprocessing's name)
        def run(*arguments: object) -> None:
            sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
            logging.getLogger().handlers.clear()
            try:
                target(*arguments)
            finally:
                self.at_end()

        return ForkProcess(target=run, args=args)


# Which test reaches which line.


def read_reached(path: Path, copy: Path, tests: Sequence[str]) -> dict[str, dict]:
    """{"lines": {module: {line: tests}}, "seconds": {test: seconds}}: of all tests that pass, measured once."""
    if path.is_file():
        return read_json(path)
    data = copy.parent / "reached"
    for old in data.parent.glob("reached.*"):
        old.unlink()
    run_tests(copy, list(tests), 24 * 3600, NoteReached(copy, data))
    seconds = read_json(data.with_suffix(".seconds"))
    lines = defaultdict(lambda: defaultdict(list))
    for module, line, test in merged_lines(copy, data):
        if test in seconds or test == "import":
            lines[module][str(line)].append(test)
    write_json(path, {"lines": lines, "seconds": seconds})
    return read_json(path)


def merged_lines(copy: Path, data: Path) -> Iterator[tuple[str, int, str]]:
    """(module, line, test): a shared fixture reaches for every test of its file."""
    import coverage

    merged = coverage.CoverageData(basename=str(data.with_suffix(".merged")))
    of_file = defaultdict(set)
    for path in data.parent.glob("reached.data*"):
        part = coverage.CoverageData(basename=str(path))
        part.read()
        merged.update(part)
    for test in read_json(data.with_suffix(".seconds")):
        of_file[test.partition("::")[0]].add(test)
    for measured in sorted(merged.measured_files()):
        for line, contexts in merged.contexts_by_lineno(measured).items():
            for context in contexts:
                file, _, rest = context.partition("::")
                for test in of_file[file] if rest == "*" else [context or "import"]:
                    yield str(Path(measured).relative_to(copy)), line, test


class NoteReached:
    """A plugin of pytest: coverage.py by test, and the seconds of every test that passes."""

    def __init__(self, copy: Path, data: Path):
        self.copy, self.data, self.seconds, self.failed = copy, data, defaultdict(float), set()

    def pytest_sessionstart(self) -> None:
        import coverage

        names = {"data_file": f"{self.data}.data", "data_suffix": True, "source": [str(self.copy / "src")]}
        self.coverage = coverage.Coverage(**names, config_file=False, messages=False)
        self.coverage.start()

    def save(self) -> None:
        self.coverage.stop()
        self.coverage.save()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.coverage.switch_context(nodeid)

    def pytest_fixture_setup(self, fixturedef: object, request: object) -> None:
        if fixturedef.scope != "function":
            self.coverage.switch_context(request._pyfuncitem.nodeid.partition("::")[0] + "::*")

    def pytest_runtest_call(self, item: object) -> None:
        self.coverage.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report: object) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.outcome != "passed":
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.save()
        passed = {test: seconds for test, seconds in self.seconds.items() if test not in self.failed}
        write_json(self.data.with_suffix(".seconds"), passed)


# The score.


def describe(rows: Sequence[Mapping[str, object]], places: Mapping[str, Mapping]) -> str:
    """A line for each folder and module: killed of all, with Wilson's 95 % interval."""
    groups = defaultdict(list)
    for row in rows:
        if row["key"][0] in places:
            for group in ("all", str(Path(row["key"][0]).parent), row["key"][0]):
                groups[group].append(row["end"] in ("killed", "hangs"))
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
