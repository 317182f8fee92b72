"""Letters that the LLM's vocabulary holds only as bytes."""

import numpy as np
import torch

import pytest

from core.text_normalisation import normalise_text
from models.speech_llm_model import SpeechLLMBase
from speech_llm.characters import find_characters
from speech_llm.decoding import _write
from speech_llm.joint_decoding import (
    SILENT_SCORE,
    STALLING_SCORE,
    joint_processor,
    open_ctc_scorer,
    score_beginning,
    score_next_tokens,
)
from speech_llm.spellings import build_token_tree, hear_text, letters_begun, merged_texts
from speech_llm.token_bytes import part_begun, token_bytes
from tiny_llm import byte_tokenizer, hearing, spoken, tiny_llm, tiny_tokenizer

TEXTS = {
    "tupi": "ẽ mbaʼĩ ũỹ g̃u",
    "yoruba": "ẹ ọjọ́ rẹ́",
    "czech": "ě řů",
    "vietnamese": "tiếng đượ",
    "devanagari": "स्ते क़",
    "ethiopic": "ሰላ ለ",
    "apostrophes": "ʔa nʔo ʼo wak'",
}
LLM = tiny_llm("llama", tokenizer=byte_tokenizer())


def listening(text: str) -> SpeechLLMBase:
    return SpeechLLMBase(LLM, byte_tokenizer(), hearing() | {"characters": find_characters([text])}).eval()


@pytest.mark.parametrize("language", TEXTS)
def test_every_letter_can_be_written(language):
    model, heard = listening(TEXTS[language]), normalise_text(TEXTS[language])
    scorer = open_ctc_scorer(build_token_tree(model), spoken(heard, characters=model.characters))
    prompt = LLM.get_input_embeddings()(torch.tensor([5, 6, 7]))
    processor = joint_processor(model, [scorer], 2, 0.9, 0.1)
    found = model.generate([prompt], [60], num_beams=2, length_penalty=0.0, processor=processor)[0][0]
    written = model.tokenizer.decode(found)
    assert normalise_text(written) == heard and "\ufffd" not in written


@pytest.mark.parametrize("text", ["ẽ ʼa", "ሰላም", "g̃uahẽ", "e\u0303 a", "“ab” …"])
def test_gains_of_bytes_add_up_to_the_score_of_the_text(text):
    model = listening(TEXTS["tupi"] + TEXTS["ethiopic"])
    tree, n_labels = build_token_tree(model), len(model.characters) + 1
    posteriors = np.log(np.random.default_rng(0).dirichlet(np.ones(n_labels), 30)).astype(np.float32)
    scorer, written, total = open_ctc_scorer(tree, posteriors), b"", 0.0
    for token in model.tokenizer.encode(text, add_special_tokens=False):
        found = score_next_tokens(scorer, written, [token])
        if token in found.tokens.tolist():
            total += found.gains[found.tokens.tolist().index(token)].item()
        written += tree.spelled[token]
    silence = 2 * SILENT_SCORE + STALLING_SCORE if "…" in text else 0.0
    expected = score_beginning(scorer, hear_text(tree, written)) + silence
    assert written.decode() == text and total == pytest.approx(expected, abs=1e-3)


def test_bytes_that_end_no_letter_are_never_written():
    model = listening("ẽ a")
    scorer = open_ctc_scorer(build_token_tree(model), spoken("ẽ a", characters=model.characters))
    first, wrong = model.tokenizer.convert_tokens_to_ids(["áº", "a"])
    scores = torch.zeros(1, len(model.tokenizer))
    scores[0, [wrong, *model.stop_ids]] = 9.0
    processed = joint_processor(model, [scorer], 1, 0.5, 0.0)(torch.tensor([[first]]), scores)[0]
    finite = [token for token in range(len(processed)) if torch.isfinite(processed[token])]
    assert finite and all(part_begun(b"\xe1\xba" + scorer.tree.spelled[token]) for token in finite)
    assert wrong not in finite and not set(finite) & set(model.stop_ids)


def test_first_bytes_are_worth_all_letters_that_they_may_become():
    model = listening("ẽỹẹ ã")
    tree = build_token_tree(model)
    assert {model.characters[row - 1] for row in letters_begun(tree, b"\xe1\xba").labels} == set("ẽẹ")
    scorer = open_ctc_scorer(tree, spoken("ẽ", characters=model.characters))
    letters = [score_beginning(scorer, hear_text(tree, letter.encode())) for letter in "ẽẹ"]
    begun = score_beginning(scorer, hear_text(tree, b"\xe1\xba"))
    assert begun == pytest.approx(np.logaddexp(*letters), abs=1e-3) and letters_begun(tree, b"\xe2\x80").silent
    assert merged_texts(tree, hear_text(tree, b"e\xcc")) == ["ẹ", "ẽ"]


def test_bytes_of_tokens_are_those_of_what_the_tokenizer_writes():
    for tokenizer in (byte_tokenizer(), tiny_tokenizer()):
        spelled = token_bytes(tokenizer)
        ids = tokenizer.encode("Ab, cab 'd!", add_special_tokens=False)
        assert b"".join(spelled[token] for token in ids).decode() == tokenizer.decode(ids)
        assert spelled[tokenizer.eos_token_id] == b""
    rare = byte_tokenizer().encode("ẽ ሰ", add_special_tokens=False)
    spelled = token_bytes(byte_tokenizer())
    assert b"".join(spelled[token] for token in rare).decode() == "ẽ ሰ" and len(rare) > 3


def test_an_llm_writes_composed_letters_and_the_transcripts_form_is_given_back():
    config = hearing() | {"characters": "ẽ", "text_form": "NFD"}
    model = SpeechLLMBase(LLM, byte_tokenizer(), config).eval()
    composed = model.answer_ids("\u1ebd")
    assert model.answer_ids("e\u0303") == composed and _write(model, composed[:-1]) == "e\u0303"
    old = SpeechLLMBase(LLM, byte_tokenizer(), hearing()).eval()
    assert old.answer_ids("e\u0303") != composed and _write(old, composed[:-1]) == "\u1ebd"
