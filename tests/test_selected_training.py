"""--speaker and --keep_flagged: both trainers listen to what they say, and the scores are of the same people."""

import json
from pathlib import Path

import pytest

import prosody_test
import trainer_prosody
import trainer_vocoder
import vocoder_test

from core.errors import UserError
from languages import language_paths
from synthetic import write_segments, write_units
from units.corpus import read_corpus, write_corpus
from units.selection import EVERYTHING, read_selection

ROLES = [("ana", []), ("rui", []), ("ana", ["noise_or_music"])]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In each split a segment of ana, one of rui, and one of ana with music."""
    root = tmp_path_factory.mktemp("selected")
    rows = write_segments(root / "data", n_train=3, n_val=3, n_test=3)
    for number, row in enumerate(rows):
        row["speaker"], row["flags"] = ROLES[number % 3]
    corpus = write_units(root / "exp", rows) / "corpus_timestamped.json"
    flagged = {row["id"]: {"flags": row["flags"]} for row in rows if row["flags"]}
    write_corpus(corpus, [entry | flagged.get(entry["id"], {}) for entry in list(read_corpus(corpus))])
    return root


@pytest.fixture(autouse=True)
def _here(roots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("DATA_ROOT", "data"), ("EXP_ROOT", "exp")):
        monkeypatch.setenv(name, str(roots / value))


CHOICES = [
    ([], {0, 1}),
    (["--speaker", "ana"], {0}),
    (["--speaker", "ana", "--keep_flagged"], {0, 2}),
    (["--speaker", "ana", "--speaker", "rui"], {0, 1}),
]


@pytest.mark.parametrize(("flags", "expected"), CHOICES)
def test_both_trainers_hear_and_judge_by_the_chosen(flags: list[str], expected: set[int]) -> None:
    paths = language_paths("spanish")
    args = trainer_vocoder.parse_args(["--language", "spanish", "--steps", "1", *flags])
    data = trainer_vocoder.load_data(args, paths, 12)
    melodies = trainer_prosody.load_data(trainer_prosody.parse_args(["--language", "spanish", *flags]), paths)
    names = [f"tale_{number:03d}_0000" for number in range(9)]
    train, val = {names[number] for number in expected}, {names[3 + number] for number in expected}
    assert {item.id for item in data.crops.utterances} == train == {item.id for item in melodies.train}
    assert {item.spoken.id for item in data.validation} == val == {item.id for item in melodies.validation}
    test, left_out = vocoder_test.choose_utterances(paths["corpus"], "test", None, read_selection(vars(args)))
    assert {item["id"] for item in test} == {names[6 + number] for number in expected}
    n_flagged = 0 if "--keep_flagged" in flags else 1
    assert left_out == [f"1 of {len(test) + 1} segments: flagged, as in the training"] * n_flagged


def test_the_experiment_holds_the_choice(roots: Path, capsys: pytest.CaptureFixture) -> None:
    paths, exp = language_paths("spanish"), roots / "exp" / "of_ana"
    units = json.loads((paths["units"] / "config.json").read_text())["derived"]
    flags = ["--language", "spanish", "--steps", "1", "--speaker", "ana"]
    trainer_vocoder.enter_experiment(trainer_vocoder.parse_args(flags), exp, paths, units)
    log = (exp / "train.log").read_text()
    assert "speaker ana: train 0.1 min" in log and "left out 2 segments flagged noise_or_music (2), 0.1 min" in log
    arguments = json.loads((exp / "config.json").read_text())["arguments"]
    assert read_selection(arguments).speakers == ("ana",)
    other = trainer_vocoder.parse_args([*flags, "--speaker", "rui", "--resume"])
    with pytest.raises(UserError, match=r"speaker: \['ana'\] -> \['ana', 'rui'\]"):
        trainer_vocoder.enter_experiment(other, exp, paths, units)
    wrong = trainer_prosody.parse_args(["--language", "spanish", "--speaker", "Ana"])
    with pytest.raises(UserError, match=r"--speaker Ana: .*expected one of ana \(0.2 min\), rui"):
        trainer_prosody.enter_experiment(wrong, roots / "exp" / "nobody", paths)
    assert not (roots / "exp" / "nobody").exists()


def test_a_speaker_without_test_speech_is_not_scored_on_others(roots: Path) -> None:
    corpus = language_paths("spanish")["corpus"]
    with pytest.raises(UserError, match="of eva in split 'test', found none"):
        vocoder_test.choose_utterances(corpus, "test", None, EVERYTHING._replace(speakers=("eva",)))
    with pytest.raises(UserError, match="found only 1 flagged ones"):
        alone = roots / "flagged.json"
        write_corpus(alone, [entry for entry in read_corpus(corpus, splits={"test"}) if entry.get("flags")])
        vocoder_test.choose_utterances(alone, "test", None, EVERYTHING._replace(keep_flagged=False))


def test_the_melody_is_scored_on_whom_it_learned_from(roots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(Exception):
        pass

    asked = []

    def note(*given: object) -> list:
        asked.append(given[-1].speakers)
        raise Stop

    config = {"arguments": {"speaker": ["rui"]}, "derived": {}}
    monkeypatch.setattr(prosody_test, "load_prosody_utterances", note)
    monkeypatch.setattr(prosody_test, "find_inputs", lambda _: ("corpus", "data", "cache"))
    monkeypatch.setattr(prosody_test, "load_prosody", lambda *_: type("P", (), {"config": config}))
    monkeypatch.setattr("sys.argv", ["prosody_test.py", "--exp", "x", "--allow_unfinished"])
    with pytest.raises(Stop):
        prosody_test.main()
    assert asked == [("rui",)]
