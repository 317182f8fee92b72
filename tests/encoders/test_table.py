"""An encoder of one's own is one file and one line: the example of docs/phase1.md runs in phase 1 as it stands."""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import torch
from torch import nn

import pytest

import extract_units
from estimate_needs import estimate_minutes
from fetch_models import choose_models

from core.errors import UserError
from core.frames import samples_to_frames
from encoders.encode import encode, load_encoder
from encoders.table import (
    FAMILIES,
    OWN_ENCODERS,
    describe_encoder,
    hash_encoder,
    last_layer,
    name_encoder,
    needs_download,
    stays_on_cpu,
)
from synthetic import REPOSITORY, speech_like

PAGE = (REPOSITORY / "docs/phase1.md").read_text(encoding="utf-8")
SMALL = ("--language", "spanish", "--n_units", "12", "--n_shard_utterances", "3", "--num_workers", "2", "--quiet")


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The page's encoder, in the table under the page's name, with weights in a file; what --encoder is given."""
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.split("## Add an encoder")[1].split("\n## ")[0], re.DOTALL)
    (name, class_name) = re.findall(r'`"(\w+)": (\w+),`', PAGE)[0]
    names: dict[str, type] = {}
    exec(compile(block, "docs/phase1.md", "exec"), names)
    monkeypatch.setitem(OWN_ENCODERS, name, names[class_name])
    torch.manual_seed(0)
    torch.save(nn.Sequential(nn.Conv1d(1, 64, 400, stride=320), nn.ReLU()).state_dict(), tmp_path / "weights.pt")
    return f"{name}:{tmp_path / 'weights.pt'}"


def test_the_example_of_the_page_is_windowed_and_batched(example: str) -> None:
    encoder = load_encoder(example, None, window_seconds=1.0, overlap_seconds=0.2)
    waveforms = [speech_like(2.0, seed=seed)[:length] for seed, length in enumerate((320, 16000, 639, 0, 31999))]
    for waveform, features in zip(waveforms, encode(encoder, waveforms)):
        assert features.shape == (samples_to_frames(len(waveform)), 64)
        np.testing.assert_allclose(features, encode(load_encoder(example, None), [waveform])[0], atol=1e-5)


def test_the_table_alone_says_what_the_example_is(example: str) -> None:
    assert describe_encoder(example, None) == ("mine", None, 0, 64)
    assert last_layer(example) is None
    assert not needs_download(example) and not stays_on_cpu(example)
    assert choose_models(argparse.Namespace(language=None, model=[example, "a/b"])) == ["a/b"]
    with pytest.raises(UserError, match="has no layers"):
        describe_encoder(example, 3)
    for name in ("mine", "mine:", "mine:/nowhere/weights.pt"):
        with pytest.raises(
            UserError, match=f"^{name}: expected a file of weights, found none; give --encoder mine:FILE"
        ):
            describe_encoder(name, None)


def test_other_weights_are_another_encoder(example: str) -> None:
    before, path = hash_encoder(example), Path(example.partition(":")[2])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert len({before, hash_encoder(example), hash_encoder("mfcc"), hash_encoder("logmel")}) == 4
    # As it ever was: features in caches of before stay theirs.
    assert hash_encoder("mfcc") == "80504382e894552e6ea7769941272f0936d89295b9fbdcf4827e8d66d0c3ccd9"


@pytest.mark.parametrize("encoder", ["logmel", "the page's"])
def test_phase_1_runs_with_it(encoder: str, example: str, tiny_language: dict, tmp_path: Path) -> None:
    name = example if encoder == "the page's" else encoder
    exp = tmp_path / "units"
    assert extract_units.main([*SMALL, "--exp", str(exp), "--encoder", name, "--cpu"]) == 0
    corpus = json.loads((exp / "corpus_timestamped.json").read_text())
    assert len(corpus) == len(tiny_language["rows"])
    assert len({unit for utterance in corpus for unit in utterance["units"]}) > 6
    derived = json.loads((exp / "config.json").read_text())["derived"]
    assert (derived["encoder"], derived["layer"]) == (name, None)


def test_the_page_and_the_help_name_every_encoder_of_the_table(capsys: pytest.CaptureFixture) -> None:
    table = PAGE.split("## Encoders")[1].split("\n\n")[1]
    with pytest.raises(SystemExit):
        extract_units.parse_args(["--help"])
    shown = capsys.readouterr().out
    for name in OWN_ENCODERS:
        assert f"| `{name_encoder(name)}` |" in table and re.search(rf"\b{name}\b", shown), name
    for word in ("wav2vec 2.0", "HuBERT", "WavLM", "Whisper"):
        assert word in table
    assert not OWN_ENCODERS.keys() & FAMILIES.keys()


def test_estimates_know_the_cheap_ones() -> None:
    flags = {"max_minutes": 8.0, "steps": None, "epochs": None}
    minutes = {
        name: estimate_minutes(argparse.Namespace(encoder=name, **flags), 2.0, "cpu")["units"]
        for name in (*OWN_ENCODERS, "facebook/hubert-base-ls960")
    }
    assert minutes["mfcc"] == minutes["logmel"] < minutes["facebook/hubert-base-ls960"] / 10
