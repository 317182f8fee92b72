"""The picture of scores against minutes."""

import json
import runpy

import pytest

from core.errors import UserError
from synthetic import REPOSITORY

SCRIPT = runpy.run_path(str(REPOSITORY / "scripts" / "bench" / "plot_minutes.py"))


def write_scores(folder, cer):
    folder.mkdir()
    score = {"mean": cer, "low": cer - 0.1, "high": cer + 0.2, "n": 3, "unit": ""}
    (folder / "scores.json").write_text(json.dumps({"metrics": {"cer": score}}))
    return folder


def test_curves_are_read_in_the_order_of_their_minutes_and_drawn(tmp_path):
    exps = [write_scores(tmp_path / name, cer) for name, cer in (("long", 0.2), ("short", 0.5))]
    name, curve = SCRIPT["read_curve"](["base", f"10={exps[0]}", f"1={exps[1]}"])
    assert name == "base" and [(m, s["cer"]["mean"]) for m, s in curve.items()] == [(1.0, 0.5), (10.0, 0.2)]
    SCRIPT["draw"]([(name, curve)], tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("point", "said"), [("ten", "MINUTES=EXPERIMENT"), ("10={}/none", "vocoder_test.py --exp")])
def test_mistakes_are_named(tmp_path, point, said):
    with pytest.raises(UserError, match=said):
        SCRIPT["read_curve"](["base", point.format(tmp_path)])


def test_predictions_are_points_and_levels(tmp_path):
    rows = [{"id": f"{n}", "reference": "One, two", "hypothesis": text} for n, text in enumerate(("one two", "one"))]
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(rows))
    name, curve = SCRIPT["read_curve"](["head", f"5={path}", f"10={path}"])
    level = SCRIPT["read_level"](f"Whisper={path}")
    assert curve[5.0]["wer"]["mean"] == level[1]["wer"]["mean"] == 0.25 and level[0] == "Whisper"
    SCRIPT["draw"]([(name, curve)], tmp_path / "out.png", [level])
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="NAME=EXPERIMENT"):
        SCRIPT["read_level"](str(path))
