"""What a folder holds: recordings, files without sound, and what nobody can read. Nothing is passed over in silence.

What a file is, its content says. Endings that leave no doubt need no look inside: a folder may hold ten thousand files.
"""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from audio.audio_io import probe_audio
from core.composed_names import composed
from core.wording import printable

# fmt: off
AUDIO = frozenset((
    ".mp3", ".wav", ".flac", ".ogg", ".m4a", ".opus", ".oga", ".aac", ".wma", ".aif", ".aiff", ".aifc", ".amr", ".awb",
    ".caf", ".w64", ".rf64", ".bwf", ".au", ".m4b", ".mka", ".mp2", ".ac3", ".spx", ".wv", ".ape", ".dss", ".ds2",
))
VIDEO = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm", ".3gp", ".3g2", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv", ".ogv",
    ".flv", ".vob",
))
OTHER = frozenset((  # tables, notes, annotations, pictures, archives, playlists
    ".tsv", ".csv", ".txt", ".xls", ".xlsx", ".xlsm", ".ods", ".json", ".jsonl", ".xml", ".md", ".log", ".ini", ".yaml",
    ".yml", ".html", ".htm", ".eaf", ".etf", ".pfsx", ".textgrid", ".srt", ".vtt", ".lrc", ".meta", ".session",
    ".person", ".cha", ".trs", ".flextext", ".doc", ".docx", ".odt", ".rtf", ".pdf", ".tex", ".ppt", ".pptx", ".jpg",
    ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".svg", ".webp", ".heic", ".zip", ".rar", ".7z", ".gz", ".tar",
    ".py", ".sh", ".db", ".lnk", ".url", ".m3u", ".m3u8", ".pls", ".cue", ".sdp", ".mpd", ".ffconcat", ".npy", ".pt",
    ".part", ".crdownload", ".tmp", ".lock", ".pek", ".reapeaks", ".asd",
))
# fmt: on


class Survey(NamedTuple):
    """Every file of a folder."""

    recordings: dict[str, Path]  # relative name in Unicode's composed form -> file, sorted
    ignored: Counter[str]  # files without sound, by kind
    unreadable: dict[str, str]  # relative name -> why nobody can read it


def survey_folder(folder: Path) -> Survey:
    """Look at every file below ``folder``; nested folders and links are followed once, hidden folders are not.

    Names are POSIX paths in Unicode's composed form, so that splits agree between file systems.
    """
    survey = Survey({}, Counter(), {})
    for path in walk_files(folder, survey.unreadable):
        name = path.relative_to(folder).as_posix()
        if path.name.startswith("."):
            survey.ignored["hidden"] += 1
        elif is_special(path):
            survey.ignored["pipe or device"] += 1
        elif reason := find_obstacle(path, name):
            survey.unreadable[printable(name)] = reason
        elif is_recording(path):
            add_recording(survey, name, path)
        else:
            survey.ignored[path.suffix.lower() or "without ending"] += 1
    leave_out_videos(survey)
    return survey._replace(
        recordings=dict(sorted(survey.recordings.items())), unreadable=dict(sorted(survey.unreadable.items()))
    )


def walk_files(folder: Path, unreadable: dict[str, str]) -> Iterator[Path]:
    """Every file below ``folder`` in a fixed order; folders that cannot be opened go into ``unreadable``."""

    def note(error: OSError) -> None:
        unreadable[printable(os.path.relpath(error.filename, folder))] = f"cannot be opened ({error.strerror})"

    seen = set()
    for parent, subfolders, files in os.walk(folder, followlinks=True, onerror=note):
        real = os.path.realpath(parent)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(parent) / name for name in sorted(files))


def is_special(path: Path) -> bool:
    """Whether a name is a pipe, a socket or a device, and not named like sound: there is no recording to miss."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    is_plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    return not is_plain and path.suffix.lower() not in AUDIO | VIDEO


def find_obstacle(path: Path, name: str) -> str | None:
    """Why a file that may be a recording cannot be read; None where it can, or where nobody would want to."""
    if path.suffix.lower() in OTHER:
        return None
    try:
        name.encode()
        if not os.path.isfile(path):
            if os.path.islink(path) and not os.path.exists(path):
                return describe_dead_link(path)
            os.stat(path)
            return "is neither a file nor a folder"
        return None if os.access(path, os.R_OK) else "may not be read; ask for the right to (chmod a+r)"
    except UnicodeEncodeError:
        return "its name, or its folder's, is not UTF-8; rename it"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def describe_dead_link(path: Path) -> str:
    target = printable(os.readlink(path))
    try:
        os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return f"is a link to {target}, which leads back to it; delete both"
    return f"is a link to {target}, which is not there"


def is_recording(path: Path) -> bool:
    """Whether a file holds sound. A damaged one that is named like sound counts: reading it says what is wrong."""
    suffix = path.suffix.lower()
    if suffix in AUDIO or suffix in OTHER:
        return suffix in AUDIO
    found = probe_audio(path)
    return suffix in VIDEO if found is None else found


def add_recording(survey: Survey, name: str, path: Path) -> None:
    """Two names that differ only in their Unicode form are one name in every table: one of the files is left out."""
    name_in_tables = composed(name)
    if name_in_tables in survey.recordings:
        survey.unreadable[printable(name)] = "another recording has the same name in other Unicode letters; rename it"
    else:
        survey.recordings[name_in_tables] = path


def leave_out_videos(survey: Survey) -> None:
    """A video beside a sound file of its name is the same session: it would be there twice, maybe in two splits."""
    stems = {os.path.splitext(name)[0] for name in survey.recordings if not is_video(name)}
    for name in [name for name in survey.recordings if is_video(name) and os.path.splitext(name)[0] in stems]:
        del survey.recordings[name]
        survey.ignored[f"{os.path.splitext(name)[1].lower()} beside sound of the same name"] += 1


def is_video(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO


def describe_ignored(ignored: Counter[str]) -> str:
    """One line: "12 .jpg, 3 .docx ignored", or nothing."""
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(ignored.items(), key=lambda pair: (-pair[1], pair)))
    return f"{counts} ignored: no recordings" if counts else ""
