"""The page of hits: its own script alone, every hit to listen to, and decisions that search.py reads."""

import json
import re
from pathlib import Path

import numpy as np

import pytest

from chromium_page import CHROMIUM, drive_page

from core.files import read_json
from core.records import SearchResult
from report.listening_page import read_labels
from report.page import TEMPLATES
from report.search_page import build_search_page
from spoken_search.decisions import read_decisions
from synthetic import speech_like

DRIVER = """
const told = {};
const item = (number) => document.getElementById("hit-" + number);
const press = (number, key) => item(number).dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
told.before = item(1).className;
press(0, "a");
item(1).querySelectorAll("input")[1].click();
press(2, "a");
press(2, "u");
press(0, "n");
told.focus = document.activeElement.closest("li").id;
told.count = document.getElementById("status").textContent;
told.saved = "";
// Reading the file would take until after Chromium has written the page down.
const Made = File;
File = class extends Made { constructor(parts, ...rest) { super(parts, ...rest); told.saved = parts.join(""); } };
HTMLAnchorElement.prototype.click = function () { told.name = this.download; };
document.querySelector(".bar button").click();
document.body.append(element("pre", { id: "told" }, JSON.stringify(told)));
"""


@pytest.fixture(scope="module")
def result() -> SearchResult:
    hits = []
    for rank, probability in enumerate((0.97, 0.5, 0.1), 1):
        start = 0.4 * rank
        times = {"start": start + 5, "end": start + 5.5, "audio_start": start, "audio_end": start + 0.5}
        row = {
            "rank": rank,
            "id": f"s{rank}",
            "source": "tale.mp3",
            "audio": f"x/s{rank}.wav",
            "speaker": None,
            **times,
        }
        hits.append(row | {"cost": 0.1, "score": 5.0, "probability": probability, "text": "</script><b>&"})
    where = {"language": "guarani", "word": 'ava"', "queries": ["word.wav"], "index": "0", "encoder": "mfcc"}
    kind = {"format": "oral-units search hits", "format_version": 1, "layer": None, "seconds_searched": 3600.0}
    return kind | where | {"hits": hits}


@pytest.fixture(scope="module")
def page(result: SearchResult) -> str:
    earlier = [
        {"id": "s9", "audio_start": 0.0, "audio_end": 1.0, "decision": "rejected"},
        {"id": "s1", "audio_start": 0.4, "audio_end": 0.9, "decision": "rejected"},
    ]
    sound = speech_like(3.0)
    return build_search_page(result, [sound[:8000]], lambda _: sound, read_labels("en", "search"), earlier)


def test_every_hit_can_be_heard_and_no_text_ends_the_script(page: str, result: SearchResult) -> None:
    content = json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])
    assert content["title"] == 'Where is “ava"” said?' and content["hours"] == "1.00"
    assert [hit["id"] for hit in content["hits"]] == ["s1", "s2", "s3"]
    sizes = [(len(clip["word"]), len(clip["around"])) for clip in content["clips"]]
    assert all(1.5 * word < around for word, around in sizes)
    assert [row["id"] for row in content["earlier"]] == ["s9"]  # s1 is among the hits
    assert page.count("<script") == 2 and "<b>&" not in page and "http" not in page.replace("http-equiv", "")


def test_every_language_says_everything() -> None:
    known = read_json(TEMPLATES / "search_labels.json")
    script = (TEMPLATES / "search.js").read_text(encoding="utf-8")
    used = set(re.findall(r"labels\.(\w+)", script)) | {"accepted", "rejected", "undecided", "title", "title_word"}
    for labels in known.values():
        assert used <= set(labels) and list(labels) == list(known["en"])
        for name, text in labels.items():
            assert sorted(re.findall(r"\{\d\}", text)) == sorted(re.findall(r"\{\d\}", known["en"][name])), name


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt-get install chromium)")
def test_chromium_accepts_by_key_rejects_by_mouse_and_saves(page: str, tmp_path: Path) -> None:
    told = drive_page(page, DRIVER, tmp_path)
    assert told["before"].strip() == "hit" and told["focus"] == "hit-1"
    assert told["count"] == "1 accepted, 1 rejected, 1 not decided"
    assert re.match(r"decisions_ava_\w{8}\.json", told["name"])
    (tmp_path / "saved.json").write_text(told["saved"], encoding="utf-8")
    rows = read_decisions([tmp_path / "saved.json"], "guarani")
    decided = [(row["id"], row["decision"]) for row in rows]
    assert decided == [
        ("s1", "accepted"),
        ("s2", "rejected"),
        ("s9", "rejected"),
    ]
    assert np.isclose(rows[0]["audio_start"], 0.4)
