"""A sweep: a row a setting, what is there is not made again, and its scores are those of the corpus' own tools."""

import csv
import json
from pathlib import Path

import numpy as np

import pytest

import extract_units
import sweep_units
from validate_units import build_unit_report

from core.errors import UserError
from units.kmeans import load_kmeans
from units.sweep import SETTING_KEYS, name_of, unit_error_rate

SMALL = ("--language", "spanish", "--n_units", "12", "--n_disturbed", "1", "--n_resamples", "0", "--split", "train")


def run_sweep(exp: Path, *flags: object) -> list[dict]:
    assert sweep_units.main([*SMALL, "--exp", str(exp), *map(str, flags)]) == 0
    return json.loads((exp / "sweep.json").read_text())["rows"]


def write_phones(language: dict) -> None:
    """A phone every 0.1 s of each segment's recording."""
    lines = ["source\tstart\tend\tphone"]
    for source in sorted({row["source"] for row in language["rows"]}):
        lines += [
            f"{source}\t{place / 10:.1f}\t{place / 10 + 0.1:.1f}\t{'abcab'[place * place % 5]}" for place in range(400)
        ]
    (language["data"] / "spanish" / "phones.tsv").write_text("\n".join(lines) + "\n")


def test_the_table_grows_by_what_is_new(tiny_language: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exp = tmp_path / "sweep"
    with monkeypatch.context() as quick:
        quick.setattr(sweep_units, "draw_sweep", lambda *_: None)
        first = run_sweep(exp, "--duration_penalty", 0, 2)
    assert [row["duration_penalty"] for row in first] == [0, 2]
    assert first[1]["units_per_second"] < 0.8 * first[0]["units_per_second"]
    assert first[1]["one_frame_runs_percent"] < first[0]["one_frame_runs_percent"]
    assert 0 < first[0]["unit_error_rate_noise_20db"] <= 2 and "pnmi" not in first[0]
    with pytest.raises(UserError, match="exists already"):
        run_sweep(exp)
    with pytest.raises(UserError, match="kmeans_frames: 100000 -> 50"):
        run_sweep(exp, "--resume", "--kmeans_frames", 50)
    monkeypatch.setattr("units.sweep.encode", lambda *_, **__: pytest.fail("encoded again"))
    monkeypatch.setattr("units.sweep.fit_kmeans", lambda *_, **__: pytest.fail("fitted again"))
    grown = run_sweep(exp, "--resume", "--duration_penalty", 0, 2, 4)
    assert grown[:2] == first and grown[2]["duration_penalty"] == 4
    with open(exp / "sweep.csv", newline="") as table:
        found = list(csv.DictReader(table))
    assert [float(row["units_per_second"]) for row in found] == pytest.approx(
        [row["units_per_second"] for row in grown], rel=1e-3
    )
    assert (exp / "sweep.png").read_bytes().startswith(b"\x89PNG") and b"</svg>" in (exp / "sweep.svg").read_bytes()


def test_scores_are_those_of_phase_1(tiny_language: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters of a sweep serve phase 1, and its report says the same of their units; speakers are known to both."""
    monkeypatch.setattr(sweep_units, "draw_sweep", lambda *_: None)
    write_phones(tiny_language)
    named = [row | {"speaker": "ab"[place % 2]} for place, row in enumerate(tiny_language["rows"])]
    manifest = tiny_language["data"] / "spanish" / "segments.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in named))
    exp = tmp_path / "sweep"
    grid = ("--duration_penalty", 1.5, "--n_disturbed", 0, "--normalize", "speaker_root")
    (plain,) = run_sweep(exp, *grid)
    (row,) = run_sweep(exp, *grid, "--abx", "--resume")
    assert row.keys() - plain.keys() == {"abx_within", "abx_across"} and plain.items() <= row.items()
    clusters = exp / "clusters" / name_of("mfcc", None, False, 0, "speaker_root", 12, 1.5) / "kmeans.npz"
    assert len(load_kmeans(clusters).books[0]) == 12 and len(load_kmeans(clusters).speakers.names) == 2
    units = tmp_path / "units"
    given = ("--kmeans", str(clusters), "--exp", str(units), "--quiet")
    assert extract_units.main(["--language", "spanish", *given]) == 0
    phones = tiny_language["data"] / "spanish" / "phones.tsv"
    report = build_unit_report(units, n_resamples=0, seed=0, phones=phones, abx="train")
    usage, heard = report.splits["train"], report.phones["train"]
    bits, cuts, read = usage.bits_per_second, heard.unit_boundaries, heard.phone_boundaries
    expected = {
        "seconds": usage.seconds,
        "units_per_second": usage.units_per_second,
        "bits_per_second": bits.frames.value,
        "bits_per_second_deduplicated": bits.deduplicated.value,
        "bits_per_second_timed": bits.deduplicated_timed,
        "one_frame_runs_percent": usage.run_frames.single_frame_percent,
        "mean_run_frames": usage.run_frames.mean,
        "pnmi": heard.pnmi.value,
        "phone_error_rate": heard.phone_error_rate.value,
        "unit_boundary_precision": cuts.precision.value,
        "unit_boundary_recall": cuts.recall.value,
        "unit_boundary_f1": cuts.f1.value,
        "unit_boundary_r_value": cuts.r_value.value,
        "phone_boundary_f1": read.f1.value,
        "phone_boundary_r_value": read.r_value.value,
        "random_boundary_f1": heard.controls.random_cuts.f1.value,
        "abx_within": report.abx.units.within.value,
        "abx_across": report.abx.units.across.value,
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert row.keys() - expected.keys() == set(SETTING_KEYS), "nothing else is scored"


def test_unit_errors_by_hand() -> None:
    clean = [np.array([1, 1, 2, 3]), np.array([5, 5])]
    assert unit_error_rate(clean, clean) == 0
    assert unit_error_rate(clean, [np.array([1, 2, 2, 3]), np.array([5])]) == 0
    assert unit_error_rate(clean, [np.array([1, 3]), np.array([5, 6])]) == pytest.approx(2 / 4)


def test_flags_that_no_encoder_obeys_are_refused(tiny_language: dict, tiny_xlsr: Path, tmp_path: Path) -> None:
    for flags, message in (
        (("--layers", 2), "none of mfcc has layers"),
        (("--encoders", tiny_xlsr), "expected --layers, from 0 to 3"),
        (("--encoders", tiny_xlsr, "--layers", 9), "between 0 and 3, found 9"),
        (("--encoders", "logmel", "--contexts", 1), "options of mfcc alone"),
        (("--duration_penalty", -1), "--duration_penalty: expected 0 or more"),
    ):
        with pytest.raises(UserError, match=message):
            run_sweep(tmp_path / "sweep", *flags)
    assert not (tmp_path / "sweep").exists()
