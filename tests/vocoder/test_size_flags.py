"""Sizes by flag: of the constructor's types, or refused by name."""

from typing import Literal

import pytest

from core.errors import UserError
from vocoder.generators import GENERATORS
from vocoder.size_flags import read_sizes


def build(n_units: int, *, n_streams: int = 1, width: int = 8, scale: float = 0.5, kind: str = "a") -> None:
    """A constructor of every type of argument."""


def build_with_choices(*, harmonic: bool = True, pitch: Literal["both", "bins"] = "both") -> None:
    """A switch and a word."""


def test_switches_and_words() -> None:
    assert read_sizes(build_with_choices, ["harmonic=0", "pitch=bins"]) == {"harmonic": False, "pitch": "bins"}
    assert read_sizes(build_with_choices, ["harmonic=1"]) == {"harmonic": True}


@pytest.mark.parametrize("word", ["harmonic=2", "harmonic=no", "pitch=value", "pitch="])
def test_other_words_are_refused_with_the_choices(word: str) -> None:
    with pytest.raises(UserError, match=f"--sizes {word}: expected one of"):
        read_sizes(build_with_choices, [word])


def test_values_take_the_type_of_the_default() -> None:
    sizes = read_sizes(build, ["width=16", "scale=2"])
    assert sizes == {"width": 16, "scale": 2.0} and isinstance(sizes["scale"], float)
    assert read_sizes(build, []) == {}
    assert read_sizes(GENERATORS["v3"], ["n_blocks=4", "head_channels=128"]) == {"n_blocks": 4, "head_channels": 128}


@pytest.mark.parametrize("word", ["n_units=3", "n_streams=2", "kind=b", "depth=2", "width", "width=1.5", "scale=0"])
def test_anything_else_is_refused_by_name(word: str) -> None:
    with pytest.raises(UserError, match=f"--sizes {word}"):
        read_sizes(build, [word])


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match="each name once"):
        read_sizes(build, ["width=1", "width=2"])
