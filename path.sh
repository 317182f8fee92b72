# Sets this shell up for oral-units. Source it, from any folder, in bash or zsh:
#
#   source path.sh      offline: Hugging Face libraries use only what lies in HF_HOME
#   source path.sh 0    online: models may be fetched
#
# The first use installs the tested set of packages into .venv (ORAL_UNITS_VENV names another place); an active conda or
# virtual environment that satisfies pyproject.toml is used as it is. HF_HOME, DATA_ROOT and EXP_ROOT keep the values
# they have. Folders of PYTHONPATH that would hide packages of the environment are left out, by name. On error it says why in one line and returns 1; it never ends the shell that sources it.
# shellcheck shell=bash

_oral_units_prepend() { # sets $reply to $1 and, after it, the rest of the list $2
  reply=":$2:"
  reply="${reply//:"$1":/:}"
  reply="${reply#:}"
  reply="$1${reply:+:${reply%:}}"
  reply="${reply%:}"
}

# Bash hands a script's own $1 to a file sourced without arguments, so everything but a plain 0 means offline.
_oral_units_path() {
  local offline=1 root="" prefix="" reply=""
  if [ "${1:-1}" = 0 ]; then offline=0; fi
  if [ -n "${ZSH_VERSION:-}" ]; then
    emulate -L zsh
    root="$2"
  else
    root="$(unset CDPATH; builtin cd -- "$(dirname -- "$2")" > /dev/null && pwd -P)" || return 1
  fi
  prefix="$(bash "$root/scripts/make_environment.sh")" || return 1

  _oral_units_prepend "$prefix/bin" "$PATH"
  export PATH="$reply"
  _oral_units_prepend "$root/src" "${PYTHONPATH:-}"
  if [ "$reply" != "$root/src" ]; then
    reply="$("$prefix/bin/python" -I "$root/scripts/check_pythonpath.py" "$root" "$reply")" || return 1
  fi
  export PYTHONPATH="$reply"
  export PYTHONUTF8=1 # names and texts are UTF-8, whatever the locale
  if [ -e "$prefix/pyvenv.cfg" ]; then export VIRTUAL_ENV="$prefix"; fi
  hash -r 2> /dev/null || true

  export HF_HOME="${HF_HOME:-$root/.cache/huggingface}"
  export HF_HUB_OFFLINE="$offline" TRANSFORMERS_OFFLINE="$offline" HF_DATASETS_OFFLINE="$offline"
  export DATA_ROOT="${DATA_ROOT:-$root/data}" EXP_ROOT="${EXP_ROOT:-$root/exp}"
}

if {
  if [ -n "${ZSH_VERSION:-}" ]; then
    # Bash cannot parse zsh's own way to name the sourced file's folder, hence the eval.
    eval '_oral_units_path "${1:-1}" "${${(%):-%x}:A:h}"'
  elif [ -n "${BASH_VERSION:-}" ] && [ "${BASH_SOURCE[0]}" != "$0" ]; then
    _oral_units_path "${1:-1}" "${BASH_SOURCE[0]}"
  else
    echo "path.sh: expected 'source path.sh' in bash or zsh, found another shell or a plain run; source it there" >&2
    false
  fi
}; then
  unset -f _oral_units_path _oral_units_prepend
else
  unset -f _oral_units_path _oral_units_prepend
  # A plain run cannot return; only it reaches the exit.
  # shellcheck disable=SC2317
  return 1 2> /dev/null || exit 1
fi
