# What the run_*.sh scripts share; sourced after `set -euo pipefail`.
# shellcheck shell=bash

repository="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." > /dev/null && pwd -P)"
SMALL_RECIPE_MINUTES=4
EXIT_USER_MISTAKE=2
EXIT_STOPPED=99 # the same code as the trainer's: stopped, and the same command continues
EXIT_INTERRUPTED=130

# A script of this chain names the next command once, and not at all where another runs it.
is_in_chain="${ORAL_UNITS_CHAIN:-}"
in_chain() { export ORAL_UNITS_CHAIN=1; } # what runs from here on says nothing of it (core/cli.py: says_next)
say_next() { # say_next COMMAND…
  if [ -z "$is_in_chain" ]; then echo "next: $*"; fi
}

spent() { printf '%d min %02d s' $((SECONDS / 60)) $((SECONDS % 60)); }

# Ctrl-C between two steps, or within one: one line, by the outermost script of those that call each other.
end_interrupted() {
  if [ -z "${ORAL_UNITS_STEP:-}" ]; then
    echo "interrupted; the same command${ORAL_UNITS_OVERWRITE:+ without --overwrite} goes on from here" >&2
  fi
  exit "$EXIT_INTERRUPTED"
}
trap end_interrupted INT

fail() {
  echo "error: $*" >&2
  exit "$EXIT_USER_MISTAKE"
}

as_typed() { # as_typed WORD…: the words as a person would type them, quoted where they must be
  local word said=""
  for word in "$@"; do
    case "$word" in "" | *[!A-Za-z0-9_./=:@%+,-]*) word="${word@Q}" ;; esac
    said+="${said:+ }$word"
  done
  printf '%s\n' "$said"
}

show_help() { awk 'NR > 1 && !/^#/ {exit} NR > 1 {sub(/^# ?/, ""); print}' "$0"; }

