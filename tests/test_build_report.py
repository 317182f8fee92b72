"""The report: self-contained, escaped, playable, the same twice, and honest about what is missing."""

import base64
import html.parser
import io
import json
import re
from pathlib import Path

import numpy as np

import av
import pytest

from report_examples import HEARD_WRONG, write_chain, write_vocoder_experiment

from synthetic import run_script

VOID_TAGS = {"meta", "br", "img", "link", "input", "hr"}


class _Page(html.parser.HTMLParser):
    """Collects tags with attributes, ids and visible text; fails on a closing tag that closes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def parse_page(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


def decode_mp3(encoded: bytes) -> np.ndarray:
    with av.open(io.BytesIO(encoded)) as container:
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Two scored experiments of one chain and the report of each combination."""
    root = tmp_path_factory.mktemp("chain")
    env = {"DATA_ROOT": str(root / "data"), "EXP_ROOT": str(root / "exp")}
    first = write_chain(root / "data", root / "exp")
    second = write_vocoder_experiment(root / "exp" / "spanish_vocoder_v4_b", offset=0.3, seed=0)
    run_script("src/build_report.py", first, "--max_examples", 3, env=env)
    run_script("src/build_report.py", first, second, "--max-examples", 2, "--out", root / "two.html", env=env)
    return {"first": first, "second": second, "two": root / "two.html", "env": env, "root": root}


def test_report_needs_no_network_and_no_other_file(chain: dict) -> None:
    path = chain["first"] / "report.html"
    page = parse_page(path)
    addresses = [
        value
        for _, attributes in page.tags
        for key, value in attributes.items()
        if key in ("src", "href", "xlink:href")
    ]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    style = re.search(r"<style>(.*?)</style>", path.read_text(encoding="utf-8"), re.DOTALL).group(1)
    assert "@import" not in style and "url(" not in style
    policy = next(
        attributes["content"] for tag, attributes in page.tags if tag == "meta" and "http-equiv" in attributes
    )
    assert policy.startswith("default-src 'none'")
    assert path.stat().st_size < 3e6


def test_ids_are_unique_and_links_inside_the_page_resolve(chain: dict) -> None:
    page = parse_page(chain["two"])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"}
    assert links and links <= set(ids)


def test_every_player_plays_what_the_test_folder_holds(chain: dict) -> None:
    page = parse_page(chain["first"] / "report.html")
    players = [attributes for tag, attributes in page.tags if tag == "audio"]
    test_players = [player for player in players if not player["aria-label"].startswith("motif")]
    assert len(test_players) == 2 * 3
    assert len(players) > len(test_players), "no motif has a player"
    for player in test_players:
        name = re.search(r"of (\S+)", player["aria-label"]).group(1)
        waveform = decode_mp3(base64.b64decode(player["src"].removeprefix("data:audio/mpeg;base64,")))
        folder = "original" if player["aria-label"].startswith("original") else "resynthesis"
        with av.open(str(chain["first"] / "test" / folder / f"{name}.wav")) as container:
            expected = np.concatenate([f.to_ndarray().reshape(-1) for f in container.decode(audio=0)]) / 32768
        assert len(waveform) == len(expected)
        assert np.corrcoef(waveform, expected)[0, 1] > 0.97


def test_every_picture_has_alternative_text_and_every_table_a_caption(chain: dict) -> None:
    page = parse_page(chain["two"])
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(pictures) >= 8
    assert all(len(attributes["aria-label"]) > 20 and attributes["role"] == "img" for attributes in pictures)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("caption") == tags.count("table")


def test_inserted_text_is_escaped(chain: dict) -> None:
    text = (chain["first"] / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" in HEARD_WRONG
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text


def test_numbers_intervals_and_paired_verdict_are_shown(chain: dict) -> None:
    scores = json.loads((chain["first"] / "scores.json").read_text())
    page = parse_page(chain["two"])
    entry = scores["metrics"]["mcd_db"]
    assert f"{entry['mean']:.2f}" in page.text and f"[{entry['low']:.2f}, {entry['high']:.2f}]" in page.text
    assert "Paired difference to spanish_vocoder_v4" in page.text
    assert "worse" in page.text
    units = json.loads((chain["root"] / "exp" / "spanish_units" / "unit_report.json").read_text())
    assert f"{units['splits']['all']['bits_per_second']['frames']['value']:.0f}bits per second at 50 Hz" in page.text


def test_two_builds_differ_in_the_date_alone(chain: dict) -> None:
    out = chain["root"] / "again.html"
    run_script("src/build_report.py", chain["first"], "--max_examples", 3, "--out", out, env=chain["env"])
    date = re.compile(r"oral-units report, [^<]*")
    first = (chain["first"] / "report.html").read_text(encoding="utf-8")
    assert date.sub("", out.read_text(encoding="utf-8")) == date.sub("", first)


def test_missing_parts_name_the_command_that_makes_them(tmp_path: Path) -> None:
    exp = write_vocoder_experiment(tmp_path / "exp" / "spanish_vocoder_v4", n_utterances=1, n_rows=1)
    for name in ("scores.json", "metrics.jsonl", "finished.json"):
        (exp / name).unlink()
    run_script("src/build_report.py", exp, env={"EXP_ROOT": str(tmp_path / "exp"), "DATA_ROOT": str(tmp_path)})
    text = parse_page(exp / "report.html").text
    for command in (
        "src/vocoder_test.py --exp",
        "scripts/run_phase2.sh spanish",
        "src/validate_units.py",
        "run_phase3.sh",
    ):
        assert command in text
    assert "has not finished" in text and "<audio" not in (exp / "report.html").read_text()


def test_a_folder_that_is_no_experiment_is_a_user_mistake(tmp_path: Path) -> None:
    done = run_script("src/build_report.py", tmp_path, code=2)
    assert str(tmp_path) in done.stderr and "config.json" in done.stderr


def test_examples_ids_cannot_leave_the_experiment(tmp_path: Path) -> None:
    exp = write_vocoder_experiment(tmp_path / "spanish_vocoder_v4", n_utterances=1)
    scores = json.loads((exp / "scores.json").read_text())
    scores["utterances"][0]["id"] = "../../../../secret"
    (exp / "scores.json").write_text(json.dumps(scores))
    assert "leaves" in run_script("src/build_report.py", exp, code=2).stderr
