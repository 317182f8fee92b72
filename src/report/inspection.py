"""What was found in a folder of recordings, in words and numbers: for the terminal, for the page, for programs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from core.estimates import phase_minutes, spoken_time
from core.records import InspectedRecording
from core.wording import name_some, printable
from report.expected_voice import expected_voice, spoken_minutes
from report.recording_texts import KnownTexts
from segmentation.tables import say_missing_folders

SPEAKERS_SHOWN = 12
LONGEST_NAME = 60  # characters of a recording in tables
NAMED = 3  # recordings that a line names
VOICE_MINUTES = 4.0  # phase 3's budget with mfcc units, in run_all.sh
FEW_SPEECH_MINUTES = 10.0

# Flag -> what one recording does, what several do, and the remedy; the gravest first.
REMEDIES = {
    "unreadable": ("cannot be read", "cannot be read", "copy or convert again"),
    "silent": ("is silent", "are silent", "leave out, or look for the right channel"),
    "cut_short": (
        "is cut short or damaged",
        "are cut short or damaged",
        "copy again; --keep_truncated uses what is there",
    ),
    "clipped": ("clips", "clip", "lower the recorder's level"),
    "opposed_channels": (
        "has channels that cancel each other",
        "have channels that cancel each other",
        "export one channel alone; mixed to mono the voice is lost",
    ),
    "noisy": ("is noisy", "are noisy", "go nearer to the microphone, away from fans, engines and wind"),
    "little_speech": ("holds hardly any speech", "hold hardly any speech", "listen, then leave out"),
    "noise_or_music": (
        "is mostly noise or music",
        "are mostly noise or music",
        "listen; the voice is not trained on such segments, unless --keep_flagged",
    ),
    "quiet": ("is quiet", "are quiet", "raise the recorder's level, or go nearer to the microphone"),
    "dead_channel": (
        "has a dead channel",
        "have a dead channel",
        "check the cable before the next one; the voice on the other channel is used as it is",
    ),
    "low_rate": ("is below 16 kHz", "are below 16 kHz", "record at 44.1 or 48 kHz: what is above is lost for good"),
    "dull": (
        "has nothing above 4 kHz",
        "have nothing above 4 kHz",
        "look for the original: this went through a telephone or a strong codec",
    ),
    "offset": ("has a steady offset", "have a steady offset", "look at the recorder, its cable and its power"),
    "changes": (
        "changes its rate or channels",
        "change their rate or channels",
        "harmless here; joined files sound different in parts",
    ),
    "over_full_scale": (
        "goes over full scale, as 32-bit float may",
        "go over full scale, as 32-bit float may",
        "harmless here: each is lowered as a whole, nothing is clipped",
    ),
    "several_tracks": (
        "has several sound tracks",
        "have several sound tracks",
        "the first is taken; where that is the wrong one, export the other alone",
    ),
    "repeated": ("repeats another", "repeat another", "leave out: a copy in training and test spoils the scores"),
    "short": (
        "is shorter than 2 seconds",
        "are shorter than 2 seconds",
        "long enough for a word list; --join_clips joins them for a voice",
    ),
}


class Folder(NamedTuple):
    """All that was found out about a folder."""

    name: str
    rows: list[InspectedRecording]  # of the recordings that could be read
    unreadable: dict[str, str]  # source -> reason
    ignored: dict[str, int]  # kind of file -> how many
    texts: KnownTexts


class Finding(NamedTuple):
    """One line of what to do: ``sources`` with the fault ``flag``, of ``n_recordings``."""

    flag: str
    line: str
    sources: list[str]


class Spread(NamedTuple):
    """Quartiles over recordings, weighted by nothing; None where nothing could be measured."""

    low: float
    middle: float
    high: float


def mark_repeated(rows: Sequence[InspectedRecording]) -> list[InspectedRecording]:
    """The rows, with the flag ``repeated`` on each whose sound an earlier one has."""
    seen, marked = set(), []
    for row in rows:
        repeated = row["fingerprint"] in seen and "silent" not in row["flags"]
        seen.add(row["fingerprint"])
        marked.append(row | {"flags": [*row["flags"], "repeated"]} if repeated else row)
    return marked


def list_findings(folder: Folder) -> list[Finding]:
    """What is wrong with recordings, by kind, the gravest first."""
    found = {flag: [row["source"] for row in folder.rows if flag in row["flags"]] for flag in REMEDIES}
    found["unreadable"] = sorted(folder.unreadable)
    n_recordings = len(folder.rows) + len(folder.unreadable)
    return [
        Finding(flag, say_finding(flag, found[flag], n_recordings), found[flag]) for flag in REMEDIES if found[flag]
    ]


def say_finding(flag: str, sources: Sequence[str], n_recordings: int) -> str:
    one, several, remedy = REMEDIES[flag]
    verb = one if len(sources) == 1 else several
    return f"{len(sources)} of {n_recordings} recordings {verb}; {remedy}: {name_recordings(sources)}"


def name_recordings(names: Iterable[str]) -> str:
    return name_some(list(map(short_name, names)), NAMED)


def short_name(name: str) -> str:
    """A recording's name on one line, its middle left out where it is long."""
    shown, half = printable(name), LONGEST_NAME // 2
    return shown if len(shown) <= LONGEST_NAME else f"{shown[: half - 1]}…{shown[-half:]}"


