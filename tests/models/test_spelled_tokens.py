"""Tokens that a CTC head spells: the LLM's own where it is sure, their letters where it is not."""

from types import SimpleNamespace

import torch

import pytest

from core.errors import UserError
from models.ctc import CharacterEmbedding, greedy_labels
from models.speech_llm_model import SpeechLLMBase
from models.spelled_tokens import spell_tokens, token_spans
from tiny_llm import byte_tokenizer, hearing, tiny_llm, tiny_tokenizer

LETTERS, SIZE = " abẽ", 5
TABLE = torch.randn(400, SIZE, generator=torch.Generator().manual_seed(0))
SPELLING = CharacterEmbedding(torch.randn(len(LETTERS), SIZE, generator=torch.Generator().manual_seed(1)))


def posteriors(text: str, sure: float = 1.0, blank: float = 0.0) -> torch.Tensor:
    """(1, P, V) nats: each letter once and a blank behind it; what is left of ``sure`` goes to the letter before."""
    rows = torch.zeros(2 * len(text), len(LETTERS) + 1)
    for place, letter in enumerate(text):
        label = LETTERS.index(letter) + 1
        rows[2 * place, label], rows[2 * place, label % len(LETTERS) + 1] = sure, 1 - sure
        rows[2 * place] *= 1 - blank
        rows[2 * place, 0] = blank
        rows[2 * place + 1, 0] = 1
    return rows.clamp_min(1e-30).log()[None]


def spell(log_probs: torch.Tensor, path: torch.Tensor | None = None) -> torch.Tensor:
    path = log_probs if path is None else path
    named = {"characters": LETTERS, "tokenizer": byte_tokenizer(), "spelling": SPELLING}
    lengths = torch.tensor([log_probs.shape[1]] * len(log_probs))
    return spell_tokens(log_probs, lengths, path=path, embed=lambda tokens: TABLE[tokens], **named)[0]


def test_every_letter_is_in_a_token_and_bytes_share_theirs() -> None:
    spans = token_spans(byte_tokenizer(), "ab aẽ")
    assert [(start, end) for _, start, end in spans][:3] == [(0, 2), (2, 3), (3, 4)]
    assert len(spans) > 4 and {(start, end) for _, start, end in spans[3:]} == {(4, 5)}
    assert token_spans(byte_tokenizer(), "") == []
    assert token_spans(byte_tokenizer(), "a ")[-1][2] == 2


def test_where_the_head_is_sure_the_llm_reads_its_own_tokens() -> None:
    tokens = torch.tensor(byte_tokenizer().encode("ab aẽ", add_special_tokens=False))
    torch.testing.assert_close(spell(posteriors("ab aẽ")), TABLE[tokens], atol=1e-4, rtol=1e-4)


def test_a_token_weighs_the_product_of_its_letters_and_blanks_take_nothing() -> None:
    found = spell(posteriors("ab", sure=0.8, blank=0.2))
    token = byte_tokenizer().encode("ab", add_special_tokens=False)
    mean = posteriors("ab", sure=0.8).exp()[0, ::2].mean(0, keepdim=True)
    assert len(token) == 1
    torch.testing.assert_close(found, 0.64 * TABLE[token] + 0.36 * SPELLING(mean), atol=1e-4, rtol=1e-4)


def test_another_path_is_spelled_by_the_posteriors_it_has() -> None:
    token = byte_tokenizer().encode("b", add_special_tokens=False)
    heard = posteriors("a", sure=0.75)
    found = spell(heard, path=posteriors("b"))
    torch.testing.assert_close(found, 0.25 * TABLE[token] + 0.75 * SPELLING(heard.exp()[0, :1]), atol=1e-4, rtol=1e-4)


def test_a_letter_that_half_precision_cannot_tell_from_the_blank_is_spelled() -> None:
    heard = posteriors("ab", sure=1.0, blank=0.4999)
    with torch.autocast("cpu", torch.bfloat16):
        found = spell(heard)
    torch.testing.assert_close(
        found, TABLE[byte_tokenizer().encode("ab", add_special_tokens=False)], atol=1e-4, rtol=1e-4
    )


def test_silence_is_one_position_and_gradients_reach_the_head() -> None:
    assert spell(posteriors("a", blank=1.0)).shape == (1, SIZE)
    heard = posteriors("ab", sure=0.8).requires_grad_()
    spell(heard, path=heard.detach()).sum().backward()
    assert heard.grad[0, 0].any() and heard.grad.isfinite().all()


def test_a_model_reads_as_many_positions_as_its_head_spells_tokens() -> None:
    torch.manual_seed(0)
    model = SpeechLLMBase(tiny_llm("llama"), tiny_tokenizer(), hearing() | {"ctc_draft": False, "ctc_tokens": True})
    features, lengths = torch.randn(2, 60, 16), torch.tensor([60, 31])
    speech = model.eval().encode_speech(features, lengths)
    rows = model.audio_embeddings(speech)
    assert [len(row) for row in rows] == [max(1, len(row)) for row in greedy_labels(speech.log_probs, speech.lengths)]


def test_a_tokenizer_must_say_where_its_tokens_lie() -> None:
    tokenizer = tiny_tokenizer()
    slow = SimpleNamespace(**{name: getattr(tokenizer, name) for name in ("encode", "chat_template")}, is_fast=False)
    with pytest.raises(UserError, match="--ctc_tokens: expected a fast tokenizer"):
        SpeechLLMBase(tiny_llm("llama"), slow, hearing() | {"ctc_tokens": True})
