"""Whoever comes second to a folder is told who is at work there, and touches nothing."""

import os
import re
from pathlib import Path

import pytest

from hostile_world import World, hash_tree, make_recordings, make_voice, open_world, run

from core import locks
from core.locks import only_run

REPOSITORY = Path(__file__).resolve().parents[1]
LANGUAGE = ("--language", "{language}")
VOICE = ("--exp", "{voice}")
WORD = ("--query", "{raw}/good.wav", "--out", "{root}/out")
# (script, its words, the folder it writes to)
WRITERS = [
    ("segment_audio", LANGUAGE, "{data}"),
    ("group_speakers", LANGUAGE, "{data}"),
    ("import_phones", (*LANGUAGE, "--phone_tier", "tx"), "{data}"),
    ("extract_units", (*LANGUAGE, "--encoder", "mfcc", "--overwrite", "--cpu"), "{units}"),
    ("extract_units", (*LANGUAGE, "--encoder", "mfcc", "--cpu", "--stage", "merge"), "{units}"),
    ("train_bpe", (*LANGUAGE, "--overwrite"), "{bpe}"),
    ("trainer_vocoder", (*LANGUAGE, "--generator", "v3", "--overwrite", "--cpu"), "{voice}"),
    ("trainer_prosody", (*LANGUAGE, "--cpu"), "{exp}/guarani_prosody"),
    ("trainer_unit_lm", (*LANGUAGE, "--cpu"), "{exp}/guarani_unit_lm"),
    ("pack_audio", LANGUAGE, "{data}"),
    ("trainer_base", ("--exp", "{root}/out", "--data", "{data}", "--do_train", "--cpu"), "{root}/out"),
    ("cross_validate", ("--exp", "{root}/out", "--", "--data", "{data}"), "{root}/out"),
    ("sweep_units", LANGUAGE, "{exp}/guarani_sweep"),
    ("vocoder_test", VOICE, "{voice}/test"),
    ("synthesize", (*VOICE, "{raw}"), "{voice}/synthesis"),
    ("export_vocoder", (*VOICE, "--out", "{root}/out"), "{root}/out"),
    ("export_units", (*LANGUAGE, "--format", "textless", "--out", "{root}/out"), "{root}/out"),
    ("export_annotations", (*LANGUAGE, "--format", "eaf", "--out", "{root}/out"), "{root}/out"),
    ("index_speech", (*LANGUAGE, "--encoder", "mfcc"), "{index}"),
    ("search", (*LANGUAGE, *WORD), "{root}/out"),
    ("find_phrases", (*LANGUAGE, "--out", "{root}/out"), "{root}/out"),
    (
        "continue_speech",
        ("{raw}/good.wav", "--prosody", "{voice}", "--exp", "{exp}/lm", "--voice", "{voice}", "--out", "{root}/out"),
        "{root}/out",
    ),
    ("trainer_translation", ("--source", "tupi", "--target", "{language}", "--cpu"), "{exp}/tupi_guarani_translation"),
    (
        "translate_speech",
        ("{raw}/good.wav", "--exp", "{exp}/lm", "--voice", "{voice}", "--out", "{root}/out"),
        "{root}/out",
    ),
    ("translation_test", ("--exp", "{exp}/lm"), "{exp}/lm/translated"),
    ("transcribe", ("{raw}", "--model", "{root}/model", "--out", "{root}/out"), "{root}/out"),
]
# Scripts that take no lock, and why none is needed.
ONE_FILE = "writes one file, whole or not at all; the last run's stays"
UNLOCKED = {
    **dict.fromkeys(
        ("validate_units", "prosody_test", "unit_lm_test", "build_report", "calculate_wer", "score_listening"), ONE_FILE
    ),
    **dict.fromkeys(("inspect_recordings", "speak_exported"), ONE_FILE),
    "build_pairs": ONE_FILE,
    "build_listening_test": "writes a page and its key, and refuses a place where they are",
    "fill_f0_cache": "fills a cache, each file whole, and the same whoever writes it",
    "prepare_dataset": "writes a folder beside its place and renames it",
    **dict.fromkeys(("estimate_needs", "show_language", "check_environment", "check_pythonpath", "languages"), "reads"),
    **dict.fromkeys(("launch", "modal_run", "upload_to_modal", "remove_from_modal", "download_results"), "jobs"),
    "fetch_models": "huggingface_hub has locks of its own",
    "debian_packages": "imported by recipes",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = open_world(tmp_path_factory.mktemp("shared"))
    make_voice(made)
    make_recordings(made)
    return made


@pytest.mark.parametrize(("script", "flags", "folder"), WRITERS, ids=lambda value: str(value)[:30])
def test_the_second_run_is_refused_and_touches_nothing(
    script: str,
    flags: tuple,
    folder: str,
    *,
    world: World,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.05)
    held = Path(folder.format(**world._asdict(), exp=world.exp))
    before = hash_tree(world.root)
    with only_run(held, part="merge.0" if "--stage" in flags else ""):
        ended = run(script, flags, world, lambda: "".join(capsys.readouterr()))
    last = ended.said.rstrip().splitlines()[-1]
    assert ended.code == 2 and last.startswith(f"error: {held}: another run is at work here: process {os.getpid()} of ")
    assert re.search(r" on .*, for \d+ s, last sign of life \d+ s ago; wait for it to end, .* rm .*\.running", last)
    assert hash_tree(world.root) == before


def test_every_script_that_writes_holds_what_it_writes_to() -> None:
    places = [*(REPOSITORY / "src").glob("*.py"), *(REPOSITORY / "scripts").glob("*.py")]
    scripts = {path.stem: path.read_text() for path in [*places, *(REPOSITORY / "recipes").glob("*/*.py")]}
    unlocked = {name for name, text in scripts.items() if "only_run(" not in text}
    # Its index is held where it is made.
    assert unlocked - UNLOCKED.keys() == {"index_speech"} and "link_recordings" not in unlocked
