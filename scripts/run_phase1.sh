#!/usr/bin/env bash
# usage: bash scripts/run_phase1.sh <language> [flags of src/extract_units.py]
#
# Phase 1: segments -> acoustic units. Needs data/<language>/segments.jsonl, writes exp/<language>_units/ and a report on
# the units. Run again, it does what is missing; `bash scripts/run_phase1.sh <language> --help` lists the flags.
#
#   TRAINING_LANGUAGE   the language, where none is given
#   TAG                 suffix of the experiment's name: TAG=w4 makes exp/<language>_units_w4
#   NPROC               processes (one a GPU); default 1
#   BACKEND             local, slurm, sge, modal or auto: submit the phase there and return (docs/launching.md), with
#                       GPUS, CPUS, MEMORY (GB), HOURS, PARTITION, ACCOUNT, CONSTRAINT, REQUEUES, ENGINE_ARGS,
#                       and SHARDS: arrays of so many tasks, ARRAY_PARALLELISM of them at a time
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/shell_functions.sh"

start_phase "$@"
refuse_unread PHASE1_ARGS "$@"
exp="$(flag_value --exp "$(look_up units)" "${flags[@]}")"
if is_submitted "$@"; then
  submit_phase1 "${flags[@]}"
  exit
fi
in_chain
python_command src/extract_units.py
run_step "${command[@]}" --language "$language" --tag "$tag" "${flags[@]}"
if asks_for_help "${flags[@]}"; then exit; fi
run_step python "$repository/src/validate_units.py" --exp "$exp"
say_written "$exp" corpus_timestamped.json kmeans.npz kmeans.pkl unit_report.json
say_next "$(command_for run_phase2.sh)"
