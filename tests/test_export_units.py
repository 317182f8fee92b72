"""export_units.py both ways: what it writes it reads again, and phases 2 and 3 stand on what it reads."""

import json
from pathlib import Path

import pytest

import export_units
import train_bpe
import validate_units
from synthesize import read_recordings

from core.errors import UserError
from core.files import read_json
from languages import language_paths
from units.corpus import read_corpus
from units.phase1_inputs import copy_clusters, describe_inputs, hash_units, lacks_clusters
from vocoder.saved_voice import load_clusters, units_hash


def utterances(exp: Path) -> list[dict]:
    return list(read_corpus(exp / "corpus_timestamped.json"))


def bring(tiny_units: dict, tmp_path: Path, form: str, *flags: object, tag: str = "theirs") -> Path:
    """Write the units of the tiny language as ``form``, and read them as a phase 1 of their own."""
    out = tmp_path / form
    export_units.main(["--language", "spanish", "--format", form, "--out", str(out)])
    words = ["--language", "spanish", "--tag", tag, "--from", form, "--input", str(out)]
    export_units.main([*words, *map(str, flags)])
    return tiny_units["exp"] / f"spanish_units_{tag}"


def test_a_phase_1_folder_comes_back_the_same(tiny_units: dict, tmp_path: Path) -> None:
    exp = bring(tiny_units, tmp_path, "discophon", "--n_units", 12)
    own, again = utterances(tiny_units["units"]), utterances(exp)
    for key in ("audio", "split", "units", "durations", "duration"):
        assert {row["id"]: row[key] for row in own} == {row["id"]: row[key] for row in again}
    assert read_json(exp / "config.json")["derived"]["n_units"] == 12
    assert read_json(exp / "finished.json")["n_utterances"] == len(own)


def test_the_next_phases_stand_on_it(tiny_units: dict, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    exp = bring(tiny_units, tmp_path, "unit-hifigan")
    report = validate_units.build_unit_report(exp, n_resamples=0, seed=0)
    assert report.n_units == 12 and report.splits["all"].n_utterances == 10
    paths = language_paths("spanish", "theirs")
    note = describe_inputs("spanish", paths)
    assert (note["n_units"], note["n_streams"]) == (12, 1)
    voice = tmp_path / "voice"
    voice.mkdir()
    copy_clusters(exp, voice)
    assert lacks_clusters(voice / "units") and load_clusters(voice) is None
    assert units_hash(voice) == hash_units(exp) != hash_units(tiny_units["units"])
    with pytest.raises(UserError, match="made elsewhere.*--units"):
        next(read_recordings(voice, [("a", tmp_path / "a.wav")], "cpu", {}))


def test_motifs_are_found_in_it(tiny_units: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(tiny_units, tmp_path, "csv")
    words = ["train_bpe.py", "--language", "spanish", "--tag", "theirs", "--vocab_size", "20"]
    monkeypatch.setattr("sys.argv", words)
    train_bpe.main()
    assert read_json(tiny_units["exp"] / "spanish_bpe_theirs/finished.json")["n_units"] == 12


def test_what_a_format_has_no_place_for_is_said(
    tiny_units: dict, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    bring(tiny_units, tmp_path, "fairseq")
    said = capsys.readouterr().err
    assert "fairseq has no place for: speaker, text, audio" in said
    assert "no recording can be turned into these units" in said and "run_phase2.sh spanish" in said


def test_units_without_their_audio_make_no_voice(tiny_units: dict, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a|1 1 2\nb|0 3\n")
    words = ["--language", "guarani", "--from", "fairseq", "--input", str(tmp_path / "train.txt")]
    export_units.main(words)
    paths = language_paths("guarani")
    assert [row["audio"] for row in utterances(paths["units"])] == ["", ""]
    with pytest.raises(UserError, match="found none for 2"):
        describe_inputs("guarani", paths)
    with pytest.raises(UserError, match="--overwrite"):
        export_units.main(words)
    export_units.main([*words, "--overwrite"])


def test_clusters_that_are_brought_along_must_fit(tiny_units: dict, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not say which encoder"):
        bring(tiny_units, tmp_path, "slamkit", "--kmeans", tiny_units["units"] / "kmeans.npz")
    with pytest.raises(UserError, match="units below 5, found 11"):
        bring(tiny_units, tmp_path / "again", "slamkit", "--n_units", 5)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "give one"),
        (["--format", "csv", "--from", "csv"], "give one"),
        (["--format", "csv"], "--format needs --out"),
        (["--from", "csv"], "--from needs --input"),
        (["--format", "csv", "--out", "x", "--input_rate", "50"], "--input_rate belongs to the other direction"),
        (["--from", "csv", "--input", "x", "--first_stream"], "--first_stream belongs to the other direction"),
        (["--from", "csv", "--input", "x", "--input_rate", "40"], "divisor of 50"),
    ],
)
def test_one_direction_at_a_time(flags: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        export_units.parse_args(["--language", "spanish", *flags])


def test_the_first_of_several_streams_alone(tiny_units: dict, tmp_path: Path) -> None:
    config = tiny_units["units"] / "config.json"
    content = read_json(config)
    content["derived"]["n_streams"] = 2
    config.write_text(json.dumps(content))
    words = ["--exp", str(tiny_units["units"]), "--format", "discophon", "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match="--first_stream"):
        export_units.main(words)
    export_units.main([*words, "--first_stream"])
    assert len(list((tmp_path / "out").iterdir())) == 3
