"""A recording is continued: what is written, how long, and that the same seed says the same."""

import json
from pathlib import Path

import numpy as np

import pytest
import soundfile

from chromium_page import CHROMIUM, drive_page
from test_trainer_prosody import describe_clusters

from audio.pitch import fill_f0_cache
from core.frames import HOP_SAMPLES, SAMPLE_RATE
from synthetic import write_segments, write_units
from trainer_runs import run_to_end

TINY = ["--language", "spanish", "--steps", 1]
LM = [*TINY, "--width", 16, "--layers", 1, "--heads", 2, "--context", 64, "--cpu"]
VOICE = [*TINY, "--channels", 32, "--num_samples", 0, "--adversarial_after", 1, "--batch_size", 2, "--crop_frames", 16]
DRIVER = """
const saw = { text: document.body.innerText, played: [] };
HTMLMediaElement.prototype.play = function () { saw.played.push(this.src.length); return Promise.resolve(); };
const press = (key) =>
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
document.querySelector("#sample-0 button").focus();
for (const key of ["l", "c", "n"]) press(key);
saw.focus = document.activeElement.closest(".sample").id;
document.body.append(element("pre", { id: "told" }, JSON.stringify(saw)));
"""


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny language with units, a language model, a voice and a prosody predictor, each of one step."""
    root = tmp_path_factory.mktemp("continue")
    rows = write_segments(root / "data", "spanish")
    describe_clusters(write_units(root / "exp", rows, n_units=12))
    pairs = [(row["id"], root / "data" / row["audio"]) for row in rows]
    fill_f0_cache(root / "data" / "spanish" / "cache", pairs, num_workers=1)
    run_to_end("trainer_vocoder", VOICE, roots=root)
    run_to_end("trainer_prosody", [*TINY, "--channels", 16], roots=root)
    for kind in ("units", "frames"):
        run_to_end("trainer_unit_lm", [*LM, "--input", kind, "--exp", root / "exp" / kind], roots=root)
    return root


def speak_on(roots: Path, name: str, *flags: object, code: int = 0) -> str:
    recording = roots / "data" / "spanish" / "segments" / "tale_000_0000.wav"
    models = ["--voice", roots / "exp" / "spanish_vocoder_v4", "--prosody", roots / "exp" / "spanish_prosody"]
    return run_to_end("continue_speech", [recording, *models, "--out", roots / name, *flags], roots=roots, code=code)


@pytest.mark.parametrize("kind", ["units", "frames"])
def test_continuations_are_as_long_as_asked_and_said_again_by_their_seed(roots: Path, kind: str) -> None:
    asked = ["--exp", roots / "exp" / kind, "--seconds", 1, "--prompt_seconds", 0.5, "--temperature", 1, "--top_p", 1]
    speak_on(roots, kind, *asked, "--n_samples", 2)
    result = json.loads((roots / kind / "continuations.json").read_text())
    for row in result["samples"]:
        n_frames = soundfile.info(roots / kind / row["audio"]).frames / HOP_SAMPLES
        assert n_frames == 25 + sum(row["durations"]) and sum(row["durations"]) <= 50
        assert len(row["units"]) == len(row["durations"]) and row["ended"] or sum(row["durations"]) == 50
        assert (np.diff(row["units"]) != 0).all()
    assert result["samples"][0]["units"] != result["samples"][1]["units"]
    speak_on(roots, f"{kind}_again", *asked, "--n_samples", 1)
    first = [(roots / name / "continuation_01.wav").read_bytes() for name in (kind, f"{kind}_again")]
    assert first[0] == first[1]


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_page_plays_by_keyboard(roots: Path, tmp_path: Path) -> None:
    flags = ["--exp", roots / "exp" / "units", "--seconds", 1, "--n_samples", 2, "--temperature", 0]
    speak_on(roots, "page", *flags, "--page_language", "es")
    saw = drive_page((roots / "page" / "continuations.html").read_text(), DRIVER, tmp_path)
    assert "Seguir hablando" in saw["text"] and saw["focus"] == "sample-1"
    assert len(saw["played"]) == 2 and saw["played"][0] > saw["played"][1] > SAMPLE_RATE / 16
    result = json.loads((roots / "page" / "continuations.json").read_text())
    first, second = result["samples"]
    assert first["units"] == second["units"], "the most probable units are the same each time"


def test_mistakes_are_named_in_one_line(roots: Path) -> None:
    exp = ["--exp", roots / "exp" / "units"]
    for flags, message in (
        ([*exp, "--language", "italian"], "expected one of spanish"),
        ([*exp, "--top_p", 1.5], "--top_p 1.5"),
        ([*exp, "--page_language", "xx"], "--page_language xx"),
        (["--exp", roots / "exp" / "spanish_prosody"], "expected a checkpoint of a language model of units"),
    ):
        screen = speak_on(roots, "no", *flags, code=2)
        assert screen.startswith("error: ") and message in screen and len(screen.strip().splitlines()) == 1, screen
