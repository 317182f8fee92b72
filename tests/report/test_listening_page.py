"""The page of a listening test: blind, in every language, and answered in Chromium."""

import base64
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np

import pytest

from chromium_page import CHROMIUM, drive_page
from listening_examples import make_test

from audio.audio_io import save_audio
from core.errors import UserError
from core.files import read_json, write_json
from core.records import ListeningKey
from evaluation.listening import read_judgements
from evaluation.listening_files import read_answers
from report.listening_page import LEVEL_DBFS, build_listening_page, check_labels, level_clip, read_labels
from report.page import TEMPLATES
from synthetic import speech_like

# Answers everything as fast as it can: the first answer where A is on the left, else the last.
DRIVER = """
const told = { shut: [], plans: [] };
const press = (selector) => document.querySelector(selector).click();
for (const id of ["ana", "ana", "rui"]) told.plans.push(makePlan(id));
document.getElementById("name").value = "Ana </p>";
document.querySelector("form").requestSubmit();
const id = session.id;
while (session.place < session.plan.length) {
  told.shut.push(document.querySelector("fieldset").disabled);
  for (const button of document.querySelectorAll(".plays button")) {
    button.click();
    playing.audio.dispatchEvent(new Event(session.place === 5 ? "error" : "ended"));
    told.broken = told.broken || document.querySelector("[role=status]").textContent === labels.broken;
  }
  const answers = [...document.querySelectorAll("input[name=answer]")];
  answers[session.place % 2 ? answers.length - 1 : 0].click();
  document.querySelector("form").requestSubmit();
  if (session.place === 3) {
    finish();
    told.halfway = JSON.parse(document.querySelector("textarea").value);
    welcome();
    told.waiting = [...document.querySelectorAll("button.main")].map((button) => button.textContent);
    begin(Object.values(readStore()).find((found) => found.id === id) || told.halfway);
    told.place = session.place;
  }
}
told.saved = document.querySelector("textarea").value;
told.name = document.querySelector("a[download]").download;
document.body.replaceChildren(element("pre", { id: "told" }, JSON.stringify(told)));
"""


@pytest.fixture(scope="module")
def key() -> ListeningKey:
    return make_test()


@pytest.fixture(scope="module")
def page(key: ListeningKey) -> str:
    waveform = speech_like(1.0)
    how = {"email": "team@example.org", "n_repeats": 3}
    return build_listening_page(key, lambda system, utterance: waveform, read_labels("pt"), **how)


def test_the_page_tells_neither_voices_nor_right_answers(key: ListeningKey, page: str) -> None:
    content = json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])
    assert len(content["clips"]) == len(key["clips"]) and content["labels"]["language"] == "pt"
    told = json.dumps({name: value for name, value in content.items() if name != "clips"})
    assert (
        "right" not in told
        and "original" not in told
        and '"a"' not in told
        and "u3" not in told.replace("said in u3", "")
    )
    assert "http" not in page.replace("http-equiv", "") and "default-src 'none'" in page


def test_only_its_own_script_may_run(page: str) -> None:
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page and page.count("<script") == 2


def test_a_text_cannot_end_the_script(key: ListeningKey) -> None:
    evil = key | {"title": "</script><script>alert(1)</script><!-- &"}
    page = build_listening_page(evil, lambda *_: np.zeros(400, np.float32), read_labels("en"))
    assert "<script>alert" not in page and "<!--" not in page
    assert json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])["title"] == evil["title"]


def test_every_language_says_everything() -> None:
    known = read_json(TEMPLATES / "listening_labels.json")
    assert set(known) == {"en", "es", "pt"}
    for name, labels in known.items():
        assert labels["language"] == name and len(labels["grades"]) == 5
        assert {key: re.findall(r"\{\d\}", str(text)) for key, text in labels.items()} == {
            key: re.findall(r"\{\d\}", str(text)) for key, text in known["en"].items()
        }
    script = (TEMPLATES / "listening.js").read_text()
    assert set(re.findall(r"labels\.(\w+)", script)) <= set(known["en"])


