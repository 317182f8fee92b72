"""The one table of languages, and where the files of a language lie.

A new language is one copied block here and, where its audio needs fetching, one folder in ``recipes/``.
"""

import argparse
import os
from pathlib import Path

from core.errors import UserError

REPOSITORY = Path(__file__).resolve().parent.parent

LANGUAGE_CONFIGS = {
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
        "n_units": 200,
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
        "n_units": 200,
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
        "n_units": 200,
        "vocab_size": 500,
        "asr_language": "it",
    },
}


def language_config(language: str | None) -> dict:
    """The table's entry; an unknown or missing name lists the known ones."""
    known = ", ".join(sorted(LANGUAGE_CONFIGS))
    if not language:
        raise UserError(f"no language given: expected --language X (or TRAINING_LANGUAGE=X), X one of: {known}")
    if language not in LANGUAGE_CONFIGS:
        raise UserError(
            f"unknown language '{language}': expected one of: {known}; "
            "a new language is one entry of LANGUAGE_CONFIGS in src/languages.py"
        )
    return LANGUAGE_CONFIGS[language]


def data_root() -> Path:
    """Where inputs lie: DATA_ROOT, or ``data`` in the repository."""
    return Path(os.environ.get("DATA_ROOT") or REPOSITORY / "data").resolve()


def exp_root() -> Path:
    """Where outputs land: EXP_ROOT, or ``exp`` in the repository."""
    return Path(os.environ.get("EXP_ROOT") or REPOSITORY / "exp").resolve()


def language_paths(language: str | None, tag: str = "", generator: str = "v3") -> dict[str, Path]:
    """Every folder and file of one chain, by name.

    ``data``, ``raw``, ``segments``, ``manifest`` (segments.jsonl), ``splits``, ``transcripts``, ``speakers``,
    ``cache`` are inputs under DATA_ROOT; ``units``, ``corpus`` (corpus_timestamped.json), ``bpe``, ``vocoder`` and
    ``prosody`` are under EXP_ROOT and carry the tag.
    """
    config = language_config(language)
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
        "cache": data / "cache",
        "units": units,
        "corpus": units / "corpus_timestamped.json",
        "bpe": exp_root() / (config["bpe_dir"] + suffix),
        "vocoder": exp_root() / f"{config['vocoder_dir']}_{generator}{suffix}",
        "prosody": exp_root() / (config["prosody_dir"] + suffix),
    }


def command_for(script: str, language: str | None, tag: str = "") -> str:
    """How to call ``script`` of ``scripts/`` for one chain: what an error or a next step names."""
    return f"{f'TAG={tag} ' if tag else ''}bash scripts/{script} {language or '<language>'}"


def resolve_in(root: Path, relative: str) -> Path:
    """``root / relative``, refusing absolute paths and paths that leave ``root`` (symbolic links followed)."""
    path = (root / relative).resolve()
    if Path(relative).is_absolute() or not path.is_relative_to(root.resolve()):
        raise UserError(f"path '{relative}' leaves {root}: expected a relative path inside it; repair the manifest")
    return path


def add_language_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """``--language`` (or TRAINING_LANGUAGE) and ``--tag`` (or TAG), the same in every script of the chain."""
    group = parser.add_argument_group("language")
    group.add_argument(
        "--language",
        default=os.environ.get("TRAINING_LANGUAGE"),
        help="language to work on, one of: "
        + ", ".join(sorted(LANGUAGE_CONFIGS))
        + " (src/languages.py); TRAINING_LANGUAGE sets it too",
    )
    group.add_argument(
        "--tag",
        default=os.environ.get("TAG", ""),
        help="suffix of the experiment names of one chain, as in exp/spanish_units_w4; TAG sets it too",
    )
    return group
