"""What no code here may do: run text as code, start a shell, read what can run code. The syntax trees say so."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FILES = sorted(path for folder in ("src", "scripts", "recipes") for path in (REPOSITORY / folder).rglob("*.py"))
RUNS_CODE = {
    *("eval", "exec", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open"),
    *("dill.load", "dill.loads", "cloudpickle.load", "cloudpickle.loads", "joblib.load", "pandas.read_pickle"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "torch.hub.load"),
}
# Where one of them stands, and why it may.
ALLOWED = {("src/units/estimators.py", "joblib.load"): "only reached with --trust_pickle, which says what it means"}


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Name in the module -> what it stands for: {"np": "numpy", "load": "pickle.load"}."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """What is called, with its module in full; "" for what has no name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    inner = dotted(node.value, names) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner else ""


def is_plain(keywords: dict[str, ast.expr], name: str, value: bool) -> bool:
    """Whether a keyword is written out as this very value."""
    return isinstance(keywords.get(name), ast.Constant) and keywords[name].value is value


def find_dangers(source: str) -> Iterator[tuple[int, str]]:
    """(line, what is called) of every call that may run what it reads, or start a shell."""
    tree = ast.parse(source)
    names = imported_names(tree)
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called, keywords = dotted(node.func, names), {word.arg: word.value for word in node.keywords if word.arg}
        if called in RUNS_CODE:
            yield node.lineno, called
        if "shell" in keywords and not is_plain(keywords, "shell", False):
            yield node.lineno, "shell=True"
        if called == "torch.load" and not is_plain(keywords, "weights_only", True):
            yield node.lineno, "torch.load without weights_only=True"
        if "allow_pickle" in keywords and not is_plain(keywords, "allow_pickle", False):
            yield node.lineno, "allow_pickle=True"


def test_no_code_runs_what_it_reads_or_starts_a_shell() -> None:
    found = {
        (path.relative_to(REPOSITORY).as_posix(), what, line)
        for path in FILES
        for line, what in find_dangers(path.read_text(encoding="utf-8"))
    }
    assert len(FILES) > 300 and {(file, what) for file, what, _ in found} == set(ALLOWED), sorted(found)


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)",
        "import os; os.system('ls')",
        "import subprocess as s; s.run(words, shell=True)",
        "import subprocess as s; s.run(words, shell=chosen)",
        "from pickle import loads as read; read(content)",
        "import torch; torch.load(path)",
        "import torch; torch.load(path, weights_only=False)",
        "import numpy as np; np.load(path, allow_pickle=True)",
        "import yaml; yaml.load(text, Loader=yaml.Loader)",
        "import joblib\ndef f():\n    return joblib.load(path)",
    ],
)
def test_a_danger_is_seen_however_it_is_written(line: str) -> None:
    assert list(find_dangers(line))


def test_safe_calls_are_let_alone() -> None:
    lines = ["import torch; torch.load(path, weights_only=True)", "model.eval()", "import yaml; yaml.safe_load(text)"]
    lines += [
        "import subprocess; subprocess.run(words, shell=False)",
        "import numpy; numpy.load(p, allow_pickle=False)",
    ]
    assert not list(find_dangers("\n".join(lines)))


def test_every_package_has_its_hashes_and_no_index_is_named() -> None:
    """constraints_hashed.txt is of constraints.txt as it is now: bash scripts/hash_constraints.sh makes it again."""
    hashed = (REPOSITORY / "constraints_hashed.txt").read_text(encoding="utf-8")
    wanted = [line for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    entries = re.split(r"\n(?=\S)", hashed.partition("\n")[2].strip())
    assert {entry.split()[0].lower() for entry in entries} == {line.lower().replace("_", "-") for line in wanted}
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries) and "://" not in hashed