require_folder() { # require_folder WORD…: the first is a folder of recordings, and then come flags only
  local first="$1" words="$1"
  shift
  while [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; do
    words+=" $1"
    shift
  done
  if [ "$words" != "$first" ]; then
    fail "expected one folder of recordings, found several words: $words; a path with spaces needs quotes:" \
      "$(as_typed "$words")"
  elif [ -d "$first" ]; then
    return
  elif [ -e "$first" ]; then
    fail "$first: expected a folder of recordings, found a file; name the folder that holds it"
  fi
  fail "$first: there is no such folder; check the path"
}

require_language() { # require_language SCRIPT WORD…: the first word is a language, not the folder of recordings
  local script="$1" first="${2:-}" language="LANGUAGE"
  shift
  case "$first" in
    "" | -*) return ;;
    */*) ;;
    *) if [ ! -d "$first" ] || [ $# -gt 1 ] || is_language "$first"; then return; fi ;;
  esac
  if [ -d "$first" ] && [[ "${2:-}" =~ ^[a-z][a-z0-9_-]*$ ]]; then
    language="$2"
  elif [ ! -d "$first" ]; then
    first="$*" # perhaps a path with spaces
  fi
  fail "$first: expected a language first, found a path; a name or ISO 639-3 code of your choice comes before it:" \
    "bash $script $language $(as_typed "$first")"
}

is_language() { # is_language NAME: whether it has data, a recipe or an entry in the table
  # shellcheck disable=SC2016
  bash -c 'source "$1/path.sh" 1 && python "$1/scripts/show_language.py" --language="$2"' - "$repository" "$1" \
    > /dev/null 2>&1
}

plain_name() { # plain_name FLAG[=VALUE]: - and _ are alike in flags
  local name="${1%%=*}"
  echo "${name//_/-}"
}

has_flag() { # has_flag --name FLAG…
  local wanted="$1" word
  shift
  for word in "$@"; do
    if [ "$(plain_name "$word")" = "$wanted" ]; then return 0; fi
  done
  return 1
}

asks_for_help() { has_flag --help "$@" || has_flag --help-all "$@" || has_flag -h "$@"; }

flag_value() { # flag_value --name DEFAULT FLAG…: the last value given, as `--name value` or `--name=value`
  local wanted="$1" value="$2"
  shift 2
  while [ $# -gt 0 ]; do
    if [ "$(plain_name "$1")" = "$wanted" ]; then
      case "$1" in *=*) value="${1#*=}" ;; *) value="${2:-}" ;; esac
    fi
    shift
  done
  echo "$value"
}

# start_phase COMMAND-LINE…: sets up the shell and sets language, tag, generator, flags (an array) and table.
start_phase() {
  case "${1:-}" in
    -h | --help) show_help && exit 0 ;;
    "" | -*) language="$(flag_value --language "${TRAINING_LANGUAGE:-}" "$@")" ;;
    *) language="$1" && shift ;;
  esac
  flags=("$@")
  tag="$(flag_value --tag "${TAG:-}" "$@")"
  generator="$(flag_value --generator "" "$@")"
  # The caller's own choice of online or offline stays.
  source "$repository/path.sh" "${HF_HUB_OFFLINE:-1}"
  table="$(python "$repository/scripts/show_language.py" --language="$language" --tag="$tag" ${generator:+--generator="$generator"})" ||
    exit "$EXIT_USER_MISTAKE"
  export ORAL_UNITS_DEFAULTS_SAID="$language" # show_language.py has said once where the defaults hold
  if ! has_flag --resume "$@" && ! has_flag --overwrite "$@"; then flags=(--resume auto "${flags[@]}"); fi
}

read_words() { # read_words TEXT: sets words; quotes hold a flag's value together
  local text
  text="$(xargs -r -n 1 printf '%s\n' <<< "$1")" || fail "expected flags, found unmatched quotes: $1"
  words=()
  if [ -n "$text" ]; then mapfile -t words <<< "$text"; fi
}

# refuse_unread NAME FLAG…: run_all.sh makes flags of the variable NAME; a phase alone would leave it unread.
refuse_unread() {
  local name="$1" given=" ${*:2} "
  read_words "${!name:-}"
  if [ "${#words[@]}" != 0 ] && [[ "$given" != *" ${words[*]} "* ]]; then
    fail "$name is read by run_all.sh only, found: ${words[*]}; give these flags behind the language, or unset $name"
  fi
}

# check_flags NAME SCRIPT: SCRIPT reads the flags of the variable NAME and does nothing; what it says of them is an error
check_flags() {
  local said
  read_words "${!1:-}"
  if [ "${#words[@]}" = 0 ]; then return; fi
  said="$(ORAL_UNITS_CHECK_FLAGS=1 python "$repository/$2" --language "$language" "${words[@]}" 2>&1 > /dev/null)" || {
    said="${said##*$'\n'}"
    fail "$1: ${said#error: }"
  }
}

# check_chain_flags FOLDER: all variables of run_all.sh that hold flags, before it begins; FOLDER may be empty
check_chain_flags() {
  # A recipe of the language has flags of its own.
  if [ -n "$1" ] || [ ! -e "$repository/recipes/$language/prepare.sh" ]; then
    check_flags DATA_ARGS scripts/segment_audio.py
  fi
  check_flags PHASE1_ARGS src/extract_units.py
  check_flags PHASE2_ARGS src/train_bpe.py
  check_flags PHASE3_ARGS src/trainer_vocoder.py
  check_flags UNIT_LM_ARGS src/trainer_unit_lm.py
}

look_up() { # look_up NAME: a line of the language's table, as printed by show_language.py
  awk -F '\t' -v name="$1" '$1 == name {print $2}' <<< "$table"
}

run_step() { # run_step COMMAND…: try_step, and stop the script where it fails
  try_step "$@"
  if [ "$step_code" != 0 ]; then exit "$step_code"; fi
}

say_stopped() { # once, by the outermost of the scripts that call each other
  if [ -z "${ORAL_UNITS_STEP:-}" ]; then
    echo "stopped by a signal; run the same command again to continue: $(as_typed bash "$0" ${language:+"$language"})" >&2
  fi
}

# try_step COMMAND…: run it, hand on the signals of a scheduler, and stop the script after one; sets step_code. A signal
# reaches bash only between commands, so the command runs beside it; SIGINT, which such a command would ignore, is set
# back for it. USR1 and USR2 come to all processes of a job at once, and would kill those that do not expect them.
# Ctrl-C ends the script with EXIT_INTERRUPTED, whatever the command makes of it. Where a command ends as a signal comes,
# bash may lose its code (-1 or 127), so after a signal nothing but 0 and EXIT_STOPPED is told apart.
try_step() {
  local child="" code=0 told="" n_told=0 n_before
  # Before the command begins: a signal may come as soon as it runs.
  trap 'told=TERM; n_told=$((n_told + 1)); kill -TERM $child 2> /dev/null || true' TERM USR1 USR2
  trap 'told=INT; n_told=$((n_told + 1)); sleep 0.3; kill -INT $child 2> /dev/null || true' INT
  (
    trap - INT TERM
    trap "" USR1 USR2
    export ORAL_UNITS_STEP=1
    exec "$@"
  ) &
  child=$!
  if [ -n "$told" ]; then kill "-$told" "$child" 2> /dev/null || true; fi
  while true; do
    code=0
    n_before="$n_told"
    wait "$child" || code=$?
    if [ "$n_before" = "$n_told" ]; then break; fi
  done
  trap - TERM USR1 USR2
  trap end_interrupted INT
  if [ "$told" = INT ]; then
    end_interrupted
  elif [ "$code" = "$EXIT_STOPPED" ] || { [ "$told" = TERM ] && [ "$code" != 0 ]; }; then
    say_stopped
    exit "$EXIT_STOPPED"
  fi
  step_code="$code"
}

# shellcheck disable=SC2120
chosen_encoder() { # chosen_encoder FLAG…: phase 1's by its flags, else that of its units, else the language's
  local encoder config
  config="$(flag_value --exp "$(look_up units)" "$@")/config.json"
  if [ -e "$config" ]; then encoder="$(sed -n 's/^.*"encoder": "\([^"]*\)".*$/\1/p' "$config" | tail -n 1)"; fi
  flag_value --encoder "${encoder:-$(look_up encoder)}" "$@"
}

needs_download() { # needs_download ENCODER: whether it is a model of Hugging Face, as encoders/table.py knows
  local ask="import sys; from encoders.table import needs_download; print(needs_download(sys.argv[1]))"
  [ "$(python -c "$ask" "$1")" != False ]
}

read_budget() { # read_budget ENCODER FLAG…: sets budget to phase 3's, by default what suits small recipes' units, which need no download
  local name value encoder="$1"
  shift
  budget=()
  for name in max-minutes steps epochs; do
    value="$(flag_value "--$name" "" "$@")"
    if [ -n "$value" ]; then budget=("--$name=$value"); fi
  done
  if [ "${#budget[@]}" = 0 ] && ! needs_download "$encoder"; then budget=("--max-minutes=$SMALL_RECIPE_MINUTES"); fi
}

python_command() { # python_command SCRIPT: sets command; NPROC processes, by torchrun, where NPROC is over 1
  command=(python)
  if [ "${NPROC:-1}" -gt 1 ]; then command+=(-m torch.distributed.run --standalone "--nproc_per_node=$NPROC"); fi
  command+=("$repository/$1")
}

# What scripts/launch.py is told by the environment: variable and flag.
launch_variables="GPUS NODES CPUS MEMORY HOURS PARTITION ACCOUNT CONSTRAINT REQUEUES ENGINE_ARGS"

is_submitted() { # with BACKEND, a phase is handed to an engine; its help is shown here
  [ -n "${BACKEND:-}" ] && ! asks_for_help "$@"
}

one_gpu() { # one_gpu GPUS: at most one of "2", "a100:2" or "a100"
  case "$1" in
    "" | 0) echo "$1" ;;
    [0-9]*) echo 1 ;;
    *) echo "${1%%:*}:1" ;;
  esac
}

# launch EXP "NAME…" SCRIPT FLAG…: submit SCRIPT to BACKEND, after the newest jobs of the experiments named
launch() {
  local name="${1%/}" after="$2" variable value
  local options=(--backend "$BACKEND" --name "${name##*/}")
  shift 2
  # shellcheck disable=SC2206
  if [ -n "$after" ]; then options+=(--after $after); fi
  for variable in $launch_variables; do
    value="${!variable:-}"
    if [ -n "$value" ]; then options+=("--${variable,,}" "$value"); fi
  done
  if [ -n "${NPROC:-}" ]; then options+=(--processes "$NPROC"); fi
  python "$repository/scripts/launch.py" submit "${options[@]}" -- "$@" || exit $?
}

