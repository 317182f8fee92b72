"""A listening test as one page that needs no network: its sounds, its questions in several languages, its script."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from markupsafe import Markup

from audio.audio_io import load_audio
from audio.mp3 import audio_data_uri, encode_mp3
from core.errors import UserError
from core.files import read_json
from core.hashing import hash_script
from core.records import ListeningChoice, ListeningKey
from evaluation.listening_files import ANSWERS_FORMAT, FORMAT_VERSION
from report.listening_trials import KINDS
from report.page import TEMPLATES, open_templates

LEVEL_DBFS = -26.0  # of what is spoken: a louder clip is liked better
QUIET_DB = 35.0  # below the loudest 20 ms: pauses do not count
PEAK = 0.98
LEVEL_FRAME = 320  # samples
SPOKEN_BITS_PER_SECOND = 32_000
PICTURE_TYPES = {".jpg": "jpeg", ".svg": "svg+xml"}
MAX_PICTURE_BYTES = 500_000


def read_labels(language: str, page: str = "listening") -> dict[str, Any]:
    """What the page says, in one of the languages of <page>_labels.json or of a JSON file of the same keys."""
    known = read_json(TEMPLATES / f"{page}_labels.json")
    if language in known:
        return known[language]
    path = Path(language)
    if not path.is_file():
        raise UserError(f"--page_language {language}: expected {', '.join(known)} or a JSON file of labels, found none")
    return check_labels(path, read_json(path, None), known["en"])


def check_labels(path: Path, labels: object, english: Mapping[str, Any]) -> dict[str, Any]:
    """Labels of somebody's own, if they say all that the English ones say."""
    found = labels if isinstance(labels, dict) else {}
    for name, own in english.items():
        said = found.get(name)
        lines = said if isinstance(own, list) and isinstance(said, list) else [said]
        fits = type(said) is type(own) and all(isinstance(line, str) and line.strip() for line in lines)
        gaps = {gap for gap in ("{0}", "{1}", "{2}") if gap in str(own)}
        if name == "grades":
            fits = fits and len({*lines}) == len(own)
        if not fits or not all(gap in said for gap in gaps):
            example = json.dumps({name: own}, ensure_ascii=False)
            raise UserError(f"{path}: expected the label {name}, found {said!r}; as in English: {example}")
    if found["direction"] not in ("ltr", "rtl"):
        raise UserError(f"{path}: expected ltr or rtl as the direction, found {found['direction']}")
    return found


def build_listening_page(
    key: ListeningKey,
    audio_of: Callable[[str, str], np.ndarray],
    labels: Mapping[str, Any],
    *,
    instructions: Sequence[str] = (),
    spoken_instructions: Path | None = None,
    email: str = "",
    n_repeats: int = 3,
) -> str:
    """The page as one string of HTML; it holds no name of a system and no right answer.

    audio_of: (system, utterance) -> waveform (S,) at 16 kHz. instructions: paragraphs instead of the labels' own.
    n_repeats: trials of each kind that are asked again at its end, to see whether a listener listens.
    """
    clips = {
        name: audio_data_uri(level_clip(audio_of(clip["system"], clip["utterance"])))
        for name, clip in key["clips"].items()
    }
    if spoken_instructions:
        clips["instructions"] = _spoken(spoken_instructions)
    trials, told = [], {}
    for trial in key["trials"]:
        shown = {name: trial[name] for name in ("id", "kind", "clips")}
        # A group's name may tell the systems: its number does not.
        shown["group"] = told.setdefault((trial["kind"], trial["group"]), len(told))
        if "choices" in trial:
            shown["choices"] = [_embed_choice(choice, trial["id"], clips) for choice in trial["choices"]]
        trials.append(shown)
    content = {
        "test": key["test"],
        "title": key["title"],
        "labels": dict(labels),
        "instructions": list(instructions) or labels["instructions"],
        "email": email,
        "repeats": n_repeats,
        "kinds": [kind for kind in KINDS if any(trial["kind"] == kind for trial in trials)],
        "trials": trials,
        "clips": clips,
        "answers_format": ANSWERS_FORMAT,
        "format_version": FORMAT_VERSION,
    }
    script = (TEMPLATES / "listening.js").read_text(encoding="utf-8")
    # "</script" would end the element; JSON reads the escape as the same.
    text = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")
    template = open_templates().get_template("listening.html")
    return template.render(
        title=key["title"],
        labels=labels,
        content=Markup(text),
        script=Markup(script),
        script_hash=hash_script(script),
    )


def level_clip(waveform: np.ndarray) -> np.ndarray:
    """(S,) at the level LEVEL_DBFS over what is not a pause, or as near as its peak allows."""
    n_frames = len(waveform) // LEVEL_FRAME
    if not n_frames or not np.abs(waveform).max() > 0:
        return waveform
    power = np.square(waveform[: n_frames * LEVEL_FRAME], dtype=np.float64).reshape(n_frames, -1).mean(1)
    heard = power[power >= power.max() * 10 ** (-QUIET_DB / 10)].mean()
    gain = 10 ** (LEVEL_DBFS / 20) / np.sqrt(heard)
    return waveform * min(gain, PEAK / np.abs(waveform).max())


def _embed_choice(choice: ListeningChoice, trial: str, clips: dict[str, str]) -> ListeningChoice:
    if "picture" in choice:
        return choice | {"picture": _picture_uri(Path(choice["picture"]))}
    if "clip" in choice:
        name = f"{trial}-{choice['id']}"
        clips[name] = _spoken(Path(choice["clip"]))
        return choice | {"clip": name}
    return choice


def _spoken(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: expected a recording, found no such file")
    waveform = level_clip(load_audio(path))
    encoded = encode_mp3(waveform, bits_per_second=SPOKEN_BITS_PER_SECOND)
    return "data:audio/mpeg;base64," + base64.b64encode(encoded).decode("ascii")


def _picture_uri(path: Path) -> str:
    content, suffix = path.read_bytes(), path.suffix.lower()
    if len(content) > MAX_PICTURE_BYTES:
        raise UserError(
            f"{path}: expected a picture of at most {MAX_PICTURE_BYTES // 1000} kB, found {len(content) // 1000}; "
            "make it smaller, for the page goes to telephones"
        )
    kind = PICTURE_TYPES.get(suffix, suffix[1:])
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")
