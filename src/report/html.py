"""The report's written parts as HTML: scores, differences, curves, origin. All inserted text is escaped."""

import difflib
import html
import re
from collections.abc import Iterable, Sequence

from core.text import normalise_text
from report import plots
from report.data import curve, metric_keys

# name: (label, better, decimals, what it means)
METRICS = {
    "cer": (
        "CER",
        "lower",
        3,
        "share of letters a speech recogniser writes otherwise than for the original (0 = same)",
    ),
    "wer": ("WER", "lower", 3, "share of words it writes otherwise than for the original"),
    "cer_text": (
        "CER, transcript",
        "lower",
        3,
        "share of letters wrong against the transcript, heard in the resynthesis",
    ),
    "wer_text": (
        "WER, transcript",
        "lower",
        3,
        "share of words wrong against the transcript, heard in the resynthesis",
    ),
    "cer_text_original": (
        "CER, transcript, originals",
        "lower",
        3,
        "the recogniser's own errors, heard in the originals",
    ),
    "wer_text_original": (
        "WER, transcript, originals",
        "lower",
        3,
        "the recogniser's own word errors on the originals",
    ),
    "mel_distance_nat": (
        "Log-mel distance",
        "lower",
        3,
        "how far the spectrograms lie apart (natural log of amplitude)",
    ),
    "mcd_db": ("MCD", "lower", 2, "distance of the timbre, frame by frame (c1–c23, α 0.42)"),
    "mcd_dtw_db": ("MCD, DTW", "lower", 2, "the same after warping time, as ESPnet measures it"),
    "f0_rmse_hz": ("F0 RMSE", "lower", 1, "error of the pitch where both are voiced"),
    "f0_rmse_cents": ("F0 RMSE", "lower", 0, "the same on a musical scale: 100 cents are a semitone"),
    "gross_pitch_error_percent": ("Gross pitch error", "lower", 1, "voiced frames whose pitch is over 20 % off"),
    "vuv_error_percent": ("V/UV error", "lower", 1, "frames voiced in one and unvoiced in the other"),
    "ffe_percent": ("FFE", "lower", 1, "frames with either fault (F0 frame error)"),
    "mos": ("MOS, predicted", "higher", 2, "how natural a listener would find it, 1 to 5, as DistillMOS predicts"),
    "mos_original": ("MOS, originals", "higher", 2, "the same judge on the originals: the most that can be reached"),
    "snr_db": ("SNR", "higher", 2, "after the best gain and lag; a diagnostic only, a vocoder need not keep phase"),
}
# key of metrics.jsonl: (label, factor)
X_AXES = {"step": ("step", 1.0), "seconds": ("minutes of training", 1 / 60)}
MAIN_CURVES = ("mel_nat",)  # curves shown openly; the others are folded away


def escape(value: object) -> str:
    return html.escape(str(value), quote=True)


def element(tag: str, content: str, **attributes: str) -> str:
    """``content`` is HTML already; attribute values are escaped (``class_`` stands for class)."""
    shown = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return f"<{tag}{shown}>{content}</{tag}>"


def section(title: str, body: str, anchor: str, lead: str = "") -> str:
    lead = element("p", escape(lead), class_="lead") if lead else ""
    return element("section", element("h2", escape(title), id=f"{anchor}-title") + lead + body, id=anchor) + "\n"


def missing(text: str, command: str) -> str:
    """The line that stands in for a part that is not there, with the command that makes it."""
    return element("p", f"{escape(text)} Made by {element('code', escape(command))}", class_="missing")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """Cells are HTML already; the first of a row is its heading."""
    header = element("tr", "".join(element("th", cell, scope="col") for cell in head))
    body = "".join(
        element("tr", element("th", row[0], scope="row") + "".join(element("td", cell) for cell in row[1:]))
        for row in rows
    )
    inner = element("caption", escape(caption)) + element("thead", header) + element("tbody", body)
    return element("div", element("table", inner), class_="scroll", tabindex="0", role="region", aria_label=caption)


