"""Benchmarks of search and phrases where a word is planted: ranks, purity, letters laid onto phones."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import pytest

import bench_phrase_speakers
import bench_phrases
import bench_search
import index_speech
from search_examples import LANGUAGE, WORD_SECONDS, write_language

from audio.audio_io import save_audio
from core.errors import UserError
from core.tables import write_table
from evaluation.term_discovery import PhoneTier, Stretch
from spoken_search import choices

WORD, OTHER = "тама", "кору"  # said where the word is planted; in two segments without it
SEGMENT_SECONDS = 4.0


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, prompts of two words and of two speakers, phones and texts of every segment."""
    root = tmp_path_factory.mktemp("benches")
    planted = write_language(root / "data", seconds=SEGMENT_SECONDS)
    folder = root / "data" / LANGUAGE
    rows = [json.loads(line) for line in (folder / "segments.jsonl").read_text().splitlines()]
    phones, texts = [], []
    for number, row in enumerate(rows):
        start = row["start"] + planted.places.get(row["id"], 1.0)
        word = WORD if row["id"] in planted.places else OTHER
        row["text"] = word if word == WORD or number % 3 == 2 else ""
        row["speaker"] = "ana" if number % 2 else "eva"
        step = WORD_SECONDS / 4
        spoken = {WORD: "tama", OTHER: "koru"}[word]
        phones += [
            (row["source"], f"{start + n * step:.3f}", f"{start + (n + 1) * step:.3f}", spoken[n]) for n in range(4)
        ]
        texts.append((row["source"], word))
    (folder / "segments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    write_table(folder / "phones.tsv", ("source", "start", "end", "phone"), phones)
    silence = np.zeros(16000, np.float32)
    save_audio(
        folder / "raw" / "prompts.wav", np.concatenate([silence, planted.word, silence, 0.7 * planted.word[::-1]])
    )
    save_audio(root / "others" / "xx" / "first.wav", np.concatenate([silence, 0.5 * planted.word, silence]))
    ends = (1.0, 1.0 + WORD_SECONDS, 2.0 + WORD_SECONDS, 2.0 + 2 * WORD_SECONDS)
    prompts = [("prompts.wav", ends[0], ends[1], "first"), ("prompts.wav", ends[2], ends[3], "second")]
    write_table(
        folder / "truth.tsv", ("source", "start", "end", "prompt"), [[str(cell) for cell in row] for row in prompts]
    )
    timed = [("prompts.wav", str(ends[0]), str(ends[1]), "Тама!"), ("prompts.wav", str(ends[2]), str(ends[3]), OTHER)]
    timed += [(source, "10.0", "14.0", text) for source, text in texts]
    write_table(folder / "transcripts.tsv", ("source", "start", "end", "text"), timed)
    return root


@pytest.fixture(scope="module", autouse=True)
def roots(root: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_ROOT", str(root / "data"))
        patch.setenv("EXP_ROOT", str(root / "exp"))
        patch.setattr(choices, "N_CENTROIDS", 32)
        assert index_speech.main(["--language", LANGUAGE, "--quiet", "--device", "cpu"]) == 0
        yield


def table_of(shown: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in shown.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in rows}


# Search.


def test_scores_of_a_ranking_by_hand() -> None:
    relevant, counted = np.array([1, 0, 1, 0, 1], bool), np.array([1, 1, 1, 1, 0], bool)
    word = bench_search.Word("tama", None, relevant, counted, False)
    found = bench_search.rank(np.array([0.3, 0.1, 0.2, 0.4, 0.0]), word)  # order: wrong, right, right, wrong
    assert found.average_precision == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert (found.at_ten, found.at_few, found.n_relevant, found.chance) == (0.5, 0.5, 2, 0.5)


def test_digits_are_words_where_the_language_is_known() -> None:
    assert bench_search.words_of("3 casas", "spanish") == {"tres", "casas"}
    assert bench_search.words_of("3 casas", LANGUAGE) == {"3", "casas"}


def test_a_query_is_not_looked_for_in_its_own_segment(root: Path, monkeypatch) -> None:
    index = argparse.Namespace(
        segments=[
            {"source": source, "start": 0.0, "end": 4.0, "text": "tama"} for source in ("a.wav", "b.wav", "c.wav")
        ]
    )
    args = argparse.Namespace(language=LANGUAGE, others=None, n_words=None, seed=0)
    monkeypatch.setattr(bench_search, "read_prompts", lambda _: {"one": ("a.wav", 1.0, 2.0, "tama")})
    [word] = bench_search.find_words(args, index)
    assert word.counted.tolist() == [False, True, True] and word.relevant.all() and not word.other
    monkeypatch.setattr(bench_search, "read_prompts", lambda _: {"one": ("a.wav", 5.0, 6.0, "tama")})
    assert bench_search.find_words(args, index)[0].counted.all()
    index.segments = index.segments[:2]
    monkeypatch.setattr(bench_search, "read_prompts", lambda _: {"one": ("a.wav", 1.0, 2.0, "tama")})
    assert bench_search.find_words(args, index) == []  # said in one other segment only
    monkeypatch.setattr(bench_search, "read_prompts", lambda _: {})
    monkeypatch.setattr(bench_search, "open_search_encoder", lambda _: None)
    index.features = {}
    with pytest.raises(UserError, match="expected prompts of one word"):
        bench_search.measure(args, index)


def test_the_planted_word_is_ranked_first_by_both_speakers(root: Path, capsys) -> None:
    flags = ["--language", LANGUAGE, "--others", str(root / "others"), "--baselines", "--refine", "1", "--fit"]
    assert bench_search.main(flags) == 0
    shown = capsys.readouterr().out
    rows = table_of(shown)
    same, other = (rows[f"search, mfcc, {speaker} speaker"] for speaker in ("same", "other"))
    assert other[0].startswith("1.000 [") and other[-2:] == ["0.333", "1"] and same[-1] == "2"
    assert 0.5 < float(same[0].split()[0]) < 1  # the second word is noise to the sounds
    for name in ("plain alignment of cepstra", "units", "before 1 hits were accepted", "after 1 hits were accepted"):
        assert f"{name}, other speaker" in rows
    assert rows["after 1 hits were accepted, other speaker"][0].startswith("1.000")
    ratio = next(line for line in shown.splitlines() if line.startswith("other speaker:"))
    plain = float(rows["plain alignment of cepstra, other speaker"][0].split()[0])
    assert ratio.startswith(f"other speaker: {1 / plain:.2f} × plain")
    assert "all words: " in shown and "0.9 to 1" in rows


def test_so_many_words_are_drawn(root: Path, capsys) -> None:
    assert bench_search.main(["--language", LANGUAGE, "--n_words", "1"]) == 0
    assert [cells[-1] for name, cells in table_of(capsys.readouterr().out).items() if "speaker" in name] == ["1"]


def test_a_repeated_index_holds_every_turn(root: Path, tmp_path: Path, capsys) -> None:
    segments = bench_search.load_segments(bench_search.language_paths(LANGUAGE)["manifest"])
    index = bench_search.open_index(bench_search.index_folder(LANGUAGE, ""), segments)
    n_frames = int(index.bounds[-1])
    large = bench_search.repeat_index(index, 3 * n_frames / 50 / 3600, tmp_path)
    assert large.bounds[-1] == 3 * n_frames and len(large.segments) == 3 * len(segments)
    assert (np.diff(large.bounds) == np.tile(np.diff(index.bounds), 3)).all()
    assert np.array_equal(large.codes[2 * n_frames :], index.codes)
    assert bench_search.main(["--language", LANGUAGE, "--hours", "0.02", "--work", str(tmp_path)]) == 0
    rows = table_of(capsys.readouterr().out)
    assert {"0.6 s", "1.2 s"} <= set(rows) and rows["0.6 s"][2].endswith("of its own")


# Phrases.


def test_letters_are_laid_onto_phones() -> None:
    assert bench_phrases.align_words(["t", "a", "", "m", "a"], ["та", "ма"]) == [0, 0, -1, 1, 1]
    assert bench_phrases.align_words(["t", "a", "k", "o"], ["та", "кора"])[:4] == [0, 0, 1, 1]
    assert bench_phrases.align_words(["p", "o", "l", "t"], ["польт"]) == [0, 0, 0, 0]
    assert bench_phrases.letter_cost("а", "o1") == 0 and bench_phrases.letter_cost("а", "t") == 1.8
    costs = [bench_phrases.letter_cost("б", phone) for phone in ("b", "p", "k")]
    assert costs == [0.0, 0.5, 1.5]


def test_a_word_counts_where_half_of_its_phones_lie_in_the_stretch() -> None:
    starts = np.arange(6) / 10
    tier = PhoneTier(starts, starts + 0.1, ["t", "a", "m", "a", "", "k"], np.array([0.0, 0.4]))
    said = {"a": ["tama"] * 4 + ["", "k"]}
    inside = [bench_phrases.words_in({"a": tier}, said, Stretch("a", start, 0.4)) for start in (0.0, 0.2, 0.3)]
    assert inside == [("tama",), ("tama",), ()]
    pure = bench_phrases.purity({"a": tier}, said, [[Stretch("a", 0.0, 0.4), Stretch("a", 0.5, 0.6)]])
    assert pure == [0.5]


def test_purity_by_texts_and_by_chance() -> None:
    assert bench_phrase_speakers.purity(["la casa", "casa", "otra"]) == pytest.approx(2 / 3)
    assert bench_phrase_speakers.purity(["sola"]) is None
    assert bench_phrase_speakers.words_of("la CASA, no") == {"casa"}
    phrase = {"occurrences": [{"text": "casa"}, {"text": "casa"}, {"text": ""}]}
    assert bench_phrase_speakers.judge([phrase, {"occurrences": []}], ["casa"], 0) == ([1.0], [1.0])
    found, chance = bench_phrase_speakers.judge([phrase] * 20, ["casa", "otra"], 0)
    assert found == [1.0] * 20 and 0.5 <= np.mean(chance) < 1


def test_phrases_hold_the_planted_word_and_are_said_by_both(root: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["bench_phrase_speakers.py", "--language", LANGUAGE, "--max_false_share", "0.5"])
    assert bench_phrase_speakers.main() == 0
    shown = capsys.readouterr().out
    assert "said by more than one speaker: " in shown and "purity of all: " in shown
    assert bench_phrases.main(["--language", LANGUAGE, "--max_false_share", "0.5", "--vocab_size", "60"]) == 0
    rows = table_of(capsys.readouterr().out)
    assert {"phrases", "motifs, ≥ 0 s", "motifs, ≥ 0.4 s"} <= set(rows)
    clusters, places = map(int, rows["phrases"][-1].split(","))
    assert 0 < clusters < places
    few = [int(rows[f"motifs, ≥ {least} s"][-1].split(",")[0]) for least in ("0", "0.4")]
    assert few[0] > few[1]
    assert (
        bench_phrases.main(
            ["--language", LANGUAGE, "--max_false_share", "0.5", "--n_segments", "6", "--vocab_size", "60"]
        )
        == 0
    )
    assert capsys.readouterr().out.startswith("0.4 minutes")
