"""Checkpoints: the moving average, everything kept, nothing run, nothing half written."""

import pickle
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import pytest

from core.errors import UserError
from core.locks import only_run
from prosody.prediction import load_prosody
from training.checkpoints import (
    build_saved,
    ema_decay,
    load_checkpoint,
    random_state,
    require_keys,
    restore_random_state,
    save_checkpoint,
    update_ema,
)
from vocoder.generators import load_vocoder


def test_ema_decay_ramps() -> None:
    assert ema_decay(0) == pytest.approx(0.1)
    assert ema_decay(90) == pytest.approx(0.91)
    assert ema_decay(10**6) == 0.999
    decays = [ema_decay(step) for step in range(0, 20_000, 7)]
    assert all(before <= after for before, after in zip(decays, decays[1:]))


def test_ema_by_hand() -> None:
    average, model = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(average.weight, 0.0)
    expected = 0.0
    for step in range(5):
        nn.init.constant_(model.weight, float(step + 1))
        model.running_mean.fill_(step)
        update_ema(average, model, step)
        expected = ema_decay(step) * expected + (1 - ema_decay(step)) * (step + 1)
    assert average.weight.tolist() == pytest.approx([expected, expected])
    assert average.running_mean.tolist() == [4.0, 4.0]
    assert model.weight.tolist() == [5.0, 5.0]


def test_without_averaging_the_average_is_the_model() -> None:
    model, average = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    update_ema(average, model, 5000, 0.0)
    assert torch.equal(average.weight, model.weight)


def test_checkpoint_round_trip_to_the_bit(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 7, "names": ["a", "ã"]}
    save_checkpoint(tmp_path / "deep" / "latest.pt", state | {"random_state": random_state()})
    loaded = load_checkpoint(tmp_path / "deep" / "latest.pt", command="")
    assert (loaded["step"], loaded["names"]) == (7, ["a", "ã"])
    assert all(torch.equal(loaded["model"][name], value) for name, value in model.state_dict().items())
    again = torch.optim.AdamW(nn.Linear(3, 2).parameters())
    again.load_state_dict(loaded["optimizer"])
    for key, values in optimizer.state_dict()["state"].items():
        assert all(torch.equal(again.state_dict()["state"][key][name], value) for name, value in values.items())
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["latest.pt"]


def test_random_state_survives_a_checkpoint(tmp_path: Path) -> None:
    def draw() -> list[float]:
        return [torch.rand(1).item(), random.random(), float(np.random.rand())]  # noqa: NPY002

    draw()
    save_checkpoint(tmp_path / "a.pt", random_state())
    expected = [draw() for _ in range(3)]
    draw()
    restore_random_state(load_checkpoint(tmp_path / "a.pt", command=""))
    assert [draw() for _ in range(3)] == expected


@pytest.mark.parametrize(("n_now", "restored"), [(2, True), (1, False), (3, False), (0, False)])
def test_states_of_gpus_come_back_where_as_many_are_there(
    n_now: int, restored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_now > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_now)
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", given.append)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: ["of", "each"])
    state = random_state()
    assert state.get("cuda") == (["of", "each"] if n_now else None)
    restore_random_state(state | {"cuda": ["one", "two"]})
    assert given == ([["one", "two"]] if restored else [])
    restore_random_state({name: state[name] for name in ("torch", "python", "numpy")})  # of a run without a GPU
    assert len(given) == restored


