"""Long input in chunks equals the whole."""

import numpy as np
import torch

import pytest

from models.hashed_noise import hashed_noise, noise_key
from models.pulse_train import pulse_train
from units.requests import SpokenItem
from vocoder.chunked_synthesis import CHUNK_FRAMES, CONTEXT_FRAMES, start_phases, stream_utterance
from vocoder.generators import GENERATORS, Vocoder, build_generator
from vocoder.synthesis import LONG_FRAMES, speak, synthesize_utterances

N_FRAMES = 170


def item(speaker: str | None = None) -> SpokenItem:
    """Gliding F0 with unvoiced stretches: chunk borders fall into all of them."""
    random = np.random.default_rng(0)
    f0 = (150 + 60 * np.sin(np.arange(N_FRAMES) / 9)).astype(np.float32)
    f0[(np.arange(N_FRAMES) % 31) < 6] = 0
    return SpokenItem("long", random.integers(0, 9, (N_FRAMES, 2)), f0, speaker)


@pytest.mark.parametrize("chunk_frames", [1, 2, 13, 64, 169, 170, 1000])
@pytest.mark.parametrize("version", sorted(GENERATORS))
def test_chunks_equal_the_whole(version: str, chunk_frames: int) -> None:
    if chunk_frames < 13 and version not in ("v3", "v4"):
        pytest.skip("slow, and V1 and V2 carry no phase")
    torch.manual_seed(0)
    generator = build_generator(version, {"n_units": 9, "n_streams": 2, "n_speakers": 1, "channels": 32}).eval()
    for name, parameter in generator.named_parameters():
        if name.endswith("original0"):
            torch.nn.init.constant_(parameter, 1.0)
    spoken, key = item("only"), noise_key(0, "long")
    tensors = torch.from_numpy(spoken.content)[None], torch.from_numpy(spoken.f0)[None]
    with torch.inference_mode():
        whole = speak(generator, *tensors, torch.tensor([1]), torch.tensor([key]))[0].numpy()
    vocoder = Vocoder(generator, ["only"], torch.device("cpu"))
    pieces = list(stream_utterance(vocoder, spoken, noise_key=key, chunk_frames=chunk_frames))
    assert [len(piece) for piece in pieces[:-1]] == [320 * chunk_frames] * (len(pieces) - 1)
    joined = np.concatenate(pieces)
    assert joined.dtype == np.float32 and joined.shape == (320 * N_FRAMES,)
    assert np.abs(whole).max() > 1e-3
    assert np.abs(joined - whole).max() < 1e-3 * np.abs(whole).max()


def test_long_utterances_are_spoken_in_chunks_among_short_ones() -> None:
    torch.manual_seed(0)
    generator = build_generator("v3", {"n_units": 9, "channels": 32}).eval()
    vocoder, random = Vocoder(generator, [], torch.device("cpu")), np.random.default_rng(0)
    lengths = {"short": 30, "long": LONG_FRAMES + 123, "last": 40}
    # int16 as vocoder/batches.py loads a corpus: a validation with an utterance of over a minute broke on it.
    items = [
        SpokenItem(name, random.integers(0, 9, (length, 1), np.int16), np.full(length, 110, np.float32))
        for name, length in lengths.items()
    ]
    seen: list[int] = []
    hook = generator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1].numel()))
    spoken = list(synthesize_utterances(vocoder, items, max_batch_frames=100))
    hook.remove()
    assert max(seen) <= CHUNK_FRAMES + 2 * CONTEXT_FRAMES, "memory must not grow with the utterance"
    assert [(name, len(waveform)) for name, waveform in spoken] == [(name, 320 * n) for name, n in lengths.items()]
    for item, (_, waveform) in zip(items, spoken):
        tensors = torch.from_numpy(item.content)[None], torch.from_numpy(item.f0)[None]
        with torch.inference_mode():
            whole = speak(generator, *tensors, None, torch.tensor([noise_key(0, item.id)]))[0].numpy()
        assert np.abs(waveform - whole).max() < 1e-3 * np.abs(whole).max()


def test_bf16_is_close_and_not_the_same() -> None:
    torch.manual_seed(0)
    generator = build_generator("v3", {"n_units": 9, "n_streams": 2, "channels": 32}).eval()
    vocoder = Vocoder(generator, [], torch.device("cpu"))
    exact, whole, chunked = (
        np.concatenate(list(pieces))
        for pieces in (
            stream_utterance(vocoder, item(), noise_key=1),
            stream_utterance(vocoder._replace(bf16=True), item(), noise_key=1),
            stream_utterance(vocoder._replace(bf16=True), item(), noise_key=1, chunk_frames=50),
        )
    )
    for other in (whole, chunked):
        assert 0 < np.abs(other - exact).max() < 0.05 * np.abs(exact).max()


def test_start_phases_are_those_of_the_pulse_train() -> None:
    f0 = item().f0
    for block in (7, 50, 10_000):
        phases = start_phases(f0, block=block)
        for frame in range(1, N_FRAMES):
            # Up to an unvoiced frame the train over the first frames alone is that of the whole.
            if f0[frame - 1] == 0 or f0[frame] == 0:
                _, expected = pulse_train(torch.from_numpy(f0[:frame])[None], hop=320, sample_rate=16000)
                assert abs((expected.item() - phases[frame] + 0.5) % 1 - 0.5) < 1e-6


def test_noise_of_a_chunk_is_a_stretch_of_the_utterances() -> None:
    keys = torch.tensor([noise_key(0, "long")])
    whole = hashed_noise(keys, 20_000)
    assert torch.equal(hashed_noise(keys, 500, start=12_345), whole[:, 12_345:12_845])
