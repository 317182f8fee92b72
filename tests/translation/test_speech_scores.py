"""BLEU and chrF of readings."""

import pytest

from translation.speech_scores import score_readings

pytest.importorskip("sacrebleu")


def test_a_perfect_reading_has_all_and_another_sentence_nothing() -> None:
    texts = ["La conferencia ha sido bloqueada.", "Marque uno para escuchar el mensaje."] * 4
    same = score_readings([text.upper() for text in texts], texts)
    assert same["bleu"]["mean"] == pytest.approx(100) and same["chrf"]["mean"] == pytest.approx(100)
    other = score_readings(["xyz wk"] * 8, texts)
    assert other["bleu"]["mean"] < 1 and other["chrf"]["mean"] < 5 and other["bleu"]["n"] == 8
