"""The report's table of who speaks."""

import re
from pathlib import Path

import pytest

from report_examples import write_vocoder_experiment

from report.data import load_experiment
from report.page import build_page
from report.summary import describe_for_researchers
from report.units import speaker_rows
from units.corpus import write_corpus

SPOKEN = [
    ("ana", "train", 300, []),
    ("ana", "test", 60, ["noise_or_music"]),
    ("<rui>", "val", 90, []),
    (None, "val", 6, []),
]


def write(folder: Path, spoken: list[tuple]) -> Path:
    """A voice, and the units that it was trained on."""
    rows = []
    for number, (speaker, split, seconds, flags) in enumerate(spoken):
        row = {"id": f"u{number}", "audio": "x.wav", "duration": float(seconds), "split": split, "unit_rate": 50}
        row |= {"units": [1], "durations": [seconds * 50]} | ({"speaker": speaker} if speaker else {})
        rows.append(row | ({"flags": flags} if flags else {}))
    (folder / "spanish_units").mkdir(parents=True)
    write_corpus(folder / "spanish_units" / "corpus_timestamped.json", rows)
    return write_vocoder_experiment(folder / "voice", n_utterances=1, n_rows=1, asr=False)


def test_minutes_of_each_speaker_by_split(tmp_path: Path) -> None:
    experiment = load_experiment(write(tmp_path, SPOKEN))
    assert [tuple(row) for row in speaker_rows(experiment)] == [
        ("ana", [5.0, 0.0, 1.0], 6.0, 1),
        ("<rui>", [0.0, 1.5, 0.0], 1.5, 0),
        ("not named", [0.0, pytest.approx(0.1), 0.0], pytest.approx(0.1), 0),
    ]
    page = build_page([experiment], n_examples=0, max_seconds=1.0, n_motifs=0)
    cells = re.findall(r"<tr><th>ana</th>(.*?)</tr>", page)
    assert [re.findall(r"<td>(.*?)</td>", row) for row in cells] == [["5.0", "0.0", "1.0", "6.0", "1"]]
    assert "&lt;rui&gt;" in page and "<rui>" not in page


def test_no_table_where_nobody_is_named(tmp_path: Path) -> None:
    experiment = load_experiment(write(tmp_path, SPOKEN[-1:]))
    assert speaker_rows(experiment) == [] and speaker_rows(experiment._replace(units_path=None)) == []


def test_the_line_for_researchers_says_whom_a_voice_heard(tmp_path: Path) -> None:
    experiment = load_experiment(write(tmp_path, SPOKEN))
    assert "alone" not in describe_for_researchers(experiment)
    chosen = experiment._replace(arguments={"speaker": ["ana", "eva"]})
    assert "trained on ana and eva alone" in describe_for_researchers(chosen)