def name_badge(experiment: dict, index: int) -> str:
    return element("span", "", class_=f"swatch s{index % len(plots.SERIES) + 1}") + escape(experiment["name"])


def format_metric(name: str, entry: dict | None) -> str:
    """'0.221 [0.184, 0.262]' with the unit left to the row's heading."""
    if not entry or entry.get("mean") is None:
        return "–"
    decimals = METRICS.get(name, ("", "", 3, ""))[2]
    interval = f"[{entry['low']:.{decimals}f}, {entry['high']:.{decimals}f}]" if entry.get("low") is not None else ""
    return f"<b>{entry['mean']:.{decimals}f}</b> <small>{interval}, n={entry.get('n', '?')}</small>"


def metric_heading(name: str, unit: str) -> str:
    label, better, _, meaning = METRICS.get(name, (name, "", 3, ""))
    arrow = {"lower": "↓", "higher": "↑"}.get(better, "")
    hint = f"<small>{escape(meaning)}{'; ' + better + ' is better' if better else ''}</small>"
    return f"{escape(label)}{', ' + escape(unit) if unit else ''} {arrow}{hint}"


def ordered_metrics(experiments: Sequence[dict]) -> list[str]:
    present = {name for experiment in experiments if experiment["scores"] for name in experiment["scores"]["metrics"]}
    return [name for name in METRICS if name in present] + sorted(present - METRICS.keys())


def render_scores(experiments: Sequence[dict]) -> str:
    """The scores of all experiments side by side, with 95 % intervals."""
    scored = [(index, item) for index, item in enumerate(experiments) if item["scores"]]
    body = ""
    if scored:
        rows = []
        for name in ordered_metrics(experiments):
            entries = [item["scores"]["metrics"].get(name) for _, item in scored]
            unit = next((entry.get("unit") or "" for entry in entries if entry), "")
            rows.append([metric_heading(name, unit), *(format_metric(name, entry) for entry in entries)])
        head = ["Measure", *(name_badge(item, index) for index, item in scored)]
        body = table(
            head, rows, "Scores on the test split: mean, 95 % bootstrap interval over utterances, and their number"
        )
    for item in experiments:
        if not item["scores"]:
            text = f"{item['name']} has no scores yet."
            body += missing(text, f"python src/vocoder_test.py --exp {item['exp']}")
        elif not item["scores"].get("asr"):
            text = f"No recogniser has listened to {item['name']} (no CER, no WER)."
            body += missing(text, f"python src/vocoder_test.py --exp {item['exp']} --asr FOLDER_OR_ID")
    return body


def render_differences(differences: dict[str, dict], experiments: Sequence[dict]) -> str:
    """Paired differences against the first experiment; whether an interval leaves out zero is said in words."""
    if not differences:
        return ""
    present = {name for metrics in differences.values() for name in metrics}
    rows = []
    for name in [name for name in METRICS if name in present]:
        unit = next(metrics[name]["unit"] for metrics in differences.values() if name in metrics)
        cells = [_format_difference(name, metrics.get(name)) for metrics in differences.values()]
        rows.append([metric_heading(name, unit), *cells])
    badges = [name_badge(item, index) for index, item in enumerate(experiments) if item["name"] in differences]
    caption = f"Paired difference to {experiments[0]['name']} on the utterances both have (95 % bootstrap interval)"
    return element("h3", "Is the difference real?") + table(["Measure", *badges], rows, caption)


def _format_difference(name: str, difference: dict | None) -> str:
    if difference is None:
        return "–"
    decimals, better = METRICS[name][2], METRICS[name][1]
    low, high = difference["low"], difference["high"]
    verdict = "no clear difference"
    if low > 0 or high < 0:
        verdict = "better" if (difference["mean"] > 0) == (better == "higher") else "worse"
    interval = f"[{low:+.{decimals}f}, {high:+.{decimals}f}], n={difference['n']}"
    shown = f"<b>{difference['mean']:+.{decimals}f}</b> {element('small', interval)}"
    return f'{shown} <span class="verdict {verdict.split()[0]}">{verdict}</span>'


