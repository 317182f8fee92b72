#!/usr/bin/env bash
# usage: bash scripts/run_phase3.sh <language> [flags of src/trainer_vocoder.py]
#
# Phase 3: a voice that speaks units. Needs a finished phase 1, writes exp/<language>_vocoder_v4/. Run again, it goes on
# from the last checkpoint; `bash scripts/run_phase3.sh <language> --help` lists the flags.
#
# The budget is --max_minutes, --steps or --epochs. Without one, voices whose encoder needs no download (mfcc, logmel)
# train for 4 minutes, others for the trainer's own default.
#
#   TRAINING_LANGUAGE   the language, where none is given
#   TAG                 suffix of the experiment's name, the same as in phase 1
#   NPROC               processes (one a GPU); default 1
#   BACKEND             local, slurm, sge, modal or auto: submit the phase there and return (docs/launching.md), with
#                       GPUS, NODES, CPUS, MEMORY (GB), HOURS, PARTITION, ACCOUNT, CONSTRAINT, REQUEUES, ENGINE_ARGS
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/shell_functions.sh"

start_phase "$@"
refuse_unread PHASE3_ARGS "$@"
exp="$(flag_value --exp "$(look_up vocoder)" "${flags[@]}")"
read_budget "$(chosen_encoder)" "${flags[@]}"
if is_submitted "$@"; then
  submit_phase3 "" "${flags[@]}"
  exit
fi
in_chain
python_command src/trainer_vocoder.py
run_step "${command[@]}" --language "$language" --tag "$tag" "${flags[@]}" "${budget[@]}"
if asks_for_help "${flags[@]}"; then exit; fi
say_written "$exp" checkpoints/best.pt checkpoints/latest.pt samples metrics.jsonl
say_next "$(as_typed python src/vocoder_test.py --exp "$exp")   (scores), then" \
  "$(as_typed python src/build_report.py "$exp")   (report.html)"
