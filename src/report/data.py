"""What the report stands on: one experiment read whole, paired differences, and which test items to show."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.files import read_json
from evaluation.scores import compare
from languages import data_root
from training.experiment import is_finished, read_metrics
from units.corpus import read_corpus

LONGEST_RUN = 25  # frames: half a second; longer runs are counted here too
RANKING_METRICS = ("cer", "mel_distance_nat", "mcd_db")  # what "best" and "worst" mean, the first one that is there


def load_experiment(exp: Path) -> dict:
    """Everything known about ``exp``; what is not there is None (or empty).

    Keys: ``exp``, ``name``, ``config``, ``derived``, ``metrics`` (rows), ``scores``, ``units_exp``, ``unit_report``,
    ``encoder``, ``bpe_exp``, ``motifs``, ``data_root``, ``finished``.
    """
    exp = Path(exp).resolve()
    if not (exp / "config.json").is_file():
        raise UserError(f"{exp}: expected an experiment folder with config.json, found none; give exp/<name>")
    config = read_json(exp / "config.json")
    derived = config.get("derived") or {}
    units_exp, bpe_exp = related_experiments(exp, derived)
    root = derived.get("data_root")
    return {
        "exp": exp,
        "name": exp.name,
        "config": config,
        "derived": derived,
        "metrics": read_metrics(exp),
        "scores": _read_if_there(exp / "scores.json"),
        "units_exp": units_exp,
        "unit_report": _read_if_there(units_exp / "unit_report.json") if units_exp else None,
        "encoder": _encoder_of(units_exp),
        "bpe_exp": bpe_exp,
        "motifs": _read_if_there(bpe_exp / "motifs.json") if bpe_exp else None,
        "data_root": Path(root) if root and Path(root).is_dir() else data_root(),
        "finished": is_finished(exp),
    }


def _encoder_of(units_exp: Path | None) -> str:
    config = _read_if_there(units_exp / "config.json") if units_exp else None
    return str(((config or {}).get("derived") or {}).get("encoder") or "")


def _read_if_there(path: Path) -> dict | list | None:
    return read_json(path) if path.is_file() else None


def related_experiments(exp: Path, derived: dict) -> tuple[Path | None, Path | None]:
    """The folders of phases 1 and 2 that ``exp`` belongs to: as its config says, else its neighbours by name."""
    language = derived.get("language") or exp.name.split("_")[0]
    units = _folder_near(exp, derived.get("units_exp"))
    if units is None and exp.name.startswith(f"{language}_units"):
        units = exp
    if units is None:
        suffix = _tag_of(exp.name, language)
        units = _folder_near(exp, f"{language}_units{suffix}")
    bpe = _folder_near(exp, derived.get("bpe_exp"))
    if bpe is None and units is not None:
        bpe = _folder_near(exp, units.name.replace("_units", "_bpe", 1))
    return units, bpe


def _tag_of(name: str, language: str) -> str:
    """'_w4' of 'spanish_vocoder_v3_w4' or 'spanish_bpe_w4'; '' without a tag."""
    words = name.removeprefix(f"{language}_").split("_")
    words = words[1:] if words and words[0] in ("vocoder", "bpe", "units") else words
    words = words[1:] if words and words[0] in ("v1", "v2", "v3") else words
    return "_" + "_".join(words) if words and words[0] else ""


def _folder_near(exp: Path, name: str | None) -> Path | None:
    """``name`` as it stands, or a folder of that name beside ``exp`` (an experiment copied from another machine)."""
    if not name:
        return None
    for candidate in (Path(name), exp.parent / Path(name).name):
        if candidate.is_dir():
            return candidate.resolve()
    return None


def choose_examples(utterances: Sequence[dict], n_examples: int) -> tuple[str | None, list[tuple[str, dict]]]:
    """A spread from best to worst: the ranking metric, and (label, utterance) pairs; equal values go by id."""
    metric = next((name for name in RANKING_METRICS if any(is_number(item.get(name)) for item in utterances)), None)
    if metric is None:
        return None, [(item["id"], item) for item in sorted(utterances, key=lambda item: item["id"])[:n_examples]]
    ranked = sorted(
        (item for item in utterances if is_number(item.get(metric))), key=lambda item: (item[metric], item["id"])
    )
    ranks = np.unique(np.round(np.linspace(0, len(ranked) - 1, min(n_examples, len(ranked)))).astype(int))
    return metric, [(_rank_label(int(rank), len(ranked)), ranked[rank]) for rank in ranks]


def _rank_label(rank: int, n_ranked: int) -> str:
    named = {n_ranked // 2: "median", n_ranked - 1: "worst", 0: "best"}
    return named.get(rank, f"rank {rank + 1} of {n_ranked}")


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def metric_keys(rows: Sequence[dict]) -> list[str]:
    """Every numeric key of the log but step and seconds: validation first, then by name."""
    keys = {key for row in rows for key, value in row.items() if isinstance(value, int | float)} - {"step", "seconds"}
    return sorted(keys, key=lambda key: (not key.startswith("validation"), key))


def curve(rows: Sequence[dict], key: str, x_key: str) -> tuple[list[float], list[float]]:
    points = [(row[x_key], row[key]) for row in rows if _has_numbers(row, x_key, key)]
    return [x for x, _ in points], [y for _, y in points]


def _has_numbers(row: dict, *keys: str) -> bool:
    return all(isinstance(row.get(key), int | float) for key in keys)


def paired_differences(experiments: Sequence[dict]) -> dict[str, dict]:
    """{experiment's name: {metric: its mean minus the first experiment's, paired, with its 95 % interval}}."""
    if not experiments or not experiments[0]["scores"]:
        return {}
    first = experiments[0]["scores"]["utterances"]
    return {item["name"]: compare(item["scores"]["utterances"], first) for item in experiments[1:] if item["scores"]}


def count_units(experiment: dict) -> tuple[np.ndarray, np.ndarray] | None:
    """Frames of each unit (K,) and runs of 1 to LONGEST_RUN frames (longer ones in the last), streamed from the corpus.

    None where there is no corpus.
    """
    corpus = experiment["units_exp"] / "corpus_timestamped.json" if experiment["units_exp"] else None
    if corpus is None or not corpus.is_file():
        return None
    usage, runs = np.zeros(experiment["derived"].get("n_units") or 1), np.zeros(LONGEST_RUN)
    for utterance in read_corpus(corpus):
        frames = np.bincount(utterance["units"], weights=utterance["durations"], minlength=len(usage))
        usage = frames + np.pad(usage, (0, len(frames) - len(usage)))
        lengths = np.minimum(utterance["durations"], LONGEST_RUN).astype(np.int64) - 1
        runs += np.bincount(lengths, minlength=LONGEST_RUN)
    return usage, runs


def unit_summary(experiment: dict) -> dict:
    """The whole corpus's part of unit_report.json ({} where there is none)."""
    splits = (experiment["unit_report"] or {}).get("splits") or {}
    return splits.get("all") or splits.get("train") or next(iter(splits.values()), {})