def test_what_a_checkpoint_lacks_is_named_and_what_it_has() -> None:
    require_keys(Path("a.pt"), {"step": 0, "model": {}}, "step", "model")
    with pytest.raises(UserError, match="a.pt: expected model, found best, step; copy it again"):
        require_keys(Path("a.pt"), {"step": 1, "best": 2.0}, "step", "model")
    with pytest.raises(UserError, match="found nothing"):
        require_keys(Path("a.pt"), {}, "step")


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "latest.pt"
    save_checkpoint(path, {"weights": torch.randn(1000)})
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "garbage": b"garbage" * 500, "empty": b""}[damage])
    with pytest.raises(UserError, match="latest.pt") as caught:
        load_checkpoint(path, command="")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("load", "command"), [(load_vocoder, "scripts/run_phase3.sh"), (load_prosody, "src/trainer_prosody.py")]
)
def test_a_missing_file_names_what_trains_that_model(tmp_path: Path, load: Callable, command: str) -> None:
    with pytest.raises(UserError, match=f"best.pt: expected a checkpoint, found none; run: .*{command}"):
        load(tmp_path)


def test_a_training_without_a_checkpoint_yet_is_told_from_one_that_never_was(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"no checkpoint yet, .* stopped before its first one; go on with: bash"):
        load_vocoder(tmp_path)
    with only_run(tmp_path), pytest.raises(UserError, match="no checkpoint yet, .* is still training; wait"):
        load_vocoder(tmp_path)
    (tmp_path / "finished.json").write_text("{}")
    with pytest.raises(UserError, match="expected a checkpoint, found none"):
        load_vocoder(tmp_path)


class Trap:
    """What an attacker would put into a pickle."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_nothing_in_a_checkpoint_can_run(tmp_path: Path) -> None:
    torch.save({"model": Trap(tmp_path / "sprung")}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Trap(tmp_path / "sprung"), protocol=2))
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(UserError, match=name):
            load_checkpoint(tmp_path / name, command="")
    assert not (tmp_path / "sprung").exists()


def test_a_failed_write_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "latest.pt"
    save_checkpoint(path, {"step": 1})
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save_checkpoint(path, {"step": 2, "bad": lambda: None})
    assert load_checkpoint(path, command="") == {"step": 1}


def test_what_is_no_checkpoint_or_of_another_model_is_told_in_a_line(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "a.pt")
    with pytest.raises(UserError, match="a.pt: expected a checkpoint of this project, found a list; delete it$"):
        load_checkpoint(tmp_path / "a.pt", command="")
    (tmp_path / "b.pt").write_bytes(b"no checkpoint")
    with pytest.raises(
        UserError, match=r"b\.pt: expected .*, found something unreadable \(.*; delete it and resume from"
    ):
        load_checkpoint(tmp_path / "b.pt", command="")
    path, linear = tmp_path / "c.pt", nn.Linear(2, 2)
    assert torch.equal(
        build_saved(path, lambda: nn.Linear(2, 2), linear.state_dict(), kind="a voice").bias, linear.bias
    )
    for build, weights in (
        (lambda: nn.Linear(3, 2), linear.state_dict()),
        (lambda: nn.Linear(2, 2, sizes=3), {}),
        (lambda: {}["v9"], {}),
        (lambda: nn.Linear(2, 2), None),
    ):
        with pytest.raises(
            UserError, match=r"^.*c\.pt: expected a voice, found another: .+; is it of a later version\?$"
        ):
            build_saved(path, build, weights, kind="a voice")
    with pytest.raises(UserError, match="found a, b, c, d, e, f, g, h; copy it again"):
        require_keys(path, dict.fromkeys("jihgfedcba", 1), "step")


def test_old_names_of_tables_come_back_as_todays_in_their_order(tmp_path: Path) -> None:
    weights = {"units.0.weight": 1, "rest.units": 2, "pitch.weight": 3, "speakers.weight": 4, "unit_embedding.x": 5}
    torch.save({"step": 1, "generator": weights, "predictor_ema": weights, "discriminator": weights}, tmp_path / "a.pt")
    loaded = load_checkpoint(tmp_path / "a.pt", command="")
    today = ["unit_embedding.0.weight", "rest.units", "pitch_embedding.weight", "speaker_embedding.weight"]
    for name in ("generator", "predictor_ema"):
        assert [*loaded[name].items()] == [*zip([*today, "unit_embedding.x"], range(1, 6))]
    assert loaded["discriminator"] == weights and loaded["step"] == 1
