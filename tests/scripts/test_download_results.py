"""Results from the Modal volume arrive whole or not at all, and inside the folder asked for."""

from pathlib import Path

import pytest

import download_results

from core.errors import UserError


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """`modal volume get` as it is: below an existing folder it makes one of the remote's last name."""
    commands = []

    def run_volume(command: list[str]) -> None:
        commands.append(command)
        *_, remote, target = command
        if "broken" in remote:
            raise UserError("exit code 1")
        place = Path(target) / Path(remote).name
        if place.suffix:
            place.write_text(remote)
        else:
            (place / "checkpoints").mkdir(parents=True)
            (place / "checkpoints" / "best.pt").write_text(f"{remote} {len(commands)}")

    monkeypatch.setattr(download_results, "run_volume", run_volume)
    monkeypatch.setattr(download_results, "require_token", lambda: None)
    return commands


def test_results_arrive_whole_or_not_at_all(fetched: list, tmp_path: Path, capsys) -> None:
    place = tmp_path / "exp" / "run" / "checkpoints" / "best.pt"
    download_results.main(["run", "--out", str(tmp_path)])
    assert place.read_text() == "exp/run 1" and "wrote" in capsys.readouterr().out
    assert fetched[0][1:6] == ["-m", "modal", "volume", "get", "bible-audio-data"]
    with pytest.raises(UserError, match="exists already"):
        download_results.main(["run", "--out", str(tmp_path)])
    download_results.main(["run", "--out", str(tmp_path), "--overwrite"])
    assert place.read_text() == "exp/run 2" and len(fetched) == 2
    with pytest.raises(UserError):
        download_results.main(["run", "--only", "config.json", "broken.pt", "--out", str(tmp_path), "--overwrite"])
    assert place.read_text() == "exp/run 2"
    assert [path.name for path in (tmp_path / "exp").iterdir()] == ["run"]  # nothing half fetched is left


def test_only_some_of_a_run_leaves_what_was_fetched_before(fetched: list, tmp_path: Path) -> None:
    run = tmp_path / "exp" / "run"
    download_results.main(["run", "--out", str(tmp_path)])
    download_results.main(["run", "--only", "config.json", "a/b.pt", "--out", str(tmp_path)])
    found = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert found == {"checkpoints/best.pt", "config.json", "a/b.pt"}
    with pytest.raises(UserError, match="config.json: exists already"):
        download_results.main(["run", "--only", "config.json", "--out", str(tmp_path)])
    (run / "config.json").write_text("old")
    download_results.main(["run", "--only", "config.json", "--out", str(tmp_path), "--overwrite"])
    assert (run / "config.json").read_text() == "exp/run/config.json"
    assert (run / "checkpoints/best.pt").read_text() == "exp/run 1"


@pytest.mark.parametrize("words", [[], ["../x"], ["a/b"], ["run", "--only", "../y"], ["run", "--only", "/etc/passwd"]])
def test_names_stay_inside(fetched: list, words: list[str]) -> None:
    with pytest.raises(UserError):
        download_results.main(words)
    assert fetched == []
