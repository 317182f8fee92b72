#!/usr/bin/env bash
# usage: bash scripts/bench/bench_vocoder.sh [flags of scripts/bench/bench_vocoder.py]
#
# V1, V2 and V3 side by side: what they cost, how they sound after the same minutes of training, and ablations. Needs
# phase 1 of the languages; does it where it is missing. Run again, it does what is missing.
#
#   bash scripts/bench/bench_vocoder.sh --languages spanish english --minutes 8 --asr openai/whisper-base --mos
#   bash scripts/bench/bench_vocoder.sh --stage speed --device cuda --train_steps 40
#   bash scripts/bench/bench_vocoder.sh --stage quality --systems v3 v2 --minutes 60 --asr openai/whisper-base --mos
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/../shell_functions.sh"

case "${1:-}" in -h | --help) show_help && exit 0 ;; esac
source "$repository/path.sh" "${HF_HUB_OFFLINE:-1}"
# Sleeping threads: spinning ones would slow down whatever else runs, and be slowed down by it.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"

read_languages() { # read_languages FLAG…: the words after --languages
  local word inside=0
  for word in "$@"; do
    case "$word" in
      --languages) inside=1 ;;
      --*) inside=0 ;;
      *) if [ "$inside" = 1 ]; then echo "$word"; fi ;;
    esac
  done
}

tag="$(flag_value --tag "" "$@")"
languages="$(read_languages "$@")"
for language in ${languages:-spanish}; do
  table="$(python "$repository/scripts/show_language.py" --language="$language" --tag="$tag")" || exit "$EXIT_USER_MISTAKE"
  if [ ! -e "$(look_up units)/finished.json" ]; then
    run_step env TAG="$tag" bash "$repository/scripts/run_phase1.sh" "$language"
  fi
done
run_step python "$repository/scripts/bench/bench_vocoder.py" "$@"