def count_of(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def list_advice(folder: Folder) -> list[str]:
    """What to do that concerns no single recording: texts, tables, the amount."""
    texts, lines = folder.texts, []
    for name, reason in texts.unreadable.items():
        lines.append(f"{name} cannot be used: {reason.partition('; ')[0].removeprefix('expected ')}")
    if texts.unmatched:
        names = [entry.rpartition(" (")[0] for entry in texts.unmatched]
        sources = [row["source"] for row in folder.rows]
        lines.append(
            f"{count_of(len(texts.unmatched), 'annotation file or row')} of no recording; "
            f"use the names of the recordings: {name_recordings(texts.unmatched)}{say_missing_folders(names, sources)}"
        )
    if texts.outside:
        lines.append(
            f"{count_of(texts.outside.total(), 'annotation')} outside the recording, left out; check that the file and "
            f"the recording belong together: {name_recordings(texts.outside)}"
        )
    if texts.plain:
        lines.append(
            f"{count_of(len(texts.plain), 'text file')} without times, not read; put the words into transcripts.tsv: "
            f"{name_recordings(texts.plain)}"
        )
    minutes = speech_hours(folder) * 60
    if folder.rows and minutes < FEW_SPEECH_MINUTES:
        lines.append(f"{spoken_minutes(minutes)} of speech are little for a voice; record half an hour of one speaker")
    return lines


def hours(folder: Folder) -> float:
    return sum(row["seconds"] for row in folder.rows) / 3600


def speech_hours(folder: Folder) -> float:
    return sum(row["speech_seconds"] for row in folder.rows) / 3600


def spread(values: Iterable[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return Spread(*(float(value) for value in np.percentile(known, (25, 50, 75)))) if known else None


def count_kinds(folder: Folder, *keys: str) -> list[tuple[str, int, float]]:
    """(value, recordings, hours) for each value of ``keys`` together, the most hours first."""
    counts, seconds = Counter(), Counter()
    for row in folder.rows:
        value = " / ".join(dict.fromkeys(str(row[key]) for key in keys))
        counts[value] += 1
        seconds[value] += row["seconds"]
    return [(value, counts[value], amount / 3600) for value, amount in seconds.most_common()]


def say_kinds(kinds: Sequence[tuple[str, int, float]], unit: str = "") -> str:
    return ", ".join(f"{value}{unit}: {count} ({say_hours(amount)})" for value, count, amount in kinds) or "none"


def say_hours(amount: float) -> str:
    return f"{amount:.1f} h" if amount >= 1 else f"{60 * amount:.1f} min"


def say_spread(values: Iterable[float | None], unit: str) -> str:
    found = spread(values)
    if found is None:
        return "not measurable: the pauses are digital silence"
    return f"{found.middle:.0f} {unit} (half of the recordings: {found.low:.0f} to {found.high:.0f})"


def summary_rows(folder: Folder) -> list[tuple[str, str]]:
    """(what, value) for the terminal and the page."""
    rows, total = folder.rows, hours(folder)
    share = speech_hours(folder) / total if total else 0.0
    return [
        ("recordings", f"{len(rows)}, {say_hours(total)} by decoded samples"),
        ("formats", say_kinds(count_kinds(folder, "container", "codec"))),
        ("sample rates", say_kinds(count_kinds(folder, "rate_hz"), " Hz")),
        ("channels", say_kinds(count_kinds(folder, "channels"))),
        ("speech", f"{say_hours(speech_hours(folder))}, {share:.0%} of the time (pauses from 0.4 s left out)"),
        ("level of speech", say_spread((row["level_dbfs"] for row in rows), "dB of full scale")),
        ("noise floor", say_spread((row["noise_dbfs"] for row in rows), "dB of full scale")),
        ("estimated SNR", say_spread((row["snr_db"] for row in rows), "dB")),
        ("clipped", f"{sum('clipped' in row['flags'] for row in rows)} of {len(rows)} recordings"),
        *text_rows(folder),
        ("ignored", say_ignored(folder)),
    ]


def text_rows(folder: Folder) -> list[tuple[str, str]]:
    texts = folder.texts
    files = say_counts(Counter(kind_of_file(name) for name in texts.files))
    n_texts, n_recordings = texts.texts.total(), sum(count > 0 for count in texts.texts.values())
    rows = [
        ("texts", f"{n_texts} for {n_recordings} of {len(folder.rows)} recordings, from {files}" if files else "none")
    ]
    if texts.speakers:
        named = ", ".join(f"{name} ({count})" for name, count in texts.speakers.most_common(8))
        rows.append(("speakers", f"{len(texts.speakers)}, with recordings: {named}"))
        rows.append(("who speaks", say_speakers(folder)))
    else:
        rows.append(("speakers", "not named (speakers.tsv, or tiers of annotations)"))
        rows += folder_rows(folder)
    if texts.tiers:
        rows.append(("tiers", ", ".join(f"{name} ({count})" for name, count in texts.tiers.most_common(8))))
    if texts.languages:
        rows.append(("languages", ", ".join(sorted(texts.languages))))
    return rows


def say_speakers(folder: Folder) -> str:
    """How long each speaker speaks, the most first: by the table, else by the annotations."""
    texts, of_nobody = folder.texts, 0.0
    seconds = Counter(texts.spoken_seconds)
    for row in folder.rows:
        if speaker := texts.speaker_of.get(row["source"]):
            seconds[speaker] += row["speech_seconds"]
        elif row["source"] not in texts.texts or not texts.spoken_seconds:
            of_nobody += row["speech_seconds"]
    named = name_some([f"{name} {say_hours(amount / 3600)}" for name, amount in seconds.most_common()], SPEAKERS_SHOWN)
    return named + (f"; {say_hours(of_nobody / 3600)} of nobody named" if of_nobody else "")


def folder_rows(folder: Folder) -> list[tuple[str, str]]:
    """The first folders, which may be speakers: recordings and speech of each."""
    counts, seconds = Counter(), Counter()
    for row in folder.rows:
        name = row["source"].partition("/")[0] if "/" in row["source"] else "beside the folders"
        counts[name] += 1
        seconds[name] += row["speech_seconds"]
    if len(counts) < 2:
        return []
    said = say_kinds([(name, counts[name], amount / 3600) for name, amount in seconds.most_common(SPEAKERS_SHOWN)])
    return [("folders", f"{said} (if they are speakers: --speaker_from folder)")]


def say_ignored(folder: Folder) -> str:
    return f"{say_counts(folder.ignored)} (neither recordings nor texts)" if folder.ignored else "nothing"


def say_counts(counts: Mapping[str, int]) -> str:
    """``12 .jpg, 3 .docx``, the most first."""
    kinds = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {kind}" for kind, count in kinds)


def kind_of_file(name: str) -> str:
    return PurePath(name).suffix.lower() or "without ending"


def time_rows(folder: Folder) -> list[tuple[str, str]]:
    """(part of the chain, minutes) on two cores without a GPU, with mfcc units."""
    minutes = phase_minutes(hours(folder), max_minutes=VOICE_MINUTES)
    names = {
        "data": "data: cutting at pauses",
        "units": "phase 1: units",
        "training": "phase 3: a voice",
        "scores": "scores, with Whisper as the listener",
        "starting": "starting the programs",
    }
    parts = [(names[part], spoken_time(value)) for part, value in minutes.items()]
    return [*parts, ("in all", spoken_time(sum(minutes.values())))]


def voice_lines(folder: Folder) -> list[str]:
    """The voice to expect, and how these recordings differ from the measured ones."""
    differs = []
    snr = spread(row["snr_db"] for row in folder.rows)
    if snr and snr.middle < 30:
        differs.append(f"half of them under {snr.middle:.0f} dB SNR")
    if len(folder.texts.speakers) > 1:
        differs.append(f"{len(folder.texts.speakers)} speakers")
    elif not folder.texts.speakers:
        differs.append("the number of speakers is not known")
    return expected_voice(speech_hours(folder) * 60, differs=differs)


def worst_first(rows: Iterable[InspectedRecording]) -> list[InspectedRecording]:
    """Recordings by their gravest flag, those without a flag last."""
    order = {flag: number for number, flag in enumerate(REMEDIES)}
    return sorted(rows, key=lambda row: (min(map(order.get, row["flags"]), default=len(order)), row["source"]))


def to_json(folder: Folder) -> dict[str, object]:
    """Everything, for programs (docs/data_formats.md)."""
    return {
        "folder": folder.name,
        "hours": round(hours(folder), 4),
        "speech_hours": round(speech_hours(folder), 4),
        "findings": [finding._asdict() for finding in list_findings(folder)],
        "advice": list_advice(folder),
        "recordings": folder.rows,
        "unreadable": folder.unreadable,
        "ignored": dict(folder.ignored),
        "texts": folder.texts._asdict(),
        "minutes": phase_minutes(hours(folder), max_minutes=VOICE_MINUTES),
        "voice": voice_lines(folder),
    }


COLUMNS = ("recording", "length", "format", "Hz", "ch", "level", "noise", "SNR", "speech", "remarks")


def recording_cells(row: InspectedRecording) -> list[str]:
    """The cells of ``COLUMNS``."""
    return [
        short_name(row["source"]),
        say_clock(row["seconds"]),
        "/".join(dict.fromkeys((row["container"], row["codec"]))),
        str(row["rate_hz"]),
        str(row["channels"]),
        say_number(row["level_dbfs"]),
        say_number(row["noise_dbfs"]),
        say_number(row["snr_db"]),
        f"{row['speech_seconds'] / max(row['seconds'], 0.01):.0%}",
        ", ".join(flag.replace("_", " ") for flag in row["flags"]),
    ]


def say_number(value: float | None) -> str:
    return "—" if value is None else f"{value:.0f}"


def say_clock(seconds: float) -> str:
    whole = round(seconds)
    return (
        f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
        if whole >= 3600
        else f"{whole // 60}:{whole % 60:02d}"
    )
