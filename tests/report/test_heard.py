"""What the recogniser heard, the words that differ marked."""

from pathlib import Path

from report_examples import HEARD, write_vocoder_experiment

from report.data import load_experiment
from report.heard import heard_lines, word_difference


def test_word_difference_ignores_case_and_punctuation_but_not_accents() -> None:
    before, after = word_difference("Hola, numero uno", "hola número UNO & más")
    assert before == [("equal", "Hola,"), ("del", "numero"), ("equal", "uno")]
    assert after == [("equal", "hola"), ("ins", "número"), ("equal", "UNO"), ("ins", "& más")]
    assert word_difference("uno", "") == ([("del", "uno")], [])


def test_lines_are_the_transcript_the_original_and_every_resynthesis(tmp_path: Path) -> None:
    experiments = [
        load_experiment(write_vocoder_experiment(tmp_path / name, n_utterances=1, n_rows=1)) for name in "ab"
    ]
    (utterance,) = experiments[0].scores.utterances
    scored = list(enumerate(experiments))
    alone = heard_lines(scored[:1], utterance | {"text": "Hola"})
    assert [line.label for line in alone] == ["Transcript", "Heard in the original", "Heard in the resynthesis"]
    assert " ".join(words for _, words in alone[1].pieces) == HEARD
    both = heard_lines(scored, utterance)
    assert [line.series for line in both] == [None, 0, 1] and both[2].experiment.name == "b"
    assert heard_lines(scored, {"id": utterance["id"], "text": "Hola"}) == alone[:1]
