"""The one table of languages, and where the files of a language lie.

A language needs no entry: with recordings under DATA_ROOT it works by the defaults. An entry settles what differs:
``python scripts/show_language.py --language X --block`` prints one to copy. Where audio needs fetching, a folder in
``recipes/`` does it.
"""

import argparse
import difflib
import functools
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from core.commands import as_typed
from core.errors import UserError
from core.records import LanguageConfig
from core.safe_names import LONGEST_NAME, is_folder_name, suggest_folder_name

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_GENERATOR = "v4"  # of a voice, which its folder is named after
DEFAULTS_SAID = "ORAL_UNITS_DEFAULTS_SAID"  # the language whose defaults a shell script has announced already

LANGUAGE_CONFIGS: dict[str, LanguageConfig] = {
    "satere": {
        "name": "Sateré-Mawé",
        "segmented_dir": "satere/segments",
        "output_dir": "satere_units",
        "bpe_dir": "satere_bpe",
        "vocoder_dir": "satere_vocoder",
        "prosody_dir": "satere_prosody",
        "encoder": "facebook/wav2vec2-xls-r-300m",
        "layer": 14,
        "n_units": 100,
        "vocab_size": 500,
        "asr_language": None,
    },
    "portuguese": {
        "name": "Portuguese",
        "segmented_dir": "portuguese/segments",
        "output_dir": "portuguese_units",
        "bpe_dir": "portuguese_bpe",
        "vocoder_dir": "portuguese_vocoder",
        "prosody_dir": "portuguese_prosody",
        "encoder": "facebook/wav2vec2-xls-r-300m",
        "layer": 14,
        "n_units": 100,
        "vocab_size": 500,
        "asr_language": "pt",
    },
    "spanish": {
        "name": "Spanish (recorded prompts)",
        "segmented_dir": "spanish/segments",
        "output_dir": "spanish_units",
        "bpe_dir": "spanish_bpe",
        "vocoder_dir": "spanish_vocoder",
        "prosody_dir": "spanish_prosody",
        "encoder": "mfcc",
        "layer": None,
        "n_units": 1000,
        "vocab_size": 500,
        "asr_language": "es",
    },
    "english": {
        "name": "English (recorded prompts)",
        "segmented_dir": "english/segments",
        "output_dir": "english_units",
        "bpe_dir": "english_bpe",
        "vocoder_dir": "english_vocoder",
        "prosody_dir": "english_prosody",
        "encoder": "mfcc",
        "layer": None,
        "n_units": 1000,
        "vocab_size": 500,
        "asr_language": "en",
    },
    "italian": {
        "name": "Italian (recorded prompts)",
        "segmented_dir": "italian/segments",
        "output_dir": "italian_units",
        "bpe_dir": "italian_bpe",
        "vocoder_dir": "italian_vocoder",
        "prosody_dir": "italian_prosody",
        "encoder": "mfcc",
        "layer": None,
        "n_units": 1000,
        "vocab_size": 500,
        "asr_language": "it",
    },
    "russian": {
        "name": "Russian (read sentences with phones)",
        "segmented_dir": "russian/segments",
        "output_dir": "russian_units",
        "bpe_dir": "russian_bpe",
        "vocoder_dir": "russian_vocoder",
        "prosody_dir": "russian_prosody",
        "encoder": "mfcc",
        "layer": None,
        "n_units": 1000,
        "vocab_size": 500,
        "asr_language": "ru",
    },
    "russian_prompts": {
        "name": "Russian (recorded prompts)",
        "segmented_dir": "russian_prompts/segments",
        "output_dir": "russian_prompts_units",
        "bpe_dir": "russian_prompts_bpe",
        "vocoder_dir": "russian_prompts_vocoder",
        "prosody_dir": "russian_prompts_prosody",
        "encoder": "mfcc",
        "layer": None,
        "n_units": 1000,
        "vocab_size": 500,
        "asr_language": "ru",
    },
}


def default_config(language: str) -> LanguageConfig:
    """What a language without an entry gets: units of MFCC, which need no model, as in the recipes' entries."""
    return {
        "name": language,
        "segmented_dir": f"{language}/segments",
        "output_dir": f"{language}_units",
        "bpe_dir": f"{language}_bpe",
        "vocoder_dir": f"{language}_vocoder",
        "prosody_dir": f"{language}_prosody",
        "encoder": "mfcc",
        "layer": None,
        "n_units": 1000,
        "vocab_size": 500,
        "asr_language": None,
    }