def test_labels_of_ones_own(tmp_path: Path) -> None:
    own = read_labels("en") | {"start": "Mihi"}
    write_json(tmp_path / "own.json", own)
    assert read_labels(str(tmp_path / "own.json"))["start"] == "Mihi"
    del own["start"]
    write_json(tmp_path / "own.json", own)
    with pytest.raises(UserError, match='the label start, found None; as in English: {"start": "Start"}'):
        read_labels(str(tmp_path / "own.json"))
    english = read_labels("en")
    for changes in (
        {"grades": ["5", "4", "3", "2", "2"]},
        {"progress": "question"},
        {"instructions": [3]},
        {"next": " "},
    ):
        with pytest.raises(UserError, match=f"expected the label {next(iter(changes))}"):
            check_labels(tmp_path, english | changes, english)
    with pytest.raises(UserError, match="expected ltr or rtl"):
        check_labels(tmp_path, english | {"direction": "up"}, english)
    with pytest.raises(UserError, match="expected en, pt, es or a JSON file"):
        read_labels("xx")


def test_clips_are_equally_loud() -> None:
    loud = speech_like(2.0)
    quiet = np.concatenate([np.zeros(16_000, np.float32), 0.01 * loud])
    first, second = level_clip(loud), level_clip(quiet)
    np.testing.assert_allclose(second[16_000:], first, rtol=1e-4, atol=1e-6)
    steady = level_clip(np.full(3200, 0.5))
    assert 20 * np.log10(np.sqrt(np.mean(steady**2))) == pytest.approx(LEVEL_DBFS)
    assert np.abs(level_clip(np.eye(1, 3200)[0])).max() <= 0.98 and not level_clip(np.zeros(3200)).any()


def test_instructions_can_be_spoken(key: ListeningKey, tmp_path: Path) -> None:
    save_audio(tmp_path / "say.wav", speech_like(0.5))
    page = build_listening_page(
        key,
        lambda *_: speech_like(0.5),
        read_labels("en"),
        spoken_instructions=tmp_path / "say.wav",
        instructions=["Hm."],
    )
    content = json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])
    assert content["instructions"] == ["Hm."] and content["clips"]["instructions"].startswith("data:audio/mpeg")


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt-get install chromium)")
def test_chromium_asks_everything_and_saves_answers(key: ListeningKey, page: str, tmp_path: Path) -> None:
    told = drive_page(page, DRIVER, tmp_path)
    first, same, other = told["plans"]
    assert first == same != other and told["name"].startswith(f"answers_{key['test']}_Ana-p_")
    assert told["broken"] and told["place"] == 3 and len(told["halfway"]["answers"]) == 3
    assert told["halfway"]["finished"] is None and told["waiting"] == ["Continuar de onde parei: Ana </p>", "Começar"]
    assert all(told["shut"]), "nobody answers before everything was heard"
    (tmp_path / "saved.json").write_text(told["saved"], encoding="utf-8")
    answers = read_answers(tmp_path / "saved.json", key)
    assert answers["listener"] == "Ana </p>" and answers["finished"]
    rows = read_judgements(answers, key)
    asked = [row.trial for row in rows if not row.repeat]
    assert len(asked) == len(set(asked)) == 8 + 8 + 24 + 8 and sum(row.repeat for row in rows) == 9
    sides = {trial["id"]: trial["clips"][0] for trial in key["trials"]}
    for kind in ("preference", "abx"):
        own = [entry for entry in first if entry["trial"].startswith(kind) and not entry["repeat"]]
        assert sum(entry["shown"][0] == sides[entry["trial"]] for entry in own) == 4
    heard = Counter(key["clips"][row["shown"][0]]["system"] for row in first if row["trial"].startswith("words"))
    assert sorted(heard.values()) == [2, 3, 3]
    swapped = {entry["trial"]: entry["shown"] for entry in first if not entry["repeat"]}
    again = [entry for entry in first if entry["repeat"] and len(entry["shown"]) > 1]
    assert again and all(entry["shown"][0] == swapped[entry["trial"]][1] for entry in again)
