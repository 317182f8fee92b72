"""src/build_listening_test.py and src/score_listening.py: from two experiments to preferences, and users' mistakes."""

import json
from pathlib import Path

import numpy as np

import pytest

import build_listening_test
import score_listening
from report_examples import write_vocoder_experiment
from simulate_listeners import Voices, attentive, make_answers

from audio.audio_io import save_audio
from core.errors import UserError
from core.files import read_json, write_json
from core.records import ListeningKey
from evaluation.listening import ORIGINAL
from evaluation.listening_files import read_key


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("exp")
    made = [
        write_vocoder_experiment(root / name, n_utterances=3, n_rows=1, seed=seed) for seed, name in enumerate("ab")
    ]
    return [str(path) for path in made]


@pytest.fixture(scope="module")
def built(experiments: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ListeningKey]:
    page = tmp_path_factory.mktemp("listening") / "test.html"
    assert build_listening_test.main([*experiments, "--out", str(page), "--n_utterances", "3"]) == 0
    return page, read_json(page.with_suffix(".key.json"))


def write_answers(key: ListeningKey, folder: Path, *names: str) -> list[str]:
    random = np.random.default_rng(0)
    voices = Voices({"a": 2.0, "b": 3.5, ORIGINAL: 4.6}, {})
    sentences = dict.fromkeys((clip["utterance"] for clip in key["clips"].values()), 0.0)
    paths = []
    for name in names:
        answers = make_answers(key, name, attentive(key, voices, sentences, random), random)
        write_json(folder / f"{name}.json", answers)
        paths.append(str(folder / f"{name}.json"))
    return paths


def test_a_page_and_a_key_are_made(built: tuple[Path, ListeningKey], experiments: list[str], capsys) -> None:
    page, key = built
    assert key["systems"] == ["a", "b", ORIGINAL]
    assert [trial["kind"] for trial in key["trials"]] == ["preference"] * 3 + ["mos"] * 9
    assert "<title>Listening test</title>" in page.read_text()
    build_listening_test.main([experiments[0], "--n_utterances", "2", "--page_language", "pt"])
    said = capsys.readouterr().out
    assert "6 questions, " in said and (Path(experiments[0]) / "listening_test.key.json").exists()
    with pytest.raises(UserError, match="is there already, and answers may be too"):
        build_listening_test.main([experiments[0]])
    before = read_key(Path(experiments[0]) / "listening_test.key.json")
    build_listening_test.main([experiments[0], "--overwrite", "--n_utterances", "2"])
    again = read_key(Path(experiments[0]) / "listening_test.key.json")
    assert again["test"] != before["test"] and len(again["trials"]) == len(before["trials"])


def test_answers_become_scores(built: tuple[Path, ListeningKey], tmp_path: Path, capsys) -> None:
    page, key = built
    paths = write_answers(key, tmp_path, "ana", "rui", "eva", "leo")
    out = tmp_path / "scores.json"
    words = [*paths, "--key", str(page.with_suffix(".key.json")), "--json", str(out)]
    assert score_listening.main(words) == 0
    said = capsys.readouterr().out
    assert "listeners 4" in said and "a against b: preferred" in said and "minus a: +" in said
    grades = {row["system"]: row["mean"]["mean"] for row in read_json(out)["kinds"]["mos"]["results"]}
    assert grades["a"] < grades["b"] < grades[ORIGINAL]
    score_listening.main([*words, "--leave_out", "ana", "rui"])
    assert "listeners 2" in capsys.readouterr().out
    with pytest.raises(UserError, match="--leave_out nobody: expected one of ana, eva, leo, rui"):
        score_listening.main([*words, "--leave_out", "nobody"])


