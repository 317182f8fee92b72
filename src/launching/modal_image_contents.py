"""What goes into the image of every job on Modal: packages, variables, and the code without anything private."""

import tomllib
from pathlib import Path, PurePosixPath

from languages import REPOSITORY
from launching.modal_account import MOUNT

CODE_ROOT = PurePosixPath("/oral-units")
SYSTEM_PACKAGES = ("g++",)  # for torch.compile; the wheels bring ffmpeg, libsndfile and Praat with them

# Only these are uploaded, so that recordings and results never are, however the working folder looks.
CODE_FOLDERS = ("src", "scripts", "recipes")
# What phase 3 starts from; other voices stay here.
BASE_VOICES = ("voices/base_v3", "voices/base_v4", "voices/base_v4/prosody", "voices/hearing")
CODE_FILES = ("path.sh", "pyproject.toml", "constraints.txt")
# Of these, only what runs: a list of what goes, since a list of what stays always lacks something.
CODE_SUFFIXES = {".py", ".sh", ".html", ".css", ".js"}
# Read by recipes/base_voice/train.sh, and by the scripts that make a page with clips.
CODE_NAMES = {
    "about.md",
    "listening_labels.json",
    "search_labels.json",
    "phrases_labels.json",
    "continuation_labels.json",
}
VOICE_FILES = ("config.json", "*.safetensors", "README.md", "ATTRIBUTION_*.txt", "LICENSE*.txt")
IGNORED_FOLDERS = {"exp", "data", "modal_downloads", "__pycache__", "node_modules", "wandb", "runs"}
SECRET_WORDS = ("secret", "credential", "password", "id_rsa", "id_ed25519")


def read_requirements(repository: Path = REPOSITORY) -> list[str]:
    """pyproject.toml's own list, and its tools, which path.sh asks for: the same set as on every other machine."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return sorted(project["dependencies"] + project["optional-dependencies"]["dev"])


def image_environment() -> dict[str, str]:
    return {
        "PYTHONPATH": f"{CODE_ROOT}/src",
        "DATA_ROOT": f"{MOUNT}/data",
        "EXP_ROOT": f"{MOUNT}/exp",
        "HF_HOME": f"{MOUNT}/huggingface",
        "PYTHONUNBUFFERED": "1",
        "TQDM_MININTERVAL": "30",
    }


def is_ignored(path: Path) -> bool:
    """Whether a file of an uploaded folder stays here; ``path`` is relative to that folder."""
    names = [part.lower() for part in path.parts]
    return (
        any(name in IGNORED_FOLDERS or name.startswith(".") for name in names)
        or (path.suffix.lower() not in CODE_SUFFIXES and names[-1] not in CODE_NAMES)
        or any(word in names[-1] for word in SECRET_WORDS)
    )


def is_no_voice_file(path: Path) -> bool:
    """Whether a file in the folder of a base voice stays here; ``path`` is relative to that folder."""
    return len(path.parts) > 1 or not any(path.match(pattern) for pattern in VOICE_FILES)
