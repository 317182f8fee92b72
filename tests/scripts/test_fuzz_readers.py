"""Every reader that is fuzzed reads the good file it starts from."""

from pathlib import Path

import pytest

from fuzz_readers import READERS


@pytest.mark.parametrize("name", READERS)
def test_a_good_file_is_read(name: str, tmp_path: Path) -> None:
    suffix, write, read = READERS[name]
    path = tmp_path / f"good{suffix}"
    write(path)
    read(path)
