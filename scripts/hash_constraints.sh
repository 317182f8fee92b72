#!/usr/bin/env bash
# usage: bash scripts/hash_constraints.sh
#
# Writes constraints_hashed.txt: every line of constraints.txt with the SHA-256 of the files of that version, so that an
# install takes no file that somebody changed since. No address of a package index stands in it. Run it after every
# change of constraints.txt; it needs uv (pip install uv) and a network. To install from it:
#
#   pip install --require-hashes --requirement constraints_hashed.txt
set -euo pipefail
if [ "${1:-}" = "--help" ] || [ "${1:-}" = "-h" ]; then
  sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "$0"
  exit 0
fi

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." > /dev/null && pwd -P)"
out="$root/constraints_hashed.txt"
if ! command -v uv > /dev/null; then
  echo "hash_constraints.sh: expected uv on PATH, found none; run: pip install uv" >&2
  exit 1
fi
unfinished="$(mktemp "$out.XXXXXX")"
trap 'rm -f "$unfinished"' EXIT
echo "# constraints.txt with hashes, by scripts/hash_constraints.sh; for pip install --require-hashes" > "$unfinished"
uv pip compile --quiet --no-deps --generate-hashes --no-header --no-annotate --python-version 3.11 \
  --python-platform x86_64-unknown-linux-gnu "$root/constraints.txt" >> "$unfinished"
chmod 644 "$unfinished"
mv "$unfinished" "$out"
echo "wrote $out: $(grep -c == "$out") packages"
