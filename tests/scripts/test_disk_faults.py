"""scripts/bench/disk_faults.py: the chosen writing call fails and those after it, in one folder alone."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from synthetic import REPOSITORY

SCRIPT = """
import errno, sys
from pathlib import Path
sys.path[:0] = SEARCHED
from disk_faults import NEVER, count_calls, fail_at, load_faults
root = Path(sys.argv[1])
load_faults(root)
bad, good = root / "bad", root / "good"
fail_at(root / "bad", NEVER, 0)
(bad / "counted").write_text("a")
print(count_calls())
fail_at(bad, 2, errno.ENOSPC)
for path in (bad / "written", good / "elsewhere", bad / "refused"):
    try:
        path.write_text("a")
    except OSError as error:
        print(path.name, errno.errorcode[error.errno])
for change in ((bad / "folder").mkdir, lambda: (bad / "written").rename(bad / "renamed"), (bad / "written").unlink):
    try:
        change()
    except OSError as error:
        print(errno.errorcode[error.errno])
fail_at(bad, 1, errno.EIO)
try:
    (bad / "half").write_text("a")
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def test_the_chosen_call_fails_and_those_after_it_below_the_folder_alone(tmp_path: Path) -> None:
    if shutil.which("gcc") is None or sys.platform != "linux":
        pytest.skip("needs gcc and Linux")
    script = tmp_path / "script.py"
    searched = [str(REPOSITORY / "scripts" / "bench"), str(REPOSITORY / "src")]
    script.write_text(SCRIPT.replace("SEARCHED", repr(searched)))
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
    done = subprocess.run([sys.executable, script, tmp_path], check=True, capture_output=True, text=True)
    assert done.stdout.split("\n")[:-1] == ["2", "refused ENOSPC", "ENOSPC", "ENOSPC", "EIO"], done.stderr
    assert sorted(path.name for path in (tmp_path / "bad").iterdir()) == ["counted", "half"]
    assert (tmp_path / "good" / "elsewhere").read_text() == "a"
