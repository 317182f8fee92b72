#!/usr/bin/env bash
# usage: qsub scripts/train_vocoder.sh [language] [flags of src/trainer_vocoder.py]     on a Grid Engine, from the repository
#        bash scripts/train_vocoder.sh [language] [flags]                               anywhere, at once
#
# Phase 3 as a job: trains until it is done, over as many time limits as that takes. Before the limit the job gets a signal,
# saves, and ends with code 99, which puts it back into the queue; there it goes on where it was. Once set up
# (source path.sh), other resources are options: qsub -l gpu=2 -pe smp 8 -q long.q -v N_GPUS=2 scripts/train_vocoder.sh
#
#   N_GPUS               GPUs, one process each; as many as -l gpu asks for; 0 trains on the processor
#   EXPERIMENT           folder below EXP_ROOT; by default named after the language and TAG
#   TRAINING_LANGUAGE    the language, where none is given

#$ -N train_vocoder
#$ -S /bin/bash
#$ -cwd
#$ -j y
#$ -notify
#$ -r y
#$ -pe smp 4
#$ -l gpu=1
#$ -l h_rt=24:00:00,s_rt=23:50:00
#$ -v N_GPUS,EXPERIMENT,TRAINING_LANGUAGE,TAG,DATA_ROOT,EXP_ROOT,HF_HOME,ORAL_UNITS_VENV,VIRTUAL_ENV,CONDA_PREFIX,PATH
set -euo pipefail
N_GPUS="${N_GPUS:-1}"
EXPERIMENT="${EXPERIMENT:-}"

# Grid Engine runs a copy in its spool: there, the repository is where qsub was called.
scripts="$(dirname -- "${BASH_SOURCE[0]}")"
if [ ! -e "$scripts/shell_functions.sh" ]; then scripts="${SGE_O_WORKDIR:-$PWD}/scripts"; fi
if [ ! -e "$scripts/shell_functions.sh" ]; then
  echo "error: $scripts: expected the scripts of oral-units, found none; call qsub in the folder of the repository" >&2
  exit 2
fi
source "$scripts/shell_functions.sh"
source "$scripts/gpu_functions.sh"

start_phase "$@"
settle_devices
export BACKEND="" # this is the job
if [ -n "$EXPERIMENT" ]; then flags+=(--exp "$EXP_ROOT/$EXPERIMENT"); fi
run_step bash "$scripts/run_phase3.sh" "$language" "${flags[@]}"
