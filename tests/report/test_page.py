"""The page: every text escaped, no name left empty, the script allowed by its hash alone."""

import base64
import hashlib
import re
from pathlib import Path

import jinja2
import pytest

from report_examples import write_vocoder_experiment

from report.data import load_experiment
from report.page import TEMPLATES, build_page, make_unit_sections, open_templates, seconds_per_player


def build(folder: Path, **changes: object) -> str:
    experiment = load_experiment(write_vocoder_experiment(folder, n_utterances=1, n_rows=1))._replace(**changes)
    return build_page([experiment], n_examples=1, max_seconds=1.0, n_motifs=1)


def test_whatever_comes_from_a_file_is_escaped(tmp_path: Path) -> None:
    evil = "<b>&\"'"
    page = build(tmp_path / "a", name=evil, arguments={evil: evil}, environment={"command": evil})
    assert evil not in page and "<b>&" not in page and "&lt;b&gt;&amp;" in page


def test_a_name_that_nobody_gave_is_refused() -> None:
    with pytest.raises(jinja2.UndefinedError, match="cards"):
        open_templates().get_template("listen.html").render(experiments=[])


def test_the_policy_lets_the_pages_own_script_run(tmp_path: Path) -> None:
    page = build(tmp_path / "a")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page and script == (TEMPLATES / "player.js").read_text()


def test_light_and_dark_define_the_same_colours() -> None:
    style = (TEMPLATES / "style.css").read_text()
    light, dark = (set(re.findall(r"(--[\w-]+):", block)) for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL))
    assert light == dark and "prefers-color-scheme: dark" in style


def test_many_players_are_shorter_ones() -> None:
    assert seconds_per_player(9, 1, 20.0) == 20.0
    assert seconds_per_player(45, 1, 20.0) == pytest.approx(10.0)
    assert seconds_per_player(9000, 1, 20.0) == 3.0 and seconds_per_player(9000, 1, 2.0) == 2.0


def test_shared_units_are_shown_once(tmp_path: Path) -> None:
    (tmp_path / "spanish_units").mkdir()
    one, two = (load_experiment(write_vocoder_experiment(tmp_path / name, n_rows=1, n_utterances=1)) for name in "ab")
    apart = two._replace(units_path=tmp_path)
    assert [part.series for part in make_unit_sections([one, two, apart])] == [0, 2]
