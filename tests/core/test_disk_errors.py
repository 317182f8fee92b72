"""A disk that is full, read-only or failing is one line with exit code 2, and nothing torn stays behind."""

import errno
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import pytest

from audio.audio_io import save_audio, save_audio_pieces
from core.arrays import write_array
from core.cli import run_main
from core.disk_errors import describe_disk_error, disk_error_number, disk_of
from core.errors import UserError
from core.files import write_atomically, write_text
from synthetic import REPOSITORY, run_script, script_environment, write_recordings


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB."""
    disk = tmp_path / "small"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k,nr_inodes=200", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs root and the right to mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


NOISE = np.random.default_rng(0).uniform(-1, 1, 1 << 19)
WRITERS = {
    "text": lambda path: write_text(path, "a" * 1_000_000),
    "features": lambda path: write_array(path, NOISE),
    "checkpoint": lambda path: write_atomically(
        path, lambda temporary: torch.save({"a": torch.zeros(1 << 19)}, temporary)
    ),
    "audio": lambda path: save_audio(path, NOISE),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_named_and_nothing_torn_is_left(kind: str, small_disk: Path) -> None:
    with pytest.raises(OSError) as caught:
        WRITERS[kind](small_disk / "file")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(small_disk / "file")
    assert list(small_disk.iterdir()) == []
    said = describe_disk_error(disk_error_number(caught.value), caught.value.filename)
    assert said.startswith(f"no space left on {small_disk}: 0 MB free (writing ")


def test_a_long_wav_that_grows_says_that_the_disk_is_full(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        save_audio_pieces(small_disk / "long.wav", np.array_split(NOISE, 20))
    assert not (small_disk / "long.wav").exists()


@pytest.mark.parametrize("n_workers", [1, 2])
def test_segmentation_on_a_full_disk_is_one_line(language_roots: dict, small_disk: Path, n_workers: int) -> None:
    raw = small_disk / "satere" / "raw"
    raw.parent.mkdir()
    raw.symlink_to(language_roots["data"], target_is_directory=True)
    write_recordings(language_roots["data"], [f"{k}.wav" for k in range(3)])
    flags = ["--language", "satere", "--num_workers", n_workers, "--quiet"]
    done = run_script("scripts/segment_audio.py", *flags, env={"DATA_ROOT": str(small_disk)}, code=2)
    assert len(done.stderr.splitlines()) == 1
    assert f"error: no space left on {small_disk}: 0 MB free" in done.stderr
    assert not list(small_disk.rglob("*.tmp"))


@pytest.mark.parametrize(("option", "found"), [("size=4k,nr_inodes=1", "No space left"), ("ro", "Read-only")])
def test_a_tiny_or_locked_dev_shm_is_one_line(language_roots: dict, option: str, found: str) -> None:
    """Processes share locks there; with one process it is not needed."""
    apart = f"mount --make-rprivate / && mount -t tmpfs -o {option} tmpfs /dev/shm"
    if os.geteuid() or subprocess.run(["unshare", "-m", "sh", "-c", apart], check=False).returncode:
        pytest.skip("needs root and the right to mount")
    write_recordings(language_roots["data"] / "satere" / "raw", [f"{k}.wav" for k in range(3)])
    script = [sys.executable, str(REPOSITORY / "scripts/segment_audio.py"), "--language", "satere", "--quiet"]
    for n_workers, code in (("2", 2), ("1", 0)):
        command = f"{apart} && exec {shlex.join([*script, '--num_workers', n_workers])}"
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", command],
            check=False,
            env=script_environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        if code:
            said = done.stderr.strip().splitlines()[-1]
            assert said.startswith("error: expected room in /dev/shm for the locks that 2 processes share")
            assert found in said and said.endswith("--num_workers 1")


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded"), errno.EDQUOT),
        (OSError(errno.EROFS, "Read-only file system"), errno.EROFS),
        (OSError("Caught OSError in worker 0.\n[Errno 28] No space left on device"), errno.ENOSPC),
        (RuntimeError("unable to write to file </torch_1_2>: No space left on device (28)"), errno.ENOSPC),
        (ValueError('I/O error: Os { code: 28, kind: StorageFull, message: "No space left" }'), errno.ENOSPC),
        (OSError("524288 requested and 4096 written"), errno.ENOSPC),
        (RuntimeError("child ended with exit code: 5"), None),
        (FileNotFoundError(errno.ENOENT, "none"), None),
    ],
)
def test_a_disks_error_is_recognised_in_what_a_library_raises(error: Exception, number: int | None) -> None:
    assert disk_error_number(error) == number
    wrapped = RuntimeError("the step failed")
    wrapped.__cause__ = error
    assert disk_error_number(wrapped) == number


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.ENOSPC, "no space left on "),
        (errno.EDQUOT, "your quota on "),
        (errno.EROFS, "is read-only"),
        (errno.EIO, "input/output error"),
    ],
)
@pytest.mark.parametrize("file", [None, "/tmp/a/b.wav"])
def test_each_is_one_line_with_exit_code_2(number: int, word: str, file: str | None, capsys) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number), file)

    with pytest.raises(SystemExit) as ended:
        run_main(fail)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and word in said and len(said.splitlines()) == 1
    assert file is None or (file in said and str(disk_of(file)) in said)


def test_other_errors_stay_what_they_are(tmp_path: Path, capsys) -> None:
    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(KeyError):
        run_main(lambda: fail(KeyError("a defect")))
    with pytest.raises(SystemExit):
        run_main(lambda: fail(UserError("mend it")))
    assert capsys.readouterr().err == "error: mend it\n"
    with pytest.raises(KeyError):
        write_atomically(tmp_path / "x", lambda temporary: (temporary.touch(), fail(KeyError("a"))))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask, rights", [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_files_have_the_rights_that_umask_says(tmp_path: Path, umask: int, rights: int) -> None:
    before = os.umask(umask)
    try:
        for kind, write in WRITERS.items():
            write(tmp_path / kind)
        save_audio_pieces(tmp_path / "pieces", [NOISE])
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == dict.fromkeys(
        [*WRITERS, "pieces"], rights
    )
