"""Flags and their help: the everyday ones at first sight, every one on request."""

import argparse
import os
import re
import sys
from pathlib import Path

import pytest

from core.cli import parse_flags, use_utf8


def test_in_a_locale_that_is_not_utf8_the_script_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setenv("PYTHONUTF8", "")
    monkeypatch.delenv("PYTHONUTF8")
    monkeypatch.setattr(os, "execv", lambda *words: started.append((*words, os.environ["PYTHONUTF8"])))
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "utf-8")
    use_utf8()
    assert started == []
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    use_utf8()
    use_utf8()  # once is enough
    assert started == [(sys.executable, [sys.executable, *sys.orig_argv[1:]], "1")]


def make_parser(**settings: object) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="train", **settings)
    parser.add_argument("--out", required=True, help="where to write")
    common = parser.add_argument_group("training")
    common.add_argument("--steps", type=int, default=7, help="how long")
    common.add_argument("--adam_beta1", type=float, default=0.8, help="of the optimiser")
    rare = parser.add_argument_group("rare things", description="for those who know")
    rare.add_argument("--odd", action="store_true", help="something odd")
    return parser


def help_of(capsys: pytest.CaptureFixture[str], word: str, everyday: tuple[str, ...] = ("steps",), **settings) -> str:
    with pytest.raises(SystemExit) as stopped:
        parse_flags(make_parser(**settings), [word], everyday=everyday)
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_shows_everyday_and_required_flags_and_says_where_the_others_are(word: str, capsys) -> None:
    shown = help_of(capsys, word)
    assert set(re.findall(r"--\w+", shown)) == {"--help", "--help_all", "--out", "--steps"}
    assert "rare things" not in shown and "for those who know" not in shown
    assert shown.splitlines()[-1] == "These are the everyday flags; --help_all shows all 4."
    assert "\nlast words\n" in help_of(
        capsys, word, epilog="last words", formatter_class=argparse.RawDescriptionHelpFormatter
    )


@pytest.mark.parametrize("word", ["--help_all", "--help-all"])
def test_help_all_shows_every_flag(word: str, capsys) -> None:
    shown = help_of(capsys, word)
    assert {"--out", "--steps", "--adam_beta1", "--odd"} <= set(re.findall(r"--\w+", shown))
    assert "for those who know" in shown and "everyday" not in shown


def test_without_everyday_flags_both_helps_are_the_same(capsys) -> None:
    shown = help_of(capsys, "--help", everyday=())
    assert shown == help_of(capsys, "--help_all", everyday=())
    assert "--odd" in shown and "--help_all" not in shown


def test_a_hidden_flag_is_obeyed_and_help_leaves_no_trace_in_the_values() -> None:
    args = parse_flags(make_parser(), ["--out", "x", "--adam-beta1", "0.5"], everyday=("steps",))
    assert (args.adam_beta1, args.steps) == (0.5, 7)
    assert args.flag_defaults == {"out": None, "steps": 7, "adam_beta1": 0.8, "odd": False}
    assert set(vars(args)) == {"out", "steps", "adam_beta1", "odd", "flag_defaults"}


def test_an_everyday_flag_that_is_no_flag_is_a_defect() -> None:
    with pytest.raises(AssertionError, match="stepz"):
        parse_flags(make_parser(), ["--out", "x"], everyday=("stepz",))


def test_an_empty_word_is_no_path(capsys: pytest.CaptureFixture) -> None:
    parser = argparse.ArgumentParser(prog="look")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    assert parse_flags(parser, ["here", "--out", "."]).out == Path()
    for words in ([""], ["here", "--out", " "], ["here", "--out="]):
        parser = argparse.ArgumentParser(prog="look")
        parser.add_argument("folder", type=Path)
        parser.add_argument("--out", type=Path)
        with pytest.raises(SystemExit) as stopped:
            parse_flags(parser, words)
        assert stopped.value.code == 2 and "expected a path, found an empty word" in capsys.readouterr().err
