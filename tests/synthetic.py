"""What tests are made of: speech-like audio, tiny languages, tiny encoders, and scripts run as a person runs them."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

import av
from scipy.signal import lfilter

from audio.audio_io import save_audio
from audio.track_store import N_BUCKETS, add_tracks
from core.frames import HOP_SAMPLES, SAMPLE_RATE, samples_to_frames
from core.packed_files import name_key
from shared_python import shared_python
from trainer_runs import REPOSITORY, can_share_imports, run_copy
from units.corpus import deduplicate, write_corpus

# Formants F1..F3 in Hz of five vowels.
VOWELS = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))
FORMANT_BANDWIDTHS = (80.0, 110.0, 160.0)  # Hz
NOISE_FLOOR = 3e-4  # amplitude of the room between the words
SYLLABLES_A_PHRASE = (3, 7)
PAUSE_SECONDS = (0.35, 0.8)


def speech_like(seconds: float, seed: int = 0, *, pitch_hz: float = 120.0) -> np.ndarray:
    """(S,) float32 at 16 kHz, peak 0.5: phrases of noise-and-vowel syllables with a falling F0, and pauses between.

    S is exactly round(seconds * 16000). ``pitch_hz`` is the speaker's middle F0; the same seed gives the same samples.
    """
    rng, n_samples = np.random.default_rng(seed), round(seconds * SAMPLE_RATE)
    pieces, n_made = [], 0
    while n_made < n_samples:
        for piece in (_phrase(rng, pitch_hz), np.zeros(int(rng.uniform(*PAUSE_SECONDS) * SAMPLE_RATE))):
            pieces.append(piece)
            n_made += len(piece)
    speech = np.concatenate(pieces)[:n_samples]
    speech *= 0.5 / max(np.abs(speech).max(), 1e-9)
    return (speech + NOISE_FLOOR * rng.standard_normal(n_samples)).astype(np.float32)


def _phrase(rng: np.random.Generator, pitch_hz: float) -> np.ndarray:
    n_syllables = int(rng.integers(*SYLLABLES_A_PHRASE))
    steps = pitch_hz * np.linspace(1.25, 0.8, n_syllables + 1) * rng.uniform(0.93, 1.07, n_syllables + 1)
    return np.concatenate([_syllable(rng, start, end) for start, end in zip(steps[:-1], steps[1:])])


def _syllable(rng: np.random.Generator, start_hz: float, end_hz: float) -> np.ndarray:
    consonant = rng.standard_normal(int(rng.uniform(0.05, 0.11) * SAMPLE_RATE))
    consonant = 0.08 * _resonate(consonant, rng.uniform(3000, 6000), 900.0) * np.hanning(len(consonant))
    n_samples = int(rng.uniform(0.12, 0.24) * SAMPLE_RATE)
    phase = np.cumsum(np.linspace(start_hz, end_hz, n_samples)) / SAMPLE_RATE
    vowel = np.diff(np.floor(phase), prepend=0.0)
    for frequency, bandwidth in zip(VOWELS[rng.integers(len(VOWELS))], FORMANT_BANDWIDTHS):
        vowel = _resonate(vowel, frequency, bandwidth)
    fade = np.minimum(1.0, np.minimum(np.arange(n_samples), np.arange(n_samples)[::-1]) / (0.02 * SAMPLE_RATE))
    return np.concatenate([consonant, vowel / (np.abs(vowel).max() + 1e-9) * fade * rng.uniform(0.6, 1.0)])


def _resonate(signal: np.ndarray, frequency: float, bandwidth: float) -> np.ndarray:
    """A two-pole resonator with unit gain at 0 Hz for formants well below the Nyquist frequency."""
    radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
    a1, a2 = -2 * radius * np.cos(2 * np.pi * frequency / SAMPLE_RATE), radius**2
    return lfilter([1 + a1 + a2], [1, a1, a2], signal)


def write_mp3(path: Path, waveform: np.ndarray, *, sample_rate: int = SAMPLE_RATE, bit_rate: int = 64_000) -> Path:
    """Encode (S,) or (channels, S) float in [-1, 1] with PyAV; .mp3, .flac, .ogg, .m4a or .wav names the codec."""
    codecs = {".mp3": "libmp3lame", ".flac": "flac", ".ogg": "libopus", ".m4a": "aac", ".wav": "pcm_s16le"}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.clip(np.atleast_2d(waveform), -1, 1)
    with av.open(str(path), "w") as container:
        layout = "mono" if len(samples) == 1 else "stereo"
        stream = container.add_stream(codecs[path.suffix.lower()], rate=sample_rate, layout=layout)
        if path.suffix.lower() not in (".flac", ".wav"):
            stream.bit_rate = bit_rate
        pcm = np.round(samples * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm.T).reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = sample_rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return path


def split_of(source: str) -> str:
    """The split that the hash of a source's relative path gives: test below 0.15, val below 0.25, else train."""
    fraction = int(hashlib.sha256(source.encode()).hexdigest(), 16) / 2**256
    return "test" if fraction < 0.15 else "val" if fraction < 0.25 else "train"


