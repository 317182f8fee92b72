"""Hostile predictions, scores, indexes, listeners' answers and annotations to write: what comes after training."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hostile_world import Case, Outcome, World, edit_json, edit_lines, halve, recode
from report_examples import write_vocoder_experiment

from audio.audio_io import save_audio
from synthetic import speech_like

ROW = {"id": "a", "reference": "uno dos", "hypothesis": "uno"}
SCORE = ("--input", "{root}/predictions.json", "--n_resamples", 10)


def predictions(held: object):
    def write(world: World) -> None:
        content = held if isinstance(held, str) else json.dumps(held)
        (world.root / "predictions.json").write_text(content)

    return write


PREDICTIONS = {
    "no predictions": (lambda world: None, "predictions.json: expected a JSON file, found none"),
    "predictions of 0 bytes": (predictions(""), "predictions.json: expected JSON"),
    "half the predictions": (predictions(json.dumps([ROW])[:20]), "predictions.json: expected JSON"),
    "an empty list of predictions": (
        predictions([]),
        "predictions.json: expected a list of predictions, found an empty list",
    ),
    "predictions of null": (predictions([None]), "predictions.json: prediction 1: expected an object"),
    "predictions that are a number": (predictions(5), "predictions.json: expected a list of predictions"),
    "a prediction without its reference": (
        predictions([{"id": "a", "hypothesis": "x"}]),
        "prediction 1: expected text in 'reference', found none",
    ),
    "a hypothesis that is a list": (
        predictions([ROW | {"hypothesis": ["uno"]}]),
        "prediction 1: expected text in 'hypothesis'",
    ),
    "an id twice in predictions": (predictions([ROW, ROW]), "prediction 2: expected each id once"),
    "splits of different lengths": (
        predictions({"test": {"predictions": ["a"], "labels": []}}),
        "test: expected as many predictions as labels",
    ),
    "splits that are numbers": (predictions({"test": {"predictions": 1, "labels": 2}}), "predictions.json"),
    "predictions nested a hundred thousand deep": (predictions("[" * 100_000), "predictions.json: expected JSON"),
    "predictions that are a folder": (
        lambda world: (world.root / "predictions.json").mkdir(),
        "predictions.json: expected a test_predictions.json, found a folder",
    ),
}


def utf16_predictions(world: World) -> None:
    predictions([ROW])(world)
    recode(world.root / "predictions.json", "utf-16")


# A scored experiment, for the report and the listening test


def scored(change: Callable[[Path], object] = lambda exp: None):
    def make(world: World) -> None:
        change(write_vocoder_experiment(world.exp / "a", n_utterances=3, n_rows=3))

    return make


def both(change: Callable[[Path], object] = lambda exp: None):
    def make(world: World) -> None:
        for seed, name in enumerate("ab"):
            write_vocoder_experiment(world.exp / name, n_utterances=3, n_rows=1, seed=seed)
        change(world.exp / "a")

    return make


def first_clip(exp: Path, side: str = "resynthesis") -> Path:
    return min((exp / "test" / side).glob("*.wav"))


REPORT = ("{exp}/a",)
REPORTS = {
    "no experiment": (lambda world: None, "a: expected an experiment folder with config.json, found none"),
    "half a config in a report": (scored(lambda exp: halve(exp / "config.json")), "config.json: expected JSON"),
    "a config that is null": (
        scored(lambda exp: (exp / "config.json").write_text("null")),
        "config.json: expected a JSON object",
    ),
    "half the scores": (scored(lambda exp: halve(exp / "scores.json")), "scores.json: expected JSON"),
    "scores that are a list": (
        scored(lambda exp: (exp / "scores.json").write_text("[]")),
        "scores.json: expected a JSON object",
    ),
    "a test clip of text": (scored(lambda exp: first_clip(exp).write_text("no sound")), r"\.wav: expected"),
}
LISTEN = ("{exp}/a", "{exp}/b", "--out", "{root}/test.html", "--n_utterances", 2)
TESTS = {
    "a listening test of a clip of text": (both(lambda exp: first_clip(exp).write_text("none")), r"\.wav: expected"),
    "a listening test of an original of 0 bytes": (
        both(lambda exp: first_clip(exp, "original").write_bytes(b"")),
        r"\.wav: expected",
    ),
    "a listening test without clips": (both(lambda exp: shutil.rmtree(exp / "test")), "expected test/resynthesis"),
    "a listening test of half a config": (both(lambda exp: halve(exp / "config.json")), "config.json: expected JSON"),
    "a listening test of other sentences": (
        both(lambda exp: save_audio(first_clip(exp, "original"), speech_like(9.0))),
        "expected the same recording in all experiments",
    ),
}
KEY = {
    "format": "oral-units listening key",
    "format_version": 1,
    "test": "t1",
    "title": "A test",
    "systems": ["a", "b"],
    "clips": {
        "c1": {"system": "a", "utterance": "u", "seconds": 1.0},
        "c2": {"system": "b", "utterance": "u", "seconds": 1.0},
    },
    "trials": [{"id": "q1", "kind": "preference", "group": "u", "clips": ["c1", "c2"], "right": None, "choices": []}],
}
ANSWER = {"trial": "q1", "shown": ["c1", "c2"], "answer": "c1", "plays": [1, 1], "repeat": False, "seconds": 3.0}
ANSWERS = {
    "format": "oral-units listening answers",
    "format_version": 1,
    "test": "t1",
    "listener": "Ana",
    "answers": [ANSWER],
    "finished": "yes",
}


def answers(held: object, key: object = KEY):
    def write(world: World) -> None:
        for name, content in (("key", key), ("answers", held)):
            (world.root / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))

    return write


def one_answer(**changes: object):
    return answers(ANSWERS | {"answers": [ANSWER | changes]})


SCORE_TEST = ("{root}/answers.json", "--key", "{root}/key.json")
LISTENERS = {
    "answers of 0 bytes": (answers(""), "answers.json: expected JSON as the page saves it"),
    "half the answers": (answers(json.dumps(ANSWERS)[:90]), "answers.json: expected JSON as the page saves it"),
    "answers that are a list": (answers([]), "answers.json: expected"),
    "answers to another test": (answers(ANSWERS | {"test": "t2"}), "expected answers of test t1, found those of t2"),
    "an answer of null": (answers(ANSWERS | {"answers": [None]}), "answer 1: expected trial"),
    "an answer to no question": (one_answer(trial="q9"), "answer 1: expected a question of this key, found q9"),
    "an answer nobody offered": (one_answer(answer="c9"), "answer 1: expected c1, c2, same, found c9"),
    "an answer in -1 seconds": (one_answer(seconds=-1), "answer 1: expected seconds, found -1"),
    "an answer twice": (answers(ANSWERS | {"answers": [ANSWER, ANSWER]}), "answer 2: expected each question once"),
    "a listener without a name": (answers(ANSWERS | {"listener": " "}), "expected a listener and answers"),
    "a key that is no key": (answers(ANSWERS, {"format": "x"}), "key.json: expected the key of a listening test"),
    "a key without questions": (
        answers(ANSWERS, {key: value for key, value in KEY.items() if key != "trials"}),
        "key.json: expected",
    ),
    "half a key": (answers(ANSWERS, json.dumps(KEY)[:80]), "key.json: expected"),
}

# Spoken search

QUERY = ("--language", "{language}", "--query", "{root}/word.wav", "--out", "{root}/found", "--quiet")


def word(held: np.ndarray | str | bytes):
    def write(world: World) -> None:
        if isinstance(held, np.ndarray):
            save_audio(world.root / "word.wav", held)
        else:
            (world.root / "word.wav").write_bytes(held.encode() if isinstance(held, str) else held)

    return write


GOOD_WORD = speech_like(0.8, seed=7)


def index(change: Callable[[Path], object]):
    return lambda world: (word(GOOD_WORD)(world), change(world.index))


QUERIES = {
    "no clip of a word": (lambda world: None, "word.wav: expected an audio file, found none"),
    "a clip of 0 bytes": (word(b""), "word.wav: expected"),
    "a clip of text": (word("a word"), "word.wav: expected"),
    "a silent clip": (word(np.zeros(16000)), "word.wav: expected a word that is said, found silence"),
    "a clip of 10 ms": (word(GOOD_WORD[:160]), "word.wav: expected at least 0.2 s of speech"),
    "a clip of 20 s": (word(speech_like(20.0)), "word.wav: expected a word or a phrase of up to 10 s"),
}
INDEXES = {
    "half an index": (
        index(lambda folder: halve(folder / "features.npy")),
        "guarani_index: expected a whole search index",
    ),
    "an index of 0 bytes": (
        index(lambda folder: (folder / "codes.npy").write_bytes(b"")),
        "guarani_index: expected a whole search index",
    ),
    "an index without its transform": (
        index(lambda folder: (folder / "transform.npz").unlink()),
        "guarani_index: expected a whole search index",
    ),
    "half a transform": (
        index(lambda folder: halve(folder / "transform.npz")),
        "guarani_index: expected a whole search index",
    ),
    "an index of fewer frames": (
        index(lambda folder: np.save(folder / "codes.npy", np.zeros(3, np.uint8))),
        "guarani_index: expected a whole search index",
    ),
    "half an index.json": (index(lambda folder: halve(folder / "index.json")), "index.json: expected JSON"),
    "an index.json that is a list": (
        index(lambda folder: (folder / "index.json").write_text("[]")),
        "index.json: expected a JSON object",
    ),
    "an index.json that says little": (
        index(lambda folder: edit_json(folder / "index.json", features=None)),
        "index.json: expected|expected a search index",
    ),
    "an index of a later version": (
        index(lambda folder: edit_json(folder / "index.json", format_version=9)),
        "expected a search index of version 1",
    ),
    "an index of other segments": (
        lambda world: (word(GOOD_WORD)(world), edit_lines(world.data / "segments.jsonl", lambda lines: lines[1:])),
        "found that of 6 others",
    ),
    "decisions of another page": (
        index(lambda folder: (folder.parents[1] / "decisions.json").write_text('{"format": "x"}')),
        "decisions.json: expected the decisions",
    ),
    "decisions without rows": (
        index(
            lambda folder: (folder.parents[1] / "decisions.json").write_text(
                '{"format": "oral-units search decisions", "language": "guarani"}'
            )
        ),
        "decisions.json: expected",
    ),
}


def phrase_names(world: World) -> None:
    (world.root / "names.json").write_text(
        '{"format": "oral-units phrase names", "language": "guarani", "phrases": [{"name": 5}]}'
    )


FIND = ("--language", "{language}", "--out", "{root}/dictionary", "--quiet")
TIERS = ("--language", "{language}", "--format", "eaf", "--out", "{root}/tiers")


def half_a_manifest(world: World) -> None:
    halve(world.data / "segments.jsonl")


def gone_is_told(world: World, _: Outcome) -> None:
    assert "1 audio files were not found, as a/test/resynthesis/" in (world.exp / "a" / "report.html").read_text()


CASES = [
    Case(
        "build_report: a test clip that is gone",
        "units",
        scored(lambda exp: first_clip(exp).unlink()),
        "build_report",
        REPORT,
        0,
        [],
        gone_is_told,
    ),
    *(
        Case(f"calculate_wer: {name}", "nothing", spoil, "calculate_wer", SCORE, 2, [says])
        for name, (spoil, says) in PREDICTIONS.items()
    ),
    Case(
        "calculate_wer: predictions in UTF-16",
        "nothing",
        utf16_predictions,
        "calculate_wer",
        SCORE,
        2,
        ["predictions.json: expected JSON"],
    ),
    *(
        Case(f"build_report: {name}", "units", spoil, "build_report", REPORT, 2, [says])
        for name, (spoil, says) in REPORTS.items()
    ),
    *(Case(name, "nothing", spoil, "build_listening_test", LISTEN, 2, [says]) for name, (spoil, says) in TESTS.items()),
    *(
        Case(f"score_listening: {name}", "nothing", spoil, "score_listening", SCORE_TEST, 2, [says])
        for name, (spoil, says) in LISTENERS.items()
    ),
    *(Case(f"search: {name}", "index", spoil, "search", QUERY, 2, [says]) for name, (spoil, says) in QUERIES.items()),
    *(
        Case(
            f"search: {name}",
            "index",
            spoil,
            "search",
            (*QUERY, *(("--accepted", "{root}/decisions.json") if "decisions" in name else ())),
            2,
            [says],
        )
        for name, (spoil, says) in INDEXES.items()
    ),
    Case(
        "find_phrases: half an index",
        "index",
        index(lambda folder: halve(folder / "features.npy")),
        "find_phrases",
        FIND,
        2,
        ["expected a whole search index"],
    ),
    Case(
        "find_phrases: names that are numbers",
        "index",
        phrase_names,
        "find_phrases",
        (*FIND, "--names", "{root}/names.json"),
        2,
        ["names.json: expected name, gloss and occurrences"],
    ),
    Case(
        "index_speech: half a manifest",
        "segments",
        half_a_manifest,
        "index_speech",
        ("--language", "{language}", "--quiet"),
        2,
        ["segments.jsonl, line"],
    ),
    Case(
        "export_annotations: half a manifest",
        "units",
        half_a_manifest,
        "export_annotations",
        TIERS,
        2,
        ["segments.jsonl, line"],
    ),
    Case(
        "group_speakers: half a manifest",
        "segments",
        half_a_manifest,
        "group_speakers",
        ("--language", "{language}"),
        2,
        ["segments.jsonl, line"],
    ),
]
