"""Benchmarks of alignment with a recogniser that hears every word right: edges, gaps, wrong pages, words on phones."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import pytest

import bench_alignment
import bench_word_edges
import write_words
from align_text import Listener

from alignment.align_recording import WHISPER_SCALE, hear_by_reading
from alignment.head_emissions import notes_path, open_emissions
from alignment.known_text import TextLine
from audio.audio_io import load_audio, save_audio
from core.errors import UserError
from core.frames import SAMPLE_RATE
from core.tables import read_table, write_table

WORDS = {"a.wav": "тамалино корусефу гадивупо митедола бесаруну нофизипа".split()}
WORDS["b.wav"] = "ританоме дубапеко зусуфано лагевиди пумикоро сетобуза".split()
LATIN = {"а": "a", "е": "e", "и": "i", "о": "o", "у": "u", "т": "t", "м": "m", "л": "l", "н": "n", "к": "k", "р": "r"}
LATIN |= {"с": "s", "ф": "f", "г": "g", "д": "d", "в": "v", "п": "p", "б": "b", "з": "z"}
WORD, PAUSE = 0.5, 0.5  # seconds


def places(source: str) -> list[tuple[str, float, float]]:
    return [(word, 1 + n * (WORD + PAUSE), 1 + n * (WORD + PAUSE) + WORD) for n, word in enumerate(WORDS[source])]


@pytest.fixture
def data(language_roots: dict[str, Path]) -> Path:
    """data/russian of two recordings: bursts of noise where a word is, a line of the text each; phones of a word's."""
    folder, random = language_roots["data"] / "russian", np.random.default_rng(0)
    rows, phones, segments = [], [], []
    for source in WORDS:
        waveform = 1e-4 * random.standard_normal(8 * SAMPLE_RATE)
        for word, start, end in places(source):
            place = slice(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE))
            waveform[place] = 0.2 * random.standard_normal(place.stop - place.start)
            rows.append((source, f"{start}", f"{end}", word))
            step = (end - start) / len(word)
            phones += [
                (source, f"{start + n * step}", f"{start + (n + 1) * step}", LATIN[one]) for n, one in enumerate(word)
            ]
        save_audio(folder / "raw" / source, waveform.astype(np.float32))
        segments.append({"id": source[0], "audio": f"russian/raw/{source}", "source": source, "start": 0.0, "end": 8.0})
    write_table(folder / "transcripts.tsv", ("source", "start", "end", "text"), rows)
    write_table(folder / "phones.tsv", ("source", "start", "end", "phone"), phones)
    own = {"duration": 8.0, "speaker": None, "flags": []}
    segments = [row | own | {"split": split} for row, split in zip(segments, ("test", "val"))]
    (folder / "segments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in segments))
    (folder / "splits.json").write_text(json.dumps({source: "test" for source in WORDS}))
    return folder


def hear_right(said: dict[str, list[tuple[str, float, float]]]) -> Listener:
    """A recogniser that hears the words of a recording where they are, letter by letter."""

    def hear(recording: Path, lines: list[TextLine], *_: object) -> object:
        text, starts, ends = "", [], []
        for word, start, end in said[recording.name]:
            edges = np.linspace(start, end, len(word) + 2)
            text, starts, ends = f"{text} {word}", [*starts, *edges[:-1]], [*ends, *edges[1:]]
        return hear_by_reading([{"start": 0.0, "end": 8.0, "text": text, "starts": starts, "ends": ends}], lines)

    return Listener("a fake", hear, WHISPER_SCALE)


def test_edges_and_gaps_by_hand() -> None:
    rows = [(1.0, 2.0, "a"), (3.0, 4.0, "b"), (5.0, 6.0, "c")]
    line = {"confidence": 0.9, "start": 1.01, "end": 1.95}
    lines = [line | {"name": "0"}, {"name": "1", "start": None, "end": None, "confidence": 0.0}]
    lines += [line | {"name": "x2"}, line | {"name": "x3", "confidence": 0.1}]
    beyond = [{"start": 4.9, "end": 5.8}, {"start": 7.0, "end": 8.0}]
    found = {"lines": lines, "not_in_text": beyond}
    assert bench_alignment.edge_errors(found, rows) == [(pytest.approx(10), pytest.approx(-50))]
    assert bench_alignment.count_gaps(found, rows, {1, 2}, 0.3) == {
        "unsaid_hit": 1,
        "unsaid_missed": 1,
        "unsaid_false": 1,
        "beyond_hit": 1,
        "beyond_missed": 1,
        "beyond_false": 1,
    }
    assert bench_alignment.overlap((0.0, 1.0), (2.0, 3.0)) == 0


def test_a_spoilt_text_lacks_lines_and_has_others() -> None:
    rows = [(float(n), n + 0.5, f"line {n}") for n in range(20)]
    lines, taken = bench_alignment.spoil(rows, ["other"], np.random.default_rng(0))
    assert len(taken) == 3 and {line.name for line in lines if line.text != "other"} == {
        str(n) for n in range(20) if n not in taken
    }
    put_in = [line for line in lines if line.text == "other"]
    assert 0 < len(put_in) < 10 and all(line.name.startswith("x") for line in put_in)
    assert len({line.name for line in lines}) == len(lines)


def test_a_quantile_has_its_interval() -> None:
    assert bench_alignment.quantiles(np.array([-10.0] * 50)) == "median 10 [10, 10] ms, 90 % 10 [10, 10] ms"


def test_right_pages_are_told_from_wrong_ones(data: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    said = {source: places(source) for source in WORDS}
    monkeypatch.setattr(bench_alignment, "load_listener", lambda *_: hear_right(said))
    flags = ["--data", data, "--whisper", "w", "--language", "ru", "--heard", tmp_path / "heard", "--rounds", 1]
    monkeypatch.setattr("sys.argv", ["bench_alignment.py", *map(str, flags)])
    assert bench_alignment.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 recordings, 12 lines found of 12"
    assert all(float(line.split("median ")[1].split()[0]) < 60 for line in lines[1:4])
    gaps, pages = (json.loads(line) for line in lines[4:6])
    assert gaps["unsaid_false"] == 0 and gaps["beyond_hit"] + gaps["beyond_missed"] == 2  # a line taken out of each
    assert min(pages["right"]) > 0.9 > max(pages["wrong"]) and len(pages["wrong"]) == 2


def test_recordings_are_laid_end_to_end_for_memory(data: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    commands = []

    def measured(command: list[str], _: dict) -> dict[str, float]:
        commands.append(command)
        return {"peak_mib": 300.0, "cpu_seconds": 30.0, "wall_seconds": 31.0}

    monkeypatch.setattr(bench_alignment, "load_listener", lambda *_: hear_right({}))
    monkeypatch.setattr(bench_alignment, "run_measured", measured)
    heard = tmp_path / "heard"
    flags = ["--data", data, "--whisper", "w", "--language", "ru", "--heard", heard, "--minutes", 0.5, 0.2]
    monkeypatch.setattr("sys.argv", ["bench_alignment.py", *map(str, flags)])
    assert bench_alignment.main() == 0
    assert capsys.readouterr().out.splitlines()[2:] == ["| 0.2 | 300 | 30 | 150.00 |", "| 0.5 | 300 | 30 | 60.00 |"]
    assert len(load_audio(heard / "0.5.wav")) == 30 * SAMPLE_RATE
    whole = [word for source in sorted(WORDS) for word in WORDS[source]]
    assert (heard / "0.2.txt").read_text(encoding="utf-8").split() == whole
    assert (heard / "0.5.txt").read_text(encoding="utf-8").split() == whole * 2
    assert str(heard / "0.2.wav") in commands[0] and "--whisper" in commands[0]


def test_what_a_head_heard_is_repeated(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    heard.mkdir()
    rows = np.arange(12, dtype=np.float16).reshape(4, 3)
    for name in "ab":
        (heard / f"{name}.f16").write_bytes(rows.tobytes())
        notes = {"identity": {"audio": name, "model": "m"}, "n_columns": 3, "n_samples": SAMPLE_RATE}
        notes_path(heard / f"{name}.f16").write_text(json.dumps(notes))
    save_audio(heard / "1.wav", np.zeros(3 * SAMPLE_RATE, np.float32))
    args = SimpleNamespace(heard=heard)
    bench_alignment.repeat_posteriors(args, ["a.wav", "b.wav"], heard / "1.wav", 3 * SAMPLE_RATE)
    found, n_samples = open_emissions(heard / "1" / "heard" / "1.f16")
    assert n_samples == 3 * SAMPLE_RATE and np.array_equal(found, np.tile(rows, (3, 1)))


# Words within running speech.


def test_words_are_paired_in_their_order() -> None:
    truth = [bench_word_edges.TrueWord(text, n, n + 0.5, 0, 0) for n, text in enumerate(("да", "нет", "да", "ну"))]
    pairs = bench_word_edges.match_words([{"text": text} for text in ("Да,", "да", "вот", "ну")], truth)
    assert [(word["text"], true.start) for word, true in pairs] == [("Да,", 0), ("да", 2), ("ну", 3)]


def test_words_are_found_where_their_phones_are(data: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    table = [(source, " ".join(words)) for source, words in WORDS.items()]
    write_table(data / "transcripts.tsv", ("source", "text"), table)
    said = {
        "russian_0_2.wav": [*places("a.wav"), *((word, start + 8, end + 8) for word, start, end in places("b.wav"))]
    }
    monkeypatch.setattr(bench_word_edges, "open_listener", lambda _: hear_right(said))
    flags = ["--language", "russian", "--most", 2, "--whisper", "w", "--heard", tmp_path / "heard", "--worst", 1]
    monkeypatch.setattr("sys.argv", ["bench_word_edges.py", *map(str, flags)])
    assert bench_word_edges.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "16 s, 12 of 12 words"
    rows = {line.split("|")[1].strip(): line.split("|")[2:] for line in lines if line.startswith("| ")}
    # Before the first word there is a second, and behind the last of a recording nothing is known to end the pause.
    assert [rows[name][0].strip() for name in ("begins behind a pause", "ends before a pause", "all")] == [
        "12",
        "12",
        "24",
    ]
    assert abs(int(rows["ends before a pause"][2])) < 60 and "within speech" not in rows
    assert sum("ms, pause of" in line for line in lines) == 1


def test_the_table_of_words_has_their_phones_times(data: Path, monkeypatch, capsys) -> None:
    write_table(
        data / "transcripts.tsv", ("source", "text"), [(source, " ".join(words)) for source, words in WORDS.items()]
    )
    monkeypatch.setattr("sys.argv", ["write_words.py", "--language", "russian", "--split", "test"])
    write_words.main()
    rows = [row for _, row in read_table(data / "words.tsv", ("source", "start", "end", "text"))]
    assert [row["text"] for row in rows] == list(WORDS["a.wav"]) and {row["source"] for row in rows} == {"a.wav"}
    assert [float(row["start"]) for row in rows] == [start for _, start, _ in places("a.wav")]
    monkeypatch.setattr("sys.argv", ["write_words.py", "--language", "russian", "--split", "train"])
    with pytest.raises(UserError, match="expected recordings with phones and text"):
        write_words.main()


def test_the_listener_is_asked_for_by_its_flags(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(bench_word_edges, "load_listener", lambda args, stopped: asked.append((args, stopped)))
    args = bench_word_edges.parse_args(["--language", "russian", "--whisper", "w", "--code", "ru", "--device", "cpu"])
    bench_word_edges.open_listener(args)
    assert asked == [
        (argparse.Namespace(model=None, whisper="w", language="ru", precision="fp32", device="cpu", batch_size=2), ())
    ]
