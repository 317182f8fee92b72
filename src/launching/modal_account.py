"""What a user's account on Modal holds: the app, the volume, and a token to reach them."""

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
