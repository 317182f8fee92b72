#!/usr/bin/env bash
# Any folder of recordings (whatever holds sound, nested) → data/<language>/
# Usage: bash recipes/mp3_folder/prepare.sh <language> <folder> [--overwrite] [flags of scripts/segment_audio.py]
# --overwrite replaces the recordings of another folder under that name.
# In the folder may lie transcripts.tsv (source, start, end, text) and speakers.tsv (source, speaker); .csv and .xlsx do
# as well.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
source "$root/scripts/shell_functions.sh"
usage="usage: bash recipes/mp3_folder/prepare.sh <language> <folder of recordings>"
require_language recipes/mp3_folder/prepare.sh "$@"
language="${1:?$usage}"
folder="${2:?$usage}"
shift
require_folder "$@"
shift
overwrite=() cutting=()
for word in "$@"; do
  if [ "$word" = --overwrite ]; then overwrite=(--overwrite); else cutting+=("$word"); fi
done
source "$root/path.sh"
python "$here/link_recordings.py" --language="$language" --folder="$folder" "${overwrite[@]}"
export ORAL_UNITS_DEFAULTS_SAID="$language" # said once, where the language has no entry
python "$root/scripts/segment_audio.py" --language="$language" "${cutting[@]}"