def source_names(n_train: int, n_val: int, n_test: int, *, suffix: str = ".mp3") -> list[str]:
    """File names whose hashes give that many sources of each split."""
    wanted, names, number = {"train": n_train, "val": n_val, "test": n_test}, [], 0
    while any(wanted.values()):
        number += 1
        name = f"tale_{number:03d}{suffix}"
        if wanted[split_of(name)]:
            wanted[split_of(name)] -= 1
            names.append(name)
    return names


def write_recordings(folder: Path, names: Iterable[str], *, seconds: float = 12.0, seed: int = 0) -> list[Path]:
    """One speech-like recording a name."""
    return [
        write_mp3(Path(folder) / name, speech_like(seconds, seed=seed + number)) for number, name in enumerate(names)
    ]


def write_segments(
    data_root: Path, language: str = "spanish", *, n_train: int = 6, n_val: int = 2, n_test: int = 2, seed: int = 0
) -> list[dict]:
    """data/<language>/segments/*.wav of 2 to 3 s and segments.jsonl, as segmentation leaves them; returns its rows."""
    folder, rows = Path(data_root) / language, []
    splits = ["train"] * n_train + ["val"] * n_val + ["test"] * n_test
    for number, split in enumerate(splits):
        seconds = 2.0 + 0.37 * (number % 3)
        name = f"tale_{number:03d}_0000"
        save_audio(folder / "segments" / f"{name}.wav", speech_like(seconds, seed=seed + number))
        rows.append(
            {
                "id": name,
                "audio": f"{language}/segments/{name}.wav",
                "source": f"tale_{number:03d}.mp3",
                "start": 0.0,
                "end": seconds,
                "duration": seconds,
                "speaker": None,
                "split": split,
                "flags": [],
            }
        )
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "segments.jsonl").write_text(lines, encoding="utf-8")
    (folder / "splits.json").write_text(json.dumps({row["source"]: row["split"] for row in rows}), encoding="utf-8")
    return rows


def store_vector(cache: Path, row: dict, data_root: Path, vector: np.ndarray) -> None:
    """Who speaks in a segment of ``write_segments``, as encoders.speaker_vectors keeps it."""
    made = (row["id"], (Path(data_root) / row["audio"]).stat().st_size, time.time_ns(), vector)
    add_tracks(Path(cache) / "speaker_resemblyzer", name_key(row["id"]) % N_BUCKETS, [made])


