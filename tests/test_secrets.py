"""What names a person or a machine stays here: no token, user, home, host or path in what is given away."""

import fnmatch
import os
import platform
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostile_world import LANGUAGE, World, make_units, open_world, run

TOKENS = {
    "HF_TOKEN": "hf_MarkedToken1",
    "MODAL_TOKEN_SECRET": "as-MarkedToken2",
    "AWS_SECRET_ACCESS_KEY": "MarkedToken3",
}
USER, HOST, HOME = "marked_person", "marked-host", "marked_home"
SMALL = ("--channels", 32, "--batch_size", 2, "--crop_frames", 16, "--warmup", 1, "--adversarial_after", 1)
TRAIN = ("--language", "{language}", "--init", "none", "--steps", 2, "--eval_every", 2, "--cpu", *SMALL)
VOICE = "{exp}/guarani_vocoder_v4"
CHAIN = (
    ("validate_units", ("--language", "{language}", "--n_resamples", 0)),
    ("trainer_vocoder", TRAIN),
    ("vocoder_test", ("--exp", VOICE, "--num_workers", 1)),
    ("build_report", (VOICE,)),
    ("export_vocoder", ("--exp", VOICE, "--out", "{root}/given/voice")),
    ("export_annotations", ("--language", "{language}", "--format", "eaf", "--out", "{root}/given/tiers")),
    ("export_units", ("--language", "{language}", "--format", "textless", "--out", "{root}/given/units")),
    ("build_listening_test", (VOICE, "--out", "{root}/given/test.html", "--n_utterances", 1)),
    ("synthesize", ("--exp", "{root}/given/voice", "--out", "{root}/given/spoken", "--save_units", "{data}/segments")),
)
# An experiment's own records, which stay on this machine, say where its inputs lie: without them nothing could be
# resumed or scored. They name folders, but no person's account and no token.
RECORDS = (
    "exp/*/config.json",
    "exp/*/train.log",
    "exp/*/scores.json",
    "exp/*/unit_report.json",
    "exp/*/units/config.json",
)
# Formats that must say where the sound lies: ELAN's MEDIA_URL, and the first line of a fairseq manifest.
FORMATS = ("given/tiers/*.eaf", "given/units/*.tsv")
# TensorBoard puts the host into the names of its files.
HOST_NAMES = ("exp/*/tensorboard/events.out.tfevents.*",)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The tiny chain to the saved voice and all that is given away, on a machine whose every name is marked."""
    with pytest.MonkeyPatch.context() as patch:
        world = open_world(tmp_path_factory.mktemp(HOME))
        for name, value in TOKENS.items():
            patch.setenv(name, value)
        for name in ("USER", "LOGNAME", "USERNAME"):
            patch.setenv(name, USER)
        patch.setattr(socket, "gethostname", lambda: HOST)
        patch.setattr(platform, "node", lambda: HOST)
        make_units(world)
        (world.root / "given").mkdir()
        for script, flags in CHAIN:
            ended = run(script, flags, world)
            assert ended.code == 0, script
        yield world


def files_with(world: World, mark: str) -> list[str]:
    """The files whose name or content holds the mark, by their places below the root."""
    held = mark.encode()
    paths = (Path(parent, name) for parent, _, names in os.walk(world.root) for name in names)
    return sorted(
        path.relative_to(world.root).as_posix()
        for path in paths
        if mark in path.name or (path.is_file() and held in path.read_bytes())
    )


def but(found: list[str], allowed: tuple[str, ...]) -> list[str]:
    return [name for name in found if not any(fnmatch.fnmatch(name, pattern) for pattern in allowed)]


def test_no_token_and_no_user_is_written_anywhere(chain: World) -> None:
    assert {mark: files_with(chain, mark) for mark in (*TOKENS.values(), USER)} == dict.fromkeys(
        (*TOKENS.values(), USER), []
    )


def test_the_host_stands_in_the_names_of_tensorboards_files_alone(chain: World) -> None:
    found = files_with(chain, HOST)
    assert found and but(found, HOST_NAMES) == []


def test_paths_of_this_machine_stay_in_the_records_of_experiments(chain: World) -> None:
    found = files_with(chain, str(chain.root))
    assert found and but(found, (*RECORDS, *FORMATS)) == []


def test_what_is_given_away_was_made(chain: World) -> None:
    made = {path.suffix for path in (chain.root / "given").rglob("*") if path.is_file()}
    assert made >= {".safetensors", ".json", ".md", ".html", ".torchscript", ".eaf", ".wav"}, made
    assert (chain.exp / f"{LANGUAGE}_vocoder_v4" / "report.html").is_file()
