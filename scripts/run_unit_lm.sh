#!/usr/bin/env bash
# usage: bash scripts/run_unit_lm.sh <language> [flags of src/trainer_unit_lm.py]
#
# A language model of units: train it and score it. Needs a finished phase 1 of each of its languages, with --input bpe
# phase 2 too; writes exp/<language>_unit_lm/. Run again, it goes on from the last checkpoint.
#
#   TRAINING_LANGUAGE   the language, where none is given
#   TAG                 suffix of the experiment's name, the same as in phase 1
#   NPROC               processes (one a GPU); default 1
#   BACKEND             local, slurm, sge, modal or auto: submit the training there and return (docs/launching.md), with
#                       GPUS, NODES, CPUS, MEMORY (GB), HOURS, PARTITION, ACCOUNT, CONSTRAINT, REQUEUES, ENGINE_ARGS
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/shell_functions.sh"

start_phase "$@"
refuse_unread UNIT_LM_ARGS "$@"
exp="$(flag_value --exp "$(look_up unit_lm)" "${flags[@]}")"
if is_submitted "$@"; then
  launch "$exp" "" scripts/run_unit_lm.sh "$language" "${flags[@]}"
  exit
fi
python_command src/trainer_unit_lm.py
run_step "${command[@]}" --language "$language" --tag "$tag" "${flags[@]}"
if asks_for_help "${flags[@]}"; then exit; fi
run_step python "$repository/src/unit_lm_test.py" --exp "$exp"
say_written "$exp" checkpoints/best.pt checkpoints/latest.pt scores.json metrics.jsonl
