#!/usr/bin/env bash
# usage: bash scripts/run_all.sh <language> [folder of recordings] [--overwrite]
#
# From recordings to a voice: data, phases 1 to 3, resynthesis of the test split, scores, report. Run again, it does only
# what is missing or unfinished. Where recordings have come or gone, units, motifs and voice are made again, and the
# earlier ones are kept in exp/before/. Ctrl-C stops it, and a training saves first. --overwrite deletes them instead,
# and starts all over; with a folder, its recordings replace those of another folder under that name.
#
#   TRAINING_LANGUAGE      the language, where none is given
#   TAG                    suffix of the experiments' names: TAG=w4 makes exp/<language>_units_w4 and so on
#   DATA_ARGS              further flags of the language's recipe; for a folder of your own, of scripts/segment_audio.py
#   PHASE1_ARGS, PHASE2_ARGS, PHASE3_ARGS
#                          further flags of src/extract_units.py, src/train_bpe.py, src/trainer_vocoder.py
#   UNIT_LM                1: also a language model of units (scripts/run_unit_lm.sh), with its scores
#   UNIT_LM_ARGS           further flags of src/trainer_unit_lm.py; they ask for UNIT_LM too
#   ORAL_UNITS_WHISPER     a Whisper folder or hub id: also scores CER and WER
#   NPROC                  processes in phases 1 and 3 (one a GPU); default 1
#   BACKEND                local, slurm, sge, modal or auto: prepare the data here, submit everything else there, each job
#                          after those that it stands on, and return (docs/launching.md). Resources of a job: GPUS (not
#                          in phase 2 and the report), NODES (in phase 3), CPUS, MEMORY (GB), HOURS, PARTITION, ACCOUNT,
#                          CONSTRAINT, REQUEUES, ENGINE_ARGS; SHARDS cuts phase 1 into arrays of so many tasks
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/shell_functions.sh"

step_number=0
announce() {
  step_number=$((step_number + 1))
  printf '\n[%d/%d] %s   (%s so far)\n' "$step_number" "$n_steps" "$*" "$(spent)"
}

estimate() { # what this run needs, from the size of the data and phase 3's budget
  run_step python "$repository/scripts/estimate_needs.py" --language "$language" --tag "$tag" "${budget[@]}" \
    --encoder "$(chosen_encoder "${phase1[@]}")"
}

prepare_data() { # the list of recordings decides, not their dates; flags given once hold (scripts/segment_audio.py)
  local recipe="$repository/recipes/$language/prepare.sh" data
  data="$(look_up data)"
  if [ -z "$folder" ] && [ -e "$data/segments.jsonl" ] &&
    { [ ! -e "$data/raw" ] || [ ! -e "$data/segmentation.json" ]; }; then
    echo "$data/segments.jsonl: segments without raw recordings, used as they are"
  elif [ -n "$folder" ] || { [ "${#data_flags[@]}" = 0 ] && [ -e "$data/segments.jsonl" ]; }; then
    run_step python "$repository/scripts/segment_audio.py" --language "$language" "${data_flags[@]}"
  elif [ -e "$recipe" ]; then
    run_step bash "$recipe" "${data_flags[@]}"
  elif [ -e "$data/raw" ]; then
    run_step python "$repository/scripts/segment_audio.py" --language "$language" "${data_flags[@]}"
  else
    fail "$data: expected recordings, found none, and $language has no recipe of its own;" \
      "run: bash scripts/run_all.sh $language FOLDER_OF_RECORDINGS"
  fi
}

link_folder() { # link_folder WORD…: the recordings of $folder become those of the language, before it is looked up
  local name="$1"
  if [ "${name#-}" != "$name" ]; then name="$(flag_value --language "${TRAINING_LANGUAGE:-}" "$@")"; fi
  source "$repository/path.sh" "${HF_HUB_OFFLINE:-1}"
  run_step python "$repository/recipes/mp3_folder/link_recordings.py" --language="$name" --folder="$folder" \
    "${overwrite[@]}"
  export ORAL_UNITS_DEFAULTS_SAID="$name"
}

set_outdated_aside() { # where recordings have come or gone, what was made of the others
  if [ "${#overwrite[@]}" != 0 ]; then return; fi
  run_step python "$repository/scripts/set_aside.py" --language "$language" --tag "$tag" --vocoder "$vocoder" \
    --units "$(flag_value --exp "$(look_up units)" "${phase1[@]}")" \
    --bpe "$(flag_value --exp "$(look_up bpe)" "${phase2[@]}")" \
    --unit_lm "$(flag_value --exp "$(look_up unit_lm)" "${unit_lm[@]}")"
}

scores_are_current() { # newer than the checkpoint, with Whisper's reading where it is asked for
  [ "$vocoder/scores.json" -nt "$vocoder/checkpoints/best.pt" ] &&
    { [ -z "${ORAL_UNITS_WHISPER:-}" ] || grep -q '"cer"' "$vocoder/scores.json"; }
}

