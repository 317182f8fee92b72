"""Tests on changed code, for scripts/bench/mutate.py: which test reaches which line, and a run of some of them.

Every run is a copy of this process, which has imported PyTorch. Scripts that tests start are copies of the test's.
"""

import gc
import importlib
import logging
import os
import re
import resource
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.context import ForkContext, ForkProcess
from pathlib import Path
from types import ModuleType

from core.files import read_json, write_json
from languages import REPOSITORY
from mutants import is_in_function, statement_lines

IMPORTED = ("torch", "torchaudio", "transformers", "sklearn.cluster", "scipy.stats", "tokenizers", "parselmouth", "av")
IMPORTED += ("torch._dynamo", "torch.utils.tensorboard", "matplotlib.pyplot", "numba", "datasets", "hypothesis")
IMPORTED += ("soundfile", "rapidfuzz", "jiwer", "pytest", "accelerate", "peft", "librosa")
MEMORY_BYTES = 8 << 30  # of address space beyond what the imports take: a mutant may ask for everything
WAITS = 20  # seconds of the clock for one of CPU


def import_once() -> float:
    began = time.monotonic()
    for name in IMPORTED:
        importlib.import_module(name)
    return time.monotonic() - began


def tests_of(module: str, line: int, source: str, reached: Mapping[str, dict], most_seconds: float) -> list[str]:
    """The tests that reach the changed line, the quickest first, within so many seconds; for a line that runs when the
    module is imported, those that reach any, and where it has constants alone, those of the modules that import it."""
    lines, seconds = reached["lines"].get(module, {}), reached["seconds"]
    tests = {test for part in statement_lines(source, line) for test in lines.get(str(part), [])}
    if not is_in_function(source, line):
        tests = {test for tests in lines.values() for test in tests}
        tests = tests - {"import"} or tests_of_importers(module, reached)
    chosen, total = [], 0.0
    for test in sorted(tests - {"import"}, key=lambda test: seconds[test]):
        total += seconds[test]
        if total <= most_seconds or not chosen:
            chosen.append(test)
    return chosen


def tests_of_importers(module: str, reached: Mapping[str, dict]) -> set[str]:
    """The tests that reach any line of a module that imports this one."""
    name = ".".join(Path(module).with_suffix("").parts[1:])
    imports = re.compile(rf"^from {re.escape(name)} import ", re.MULTILINE)
    sources = {path: REPOSITORY / path for path in reached["lines"]}
    importing = [path for path, file in sources.items() if file.is_file() and imports.search(file.read_text("utf-8"))]
    return {test for path in importing for tests in reached["lines"][path].values() for test in tests}


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
    return (None if code in (-signal.SIGXCPU, -signal.SIGKILL) else code), (failed or [""])[-1][:500]


def is_inside(path: str) -> bool:
    """Whether a file or folder is the repository's own; an environment inside it is not."""
    return path.startswith(str(REPOSITORY)) and not path.startswith(sys.prefix)


def is_of_repository(module: ModuleType) -> bool:
    folders = vars(module).get("__path__") or []  # of a folder without __init__.py, which has no file
    return any(map(is_inside, [vars(module).get("__file__") or "", *folders]))


def be_pytest(copy: Path, words: Sequence[str], screen: Path, plugin: object) -> int:
    import pytest

    written = os.open(screen, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(written, 1)
    os.dup2(written, 2)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + MEMORY_BYTES,) * 2)
    # What this process was copied from may hold objects that wait for its threads as they end: none of them ends here.
    gc.freeze()
    ours = {name: module for name, module in sys.modules.items() if name != "__main__" and is_of_repository(module)}
    for name in ours:
        del sys.modules[name]
    sys.path[:] = [folder for folder in sys.path if not is_inside(folder)]
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

        names = {"data_file": f"{self.data}.data", "data_suffix": True, "branch": True}
        names["source"] = [str(self.copy / name) for name in ("src", "scripts")]
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
