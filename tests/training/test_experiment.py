import argparse
from pathlib import Path

import pytest

from core.cli import add_experiment_flags, parse_flags
from core.errors import UserError
from core.files import read_json
from training.experiment import open_experiment


def flags_of(version: int, *words: str) -> argparse.Namespace:
    """The flags of a script whose second version has one more."""
    parser = argparse.ArgumentParser()
    add_experiment_flags(parser)
    parser.add_argument("--steps", type=int, default=100)
    if version == 2:
        parser.add_argument("--noise", type=float, default=0.0)
        parser.add_argument("--cache", type=Path, default=Path("cache"))
    return parse_flags(parser, list(words))


def test_a_flag_newer_than_an_experiment_is_taken_to_have_had_its_default(tmp_path: Path) -> None:
    exp = tmp_path / "run"
    assert open_experiment(exp, flags_of(1), inputs=[]) == "new"
    assert "flag_defaults" not in read_json(exp / "config.json")["arguments"]
    assert open_experiment(exp, flags_of(2, "--resume"), inputs=[]) == "resumed"
    assert open_experiment(exp, flags_of(2, "--resume", "--noise", "0"), inputs=[]) == "resumed"
    with pytest.raises(UserError, match=r"another configuration \(noise: 0.0 -> 0.1\)"):
        open_experiment(exp, flags_of(2, "--resume", "--noise", "0.1"), inputs=[])
    with pytest.raises(UserError, match=r"steps: 100 -> 200"):
        open_experiment(exp, flags_of(2, "--resume", "--steps", "200"), inputs=[])
