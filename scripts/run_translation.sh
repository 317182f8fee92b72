#!/usr/bin/env bash
# usage: bash scripts/run_translation.sh <source> <target> [flags of src/trainer_translation.py]
#
# A translator between voices: train it and score it. Needs a table of pairs (recipes/prompt_pairs), a finished phase 1
# of the target and, without --features, of the sources. Writes exp/<source>_<target>_translation/. Run again, it goes
# on from the last checkpoint.
#
#   TAG                 suffix of the experiment's name, the same as in phase 1
#   NPROC               processes (one a GPU); default 1
#   BACKEND             local, slurm, sge, modal or auto: submit the training there and return (docs/launching.md), with
#                       GPUS, NODES, CPUS, MEMORY (GB), HOURS, PARTITION, ACCOUNT, CONSTRAINT, REQUEUES, ENGINE_ARGS
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/shell_functions.sh"

case "${1:-}" in
  "" | -h | --help) show_help && exit 0 ;;
esac
if [[ $# -lt 2 || "$1" == -* || "$2" == -* ]]; then fail "expected a source and a target language, found: $*"; fi
source_language="$1"
shift
start_phase "$@"
exp="$(flag_value --exp "$EXP_ROOT/${source_language}_${language}_translation${tag:+_$tag}" "${flags[@]}")"
if is_submitted "$@"; then
  launch "$exp" "" scripts/run_translation.sh "$source_language" "$language" "${flags[@]}"
  exit
fi
python_command src/trainer_translation.py
run_step "${command[@]}" --source "$source_language" --target "$language" --tag "$tag" --exp "$exp" "${flags[@]}"
if asks_for_help "${flags[@]}"; then exit; fi
run_step python "$repository/src/translation_test.py" --exp "$exp"
say_written "$exp" checkpoints/best.pt checkpoints/latest.pt scores.json metrics.jsonl
