"""Error rates of experiments: as jiwer's on a generated set, compared in pairs, and clear where a file is wrong."""

import json
import random
import subprocess
from pathlib import Path

import jiwer
import pytest

import calculate_wer

from core.errors import UserError
from evaluation.word_errors import Prediction, count_errors, read_predictions, summarise_errors
from synthetic import run_script

DOCUMENTED = {"wer", "cer", "substitutions", "deletions", "insertions", "n_words", "n_utterances", "wer_ci"}
ALPHABETS = ("ab", "abcdefgh", "áẽñ'ʼ", "日本語", "कखि")


def generate(n: int, seed: int) -> list[dict]:
    """Predictions of all kinds: empty on either side, odd spaces, other scripts, right, partly right, and invented."""
    draw, rows = random.Random(seed), []
    for number in range(n):
        words = ["".join(draw.choices(draw.choice(ALPHABETS), k=draw.randint(1, 4))) for _ in range(draw.randint(0, 9))]
        kept = [draw.choice([word, word, word, "x", ""]) for word in words]
        if draw.random() < 0.2:
            kept += draw.choices(["uno", "dos"], k=3)
        reference, hypothesis = draw.choice([" ", "  ", " "]).join(words), " ".join(kept)
        rows.append({"id": f"u{number}", "reference": reference, "hypothesis": hypothesis})
    rows.append({"id": "nothing", "reference": "", "hypothesis": " "})
    rows.append({"id": "invented", "reference": "", "hypothesis": "a b"})
    rows.append({"id": "deaf", "reference": "a b", "hypothesis": ""})
    return rows


def write(path: Path, predictions: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(predictions, ensure_ascii=False), encoding="utf-8")
    return path


def score(*flags: object, code: int = 0) -> subprocess.CompletedProcess:
    return run_script("src/calculate_wer.py", *flags, code=code)


def test_agrees_with_jiwer_on_every_case_and_on_the_whole() -> None:
    rows = generate(300, 0)
    for row in rows:
        ours = summarise_errors(count_errors([Prediction(**row)]), n_resamples=1)
        words = jiwer.process_words(row["reference"], row["hypothesis"])
        assert ours.wer == words.wer, row
        assert ours.cer == jiwer.process_characters(row["reference"], row["hypothesis"]).cer, row
        assert (ours.substitutions, ours.deletions, ours.insertions) == (
            words.substitutions,
            words.deletions,
            words.insertions,
        ), row
    references, hypotheses = ([row[side] for row in rows] for side in ("reference", "hypothesis"))
    whole = summarise_errors(count_errors([Prediction(**row) for row in rows]))
    assert whole.wer == jiwer.wer(references, hypotheses) and whole.cer == jiwer.cer(references, hypotheses)
    assert whole.wer_ci[0] < whole.wer < whole.wer_ci[1]


@pytest.mark.parametrize("hypotheses", [["", ""], ["a b", "c"]])
def test_references_without_a_word(hypotheses: list[str]) -> None:
    predictions = [Prediction(text, "", text) for text in hypotheses]
    assert summarise_errors(count_errors(predictions)).wer == jiwer.wer(["", ""], hypotheses)


def test_the_script_prints_a_table_and_writes_the_documented_json(tmp_path: Path) -> None:
    rows, out = generate(60, 1), tmp_path / "out" / "scores.json"
    path = write(tmp_path / "exp" / "a" / "test_predictions.json", rows)
    done = score("--input", path, "--json", out, "--worst", "2")
    scores = json.loads(out.read_text())
    assert list(scores) == [str(path)] and set(scores[str(path)]) >= DOCUMENTED
    found = scores[str(path)]
    assert found["wer"] == jiwer.wer([row["reference"] for row in rows], [row["hypothesis"] for row in rows])
    assert found["n_utterances"] == len(rows) and found["n_words"] == sum(len(row["reference"].split()) for row in rows)
    assert f"{found['wer']:.3f}" in done.stdout and "normaliser: none" in done.stdout
    assert done.stdout.count(" errors, ") == 2 and "\033[" not in done.stdout