submit_chain() { # phases 2 and 3 both stand on phase 1; the report on everything; the language model on both phases
  local units bpe lm asr=()
  units="$(flag_value --exp "$(look_up units)" "${phase1[@]}")"
  bpe="$(flag_value --exp "$(look_up bpe)" "${phase2[@]}")"
  if [ -n "${ORAL_UNITS_WHISPER:-}" ]; then asr=(--asr "$ORAL_UNITS_WHISPER"); fi
  NODES="" submit_phase1 "${phase1[@]}"
  NODES="" GPUS="" NPROC="" launch "$bpe" "${units##*/}" scripts/run_phase2.sh "$language" "${phase2[@]}"
  if [ -n "${UNIT_LM:-}" ]; then
    lm="$(flag_value --exp "$(look_up unit_lm)" "${unit_lm[@]}")"
    NODES="" launch "$lm" "${units##*/} ${bpe##*/}" scripts/run_unit_lm.sh "$language" "${unit_lm[@]}"
  fi
  submit_phase3 "${units##*/}" "${phase3[@]}"
  NODES="" GPUS="$(one_gpu "${GPUS:-}")" NPROC=1 launch "$vocoder" "${vocoder##*/}" src/vocoder_test.py --exp "$vocoder" "${asr[@]}"
  NODES="" GPUS="" NPROC="" launch "$vocoder" "${vocoder##*/} ${bpe##*/}" src/build_report.py "$vocoder"
  echo "watch: $(as_typed python scripts/launch.py status "${units##*/}" "${bpe##*/}" "${vocoder##*/}")"
}

require_language scripts/run_all.sh "$@"
folder="" overwrite=()
rest=("$@")
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then rest=("${@:2}"); fi
while [ "${#rest[@]}" -gt 0 ]; do
  case "${rest[0]}" in
    -h | --help | --language=* | --tag=*) rest=("${rest[@]:1}") ;;
    --language | --tag) rest=("${rest[@]:2}") ;;
    --overwrite)
      overwrite=(--overwrite)
      rest=("${rest[@]:1}")
      ;;
    -*) fail "run_all.sh takes a language and a folder only, found: ${rest[*]}; flags go into DATA_ARGS, PHASE1_ARGS," \
      "PHASE2_ARGS, PHASE3_ARGS" ;;
    *)
      if [ -n "$folder" ]; then require_folder "$folder" "${rest[@]}"; fi
      require_folder "${rest[@]}"
      folder="${rest[0]}"
      rest=("${rest[@]:1}")
      ;;
  esac
done
read_words "${DATA_ARGS:-}"
data_flags=("${words[@]}")
read_words "${PHASE1_ARGS:-}"
phase1=("${words[@]}")
read_words "${PHASE2_ARGS:-}"
phase2=("${words[@]}")
read_words "${PHASE3_ARGS:-}"
phase3=("${words[@]}")
read_words "${UNIT_LM_ARGS:-}"
unit_lm=("${words[@]}")
if [ "${#unit_lm[@]}" != 0 ]; then export UNIT_LM=1; fi
if [ "${#overwrite[@]}" != 0 ]; then
  export ORAL_UNITS_OVERWRITE=1 # for the line that says how to go on (shell_functions.sh)
  phase1+=(--overwrite) phase2+=(--overwrite) phase3+=(--overwrite)
  if [ -n "${UNIT_LM:-}" ]; then unit_lm+=(--overwrite); fi
fi
n_steps=6
if [ -n "${UNIT_LM:-}" ]; then n_steps=7; fi
if [ -n "$folder" ]; then link_folder "$@"; fi
start_phase "$@" --generator="$(flag_value --generator "" "${phase3[@]}")"
vocoder="$(flag_value --exp "$(look_up vocoder)" "${phase3[@]}")"
export TAG="$tag"
read_budget "$(chosen_encoder "${phase1[@]}")" "${phase3[@]}"
if [ "${#budget[@]}" != 0 ]; then phase3+=("${budget[@]}"); fi

in_chain
check_chain_flags "$folder"
estimate
announce "data"
prepare_data
if [ "${BACKEND:-}" = modal ]; then
  # Modal knows no dependencies: the whole chain is one job there.
  NODES="" launch "$vocoder" "" scripts/run_all.sh "$language"
  exit
fi
set_outdated_aside
if [ -n "${BACKEND:-}" ]; then
  submit_chain
  exit
fi
announce "phase 1: units"
run_step bash "$repository/scripts/run_phase1.sh" "$language" "${phase1[@]}"
announce "phase 2: motifs"
run_step bash "$repository/scripts/run_phase2.sh" "$language" "${phase2[@]}"
announce "phase 3: voice"
run_step bash "$repository/scripts/run_phase3.sh" "$language" "${phase3[@]}"
announce "resynthesis and scores of the test split"
if scores_are_current; then
  echo "$vocoder/scores.json: newer than the checkpoint; nothing to do"
else
  asr=()
  if [ -n "${ORAL_UNITS_WHISPER:-}" ]; then asr=(--asr "$ORAL_UNITS_WHISPER"); fi
  run_step python "$repository/src/vocoder_test.py" --exp "$vocoder" "${asr[@]}"
fi
if [ -n "${UNIT_LM:-}" ]; then
  announce "language model of units"
  run_step bash "$repository/scripts/run_unit_lm.sh" "$language" "${unit_lm[@]}"
fi
announce "report"
run_step python "$repository/src/build_report.py" "$vocoder"
printf '\ndone in %s; open in a browser: %s\n' "$(spent)" "$vocoder/report.html"
