"""The flags that a model was trained with, for a run that goes on or a model that writes."""

from collections.abc import Mapping, Set
from pathlib import Path

from core.errors import UserError
from training.experiment import read_arguments

PATH_FLAGS = ("data", "units_exp", "bpe_exp", "feature_cache")
RUN_FLAGS = frozenset({"exp", "do_train", "do_generate", "resume", "overwrite"})
COLUMN_FLAGS = ("text_field", "audio_field", "id_field")


def recall_flags(exp: Path, flags: Mapping[str, object], given: Set[str], *, changeable: Set[str]) -> dict[str, object]:
    """``flags`` with those that are not ``given`` as the model in ``exp`` was trained with.

    changeable: flags that may differ from then. Another --data has columns of its own. Raises UserError for a given
    flag that contradicts the model.
    """
    began = {name: value for name, value in read_arguments(exp).items() if name in flags and name not in RUN_FLAGS}
    began |= {name: Path(began[name]) for name in PATH_FLAGS if began.get(name) is not None}
    changed = [name for name in sorted(given & began.keys() - changeable) if flags[name] != began[name]]
    if changed:
        name = changed[0]
        raise UserError(
            f"--{name} {flags[name]}: the model in {exp} was trained with {began[name]}; leave it out, or "
            "name another --exp"
        )
    left = given | (set(COLUMN_FLAGS) if "data" in given else set())
    return {**flags} | {name: value for name, value in began.items() if name not in left}
