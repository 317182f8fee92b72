"""The page on a folder of recordings: findings, numbers, pictures, a few seconds of what is flagged."""

import base64
import datetime
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from core.records import InspectedRecording
from report import plots
from report.curves import Figure
from report.inspection import (
    COLUMNS,
    REMEDIES,
    Folder,
    hours,
    list_advice,
    list_findings,
    recording_cells,
    say_clock,
    say_hours,
    short_name,
    speech_hours,
    spread,
    summary_rows,
    time_rows,
    voice_lines,
    worst_first,
)
from report.page import open_templates

MOST_ROWS = 2000  # of the table of recordings: more make the page slow
MOST_CARDS = 24
N_BARS = 24


class Player(NamedTuple):
    """Audio in the page itself."""

    label: str
    source: str


class Card(NamedTuple):
    """A flagged recording: its curve, what is wrong, and a few seconds to listen to, where there are."""

    name: str  # on one line
    row: InspectedRecording
    remarks: list[str]
    picture: plots.Picture
    player: Player | None


def build_inspection_page(folder: Folder, samples: Mapping[str, bytes]) -> str:
    """One string of HTML that needs no other file; ``samples``: source -> MP3 of a few seconds."""
    flagged = [row for row in worst_first(folder.rows) if row["flags"]]
    shown = sorted(flagged, key=lambda row: row["source"] not in samples)[:MOST_CARDS]
    return (
        open_templates()
        .get_template("inspection.html")
        .render(
            title=f"Recordings in {folder.name.rstrip('/').rpartition('/')[2] or folder.name}",
            folder=folder,
            unreadable={short_name(source): reason for source, reason in folder.unreadable.items()},
            tiles=headline_tiles(folder),
            findings=list_findings(folder),
            advice=list_advice(folder),
            figures=histograms(folder.rows),
            cards=[make_card(row, samples.get(row["source"]), f"c{number}") for number, row in enumerate(shown)],
            n_flagged=len(flagged) + len(folder.unreadable),
            summary=summary_rows(folder),
            times=time_rows(folder),
            voice=voice_lines(folder),
            columns=COLUMNS,
            rows=[recording_cells(row) for row in worst_first(folder.rows)[:MOST_ROWS]],
            most_rows=MOST_ROWS,
            created=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        )
    )


def headline_tiles(folder: Folder) -> list[tuple[str, str]]:
    total, snr = hours(folder), spread(row["snr_db"] for row in folder.rows)
    flagged = sum(bool(row["flags"]) for row in folder.rows) + len(folder.unreadable)
    return [
        (str(len(folder.rows) + len(folder.unreadable)), "recordings"),
        (say_hours(total), "of audio, by decoded samples"),
        (say_hours(speech_hours(folder)), f"of speech, {speech_hours(folder) / total if total else 0:.0%} of the time"),
        (f"{snr.middle:.0f} dB" if snr else "—", "estimated SNR, the middle recording"),
        (str(folder.texts.texts.total()), "texts"),
        (str(flagged), "recordings with a remark"),
    ]


def histograms(rows: Sequence[InspectedRecording]) -> list[Figure]:
    """Pictures of how the recordings are spread."""
    columns = {
        "level": ([row["level_dbfs"] for row in rows], "level of speech, dB of full scale"),
        "noise": ([row["noise_dbfs"] for row in rows], "noise floor, dB of full scale"),
        "snr": ([row["snr_db"] for row in rows], "estimated SNR, dB"),
        "speech": ([100 * row["speech_seconds"] / row["seconds"] for row in rows], "share of speech, %"),
        "length": ([row["seconds"] / 60 for row in rows], "length, minutes"),
        "treble": ([row["treble_db"] for row in rows], "4.5 to 7.5 kHz over 0.3 to 3.4 kHz, dB"),
    }
    return [
        figure
        for name, (values, label) in columns.items()
        if (figure := histogram([value for value in values if value is not None], label, f"h-{name}"))
    ]


def histogram(values: Sequence[float], label: str, name: str) -> Figure | None:
    """None where there is nothing to count."""
    if not values:
        return None
    low, high = min(values), max(values)
    room = max(high - low, 1.0) / N_BARS
    counts, edges = np.histogram(values, bins=N_BARS, range=(low - room / 2, high + room / 2))
    positions = ((edges[1:] + edges[:-1]) / 2).tolist()
    alternative = f"{len(values)} recordings by {label}, from {low:.1f} to {high:.1f}"
    picture = plots.plot_bars(
        positions, counts.tolist(), x_label=label, y_label="recordings", alternative=alternative, name=name
    )
    return Figure(picture, f"{label}: middle {np.median(values):.1f}")


def make_card(row: InspectedRecording, sample: bytes | None, name: str) -> Card:
    levels = [("speech", row["level_dbfs"])]
    if row["noise_dbfs"] is not None:
        levels.append(("noise", row["noise_dbfs"]))
    source, length = short_name(row["source"]), say_clock(row["seconds"])
    picture = plots.plot_level(row["curve_dbfs"], row["seconds"], marks=levels, title=f"{source}, {length}", name=name)
    remarks = [f"{REMEDIES[flag][0]}: {REMEDIES[flag][2]}" for flag in row["flags"]]
    player = None
    if sample:
        player = Player(
            f"a few seconds of {source}", "data:audio/mpeg;base64," + base64.b64encode(sample).decode("ascii")
        )
    return Card(source, row, remarks + ([row["note"]] if row["note"] else []), picture, player)
