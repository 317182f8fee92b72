"""A recording is translated and spoken; the same seed says the same again."""

import json
from pathlib import Path

import numpy as np

import pytest
import soundfile

from test_trainer_prosody import describe_clusters

from audio.pitch import fill_f0_cache
from core.frames import SAMPLE_RATE
from pair_examples import write_pairs
from trainer_runs import run_to_end

TINY = ["--language", "spanish", "--steps", 1]
VOICE = [*TINY, "--channels", 32, "--num_samples", 0, "--adversarial_after", 1, "--batch_size", 2, "--crop_frames", 16]
SHAPE = ["--width", 16, "--layers", 1, "--encoder_layers", 1, "--heads", 2, "--context", 160, "--cpu"]
MODEL = ["--source", "italian", "--target", "spanish", "--steps", 1, "--batch_size", 4, *SHAPE]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of two tiny languages, translators that hear units and cepstra, a voice, a prosody predictor."""
    root = tmp_path_factory.mktemp("translate")
    write_pairs(root, ("italian",))
    for language in ("italian", "spanish"):
        describe_clusters(root / "exp" / f"{language}_units")
    rows = [json.loads(line) for line in (root / "data" / "spanish" / "segments.jsonl").read_text().splitlines()]
    pairs = [(row["id"], root / "data" / row["audio"]) for row in rows]
    fill_f0_cache(root / "data" / "spanish" / "cache", pairs, num_workers=1)
    run_to_end("trainer_vocoder", VOICE, roots=root)
    run_to_end("trainer_prosody", [*TINY, "--channels", 16], roots=root)
    for name, flags in (("units", []), ("cepstra", ["--features", "mfcc"])):
        run_to_end("trainer_translation", [*MODEL, *flags, "--exp", root / "exp" / name], roots=root)
    return root


def translate(roots: Path, name: str, model: str, *flags: object, code: int = 0) -> str:
    recording = roots / "data" / "italian" / "segments" / "tale_000_0000.wav"
    models = ["--voice", roots / "exp" / "spanish_vocoder_v4", "--prosody", roots / "exp" / "spanish_prosody"]
    words = [recording, "--exp", roots / "exp" / model, *models, "--out", roots / name, *flags]
    return run_to_end("translate_speech", words, roots=roots, code=code)


@pytest.mark.parametrize("model", ["units", "cepstra"])
def test_what_is_said_lies_beside_its_units(roots: Path, model: str) -> None:
    for name in (model, f"{model}_again"):
        translate(roots, name, model, "--temperature", 1)
    found = json.loads((roots / model / "translations.json").read_text())
    assert (found["source"], found["target"]) == ("italian", "spanish")
    row = found["translations"][0]
    assert row["recording"] == "tale_000_0000.wav" and 0 < len(row["units"]) < 160 and max(row["units"]) < 12
    first, again = (soundfile.read(roots / name / row["audio"])[0] for name in (model, f"{model}_again"))
    assert len(first) == round(row["seconds"] * SAMPLE_RATE) and np.array_equal(first, again)


def test_a_language_that_it_does_not_hear_is_refused(roots: Path) -> None:
    assert "expected one of italian" in translate(roots, "no", "units", "--source", "spanish", code=2)
