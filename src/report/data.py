"""What the report stands on: one experiment read whole, and which test utterances to show."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.errors import UserError
from core.files import read_json
from core.records import MetricScore, UtteranceScore
from evaluation.readings import name_reading_problems
from languages import command_for_folder, data_root
from training.experiment import is_finished, read_metrics
from units.corpus import read_corpus

MAX_RUN_FRAMES = 25  # half a second; longer runs are counted here too
RANKING_METRICS = ("cer", "mel_distance_nat", "mcd_db")  # "best" and "worst" mean the first of these that was measured


class Scores(NamedTuple):
    """An experiment's scores.json."""

    metrics: dict[str, MetricScore]
    utterances: list[UtteranceScore]
    n_utterances: int
    seconds: float  # of test speech
    checkpoint: str | None  # "best" or "latest"
    step: int | None  # of the checkpoint
    asr: dict[str, str] | None  # the recogniser that listened: model, language, dtype
    skipped: list[Any]


class Experiment(NamedTuple):
    """An experiment folder and what belongs to it. What it does not have is None, or empty."""

    path: Path
    name: str
    language: str
    generator: str | None  # v1 to v4
    n_units: int | None
    n_streams: int
    encoder: str  # of the units
    arguments: dict[str, object]
    derived: dict[str, object]
    environment: dict[str, Any]  # commit, machine and versions of the run
    input_hash: str | None
    finished: bool
    log: list[dict[str, float]]  # rows of metrics.jsonl
    scores: Scores | None
    units_path: Path | None  # folder of phase 1
    unit_report: dict[str, Any] | None
    bpe_path: Path | None  # folder of phase 2
    motifs: list[dict[str, Any]] | None
    data_root: Path


def load_experiment(path: Path) -> Experiment:
    """Everything known about the experiment folder ``path``; UserError where it has no config.json."""
    path = Path(path).resolve()
    if not (path / "config.json").is_file():
        command = command_for_folder("run_phase3.sh", path)
        raise UserError(f"{path}: expected an experiment folder with config.json, found none; run: {command}")
    config = read_json(path / "config.json")
    derived = config.get("derived") or {}
    units_path, bpe_path = related_experiments(path, derived)
    root = derived.get("data_root")
    return Experiment(
        path=path,
        name=path.name,
        language=_language_of(path, derived),
        generator=derived.get("generator"),
        n_units=derived.get("n_units"),
        n_streams=derived.get("n_streams") or 1,
        encoder=_encoder_of(units_path),
        arguments=config.get("arguments") or {},
        derived=derived,
        environment=config.get("environment") or {},
        input_hash=config.get("input_hash"),
        finished=is_finished(path),
        log=read_metrics(path),
        scores=_read_scores(path / "scores.json"),
        units_path=units_path,
        unit_report=_read_if_there(units_path, "unit_report.json"),
        bpe_path=bpe_path,
        motifs=_read_if_there(bpe_path, "motifs.json", list),
        data_root=Path(root) if root and Path(root).is_dir() else data_root(),
    )


def _language_of(path: Path, derived: dict[str, object]) -> str:
    return derived.get("language") or path.name.split("_")[0]


def _encoder_of(units_path: Path | None) -> str:
    config = _read_if_there(units_path, "config.json") or {}
    return str((config.get("derived") or {}).get("encoder") or "")


def _read_if_there(folder: Path | None, name: str, kind: type = dict) -> Any:
    return read_json(folder / name, kind) if folder and (folder / name).is_file() else None


def _read_scores(path: Path) -> Scores | None:
    if not path.is_file():
        return None
    found = read_json(path)
    return Scores(
        metrics=found.get("metrics") or {},
        utterances=found.get("utterances") or [],
        n_utterances=found.get("n_utterances", 0),
        seconds=found.get("seconds", 0),
        checkpoint=found.get("checkpoint"),
        step=found.get("step"),
        asr=found.get("asr"),
        skipped=found.get("skipped") or [],
    )


