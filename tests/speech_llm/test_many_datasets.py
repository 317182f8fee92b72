"""Several data sets make one list, in which nothing is mistaken for another's."""

import json
from pathlib import Path

import pytest

from core.errors import UserError
from speech_llm.many_datasets import add_datasets, by_dataset
from speech_llm.transcribed_items import load_transcribed
from synthetic import write_segments


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    found = []
    for name in ("tales", "songs"):
        folder = tmp_path_factory.mktemp("data") / name
        rows = [row | {"text": f"{name} {row['id']}"} for row in write_segments(folder.parent, name)]
        (folder / "segments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        found.append(folder)
    return found


def test_what_is_added_stands_behind_under_names_of_its_own(folders: list[Path], tmp_path: Path) -> None:
    own, other = (load_transcribed(folder, ["train"])["train"] for folder in folders)
    found = add_datasets(own, folders[1:], "train", lambda folder: tmp_path / f"{folder.name}.tsv")
    assert found[: len(own)] == own
    assert [item["id"] for item in found[len(own) :]] == [f"songs/{item['id']}" for item in other]
    assert [item["hash"] for item in found[len(own) :]] == [item["hash"] for item in other]
    assert by_dataset(found, 2) == [own, found[len(own) :]] and by_dataset(own, 1) == [own]
    assert (tmp_path / "songs.tsv").is_file()


def test_two_of_one_name_are_refused(folders: list[Path]) -> None:
    with pytest.raises(UserError, match="folders of different names, found 'tales' twice"):
        add_datasets([], [folders[0], folders[0]], "val", lambda folder: None)
