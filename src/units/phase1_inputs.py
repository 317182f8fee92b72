"""What every trainer that reads phase 1's units sets up: a note of its inputs, the clusters."""

import shutil
from pathlib import Path
from typing import NamedTuple

from core.errors import UserError
from core.files import hash_files, read_json
from core.records import Phase1Origin
from languages import data_root, exp_root
from training.experiment import read_derived

CLUSTERS, DESCRIPTION = "kmeans.npz", "config.json"
CLUSTER_FILES = (CLUSTERS, DESCRIPTION)  # what the units mean, and how they are found in a recording


def describe_inputs(language: str, paths: dict[str, Path]) -> dict[str, str | int]:
    """The ``derived`` values of config.json that say where the inputs lie, and the units' number and streams.

    Raises UserError for units of export_units.py that came without their audio.
    """
    units_exp = paths["units"]
    summary = units_exp / "finished.json"
    lacking = read_json(summary).get("n_without_audio", 0) if summary.exists() else 0
    if lacking:
        raise UserError(
            f"{units_exp}: expected audio under DATA_ROOT for every utterance, found none for {lacking}; name it in "
            "segments.jsonl and read the units again with src/export_units.py"
        )
    units = read_derived(units_exp, "n_units", "n_streams")
    return {
        "language": language,
        "corpus": str(paths["corpus"]),
        "units_exp": str(units_exp),
        "data_root": str(data_root()),
        "cache": str(paths["cache"]),
        "n_units": units["n_units"],
        "n_streams": units["n_streams"],
    }


class Phase1Inputs(NamedTuple):
    """Where what an experiment was trained on lies."""

    corpus: Path
    data_root: Path
    cache: Path


def find_inputs(origin: Phase1Origin) -> Phase1Inputs:
    """Where the inputs of a trained experiment lie, by ``derived`` of its config.json.

    As recorded, or in their place on this machine where the experiment comes from another.
    """
    units = exp_root() / Path(origin["units_exp"]).name
    return Phase1Inputs(
        corpus=_recorded_or(origin["corpus"], units / "corpus_timestamped.json"),
        data_root=_recorded_or(origin["data_root"], data_root()),
        cache=_recorded_or(origin["cache"], data_root() / origin["language"] / "cache"),
    )


def _recorded_or(recorded: str, here: Path) -> Path:
    return Path(recorded) if Path(recorded).exists() else here


def copy_clusters(units_exp: Path, exp: Path) -> None:
    """Copy phase 1's clusters and their description into ``exp``/units, so that it can be used without phase 1."""
    (exp / "units").mkdir(exist_ok=True)
    for name in [DESCRIPTION] if lacks_clusters(units_exp) else CLUSTER_FILES:
        shutil.copyfile(units_exp / name, exp / "units" / name)


def lacks_clusters(units: Path) -> bool:
    """Whether the units were made elsewhere (src/export_units.py --from), so that their clusters are not known here."""
    if (units / CLUSTERS).exists() or not (units / DESCRIPTION).exists():
        return False
    return bool(read_derived(units).get("made_elsewhere"))


def hash_units(units: Path) -> str:
    """What tells one phase 1 from another: the hash of its clusters, or of its description where it has none."""
    return hash_files([units / (DESCRIPTION if lacks_clusters(units) else CLUSTERS)])
