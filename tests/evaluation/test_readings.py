"""What counts as a reading, and what is said where a recogniser does not know the language."""

import pytest

from evaluation.judges import add_readings
from evaluation.readings import holds_words, list_unread, name_reading_problems
from evaluation.scores import score_readings, summarise

PLACEHOLDERS = ("[Sings in foreign language]", "(speaking in foreign language)", "*singing*", "[Music] (laughs)", "")
PLACEHOLDERS += ("- [Speaking in foreign lang", "【音楽】", "♪♪", "**sings**", "<noise>", "（拍手）", "…")


@pytest.mark.parametrize("written", PLACEHOLDERS)
def test_a_placeholder_is_no_reading_and_agrees_with_nothing(written: str) -> None:
    assert not holds_words(written)
    assert score_readings(written, written) == {"cer": None, "wer": None}
    assert score_readings(written, written, "uno")["cer_text"] is not None


@pytest.mark.parametrize("written", ["[laughs] hola", "hola (amigo)", "5 * 5", "♪ la la ♪", "(a) uno (b) dos"])
def test_a_reading_with_words_counts_as_it_did(written: str) -> None:
    assert holds_words(written) and score_readings(written, written)["cer"] == 0


def make_rows(*originals: str) -> list[dict]:
    return [
        {"id": f"u{place}", "asr_original": text} | score_readings(text, text) for place, text in enumerate(originals)
    ]


def test_a_fifth_of_the_originals_unread_is_a_problem() -> None:
    assert name_reading_problems([{"id": "a", "mcd_db": 1.0}]) == [] == name_reading_problems([])
    few = make_rows(*["hola"] * 9, "(sings)")
    assert [row["id"] for row in list_unread(few)] == ["u9"] and name_reading_problems(few) == []
    assert summarise(few)["cer"]["n"] == 9
    (problem,) = name_reading_problems(make_rows(*["hola"] * 4, "(sings)"))
    assert "1 of 5 originals" in problem and "(sings)" in problem and "does not seem to know this language" in problem
    assert "nothing" in name_reading_problems(make_rows("", ""))[0]
    long = "[" + "m" * 80 + "]"
    assert f"(it wrote: {long[:60]}): it does" in name_reading_problems(make_rows("", long))[0]


def test_readings_that_were_kept_are_judged_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = iter([["[Singing]", "", "hola"], ["[Singing]", "hola", "hola"]])
    monkeypatch.setattr("evaluation.judges.settle_on_originals", lambda asr, files, batch_size: asr)
    monkeypatch.setattr("evaluation.judges.transcribe_cached", lambda *args, **kwargs: next(kept))
    monkeypatch.setattr("evaluation.judges._blocks", lambda files: [(slice(0, 3), [], [])])
    rows = [{"id": name, "duration": 1.0} for name in "abc"]
    assert add_readings(None, rows, [], texts=[None] * 3) == [
        "a: no words read in the original ([Singing]), left out of cer and wer",
        "b: no words read in the original, left out of cer and wer",
    ]
    assert [row["cer"] for row in rows] == [None, None, 0.0]
