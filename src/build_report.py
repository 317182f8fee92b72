"""One self-contained report.html of one or several experiments: numbers, curves, and players to listen to.

    python src/build_report.py exp/spanish_vocoder_v3
    python src/build_report.py exp/spanish_vocoder_v3 exp/spanish_vocoder_v3_w4 --out comparison.html

The page needs no network and no other file: audio is embedded as MP3, pictures as SVG. Several experiments stand side
by side, the first one being what the others are compared with.
"""

import argparse
import base64
import datetime
import hashlib
import string
from collections.abc import Sequence
from pathlib import Path

from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from core.files import write_atomically
from report import plots
from report.data import load_experiment, paired_differences
from report.html import (
    element,
    escape,
    missing,
    name_badge,
    render_curves,
    render_differences,
    render_origin,
    render_scores,
    section,
)
from report.listen import render_examples, render_motifs
from report.summary import render_summary, report_title
from report.units import render_units
from report.warnings import collect_warnings

PARTS = Path(__file__).resolve().parent / "report" / "templates"
PAGE_LIMIT_MB = 15.0  # beyond this a page is slow to open and to send
SECONDS_A_PAGE = 900.0  # of embedded test audio: 5.4 MB of MP3, 7.2 MB in base64


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=HELP_FORMATTER)
    parser.add_argument("experiments", nargs="+", type=Path, metavar="exp", help="experiment folders (exp/<name>)")
    parser.add_argument("--out", type=Path, default=None, help="file to write; by default report.html in the first one")
    group = parser.add_argument_group("what to show")
    group.add_argument("--max_examples", type=int, default=9, help="test utterances to listen to, from best to worst")
    group.add_argument("--max_seconds", type=float, default=20.0, help="longest audio of one player, in seconds")
    group.add_argument(
        "--max_motifs", type=int, default=12, help="motifs to show: the most frequent, and as many long ones"
    )
    args = parse_flags(parser, argv)
    if args.max_examples < 0 or args.max_motifs < 0 or args.max_seconds <= 0:
        raise UserError("--max_examples and --max_motifs must be 0 or more and --max_seconds above 0")
    return args


def render_warnings(experiments: Sequence[dict], lost: Sequence[str]) -> str:
    """The warnings of every experiment and the audio files that were not there; '' where all is well."""
    lines = [
        (f"{item['name']}: " if len(experiments) > 1 else "") + warning
        for item in experiments
        for warning in collect_warnings(item)
    ]
    if lost:
        lines.append(f"{len(lost)} audio files were not found, as {', '.join(sorted(set(lost))[:3])}.")
    if not lines:
        return ""
    items = "".join(element("li", escape(line)) for line in lines)
    return element(
        "section", element("h2", "Before you believe it") + element("ul", items), id="warnings", class_="warnings"
    )


def render_training(experiments: Sequence[dict]) -> str:
    curves = render_curves(experiments)
    for item in experiments:
        if not item["metrics"]:
            curves += missing(f"{item['name']} has no training log.", f"bash scripts/run_phase3.sh {language_of(item)}")
    return curves


def language_of(experiment: dict) -> str:
    return experiment["derived"].get("language") or experiment["name"].split("_")[0]


def render_all_units(experiments: Sequence[dict]) -> str:
    """Unit statistics, once for every unit experiment that the experiments stand on."""
    body, seen = "", set()
    for index, item in enumerate(experiments):
        if item["units_exp"] in seen:
            continue
        seen.add(item["units_exp"])
        if len(experiments) > 1:
            body += element("h3", name_badge(item, index))
        body += render_units(item, f"u{index}")
        if not item["unit_report"]:
            where = f"--exp {item['units_exp']}" if item["units_exp"] else f"--language {language_of(item)}"
            body += missing("No unit statistics yet.", f"python src/validate_units.py {where}")
    return body


def render_all_motifs(experiments: Sequence[dict], n_motifs: int) -> tuple[str, list[str]]:
    """The motifs of every BPE experiment that the experiments stand on, and the recordings that were not found."""
    body, lost, seen = "", [], set()
    for index, item in enumerate(experiments):
        if item["bpe_exp"] in seen:
            continue
        seen.add(item["bpe_exp"])
        if len(experiments) > 1:
            body += element("h3", name_badge(item, index))
        if item["motifs"]:
            motifs, not_found = render_motifs(item, n_motifs=n_motifs)
            body, lost = body + motifs, lost + not_found
        else:
            body += missing("No motifs yet.", f"bash scripts/run_phase2.sh {language_of(item)}")
    return body, lost


def build_page(experiments: Sequence[dict], args: argparse.Namespace) -> str:
    """The whole page as one string of HTML."""
    n_players = max(1, args.max_examples) * (1 + len(experiments))
    seconds = min(args.max_seconds, max(3.0, SECONDS_A_PAGE / n_players))
    examples, lost = render_examples(experiments, n_examples=args.max_examples, max_seconds=seconds)
    motifs, not_found = render_all_motifs(experiments, args.max_motifs)
    if not examples:
        examples = missing("Nothing to listen to yet.", f"python src/vocoder_test.py --exp {experiments[0]['exp']}")
    scores = render_scores(experiments) + render_differences(paired_differences(experiments), experiments)
    listen_lead = (
        "From the best to the worst test recording; nothing here was trained on. A click on a picture plays from there."
    )
    parts = [
        ("scores", "Scores", scores, "Measured on recordings that no phase has trained on."),
        ("listen", "Listen", examples, listen_lead),
        ("training", "Training", render_training(experiments), ""),
        ("units", "Units", render_all_units(experiments), "What the language was turned into: one unit every 20 ms."),
        ("motifs", "Motifs", motifs, "Sequences of units that keep coming back, found without any writing."),
        ("origin", "How it was made", "".join(map(render_origin, experiments)), ""),
    ]
    script = (PARTS / "player.js").read_text(encoding="utf-8")
    return string.Template((PARTS / "report.html").read_text(encoding="utf-8")).substitute(
        title=escape(report_title(experiments)),
        summary=render_summary(experiments),
        navigation="".join(f'<li><a href="#{anchor}">{title}</a></li>' for anchor, title, _, _ in parts),
        body=render_warnings(experiments, lost + not_found)
        + "".join(section(title, content, anchor, lead) for anchor, title, content, lead in parts),
        footer=escape(f"oral-units report, {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        plot_left=plots.PLOT_LEFT,
        plot_right=plots.PLOT_RIGHT,
    )


def main() -> int:
    args = parse_args()
    experiments = [load_experiment(exp) for exp in args.experiments]
    page = build_page(experiments, args)
    out = args.out or experiments[0]["exp"] / "report.html"
    write_atomically(out, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    megabytes = out.stat().st_size / 1e6
    print(f"wrote {out} ({megabytes:.1f} MB); open it in a browser, no network needed")
    if megabytes > PAGE_LIMIT_MB:
        print("the page is large: --max_examples, --max_seconds or --max_motifs make it smaller")
    return 0


if __name__ == "__main__":
    run_main(main)
