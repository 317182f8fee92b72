"""Every encoder family: frame counts, alignment, batching, layers, windows, and what is refused."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import nn

import pytest

from audio.audio_io import compute_mel_spectrogram
from core.errors import UserError
from core.frames import HOP_SAMPLES, N_MELS, samples_to_frames
from encoders.encode import Encoder, encode, load_encoder, position_slack
from encoders.mfcc import stack_context
from encoders.table import FAMILIES, OWN_ENCODERS, describe_encoder, last_layer
from encoders.windows import plan_batches, plan_windows, slice_frames, stack_pieces, stitch_windows
from synthetic import save_tiny_encoder, speech_like
from units.kmeans import fit_kmeans, quantize_to_units

# Tiny models with random weights, of every one of the table's FAMILIES; those of OWN_ENCODERS need none.
TINY_MODELS = ("xlsr", "hubert", "wavlm", "whisper", "wav2vec2_base", "wavlm_base")
FILELESS = [name for name, model_class in OWN_ENCODERS.items() if "file" not in model_class.options]
GROUP_NORM = ("hubert", "wav2vec2_base", "wavlm_base")
LENGTHS = (320, 639, 640, 16000, 16319, 24007, 16000)


def save_base_encoder(folder: Path, family: str) -> Path:
    """Base-sized shapes that tests/synthetic.py has not: post-norm layers and group norm in the first convolution."""
    import transformers

    torch.manual_seed(1)
    name = {"wav2vec2_base": "Wav2Vec2", "wavlm_base": "WavLM"}[family]
    config = getattr(transformers, f"{name}Config")(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm="group",
    )
    getattr(transformers, f"{name}Model")(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=family == "wav2vec2_base").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def encoder_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {family: tmp_path_factory.mktemp(family) for family in TINY_MODELS}
    for family, folder in folders.items():
        (save_base_encoder if family.endswith("_base") else save_tiny_encoder)(folder, family)
    return folders


def extract_mfcc(waveform: np.ndarray, **options: bool) -> np.ndarray:
    return encode(load_encoder("mfcc", None, **options), [waveform])[0]


def waveforms_of(lengths: tuple[int, ...]) -> list[np.ndarray]:
    speech = speech_like(2.0, seed=3)
    return [speech[number * 500 :][:length] for number, length in enumerate(lengths)]


@pytest.mark.parametrize("family", [*FILELESS, *TINY_MODELS])
def test_frame_counts_and_batched_equals_single(family: str, encoder_folders: dict[str, Path]) -> None:
    if family in OWN_ENCODERS:
        encoder = load_encoder(family, last_layer(family))
    else:
        encoder = load_encoder(str(encoder_folders[family]), 2)
    waveforms = waveforms_of((*LENGTHS, 0, 319))
    batched = encode(encoder, waveforms)
    for waveform, features in zip(waveforms, batched):
        assert features.shape == (samples_to_frames(len(waveform)), encoder.model.dim)
        assert features.dtype == np.float32
        np.testing.assert_allclose(features, encode(encoder, [waveform])[0], atol=1e-4, rtol=0)
    assert np.isfinite(np.concatenate(batched)).all()
    assert np.concatenate(batched).std() > 1e-2


@pytest.mark.parametrize("family", TINY_MODELS)
def test_mixed_lengths_share_batches_except_with_group_norm(family: str, encoder_folders: dict[str, Path]) -> None:
    encoder = load_encoder(str(encoder_folders[family]), 1)
    sizes: list[int] = []
    encoder.model.register_forward_hook(lambda model, inputs, states: sizes.append(len(states)))
    encode(encoder, waveforms_of((16000, 16319, 24000, 20000)))
    assert sorted(sizes) == ([1, 1, 2] if family in GROUP_NORM else [4])


@pytest.mark.parametrize("family", TINY_MODELS)
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_layer_is_the_hidden_state_of_the_whole_model(
    family: str, layer: int, encoder_folders: dict[str, Path]
) -> None:
    import transformers

    folder, waveform = encoder_folders[family], waveforms_of((16000,))[0]
    whole = transformers.AutoModel.from_pretrained(folder).eval()
    encoder = load_encoder(str(folder), layer)
    left, right = encoder.model.margins
    piece = slice_frames(encoder.model.normalize(waveform), 0, 50, left=left, right=right)
    inputs = encoder.model.prepare([piece])
    with torch.inference_mode():
        reference = (whole.encoder if family == "whisper" else whole)(**inputs, output_hidden_states=True)
    # The last one is what the model returns, behind its final norm; versions of transformers differ on that.
    expected = (reference.last_hidden_state if layer == 3 else reference.hidden_states[layer])[0].numpy()
    expected = expected[1:51] if family == "whisper" else expected
    np.testing.assert_allclose(encode(encoder, [waveform])[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["xlsr", "hubert", "wavlm", "wav2vec2_base"])
def test_convolutions_see_as_far_left_as_right_of_the_middle(family: str, encoder_folders: dict[str, Path]) -> None:
    encoder = load_encoder(str(encoder_folders[family]), 0)
    torch.manual_seed(0)
    samples = torch.randn(1, 320 * 9 + sum(encoder.model.margins), requires_grad=True)
    convolutions = [layer.conv for layer in encoder.model.network.feature_extractor.conv_layers]  # norms see everything
    states = samples[:, None]
    for convolution in convolutions:
        states = convolution(states)
    assert states.shape[-1] == 9
    states[0, :, 4].sum().backward()
    seen = torch.nonzero(samples.grad[0]).flatten() - encoder.model.margins[0]
    assert int(seen[-1] - seen[0]) + 1 == 400
    assert (int(seen[0]) + int(seen[-1]) + 1) // 2 == 320 * 4 + 160


@pytest.mark.parametrize("name", ["mfcc", "logmel", "whisper"])
def test_a_click_moves_the_frames_around_it_alike(name: str, encoder_folders: dict[str, Path]) -> None:
    """A click in the middle of frame 20 moves 20 and as many on either side; one between 19 and 20 moves both."""
    encoder = load_encoder(name, None) if name in OWN_ENCODERS else load_encoder(str(encoder_folders[name]), 0)
    noise = 1e-2 * np.random.default_rng(0).standard_normal(50 * HOP_SAMPLES).astype(np.float32)
    noise[5 * HOP_SAMPLES] = 0.9  # the loudest place is the same with and without the click
    reach = {"mfcc": (0, 1), "logmel": (1, 2), "whisper": (1, 2)}[name]
    for sample, expected in ((20.5, range(20 - reach[0], 21 + reach[0])), (20, range(20 - reach[1], 20 + reach[1]))):
        click = noise.copy()
        click[int(sample * HOP_SAMPLES)] += 0.3
        difference = np.subtract(*encode(encoder, [click, noise]))
        moved = np.flatnonzero(np.abs(difference[:, :13] if name == "mfcc" else difference).max(axis=1) > 1e-4)
        assert moved.tolist() == list(expected)


@pytest.mark.parametrize("family", ["xlsr", "hubert"])
def test_long_signals_are_encoded_in_overlapping_windows(family: str, encoder_folders: dict[str, Path]) -> None:
    folder, waveform = str(encoder_folders[family]), speech_like(7.013, seed=5)
    windowed = load_encoder(folder, 2, window_seconds=2.0, overlap_seconds=0.5)
    features, again = encode(windowed, [waveform, waveform[:40000]])
    assert len(features) == samples_to_frames(len(waveform))
    whole = encode(load_encoder(folder, 2), [waveform])[0]
    # Random weights attend everywhere, so the values only have to be near; the ends and the seams must not be off.
    correlation = np.corrcoef(features.ravel(), whole.ravel())[0, 1]
    assert correlation > 0.9
    np.testing.assert_allclose(again, encode(windowed, [waveform[:40000]])[0], atol=1e-4, rtol=0)


def test_whisper_windows_and_offsets(encoder_folders: dict[str, Path]) -> None:
    encoder = load_encoder(str(encoder_folders["whisper"]), 1)
    short, long = speech_like(1.5, seed=1), speech_like(41.003, seed=2)
    assert encoder.window == 1499
    assert position_slack(encoder, 75) == 1499 - 75
    features = encode(encoder, [short, long])
    assert [len(found) for found in features] == [75, samples_to_frames(len(long))]
    shifted = encode(encoder, [short, long], offsets=[700, 0])
    assert shifted[0].shape == features[0].shape
    # The same sound elsewhere: frames still belong together, though the position embedding has moved them.
    assert np.abs(shifted[0] - features[0]).max() > 1e-3
    np.testing.assert_allclose(shifted[1], features[1], atol=1e-4, rtol=0)
    last = encode(encoder, [short], offsets=[position_slack(encoder, 75)])[0]
    assert last.shape == features[0].shape


def test_whisper_offset_keeps_frames_on_their_sound(encoder_folders: dict[str, Path]) -> None:
    """Without the position embedding a shifted clip has the same features, frame by frame, away from its ends."""
    encoder = load_encoder(str(encoder_folders["whisper"]), 0)
    encoder.model.network.embed_positions.weight.data.zero_()
    waveform = speech_like(2.0, seed=4)
    plain = encode(encoder, [waveform])[0]
    for offset in (1, 333):
        np.testing.assert_allclose(encode(encoder, [waveform], offsets=[offset])[0][1:], plain[1:], atol=1e-4)


@pytest.mark.parametrize("normalized", [True, False])
def test_waveform_is_normalised_as_the_preprocessor_says(
    normalized: bool, encoder_folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(encoder_folders["xlsr"], tmp_path / "model")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"do_normalize": normalized}))
    encoder = load_encoder(str(folder), 2)
    waveform = waveforms_of((16000,))[0]
    loud = encoder.model.normalize(4 * waveform + 0.01)
    if normalized:
        assert abs(loud.mean()) < 1e-5
        assert abs(loud.std() - 1) < 1e-3
    else:
        np.testing.assert_array_equal(loud, 4 * waveform + 0.01)


def test_missing_preprocessor_falls_back_to_the_family_and_says_so(
    encoder_folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("encoders.pretrained.log.propagate", True)
    for family in ("xlsr", "whisper"):
        folder = shutil.copytree(encoder_folders[family], tmp_path / family)
        (folder / "preprocessor_config.json").unlink()
        waveform = waveforms_of((16000,))[0]
        found = encode(load_encoder(str(folder), 1), [waveform])[0]
        expected = encode(load_encoder(str(encoder_folders[family]), 1), [waveform])[0]
        np.testing.assert_array_equal(found, expected)
        assert "preprocessor_config.json" in caplog.text
        caplog.clear()


def test_bf16_is_close_to_fp32(encoder_folders: dict[str, Path]) -> None:
    for family in ("xlsr", "whisper"):
        waveform = waveforms_of((16000,))[0]
        exact = encode(load_encoder(str(encoder_folders[family]), 2), [waveform])[0]
        rough = encode(load_encoder(str(encoder_folders[family]), 2, "cpu", torch.bfloat16), [waveform])[0]
        assert rough.dtype == np.float32
        assert 0 < np.abs(rough - exact).max() < 0.1 * np.abs(exact).max()


def test_only_the_layers_needed_are_loaded(encoder_folders: dict[str, Path]) -> None:
    whisper = load_encoder(str(encoder_folders["whisper"]), 2).model.network
    assert len(whisper.layers) == 2
    assert not any("decoder" in name for name, _ in whisper.named_parameters())
    assert len(load_encoder(str(encoder_folders["xlsr"]), 1).model.network.encoder.layers) == 1


@pytest.mark.parametrize("layer", [-1, 4])
def test_layer_out_of_range(layer: int, encoder_folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=f"between 0 and 3, found {layer}"):
        describe_encoder(str(encoder_folders["hubert"]), layer)


def test_refusals(encoder_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"python scripts/fetch_models.py --model nobody/no-such-model"):
        load_encoder("nobody/no-such-model", 3)
    with pytest.raises(UserError, match=r"nor one of mfcc, logmel, omnilingual:FILE, .*xeus:FILE\); .* --model mfc$"):
        describe_encoder("mfc", None)
    with pytest.raises(UserError, match="mfcc reads no file; expected --encoder mfcc$"):
        describe_encoder("mfcc:weights.pt", None)
    with pytest.raises(UserError, match="expected --layer 0..3"):
        describe_encoder(str(encoder_folders["xlsr"]), None)
    with pytest.raises(UserError, match="mfcc has no layers"):
        load_encoder("mfcc", 2)
    with pytest.raises(UserError, match="options of mfcc alone"):
        load_encoder(str(encoder_folders["xlsr"]), 1, context=2)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="found 'bert'"):
        describe_encoder(str(tmp_path), 1)


def test_incomplete_weights_are_refused(encoder_folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(encoder_folders["xlsr"], tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights = {name: tensor for name, tensor in weights.items() if "layers.0.attention" not in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="every weight"):
        load_encoder(str(folder), 1)
    assert load_encoder(str(folder), 0).model.dim == 32


class Harmful:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (os.mkdir, (self.mark,))


def test_pickled_weights_run_no_code(encoder_folders: dict[str, Path], tmp_path: Path) -> None:
    folder, mark = shutil.copytree(encoder_folders["xlsr"], tmp_path / "model"), tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    torch.save({"x": Harmful(str(mark))}, folder / "pytorch_model.bin")
    with pytest.raises((UserError, pickle.UnpicklingError, RuntimeError)):
        load_encoder(str(folder), 1)
    assert not mark.exists()


def test_every_family_of_the_table_has_a_tiny_model(encoder_folders: dict[str, Path]) -> None:
    assert {json.loads((folder / "config.json").read_text())["model_type"] for folder in encoder_folders.values()} == {
        *FAMILIES
    }


def test_log_mel_is_the_projects_own() -> None:
    for n_samples in (320, 16000, 24007, 31999):
        waveform = speech_like(2.0, seed=7)[:n_samples]
        expected = compute_mel_spectrogram(torch.from_numpy(waveform)[None])[0].T.numpy()
        found = encode(load_encoder("logmel", None), [waveform])[0]
        assert found.shape == (samples_to_frames(n_samples), N_MELS)
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_mfcc_definition() -> None:
    waveform = speech_like(1.0, seed=6)
    features = extract_mfcc(waveform)
    assert features.shape == (50, 39)
    np.testing.assert_array_equal(features, extract_mfcc(waveform))
    # Deltas as HTK defines them: sum of n (c[t+n] - c[t-n]) over 2 * sum of n squared, n = 1, 2.
    cepstra = np.pad(features[:, :13], ((2, 2), (0, 0)), mode="edge").astype(np.float64)
    deltas = (cepstra[3:-1] - cepstra[1:-3] + 2 * (cepstra[4:] - cepstra[:-4])) / 10
    np.testing.assert_allclose(features[:, 13:26], deltas, atol=1e-4)
    # Twice the amplitude is an offset of c0 alone: log 4 in every band, times the norm of the cosine transform.
    louder = extract_mfcc(2 * waveform)
    np.testing.assert_allclose((louder - features)[:, 0], np.log(4) * np.sqrt(40), atol=0.05)
    np.testing.assert_allclose((louder - features)[:, 1:], 0, atol=0.05)
    assert np.abs(extract_mfcc(waveform, subtract_mean=True)[:, :13].mean(axis=0)).max() < 1e-3


def test_mfcc_context_stacks_neighbours() -> None:
    features = np.arange(12, dtype=np.float32).reshape(4, 3)
    stacked = stack_context(torch.from_numpy(features), 1).numpy()
    assert stacked.shape == (4, 9)
    np.testing.assert_array_equal(stacked[1], np.concatenate([features[0], features[1], features[2]]))
    np.testing.assert_array_equal(stacked[0], np.concatenate([features[0], features[0], features[1]]))
    encoder = load_encoder("mfcc", None, context=3)
    assert encode(encoder, [speech_like(0.5)])[0].shape == (25, encoder.model.dim) == (25, 39 * 7)


@pytest.mark.parametrize("n_frames", [1, 99, 100, 101, 180, 181, 1000])
def test_windows_cover_every_frame_once(n_frames: int) -> None:
    spans = plan_windows(n_frames, 100, 20)
    assert spans[0][0] == 0
    assert spans[-1][1] == n_frames
    assert len({stop - start for start, stop in spans}) == 1
    assert all(left[1] - right[0] >= 20 for left, right in zip(spans[:-1], spans[1:]))
    frames = np.arange(n_frames)[:, None]
    np.testing.assert_array_equal(stitch_windows(spans, [frames[start:stop] for start, stop in spans]), frames)


def test_windows_change_over_in_the_middle_of_the_overlap() -> None:
    spans = plan_windows(180, 100, 20)
    assert spans == [(0, 100), (80, 180)]
    marked = stitch_windows(spans, [np.zeros((100, 1)), np.ones((100, 1))])
    assert marked[:90].sum() == 0
    assert marked[90:].sum() == 90


def test_batches_hold_the_budget_and_every_item() -> None:
    lengths = [50, 10, 500, 10, 30, 30, 10]
    batches = plan_batches(lengths, 60)
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    assert all(len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 60 for batch in batches)
    assert len(batches) < 7
    assert all(len({lengths[i] for i in batch}) == 1 for batch in plan_batches(lengths, 60, equal_only=True))


def test_slice_frames_pads_outside_the_signal_only() -> None:
    signal = np.arange(1, 1001, dtype=np.float32)
    np.testing.assert_array_equal(slice_frames(signal, 1, 2, left=40, right=40), signal[280:680])
    ends = slice_frames(signal, 0, 3, left=40, right=80)
    assert len(ends) == 40 + 960 + 80
    np.testing.assert_array_equal(ends, np.concatenate([np.zeros(40), signal, np.zeros(40)]))


class LoudnessEncoder(nn.Module):
    """The smallest encoder there can be: its contract is in encoders/encode.py."""

    dim = 2
    margins = (40, 40)
    longest_window = 100
    equal_only = has_positions = is_cheap = False

    def padded_frames(self, n_frames: int) -> int:
        return n_frames

    def normalize(self, waveform: np.ndarray) -> np.ndarray:
        return waveform

    def prepare(self, pieces: list[np.ndarray]) -> dict[str, torch.Tensor]:
        return {"samples": stack_pieces(pieces)}

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        frames = samples.unfold(1, 400, HOP_SAMPLES)
        return torch.stack([frames.abs().amax(2), frames.square().mean(2)], dim=2)


def test_a_module_of_ones_own_is_windowed_and_batched_alike() -> None:
    encoder = Encoder("loudness", None, LoudnessEncoder(), torch.device("cpu"), torch.float32, 100, 20, 300)
    waveforms = waveforms_of((320, 16000, 16319, 0, 31999))
    for waveform, features in zip(waveforms, encode(encoder, waveforms)):
        n_frames = samples_to_frames(len(waveform))
        assert features.shape == (n_frames, 2)
        padded = slice_frames(waveform, 0, n_frames, left=40, right=40)
        expected = [np.abs(padded[320 * frame : 320 * frame + 400]).max() for frame in range(n_frames)]
        np.testing.assert_array_equal(features[:, 0], np.array(expected, np.float32))


@pytest.mark.skipif("ORAL_UNITS_WHISPER" not in os.environ, reason="ORAL_UNITS_WHISPER names no local Whisper")
def test_whisper_units_are_shift_invariant() -> None:
    """k-means on clips at random offsets gives a clip the same units wherever it lies, but for one frame in five."""
    encoder = load_encoder(os.environ["ORAL_UNITS_WHISPER"], 4 if "base" in os.environ["ORAL_UNITS_WHISPER"] else 2)
    clips = [speech_like(3.0, seed=seed, pitch_hz=90 + 12 * seed) for seed in range(5)]
    rng = np.random.default_rng(0)
    features = encode(encoder, clips, offsets=rng.integers(0, position_slack(encoder, 150), len(clips)).tolist())
    kmeans = fit_kmeans(np.concatenate(features), 30)
    plain = np.concatenate([quantize_to_units(found, kmeans) for found in encode(encoder, clips)])
    shifted = np.concatenate(
        [quantize_to_units(found, kmeans) for found in encode(encoder, clips, offsets=[500] * len(clips))]
    )
    assert (plain != shifted).mean() <= 0.20
