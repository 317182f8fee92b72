"""voice.html speaks in Chromium what PyTorch speaks, and predicts the prosody that PyTorch predicts."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch

import pytest

from chromium_page import drive_page

from models.prosody_predictor import ProsodyPredictor
from prosody.batches import CORPUS
from prosody.prediction import Prosody, predict_durations, predict_f0
from vocoder.generators import build_generator
from vocoder.voice_page import build_voice_page, generator_tensors

EXAMPLE = {"units": "3:7 11:2 0:9", "f0": [0.0] * 4 + [140.5, 150.0] * 7, "speaker_row": 2}
N_UNITS, SPEAKERS = 12, ["ana </script>", "rui"]
STATISTICS = {CORPUS: [5.0, 0.2], SPEAKERS[0]: [5.0, 0.2], "rui": [4.7, 0.1]}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def voice() -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {"n_units": N_UNITS, "n_speakers": 2, "channels": 32, "n_blocks": 2, "bands": 24, "noise_bands": 8}
    return build_generator("v4", sizes).eval()


@pytest.fixture(scope="module")
def prosody() -> Prosody:
    torch.manual_seed(1)
    predictor = ProsodyPredictor(N_UNITS, n_speakers=2, habits=True, channels=24).eval()
    torch.nn.init.normal_(predictor.unit_habits)
    torch.nn.init.normal_(predictor.duration_head.weight)
    torch.nn.init.normal_(predictor.frame_head.weight)
    return Prosody(predictor, SPEAKERS, STATISTICS, torch.device("cpu"))


@pytest.fixture(scope="module")
def page(voice: torch.nn.Module, prosody: Prosody, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "voice.html"
    statistics = torch.tensor(list(STATISTICS.values()), dtype=torch.float64)
    known = {"prosody": prosody.predictor, "prosody_speakers": SPEAKERS, "statistics": statistics}
    text = build_voice_page(voice, SPEAKERS, title="A <voice>", licence="cc-by-sa-3.0", **known)
    path.write_text(text, encoding="utf-8")
    return path


def open_page(page: Path, address: str) -> str:
    """The document as it is after its script ran, and no request went out."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]
    command = [CHROMIUM, *flags, f"--user-data-dir={page.parent / 'profile'}", f"file://{page}#{address}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def spoken_samples(document: str) -> np.ndarray:
    """The WAV file behind the download link, (S,) float in [-1, 1]."""
    found = re.search(r'id="download" download="spoken.wav" href="data:audio/wav;base64,([^"]+)"', document)
    assert found, re.search(r'id="message"[^<]*<', document)
    wav = base64.b64decode(found[1])
    assert wav[:4] == b"RIFF" and int.from_bytes(wav[24:28], "little") == 16_000
    return np.frombuffer(wav[44:], "<i2") / 32768


def test_the_page_runs_its_own_script_only(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1 and f"script-src 'sha256-{digest}'" in text and "default-src 'none'" in text
    assert not re.search(r"(src|href)=.?https?:", text) and "<title>A &lt;voice&gt;</title>" in text
    described = re.search(r'<script type="application/json" id="voice">(.*?)</script>', text, re.DOTALL)[1]
    assert json.loads(described)["speakers"] == SPEAKERS


def test_speakers_known_by_vectors_become_rows_of_a_table() -> None:
    generator = build_generator("v4", {"n_units": N_UNITS, "channels": 32, "speaker_dim": 5})
    torch.nn.init.normal_(generator.speaker_embedding.weight)
    vectors = torch.cat([torch.zeros(1, 5), torch.randn(2, 5)])
    table = generator_tensors(generator, vectors)["speaker_embedding.weight"]
    torch.testing.assert_close(table, vectors @ generator.speaker_embedding.weight.T)


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt-get install chromium)")
def test_chromium_speaks_what_pytorch_speaks(page: Path, voice: torch.nn.Module) -> None:
    document = open_page(page, "units=3:7,11:2,0:9,5:1,3:4&pitch=140&fall=0.2&melody=0&speaker=2")
    frames = torch.from_numpy(np.repeat([3, 11, 0, 5, 3], [7, 2, 9, 1, 4]))[None]
    f0 = (140 * (1 - 0.2 * torch.arange(23) / 22))[None]
    with torch.inference_mode():
        expected = voice(frames, f0, torch.tensor([2]))[0].numpy()
    spoken = spoken_samples(document)
    assert spoken.shape == expected.shape and expected.std() > 0.01
    assert np.abs(spoken - expected).max() < 1e-4


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt-get install chromium)")
def test_chromium_predicts_the_prosody_that_pytorch_predicts(
    page: Path, voice: torch.nn.Module, prosody: Prosody
) -> None:
    units = np.array([3, 11, 0, 5, 3, 7, 1, 9])
    spoken = spoken_samples(open_page(page, f"units={','.join(map(str, units))}&speaker=2&scale=1.5"))
    durations = predict_durations(prosody, units, "rui")
    f0 = 1.5 * predict_f0(prosody, units, durations, "rui")
    assert len(spoken) == 320 * durations.sum() and 0 < (f0 > 0).mean() < 1
    frames = torch.from_numpy(np.repeat(units, durations))[None]
    with torch.inference_mode():
        expected = voice(frames, torch.from_numpy(f0.astype(np.float32))[None], torch.tensor([2]))[0].numpy()
    # F0 is rounded differently, and phase adds it up.
    assert np.abs(spoken - expected).max() < 1e-2 * np.abs(expected).max()


SPEAK_AS_OPENED = """
const told = { height: document.getElementById("height").hidden, own: document.getElementById("own-melody").hidden };
say();
const typed = document.getElementById("units");
typed.value += " 4";
typed.dispatchEvent(new Event("input", { bubbles: true }));
told.hidden_when_changed = document.getElementById("as-recorded").hidden;
document.body.append(Object.assign(document.createElement("pre"), { id: "told", textContent: JSON.stringify(
  { ...told, wav: document.getElementById("download").href, speaker: document.getElementById("speaker").value }) }));
"""


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt-get install chromium)")
def test_the_page_opens_with_an_utterance_and_its_own_melody(
    voice: torch.nn.Module, prosody: Prosody, tmp_path: Path
) -> None:
    statistics = torch.tensor(list(STATISTICS.values()), dtype=torch.float64)
    known = {"prosody": prosody.predictor, "prosody_speakers": SPEAKERS, "statistics": statistics}
    page = build_voice_page(voice, SPEAKERS, title="A voice", licence="", example=EXAMPLE, **known)
    assert "Press Speak to hear an utterance of the recordings" in page
    told = drive_page(page, SPEAK_AS_OPENED, tmp_path)
    assert told["speaker"] == "2" and not told["height"] and told["own"] and told["hidden_when_changed"]
    frames = torch.from_numpy(np.repeat([3, 11, 0], [7, 2, 9]))[None]
    with torch.inference_mode():
        expected = voice(frames, torch.tensor([EXAMPLE["f0"]]), torch.tensor([2]))[0].numpy()
    samples = np.frombuffer(base64.b64decode(told["wav"].partition("base64,")[2])[44:], "<i2") / 32768
    assert samples.shape == expected.shape and expected.std() > 0.01
    assert np.abs(samples - expected).max() < 1e-4


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt-get install chromium)")
def test_chromium_names_a_mistake(page: Path) -> None:
    document = open_page(page, "units=3:7,12")
    assert "This voice has no unit 12. It knows 0 to 11." in document and 'href="data:audio' not in document
