"""How many frames a position: texts must fit into what a CTC head hears."""

import logging

import pytest

from core.errors import UserError
from speech_llm.ctc_room import LARGEST_FACTOR, choose_factor, find_crowded, path_length, settle_factor


def test_a_path_needs_a_blank_between_two_alike() -> None:
    assert [path_length(text) for text in ("", "abc", "Hello, all!")] == [0, 3, len("hello all") + 2]


def test_the_factor_follows_the_texts() -> None:
    assert choose_factor([10] * 20, [500.0] * 20) == LARGEST_FACTOR
    assert choose_factor([15] * 20, [50.0] * 20) == 2
    assert choose_factor([60] * 20, [50.0] * 20) == 1
    assert choose_factor([15] * 99 + [500], [50.0] * 100) == 2, "one text beside the wrong audio"


def test_texts_without_a_path_are_found() -> None:
    assert find_crowded([8, 9, 10], [50, 50, 50], 6) == [2]


ITEMS = [{"id": f"u{number}", "text": "a" + "bc" * 6} for number in range(40)]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("oral_units"), "propagate", True)
    return caplog


def test_texts_that_teach_nothing_are_counted_and_too_many_refused(said: pytest.LogCaptureFixture) -> None:
    frames = lambda item: 50  # noqa: E731
    assert settle_factor(None, ITEMS, frames) == 2 and not said.records
    with pytest.raises(UserError, match="--factor 6: 40 of 40 texts .* give --factor 2"):
        settle_factor(6, ITEMS, frames)
    with pytest.raises(UserError, match="--factor 4: 40 of 40"):
        settle_factor(4, ITEMS, frames, fastest=1.1)
    long = {"id": "long", "text": "ab" * 100}
    assert settle_factor(None, [*ITEMS, long], frames) == 2
    assert "1 of 41 texts" in said.text and "long" in said.text
    with pytest.raises(UserError, match="cannot be those of this audio"):
        settle_factor(None, [long, long | {"id": "too"}], frames)
