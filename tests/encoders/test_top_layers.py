import numpy as np
import torch

import pytest

from core.errors import UserError
from encoders.encode import encode, load_encoder
from encoders.pretrained import read_pretrained_config
from encoders.table import FAMILIES
from encoders.top_layers import describe_top_layers, read_top_layers
from models.connector import Connector
from synthetic import save_tiny_encoder, speech_like

N_TOP = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("encoders")
    return {family: save_tiny_encoder(root / family, family) for family in ("whisper", "xlsr", "hubert", "wavlm")}


def top_of(name) -> Connector:
    """The connector, a position a frame, as it starts."""
    shape = describe_top_layers(str(name), N_TOP)
    shape.pop("speech_enc_layer")
    connector = Connector(32, 12, kind="encoder", factor=1, n_layers=N_TOP, final_norm=False, **shape).eval()
    connector.take_layers(read_top_layers(str(name), N_TOP))
    return connector


@pytest.mark.parametrize("family", ["xlsr", "hubert"])
def test_the_copy_hears_what_the_encoder_hears(folder, family):
    """Norm before and norm behind the layers."""
    name, audio = str(folder[family]), speech_like(1.0)
    layer = describe_top_layers(name, N_TOP)["speech_enc_layer"]
    assert layer == 1
    below, whole = (encode(load_encoder(name, number), [audio])[0] for number in (layer, 3))
    with torch.no_grad():
        found, _ = top_of(name).encode(torch.from_numpy(below)[None], torch.tensor([len(below)]))
    np.testing.assert_allclose(found[0].numpy(), whole, atol=2e-4)


def test_the_copy_of_whisper_computes_the_same(folder):
    """On the same states: of its own input the connector sees the signal alone, without the silence behind it."""
    name, states = str(folder["whisper"]), torch.randn(2, 30, 32, generator=torch.Generator().manual_seed(0))
    network = FAMILIES["whisper"](name, read_pretrained_config(name, FAMILIES), 3).network.eval()
    with torch.no_grad():
        expected = states
        for layer in network.layers[3 - N_TOP :]:
            expected = layer(expected, None)
        found, _ = top_of(name).encode(states, torch.tensor([30, 30]))
        torch.testing.assert_close(found, network.layer_norm(expected), atol=1e-5, rtol=1e-4)


def test_other_layers_are_refused(folder):
    with pytest.raises(UserError, match="takes layers of whisper, wav2vec2, hubert, and .* is wavlm"):
        describe_top_layers(str(folder["wavlm"]), 1)
    with pytest.raises(UserError, match="mfcc is MfccEncoder"):
        describe_top_layers("mfcc", 1)
    with pytest.raises(UserError, match="--n_layers 4: .* has 3; give at most as many"):
        describe_top_layers(str(folder["whisper"]), 4)
