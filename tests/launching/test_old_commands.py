"""What people typed in the scripts that this project grew out of: each command of docs/launching.md's table is taken.

They run on real engines in tests/cluster/test_old_commands.py.
"""

import re
import shlex
from functools import partial
from pathlib import Path

import pytest

import launch

from launching.commands import check_command
from launching.modal_flags import parse_main, parse_phase
from launching.modal_spec import make_spec
from synthetic import REPOSITORY

PARSERS = {"main": parse_main} | {f"phase{number}": partial(parse_phase, number) for number in (1, 3)}
FOLDERS = {
    "phase1_acoustic.py": "satere_units",
    "phase3_vocoder_v2.py": "satere_vocoder_v2",
    "vocoder_test_v2.py": "satere_vocoder_v2",
}


def rows() -> list[tuple[str, str]]:
    """(what was typed there, what is typed here) of both tables."""
    text = (REPOSITORY / "docs" / "launching.md").read_text(encoding="utf-8")
    section = text.split("## What you typed there, what you type here\n")[1].split("\n## ")[0]
    cells = [line.strip("| \n").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [(there, re.findall(r"`([^`]+)`", here)[-1]) for there, here in cells if "`" in here]


ROWS = rows()
ON_MODAL = [(there, here) for there, here in ROWS if "modal_run.py::" in here]
BY_LAUNCHER = [here for _, here in ROWS if here.startswith("python scripts/launch.py")]


def test_both_tables_are_whole() -> None:
    assert (len(ROWS), len(ON_MODAL), len(BY_LAUNCHER)) == (12, 7, 2)


@pytest.mark.parametrize(("there", "here"), ON_MODAL)
def test_modal_takes_the_command(language_roots: dict[str, Path], there: str, here: str) -> None:
    words = shlex.split(here)
    entry = next(position for position, word in enumerate(words) if "::" in word)
    job = PARSERS[words[entry].partition("::")[2]](words[entry + 1 :])
    assert (REPOSITORY / job.words[0]).is_file() and job.n_gpus == here.count("--gpu ")
    expected = next((folder for script, folder in FOLDERS.items() if script in there), None)
    assert expected in (None, make_spec(job)["folder"])


@pytest.mark.parametrize("here", BY_LAUNCHER)
def test_the_launcher_takes_the_command(language_roots: dict[str, Path], here: str) -> None:
    args = launch.parse_args(shlex.split(here)[2:])
    check_command(args.command, args.nodes)
    assert launch.choose_name(args.name, args.command) in ("satere_vocoder_v2", "speech_llm_post_wlg")
