# What the job scripts of the speech LLM share (train*.sh, sweep_connectors.sh); sourced after `set -euo pipefail`.
# shellcheck shell=bash

source "$(dirname -- "${BASH_SOURCE[0]}")/shell_functions.sh"
source "$(dirname -- "${BASH_SOURCE[0]}")/gpu_functions.sh"

# start_training FLAG…: shows the help or sets up the shell, takes N_GPUS free GPUs, and sets flags (an array).
start_training() {
  case "${1:-}" in -h | --help) show_help && exit 0 ;; esac
  source "$repository/path.sh" "${HF_HUB_OFFLINE:-1}"
  flags=("$@")
  if ! has_flag --data "$@"; then flags=(--data "$DATA_ROOT/${TRAINING_LANGUAGE:-english}" "${flags[@]}"); fi
  settle_devices
  python_command src/trainer_base.py
}

# speech_llm NAME FLAG…: trains or generates in EXP_ROOT/NAME, continuing where it was; sets step_code.
speech_llm() {
  local exp="$EXP_ROOT/$1"
  shift
  if ! has_flag --resume "$@" && ! has_flag --overwrite "$@"; then set -- --resume auto "$@"; fi
  try_step "${command[@]}" --exp "$exp" "$@"
}

# train_and_score NAME FLAG…: trains, transcribes the test splits, prints their error rates; stops where it fails.
train_and_score() {
  local exp="$EXP_ROOT/$1" splits=()
  speech_llm "$1" --do_train --do_generate "${@:2}"
  if [ "$step_code" != 0 ]; then exit "$step_code"; fi
  readarray -t splits < <(compgen -G "$exp/*_predictions.json")
  run_step python "$repository/src/calculate_wer.py" --unpaired --normaliser unicode --json "$exp/wer.json" --input "${splits[@]}"
}