def related_experiments(path: Path, derived: dict[str, Any]) -> tuple[Path | None, Path | None]:
    """The folders of phases 1 and 2 that ``path`` belongs to: as its config says, else its neighbours by name."""
    language = _language_of(path, derived)
    units = _folder_near(path, derived.get("units_exp"))
    if units is None and path.name.startswith(f"{language}_units"):
        units = path
    if units is None:
        units = _folder_near(path, f"{language}_units{_tag_of(path.name, language)}")
    bpe = _folder_near(path, derived.get("bpe_exp"))
    if bpe is None and units is not None:
        bpe = _folder_near(path, units.name.replace("_units", "_bpe", 1))
    return units, bpe


def _tag_of(name: str, language: str) -> str:
    """'_w4' of 'spanish_vocoder_v4_w4' or 'spanish_bpe_w4'; '' without a tag."""
    words = name.removeprefix(f"{language}_").split("_")
    words = words[1:] if words and words[0] in ("vocoder", "bpe", "units") else words
    words = words[1:] if words and words[0] in ("v1", "v2", "v3", "v4") else words
    return "_" + "_".join(words) if words and words[0] else ""


def _folder_near(path: Path, name: str | None) -> Path | None:
    """The folder ``name``, or the neighbour of ``path`` with that name (an experiment copied from another machine)."""
    if not name:
        return None
    for candidate in (Path(name), path.parent / Path(name).name):
        if candidate.is_dir():
            return candidate.resolve()
    return None


def choose_examples(
    utterances: Sequence[UtteranceScore], n_examples: int
) -> tuple[str | None, list[tuple[str, UtteranceScore]]]:
    """A spread from best to worst: the ranking metric, and (rank in words, utterance) pairs; equal values go by id.

    The CER of a recogniser that does not know the language ranks nothing.
    """
    unknown = {"cer"} if name_reading_problems(utterances) else set()
    names = [name for name in RANKING_METRICS if name not in unknown]
    metric = next((name for name in names if any(is_number(row.get(name)) for row in utterances)), None)
    if metric is None:
        by_id = sorted(utterances, key=lambda row: row["id"])
        return None, [(row["id"], row) for row in by_id[:n_examples]]
    ranked = sorted((row for row in utterances if is_number(row.get(metric))), key=lambda row: (row[metric], row["id"]))
    ranks = np.unique(np.round(np.linspace(0, len(ranked) - 1, min(n_examples, len(ranked)))).astype(int))
    return metric, [(_name_rank(int(rank), len(ranked)), ranked[rank]) for rank in ranks]


def _name_rank(rank: int, n_ranked: int) -> str:
    named = {n_ranked // 2: "median", n_ranked - 1: "worst", 0: "best"}
    return named.get(rank, f"rank {rank + 1} of {n_ranked}")


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def count_units(experiment: Experiment) -> tuple[np.ndarray, np.ndarray] | None:
    """Frames of each unit (K,) and runs of each length in frames (MAX_RUN_FRAMES,), streamed from the corpus.

    Longer runs are counted in the last place. None where there is no corpus.
    """
    corpus = experiment.units_path / "corpus_timestamped.json" if experiment.units_path else None
    if corpus is None or not corpus.is_file():
        return None
    usage, runs = np.zeros(experiment.n_units or 1), np.zeros(MAX_RUN_FRAMES)
    for utterance in read_corpus(corpus):
        durations = utterance["durations"]
        frames = np.bincount(utterance["units"], weights=durations, minlength=len(usage))
        usage = frames + np.pad(usage, (0, len(frames) - len(usage)))
        lengths = np.minimum(durations, MAX_RUN_FRAMES).astype(np.int64) - 1
        runs += np.bincount(lengths, minlength=MAX_RUN_FRAMES)
    return usage, runs


def unit_summary(experiment: Experiment) -> dict[str, Any]:
    """The whole corpus's part of unit_report.json ({} where there is none)."""
    splits = (experiment.unit_report or {}).get("splits") or {}
    return splits.get("all") or splits.get("train") or next(iter(splits.values()), {})
