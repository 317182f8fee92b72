"""Saved voices: a folder of config.json and safetensors that speaks without the experiment it comes from.

``<folder>/config.json`` and ``model.safetensors`` hold the generator, ``units.safetensors`` the clusters that turn a
recording into units, ``speakers.safetensors`` (optional) the mean vector of each speaker, ``prosody/`` (optional) a
prosody predictor in the same two files, ``discriminator.safetensors`` (optional) the opponent it was trained against,
from which another voice's training may go on.

Weights lie there in single or in half precision; loaded, they are float32.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from core.errors import UserError
from core.files import read_json, write_atomically, write_json
from core.frames import HOP_SAMPLES, SAMPLE_RATE
from core.records import VoiceConfig, VoiceOrigin
from languages import command_for_folder
from models.prosody_predictor import ProsodyPredictor
from prosody.prediction import Prosody, load_prosody
from training.checkpoints import build_saved, load_checkpoint, rename_old_weights, require_keys
from units.kmeans import UnitClusters, load_kmeans, read_description, save_safetensors
from units.phase1_inputs import hash_units, lacks_clusters
from vocoder.generators import Vocoder, build_generator, checkpoint_path, load_vocoder

VECTORS_FILE = "speakers.safetensors"
WEIGHTS_FILE, DISCRIMINATOR_FILE = "model.safetensors", "discriminator.safetensors"
VOICE_FORMAT, PROSODY_FORMAT, FORMAT_VERSION = "oral-units voice", "oral-units prosody", 1
# What of an experiment's config.json means something elsewhere; paths do not.
ORIGIN_KEYS = ("units_hash", "started_from", "speaker_encoder")
PORTABLE_KEYS = ("language", "generator", "n_units", "n_streams", "encoder", "layer", *ORIGIN_KEYS)


def load_voice(folder: Path, checkpoint: str | Path = "best", device: str | torch.device = "cpu") -> Vocoder:
    """A saved voice, or the voice of a trained experiment.

    checkpoint: of an experiment, see ``vocoder.generators.load_vocoder``; a saved voice holds its best one only.
    """
    if not _is_saved(folder):
        return load_vocoder(folder, checkpoint, device)
    if checkpoint != "best":
        raise UserError(f"{folder}: a saved voice holds one checkpoint; leave --checkpoint {checkpoint} out")
    config = _read_config(folder, VOICE_FORMAT)
    require_keys(Path(folder) / "config.json", config["derived"], "generator")
    version, sizes = config["derived"]["generator"], config["sizes"]
    return Vocoder(
        generator=_load_weights(lambda: build_generator(version, sizes), folder, device),
        speakers=config["speakers"],
        device=torch.device(device),
        version=version,
        sizes=sizes,
        step=config["step"],
        config=config,
        speaker_vectors=_load_vectors(folder) if sizes.get("speaker_dim") else None,
    )


def load_voice_prosody(folder: Path, device: str | torch.device = "cpu") -> Prosody:
    """The prosody predictor of a saved voice's ``prosody`` folder, or of a trained experiment."""
    if not _is_saved(folder):
        return load_prosody(folder, device=device)
    config = _read_config(folder, PROSODY_FORMAT)
    # JSON has lists only, the constructor takes tuples.
    require_keys(Path(folder) / "config.json", config, "statistics")
    sizes = {key: tuple(value) if isinstance(value, list) else value for key, value in config["sizes"].items()}
    return Prosody(
        predictor=_load_weights(lambda: ProsodyPredictor(**sizes), folder, device),
        speakers=config["speakers"],
        statistics=config["statistics"],
        device=torch.device(device),
        sizes=config["sizes"],
        step=config["step"],
        config=config,
    )


def included_prosody(folder: Path) -> Path | None:
    """The prosody predictor that a saved voice brings along; None for experiments, and voices without one."""
    inside = Path(folder) / "prosody"
    return inside if _is_saved(folder) and _is_saved(inside) else None


def load_clusters(folder: Path) -> UnitClusters | None:
    """The k-means (``units.kmeans``) whose units a saved voice, or an experiment, speaks.

    None where the units were made elsewhere, and nobody brought their clusters.
    """
    folder = Path(folder)
    if not _is_saved(folder):
        return None if lacks_clusters(folder / "units") else load_kmeans(folder / "units" / "kmeans.npz")
    if _read_config(folder, VOICE_FORMAT)["derived"].get("made_elsewhere"):
        return None
    return load_kmeans(folder / "units.safetensors")


def weights_file(folder: Path, checkpoint: str | Path = "best") -> Path:
    """The file that holds the weights of a saved voice, or of an experiment's checkpoint."""
    return Path(folder) / WEIGHTS_FILE if _is_saved(folder) else checkpoint_path(folder, checkpoint)


def load_discriminator(folder: Path, checkpoint: str | Path = "best") -> dict[str, torch.Tensor] | None:
    """The weights, float32, of the discriminator of a saved voice or of an experiment's checkpoint, if it has one."""
    if _is_saved(folder):
        path = Path(folder) / DISCRIMINATOR_FILE
        return _read_weights(path) if path.is_file() else None
    path = weights_file(folder, checkpoint)
    return load_checkpoint(path, command=command_for_folder("run_phase3.sh", folder)).get("discriminator")