def find_config(language: str) -> LanguageConfig:
    """The table's entry, or the defaults, whether there is data or not."""
    return LANGUAGE_CONFIGS.get(language) or default_config(language)


def language_config(language: str | None, *, may_be_new: bool = False) -> LanguageConfig:
    """The table's entry; for a language that has data and no entry, the defaults, which one line on stderr says once.

    may_be_new: the caller is about to bring the data. Raises UserError for no name, for one that cannot name a folder,
    and for one without entry and data, which is probably a typing error: the message lists the names that work.
    """
    if not language:
        known = ", ".join(sorted({*LANGUAGE_CONFIGS, *languages_with_data()}))
        raise UserError(
            "no language given: expected --language X (or TRAINING_LANGUAGE=X), X the name of a folder with recordings "
            f"in {data_root()}, or one of: {known}"
        )
    if language in LANGUAGE_CONFIGS:
        return LANGUAGE_CONFIGS[language]
    _require_folder_name(language)
    if not may_be_new and not has_data(language) and not has_units(language):
        _refuse_unknown(language)
    _say_defaults(language)
    return default_config(language)


def _require_folder_name(language: str) -> None:
    if is_folder_name(language):
        return
    listed = [name for name, config in LANGUAGE_CONFIGS.items() if config["name"].casefold() == language.casefold()]
    name = listed[0] if listed else suggest_folder_name(language)
    raise UserError(
        f"language '{language}': folders are named after it, so expected up to {LONGEST_NAME} of a-z, 0-9, - and _, a "
        f"letter first; write {name or 'its ISO 639-3 code, for example'}"
    )


def has_data(language: str) -> bool:
    """Whether DATA_ROOT holds recordings or segments of ``language``."""
    folder = data_root() / language
    return any(os.path.lexists(folder / name) for name in ("raw", "segments.jsonl"))


def has_units(language: str) -> bool:
    """Whether EXP_ROOT holds units of ``language``, which may have come from elsewhere without its recordings."""
    return any(exp_root().glob(f"{language}_units*/corpus_timestamped.json"))


def languages_with_entry() -> list[str]:
    """Names in the table; languages without an entry, which keep the defaults, are not among them."""
    return sorted(LANGUAGE_CONFIGS)


def languages_with_data() -> list[str]:
    """The names under DATA_ROOT that hold recordings or segments, with or without an entry."""
    names = sorted(os.listdir(data_root())) if data_root().is_dir() else []
    return [name for name in names if (name in LANGUAGE_CONFIGS or is_folder_name(name)) and has_data(name)]


def _refuse_unknown(language: str) -> NoReturn:
    others = [name for name in languages_with_data() if name not in LANGUAGE_CONFIGS]
    raise UserError(
        f"unknown language '{language}'{_did_you_mean(language, others)}: no data under that name in {data_root()}; "
        f"bring it with: bash scripts/run_all.sh {language} FOLDER_OF_RECORDINGS, or take one of: "
        f"{', '.join([*sorted(LANGUAGE_CONFIGS), *others])}"
    )


def _did_you_mean(language: str, others: Sequence[str] = ()) -> str:
    similar = difflib.get_close_matches(language, [*LANGUAGE_CONFIGS, *others], n=1)
    return f" (did you mean {similar[0]}?)" if similar else ""


@functools.cache
def _say_defaults(language: str) -> None:
    is_prepared = (data_root() / language / "segments.jsonl").exists() or has_units(language)
    if os.environ.get(DEFAULTS_SAID) != language and not is_prepared:
        print(
            f"{language} has no entry in LANGUAGE_CONFIGS{_did_you_mean(language)}, which is fine: the defaults hold "
            "(mfcc units); to change them, copy what this prints: "
            f"python scripts/show_language.py --language {language} --block",
            file=sys.stderr,
        )


def data_root() -> Path:
    """Where inputs lie: DATA_ROOT, or ``data`` in the repository."""
    return Path(os.environ.get("DATA_ROOT") or REPOSITORY / "data").resolve()


def exp_root() -> Path:
    """Where outputs land: EXP_ROOT, or ``exp`` in the repository."""
    return Path(os.environ.get("EXP_ROOT") or REPOSITORY / "exp").resolve()


