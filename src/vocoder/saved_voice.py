"""Saved voices: a folder of config.json and safetensors that speaks without the experiment it comes from.

``<folder>/config.json`` and ``model.safetensors`` hold the generator, ``units.safetensors`` the clusters that turn a
recording into units, ``prosody/`` (optional) a prosody predictor in the same two files.
"""

from pathlib import Path

import torch
from torch import nn

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from core.errors import UserError
from core.files import hash_files, read_json, write_atomically, write_json
from core.frames import HOP_SAMPLES, SAMPLE_RATE
from models.prosody_predictor import ProsodyPredictor
from prosody.prediction import load_prosody
from units.kmeans import load_kmeans, read_description, save_safetensors
from vocoder.synthesis import build_generator, load_vocoder

VOICE_FORMAT, PROSODY_FORMAT, FORMAT_VERSION = "oral-units voice", "oral-units prosody", 1
# What of an experiment's config.json means something elsewhere; paths do not.
KEPT = ("language", "generator", "n_units", "n_streams", "encoder", "layer", "units_hash")


def load_voice(folder: Path, checkpoint: str | Path = "best", device: str | torch.device = "cpu") -> dict:
    """A saved voice, or the voice of a trained experiment: the dict of ``vocoder.synthesis.load_vocoder``.

    checkpoint: of an experiment, see there; a saved voice holds its best one only.
    """
    if not _is_saved(folder):
        return load_vocoder(folder, checkpoint, device)
    if checkpoint != "best":
        raise UserError(f"{folder}: a saved voice holds one checkpoint; leave --checkpoint {checkpoint} out")
    config = _read_config(folder, VOICE_FORMAT)
    generator = build_generator(config["derived"]["generator"], config["sizes"])
    return _loaded(config, device) | {
        "generator": _load_weights(generator, folder, device),
        "version": config["derived"]["generator"],
    }


def load_voice_prosody(folder: Path, device: str | torch.device = "cpu") -> dict:
    """The prosody predictor of a saved voice's ``prosody`` folder, or of a trained experiment: see ``load_prosody``."""
    if not _is_saved(folder):
        return load_prosody(folder, device=device)
    config = _read_config(folder, PROSODY_FORMAT)
    predictor = _load_weights(ProsodyPredictor(**_tuples(config["sizes"])), folder, device)
    return _loaded(config, device) | {"predictor": predictor, "statistics": config["statistics"]}


def included_prosody(folder: Path) -> Path | None:
    """The prosody predictor that a saved voice brings along; None for experiments, and voices without one."""
    inside = Path(folder) / "prosody"
    return inside if _is_saved(folder) and _is_saved(inside) else None


def load_clusters(folder: Path) -> dict:
    """The k-means (``units.kmeans``) whose units a saved voice, or an experiment, speaks."""
    folder = Path(folder)
    return load_kmeans(folder / "units.safetensors" if _is_saved(folder) else folder / "units" / "kmeans.npz")


def units_hash(folder: Path) -> str:
    """What tells one phase 1 from another: the hash of its kmeans.npz, which a saved voice remembers."""
    if _is_saved(folder):
        return _read_config(folder, VOICE_FORMAT)["derived"]["units_hash"]
    return hash_files([Path(folder) / "units" / "kmeans.npz"])


def save_voice(folder: Path, vocoder: dict, kmeans: dict, units_hash: str) -> None:
    """Write config.json, model.safetensors and units.safetensors; ``vocoder`` as loaded, ``kmeans`` with its encoder.

    Nothing of the machine it was trained on is written: no paths, no arguments.
    """
    derived = {key: value for key, value in vocoder["config"]["derived"].items() if key in KEPT}
    description = read_description(kmeans) or {}
    derived |= {key: description[key] for key in ("encoder", "layer") if key in description}
    audio = {"sample_rate_hz": SAMPLE_RATE, "hop_samples": HOP_SAMPLES}
    described = _described(VOICE_FORMAT, vocoder, derived | {"units_hash": units_hash}) | audio
    save_safetensors(Path(folder) / "units.safetensors", kmeans)
    _save_weights(folder, vocoder["generator"], described)


def save_voice_prosody(folder: Path, prosody: dict) -> None:
    """Write config.json and model.safetensors of a loaded prosody predictor."""
    derived = {key: value for key, value in prosody["config"]["derived"].items() if key in KEPT}
    described = _described(PROSODY_FORMAT, prosody, derived) | {"statistics": prosody["statistics"]}
    _save_weights(folder, prosody["predictor"], described)


def _described(kind: str, loaded: dict, derived: dict) -> dict:
    environment = loaded["config"].get("environment", {})
    return {
        "format": kind,
        "format_version": FORMAT_VERSION,
        "derived": derived,
        "sizes": loaded["sizes"],
        "speakers": loaded["speakers"],
        "step": loaded["step"],
        "environment": {key: environment[key] for key in ("git_commit", "packages") if key in environment},
    }


def _save_weights(folder: Path, model: nn.Module, config: dict) -> None:
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata = {"format": "pt"}  # what transformers and the hub expect to find
    write_atomically(Path(folder) / "model.safetensors", lambda path: path.write_bytes(save(weights, metadata)))
    write_json(Path(folder) / "config.json", config)


def _load_weights(model: nn.Module, folder: Path, device: str | torch.device) -> nn.Module:
    path = Path(folder) / "model.safetensors"
    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: expected the weights that config.json describes, found: {reason}") from error
    return model.eval().to(device)


def _loaded(config: dict, device: str | torch.device) -> dict:
    return {key: config[key] for key in ("step", "speakers", "sizes")} | {
        "config": config,
        "device": torch.device(device),
    }


def _is_saved(folder: Path) -> bool:
    return (Path(folder) / "model.safetensors").is_file()


def _read_config(folder: Path, kind: str) -> dict:
    path = Path(folder) / "config.json"
    config = read_json(path)
    if config.get("format") != kind or config.get("format_version", 0) > FORMAT_VERSION:
        found = f"'{config.get('format')}' version {config.get('format_version')}"
        raise UserError(f"{path}: expected '{kind}' up to version {FORMAT_VERSION}, found {found}")
    return config


def _tuples(sizes: dict) -> dict:
    """JSON has lists only."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in sizes.items()}
