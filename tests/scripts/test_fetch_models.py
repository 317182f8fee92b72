"""scripts/fetch_models.py, with a stand-in for the hub: what is fetched, and what each refusal says."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

import fetch_models

from core.errors import UserError

SAFE = {"config.json": 2000, "model.safetensors": 3_000_000, "pytorch_model.bin": 9_000_000, "onnx/model.onnx": 5}
TORCH = {"config.json": 2000, "pytorch_model.bin": 4_000_000, "flax_model.msgpack": 7}


def hub(monkeypatch: pytest.MonkeyPatch, home: Path, sizes: dict[str, int], licence: str | None = "mit") -> list:
    """A hub with one model of these files; returns what is asked of it."""
    asked = []
    files = [SimpleNamespace(rfilename=name, size=size) for name, size in sizes.items()]
    info = SimpleNamespace(siblings=files, sha="abc", card_data={"license": licence} if licence else None)
    monkeypatch.setattr(fetch_models, "HfApi", lambda: SimpleNamespace(model_info=lambda *_, **__: info))
    monkeypatch.setattr(fetch_models.constants, "HF_HOME", str(home))
    monkeypatch.setattr(fetch_models.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        fetch_models, "snapshot_download", lambda model, **what: asked.append((model, what)) or "/folder"
    )
    return asked


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["fetch_models.py", *words])
    fetch_models.main()


def test_safetensors_are_fetched_and_nothing_else(tmp_path: Path, monkeypatch, capsys) -> None:
    asked = hub(monkeypatch, tmp_path / "home", SAFE)
    run(monkeypatch, "--model", "some/model")
    assert asked == [("some/model", {"revision": None, "allow_patterns": ["config.json", "model.safetensors"]})]
    said = capsys.readouterr().out
    assert "some/model: 2 files, 0.00 GB, revision abc" in said and "licence: mit" in said and "note" not in said


def test_a_torch_file_a_licence_and_a_revision_are_told(tmp_path: Path, monkeypatch, capsys) -> None:
    asked = hub(monkeypatch, tmp_path / "home", TORCH, "cc-by-nc-4.0")
    run(monkeypatch, "--model", "some/model", "--revision", "v2")
    assert asked[0][1] == {"revision": "v2", "allow_patterns": ["config.json", "pytorch_model.bin"]}
    said = capsys.readouterr().out
    assert "weights_only=True" in said and "non-commercial" in said
    assert "this revision is used by its folder: --encoder /folder" in said
    hub(monkeypatch, tmp_path / "home", TORCH, None)
    run(monkeypatch, "--model", "facebook/mms-300m")
    said = capsys.readouterr().out
    assert "licence: unstated" in said and "non-commercial" in said


def test_a_model_without_weights_a_full_disk_and_a_folder_are_refused(tmp_path: Path, monkeypatch) -> None:
    asked = hub(monkeypatch, tmp_path / "home", {"config.json": 10})
    with pytest.raises(UserError, match="some/model: expected safetensors or PyTorch weights, found neither"):
        run(monkeypatch, "--model", "some/model")
    hub(monkeypatch, tmp_path / "home", {"config.json": 10, "model.safetensors": 10**18})
    with pytest.raises(UserError, match=r"home: expected 1000000000\.0 GB of free disk, found"):
        run(monkeypatch, "--model", "some/model")
    (tmp_path / "local").mkdir()
    with pytest.raises(UserError, match="local: expected a hub id, found a local folder"):
        run(monkeypatch, "--model", str(tmp_path / "local"))
    assert not asked


def test_encoders_of_our_own_need_no_fetching(tmp_path: Path, monkeypatch, capsys) -> None:
    asked = hub(monkeypatch, tmp_path / "home", SAFE)
    run(monkeypatch, "--model", "mfcc")
    assert not asked and "nothing to fetch" in capsys.readouterr().out


def refusal(kind: type[Exception]) -> Exception:
    """Without an answer of the HTTP library, which the hub's library has changed more than once."""
    error = kind.__new__(kind)
    error.args = ("Not so\nmore lines",)
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (refusal(RevisionNotFoundError), "some/model: expected revision 'v2', found none"),
        (refusal(RepositoryNotFoundError), "some/model: expected a model on .*, found none; check the id"),
        (refusal(HfHubHTTPError), r"some/model: the hub refused it .*; set HF_TOKEN where it is gated"),
        (ConnectionError("no route"), "some/model: expected to reach .*, found: no route; run this where there is"),
    ],
)
def test_each_refusal_of_the_hub_is_one_line(tmp_path: Path, monkeypatch, error: Exception, said: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    hub(monkeypatch, tmp_path / "home", SAFE)
    monkeypatch.setattr(fetch_models, "HfApi", lambda: SimpleNamespace(model_info=refuse))
    with pytest.raises(UserError, match=said) as refused:
        run(monkeypatch, "--model", "some/model", "--revision", "v2")
    assert "\n" not in str(refused.value)
