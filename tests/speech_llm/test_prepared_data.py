"""Which data a trainer reads that is told none, and which flags it needs to be told again."""

import argparse
import json
from pathlib import Path

import pytest

from core.errors import UserError
from core.files import write_json
from speech_llm.model_flags import add_connector_flags, add_ctc_flags, add_front_end_flags, add_llm_flags
from speech_llm.prepared_data import choose_data
from speech_llm.recalled_flags import MODEL_FLAGS, recall_flags, recall_model


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/ with one language that has texts and one that has none."""
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    for name, text in (("guarani", "che"), ("spanish", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "segments.jsonl").write_text(json.dumps({"id": "a", "text": text}) + "\n")
    return tmp_path


def test_the_data_are_those_given_or_of_the_language_or_the_only_ones_with_texts(root: Path) -> None:
    assert choose_data(Path("mine"), "spanish") == Path("mine")
    assert choose_data(None, "spanish") == root / "spanish"
    assert choose_data(None, None) == root / "guarani"


def test_what_was_found_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "english").mkdir()
    (root / "english" / "transcripts.tsv").write_text("source\ttext\n")
    with pytest.raises(UserError, match="found transcribed speech of english, guarani .* give --language"):
        choose_data(None, None)
    monkeypatch.setenv("DATA_ROOT", str(root / "english"))
    with pytest.raises(UserError, match="found no transcribed speech .* give --data"):
        choose_data(None, None)


BEGAN = {"data": "data/a", "text_field": "gloss", "lr": 0.1, "bsize": 3, "units_exp": None, "exp": "elsewhere"}
FLAGS = {"data": None, "text_field": "text", "lr": 0.2, "batch_size": 16, "num_beams": 1, "exp": "x", "units_exp": None}


def recall(exp: Path, **given: object) -> dict[str, object]:
    return recall_flags(exp, FLAGS | given, set(given), changeable={"data", "text_field", "num_beams"})


@pytest.mark.parametrize(
    ("began", "given", "expected"),
    [
        ({"factor": 2, "ctc_warmup_steps": 4, "steps": 8, "ctc_loss_weight": 0.3}, {}, (2, 0, 0.3)),
        ({"factor": 2, "ctc_warmup_steps": 8, "steps": 8, "ctc_loss_weight": 0.3}, {}, (2, 50, None)),
        ({"factor": 2, "ctc_warmup_steps": 8, "steps": 8}, {"ctc_warmup_steps": 5, "factor": 3}, (3, 5, None)),
        ({"factor": 2, "text_only": True}, {"ctc_loss_weight": 0.1}, (2, 0, 0.1)),
        ({}, {}, (None, 0, None)),
    ],
    ids=["beside the LLM", "alone", "as given", "texts, and how to go on", "no flags of it"],
)
def test_a_training_that_starts_from_a_model_is_made_as_that_one_is(
    tmp_path: Path, began: dict, given: dict, expected: tuple
) -> None:
    write_json(
        tmp_path / "config.json", {"arguments": began | {"lr": 0.1, "steps": began.get("steps")}} if began else {}
    )
    flags = {"factor": None, "ctc_warmup_steps": 0, "ctc_loss_weight": None, "text_only": False, "lr": 0.2, "steps": 50}
    found = recall_model(tmp_path, flags | given, set(given))
    assert (found["factor"], found["ctc_warmup_steps"], found["ctc_loss_weight"]) == expected
    assert found["lr"] == 0.2 and found["steps"] == 50


def test_every_flag_of_a_model_is_recalled_or_of_its_training_alone() -> None:
    parser = argparse.ArgumentParser()
    for add in (add_front_end_flags, add_llm_flags, add_connector_flags, add_ctc_flags):
        add(parser.add_argument_group("x"))
    of_training = {"text_only", "ctc_warmup_steps", "ctc_lr", "ctc_loss_weight", "ctc_consistency", "dropout"}
    of_training |= {"top_lr_share", "feature_cache", "no_feature_cache"}
    names = {action.dest for action in parser._actions} - {"help"}
    assert names - of_training == set(MODEL_FLAGS) - {"llm_bits"}


def test_an_llm_that_is_taught_texts_reads_no_draft(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"arguments": {"ctc_draft": True, "draft_noise": 1.0, "factor": 2}})
    flags = {"text_only": True, "ctc_draft": False, "draft_noise": 0.0, "factor": None, "steps": 9}
    assert recall_model(tmp_path, flags, {"text_only"}) == flags | {"factor": 2}


def test_where_nothing_says_how_a_training_goes_on_it_is_asked(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"arguments": {"text_only": True, "from_pretrained": "exp/head"}})
    with pytest.raises(UserError, match=r"learnt texts alone, .* go on from exp/head, or say how: --text_only"):
        recall_model(tmp_path, {"steps": 9}, set())
    write_json(tmp_path / "config.json", {"arguments": {"ctc_warmup_steps": 8, "steps": 8}})
    with pytest.raises(UserError, match="a CTC head alone; give --steps in place of --max_minutes"):
        recall_model(tmp_path, {"steps": None}, set())


def test_a_model_is_used_with_the_flags_it_was_trained_with(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"arguments": BEGAN})
    began = {"data": Path("data/a"), "text_field": "gloss", "lr": 0.1, "batch_size": 3, "exp": "x"}
    assert recall(tmp_path) == FLAGS | began
    assert recall(tmp_path, lr=0.1, num_beams=4) == FLAGS | began | {"num_beams": 4}
    other = recall(tmp_path, data=Path("data/b"))
    assert (other["data"], other["text_field"]) == (Path("data/b"), "text"), "another corpus has its own columns"
    with pytest.raises(UserError, match="--lr 0.3: the model in .* was trained with 0.1"):
        recall(tmp_path, lr=0.3)
    assert recall(tmp_path / "only_weights") == FLAGS
