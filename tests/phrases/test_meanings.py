"""Recorded meanings: any audio of a browser becomes MP3 once, and what is no audio is one line."""

import base64
import io
from pathlib import Path

import numpy as np

import av
import pytest

from core.errors import UserError
from phrases.lift import describe_counts
from phrases.meanings import decode_meaning, read_meaning
from phrases.names import apply_names
from synthetic import speech_like

FILE = Path("names.json")


def webm(waveform: np.ndarray) -> str:
    """As MediaRecorder gives it: Opus at 48 kHz in a WebM."""
    out = io.BytesIO()
    with av.open(out, "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=48000, layout="mono")
        pcm = np.repeat(np.round(waveform * 32767).astype(np.int16), 3)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = 48000
        for piece in (frame, None):
            container.mux(stream.encode(piece))
    return "data:audio/webm;base64," + base64.b64encode(out.getvalue()).decode()


def test_what_a_browser_records_becomes_mp3_once() -> None:
    recorded = webm(speech_like(0.5))
    kept = read_meaning(FILE, "ava", recorded)
    assert kept.startswith("data:audio/mpeg;base64,") and read_meaning(FILE, "ava", kept) == kept
    assert len(decode_meaning(kept)) == pytest.approx(8000, abs=400)


@pytest.mark.parametrize(
    "address", [7, "http://example.org/a.mp3", "data:audio/webm;base64,AAAA", "data:audio/webm;base64,?"]
)
def test_what_is_no_recording_is_one_line(address: object) -> None:
    with pytest.raises(UserError, match="names.json: the recorded meaning of 'ava' cannot be heard") as caught:
        read_meaning(FILE, "ava", address)
    assert "BytesIO" not in str(caught.value)


def test_a_long_recording_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phrases.meanings.LONGEST_SECONDS", 0.3)
    with pytest.raises(UserError, match="up to 0 s of sound, found 0.5"):
        read_meaning(FILE, "ava", webm(speech_like(0.5)))


def test_a_meaning_alone_is_a_name_and_stays_with_its_phrase() -> None:
    rows = [
        {"id": name, "source": name, "audio_start": 0.0, "audio_end": 1.0, "speaker": None, "audio": "x"}
        for name in ("a", "b", "c")
    ]
    known = {"name": "", "gloss": "", "tightness": 1.0}
    phrases = [known | {"rank": 1, "label": "s001", "occurrences": rows[:2]}]
    phrases.append(known | {"rank": 2, "label": "s002", "occurrences": rows[2:]})
    said = {"name": "", "gloss": "", "gloss_audio": "data:", "occurrences": [rows[0] | {"decision": "accepted"}]}
    first, second = apply_names(phrases, [said])
    assert first["gloss_audio"] == "data:" and "gloss_audio" not in second
    assert describe_counts(first) == "2 occurrences in 2 recordings"
    one = first | {"n_occurrences": 1, "n_recordings": 1, "n_speakers": 1}
    assert describe_counts(one) == "1 occurrence in 1 recording by 1 speaker"
