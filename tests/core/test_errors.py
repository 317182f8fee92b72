"""What the user reads is one line, whatever was found."""

import pytest

from core.errors import UserError


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ("trai\n", r"trai\n"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),  # clears a terminal
    ],
)
def test_a_message_is_one_line(found: str, shown: str) -> None:
    message = str(UserError(f"a.json: expected a split, found '{found}'"))
    assert message == f"a.json: expected a split, found '{shown}'"
    assert len(message.splitlines()) == 1


def test_names_of_all_scripts_stay_as_they_are() -> None:
    # A joiner, which Devanagari and Persian need; letters and marks; an emoji of several.
    name = "क्\u200dष ʼãẽ a\u0303 می\u200cخواهم 👩\u200d🌾"
    assert str(UserError(name)) == name
