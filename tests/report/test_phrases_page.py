"""The page of phrases: every place to listen to, and names that find_phrases.py reads."""

import json
import re
from pathlib import Path

import pytest

from chromium_page import CHROMIUM, drive_page

from core.files import read_json
from core.records import PhraseResult
from report.listening_page import read_labels
from report.page import TEMPLATES
from report.phrases_page import build_phrases_page
from synthetic import speech_like

DRIVER = """
const saw = {};
const type = (id, text) => {
  const field = document.getElementById(id);
  field.value = text;
  for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
};
const press = (id, key) =>
  document.getElementById(id).dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
type("name-0", " ava ");
type("gloss-0", "person");
const spoken = content.meanings[0];
setMeaning(1, spoken);
setMeaning(0, "");
saw.group = document.getElementById("meaning-1").textContent;
press("said-0-1", "x");
document.getElementById("said-0-0").querySelector("input").click();
press("said-0-0", "x");
press("said-0-0", "n");
saw.focus = document.activeElement.closest(".phrase").id;
saw.title = document.getElementById("title-0").textContent;
saw.count = document.getElementById("status").textContent;
// Reading the file would take until after Chromium has written the page down.
const Made = File;
File = class extends Made { constructor(parts, ...rest) { super(parts, ...rest); saw.saved = parts.join(""); } };
HTMLAnchorElement.prototype.click = function () { saw.name = this.download; };
document.querySelector(".bar button").click();
document.body.append(element("pre", { id: "told" }, JSON.stringify(saw)));
"""


@pytest.fixture(scope="module")
def result() -> PhraseResult:
    phrases = []
    for rank in (1, 2, 3):
        said = []
        for number in range(3):
            at = 0.3 * number
            times = {"start": 5 + at, "end": 5.5 + at, "audio_start": at, "audio_end": at + 0.5}
            row = {"id": f"s{rank}{number}", "source": "</script><b>&.mp3", "audio": "x.wav", "speaker": None}
            said.append(row | times | {"score": 1.0})
        told = {"name": "", "gloss": "", "n_speakers": 1, "n_recordings": 3, "n_occurrences": 3}
        phrases.append({"rank": rank, "label": f"s00{rank}", **told, "occurrences": said})
    kind = {"format": "oral-units phrases", "format_version": 1, "language": "guarani", "index": "0"}
    return kind | {"seconds_searched": 3600.0, "phrases": phrases}


@pytest.fixture(scope="module")
def page(result: PhraseResult) -> str:
    place = {"audio_start": 0.0, "audio_end": 0.5, "decision": "accepted"}
    earlier = [{"name": name, "gloss": "", "occurrences": [place | {"id": name}]} for name in ("s10", "s30")]
    sound = speech_like(3.0)
    sizes = {"n_phrases": 2, "n_clips": 2}
    said = {"s001": "data:audio/mpeg;base64,AAAA"}
    labels = read_labels("en", "phrases")
    return build_phrases_page(result, lambda _: sound, labels, **sizes, earlier=earlier, meanings=said)


def test_as_many_places_can_be_heard_as_asked_for_and_no_text_ends_the_script(page: str) -> None:
    content = json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])
    assert [len(clips) for clips in content["clips"]] == [2, 2] and content["n_phrases"] == 3
    assert [row["name"] for row in content["earlier"]] == ["s30"]  # the other's place is on the page
    assert page.count("<script") == 2 and "<b>&" not in page and "http" not in page.replace("http-equiv", "")


def test_every_language_says_everything() -> None:
    known = read_json(TEMPLATES / "phrases_labels.json")
    script = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("clips.js", "phrases.js"))
    used = set(re.findall(r"labels\.(\w+)", script)) | {"title", "no_script", "too_long", "no_sound"}
    for labels in known.values():
        assert used <= set(labels) and list(labels) == list(known["en"])
        for name, text in labels.items():
            assert sorted(re.findall(r"\{\d\}", text)) == sorted(re.findall(r"\{\d\}", known["en"][name])), name


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt-get install chromium)")
def test_chromium_names_rejects_by_key_and_saves(page: str, tmp_path: Path) -> None:
    saw = drive_page(page, DRIVER, tmp_path)
    assert (saw["title"], saw["focus"]) == ("ava", "phrase-1")
    assert saw["count"] == "Named: 2 of 2. Places marked as wrong: 1."
    assert "Spoken meaning" in saw["group"] and "Delete the recording" in saw["group"]
    first, second, third = json.loads(saw["saved"])["phrases"]
    assert (first["name"], first["gloss"], third["name"]) == ("ava", "person", "s30")
    assert "gloss_audio" not in first and (second["name"], second["gloss_audio"]) == ("", "data:audio/mpeg;base64,AAAA")
    decided = [(place["id"], place["decision"]) for place in first["occurrences"]]
    assert decided == [("s10", "accepted"), ("s11", "rejected"), ("s12", "accepted")]
