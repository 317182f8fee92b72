"""What identifies audio, encoders and scripts, so that features are computed once and never taken for another's."""

import base64
import functools
import hashlib
import os
from pathlib import Path

from core.packed_files import is_packed, read_packed

WHOLE_BYTES = 4 << 20  # two minutes of PCM: up to here every byte counts
N_SAMPLES, SAMPLE_BYTES = 64, 64 << 10  # of what is longer, so that hours of recordings start quickly


def hash_audio_file(path: Path) -> str:
    """SHA-256 of a file's content; of a longer one's size, time of change and 64 places in it.

    A copy of a short file is the same audio wherever it lies; a copy of a long one is only where its time was kept.
    """
    if is_packed(path):
        return hash_content(read_packed(path))
    state = os.stat(path)
    return _hash_file(str(path), state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _hash_file(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as stream:
        if size <= WHOLE_BYTES:
            return hashlib.sha256(stream.read()).hexdigest()
        digest = hashlib.sha256(f"{size} {changed}".encode())
        for index in range(N_SAMPLES):
            stream.seek(index * (size - SAMPLE_BYTES) // (N_SAMPLES - 1))
            digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()


def hash_content(content: bytes | memoryview) -> str:
    """SHA-256 of audio that lies in memory."""
    return hashlib.sha256(content).hexdigest()


def hash_model(name: str) -> str:
    """SHA-256 over a transformers model's configuration, preprocessor and weights, by hub id or folder, not loading it.

    Of weights, which differ everywhere once they differ at all, 64 places and the size are read.
    """
    digest, folder = hashlib.sha256(), _model_folder(name)
    for pattern in ("config.json", "preprocessor_config.json", "*.safetensors", "*.bin"):
        for path in sorted(folder.glob(pattern)):
            digest.update(path.name.encode() + hash_weights(path))
    return digest.hexdigest()


def _model_folder(name: str) -> Path:
    """The folder of a model's files: itself, or the snapshot of its revision in the local cache."""
    from transformers.utils import cached_file  # takes seconds to import

    return Path(cached_file(name, "config.json")).parent


def hash_weights(path: Path) -> bytes:
    """SHA-256 of a file: of a long one's size and 64 places in it, wherever and whenever it was written."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as stream:
        if size <= WHOLE_BYTES:
            return hashlib.sha256(stream.read()).digest()
        for index in range(N_SAMPLES):
            stream.seek(index * (size - SAMPLE_BYTES) // (N_SAMPLES - 1))
            digest.update(stream.read(SAMPLE_BYTES))
    return digest.digest()


def hash_fraction(seed: int, *words: str) -> float:
    """A number in [0, 1) that depends on the seed and the words alone, not on order, shard or process."""
    digest = hashlib.sha256(":".join([str(seed), *words]).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def hash_script(script: str) -> str:
    """The hash by which a page's Content-Security-Policy lets its own script run: sha256 in base64."""
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
