"""Programs of an engine that hang, fail or are missing."""

import os
from pathlib import Path

import pytest

from core.errors import UserError
from launching import scheduler_queries


def test_a_client_that_hangs_has_said_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = tmp_path / "qstat"
    client.write_text("#!/bin/sh\nexec sleep 600\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(scheduler_queries, "CLIENT_SECONDS", 0.1)
    assert scheduler_queries.ask("qstat") == ""
    with pytest.raises(UserError, match="qstat: no answer"):
        scheduler_queries.call_client("qstat")


def test_a_client_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="qdel: cannot be run here"):
        scheduler_queries.call_client("qdel", "17")


def test_a_client_that_fails_or_is_missing_has_said_nothing() -> None:
    assert scheduler_queries.ask("sh", "-c", "echo 7; exit 1") == scheduler_queries.ask("no_such_program") == ""
    assert scheduler_queries.ask("sh", "-c", "echo 7") == "7\n"
