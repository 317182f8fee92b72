"""Systems side by side, in Markdown for RESULTS.md: what they cost, how they score, and where that was measured."""

import statistics
from pathlib import Path

from core.files import read_json
from evaluation.metrics import METRICS
from evaluation.scores import compare, excludes_zero, format_score


def speed_table(found: dict) -> str:
    """Markdown: a row a system, medians; then how often V3 goes into V2 within the same repetition."""
    ways, training = found["synthesis"], found["training"]
    head = ["generator", "channels", "parameters (M)", "GMAC a second of speech"]
    head += [f"synthesis, {describe_way(way)} (× real time)" for way in ways]
    head += ["training without, with discriminators (s of audio a s)"]
    head += ["peak memory: synthesis, training without, with (MiB)"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, runs in training.items():
        one, medians = found[name], [statistics.median(runs[kind]) for kind in ("without", "with")]
        cells = [name, str(one["channels"] or "full"), f"{one['parameters'] / 1e6:.2f}", f"{one['gmac_a_second']:.3f}"]
        cells += [f"{statistics.median(speeds[name]):.1f}" for speeds in ways.values()]
        cells += [", ".join(f"{median:.2f}" for median in medians)]
        cells += [f"{one['synthesis_mib']:.0f}, {runs['without_mib']:.0f}, {runs['with_mib']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    if {"v2", "v3"} <= set(training):
        lines += ["", *speed_ratios(ways, training)]
    return "\n".join(lines)


def describe_way(way: str) -> str:
    """In words, where and in which precision was spoken: "2 bf16" on two cores, "cuda bf16" on a GPU."""
    where, precision = way.split()
    return f"{where} core(s), {precision}" if where.isdigit() else f"GPU, {precision}"


def speed_ratios(ways: dict, training: dict) -> list[str]:
    lines = []
    for way, speeds in ways.items():
        ratios = [a / b for a, b in zip(speeds["v3"], speeds["v2"])]
        lines.append(
            f"- synthesis {way}: v3 is {statistics.median(ratios):.1f} × v2 "
            f"({min(ratios):.1f} to {max(ratios):.1f} over {len(ratios)} repetitions)"
        )
    for n in dict.fromkeys(way.split()[0] for way in ways):
        if f"{n} bf16" in ways:
            ratio = [a / b for a, b in zip(ways[f"{n} bf16"]["v3"], ways[f"{n} fp32"]["v3"])]
            lines.append(f"- v3, {describe_way(f'{n} bf16')} is {statistics.median(ratio):.2f} × fp32")
    for kind in ("without", "with"):
        v3, v2 = (statistics.median(training[name][kind]) for name in ("v3", "v2"))
        lines.append(f"- training {kind} discriminators: v3 is {v3 / v2:.1f} × v2")
    return lines


def quality_tables(exps: list[Path]) -> str:
    """Markdown: means with 95 % intervals, then differences to the first experiment paired by utterance."""
    scores = [read_json(exp / "scores.json") for exp in exps]
    columns = [name for name in METRICS if any(name in found["metrics"] for found in scores)]
    n, seconds = scores[0]["n_utterances"], scores[0]["seconds"]
    lines = [f"{n} test utterances, {seconds:.0f} s; mean [95 % interval]", ""]
    head = ["system", "minutes", "steps", *(f"{name} {METRICS[name].unit}".strip() for name in columns)]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for exp, found in zip(exps, scores):
        done = read_json(exp / "finished.json")
        cells = [exp.name, f"{done['seconds'] / 60:.1f}", str(done["step"])]
        cells += [format_interval(name, found["metrics"].get(name)) for name in columns]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"minus {exps[0].name}, paired; bold where the interval leaves out 0", ""]
    head = ["system", *columns]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for exp, found in zip(exps[1:], scores[1:]):
        differences = compare(found["utterances"], scores[0]["utterances"])
        cells = [format_interval(name, differences.get(name), signed=True) for name in columns]
        lines.append("| " + " | ".join([exp.name, *cells]) + " |")
    return "\n".join(lines)


def format_interval(metric: str, entry: dict | None, *, signed: bool = False) -> str:
    if entry is None:
        return "–"
    mean, interval = format_score(metric, entry, signed=signed)
    return f"{f'**{mean}**' if signed and excludes_zero(entry) else mean} {interval}"


def describe_run(environment: dict, threads: str) -> str:
    """One line: command, commit, machine and load of ``environment`` (of ``training.experiment.describe_environment``).

    Its "load_average" is that of before the work.
    """
    commit = f"{(environment['git_commit'] or 'no git')[:9]}{' (with changes)' if environment['git_dirty'] else ''}"
    processor = next((line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")), "")
    processor += f", {environment['cuda']}" if environment.get("cuda") else ""
    return (
        f"`{environment['command']}`; commit {commit}; {environment['machine']}, {processor}; training on {threads} "
        f"threads; torch {environment['packages']['torch']}; load average {environment['load_average'][0]:.1f}"
    )


def _cpu_lines() -> list[str]:
    info = Path("/proc/cpuinfo")
    return info.read_text().splitlines() if info.exists() else []
