"""Which features an index has: what the flags say, else what is there already, else what suits the language."""

import argparse
from pathlib import Path

from annotations.write_annotations import FORMATS
from core.errors import UserError
from core.files import read_json
from core.records import SearchFeatures
from encoders.pretrained import read_pretrained_config
from encoders.table import FAMILIES, OWN_ENCODERS, last_layer, name_encoder, needs_download
from languages import find_config
from spoken_search.features import describe_search_features
from spoken_search.index import is_whole

N_FEATURES = 128  # axes that are kept of a model's hundreds; cepstra stay as they are, which is better for them
N_CENTROIDS = 256  # one byte a frame
# The flags of ``add_index_flags``, as ``preparing.prepare_index`` takes them.
INDEX_FLAGS = ("encoder", "layer", "padding", "num_workers", "device", "seed", "quiet")
WHISPER_SHARE, OTHER_SHARE = 0.8, 0.5  # of the layers: the one that is read


def add_index_flags(parser: argparse.ArgumentParser) -> None:
    """``--encoder``, ``--layer``, ``--padding``: which features the index has."""
    group = parser.add_argument_group("index")
    group.add_argument(
        "--encoder",
        help=f"{', '.join(map(name_encoder, OWN_ENCODERS))}, or a speech encoder by hub id or folder (Whisper, XLS-R, "
        "HuBERT, …): needed to find a word that another speaker says; by default that of an index that is there, "
        "else the language's",
    )
    group.add_argument(
        "--layer", type=int, help="hidden layer to read, 0 = what enters the first; by default one in the middle"
    )
    group.add_argument(
        "--padding",
        choices=("full", "short"),
        help="silence that Whisper gets behind a segment: 30 s in all (full), or a second or two (short, many times "
        "faster); by default short",
    )
    group.add_argument(
        "--num_workers",
        type=int,
        default=2,
        help="threads that read audio, and that search; as many as there are cores",
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:0 …: where an encoder runs")
    group.add_argument("--seed", type=int, default=0, help="of the sample that the index is fitted on")
    group.add_argument("--quiet", action="store_true", help="no progress bar")


def add_output_flags(group: argparse._ArgumentGroup) -> None:
    """``--format`` and ``--page_language``: what is written beside the page, and what that speaks."""
    group.add_argument(
        "--format",
        nargs="+",
        choices=sorted(FORMATS),
        default=["eaf"],
        help="annotation files to write; by default eaf",
    )
    group.add_argument(
        "--page_language", default="en", help="what the page speaks: en, es, pt, or a JSON file of your own labels"
    )


def choose_features(
    language: str, folder: Path, *, encoder: str | None, layer: int | None, padding: str | None, seed: int
) -> SearchFeatures:
    """What the index in ``folder`` is to hold, from flags where they are given."""
    if is_whole(folder) and encoder is None and layer is None and padding is None:
        known = read_json(folder / "index.json").get("features")
        if not isinstance(known, dict):
            raise UserError(
                f"{folder / 'index.json'}: expected features, found none; run src/index_speech.py --overwrite"
            )
        return known
    config = find_config(language)
    encoder = encoder or config["encoder"]
    if layer is None and encoder == config["encoder"]:
        layer = config["layer"]
    whisper = needs_download(encoder) and read_pretrained_config(encoder, FAMILIES).model_type == "whisper"
    if padding is not None and not whisper:
        raise UserError(f"--padding {padding}: expected Whisper with it, found {encoder}; leave it out")
    return describe_search_features(
        encoder,
        _suitable_layer(encoder, whisper=whisper) if layer is None else layer,
        padding=padding or ("short" if whisper else "full"),
        n_features=N_FEATURES if needs_download(encoder) else 0,
        n_centroids=N_CENTROIDS,
        seed=seed,
    )


def _suitable_layer(encoder: str, *, whisper: bool) -> int | None:
    """Four fifths of the way up Whisper, measured; half of the way up others (San et al. 2021), not measured."""
    last = last_layer(encoder)
    return None if last is None else max(1, round(last * (WHISPER_SHARE if whisper else OTHER_SHARE)))
