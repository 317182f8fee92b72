"""Sizes of texts are those of the plain ways to count, and are counted once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

import pytest

from core.text_normalisation import normalise_text
from speech_llm import text_sizes
from speech_llm.characters import find_characters
from speech_llm.text_sizes import measure_texts
from tiny_llm import tiny_tokenizer

TEXTS = ["Hello, all!", "aabb", "", "so so", "Ẽ ĩ"]


def test_sizes_are_those_of_the_plain_ways(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    found = measure_texts(tokenizer, TEXTS)
    assert found.n_tokens.tolist() == [len(tokenizer.encode(text, add_special_tokens=False)) for text in TEXTS]
    assert found.n_letters.tolist() == [len(normalise_text(text)) for text in TEXTS] == [9, 4, 0, 5, 3]
    assert found.n_path.tolist() == [11, 6, 0, 5, 3]
    assert found.characters == find_characters(TEXTS)


def test_they_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny_tokenizer()
    before = measure_texts(tokenizer, TEXTS, tmp_path)
    monkeypatch.setattr(text_sizes, "_count", lambda *_: pytest.fail("counted again"))
    after = measure_texts(tokenizer, TEXTS, tmp_path)
    assert all(np.array_equal(one, other) for one, other in zip(before[:3], after[:3]))
    assert after.characters == before.characters and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", [lambda content: content[:50], lambda content: b""])
def test_a_damaged_file_is_counted_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    tokenizer = tiny_tokenizer()
    before = measure_texts(tokenizer, TEXTS, tmp_path)
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    after = measure_texts(tokenizer, TEXTS, tmp_path)
    assert after.n_tokens.tolist() == before.n_tokens.tolist() and after.characters == before.characters
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("change", ["texts", "order", "tokenizer"])
def test_what_changes_is_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    tokenizer, texts = tiny_tokenizer(), TEXTS
    measure_texts(tokenizer, texts, tmp_path)
    if change == "tokenizer":
        tokenizer.add_tokens(["Hello"])
    texts = {"texts": [*TEXTS, "more"], "order": TEXTS[::-1]}.get(change, texts)
    assert measure_texts(tokenizer, texts, tmp_path).n_tokens.tolist() == [
        len(tokenizer.encode(text, add_special_tokens=False)) for text in texts
    ]
    assert len(list(tmp_path.iterdir())) == 2
