#!/usr/bin/env bash
# Any Hugging Face data set with audio and text → a folder that src/trainer_base.py reads, and what is in it.
# Usage: bash recipes/hf_dataset/prepare.sh <source> [flags of prepare_dataset.py]
# <source>: a folder of datasets.save_to_disk (checked, not copied), a folder of Parquet files, or a hub id
# (fetched where there is a network: --out data/NAME says where to).
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
source "$root/scripts/shell_functions.sh"
case "${1:-}" in -h | --help) show_help && exit 0 ;; esac
dataset="${1:?usage: bash recipes/hf_dataset/prepare.sh <folder or hub id> [--out data/NAME]}"
shift
offline=0
[[ -d "$dataset" ]] && offline=1
source "$root/path.sh" "$offline"
python "$here/prepare_dataset.py" --source "$dataset" "$@"
