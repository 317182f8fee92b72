"""scripts/bench/compare_folders.py: what it says, and its exit code."""

from pathlib import Path

from synthetic import run_script

SCRIPT = "scripts/bench/compare_folders.py"


def test_equal_folders_are_called_equal_and_others_are_not(tmp_path: Path) -> None:
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "units.txt").write_text("3 5 9\n")
        (tmp_path / name / "train.log").write_text(name)
    folders = (tmp_path / "before", tmp_path / "after")
    assert run_script(SCRIPT, *folders).stdout == "1 files compared, 0 differences\n"
    (tmp_path / "after" / "units.txt").write_text("3 5 8\n")
    (tmp_path / "after" / "new.txt").touch()
    shown = run_script(SCRIPT, *folders, "--most", 1, code=1).stdout.splitlines()
    assert shown == [f"new.txt: only in {tmp_path / 'after'}", "1 files compared, 2 differences"]
    assert "expected a folder" in run_script(SCRIPT, tmp_path / "before", tmp_path / "none", code=2).stderr
