#!/usr/bin/env bash
# usage: bash scripts/run_phase2.sh <language> [flags of src/train_bpe.py]
#
# Phase 2: units -> motifs, by byte-pair encoding. Needs a finished phase 1, writes exp/<language>_bpe/. Run again, it does
# what is missing; `bash scripts/run_phase2.sh <language> --help` lists the flags.
#
#   TRAINING_LANGUAGE   the language, where none is given
#   TAG                 suffix of the experiment's name, the same as in phase 1
#   BACKEND             local, slurm, sge, modal or auto: submit the phase there and return (docs/launching.md), with
#                       CPUS, MEMORY (GB), HOURS, PARTITION, ACCOUNT, CONSTRAINT, REQUEUES, ENGINE_ARGS
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/shell_functions.sh"

start_phase "$@"
refuse_unread PHASE2_ARGS "$@"
exp="$(flag_value --exp "$(look_up bpe)" "${flags[@]}")"
if is_submitted "$@"; then
  launch "$exp" "" scripts/run_phase2.sh "$language" "${flags[@]}"
  exit
fi
in_chain
run_step python "$repository/src/train_bpe.py" --language "$language" --tag "$tag" "${flags[@]}"
if asks_for_help "${flags[@]}"; then exit; fi
say_written "$exp" tokenizer.json motifs.json
say_next "$(command_for run_phase3.sh)"
