"""The house keeps its floors: a folder of src imports only from floors below its own, and nothing goes in a circle."""

import ast
import graphlib

import pytest

from synthetic import REPOSITORY

SRC = REPOSITORY / "src"
FLOORS = (
    ("core",),
    ("languages",),
    ("audio", "models", "training", "annotations"),
    ("segmentation", "encoders", "evaluation"),
    ("units",),
    ("prosody", "speech_llm", "launching", "spoken_search", "unit_lm"),
    ("vocoder", "alignment", "phrases"),
    ("translation",),
    ("report",),
)
FLOOR = {name: number for number, floor in enumerate(FLOORS) for name in floor}
FILES = sorted(path.relative_to(SRC) for path in SRC.rglob("*.py"))


def imported_modules(path) -> set[str]:
    """Dotted names of the project's modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse((SRC / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            # "from launching import local" imports a module, "from core.files import read_json" a name of one.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name for name in names if (SRC / (name.replace(".", "/") + ".py")).is_file()}
    return found


def folder_of(module: str) -> str:
    return module.partition(".")[0]


def test_every_folder_has_a_floor() -> None:
    assert {path.parts[0] for path in FILES if len(path.parts) > 1} == set(FLOOR) - {"languages"}


@pytest.mark.parametrize("path", [path for path in FILES if len(path.parts) > 1 or path.stem == "languages"], ids=str)
def test_no_arrow_goes_upward(path) -> None:
    own = path.parts[0].removesuffix(".py")
    upward = {
        module
        for module in imported_modules(path)
        if folder_of(module) != own and FLOOR.get(folder_of(module), len(FLOORS)) >= FLOOR[own]
    }
    assert not upward, f"{path} imports from its own floor or above: {sorted(upward)}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {".".join(path.with_suffix("").parts): imported_modules(path) for path in FILES}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_nothing_imports_a_script() -> None:
    scripts = {path.stem for path in FILES if len(path.parts) == 1} - {"languages"}
    for path in FILES:
        assert not imported_modules(path) & scripts, path
