"""The help of every script: it opens with what is read and written, one command and a page; no empty defaults."""

import argparse
import functools
import re

import pytest

from test_docs import parser_of

from core.cli import HELP_FORMATTER
from synthetic import REPOSITORY

HELPS = sorted(
    str(path.relative_to(REPOSITORY))
    for folder in ("src", "scripts", "scripts/bench")
    for path in (REPOSITORY / folder).glob("*.py")
    if "def parse_args" in path.read_text(encoding="utf-8")
)
OWN_FORMATTER = ("src/speak_exported.py", "scripts/check_environment.py")  # run without this repository's code
# None of them reads data or writes a result of its own.
SHORT = ("scripts/check_environment.py", "scripts/check_pythonpath.py", "scripts/launch.py", "scripts/modal_run.py")


@functools.cache
def help_of(script: str) -> str:
    return parser_of(script).format_help()


@pytest.mark.parametrize("script", [name for name in HELPS if name != "scripts/modal_run.py"])
def test_help_names_no_empty_default_and_has_no_marks_of_source_text(script: str) -> None:
    shown = " ".join(help_of(script).split())
    assert not re.findall(r"\(default: (?:None|False|True|\[\]|==SUPPRESS==|)\)", shown)
    assert "``" not in shown and "anew" not in shown


@pytest.mark.parametrize("script", [name for name in HELPS if "bench" not in name and name not in SHORT])
def test_help_opens_with_a_command_and_a_page(script: str) -> None:
    opening = parser_of(script).description
    assert re.search(rf"^ +python (?:{script}|speak\.py)\b", opening, re.MULTILINE), "no example of its own command"
    assert re.search(r"\b[Rr]eads |\bFetch |\bPut ", opening) and (script in OWN_FORMATTER or "docs/" in opening)
    for page in re.findall(r"docs/\w+\.md", opening):
        assert (REPOSITORY / page).is_file()


def test_a_required_flag_and_a_flag_that_names_its_default_show_none() -> None:
    parser = argparse.ArgumentParser(prog="x", formatter_class=HELP_FORMATTER, description="A\nb.\n\n    python x\n  y")
    parser.add_argument("--out", required=True, default="here", help="where")
    parser.add_argument("--steps", type=int, default=0, help="how long")
    parser.add_argument("--pause", type=float, default=0.4, help="seconds (0.4)")
    parser.add_argument("--tag", default="", help="a name of ``exp``")
    parser.add_argument("--rate", default=None, help="how fast; by default as before")
    shown = " ".join(parser.format_help().split())
    assert "where --steps STEPS how long (default: 0) --pause PAUSE seconds (0.4) --tag TAG a name" in shown
    assert " a name of exp --rate RATE how fast; by default as before" in shown
    assert "\nA b.\n\n    python x\n  y\n" in parser.format_help()
