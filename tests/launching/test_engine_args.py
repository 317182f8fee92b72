"""--gpus with a type, and words in quotes."""

import pytest

from core.errors import UserError
from launching.engine_args import parse_gpus, split_words


@pytest.mark.parametrize(
    ("text", "expected"), [("0", (0, None)), ("2", (2, None)), ("a100:2", (2, "a100")), ("A100-80GB", (1, "A100-80GB"))]
)
def test_gpus_may_have_a_type(text: str, expected: tuple) -> None:
    assert parse_gpus(text) == expected


@pytest.mark.parametrize("text", ["-1", "a100:", "2:a100", "a100:x", "1.5", "a b"])
def test_other_gpus_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--gpus .*: expected 0 or more"):
        parse_gpus(text)


def test_quotes_hold_words_together() -> None:
    assert split_words("--comment 'two words' -x") == ["--comment", "two words", "-x"]
    with pytest.raises(UserError, match="unmatched quotes"):
        split_words("--comment 'two")
