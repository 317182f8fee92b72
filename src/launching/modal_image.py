"""The image of every job on Modal: the tested set of packages, then the code."""

import modal

from languages import REPOSITORY
from launching.modal_image_contents import (
    BASE_VOICES,
    CODE_FILES,
    CODE_FOLDERS,
    CODE_ROOT,
    SYSTEM_PACKAGES,
    image_environment,
    is_ignored,
    is_no_voice_file,
    read_requirements,
)

PYTHON = "3.11"
CONSTRAINTS = "/opt/constraints.txt"


def build_image() -> modal.Image:
    """The code comes last and is mounted when a container starts: an edit rebuilds no layer."""
    image = (
        modal.Image.debian_slim(python_version=PYTHON)
        .apt_install(*SYSTEM_PACKAGES)
        .add_local_file(REPOSITORY / "constraints.txt", CONSTRAINTS, copy=True)
        .pip_install(*read_requirements(), extra_options=f"--constraint {CONSTRAINTS}")
        .env(image_environment())
    )
    for folder in CODE_FOLDERS:
        image = image.add_local_dir(REPOSITORY / folder, f"{CODE_ROOT}/{folder}", ignore=is_ignored)
    for voice in BASE_VOICES:
        if (REPOSITORY / voice).is_dir():
            image = image.add_local_dir(REPOSITORY / voice, f"{CODE_ROOT}/{voice}", ignore=is_no_voice_file)
    for name in CODE_FILES:
        image = image.add_local_file(REPOSITORY / name, f"{CODE_ROOT}/{name}")
    return image
