#!/usr/bin/env bash
# usage: bash scripts/sweep_connectors.sh [flags of src/trainer_base.py]
#
# Every kind of connector with every factor, one after the other, and a table of their error rates, each compared with
# the first. Run again, it goes on where it was; what failed is named, and the others are trained all the same.
#
#   CONNECTORS           pre and post (transformers by their norm), mlp, conv, qformer; all of them by default. encoder:
#                        the speech encoder's own top layers
#   FACTORS              frames of 20 ms that one position of the LLM stands for; default "2 4 6"
#   EXPERIMENT           experiments are EXP_ROOT/EXPERIMENT_<connector>_f<factor> (speech_llm_sweep)
#   N_GPUS               GPUs, one process each (torchrun); 0 trains on the processor
#   TRAINING_LANGUAGE    folder below DATA_ROOT, where no --data is given (english)
set -euo pipefail
N_GPUS="${N_GPUS:-1}"
EXPERIMENT="${EXPERIMENT:-speech_llm_sweep}"
source "$(dirname -- "${BASH_SOURCE[0]}")/speech_llm_functions.sh"

start_training "$@"
inputs=() failed=()
split="$(flag_value --test-splits test "$@")" # the first, where there are several
for connector in ${CONNECTORS:-pre post mlp conv qformer}; do
  case "$connector" in
    pre | post) kind=(--connector transformer --norm "$connector") ;;
    *) kind=(--connector "$connector") ;;
  esac
  for factor in ${FACTORS:-2 4 6}; do
    name="${EXPERIMENT}_${connector}_f$factor"
    speech_llm "$name" --do_train --do_generate "${flags[@]}" "${kind[@]}" --factor "$factor"
    if [ "$step_code" = 0 ]; then inputs+=("$EXP_ROOT/$name/${split}_predictions.json"); else failed+=("$name"); fi
  done
done
if [ "${#failed[@]}" -gt 0 ]; then echo "failed: ${failed[*]}" >&2; fi
if [ "${#inputs[@]}" = 0 ]; then fail "none of the connectors could be trained"; fi
run_step python "$repository/src/calculate_wer.py" --normaliser unicode --worst 0 --json "$EXP_ROOT/$EXPERIMENT.json" \
  --input "${inputs[@]}"
[ "${#failed[@]}" = 0 ]
