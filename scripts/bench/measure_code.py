"""How easily is the code found and read? A few counts over src, scripts and recipes, and over the README.

python scripts/bench/measure_code.py
python scripts/bench/measure_code.py src/report src/build_report.py --worst 10
"""

import argparse
import ast
import re
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from languages import REPOSITORY

BRANCHES = (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.With, ast.Assert, ast.comprehension)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("paths", nargs="*", help="files or folders (default: src, scripts and recipes)")
    parser.add_argument("--worst", type=int, default=5, help="rows of each list")
    return parse_flags(parser, argv)


def python_files(paths: list[str]) -> list[Path]:
    """Every Python file below ``paths``; UserError where there is none."""
    roots = [Path(path) for path in paths] or [REPOSITORY / name for name in ("src", "scripts", "recipes")]
    files = sorted({file for root in roots for file in ([root] if root.is_file() else root.rglob("*.py"))})
    if not files:
        raise UserError(f"{', '.join(paths)}: expected Python files, found none")
    return files


def count_lines(text: str) -> int:
    """Lines that are neither blank nor a comment."""
    return sum(1 for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))


def functions_of(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def parameters_of(function: ast.FunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def is_bare_dict(annotation: ast.expr | None) -> bool:
    """Whether an annotation says ``dict`` without its keys and values, anywhere in it."""
    return annotation is not None and bool(re.search(r"\bdict\b(?!\[)", ast.unparse(annotation)))


def string_keys(tree: ast.Module) -> int:
    """Subscripts by a literal word, as in ``row["text"]``."""
    return sum(
        isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)
        for node in ast.walk(tree)
    )


def complexity(function: ast.FunctionDef) -> int:
    """Ways through a function (McCabe 1976), with ``and``, ``or`` and conditions inside expressions counted too."""
    branches = sum(isinstance(node, BRANCHES) for node in ast.walk(function))
    return 1 + branches + sum(len(node.values) - 1 for node in ast.walk(function) if isinstance(node, ast.BoolOp))


def local_names(function: ast.FunctionDef) -> int:
    stored = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return len(stored | {parameter.arg for parameter in parameters_of(function)})


def words_a_sentence(page: Path) -> tuple[int, float]:
    """Words of a Markdown page without code, tables and pictures, and their mean number a sentence."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("|", "#", "<"))]
    text = re.sub(r"\]\([^)]*\)", "]", "\n".join(lines))
    sentences = [found for found in re.split(r"(?<=[.!?])\s+|\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text) if found.strip()]
    counts = [n for n in (len(re.findall(r"[^\W_][\w'’./-]*", sentence)) for sentence in sentences) if n]
    return sum(counts), sum(counts) / max(1, len(counts))


def print_worst(title: str, rows: list[tuple], most: int) -> None:
    print(f"\n{title}")
    for row in sorted(rows, reverse=True)[:most]:
        print("  " + "  ".join(str(cell) for cell in row))


def main() -> None:
    args = parse_args()
    files = python_files(args.paths)
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
    lines = {file: count_lines(file.read_text(encoding="utf-8")) for file in files}
    functions = [(file, function) for file, tree in trees.items() for function in functions_of(tree)]
    parameters = [(file, found) for file, function in functions for found in parameters_of(function)]
    keys = Counter({file: string_keys(tree) for file, tree in trees.items()})
    bare = Counter(file for file, parameter in parameters if is_bare_dict(parameter.annotation))
    total = sum(lines.values())
    print(f"lines of code                               {total} in {len(files)} files")
    print(f"string-key subscripts per 100 lines of code {100 * sum(keys.values()) / total:.1f}")
    print(f"bare dict parameters                        {sum(bare.values())} of {len(parameters)}")
    if not args.paths:
        n_words, mean = words_a_sentence(REPOSITORY / "README.md")
        print(f"README                                      {n_words} words, {mean:.1f} a sentence")
    judged = [(file, function) for file, function in functions if not function.name.startswith("parse_")]
    where = [(f"{file}:{function.lineno}", function.name) for file, function in judged]
    for title, measure in (
        ("longest functions outside parse_… (lines)", lambda found: found.end_lineno - found.lineno + 1),
        ("most ways through", complexity),
        ("most local names", local_names),
    ):
        rows = [(measure(function), *place) for (_, function), place in zip(judged, where)]
        print_worst(title, rows, args.worst)
    print_worst("most string-key subscripts", [(count, lines[file], file) for file, count in keys.items()], args.worst)
    print_worst("most bare dict parameters", [(count, file) for file, count in bare.items()], args.worst)


if __name__ == "__main__":
    run_main(main)
