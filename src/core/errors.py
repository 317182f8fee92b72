"""The one exception for user mistakes: shown as a single line, never as a traceback."""

import unicodedata

# Control characters, and the separators of lines and paragraphs. Joiners, which names in many scripts need, stay.
UNSHOWN = ("Cc", "Zl", "Zp")


class UserError(ValueError):
    """Something the user can repair. The message names the file, what was expected, what was found and the remedy.

    It is one line, whatever a file, a value or a library put into it.
    """

    def __str__(self) -> str:
        return in_one_line(super().__str__())


def in_one_line(text: str) -> str:
    """Line breaks and other control characters as escapes."""
    return "".join(ascii(letter)[1:-1] if unicodedata.category(letter) in UNSHOWN else letter for letter in text)
