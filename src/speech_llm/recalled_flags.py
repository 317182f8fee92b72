"""The flags that a model was trained with, for a run that goes on or a model that writes."""

from collections.abc import Mapping, Set
from pathlib import Path

from core.errors import UserError
from training.experiment import read_arguments

PATH_FLAGS = ("data", "units_exp", "bpe_exp", "feature_cache")
RUN_FLAGS = frozenset({"exp", "do_train", "do_generate", "resume", "overwrite"})
COLUMN_FLAGS = ("text_field", "audio_field", "id_field")
# What a model is made of.
MODEL_FLAGS = ("front_end", "speech_enc_id", "speech_enc_layer", "padding", "units_exp", "bpe_exp")
MODEL_FLAGS += ("llm_id", "llm_revision", "llm_bits", "prompt", "lora_r", "lora_alpha", "lora_dropout", "lora_targets")
MODEL_FLAGS += ("connector", "merge_frames", "factor", "width", "n_layers", "n_heads", "feedforward")
MODEL_FLAGS += ("norm", "no_final_norm", "no_positions", "ctc_compress", "ctc_embedding", "ctc_tokens")
MODEL_FLAGS += ("ctc_draft", "draft_noise")
HEAD_FLAGS = frozenset({"ctc_warmup_steps", "ctc_loss_weight", "text_only"})  # each says how a CTC head is trained


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


def recall_model(folder: Path, flags: Mapping[str, object], given: Set[str]) -> dict[str, object]:
    """``flags`` with those that are not ``given`` as the model in ``folder`` is made, for a training that starts there.

    A CTC head goes on as it was trained: alone, or beside the LLM. A folder without flags, a model that came without
    its experiment, changes nothing. Raises UserError where it learnt texts alone, and nothing says how to go on.
    """
    began = read_arguments(folder)
    found = {name: began[name] for name in MODEL_FLAGS if name in began and name in flags and name not in given}
    found |= {name: Path(found[name]) for name in PATH_FLAGS if found.get(name) is not None}
    if flags.get("text_only"):  # the LLM reads no draft then
        found = {name: value for name, value in found.items() if name not in ("ctc_draft", "draft_noise")}
    if given & HEAD_FLAGS or not began:
        return {**flags} | found
    if began.get("text_only"):
        raise UserError(
            f"--from_pretrained {folder}: it has learnt texts alone, and its CTC head nothing new; go on from "
            f"{began.get('from_pretrained')}, or say how: --text_only, --ctc_warmup_steps or --ctc_loss_weight"
        )
    steps, alone = began.get("steps"), began.get("ctc_warmup_steps") or 0
    if alone and steps is not None and alone >= steps:
        if flags["steps"] is None:
            raise UserError(f"--from_pretrained {folder}: is a CTC head alone; give --steps in place of --max_minutes")
        return {**flags} | found | {"ctc_warmup_steps": flags["steps"]}
    return {**flags} | found | {"ctc_loss_weight": began.get("ctc_loss_weight")}
