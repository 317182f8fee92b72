"""What is shown as a command can be pasted into a shell."""

import re
import shlex
from pathlib import Path

import pytest

from core.commands import as_typed, how_to_get_model
from synthetic import REPOSITORY

# A folder put into a command by hand, as f"python src/x.py --exp {exp}" or as "--exp %s".
BY_HAND = re.compile(
    r"(?:python|bash) (?:src|scripts)/\S+\.(?:py|sh)[^\"\n]* (?:--\w+ )?"
    r"(?:\{(?:exp|out|path|args\.out|args\.exp|folder)\}|%s)"
)


@pytest.mark.parametrize(
    ("name", "fetched"),
    [("openai/whisper-base", True), ("bert-base", True), ("/models/a b", False), ("../x", False), ("a/b/c", False)],
)
def test_what_may_be_on_a_hub_is_fetched_and_a_path_looked_at(name: str, fetched: bool) -> None:
    said = how_to_get_model(name)
    assert said.endswith(f"scripts/fetch_models.py --model {name}") == fetched and said.startswith("check") != fetched


def test_a_path_with_spaces_stays_one_word() -> None:
    words = ["python", "src/vocoder_test.py", "--exp", Path("/data/my exp/it's $HOME")]
    assert shlex.split(as_typed(*words)) == [str(word) for word in words]


def test_no_command_with_a_path_is_written_by_hand() -> None:
    for folder in ("src", "scripts", "recipes"):
        for script in (REPOSITORY / folder).rglob("*.py"):
            found = BY_HAND.search(script.read_text(encoding="utf-8"))
            assert not found, f"{script}: {found[0]}; use core.commands.as_typed"
