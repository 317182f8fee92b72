"""--init: what a training starts from, first and when it goes on."""

import json
from pathlib import Path

import pytest

from core.errors import UserError
from training.initial_weights import BASE_VOICE, Start, check_sizes, choose_start, load_start


def began(exp: Path, **arguments: str) -> Path:
    exp.mkdir(exist_ok=True)
    (exp / "config.json").write_text(json.dumps({"arguments": arguments}))
    return exp


def saved(exp: Path) -> Path:
    (exp / "checkpoints").mkdir(parents=True)
    (exp / "checkpoints" / "latest.pt").touch()
    return exp


def start(given: str | None, exp: Path, resume: str | None = None, *, overwrite: bool = False) -> Start:
    return choose_start(given, exp, resume=resume, overwrite=overwrite)


def test_a_new_run_starts_from_the_base_unless_told(tmp_path: Path) -> None:
    assert start(None, tmp_path) == Start("base", BASE_VOICE, asked=False)
    assert start("base", tmp_path) == Start("base", BASE_VOICE)
    assert start("none", tmp_path) == Start("none", None)
    assert start("voices/old", tmp_path, "auto") == Start("voices/old", Path("voices/old"))
    assert BASE_VOICE.parent.name == "voices" and (BASE_VOICE.parents[1] / "src").is_dir()


def test_a_run_goes_on_as_it_began(tmp_path: Path) -> None:
    exp = began(tmp_path, init="base")
    assert start(None, exp, "latest") == Start("base", BASE_VOICE)  # killed before its first checkpoint
    assert start(None, exp, "auto", overwrite=True).asked is False
    saved(exp)
    assert start(None, exp, "latest") == Start("base", None)
    assert start("none", exp, "latest") == Start("none", None)  # config.json then refuses it
    assert start(None, began(tmp_path), "auto") == Start("none", None)  # older than the flag


def test_another_experiments_checkpoint_is_a_start_of_its_own(tmp_path: Path) -> None:
    resume = str(saved(tmp_path / "other") / "checkpoints" / "latest.pt")
    assert start(None, tmp_path / "exp", resume) == Start("none", None)
    with pytest.raises(UserError, match="--init base: --resume .*leave one of the two out"):
        start("base", tmp_path / "exp", resume)


def test_only_the_default_gives_way(tmp_path: Path) -> None:
    def refuse(folder: Path) -> str:
        raise UserError(f"--init {folder}: expected a voice, found none")

    chosen, found, said = load_start(start(None, tmp_path), refuse)
    assert (chosen, found) == (Start("none", None), None)
    assert said.startswith("starts from noise") and "expected a voice" in said
    with pytest.raises(UserError, match="expected a voice"):
        load_start(start("base", tmp_path), refuse)
    assert load_start(start("base", tmp_path), lambda folder: folder.name)[1] == BASE_VOICE.name
    assert load_start(start("none", tmp_path), refuse) == (Start("none", None), None, "")


def test_sizes_that_say_the_default_are_the_default() -> None:
    def model(n_units: int, *, width: int = 8, dilations: tuple[int, ...] = (1, 2)) -> None: ...

    equal = {"found": {"n_units": 3, "dilations": [1, 2]}, "wanted": {"n_units": 9, "width": 8}}
    check_sizes(Path("old"), model, **equal, own=("n_units",))
    with pytest.raises(UserError, match="--init old: expected width 8, found width 9; give the same sizes"):
        check_sizes(Path("old"), model, found={"width": 9}, wanted={}, own=("n_units",))