# submit_phase1 FLAG…: in one job or, with SHARDS, as arrays of so many tasks, the report on the units after them
submit_phase1() {
  local exp
  exp="$(flag_value --exp "$(look_up units)" "$@")"
  if [ -z "${SHARDS:-}" ]; then
    launch "$exp" "" scripts/run_phase1.sh "$language" "$@"
    return
  fi
  launch_variables="$launch_variables SHARDS ARRAY_PARALLELISM" \
    launch "$exp" "" src/extract_units.py --language "$language" --tag "$tag" "$@"
  GPUS="" NPROC="" launch "$exp" "${exp##*/}" src/validate_units.py --exp "$exp"
}

# submit_phase3 "NAME…" FLAG…: over several nodes, the trainer itself, which torchrun starts on each of them
submit_phase3() {
  local after="$1" exp
  shift
  exp="$(flag_value --exp "$(look_up vocoder)" "$@")"
  if [ "${NODES:-1}" -gt 1 ]; then
    read_budget "$(chosen_encoder)" "$@"
    launch "$exp" "$after" src/trainer_vocoder.py --language "$language" --tag "$tag" "$@" "${budget[@]}"
  else
    launch "$exp" "$after" scripts/run_phase3.sh "$language" "$@"
  fi
}

say_written() { # say_written FOLDER FILE…: what a phase left, with sizes
  local folder="$1" name
  shift
  echo "wrote $folder:"
  for name in "$@"; do
    if [ -e "$folder/$name" ]; then
      printf '  %-28s %s\n' "$name" "$(du -shL "$folder/$name" | cut -f 1)"
    fi
  done
}

command_for() { # command_for SCRIPT: how to call a script of this chain, its tag included
  echo "${tag:+TAG=$(as_typed "$tag") }bash scripts/$1 $(as_typed "$language")"
}
