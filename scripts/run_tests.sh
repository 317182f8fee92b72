#!/usr/bin/env bash
# usage: bash scripts/run_tests.sh [pytest flags and files]
#
# Sets the environment up as path.sh does, checks the style and runs the tests, on two processes by default. With --slow
# it runs those as well that take minutes and that a cheaper test stands in for.
#
#   ORAL_UNITS_WHISPER   a local Whisper folder: tests on real weights run as well
#   ORAL_UNITS_CLUSTER   0 leaves out a real Slurm and Grid Engine, which root on Debian otherwise gets
set -euo pipefail
if [ "${1:-}" = "--help" ] || [ "${1:-}" = "-h" ]; then
  awk 'NR > 1 && !/^#/ {exit} NR > 1 {sub(/^# ?/, ""); print}' "$0"
  exit 0
fi

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
source path.sh 1
# Each of the two processes keeps to one thread: more would fight over the cores.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
ruff check .
ruff format --check .
# A file stays on one process, so that what its tests share (a trained chain) is made once; the long ones come first, as
# tests/conftest.py sorts them. exec hands signals on.
exec python -m pytest --numprocesses "${PYTEST_PROCESSES:-2}" --dist loadfile --no-loadscope-reorder "$@"
