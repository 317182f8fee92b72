"""Encoders of other toolkits, from random weights in each one's own file layout: frames, batches, layers, refusals.

The references are independent of the code: transformers' whole models under names turned round, and for XEUS the
paper's formulas on the file's weights. Where ESPnet or spidr are installed, their own modules are compared as well.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

import pytest
import yaml

from core.errors import UserError
from core.frames import samples_to_frames
from encoders.encode import Encoder, encode, load_encoder
from encoders.table import describe_encoder, hash_encoder, last_layer, name_encoder, needs_download
from encoders.weight_files import find_weights, read_weights, rename_weights
from encoders.windows import slice_frames
from synthetic import speech_like

FAMILIES = ("omnilingual", "spidr", "xeus")
N_LAYERS = 3
LENGTHS = (320, 639, 16000, 16319, 8007, 16000, 0, 319)
KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
XEUS_FRONTEND = {
    "norm_mode": "layer_norm",
    "conv_mode": "standard",
    "bias": True,
    "normalize_audio": True,
    "normalize_output": False,
    "shapes": [[16, kernel, stride] for kernel, stride in zip(KERNELS, STRIDES)],
}
XEUS_ENCODER = {
    "output_size": 32,
    "attention_heads": 4,
    "attention_layer_type": "selfattn",
    "pos_enc_layer_type": "conv",
    "rel_pos_type": "latest",
    "cgmlp_linear_units": 64,
    "cgmlp_conv_kernel": 31,
    "use_linear_after_conv": False,
    "gate_activation": "identity",
    "num_blocks": N_LAYERS,
    "input_layer": None,
    "linear_units": 48,
    "positionwise_layer_type": "linear",
    "use_ffn": True,
    "macaron_ffn": True,
    "merge_conv_kernel": 31,
}
SHARED = {"hidden_size": 64, "num_hidden_layers": N_LAYERS, "intermediate_size": 48, "conv_dim": (16,) * 7}


def roughen(network: torch.nn.Module) -> torch.nn.Module:
    """Every weight, those of norms too, moved away from where it starts, so that none can be forgotten unseen."""
    for values in network.parameters():
        values.data += 0.2 * torch.randn_like(values)
    return network.eval()


def whole_omnilingual() -> torch.nn.Module:
    import transformers

    shape = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    config = transformers.Wav2Vec2Config(**SHARED, **shape, **positions, num_attention_heads=16)
    return roughen(transformers.Wav2Vec2Model(config))


def save_omnilingual(folder: Path, whole: torch.nn.Module) -> None:
    names = (
        (r"^feature_extractor\.conv_layers", "encoder_frontend.feature_extractor.layers"),
        (r"^feature_projection\.layer_norm", "encoder_frontend.post_extract_layer_norm"),
        (r"^feature_projection\.projection", "encoder_frontend.model_dim_proj"),
        (r"^encoder\.pos_conv_embed", "encoder_frontend.pos_encoder"),
        (r"parametrizations\.weight\.original0", "weight_g"),
        (r"parametrizations\.weight\.original1", "weight_v"),
        (r"(layers\.\d+)\.layer_norm", r"\1.self_attn_layer_norm"),
        (r"final_layer_norm", "ffn_layer_norm"),
        (r"attention\.out_proj", "self_attn.output_proj"),
        (r"\.attention\.", ".self_attn."),
        (r"feed_forward\.intermediate_dense", "ffn.inner_proj"),
        (r"feed_forward\.output_dense", "ffn.output_proj"),
    )
    convolution = re.compile(r"feature_extractor\.layers\.\d+\.self_attn_layer_norm")
    state = rename_weights(whole.state_dict(), names)
    state = {convolution.sub(lambda found: found.group().replace("self_attn_", ""), k): v for k, v in state.items()}
    state |= {"quantizer.entries": torch.zeros(2), "final_proj.weight": torch.zeros(2, 2)}
    torch.save({"model": state, "fs2": True}, folder / "omniASR-W2V-300M.pt")


def whole_spidr() -> torch.nn.Module:
    import transformers

    config = transformers.Data2VecAudioConfig(
        **SHARED, num_attention_heads=1, num_conv_pos_embeddings=2, num_conv_pos_embedding_groups=4
    )
    return roughen(transformers.Data2VecAudioModel(config))


def save_spidr(folder: Path, whole: torch.nn.Module) -> None:
    names = (
        (r"^encoder\.pos_conv_embed\.layers\.(\d+)\.conv", r"student.pos_conv_embed.convs.\1"),
        (r"^encoder\.", "student."),
        (r"^masked_spec_embed$", "mask_embedding"),
        (r"attention\.out_proj", "attention.proj"),
    )
    state = rename_weights(whole.state_dict(), names)
    for index in range(N_LAYERS):
        place = f"student.layers.{index}.attention."
        for kind in ("weight", "bias"):
            state[f"{place}qkv.{kind}"] = torch.cat([state.pop(f"{place}{part}_proj.{kind}") for part in "qkv"])
    state |= {name.replace("student", "teacher"): values for name, values in state.items() if "student" in name}
    torch.save({"model": state, "step": torch.zeros(1)}, folder / "spidr_base.pt")


def xeus_weights() -> dict[str, torch.Tensor]:
    """Name -> weight, as ESPnet lays them out."""
    dim, half, units = 32, 32, 48
    shapes: dict[str, tuple[int, ...]] = {"preencoder.linear_out": (dim, 16)}
    for index, kernel in enumerate(KERNELS):
        shapes[f"frontend.layers.{index}.conv"] = (16, 16 if index else 1, kernel)
        shapes[f"frontend.layers.{index}.layer_norm"] = (16,)
    for index in range(N_LAYERS):
        place = f"encoder.encoders.{index}."
        shapes |= {f"{place}attn.linear_{part}": (dim, dim) for part in ("q", "k", "v", "out")}
        shapes |= {f"{place}norm_{part}": (dim,) for part in ("ff_macaron", "mha", "mlp", "ff", "final")}
        for part in ("feed_forward_macaron", "feed_forward"):
            shapes |= {f"{place}{part}.w_1": (units, dim), f"{place}{part}.w_2": (dim, units)}
        shapes |= {f"{place}cgmlp.channel_proj1.0": (2 * half, dim), f"{place}cgmlp.channel_proj2": (dim, half)}
        shapes |= {f"{place}cgmlp.csgu.norm": (half,), f"{place}cgmlp.csgu.conv": (half, 1, 31)}
        shapes |= {f"{place}depthwise_conv_fusion": (2 * dim, 1, 31), f"{place}merge_proj": (dim, 2 * dim)}
    shapes["encoder.after_norm"] = (dim,)
    weights = {f"{name}.weight": 0.3 * torch.randn(shape) for name, shape in shapes.items()}
    weights |= {f"{name}.bias": 0.3 * torch.randn(shape[0]) for name, shape in shapes.items()}
    position = "encoder.embed.0.convs.0."
    weights[f"{position}parametrizations.weight.original0"] = torch.rand(1, 1, 16)
    weights[f"{position}parametrizations.weight.original1"] = torch.randn(dim, dim // 4, 16)
    return weights | {f"{position}bias": torch.randn(dim), "losses.0.decoder.weight": torch.zeros(2)}


def save_xeus(folder: Path, weights: dict[str, torch.Tensor], **changed: object) -> None:
    (folder / "model").mkdir(exist_ok=True)
    torch.save(weights, folder / "model" / "xeus_checkpoint_new.pth")
    config = {"frontend": "wav2vec_cnn", "frontend_conf": XEUS_FRONTEND, "preencoder": "linear"}
    config |= {"encoder": "e_branchformer", "encoder_conf": XEUS_ENCODER | changed}
    (folder / "model" / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, object]]:
    """Family -> what --encoder is given (a folder), and the model that the weights come from."""
    torch.manual_seed(0)
    folders = {family: tmp_path_factory.mktemp(family) for family in FAMILIES}
    wholes = {"omnilingual": whole_omnilingual(), "spidr": whole_spidr(), "xeus": xeus_weights()}
    for family, save in (("omnilingual", save_omnilingual), ("spidr", save_spidr), ("xeus", save_xeus)):
        save(folders[family], wholes[family])
    return {family: (f"{family}:{folders[family]}", wholes[family]) for family in FAMILIES}


def waveforms_of(lengths: tuple[int, ...]) -> list[np.ndarray]:
    speech = speech_like(2.0, seed=3)
    return [speech[number * 500 :][:length] for number, length in enumerate(lengths)]


def input_of(encoder: Encoder, waveform: np.ndarray) -> torch.Tensor:
    """(1, S) what the model is given for a signal of a second."""
    left, right = encoder.model.margins
    return torch.from_numpy(slice_frames(encoder.model.normalize(waveform), 0, 50, left=left, right=right))[None]


@pytest.mark.parametrize("family", FAMILIES)
def test_fifty_frames_a_second_and_batches_that_equal_singles(family: str, saved: dict) -> None:
    encoder = load_encoder(saved[family][0], 2)
    waveforms = waveforms_of(LENGTHS)
    for waveform, features in zip(waveforms, encode(encoder, waveforms)):
        assert features.shape == (samples_to_frames(len(waveform)), encoder.model.dim) and features.dtype == np.float32
        np.testing.assert_allclose(features, encode(encoder, [waveform])[0], atol=1e-4, rtol=0)
        assert len(features) < 2 or features.std() > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_lengths_are_mixed_only_where_padding_changes_nothing(family: str, saved: dict) -> None:
    encoder, sizes = load_encoder(saved[family][0], 1), []
    encoder.model.register_forward_hook(lambda model, inputs, states: sizes.append(len(states)))
    encode(encoder, waveforms_of((16000, 16319, 24000, 20000)))
    assert sorted(sizes) == ([4] if family == "omnilingual" else [1, 1, 2])


@pytest.mark.parametrize("layer", [0, 1, N_LAYERS])
def test_omnilingual_is_the_whole_model_under_fairseq2s_names(layer: int, saved: dict) -> None:
    name, whole = saved["omnilingual"]
    encoder, waveform = load_encoder(name, layer), waveforms_of((16000,))[0]
    with torch.inference_mode():
        found = whole(input_of(encoder, waveform), output_hidden_states=True)
    expected = found.last_hidden_state if layer == N_LAYERS else found.hidden_states[layer]
    np.testing.assert_allclose(encode(encoder, [waveform])[0], expected[0].numpy(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer", [1, N_LAYERS])
def test_spidr_gives_what_the_feed_forward_part_returns(layer: int, saved: dict) -> None:
    name, whole = saved["spidr"]
    encoder, waveform, kept = load_encoder(name, layer), waveforms_of((16000,))[0], []
    part = whole.encoder.layers[layer - 1].feed_forward
    hook = part.register_forward_hook(lambda model, inputs, states: kept.append(states))
    with torch.inference_mode():
        whole(input_of(encoder, waveform))
    hook.remove()
    np.testing.assert_allclose(encode(encoder, [waveform])[0], kept[0][0].numpy(), atol=1e-5, rtol=0)


def test_layer_0_of_spidr_is_what_enters_the_first(saved: dict) -> None:
    name, whole = saved["spidr"]
    encoder, waveform = load_encoder(name, 0), waveforms_of((16000,))[0]
    with torch.inference_mode():
        expected = whole(input_of(encoder, waveform), output_hidden_states=True).hidden_states[0]
    np.testing.assert_allclose(encode(encoder, [waveform])[0], expected[0].numpy(), atol=1e-5, rtol=0)


def xeus_by_formulas(weights: dict[str, torch.Tensor], samples: torch.Tensor, layer: int) -> torch.Tensor:
    """(F, D) of Kim et al. 2022 with ESPnet's half steps, from the named weights alone."""

    def both(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return weights[f"{name}.weight"], weights[f"{name}.bias"]

    def norm(states: torch.Tensor, name: str, eps: float = 1e-12) -> torch.Tensor:
        return functional.layer_norm(states, states.shape[-1:], *both(name), eps)

    def over_time(states: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = both(name)
        return functional.conv1d(states.T, weight, bias, padding=15, groups=len(bias)).T

    def forward_part(states: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(functional.silu(functional.linear(states, *both(f"{name}.w_1"))), *both(f"{name}.w_2"))

    states = samples
    for index, stride in enumerate(STRIDES):
        states = functional.conv1d(states, *both(f"frontend.layers.{index}.conv"), stride=stride)
        states = functional.gelu(norm(states.T, f"frontend.layers.{index}.layer_norm", 1e-5)).T
    states = functional.linear(states.T, *both("preencoder.linear_out"))
    place = "encoder.embed.0.convs.0."
    direction = weights[f"{place}parametrizations.weight.original1"]
    unit = direction / direction.square().sum(dim=(0, 1), keepdim=True).sqrt()
    kernel = weights[f"{place}parametrizations.weight.original0"] * unit
    states = functional.conv1d(states.T, kernel, weights[f"{place}bias"], padding=8, groups=4)[:, :-1]
    states = functional.gelu(states).T
    for index in range(layer):
        place = f"encoder.encoders.{index}."
        states = states + forward_part(norm(states, f"{place}norm_ff_macaron"), f"{place}feed_forward_macaron") / 2
        seen = norm(states, f"{place}norm_mha")
        q, k, v = (functional.linear(seen, *both(f"{place}attn.linear_{part}")).view(-1, 4, 8) for part in "qkv")
        scores = torch.softmax(torch.einsum("fhd,ghd->hfg", q, k) / 8**0.5, dim=-1)
        attended = torch.einsum("hfg,ghd->fhd", scores, v).reshape(-1, 32)
        attended = functional.linear(attended, *both(f"{place}attn.linear_out"))
        wide = functional.gelu(
            functional.linear(norm(states, f"{place}norm_mlp"), *both(f"{place}cgmlp.channel_proj1.0"))
        )
        gate = over_time(norm(wide[:, 32:], f"{place}cgmlp.csgu.norm"), f"{place}cgmlp.csgu.conv")
        gated = functional.linear(wide[:, :32] * gate, *both(f"{place}cgmlp.channel_proj2"))
        merged = torch.cat([attended, gated], dim=1)
        merged = merged + over_time(merged, f"{place}depthwise_conv_fusion")
        states = states + functional.linear(merged, *both(f"{place}merge_proj"))
        states = states + forward_part(norm(states, f"{place}norm_ff"), f"{place}feed_forward") / 2
        states = norm(states, f"{place}norm_final")
    return norm(states, "encoder.after_norm") if layer == N_LAYERS else states


@pytest.mark.parametrize("layer", [0, 1, N_LAYERS])
def test_xeus_is_what_the_formulas_make_of_the_files_weights(layer: int, saved: dict) -> None:
    name, weights = saved["xeus"]
    encoder, waveform = load_encoder(name, layer), waveforms_of((16000,))[0]
    expected = xeus_by_formulas(weights, input_of(encoder, waveform), layer).numpy()
    np.testing.assert_allclose(encode(encoder, [waveform])[0], expected, atol=2e-5, rtol=0)
    loud = encode(encoder, [3 * waveform + np.float32(0.1)])[0]
    np.testing.assert_allclose(loud, expected, atol=2e-3)  # config.yaml says that the audio is normalised


def test_the_table_reads_sizes_from_the_file(saved: dict) -> None:
    for family, dim in (("omnilingual", 64), ("spidr", 64), ("xeus", 32)):
        name = saved[family][0]
        assert describe_encoder(name, 1) == (family, 1, N_LAYERS, dim) and last_layer(name) == N_LAYERS
        assert not needs_download(name) and name_encoder(family) == f"{family}:FILE"
        for layer in (None, N_LAYERS + 1):
            with pytest.raises(UserError, match="--layer"):
                describe_encoder(name, layer)
        with pytest.raises(UserError, match=f"give --encoder {family}:FILE"):
            describe_encoder(f"{family}:/nowhere", 1)


def test_a_file_and_its_folder_are_one_encoder_and_the_configuration_counts(saved: dict, tmp_path: Path) -> None:
    name, weights = saved["xeus"]
    file = next(Path(name.partition(":")[2]).rglob("*.pth"))
    assert hash_encoder(f"xeus:{file}") == hash_encoder(name) != hash_encoder(saved["spidr"][0])
    save_xeus(tmp_path, weights, attention_heads=2)
    assert hash_encoder(f"xeus:{tmp_path}") != hash_encoder(name)
    (tmp_path / "model/xeus_checkpoint_old.pth").write_bytes(file.read_bytes())
    with pytest.raises(UserError, match="one file of weights, found xeus_checkpoint_new.pth, xeus_checkpoint_old.pth"):
        find_weights(tmp_path, ("*.pth",))


class Harmful:
    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return print, ("a pickle has run code",)


def test_no_pickle_is_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save({"model": {"a": torch.zeros(1)}, "harm": Harmful()}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="weights and plain values alone"):
        read_weights(tmp_path / "a.pth")
    assert "has run code" not in capsys.readouterr().out
    for content in (b"no weights", b""):
        (tmp_path / "a.pth").write_bytes(content)
        with pytest.raises(UserError, match="weights and plain values alone"):
            read_weights(tmp_path / "a.pth")
    torch.save({"step": 3}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="named weights, found none"):
        read_weights(tmp_path / "a.pth")
    half, path = {"a.weight": torch.ones(2, dtype=torch.float16)}, tmp_path / "old.pt"
    torch.save(half, path, _use_new_zipfile_serialization=False)
    assert read_weights(path)["a.weight"].dtype == torch.float16


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_of_another_model_is_refused_in_a_line(family: str, saved: dict, tmp_path: Path) -> None:
    other = saved["xeus" if family == "spidr" else "spidr"][0].partition(":")[2]
    file = next(path for path in Path(other).rglob("*") if path.suffix in (".pt", ".pth"))
    if family == "xeus":
        save_xeus(tmp_path, {"a": torch.zeros(1)})
        (tmp_path / "model/xeus_checkpoint_new.pth").write_bytes(file.read_bytes())
        file = tmp_path / "model/xeus_checkpoint_new.pth"
    with pytest.raises(UserError) as refused:
        load_encoder(f"{family}:{file}", 0)
    assert "another model" in str(refused.value) and str(file) in str(refused.value)


def test_a_configuration_that_is_not_xeus_is_refused(saved: dict, tmp_path: Path) -> None:
    weights = saved["xeus"][1]
    for changed, expected in (
        ({"attention_layer_type": "rel_selfattn"}, "attention_layer_type selfattn as in XEUS, found rel_selfattn"),
        ({"output_size": "large"}, "sizes as whole numbers"),
    ):
        save_xeus(tmp_path, weights, **changed)
        with pytest.raises(UserError, match=expected):
            describe_encoder(f"xeus:{tmp_path}", 1)
    missing = {name: values for name, values in weights.items() if not name.endswith("1.norm_ff.bias")}
    save_xeus(tmp_path, missing)
    load_encoder(f"xeus:{tmp_path}", 1)  # what lies above the layer is not needed
    with pytest.raises(UserError, match=r"1 missing or of another shape \(encoder.encoders.1.norm_ff.bias\)"):
        load_encoder(f"xeus:{tmp_path}", 2)
    (tmp_path / "model/config.yaml").unlink()
    with pytest.raises(UserError, match="ESPnet's configuration beside the weights"):
        describe_encoder(f"xeus:{tmp_path}", 1)


def test_espnets_own_layer_agrees(saved: dict) -> None:
    espnet = pytest.importorskip("espnet2.asr.encoder.e_branchformer_encoder", reason="espnet is not installed")
    own = load_encoder(saved["xeus"][0], 1).model.network.encoder.encoders[0]
    theirs = espnet.EBranchformerEncoder(input_size=32, **XEUS_ENCODER).eval().encoders[0]
    theirs.load_state_dict(own.state_dict())
    states = torch.randn(2, 40, 32)
    with torch.inference_mode():
        expected, _ = theirs(states, torch.ones(2, 1, 40, dtype=torch.bool))
        np.testing.assert_allclose(own(states).numpy(), expected.numpy(), atol=1e-5)


def test_spidrs_own_model_agrees(saved: dict) -> None:
    dinosr = pytest.importorskip("spidr.models.dinosr", reason="spidr is not installed")
    encoder, waveform = load_encoder(saved["spidr"][0], 2), waveforms_of((16000,))[0]
    convolutions = [(16, kernel, stride) for kernel, stride in zip(KERNELS, STRIDES)]
    config = dinosr.DinoSRConfig(
        extractor_conv_layer_config=convolutions,
        encoder_embed_dim=64,
        encoder_num_layers=N_LAYERS,
        encoder_num_heads=1,
        encoder_ff_interm_features=48,
        encoder_pos_conv_kernel=38,
        encoder_pos_conv_groups=4,
        encoder_pos_conv_depth=2,
        encoder_qkv_bias=True,
        num_codebooks=1,
    )
    theirs = dinosr.DinoSR(config).eval()
    file = next(Path(saved["spidr"][0].partition(":")[2]).iterdir())
    assert not theirs.load_state_dict(read_weights(file), strict=False).unexpected_keys
    with torch.inference_mode():
        expected = theirs.get_intermediate_outputs(input_of(encoder, waveform))[1][0].numpy()
    np.testing.assert_allclose(encode(encoder, [waveform])[0], expected, atol=1e-5, rtol=0)
