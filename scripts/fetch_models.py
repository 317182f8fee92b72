"""Fetch models into HF_HOME, on a machine with a network (a cluster's login node), for offline use afterwards.

    python scripts/fetch_models.py                                    the encoders of the language table
    python scripts/fetch_models.py --language satere                  what one language needs
    python scripts/fetch_models.py --model openai/whisper-base        any model by its id

Only configuration, tokenizer and safetensors files are fetched; where a model has no safetensors, its PyTorch file,
which is read with weights_only=True. Nothing fetched can run code. More: docs/usage.md.
"""

import argparse
import fnmatch
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import core.quiet_start

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import ModelInfo

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from encoders.table import OWN_ENCODERS, name_encoder, needs_download
from languages import LANGUAGE_CONFIGS, add_language_flags, language_config

SAFE_WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
TORCH_WEIGHTS = ("pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json")
DESCRIPTIONS = ("*.json", "*.txt", "*.model", "README.md", "LICENSE*")
OTHER_WEIGHTS = ("*.index.json", "*.index_*.json")
NETWORK_SECONDS = 20.0
GIGABYTE = 1e9


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("models")
    group.add_argument("--model", nargs="+", default=[], metavar="ID", help="models by hub id, instead of the table's")
    group.add_argument("--revision", help="branch, tag or commit; the model's main branch where none is given")
    return parse_flags(parser, argv)


def choose_models(args: argparse.Namespace) -> list[str]:
    """The ids asked for, else the language's encoder, else those of all languages; less what needs no download."""
    languages = [args.language] if args.language else list(LANGUAGE_CONFIGS)
    models = args.model or [language_config(language)["encoder"] for language in languages]
    return [model for model in dict.fromkeys(models) if needs_download(model)]


def choose_files(names: list[str]) -> tuple[list[str], bool]:
    """Which of a repository's files are fetched, and whether the weights are safetensors.

    Only files at the top: variants in folders, adapters of single languages and other frameworks' weights stay there.
    """
    top = [name for name in names if "/" not in name]
    safe = _matching(top, SAFE_WEIGHTS)
    is_safe = any(name.endswith(".safetensors") for name in safe)
    weights = safe if is_safe else _matching(top, TORCH_WEIGHTS)
    descriptions = set(_matching(top, DESCRIPTIONS)) - set(_matching(top, OTHER_WEIGHTS))
    return sorted(descriptions | set(weights)), is_safe


def _matching(names: list[str], patterns: tuple[str, ...]) -> list[str]:
    return [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


def describe_model(model: str, revision: str | None) -> ModelInfo:
    """What the hub says of ``model``; an unknown id, a gated model and a missing network are told apart."""
    try:
        return HfApi().model_info(model, revision=revision, files_metadata=True, timeout=NETWORK_SECONDS)
    except RevisionNotFoundError as error:
        raise UserError(
            f"{model}: expected revision '{revision}', found none; look it up on the model's page"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{model}: expected a model on {constants.ENDPOINT}, found none; check the id") from error
    except HfHubHTTPError as error:
        raise UserError(
            f"{model}: the hub refused it ({str(error).splitlines()[0]}); set HF_TOKEN where it is gated"
        ) from error
    except Exception as error:  # the hub library has changed its HTTP library, and with it the class, more than once
        raise UserError(
            f"{model}: expected to reach {constants.ENDPOINT}, found: {error}; run this where there is a network, "
            f"or copy {constants.HF_HOME} from such a machine"
        ) from error


def note_licence(model: str, info: ModelInfo) -> None:
    licence = (info.card_data or {}).get("license") or "unstated"
    print(f"  licence: {licence}")
    if "-nc" in str(licence) or "mms" in model.lower():
        print(
            "  note: non-commercial use only (MMS models are CC-BY-NC 4.0); the same holds for what is made with them"
        )


def fetch(model: str, revision: str | None) -> None:
    """Fetch one model; what lies in HF_HOME already is not fetched again."""
    info = describe_model(model, revision)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings}
    names, is_safe = choose_files(list(sizes))
    if not _matching(names, SAFE_WEIGHTS + TORCH_WEIGHTS):
        raise UserError(f"{model}: expected safetensors or PyTorch weights, found neither; give another model")
    gigabytes = sum(sizes[name] for name in names) / GIGABYTE
    print(f"{model}: {len(names)} files, {gigabytes:.2f} GB, revision {info.sha}")
    note_licence(model, info)
    if not is_safe:
        print("  note: no safetensors; its PyTorch file is fetched and is read with weights_only=True")
    home = Path(constants.HF_HOME)
    home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home).free / GIGABYTE
    if free < gigabytes:
        raise UserError(
            f"{home}: expected {gigabytes:.1f} GB of free disk, found {free:.1f}; set HF_HOME to another disk"
        )
    # By the branch's name, not the commit: only then does the cache find the model offline by its id.
    folder = snapshot_download(model, revision=revision, allow_patterns=names)
    print(f"  in {folder}")
    if revision:
        print(f"  this revision is used by its folder: --encoder {folder}")


def main() -> None:
    args = parse_args()
    constants.HF_HUB_OFFLINE = False  # path.sh's default switch; fetching is this script's whole purpose
    models = choose_models(args)
    if not models:
        print(f"nothing to fetch: {', '.join(map(name_encoder, OWN_ENCODERS))} need no download from here")
    for model in models:
        if Path(model).is_dir():
            raise UserError(f"{model}: expected a hub id, found a local folder; use it as it is")
        fetch(model, args.revision)


if __name__ == "__main__":
    run_main(main)