def test_files_that_are_no_answers_are_named_and_the_rest_counts(
    built: tuple[Path, ListeningKey], tmp_path: Path, capsys
) -> None:
    page, key = built
    (good,) = write_answers(key, tmp_path, "ana")
    answers = json.loads(Path(good).read_text())
    bad = {"broken": "{", "list": "[]", "other": json.dumps(answers | {"test": "x"})}
    bad["short"] = json.dumps({name: answers[name] for name in ("format", "test", "listener")})
    for name, text in bad.items():
        (tmp_path / f"{name}.json").write_text(text)
    paths = [good, *(str(tmp_path / f"{name}.json") for name in bad)]
    key_flag = ["--key", str(page.with_suffix(".key.json"))]
    assert score_listening.main([*paths, *key_flag]) == 3
    shown = capsys.readouterr()
    assert shown.err.count("error: ") == 4 and "short.json: expected answers" in shown.err
    assert "listeners 1" in shown.out and "one listener: the intervals" in shown.out
    with pytest.raises(UserError, match="found none in 1 files"):
        score_listening.main([paths[1], *key_flag])
    with pytest.raises(UserError, match="expected the key of a listening test"):
        score_listening.main([good, "--key", good])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "--kinds", "preference"], "--kinds preference: expected two experiments, found one"),
        (["a", "a"], "experiments of different names"),
        (["a", "b", "--kinds", "words"], "--words TABLE"),
        (["a", "--words", "x.tsv"], "--words: expected --kinds words with it"),
        (["a", "--n_repeats", "-1"], "--n_repeats -1: expected"),
        (["a", "--max_seconds", "1.5"], "--max_seconds lets longer ones in"),
        (["a", "--spoken_instructions", "none.wav"], "none.wav: expected a recording"),
        (["a", "--seed", "-1"], "--seed -1: expected"),
        (["a", "--email", "me"], "--email me: expected an address"),
        (["a", "--title", " "], "--title: expected a heading"),
        (["a", "--out", "."], "--out .: expected a file, found a folder"),
        (["a", "--page_language", "xx"], "--page_language xx: expected en"),
    ],
)
def test_mistakes_are_said(experiments: list[str], words: list[str], said: str) -> None:
    known = dict(zip("ab", experiments))
    words = words if "--out" in words else [*words, "--overwrite"]
    with pytest.raises(UserError, match=said):
        build_listening_test.main([known.get(word, word) for word in words])


def test_an_experiment_without_speech_says_what_to_run(experiments: list[str], tmp_path: Path) -> None:
    write_json(tmp_path / "mute" / "config.json", {})
    with pytest.raises(UserError, match=r"run: python src/vocoder_test\.py --exp"):
        build_listening_test.main([str(tmp_path / "mute")])


def test_a_table_of_words(experiments: list[str], tmp_path: Path) -> None:
    table = tmp_path / "words.tsv"
    table.write_text("utterance\tright\twrong_1\nchapter_00_0003\tyes\tno\n")
    out = tmp_path / "test.html"
    words = [*experiments, "--kinds", "words", "--words", str(table), "--out", str(out), "--overwrite"]
    build_listening_test.main(words)
    trials = read_json(out.with_suffix(".key.json"))["trials"]
    assert len(trials) == 3 and {choice["text"] for choice in trials[0]["choices"]} == {"yes", "no"}
    table.write_text("utterance\tright\twrong_1\nnowhere\tyes\tno\n")
    with pytest.raises(UserError, match="expected test utterances, found nowhere"):
        build_listening_test.main(words)


def test_one_id_for_two_sentences_is_refused(experiments: list[str], tmp_path: Path) -> None:
    other = write_vocoder_experiment(tmp_path / "other", n_utterances=2, n_rows=1)
    save_audio(other / "test" / "original" / "chapter_01_0003.wav", np.zeros(16_000, np.float32))
    with pytest.raises(UserError, match="chapter_01_0003: expected the same recording in all experiments"):
        build_listening_test.main([experiments[0], str(other), "--out", str(tmp_path / "x.html")])


def test_instructions_in_paragraphs(tmp_path: Path) -> None:
    (tmp_path / "say.txt").write_text("One\r\nline.\r\n\r\nAnother.\r\n")
    assert build_listening_test.split_paragraphs(tmp_path / "say.txt") == ["One line.", "Another."]
    (tmp_path / "say.txt").write_text(" \n\n")
    with pytest.raises(UserError, match="found an empty file"):
        build_listening_test.split_paragraphs(tmp_path / "say.txt")
