"""The voice that the repository brings, from which others start."""

from pathlib import Path

import numpy as np
import torch

import pytest

import trainer_prosody
import trainer_vocoder

from prosody.warm_start import check_same_predictor
from training.initial_weights import BASE_VOICE, BASE_VOICES
from units.requests import SpokenItem
from vocoder.saved_voice import included_prosody
from vocoder.synthesis import synthesize_utterances
from vocoder.warm_start import check_same_model, load_old_voice

pytestmark = pytest.mark.skipif(not BASE_VOICE.is_dir(), reason=f"{BASE_VOICE}: no base voice in this copy")
LARGEST_BYTES = 12_000_000


@pytest.mark.parametrize("version", BASE_VOICES)
def test_it_fits_what_phase_3_trains_and_speaks(version: str) -> None:
    old = load_old_voice(BASE_VOICES[version])
    args = trainer_vocoder.parse_args(["--language", "spanish", "--generator", version])
    check_same_model(old, args.generator, trainer_vocoder.chosen_sizes(args))
    assert old.clusters.description["encoder"] == "mfcc"  # found in recordings without a download
    n_units = len(old.clusters.books[0])
    assert n_units == old.vocoder.sizes["n_units"]
    item = SpokenItem("a", np.arange(25)[:, None] * 37 % n_units, np.full(25, 130, np.float32), None)
    ((_, waveform),) = synthesize_utterances(old.vocoder, [item])
    assert waveform.shape == (8000,) and np.isfinite(waveform).all() and 0.01 < np.abs(waveform).max() < 2
    weights = [*old.vocoder.generator.state_dict().values(), *(old.discriminator or {}).values()]
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in weights)


def test_its_prosody_fits_what_the_trainer_trains_by_default() -> None:
    if included_prosody(BASE_VOICE) is None:
        pytest.skip("it brings no prosody predictor")
    args = trainer_prosody.parse_args(["--language", "spanish"])
    check_same_predictor(trainer_prosody.load_old_prosody(BASE_VOICE), trainer_prosody.chosen_sizes(args))


@pytest.mark.parametrize("folder", BASE_VOICES.values())
def test_it_is_small_and_says_whom_to_name(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LARGEST_BYTES
    assert not [path for path in files if path.suffix == ".torchscript"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "license: cc-by-sa-3.0" in card
    for name in ("Allison Smith", "Carlo Flora", "Maxim Topal", "Shmyrev", "Asterisk"):
        assert name in card
    assert list(folder.glob("LICENSE*")) and list(folder.glob("ATTRIBUTION*"))
