"""The table of encoders, and what it says of each without loading weights. encoders/encode.py says how to add one."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import nn

from core.errors import UserError
from core.hashing import hash_content, hash_model, hash_weights
from encoders.convolutional import ConvolutionalEncoder
from encoders.logmel import LogMelEncoder
from encoders.mfcc import MfccEncoder
from encoders.omnilingual import OmnilingualEncoder
from encoders.pretrained import read_pretrained_config
from encoders.spidr import SpidrEncoder
from encoders.weight_files import find_weights
from encoders.whisper import WhisperEncoder
from encoders.xeus import XeusEncoder

# What --encoder calls them. One with weights of its own goes by NAME:FILE. Nothing here is downloaded.
OWN_ENCODERS = {
    "mfcc": MfccEncoder,
    "logmel": LogMelEncoder,
    "omnilingual": OmnilingualEncoder,
    "spidr": SpidrEncoder,
    "xeus": XeusEncoder,
}
# What a transformers model's config.json calls its type -> the module that reads it. XLS-R and MMS are wav2vec2.
FAMILIES = {
    "wav2vec2": ConvolutionalEncoder,
    "hubert": ConvolutionalEncoder,
    "wavlm": ConvolutionalEncoder,
    "whisper": WhisperEncoder,
}


class EncoderDescription(NamedTuple):
    """What is known of an encoder without loading its weights."""

    family: str  # of OWN_ENCODERS or FAMILIES
    layer: int | None
    n_layers: int
    dim: int  # features of a frame


def encoder_class(family: str) -> type[nn.Module]:
    return OWN_ENCODERS.get(family) or FAMILIES[family]


def own_encoder(name: str) -> type[nn.Module] | None:
    """The class that ``name`` or ``name:file`` has in OWN_ENCODERS; None for models of Hugging Face."""
    return OWN_ENCODERS.get(name.partition(":")[0])


def encoder_file(name: str) -> Path | None:
    """The weights in the name of one of OWN_ENCODERS, or in the folder named there; None where it names none."""
    own, file = own_encoder(name), name.partition(":")[2]
    if not (own and file):
        return None
    return find_weights(Path(file), getattr(own, "weight_files", ())) or Path(file)


def _own_shape(name: str) -> tuple[int, int]:
    """(layers, features of a frame) of one of OWN_ENCODERS; a family in several sizes reads them from the file."""
    own = own_encoder(name)
    if hasattr(own, "read_shape"):
        _check_file(name)
        return own.read_shape(encoder_file(name))
    return own.n_layers, own.dim


def name_encoder(short: str) -> str:
    """How one of OWN_ENCODERS is named after --encoder: with FILE where it reads weights."""
    return f"{short}:FILE" if "file" in OWN_ENCODERS[short].options else short


def needs_download(name: str) -> bool:
    """Whether it is a model of Hugging Face, by hub id or folder."""
    return own_encoder(name) is None


def stays_on_cpu(name: str) -> bool:
    """Whether it costs so little that the threads which read audio run it."""
    found = own_encoder(name)
    return found is not None and found.is_cheap


def describe_encoder(name: str, layer: int | None) -> EncoderDescription:
    """What can be said without loading weights.

    Raises UserError for an unknown model, a family we do not serve, a layer out of range, or a file that is missing.
    """
    if needs_download(name):
        config = read_pretrained_config(name, FAMILIES, [*map(name_encoder, OWN_ENCODERS)])
        family, n_layers, dim = config.model_type, config.num_hidden_layers, config.hidden_size
    else:
        _check_file(name)
        family, (n_layers, dim) = name.partition(":")[0], _own_shape(name)
    _check_layer(name, layer, n_layers)
    return EncoderDescription(family, layer, n_layers, dim)


def _check_layer(name: str, layer: int | None, n_layers: int) -> None:
    if n_layers == 0:
        if layer is not None:
            raise UserError(f"{name} has no layers: expected no --layer, found {layer}; leave it out")
    elif layer is None:
        raise UserError(f"{name}: expected --layer 0..{n_layers} (0 = what enters the first layer), found none")
    elif not 0 <= layer <= n_layers:
        raise UserError(f"{name}: expected --layer between 0 and {n_layers}, found {layer}; give one in that range")


def _check_file(name: str) -> None:
    short, file, takes_file = name.partition(":")[0], encoder_file(name), "file" in own_encoder(name).options
    if not takes_file and name != short:
        raise UserError(f"{name}: {short} reads no file; expected --encoder {short}")
    if takes_file and (file is None or not file.is_file()):
        raise UserError(f"{name}: expected a file of weights, found none; give --encoder {short}:FILE")


def last_layer(name: str) -> int | None:
    """The number of the last layer; None for an encoder without layers."""
    if needs_download(name):
        return read_pretrained_config(name, FAMILIES, [*map(name_encoder, OWN_ENCODERS)]).num_hidden_layers
    return _own_shape(name)[0] or None


def parse_features(text: str) -> tuple[str, int | None]:
    """The encoder and layer of ENCODER or ENCODER@LAYER."""
    name, _, layer = text.rpartition("@")
    return (name, int(layer)) if name and layer.isdecimal() else (text, None)


def feature_widths(named: Sequence[tuple[str, int | None]], *, context: int = 0) -> list[int]:
    """Features of a frame of each (encoder, layer), without loading weights."""
    described = [describe_encoder(*one) for one in named]
    neighbours = [2 * context + 1 if takes_cepstral_options(one.family) else 1 for one in described]
    return [one.dim * factor for one, factor in zip(described, neighbours)]


def check_padding(name: str, family: str, padding: str) -> None:
    """Refuse a ``padding`` other than "full" where the input has no fixed length."""
    if padding != "full" and "padding" not in encoder_class(family).options:
        raise UserError(f"{name}: expected padding 'full', found '{padding}'; only Whisper pads its input to 30 s")


def takes_cepstral_options(family: str) -> bool:
    return "context" in encoder_class(family).options


def check_cepstral_options(name: str, families: Sequence[str], *, subtract_mean: bool, context: int) -> None:
    """Refuse what only cepstra know, where none of the ``families`` of features are cepstra."""
    if (subtract_mean or context) and not any(map(takes_cepstral_options, families)):
        raise UserError(f"{name}: mean subtraction and context are options of mfcc alone; leave them out")


def hash_encoder(name: str) -> str:
    """SHA-256 of what the features come from: the name of one of OWN_ENCODERS and its file, or a model's files."""
    if needs_download(name):
        return hash_model(name)
    file, names = encoder_file(name), getattr(own_encoder(name), "beside", ())
    files = [file, *(file.with_name(other) for other in names)] if file else []
    return hash_content(name.partition(":")[0].encode() + b"".join(map(hash_weights, files)))
