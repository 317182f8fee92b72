"""Writers of folders on Modal: one at a time, and a folder comes back from those that are gone."""

from pathlib import Path

import pytest

from modal_container import open_writers

from core.errors import UserError
from launching.modal_writers import LEASE_SECONDS, claim_folder, find_holder, free_folders, update_claim


def nobody_knows(call: str) -> None:
    return None


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    writers = open_writers(tmp_path / "writers.json")
    attempts = [claim_folder(writers, "run", "a", now, nobody_knows)["attempt"] for now in (1.0, 2.0, 3.0)]
    assert attempts == [0, 1, 2]
    assert claim_folder(writers, "other", "b", 1.0, nobody_knows)["attempt"] == 0
    with pytest.raises(UserError, match="run: expected no other writer, found call a; .*--take_over"):
        claim_folder(writers, "run", "b", 4.0, nobody_knows)
    assert update_claim(writers, "run", "a", until=5000.0)
    assert not update_claim(writers, "run", "b", until=9e9)  # not its own
    with pytest.raises(UserError, match="call a"):
        claim_folder(writers, "run", "b", 4999.0, nobody_knows)
    assert claim_folder(writers, "run", "b", 5000.0, nobody_knows)["attempt"] == 0
    assert claim_folder(writers, "run", "a", 5001.0 + LEASE_SECONDS, nobody_knows)["attempt"] == 0


@pytest.mark.parametrize(
    ("until", "lives", "holder"),
    [
        (0.0, True, None),  # given back
        (200.0, True, "a"),
        (200.0, False, None),  # it has ended without a word
        (200.0, None, "a"),
        (50.0, None, None),
        (50.0, True, "a"),  # it waits for a GPU
    ],
)
def test_who_holds_a_folder(until: float, lives: bool | None, holder: str | None) -> None:
    claim = {"owner": "a", "until": until, "attempt": 0}
    assert find_holder(claim, "b", 100.0, lambda call: lives) == holder
    assert find_holder(claim, "a", 100.0, lambda call: lives) is None


def test_a_shard_holds_its_folder_while_it_runs_although_its_owner_was_stopped() -> None:
    claim = {"owner": "stages", "call": "shard", "until": 200.0, "attempt": 0}
    assert find_holder(claim, "b", 100.0, lambda call: call == "shard") == "stages"


def test_taking_over_stops_the_holder_once_and_waits_until_it_has_saved(tmp_path: Path) -> None:
    writers, stopped = open_writers(tmp_path / "writers.json"), []
    for folder in ("units/assign_0", "units/assign_1"):
        claim_folder(writers, folder, "stages", 9e9, nobody_knows, call="map")

    def cancel(call: str) -> None:
        stopped.append(call)
        update_claim(writers, "units/assign_0", "stages", until=0.0)  # the other died

    folders = ["units/assign_0", "units/assign_1", "free"]
    with pytest.raises(UserError, match="units/assign_0: .*call stages"):
        free_folders(writers, folders, nobody_knows, cancel, take_over=False)
    free_folders(writers, folders, nobody_knows, cancel, take_over=True, patience=0.0)
    assert sorted(stopped) == ["map", "stages"]
    assert claim_folder(writers, "units/assign_1", "b", 9e9, nobody_knows)["owner"] == "b"


def test_attempts_are_counted_for_each_call_of_an_owner(tmp_path: Path) -> None:
    """fit and merge of phase 1 write to one folder, one after the other: the second is no retry of the first."""
    writers = open_writers(tmp_path / "writers.json")
    calls = ["fit", "fit", "merge", "merge"]
    claims = [claim_folder(writers, "units", "stages", 1.0, nobody_knows, call=call) for call in calls]
    assert [claim["attempt"] for claim in claims] == [0, 1, 0, 1]
