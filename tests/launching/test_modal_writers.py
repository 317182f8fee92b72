"""One writer a folder on Modal's volume, with a file in the place of the Modal Dict."""

from pathlib import Path

import pytest

from modal_container import open_writers

from core.errors import UserError
from launching.modal_writers import LEASE_SECONDS, claim_folder, refuse_hopeless, renew_claim


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    writers = open_writers(tmp_path / "writers.json")
    assert [claim_folder(writers, "run", "a", now) for now in (0.0, 1.0, 2.0)] == [0, 1, 2]
    assert claim_folder(writers, "other", "b", 1.0) == 0
    with pytest.raises(UserError, match="run: expected no other writer, found call a"):
        claim_folder(writers, "run", "b", 3.0)
    renew_claim(writers, "run", "a", 5000.0)
    renew_claim(writers, "run", "b", 9e9)  # not its own
    with pytest.raises(UserError, match="call a"):
        claim_folder(writers, "run", "b", 4999.0)
    assert claim_folder(writers, "run", "b", 5000.0) == 0
    assert claim_folder(writers, "run", "a", 5000.0 + LEASE_SECONDS) == 0


def test_a_final_code_ends_the_attempts_of_its_call_alone(tmp_path: Path) -> None:
    writers = open_writers(tmp_path / "writers.json")
    claim_folder(writers, "run", "a", 0.0)
    refuse_hopeless(writers, "run", "a")
    renew_claim(writers, "run", "a", 0.0, final_code=2)
    refuse_hopeless(writers, "run", "b")
    with pytest.raises(RuntimeError, match="exit code 2 in the attempt before"):
        refuse_hopeless(writers, "run", "a")
