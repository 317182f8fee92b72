"""Settings compared on held-out folds of the training split."""

import json
from pathlib import Path

import pytest

import cross_validate
from cross_validate import note_settings, part_flags, read_setting

from core.errors import UserError

ROWS = [{"id": str(n), "reference": "a b c", "hypothesis": "a b c"} for n in range(8)]


@pytest.fixture
def trainer(monkeypatch) -> list[list[str]]:
    """Commands of a trainer that reads one word in three wrongly, and none with --num_beams 9."""
    commands = []

    def run(flags):
        words = list(map(str, flags))
        commands.append(words)
        if "--do_generate" in words:
            number, of = map(int, words[words.index("--fold") + 1].split("/"))
            rows = ROWS[(number - 1) * 8 // of : number * 8 // of]
            wrong = {"hypothesis": "a b", "search_error": number == 1}
            rows = rows if words[-3:-1] == ["--num_beams", "9"] else [row | wrong for row in rows]
            exp = Path(words[words.index("--exp") + 1])
            exp.mkdir(parents=True, exist_ok=True)
            (exp / "fold_predictions.json").write_text(json.dumps(rows))

    monkeypatch.setattr(cross_validate, "run_trainer", run)
    return commands


def run(monkeypatch, exp: Path, *flags: str) -> dict:
    monkeypatch.setattr("sys.argv", ["cross_validate.py", "--exp", str(exp), "--folds", "2", *flags])
    cross_validate.main()
    return json.loads((exp / "cross_validation.json").read_text())


def test_settings_are_compared_and_models_shared(tmp_path, monkeypatch, trainer, capsys):
    wide = ["--setting", "narrow:", "--setting", "wide: --num_beams 9"]
    common = ["--", "--data", "data/x", "--ctc_lr", "1e-3"]
    scores = run(monkeypatch, tmp_path, *wide, *common)
    assert (scores["narrow"]["wer"], scores["wide"]["wer"]) == (pytest.approx(1 / 3), 0.0)
    assert scores["wide"]["against"]["wer_difference"] == pytest.approx(-1 / 3)
    assert (scores["narrow"]["search_errors"], scores["narrow"]["n_wrong_utterances"]) == (4, 8)
    assert scores["narrow"]["n_utterances"] == 8 and "lowest: wide" in capsys.readouterr().out
    trained = [words for words in trainer if "--do_train" in words]
    folders = {words[1] for words in trained}
    assert folders == {str(tmp_path / "narrow" / f"fold_{n}") for n in (1, 2)} and "--num_beams" not in sum(trained, [])
    assert all("--fold" in words and "--test_splits" not in words for words in trainer)

    trainer.clear()
    run(monkeypatch, tmp_path, "--setting", "wider: --num_beams 9 ", *common)  # alone, with the models of the first
    assert {words[1] for words in trainer} == folders

    # A further setting trains what it changes; what is there is not read again.
    trainer.clear()
    run(monkeypatch, tmp_path, *wide, "--setting", "lora: --lora_r 8 --num_beams 9", *common)
    assert {words[1] for words in trainer} == {str(tmp_path / "lora" / f"fold_{n}") for n in (1, 2)}
    with pytest.raises(UserError, match="'wide' has meant something else"):
        run(monkeypatch, tmp_path, "--setting", "wide: --num_beams 3", *common)


def test_flags_of_a_setting_are_parted_by_what_they_change():
    assert part_flags(["--lora_r", "8", "--num-beams", "4", "--lr=1e-3"]) == (
        ("--lora_r", "8", "--lr=1e-3"),
        ("--num-beams", "4"),
    )
    assert read_setting("a: --character_bonus 0.8").decoding == ("--character_bonus", "0.8")
    for wrong in ("--num_beams 4", "a/b: --lr 1", ": --lr 1", "a: --exp x", "a: --test_splits test", "a: 8"):
        with pytest.raises(UserError):
            read_setting(wrong)


def test_a_name_stands_for_one_setting(tmp_path):
    with pytest.raises(UserError, match="each name once"):
        note_settings(tmp_path, [read_setting("a:"), read_setting("a: --lr 1")], [], 3)
