"""The one exception for user mistakes: shown as a single line, never as a traceback."""


class UserError(ValueError):
    """Something the user can repair. The message names the file, what was expected, what was found and the remedy."""
