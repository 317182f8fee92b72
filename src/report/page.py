"""The whole report: what each section shows, put into the templates of ``report/templates``."""

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from core.frames import UNIT_RATE
from core.hashing import hash_script
from report import plots
from report.curves import Figure, curve_figures
from report.data import Experiment, unit_summary
from report.listen import MotifRow, example_cards, motif_rows
from report.origin import origin_facts, settings, shorten_paths, typed_folder
from report.scores import difference_rows, paired_differences, score_rows, worst_utterances
from report.summary import describe_for_researchers, describe_in_words, headline_tiles, report_title
from report.units import SpeakerRow, speaker_rows, unit_figures
from report.warnings import collect_warnings

TEMPLATES = Path(__file__).resolve().parent / "templates"
MAX_TEST_AUDIO_SECONDS = 900.0  # embedded in one page: 5.4 MB of MP3, 7.2 MB in base64
MIN_PLAYER_SECONDS = 3.0
N_WORST = 10


class UnitSection(NamedTuple):
    """The units of the experiment with number ``series``, and of those that share them."""

    experiment: Experiment
    series: int
    summary: dict[str, Any]
    figures: list[Figure]
    speakers: list[SpeakerRow]


class MotifSection(NamedTuple):
    """The motifs of the experiment with number ``series``; None where phase 2 has not run."""

    experiment: Experiment
    series: int
    rows: list[MotifRow] | None


def build_page(experiments: Sequence[Experiment], *, n_examples: int, max_seconds: float, n_motifs: int) -> str:
    """The page as one string of HTML.

    n_examples: test utterances with players, each of at most ``max_seconds``, less where there are many of them;
    n_motifs: of the most frequent and of the longest motifs.
    """
    seconds = seconds_per_player(n_examples, len(experiments), max_seconds)
    cards, lost = example_cards(experiments, n_examples=n_examples, max_seconds=seconds)
    motif_sections, lost_motifs = make_motif_sections(experiments, n_motifs)
    shown, folded = curve_figures(experiments)
    script = (TEMPLATES / "player.js").read_text(encoding="utf-8")
    return (
        open_templates()
        .get_template("page.html")
        .render(
            experiments=experiments,
            warnings=list_warnings(experiments, lost + lost_motifs),
            cards=cards,
            heard_at={card.name: card.number for card in cards},
            curves=shown,
            folded_curves=folded,
            unit_sections=make_unit_sections(experiments),
            motif_sections=motif_sections,
            n_motifs=n_motifs,
            origins=[(item, origin_facts(item), settings(item)) for item in experiments],
            created=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
            # The script stands in the page as it is: its hash is what the page's policy lets run.
            script=Markup(script),
            script_hash=hash_script(script),
            **make_summary(experiments),
            **make_score_tables(experiments),
        )
    )


def open_templates() -> jinja2.Environment:
    """Templates that escape every inserted text and refuse a name that nobody gave them."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = shorten_paths
    environment.filters["typed"] = typed_folder
    environment.globals.update(
        n_series=len(plots.SERIES), plot_left=plots.PLOT_LEFT, plot_right=plots.PLOT_RIGHT, unit_rate=UNIT_RATE
    )
    return environment


def seconds_per_player(n_examples: int, n_experiments: int, max_seconds: float) -> float:
    n_players = max(1, n_examples) * (1 + n_experiments)
    return min(max_seconds, max(MIN_PLAYER_SECONDS, MAX_TEST_AUDIO_SECONDS / n_players))


def make_summary(experiments: Sequence[Experiment]) -> dict[str, object]:
    first = experiments[0]
    return {
        "title": report_title(experiments),
        "words": " ".join(describe_in_words(first)),
        "tiles": headline_tiles(first),
        "researcher_lines": [describe_for_researchers(item) for item in experiments],
    }


def make_score_tables(experiments: Sequence[Experiment]) -> dict[str, object]:
    """``scored`` and ``compared`` are the columns of the two tables: (number, experiment) pairs."""
    differences = paired_differences(experiments)
    scored = [(index, item) for index, item in enumerate(experiments) if item.scores]
    return {
        "scored": scored,
        "worst": [(index, item, worst_utterances(item, N_WORST)) for index, item in scored],
        "n_worst": N_WORST,
        "score_rows": score_rows([item for _, item in scored]),
        "compared": [(index, item) for index, item in enumerate(experiments) if item.name in differences],
        "difference_rows": difference_rows(list(differences.values())),
    }


def list_warnings(experiments: Sequence[Experiment], lost: Sequence[str]) -> list[str]:
    """The warnings of every experiment, and the audio files that were not found."""
    lines = [
        (f"{item.name}: " if len(experiments) > 1 else "") + warning
        for item in experiments
        for warning in collect_warnings(item)
    ]
    if lost:
        lines.append(f"{len(lost)} audio files were not found, as {', '.join(sorted(set(lost))[:3])}.")
    return lines


def _first_of_each(experiments: Sequence[Experiment], folder: str) -> Iterator[tuple[int, Experiment]]:
    """(number, experiment): the first experiment of every different value of its field ``folder``."""
    seen = set()
    for index, item in enumerate(experiments):
        if getattr(item, folder) not in seen:
            seen.add(getattr(item, folder))
            yield index, item


def make_unit_sections(experiments: Sequence[Experiment]) -> list[UnitSection]:
    """Unit statistics, once for every unit experiment."""
    return [
        UnitSection(item, index, unit_summary(item), unit_figures(item, f"u{index}"), speaker_rows(item))
        for index, item in _first_of_each(experiments, "units_path")
    ]


def make_motif_sections(experiments: Sequence[Experiment], n_motifs: int) -> tuple[list[MotifSection], list[str]]:
    """The motifs of every BPE experiment, and the recordings that were not found."""
    sections, lost = [], []
    for index, item in _first_of_each(experiments, "bpe_path"):
        rows, not_found = motif_rows(item, n_motifs=n_motifs) if item.motifs else (None, [])
        sections.append(MotifSection(item, index, rows))
        lost += not_found
    return sections, lost