def language_paths(
    language: str | None, tag: str = "", generator: str = DEFAULT_GENERATOR, *, may_be_new: bool = False
) -> dict[str, Path]:
    """Every folder and file of one chain, by name.

    ``data``, ``raw``, ``segments``, ``manifest`` (segments.jsonl), ``splits``, ``transcripts``, ``speakers``,
    ``phones``, ``cache`` are inputs under DATA_ROOT; ``units``, ``corpus`` (corpus_timestamped.json), ``bpe``,
    ``vocoder``, ``prosody`` and ``unit_lm`` are under EXP_ROOT and carry the tag.
    """
    config = language_config(language, may_be_new=may_be_new)
    suffix = f"_{tag}" if tag else ""
    segments = data_root() / config["segmented_dir"]
    data = segments.parent
    units = exp_root() / (config["output_dir"] + suffix)
    return {
        "data": data,
        "raw": data / "raw",
        "segments": segments,
        "manifest": data / "segments.jsonl",
        "splits": data / "splits.json",
        "transcripts": data / "transcripts.tsv",
        "speakers": data / "speakers.tsv",
        "phones": data / "phones.tsv",
        "cache": data / "cache",
        "units": units,
        "corpus": units / "corpus_timestamped.json",
        "bpe": exp_root() / (config["bpe_dir"] + suffix),
        "vocoder": exp_root() / f"{config['vocoder_dir']}_{generator}{suffix}",
        "prosody": exp_root() / (config["prosody_dir"] + suffix),
        "unit_lm": exp_root() / f"{language}_unit_lm{suffix}",
    }


def command_for(script: str, language: str | None, tag: str = "") -> str:
    """How to call ``script`` of ``scripts/`` for one chain: what an error or a next step names."""
    return f"{f'TAG={as_typed(tag)} ' if tag else ''}bash scripts/{script} {language or '<language>'}"


def command_for_folder(script: str, folder: Path) -> str:
    """How to call ``script`` (of ``scripts/``, or a path) for the chain whose experiment ``folder`` is, by its name.

    ``exp/guarani_vocoder_v4_w4`` belongs to guarani and the tag w4; where a name says nothing, <language> stands there.
    """
    found = re.fullmatch(r"([a-z][a-z0-9_-]*?)_(?:units|bpe|prosody|unit_lm|vocoder_v\d+)(?:_(.+))?", Path(folder).name)
    language, tag = found.groups() if found else (None, None)
    if script.endswith(".sh"):
        return command_for(script, language, tag or "")
    return f"python {script} --language {language or '<language>'}{f' --tag {as_typed(tag)}' if tag else ''}"


def resolve_in(root: Path, relative: str) -> Path:
    """``root / relative``, refusing absolute paths and paths that leave ``root`` (symbolic links followed)."""
    path = (root / relative).resolve()
    if Path(relative).is_absolute() or not path.is_relative_to(root.resolve()):
        raise UserError(f"path '{relative}' leaves {root}: expected a relative path inside it; repair the manifest")
    return path


def open_resolver(root: Path) -> Callable[[str], str]:
    """``resolve_in`` for many paths below one ``root``: each folder's links are followed once, not once a file."""
    folders: dict[str, str] = {}

    def resolve(relative: str) -> str:
        folder, _, name = relative.rpartition("/")
        if folder not in folders:
            folders[folder] = str(resolve_in(root, folder))
        path = f"{folders[folder]}/{name}"
        plain = name not in ("", ".", "..") and not relative.startswith("/") and not os.path.islink(path)
        return path if plain else str(resolve_in(root, relative))

    return resolve


def language_help(what: str) -> str:
    """The help of a ``--language`` flag; ``what`` it means there."""
    known = ", ".join(sorted(LANGUAGE_CONFIGS))
    return f"{what}: a folder with recordings under DATA_ROOT, or one of: {known}; TRAINING_LANGUAGE sets it too"


def add_language_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """``--language`` (or TRAINING_LANGUAGE) and ``--tag`` (or TAG), the same in every script of the chain."""
    group = parser.add_argument_group("language")
    group.add_argument(
        "--language",
        default=os.environ.get("TRAINING_LANGUAGE"),
        help=language_help("language to work on"),
    )
    group.add_argument(
        "--tag",
        default=os.environ.get("TAG", ""),
        help="suffix of the experiment names of one chain, as in exp/spanish_units_w4; TAG sets it too",
    )
    return group