def test_the_normaliser_is_applied_to_both_sides(tmp_path: Path) -> None:
    rows = [{"id": "a", "reference": "¡Wẽ’ẽ, SÍ!", "hypothesis": "wẽ'ẽ sí"}]
    path, out = write(tmp_path / "p.json", rows), tmp_path / "out.json"
    for name, expected in (("none", 1.0), ("unicode", 0.0)):
        score("--input", path, "--json", out, "--normaliser", name)
        assert json.loads(out.read_text())[str(path)]["wer"] == expected
    british = [{"id": "a", "reference": "The colour's fine.", "hypothesis": "the color is fine"}]
    (tmp_path / "normalizer.json").write_text('{"colour": "color"}')
    score("--input", write(path, british), "--json", out, "--normaliser", "english", "--spelling", tmp_path)
    assert json.loads(out.read_text())[str(path)]["wer"] == 0


def test_experiments_are_compared_by_id_whatever_their_order(tmp_path: Path) -> None:
    rows = [{"id": f"u{n}", "reference": "a b c d", "hypothesis": "a b x y"} for n in range(40)]
    better = [row | {"hypothesis": "a b c y"} for row in rows]
    random.Random(0).shuffle(better)
    first, second, third = (tmp_path / f"{name}.json" for name in "abc")
    out = tmp_path / "scores.json"
    done = score(
        "--input", write(first, rows), write(second, better), write(third, rows), "--json", out, "--worst", "0"
    )
    scores = json.loads(out.read_text())
    assert "against" not in scores[str(first)]
    against = scores[str(second)]["against"]
    assert against["path"] == str(first) and against["wer_difference"] == -0.25 and against["ci"] == [-0.25, -0.25]
    assert against["p"] < 0.001 and against["p_adjusted"] == pytest.approx(2 * against["p"])
    assert scores[str(third)]["against"]["p"] == 1
    assert [line.endswith("*") for line in done.stdout.splitlines() if " p = " in line] == [True, False]


def test_other_ids_or_references_are_named(tmp_path: Path) -> None:
    rows = [{"id": f"u{n}", "reference": "a b", "hypothesis": "a b"} for n in range(9)]
    first, second = write(tmp_path / "a.json", rows), write(tmp_path / "b.json", rows[:2])
    done = score("--input", first, second, code=2)
    assert f"7 only in {first}: u2, u3, u4, u5, u6 and 2 more" in done.stderr and done.stderr.count("\n") == 1
    write(second, [*rows[:8], rows[8] | {"reference": "c"}])
    assert "1 that differ: u8" in score("--input", first, second, code=2).stderr
    table = score("--input", first, second, "--unpaired").stdout
    assert str(second) in table and " p = " not in table


def test_mistaken_flags_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", generate(3, 0))
    done = score("--input", tmp_path / "missing.json", code=2)
    assert "missing.json: expected" in done.stderr and done.stderr.count("\n") == 1
    with pytest.raises(UserError, match="found a folder"):
        read_predictions(tmp_path)
    for flags, expected in (
        ((path, path), "each file once"),
        ((path, "--spelling", tmp_path), "--normaliser english only"),
        ((path, "--worst=-1"), "--worst -1"),
        ((path, "--n_resamples", "0"), "--n_resamples 0"),
    ):
        with pytest.raises(UserError, match=expected):
            calculate_wer.parse_args(["--input", *map(str, flags)])


def test_search_errors_are_told_where_they_are_known(tmp_path, capsys, monkeypatch):
    rows = [{"id": str(n), "reference": "a b", "hypothesis": "a"} for n in range(4)]
    noted = [row | {"search_error": n == 1} for n, row in enumerate(rows[:3])] + rows[3:]
    known, unknown = write(tmp_path / "a.json", noted), write(tmp_path / "b.json", rows)
    monkeypatch.setattr(
        "sys.argv", ["calculate_wer.py", "--input", str(known), str(unknown), "--json", str(tmp_path / "c")]
    )
    calculate_wer.main()
    assert f"search errors of {known}: 1 of 3 wrong utterances" in capsys.readouterr().out
    scores = json.loads((tmp_path / "c").read_text())
    assert (scores[str(known)]["search_errors"], scores[str(known)]["n_wrong_utterances"]) == (1, 3)
    assert "search_errors" not in scores[str(unknown)]
