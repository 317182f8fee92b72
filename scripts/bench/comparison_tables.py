"""Systems side by side, in Markdown for docs/results/: what they cost, how they score, and where that was measured."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from core.files import read_json
from core.records import MetricScore
from evaluation.metrics import METRICS
from evaluation.scores import compare, excludes_zero, format_score


class Cost(NamedTuple):
    """What a generator costs, measured in a process of its own: one system's entry of speed.json."""

    parameters: int
    gmac_a_second: float  # thousand million multiply-accumulates a second of speech
    synthesis_mib: float  # peak memory of speaking once
    channels: int | None  # None: the full size


class TrainingSpeed(NamedTuple):
    """How fast the trainer goes, without and with discriminators."""

    plain: list[float]  # seconds of audio a second, step by step
    adversarial: list[float]
    plain_mib: float  # peak memory
    adversarial_mib: float


Spoken = dict[str, list[float]]  # by system: × real time of every repetition


def read_training(runs: dict[str, dict[str, list[float] | float]]) -> dict[str, TrainingSpeed]:
    """``training`` of speed.json, by system."""
    keys = ("without", "with", "without_mib", "with_mib")
    return {name: TrainingSpeed(*(run[key] for key in keys)) for name, run in runs.items()}


def speed_table(*, training: dict[str, dict], synthesis: dict[str, Spoken], **found: dict) -> str:
    """Markdown of speed.json's content: a row a system, medians; then ratios of systems within one repetition.

    training: empty where nothing was trained.
    """
    trained = read_training(training)
    head = ["generator", "channels", "parameters (M)", "GMAC a second of speech"]
    head += [f"synthesis, {describe_way(way)} (× real time)" for way in synthesis]
    head += ["training without, with discriminators (s of audio a s)"] if training else []
    head += ["peak memory: synthesis, training without, with (MiB)" if training else "peak memory (MiB)"]
    lines = head_lines(head)
    systems = list(next(iter(synthesis.values())))
    for name in systems:
        spoken = [speeds[name] for speeds in synthesis.values()]
        lines.append(table_row([name, *cost_cells(Cost(**found[name]), trained.get(name), spoken)]))
    ratios = [*synthesis_ratios(synthesis), *precision_ratios(synthesis), *training_ratios(trained)]
    return "\n".join([*lines, *([""] if ratios else []), *ratios])


def cost_cells(cost: Cost, speed: TrainingSpeed | None, spoken: list[list[float]]) -> list[str]:
    cells = [str(cost.channels or "full"), f"{cost.parameters / 1e6:.2f}", f"{cost.gmac_a_second:.3f}"]
    cells += [f"{statistics.median(speeds):.1f}" for speeds in spoken]
    if speed is None:
        return [*cells, f"{cost.synthesis_mib:.0f}"]
    cells += [f"{statistics.median(speed.plain):.2f}, {statistics.median(speed.adversarial):.2f}"]
    return [*cells, f"{cost.synthesis_mib:.0f}, {speed.plain_mib:.0f}, {speed.adversarial_mib:.0f}"]


def head_lines(cells: list[str]) -> list[str]:
    return [table_row(cells), "|" + "---|" * len(cells)]


def table_row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def describe_way(way: str) -> str:
    """In words, where and in which precision was spoken: "2 bf16" on two cores, "cuda bf16" on a GPU."""
    where, precision = way.split()
    return f"{where} core(s), {precision}" if where.isdigit() else f"GPU, {precision}"


def synthesis_ratios(synthesis: dict[str, Spoken]) -> list[str]:
    """A line for each comparison of a version with the one before, each within one repetition."""
    lines = []
    for way, speeds in synthesis.items():
        for one, other in (("v3", "v2"), ("v4", "v3")):
            ratios = [a / b for a, b in zip(speeds.get(one, []), speeds.get(other, []))]
            if ratios:
                lines.append(
                    f"- synthesis {way}: {one} is {statistics.median(ratios):.1f} × {other} "
                    f"({min(ratios):.1f} to {max(ratios):.1f} over {len(ratios)} repetitions)"
                )
    return lines


