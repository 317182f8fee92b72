"""What a user's account on Modal holds: the app, the volume, and a token to reach them."""

import os
from pathlib import PurePosixPath

from core.errors import UserError

APP = "oral-units"
VOLUME = "bible-audio-data"
MOUNT = PurePosixPath("/vol")  # where the volume lies in a container


def require_token() -> None:
    """One line on how to set a token, where there is none; the token itself is never read here."""
    from modal.config import config

    if not (config.get("token_id") and config.get("token_secret")) and not config.get("oauth_client_id"):
        raise UserError(
            "Modal: expected a token, found none; run: python -m modal token new, "
            "or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET in the environment"
        )


def default_volume() -> str:
    """The volume's name where no flag gives one."""
    return os.environ.get("ORAL_UNITS_VOLUME") or VOLUME


def open_writers(volume_name: str) -> object:
    """The modal.Dict that says who writes what on a volume (launching.modal_writers): each has its own folders."""
    import modal

    suffix = "" if volume_name == VOLUME else f"-{volume_name}"
    return modal.Dict.from_name(f"{APP}-writers{suffix}", create_if_missing=True)


def open_calls() -> object:
    """The modal.Dict of the calls that an orchestrating call has made: <its id>/<stage>/<number> → id."""
    import modal

    return modal.Dict.from_name(f"{APP}-calls", create_if_missing=True)


def open_existing_volume(name: str) -> object:
    """The modal.Volume of this name; UserError where the account has none."""
    import modal

    volume = modal.Volume.from_name(name)
    try:
        volume.hydrate()
    except modal.exception.NotFoundError as error:
        raise UserError(f"--volume {name}: expected a volume of your Modal account, found none") from error
    return volume