def units_hash(folder: Path) -> str:
    """What tells one phase 1 from another (``units.phase1_inputs.hash_units``), which a saved voice remembers."""
    if _is_saved(folder):
        return _read_config(folder, VOICE_FORMAT)["derived"]["units_hash"]
    return hash_units(Path(folder) / "units")


def save_voice(
    folder: Path,
    vocoder: Vocoder,
    clusters: UnitClusters | None,
    units_hash: str,
    *,
    half: bool = False,
    discriminator: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write config.json, model.safetensors and units.safetensors; ``clusters`` come with their encoder's description.

    clusters: None for units that were made elsewhere; then there is no units.safetensors, and config.json says so.
    half: weights in half precision. discriminator: its weights, to be brought along. Nothing of the machine it was
    trained on is written: no paths, no arguments.
    """
    description = (read_description(clusters) if clusters else None) or {}
    encoder = {key: description[key] for key in ("encoder", "layer") if key in description}
    origin = _portable(vocoder) | encoder | {"units_hash": units_hash}
    audio = {"sample_rate_hz": SAMPLE_RATE, "hop_samples": HOP_SAMPLES}
    if clusters is None:
        origin["made_elsewhere"] = True
    else:
        save_safetensors(Path(folder) / "units.safetensors", clusters)
    _save_model(folder, vocoder.generator, _describe(VOICE_FORMAT, vocoder, origin) | audio, half=half)
    if discriminator is not None:
        weights = _in_precision(discriminator, half=half)
        _save_tensors(Path(folder) / DISCRIMINATOR_FILE, weights)
    if vocoder.speaker_vectors is not None:
        _save_tensors(Path(folder) / VECTORS_FILE, {"speaker_vectors": vocoder.speaker_vectors})


def save_voice_prosody(folder: Path, prosody: Prosody, *, half: bool = False) -> None:
    """Write config.json and model.safetensors of a loaded prosody predictor; half: in half precision."""
    described = _describe(PROSODY_FORMAT, prosody, _portable(prosody)) | {"statistics": prosody.statistics}
    _save_model(folder, prosody.predictor, described, half=half)


def _portable(loaded: Vocoder | Prosody) -> VoiceOrigin:
    return {key: value for key, value in loaded.config["derived"].items() if key in PORTABLE_KEYS}


def _describe(kind: str, loaded: Vocoder | Prosody, origin: VoiceOrigin) -> VoiceConfig:
    environment = loaded.config.get("environment", {})
    return {
        "format": kind,
        "format_version": FORMAT_VERSION,
        "derived": origin,
        "sizes": loaded.sizes,
        "speakers": loaded.speakers,
        "step": loaded.step,
        "environment": {key: environment[key] for key in ("git_commit", "packages") if key in environment},
    }


def _save_model(folder: Path, model: nn.Module, config: VoiceConfig, *, half: bool) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    _save_tensors(Path(folder) / "model.safetensors", _in_precision(model.state_dict(), half=half))
    write_json(Path(folder) / "config.json", config)


def _save_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """As bytes: files that safetensors writes itself can be read by their owner alone."""
    write_atomically(path, lambda temporary: temporary.write_bytes(save(tensors, metadata={"format": "pt"})))


def _load_vectors(folder: Path) -> torch.Tensor:
    path = Path(folder) / VECTORS_FILE
    try:
        return load_file(path)["speaker_vectors"]
    except (SafetensorError, OSError, KeyError) as error:
        raise UserError(f"{path}: expected a vector for each speaker of config.json, found none; copy it") from error


def _in_precision(weights: Mapping[str, torch.Tensor], *, half: bool) -> dict[str, torch.Tensor]:
    """The weights with their real numbers in half precision, or all of them as they are."""
    smaller = {name: value.half() if half and value.is_floating_point() else value for name, value in weights.items()}
    return {name: value.contiguous() for name, value in smaller.items()}


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Weights by name, in float32 whatever they were saved in."""
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: expected the weights that config.json describes, found: {reason}") from error
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}


def _load_weights(build: Callable[[], nn.Module], folder: Path, device: str | torch.device) -> nn.Module:
    path = Path(folder) / WEIGHTS_FILE
    weights = rename_old_weights(_read_weights(path))
    return build_saved(path, build, weights, kind="the weights that config.json describes").eval().to(device)


def _is_saved(folder: Path) -> bool:
    return (Path(folder) / WEIGHTS_FILE).is_file()


def _read_config(folder: Path, kind: str) -> VoiceConfig:
    path = Path(folder) / "config.json"
    config = read_json(path)
    found, version = config.get("format"), config.get("format_version")
    if found != kind or not isinstance(version or 0, int) or (version or 0) > FORMAT_VERSION:
        raise UserError(f"{path}: expected '{kind}' up to version {FORMAT_VERSION}, found '{found}' version {version}")
    require_keys(path, config, "derived", "sizes", "speakers", "step")
    return config