def precision_ratios(synthesis: dict[str, Spoken]) -> list[str]:
    """A line for each comparison of bf16 with fp32, each within one repetition."""
    lines = []
    for where in dict.fromkeys(way.split()[0] for way in synthesis):
        for name in ("v3", "v4"):
            pairs = [synthesis.get(f"{where} {precision}", {}).get(name, []) for precision in ("bf16", "fp32")]
            if ratios := [a / b for a, b in zip(*pairs)]:
                lines.append(f"- {name}, {describe_way(f'{where} bf16')} is {statistics.median(ratios):.2f} × fp32")
    return lines


def training_ratios(trained: dict[str, TrainingSpeed]) -> list[str]:
    """A line for each way of training, V3 with V2."""
    if not {"v2", "v3"} <= set(trained):
        return []
    v3, v2, lines = trained["v3"], trained["v2"], []
    for kind, speeds in (("without", (v3.plain, v2.plain)), ("with", (v3.adversarial, v2.adversarial))):
        one, other = map(statistics.median, speeds)
        lines.append(f"- training {kind} discriminators: v3 is {one / other:.1f} × v2")
    return lines


def quality_tables(exps: list[Path]) -> str:
    """Markdown: means with 95 % intervals, then differences to the first experiment paired by utterance."""
    scores = [read_json(exp / "scores.json") for exp in exps]
    metrics, utterances = ([found[key] for found in scores] for key in ("metrics", "utterances"))
    columns = [name for name in METRICS if any(name in found for found in metrics)]
    n, seconds = (scores[0][key] for key in ("n_utterances", "seconds"))
    lines = [f"{n} test utterances, {seconds:.0f} s; mean [95 % interval]", ""]
    lines += head_lines(["system", "minutes", "steps", *(f"{name} {METRICS[name].unit}".strip() for name in columns)])
    for exp, found in zip(exps, metrics):
        seconds, step = (read_json(exp / "finished.json")[key] for key in ("seconds", "step"))
        cells = [format_interval(name, found.get(name)) for name in columns]
        lines.append(table_row([exp.name, f"{seconds / 60:.1f}", str(step), *cells]))
    lines += ["", f"minus {exps[0].name}, paired; bold where the interval leaves out 0", ""]
    lines += head_lines(["system", *columns])
    for exp, rows in zip(exps[1:], utterances[1:]):
        differences = compare(rows, utterances[0])
        cells = [format_interval(name, differences.get(name), signed=True) for name in columns]
        lines.append(table_row([exp.name, *cells]))
    return "\n".join(lines)


def format_interval(metric: str, entry: MetricScore | None, *, signed: bool = False) -> str:
    if entry is None:
        return "–"
    mean, interval = format_score(metric, entry, signed=signed)
    return f"{f'**{mean}**' if signed and excludes_zero(entry) else mean} {interval}"


def describe_run(
    *,
    command: str,
    git_commit: str | None,
    git_dirty: bool | None,
    machine: str,
    packages: dict[str, str],
    load_average: Sequence[float],
    training_threads: str,
    cuda: str | None = None,
    **_: object,
) -> str:
    """One line: command, commit, machine and load, of ``training.experiment.describe_environment``.

    load_average: before the work.
    """
    commit = f"{(git_commit or 'no git')[:9]}{' (with changes)' if git_dirty else ''}"
    processor = next((line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")), "")
    processor += f", {cuda}" if cuda else ""
    return (
        f"`{command}`; commit {commit}; {machine}, {processor}; training on {training_threads} threads; "
        f"torch {packages['torch']}; load average {load_average[0]:.1f}"
    )


def _cpu_lines() -> list[str]:
    info = Path("/proc/cpuinfo")
    return info.read_text().splitlines() if info.exists() else []
