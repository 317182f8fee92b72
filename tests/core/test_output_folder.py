"""A folder that is filled: what an earlier run left goes, what somebody else put there stays."""

from pathlib import Path

import pytest

from core.errors import UserError
from core.output_folder import NOTES, claim_folder, drop_earlier


def test_a_file_or_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        with pytest.raises(UserError, match=r"--out .*file.*: expected a folder, found a file"):
            claim_folder(tmp_path / place)
    with pytest.raises(UserError, match=r"--out /proc/x: cannot be written to \(.+\)"):
        claim_folder(Path("/proc/x"))
    claim_folder(tmp_path / "new" / "one")
    assert list((tmp_path / "new" / "one").iterdir()) == []


def test_only_what_an_earlier_run_wrote_is_removed(tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    for path in (outside, out / "a", out / "sub" / "b", out / "own"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    drop_earlier(out, [out / "a", out / "sub" / "b"])
    drop_earlier(out, [out / "a"])
    assert {path.name for path in out.rglob("*") if path.is_file()} == {"a", "own", NOTES}
    (out / NOTES).write_text('["../outside", "own", 3]')
    drop_earlier(out, [out / "a"])
    assert outside.exists() and not (out / "own").exists()
    (out / NOTES).write_text("torn")
    drop_earlier(out, [])
    assert (out / "a").exists()


def test_a_folder_of_recordings_is_no_place_for_results(tmp_path: Path) -> None:
    (tmp_path / "Story.MP3").touch()
    with pytest.raises(UserError, match=r"--out .*: expected a folder for the results, found recordings \(Story.MP3\)"):
        claim_folder(tmp_path)
    drop_earlier(tmp_path, [tmp_path / "Story.MP3"])  # what an earlier run wrote is no obstacle
    claim_folder(tmp_path)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "clip.wav").touch()
    claim_folder(tmp_path)