def render_curves(experiments: Sequence[dict]) -> str:
    """Every numeric key of metrics.jsonl against step and against wall time; training and validation in one picture."""
    groups: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for item in experiments for key in metric_keys(item["metrics"])):
        groups.setdefault(re.sub(r"^(train|validation)_", "", key), []).append(key)
    shown, folded = "", ""
    for stem, keys in sorted(groups.items(), key=lambda group: group[0] not in MAIN_CURVES):
        figures = "".join(_curve_figure(experiments, stem, keys, x_key) for x_key in X_AXES)
        figures = element("div", figures, class_="grid")
        if stem in MAIN_CURVES:
            shown += figures
        else:
            folded += figures
    if not shown:
        shown, folded = folded, ""
    more = element("details", element("summary", "All other logged values") + folded) if folded else ""
    return shown + more


def _curve_figure(experiments: Sequence[dict], stem: str, keys: Sequence[str], x_key: str) -> str:
    curves, (x_label, scale) = [], X_AXES[x_key]
    for index, item in enumerate(experiments):
        for key in keys:
            xs, ys = curve(item["metrics"], key, x_key)
            if xs:
                label = key if len(experiments) == 1 else f"{item['name']}: {key}"
                dashed = key.startswith("train_") and len(keys) > 1
                xs = [x * scale for x in xs]
                curves.append({"label": label, "x": xs, "y": ys, "series": index, "dashed": dashed})
    if not curves:
        return ""
    svg = plots.plot_curves(curves, x_label=x_label, y_label=stem, name=f"curve-{stem}-{x_key}")
    return element("figure", svg + element("figcaption", f"{escape(stem)} by {escape(x_label)}"))


def word_difference(original: str, heard: str) -> tuple[str, str]:
    """Both texts with what the other one lacks marked (``<del>`` in the first, ``<ins>`` in the second).

    Words are compared as the error rates compare them: without case and punctuation.
    """
    words = [original.split(), heard.split()]
    matcher = difflib.SequenceMatcher(
        None, *([normalise_text(word) for word in side] for side in words), autojunk=False
    )
    marked: tuple[list[str], list[str]] = ([], [])
    for kind, first, first_end, second, second_end in matcher.get_opcodes():
        for side, (start, end), tag in ((0, (first, first_end), "del"), (1, (second, second_end), "ins")):
            text = escape(" ".join(words[side][start:end]))
            if text:
                marked[side].append(text if kind == "equal" else element(tag, text))
    return " ".join(marked[0]), " ".join(marked[1])


def render_origin(experiment: dict) -> str:
    """Configuration, commit, machine, command of one experiment."""
    environment = experiment["config"].get("environment") or {}
    packages = ", ".join(f"{name} {version}" for name, version in (environment.get("packages") or {}).items())
    dirty = " with uncommitted changes" if environment.get("git_dirty") else ""
    facts = {
        "Folder": experiment["exp"],
        "Command": environment.get("command"),
        "Commit": f"{environment.get('git_commit') or 'unknown'}{dirty}",
        "Started": environment.get("started"),
        "Machine": environment.get("machine"),
        "Accelerator": environment.get("cuda") or "none (CPU)",
        "Threads": environment.get("threads"),
        "Python": environment.get("python"),
        "Packages": packages,
        "Input (SHA-256)": experiment["config"].get("input_hash"),
    }
    rows = [[escape(key), element("code", escape(value))] for key, value in facts.items() if value not in (None, "")]
    origin = table(["What", "Value"], rows, f"Where {experiment['name']} comes from")
    settings = {**(experiment["config"].get("arguments") or {}), **experiment["derived"]}
    rows = [
        [escape(key), element("code", escape(value))] for key, value in sorted(settings.items()) if value is not None
    ]
    folded = table(["Setting", "Value"], rows, f"Every argument and derived value of {experiment['name']}")
    return origin + element("details", element("summary", "Every setting") + folded)
