#!/usr/bin/env bash
# usage: bash scripts/make_environment.sh
#
# Prints the folder of a Python environment that satisfies pyproject.toml, and installs the tested set of
# constraints.txt into .venv first where there is none. path.sh calls it; messages go to stderr.
#
#   ORAL_UNITS_VENV   where the environment is installed (default: .venv in the repository)
#
# The stamp .venv/oral_units.stamp is written last: an environment without it is not finished. On a cluster node nothing
# is installed.
set -euo pipefail
if [ "${1:-}" = "--help" ] || [ "${1:-}" = "-h" ]; then
  sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "$0"
  exit 0
fi

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." > /dev/null && pwd -P)"
venv="${ORAL_UNITS_VENV:-$root/.venv}"
case "$venv" in /*) ;; *) venv="$PWD/$venv" ;; esac
check="$root/scripts/check_environment.py"
stamp="$venv/oral_units.stamp"
mark="$venv/oral_units.installing"
NEEDED_GB=10 # 6.4 installed, and pip's downloads while it installs

say() { echo "path.sh: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

satisfies() { # satisfies PREFIX: is it a Python >= 3.11 with everything that pyproject.toml asks for?
  [ -x "$1/bin/python" ] && "$1/bin/python" -I "$check" > /dev/null 2>&1
}

is_finished() {
  [ -x "$venv/bin/python" ] && [ -e "$stamp" ] && [ ! -e "$mark" ] &&
    [ "$("$venv/bin/python" -I -S "$check" --stamp 2> /dev/null)" = "$(cat "$stamp")" ]
}

on_cluster_node() {
  [ -n "${SLURM_JOB_ID:-}${SLURM_JOBID:-}${PBS_JOBID:-}${LSB_JOBID:-}${MODAL_TASK_ID:-}" ] ||
    { [ -n "${JOB_ID:-}" ] && [ -n "${SGE_TASK_ID:-}${SGE_O_HOST:-}${PE:-}${NSLOTS:-}" ]; }
}

find_on_path() { # the Python of a loaded module or a container, where it has everything
  local prefix
  prefix="$(python3 -I -c 'import sys; print(sys.prefix)' 2> /dev/null)" && satisfies "$prefix" && echo "$prefix"
}

find_python() { # a Python >= 3.11 that runs (a pyenv shim may not); versions that were tested come first
  local candidate
  for candidate in python3.11 python3.12 python3.13 python3 python; do
    if "$candidate" -I -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' > /dev/null 2>&1; then
      "$candidate" -I -c 'import sys; print(getattr(sys, "_base_executable", "") or sys.executable)'
      return
    fi
  done
  fail "expected Python >= 3.11, found $(python3 -V 2> /dev/null || echo none); install one, as root on Debian:" \
    "apt-get install python3 python3-venv"
}

download_pip_wheel() { # into the working folder; with package lists of its own where the machine's are empty
  local lists=(-o "Dir::State::lists=$PWD/lists" -o "Dir::Cache=$PWD/cache")
  apt-get download python3-pip-whl ||
    { mkdir -p lists/partial cache && apt-get "${lists[@]}" update && apt-get "${lists[@]}" download python3-pip-whl; }
}

make_venv() { # make_venv PYTHON
  local work wheel
  if "$1" -I -m venv "$venv" > /dev/null 2>&1; then return; fi
  # Debian leaves ensurepip out of python3. Its package of pip's wheel does as well, and unpacking that needs no root.
  "$1" -I -m venv --without-pip "$venv" >&2
  work="$(mktemp -d)"
  (cd "$work" && download_pip_wheel && dpkg -x ./*.deb .) > /dev/null 2>&1 || true
  wheel="$(find "$work" -name 'pip-*.whl' -print -quit)"
  if [ -n "$wheel" ]; then
    PYTHONPATH="$wheel" "$venv/bin/python" -m pip install --quiet --no-index "$wheel" >&2 || wheel=""
  fi
  rm -rf "$work"
  [ -n "$wheel" ] || fail "$1 makes no environments (it lacks ensurepip); run as root: apt-get install python3-venv"
}

clear_place() { # what an interrupted install or another hand left in the place of the environment
  [ -e "$venv" ] || return 0
  if [ ! -e "$stamp" ] && [ ! -e "$mark" ]; then
    local aside
    aside="$venv.aside.$(date +%Y%m%d%H%M%S)"
    mv "$venv" "$aside"
    say "$venv was not made by path.sh and lacks packages; moved to $aside"
  elif [ -e "$mark" ] || [ ! -x "$venv/bin/python" ] || ! head -n 3 "$venv/bin/pip" 2> /dev/null | grep -qF "$venv/"; then
    say "$venv: an earlier install was interrupted, or the folder was moved, or its Python is gone; starting over"
    rm -rf "$venv"
  fi
}

require_space() {
  local place free
  place="$(dirname -- "$venv")"
  free=$(($(df -Pk "$place" | awk 'NR == 2 {print $4}') / 1048576))
  if [ ! -e "$venv" ] && [ "$free" -lt "$NEEDED_GB" ]; then
    fail "$venv: expected $NEEDED_GB GB of free disk, found $free; make room or set ORAL_UNITS_VENV to another disk"
  fi
}

install() {
  local python log status=0
  if on_cluster_node; then
    fail "no environment in $venv, and a job on a cluster node installs none; run on the login node: source $root/path.sh"
  fi
  python="$(find_python)"
  clear_place
  require_space
  mkdir -p "$venv" && touch "$mark" && rm -f "$stamp"
  say "installing the tested set of packages into $venv: once, 6.4 GB of disk, some minutes"
  if [ ! -x "$venv/bin/pip" ]; then make_venv "$python"; fi
  log="$venv/oral_units.log"
  "$venv/bin/python" -I "$check" --requirements > "$venv/oral_units.requirements"
  PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -I -m pip install --no-input --no-compile \
    --constraint "$root/constraints.txt" --requirement "$venv/oral_units.requirements" 2>&1 |
    tee "$log" | sed -n -u -E '/^ *Downloading .*[0-9.]{4,} MB\)/p; /^Installing collected/s/:.*//p' >&2 || status=$?
  if [ "$status" != 0 ]; then
    fail "installing failed: $({ grep -E '^ *ERROR' "$log" || cat "$log"; } | tail -n 1); the whole story: $log"
  fi
  # Pip would compile on one core. Some packages carry files that do not parse.
  "$venv/bin/python" -I -m compileall -q -j 0 "$venv/lib" > /dev/null 2>&1 || true
  "$venv/bin/python" -I -S "$check" --stamp > "$stamp.tmp"
  mv "$stamp.tmp" "$stamp"
  rm -f "$mark"
}

