"""scripts/bench/check_interruption.py: that it finds every kind of difference, and when it kills."""

import json
import math
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

import pytest

import check_interruption
from check_interruption import STAGES, Stage, check_stage, fill_in

from audio.track_store import add_tracks
from core.errors import UserError
from equal_runs import differences, file_differences, folder_differences
from synthetic import REPOSITORY


def write_run(folder: Path, *, weight: float = 1.0, loss: float = 0.5, seconds: float = 1.0) -> Path:
    """A small experiment folder: checkpoint, k-means, metrics, sample, and a log that names its own folder."""
    (folder / "checkpoints").mkdir(parents=True)
    state = {"generator": {"weight": torch.full((3,), weight)}, "step": 4, "best": math.inf, "seconds": seconds}
    torch.save(state, folder / "checkpoints" / "latest.pt")
    np.savez(folder / "kmeans.npz", centroids=np.arange(4, dtype=np.float32))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 4, "loss": loss, "seconds": seconds}) + "\n")
    (folder / "sample.wav").write_bytes(b"RIFF")
    (folder / "train.log").write_text(str(folder))
    return folder


def test_runs_that_differ_in_time_and_log_alone_are_equal(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b", seconds=2.0)
    assert folder_differences(first, second) == (4, [])


def test_one_bit_of_a_weight_is_found_and_named(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b", weight=1.0 + 2.0**-23)
    assert folder_differences(first, second) == (4, ["checkpoints/latest.pt/generator/weight"])


def test_another_metric_is_found(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b", loss=math.nextafter(0.5, 1.0))
    assert [found.partition(":")[0] for found in folder_differences(first, second)[1]] == ["metrics.jsonl/0/loss"]


def test_a_metrics_row_too_many_is_found(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    row = (second / "metrics.jsonl").read_text()
    (second / "metrics.jsonl").write_text(row + row)
    assert len(file_differences(first / "metrics.jsonl", second / "metrics.jsonl")) == 1


@pytest.mark.parametrize("change", ["value", "dtype", "name"])
def test_other_arrays_are_found(tmp_path: Path, change: str) -> None:
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    centroids = np.arange(4, dtype=np.float64 if change == "dtype" else np.float32)
    centroids[0] = -0.0 if change == "value" else 0.0
    np.savez(second / "kmeans.npz", **{"means" if change == "name" else "centroids": centroids})
    assert folder_differences(first, second)[1]


def test_other_bytes_and_missing_or_left_over_files_are_found(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    (second / "sample.wav").write_bytes(b"RIFX")
    (second / ".latest.pt.77.tmp").touch()
    (second / "kmeans.npz").unlink()
    found = folder_differences(first, second)[1]
    assert found == [
        f".latest.pt.77.tmp: only in {second}",
        f"kmeans.npz: only in {first}",
        "sample.wav: bytes",
    ]


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        (torch.tensor(math.nan), torch.tensor(math.nan), True),
        (torch.tensor(0.0), torch.tensor(-0.0), False),
        (torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16), False),
        (torch.zeros(2, 1), torch.zeros(1, 2), False),
        (torch.tensor(1), 1, False),
        (math.nan, math.nan, True),
        (0.0, -0.0, False),
        (1, 1.0, False),
        ([1, 2], [1, 2, 3], False),
    ],
)
def test_states_are_compared_to_the_bit(first: object, second: object, equal: bool) -> None:
    assert (differences({"x": first}, {"x": second}) == []) is equal


def test_f0_that_was_read_at_another_time_is_equal(tmp_path: Path) -> None:
    track = np.arange(5, dtype=np.float32)
    for name, made, shift in (("a", 1, 0), ("b", 2, 0), ("c", 1, 1)):
        add_tracks(tmp_path / name, 0, [("x", 100, made, track + shift)])
    files = [tmp_path / name / "00.f0" for name in "abc"]
    assert file_differences(*files[:2]) == [] and file_differences(files[0], files[2]) != []


SCRIPT = """
import os, sys, time
from pathlib import Path
out = Path(os.environ["EXP_ROOT"]).parent / "out" / "made"
out.mkdir(exist_ok=True)
for number in range(8):
    file, beside = out / f"{number}.txt", out.parent / f"{number}.part"
    if BROKEN or not file.exists():
        time.sleep(0.05 if BROKEN else 0.01)  # kills must come between its files, also on a busy machine
        before = file.read_text() if file.exists() else ""
        beside.write_text(f"{before}{number}")
        os.replace(beside, file)
"""


@pytest.mark.parametrize(("broken", "found"), [(False, []), (True, ["bytes"])])
def test_a_script_that_writes_twice_after_a_kill_is_found(tmp_path: Path, broken: bool, found: list) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("BROKEN", str(broken)))
    roots = [tmp_path / "undisturbed", tmp_path / "interrupted"]
    for root in roots:
        (root / "out").mkdir(parents=True)
    stage = Stage([str(script)], ["out/made"])
    tally = check_stage(stage, "spanish", roots, 3, random.Random(1))
    assert sorted({difference.rpartition(" ")[2] for difference in tally.differences}) == found
    assert tally.n_whole >= 1 and tally.n_files == 8
    assert broken or tally.n_kills == {"SIGKILL": 3, "SIGTERM": 3}


WRITER = """
import os
from pathlib import Path
out = Path(os.environ["EXP_ROOT"]).parent / "out" / "made"
out.mkdir(exist_ok=True)
for number in range(4):
    file, beside = out / f"{number}.txt", out / f"{number}.part"
    try:
        beside.write_text(str(number))
        os.replace(beside, file)
    except OSError:
        if not CARELESS:
            beside.unlink(missing_ok=True)
            raise SystemExit(2)
"""
ON_A_BAD_DISK = """
import random, sys
from pathlib import Path
sys.path[:0] = SEARCHED
from disk_faults import load_faults
root = Path(sys.argv[1])
load_faults(root)
from check_interruption import Stage, check_faults
roots = [root / "undisturbed", root / "interrupted"]
tally = check_faults(Stage([str(root / "writer.py")], ["out/made"]), "spanish", roots, 3, random.Random(1))
print(tally.n_calls, tally.n_refused, tally.n_tracebacks, tally.n_unharmed, len(tally.differences) > 0)
"""


@pytest.mark.parametrize(("careless", "told"), [(False, "13 6 0 0 False"), (True, "13 0 0 6 True")])
def test_a_script_that_goes_on_when_the_disk_is_full_is_found(tmp_path: Path, careless: bool, told: str) -> None:
    if shutil.which("gcc") is None or sys.platform != "linux":
        pytest.skip("needs gcc and Linux")
    (tmp_path / "writer.py").write_text(WRITER.replace("CARELESS", str(careless)))
    searched = [str(REPOSITORY / name) for name in ("scripts/bench", "src")]
    (tmp_path / "check.py").write_text(ON_A_BAD_DISK.replace("SEARCHED", repr(searched)))
    for name in ("undisturbed", "interrupted"):
        (tmp_path / name / "out").mkdir(parents=True)
    done = subprocess.run([sys.executable, tmp_path / "check.py", tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == told, done.stderr


def test_every_stage_writes_below_the_throw_away_folder(tmp_path: Path) -> None:
    for stage in STAGES.values():
        assert all(not name.startswith(("/", "..")) for name in fill_in(stage.writes, "spanish", tmp_path))
        assert (REPOSITORY / stage.command[0]).is_file()


@pytest.fixture
def recordings(language_roots: dict[str, Path]) -> Path:
    """Three recordings of other lengths and a table of speakers."""
    folder = language_roots["data"] / "spanish"
    (folder / "raw" / "far").mkdir(parents=True)
    for number, name in enumerate(("long.wav", "far/short.wav", "middle.wav")):
        (folder / "raw" / name).write_bytes(b"x" * (30, 10, 20)[number])
    (folder / "speakers.tsv").write_text("source\tspeaker\n")
    return folder


def stages_of(folder: Path, *, broken: bool) -> dict[str, Stage]:
    """Two scripts, one after the other; the second may be broken."""
    stages = {}
    for name, is_broken in (("first", False), ("second", broken)):
        script = folder / f"{name}.py"
        script.write_text(SCRIPT.replace("BROKEN", str(is_broken)).replace('"made"', f'"{name}"'))
        stages[name] = Stage([str(script)], [f"out/{name}"])
    return stages


@pytest.mark.parametrize("broken", [False, True])
def test_the_check_goes_through_its_stages_and_keeps_what_differs(
    recordings: Path, tmp_path: Path, monkeypatch, capsys, broken: bool
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr(check_interruption, "STAGES", stages_of(tmp_path, broken=broken))
    monkeypatch.setattr(check_interruption, "IMPORTED", ())
    monkeypatch.setattr(check_interruption.signal, "signal", lambda *_: None)
    flags = ["--language", "spanish", "--n_kills", "2", "--n_recordings", "2", "--work", str(work)]
    assert check_interruption.main([*flags, "--stages", "second"]) == int(broken)
    captured = capsys.readouterr()
    [row] = [line.split(" | ") for line in captured.out.splitlines() if line.startswith("| second")]
    assert row[-1].startswith("no: " if broken else "yes")
    assert broken or (row[2] == "2, 2" and row[4] == "8")
    [kept] = list(work.iterdir()) or [None]
    assert (kept is not None) == broken
    if kept:
        assert f"kept for a look: {kept}" in captured.err and "bytes" in captured.err
        data = kept / "undisturbed" / "data" / "spanish"
        assert {path.name for path in data.rglob("*") if path.is_file()} == {"short.wav", "middle.wav", "speakers.tsv"}
        assert (kept / "recording.wav").read_bytes() == b"x" * 10


def test_faults_and_kills_of_a_stage_begin_from_the_same_input(
    recordings: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    """With --n_errors the stage is first run on disks that fail; what differs there is told and fails the check."""
    found = check_interruption.FaultTally(7, 2, 1, 0, ["No space left at 3: made: bytes"])
    monkeypatch.setattr(check_interruption, "STAGES", stages_of(tmp_path, broken=False))
    monkeypatch.setattr(check_interruption, "IMPORTED", ())
    monkeypatch.setattr(check_interruption, "load_faults", lambda _: None)
    monkeypatch.setattr(check_interruption, "check_faults", lambda *_: found)
    monkeypatch.setattr(check_interruption.signal, "signal", lambda *_: None)
    flags = ["--language", "spanish", "--n_kills", "1", "--n_errors", "1", "--n_recordings", "1"]
    assert check_interruption.main([*flags, "--stages", "first", "--work", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "| first | 7 | 2 | 1 | 0 | no: 1 differ |" in captured.out and "No space left at 3" in captured.err
    assert "| first | " in captured.out.split("undisturbed (s)")[1]


def test_a_script_that_fails_by_itself_ends_the_check(tmp_path: Path) -> None:
    roots = [tmp_path / "undisturbed", tmp_path / "interrupted"]
    for root in roots:
        root.mkdir()
    for text, code in (("raise SystemExit(3)", 3), ("raise SystemExit('no such voice')", 1), ("raise OSError", 1)):
        (tmp_path / "script.py").write_text(text)
        with pytest.raises(UserError, match=f"script.py: expected exit code 0, found {code}"):
            check_stage(Stage([str(tmp_path / "script.py")], []), "spanish", roots, 1, random.Random(0))


def test_a_language_without_recordings_is_named(language_roots: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected recordings, found none"):
        check_interruption.link_inputs("spanish", tmp_path / "root", 1)


def test_what_names_the_moment_or_the_folder_of_a_run_is_no_difference(tmp_path: Path) -> None:
    contents = {
        "a.eaf": tuple(f'<A DATE="{year}">{said} {{root}}</A>' for year, said in ((26, "x"), (27, "x"), (26, "y"))),
        "finished.json": ('{"seconds": 1, "step": 4}', '{"seconds": 2, "step": 4}', '{"seconds": 1, "step": 5}'),
    }
    scores = '{"cer": 0.1, "identity": {"inputs": "1", "n": 2}}'
    contents["scores.json"] = (scores, scores.replace('"1"', '"7"'), '{"cer": 0.2}')
    folders = [tmp_path / name for name in "abc"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        for name, texts in contents.items():
            (folder / name).write_text(texts[number].replace("{root}", str(folder)))
    assert folder_differences(*folders[:2], hidden=folders) == (3, [])
    assert folder_differences(*folders[:2])[1] == ["a.eaf: bytes"]
    names = [
        found.partition(":")[0].partition("/")[0] for found in folder_differences(folders[0], folders[2], folders)[1]
    ]
    assert sorted(set(names)) == ["a.eaf", "finished.json", "scores.json"]


def test_listening_tests_are_equal_but_for_their_names(tmp_path: Path) -> None:
    """Each test draws its own name and those of its clips; a page must belong to the key beside it."""
    folders = [tmp_path / name for name in "abcd"]
    for folder, test, clip, seconds in zip(folders, ("t1", "t2", "t3", "t4"), ("c1", "c2", "c3", "c4"), (3, 3, 4, 3)):
        folder.mkdir()
        key = {"test": test, "clips": {clip: {"system": "a", "seconds": seconds}}}
        key["trials"] = [{"id": "mos-1", "kind": "mos", "group": "a", "clips": [clip]}]
        (folder / "page.key.json").write_text(json.dumps(key))
        (folder / "page.html").write_text(f"<p>{test} {clip}</p>")
    (folders[3] / "page.html").write_text("<p>t4 c1</p>")
    found = [folder_differences(folders[0], other)[1] for other in folders[1:]]
    assert found[0] == [] and found[2] == ["page.html: belongs to another key"]
    assert [one.partition("/")[0] for one in found[1]] == ["page.key.json"]
