"""Small mistakes for scripts/bench/mutate.py to plant: where a module can be changed, and a random draw of changes."""

import ast
import difflib
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

FEWEST = 3  # mutants of a module


class Mutant(NamedTuple):
    module: str  # relative to the repository
    place: tuple[int, int]  # line and column, where cosmic-ray sees the change
    operator: str
    occurrence: int  # of the operator in the module


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


def change_of(before: str, after: str) -> list[str]:
    """The lines of a change: those taken away begin with ``-``, those put in their place with ``+``."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if line[:3] not in ("---", "+++") and line[0] != "@"]


def repeated_change(source: str, change: Sequence[str], line: int) -> str | None:
    """A later ``source`` with an earlier ``change``, nearest to ``line``; None where its lines are no more."""
    lines = source.split("\n")
    old, new = ([text[1:] for text in change if text[0] == sign] for sign in "-+")
    places = [place for place in range(len(lines)) if lines[place : place + len(old)] == old]
    if not old or not places:
        return None
    nearest = min(places, key=lambda place: abs(place + 1 - line))
    return "\n".join(lines[:nearest] + new + lines[nearest + len(old) :])


def first_changed(before: str, after: str) -> int:
    """The number of the first line that two sources do not share."""
    pairs = zip(before.split("\n"), after.split("\n"))
    return next(line for line, (old, new) in enumerate(pairs, 1) if old != new)


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