with_lock() { # with_lock COMMAND: one at a time; the lock goes with its process
  mkdir -p "$(dirname -- "$venv")"
  if command -v flock > /dev/null; then
    local status=0
    exec 9> "$venv.lock"
    flock -n -E 75 9 2> /dev/null || status=$?
    if [ "$status" = 75 ]; then
      say "another shell is installing into $venv; waiting for it"
      flock 9
    elif [ "$status" != 0 ]; then
      say "$(dirname -- "$venv") has no locks; install from one shell at a time"
    fi
    "$@"
    return
  fi
  while ! mkdir "$venv.lock.d" 2> /dev/null; do
    if ! kill -0 "$(cat "$venv.lock.d/pid" 2> /dev/null || echo 0)" 2> /dev/null; then
      sleep 2
      kill -0 "$(cat "$venv.lock.d/pid" 2> /dev/null || echo 0)" 2> /dev/null || rm -rf "$venv.lock.d"
    fi
    sleep 1
  done
  trap 'rm -rf "$venv.lock.d"' EXIT
  echo "$$" > "$venv.lock.d/pid"
  "$@"
}

install_unless_finished() { is_finished || install; }

for active in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}"; do
  if [ -n "$active" ] && [ "$active" != "$venv" ] && satisfies "$active"; then
    echo "$active"
    exit 0
  fi
done
if ! is_finished; then
  if [ ! -e "$mark" ] && satisfies "$venv" && { [ ! -e "$stamp" ] || on_cluster_node; }; then
    echo "$venv"
    exit 0
  fi
  if on_cluster_node && find_on_path; then exit 0; fi
  with_lock install_unless_finished
fi
echo "$venv"