def write_units(
    exp_root: Path, rows: list[dict], language: str = "spanish", *, tag: str = "", n_units: int = 12, n_streams: int = 1
) -> Path:
    """exp/<language>_units[_tag]/ as phase 1 leaves it, with units drawn at random in runs; returns the folder."""
    rng, exp = np.random.default_rng(0), Path(exp_root) / f"{language}_units{'_' + tag if tag else ''}"
    exp.mkdir(parents=True, exist_ok=True)
    utterances = []
    for row in rows:
        n_frames = samples_to_frames(round(row["duration"] * SAMPLE_RATE))
        frames = np.repeat(rng.integers(0, n_units, n_frames), rng.integers(1, 6, n_frames))[:n_frames]
        units, durations = deduplicate(frames)
        utterance = {key: row[key] for key in ("id", "audio", "duration", "split", "source", "start", "end", "speaker")}
        utterance |= {"unit_rate": SAMPLE_RATE // HOP_SAMPLES, "units": units.tolist(), "durations": durations.tolist()}
        if n_streams > 1:
            utterance["residual_units"] = rng.integers(0, n_units, (n_streams - 1, n_frames)).tolist()
        utterances.append(utterance)
    write_corpus(exp / "corpus_timestamped.json", utterances)
    _write_unit_model(exp, rng, language, n_units, n_streams)
    return exp


def _write_unit_model(exp: Path, rng: np.random.Generator, language: str, n_units: int, n_streams: int) -> None:
    dim = 39
    arrays = {
        "centroids": rng.standard_normal((n_units, dim)).astype(np.float32),
        "mean": np.zeros(dim, np.float32),
        "scale": np.ones(dim, np.float32),
    }
    if n_streams > 1:
        residual = rng.standard_normal((n_streams - 1, n_units, dim))
        arrays["residual_centroids"] = residual.astype(np.float32)
    np.savez(exp / "kmeans.npz", **arrays)
    derived = {
        "encoder": "mfcc",
        "layer": None,
        "n_units": n_units,
        "n_streams": n_streams,
        "unit_rate": SAMPLE_RATE // HOP_SAMPLES,
        "language": language,
    }
    config = {"arguments": {"language": language}, "derived": derived, "input_hash": "", "environment": {}}
    (exp / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (exp / "finished.json").write_text("{}", encoding="utf-8")


def script_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with one thread a script, offline switches, src/ on the path, and ``env`` on top."""
    fixed = {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    fixed |= {"TRANSFORMERS_OFFLINE": "1", "TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}
    return os.environ | fixed | dict(env or {})


def run_script(
    script: str, *flags: object, env: Mapping[str, str] | None = None, code: int | None = 0, timeout: float = 300
) -> subprocess.CompletedProcess:
    """Run ``python <script> <flags…>`` (path relative to the repository) as run_python does."""
    return run_python(REPOSITORY / script, *flags, env=env, code=code, timeout=timeout)


def run_python(
    *command: object, env: Mapping[str, str] | None = None, code: int | None = 0, timeout: float = 300
) -> subprocess.CompletedProcess:
    """Run ``python <command…>``, a file or ``-m`` with a module, and check that it exits with ``code``.

    ``code=None`` leaves the exit code to the caller. Output is captured as text. Most commands run in copies of one
    process that has imported torch.
    """
    words, environment = list(map(str, command)), script_environment(env)
    if can_share_imports(env or {}):
        done = run_copy(words, environment, timeout)
    else:
        words = [sys.executable, *words]
        done = subprocess.run(words, check=False, env=environment, capture_output=True, text=True, timeout=timeout)
    assert code is None or done.returncode == code, (
        f"{words} exited with {done.returncode}, expected {code}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    )
    return done


def sharing(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """``env``, and the Python processes that a script starts are copies of that one process as well."""
    return dict(env or {}) | {"PYTHON_EXEC": str(shared_python() / "bin" / "python")}


def run_ranks(*command: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess:
    """Run ``python -m torch.distributed.run <command…>`` for two processes on this machine, which must succeed."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    return run_python(*launcher, *command, env=sharing(env))


def shell_environment(**variables: str) -> dict[str, str]:
    """The environment that runs the tests, as one that path.sh finds active and takes.

    Python runs in copies of one process that has imported torch, where ``variables`` allow it (shared_python.py).
    """
    active = shared_python() if can_share_imports(variables) else sys.prefix
    return script_environment({"VIRTUAL_ENV": str(active), "TAG": "", "TRAINING_LANGUAGE": ""} | variables)


def run_bash(*command: object, timeout: float = 600, **variables: str) -> subprocess.CompletedProcess:
    """Run ``bash <command…>`` with ``variables`` in its environment; output as text, any exit code."""
    words = ["bash", *map(str, command)]
    env = shell_environment(**variables)
    return subprocess.run(words, check=False, env=env, capture_output=True, text=True, timeout=timeout)


def save_tiny_encoder(folder: Path, family: str) -> Path:
    """A random-weight encoder of ``family`` (xlsr, hubert, wavlm, whisper) as a Hugging Face folder; 3 layers of 32."""
    torch.manual_seed(0)
    model, extractor = _TINY_ENCODERS[family]()
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return Path(folder)


def _convolutional(family: str, **shape: object) -> tuple:
    import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    sizes |= {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    config = getattr(transformers, f"{family}Config")(**sizes, **shape)
    layer_norm = shape["feat_extract_norm"] == "layer"
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=layer_norm, do_normalize=True)
    return getattr(transformers, f"{family}Model")(config), extractor


def _tiny_xlsr() -> tuple:
    return _convolutional("Wav2Vec2", feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True)


def _tiny_hubert() -> tuple:
    return _convolutional("Hubert", feat_extract_norm="group")


def _tiny_wavlm() -> tuple:
    return _convolutional("WavLM", feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True)


def _tiny_whisper() -> tuple:
    import transformers

    config = transformers.WhisperConfig(
        d_model=32,
        encoder_layers=3,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        vocab_size=64,
        num_mel_bins=80,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    return transformers.WhisperModel(config), transformers.WhisperFeatureExtractor(feature_size=80)


_TINY_ENCODERS: dict[str, Callable[[], tuple]] = {
    "xlsr": _tiny_xlsr,
    "hubert": _tiny_hubert,
    "wavlm": _tiny_wavlm,
    "whisper": _tiny_whisper,
}
