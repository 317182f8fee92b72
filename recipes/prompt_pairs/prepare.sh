#!/usr/bin/env bash
# Pairs of recordings that say the same in two languages, from the prompts of four → data/prompt_pairs/pairs.tsv
# Usage: bash recipes/prompt_pairs/prepare.sh [flags of recipes/prompt_pairs/build_pairs.py]
#
# Prepares the prompts of english, spanish, italian and russian_prompts by their recipes where they are missing.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
source "$root/path.sh"

for name in english spanish italian russian_prompts; do
  if [ ! -e "$DATA_ROOT/$name/truth.tsv" ]; then bash "$root/recipes/$name/prepare.sh"; fi
done
python "$here/build_pairs.py" "$@"
