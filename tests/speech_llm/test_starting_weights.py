"""Weights of another model mean the same where they are taken: letters by letter, units by units."""

from pathlib import Path

import torch

import pytest

from models.speech_llm_model import SpeechLLMBase
from speech_llm.saved_model import save_pretrained
from speech_llm.starting_weights import take_over
from tiny_llm import hearing, tiny_llm, tiny_tokenizer


def build(seed: int, **values) -> SpeechLLMBase:
    llm = tiny_llm("llama")
    torch.manual_seed(seed)
    return SpeechLLMBase(llm, tiny_tokenizer(), hearing() | values)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, SpeechLLMBase]:
    model = build(1, characters=" abcd")
    with torch.no_grad():
        model.spelling.weight.add_(1.0)
    save_pretrained(tmp_path, model)
    return tmp_path, model


@pytest.mark.parametrize("letters", ["bade ", " dcba", " abcdefgh"])
def test_letters_are_matched_by_letter(saved: tuple, letters: str) -> None:
    """The first has as many letters as the saved one, the second the same ones in another order."""
    folder, theirs = saved
    fresh, own = build(2, characters=letters), build(2, characters=letters)
    assert take_over(own, folder) == []
    assert torch.equal(own.connector.output.weight, theirs.connector.output.weight)
    assert torch.equal(own.ctc.output.weight[0], theirs.ctc.output.weight[0]), "the blank"
    for row, letter in enumerate(letters):
        expected, place = (theirs, " abcd".index(letter)) if letter in " abcd" else (fresh, row)
        assert torch.equal(own.spelling.weight[row], expected.spelling.weight[place]), letter
        assert torch.equal(own.ctc.output.weight[row + 1], expected.ctc.output.weight[place + 1]), letter
        assert own.ctc.output.bias[row + 1] == expected.ctc.output.bias[place + 1], letter


def test_units_are_taken_where_they_are_the_same_units(tmp_path: Path) -> None:
    theirs = build(1, n_units=5, units_hash="a")
    save_pretrained(tmp_path, theirs)
    same, other = build(2, n_units=5, units_hash="a"), build(2, n_units=5, units_hash="b")
    assert take_over(same, tmp_path) == [] and torch.equal(same.units.weight, theirs.units.weight)
    assert take_over(other, tmp_path) == ["units.weight"]
    assert not torch.equal(other.units.weight, theirs.units.weight)
