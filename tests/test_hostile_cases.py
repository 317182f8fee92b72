"""Every hostile case: one clear line or a counted skip, a true exit code, and nothing good damaged."""

import fnmatch
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

import hostile_answers
import hostile_disks
import hostile_models
import hostile_sounds
import hostile_tables
import hostile_units
from hostile_world import WORLDS, Case, World, hash_tree, open_world, run

CASES = [
    case
    for module in (hostile_sounds, hostile_tables, hostile_units, hostile_models, hostile_answers, hostile_disks)
    for case in module.CASES
]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, World]:
    """Each kind of world, made once; the cases get copies."""
    made = {}
    for kind, make in WORLDS.items():
        made[kind] = open_world(tmp_path_factory.mktemp(kind))
        make(made[kind])
    return made


def move_paths(world: World, template: World) -> None:
    """Configurations name folders: those of the copy, not of the template."""
    for path in [*world.exp.rglob("config.json")] if world.exp.is_dir() else []:
        path.write_text(path.read_text().replace(str(template.root), str(world.root)))


@pytest.fixture
def world(request: pytest.FixtureRequest, worlds: dict[str, World], tmp_path: Path) -> World:
    template = worlds[request.node.callspec.params["case"].kind]
    shutil.copytree(template.root, tmp_path / "world", symlinks=True)
    copy = open_world(tmp_path / "world")
    move_paths(copy, template)
    return copy


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "_", f"{case.script}_{case.name}"))
def test_a_hostile_thing_is_named_and_harms_nothing(
    case: Case, world: World, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.spoil(world)
    if case.patch:
        case.patch(world, monkeypatch)
    before = hash_tree(world.root)
    capsys.readouterr()
    ended = run(case.script, case.flags, world, lambda: "".join(capsys.readouterr()))
    assert ended.code == case.code, ended.said
    assert "Traceback" not in ended.said
    for words in case.says:
        assert re.search(words, ended.said, re.DOTALL), ended.said
    if case.code == 2:
        assert ended.said.rstrip().splitlines()[-1].startswith("error: "), ended.said
    after = hash_tree(world.root)
    changed = [name for name, digest in before.items() if after.get(name) != digest]
    damaged = [name for name in changed if not any(fnmatch.fnmatch(name, f"*{kind}") for kind in case.may_change)]
    assert not damaged, ended.said
    assert not [name for name in after if os.path.basename(name).endswith(".tmp")]
    if case.check:
        case.check(world, ended)


def test_there_are_cases_enough_and_each_has_a_name_of_its_own() -> None:
    assert len(CASES) >= 200 and len({case.script for case in CASES}) >= 15
    assert [name for name, count in Counter((case.script, case.name) for case in CASES).items() if count > 1] == []
