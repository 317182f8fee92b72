"""The table of languages, languages without an entry, and names that cannot be folders."""

import ast
from pathlib import Path

import pytest

from core.errors import UserError
from core.safe_names import LONGEST_NAME, is_folder_name, suggest_folder_name
from languages import (
    DEFAULTS_SAID,
    LANGUAGE_CONFIGS,
    _say_defaults,
    command_for_folder,
    default_config,
    find_config,
    language_config,
    language_paths,
    languages_with_data,
)
from synthetic import REPOSITORY, run_script, write_segments

READERS = [
    path
    for folder in ("src", "scripts", "recipes")
    for path in (REPOSITORY / folder).rglob("*.py")
    if path != REPOSITORY / "src" / "languages.py"
]


@pytest.fixture
def guarani(language_roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """DATA_ROOT with segments of a language that the table does not know; nothing has been said about it yet."""
    monkeypatch.setenv(DEFAULTS_SAID, "")
    _say_defaults.cache_clear()
    write_segments(language_roots["data"], "guarani", n_train=1, n_val=0, n_test=0)
    return language_roots["data"]


def test_every_entry_has_the_keys_of_the_defaults() -> None:
    for language, config in LANGUAGE_CONFIGS.items():
        assert config.keys() == default_config(language).keys()
        assert is_folder_name(language)


def test_a_language_with_data_needs_no_entry_and_says_so_once(guarani: Path, capsys) -> None:
    (guarani / "guarani" / "segments.jsonl").rename(guarani / "guarani" / "raw")
    config = language_config("guarani")
    assert config == default_config("guarani") == find_config("guarani")
    assert (config["encoder"], config["asr_language"], config["name"]) == ("mfcc", None, "guarani")
    assert language_paths("guarani", "w4")["vocoder"].name == "guarani_vocoder_v4_w4"
    (line,) = capsys.readouterr().err.splitlines()
    assert "guarani has no entry" in line and line.endswith("show_language.py --language guarani --block")


def test_once_a_language_is_prepared_its_defaults_are_no_news(guarani: Path, capsys) -> None:
    assert language_config("guarani") == default_config("guarani") and capsys.readouterr().err == ""


def test_what_a_shell_script_said_is_not_said_again(guarani: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv(DEFAULTS_SAID, "guarani")
    language_config("guarani")
    assert capsys.readouterr().err == ""


def test_a_listed_language_needs_no_data_and_says_nothing(language_roots: dict[str, Path], capsys) -> None:
    assert language_config("satere") is LANGUAGE_CONFIGS["satere"]
    assert capsys.readouterr().err == ""


def test_a_typing_error_lists_what_there_is_and_names_the_nearest(guarani: Path) -> None:
    (guarani / "common_voice").mkdir()  # a data set, and no language
    assert languages_with_data() == ["guarani"]
    with pytest.raises(UserError, match=r"'spanihs' \(did you mean spanish\?\)") as error:
        language_config("spanihs")
    assert all(
        name in str(error.value) for name in (*LANGUAGE_CONFIGS, "guarani", "bash scripts/run_all.sh spanihs FOLDER")
    )
    with pytest.raises(UserError, match=r"did you mean guarani\?"):
        language_config("guaranni")
    with pytest.raises(UserError, match="'common_voice'"):
        language_config("common_voice")
    with pytest.raises(UserError, match="no language given"):
        language_config("")


def test_a_new_language_near_a_known_one_is_questioned_and_made(guarani: Path, capsys) -> None:
    assert language_paths("spanihs", may_be_new=True)["raw"] == guarani.resolve() / "spanihs" / "raw"
    assert "did you mean spanish?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        ("Sateré-Mawé", "write satere"),
        ("pt-BR", "write pt-br"),
        ("São Tomé", "write sao-tome"),
        ("ka'apor", "write kaapor"),
        ("../guarani", "write guarani"),
        ("-x", "write x"),
        ("3x", "write x"),
        ("a" * 60, "write " + "a" * LONGEST_NAME),
        ("日本語", "ISO 639-3"),
    ],
)
def test_a_name_that_is_no_folder_is_refused_with_one_that_is(typed: str, advice: str) -> None:
    for may_be_new in (False, True):
        with pytest.raises(UserError) as error:
            language_config(typed, may_be_new=may_be_new)
        assert str(error.value).endswith(advice) or "ISO" in advice and advice in str(error.value)


@pytest.mark.parametrize("text", ["Sateré-Mawé", "São Tomé e Príncipe, the whole archipelago of it", "Ñ", "b/../c"])
def test_a_suggested_name_is_a_folder_name(text: str) -> None:
    assert is_folder_name(suggest_folder_name(text))


def test_the_block_is_the_entry(guarani: Path) -> None:
    for language in ("guarani", "satere"):
        block = run_script("scripts/show_language.py", "--language", language, "--block").stdout
        assert ast.literal_eval("{" + block + "}") == {language: find_config(language)}
        lines = (REPOSITORY / "src" / "languages.py").read_text(encoding="utf-8")
        assert (block in lines) == (language == "satere"), "as a person would write it there"


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.name)
def test_only_the_models_to_fetch_are_read_from_the_table_itself(path: Path) -> None:
    """Whoever reads the table directly does not know the languages without an entry."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {node.name for node in ast.walk(tree) if isinstance(node, ast.alias)}
    assert "LANGUAGE_CONFIGS" not in imported or path.name == "fetch_models.py"


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        ("exp/guarani_vocoder_v4", "bash scripts/run_phase3.sh guarani"),
        ("/x/mbya_guarani_vocoder_v4_w4", "TAG=w4 bash scripts/run_phase3.sh mbya_guarani"),
        ("exp/guarani_units_a_b", "TAG=a_b bash scripts/run_phase3.sh guarani"),
        ("somewhere", "bash scripts/run_phase3.sh <language>"),
    ],
)
def test_the_command_for_an_experiment_names_its_language_and_tag(folder: str, command: str) -> None:
    assert command_for_folder("run_phase3.sh", Path(folder)) == command


def test_a_script_in_python_takes_language_and_tag_as_flags() -> None:
    command = command_for_folder("src/trainer_prosody.py", Path("exp/spanish_prosody_r2"))
    assert command == "python src/trainer_prosody.py --language spanish --tag r2"


def test_an_unknown_language_is_told_that_there_is_no_data_under_that_name(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    with pytest.raises(UserError, match=r"no data under that name.*run_all\.sh guarani.*or take one of: english"):
        language_paths("guarani")
