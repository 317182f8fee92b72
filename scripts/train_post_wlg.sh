#!/usr/bin/env bash
# usage: qsub scripts/train_post_wlg.sh [flags of src/trainer_base.py]     on a Grid Engine, from the repository
#        bash scripts/train_post_wlg.sh [flags]                          anywhere, at once
#
# A speech LLM with a post-norm transformer as connector, in two steps: first behind the encoder of the trainer's default,
# whose features are cheap, in EXP_ROOT/EXPERIMENT_small; then, from these weights, behind a large encoder, in
# EXP_ROOT/EXPERIMENT. What the encoder's width decides starts over. Otherwise as train.sh.
#
# Before its time limit a job gets a signal, saves, and ends with code 99, which puts it back into the queue; there it goes on
# where it was. Plain bash does the same in place: run it again. Once set up (source path.sh), other resources are options:
# qsub -l gpu=2 -pe smp 8 -v N_GPUS=2 scripts/train_post_wlg.sh
#
#   N_GPUS               GPUs, one process each (torchrun); as many as -l gpu asks for; 0 trains on the processor
#   EXPERIMENT           folder below EXP_ROOT
#   TRAINING_LANGUAGE    folder below DATA_ROOT, where no --data is given (english)
#   LARGE_ENCODER        the second step's encoder, hub id or folder (openai/whisper-large-v3)
#   FROM_PRETRAINED      an experiment to continue from; the first step is left out
#
#$ -N train_post_wlg
#$ -S /bin/bash
#$ -cwd
#$ -j y
#$ -notify
#$ -r y
#$ -pe smp 4
#$ -l gpu=1
#$ -l h_rt=24:00:00,s_rt=23:50:00
#$ -v N_GPUS,EXPERIMENT,LARGE_ENCODER,FROM_PRETRAINED,TRAINING_LANGUAGE,DATA_ROOT,EXP_ROOT,HF_HOME,ORAL_UNITS_VENV,VIRTUAL_ENV,CONDA_PREFIX,PATH
set -euo pipefail
N_GPUS="${N_GPUS:-1}"
EXPERIMENT="${EXPERIMENT:-speech_llm_post_wlg}"
LARGE_ENCODER="${LARGE_ENCODER:-openai/whisper-large-v3}"
FROM_PRETRAINED="${FROM_PRETRAINED:-}"

# Grid Engine runs a copy in its spool: there, the repository is where qsub was called.
scripts="$(dirname -- "${BASH_SOURCE[0]}")"
if [ ! -e "$scripts/speech_llm_functions.sh" ]; then scripts="${SGE_O_WORKDIR:-$PWD}/scripts"; fi
if [ ! -e "$scripts/speech_llm_functions.sh" ]; then
  echo "error: $scripts: expected the scripts of oral-units, found none; call qsub in the folder of the repository" >&2
  exit 2
fi
source "$scripts/speech_llm_functions.sh"

start_training "$@"
post_norm=(--connector transformer --norm post)
if [ -z "$FROM_PRETRAINED" ]; then
  FROM_PRETRAINED="$EXP_ROOT/${EXPERIMENT}_small"
  speech_llm "${EXPERIMENT}_small" --do_train "${post_norm[@]}" "${flags[@]}"
  if [ "$step_code" != 0 ]; then exit "$step_code"; fi
fi
continued=(--speech_enc_id "$LARGE_ENCODER" --from_pretrained "$FROM_PRETRAINED")
train_and_score "$EXPERIMENT" "${post_norm[@]}" "${flags[@]}" "${continued[@]}"
