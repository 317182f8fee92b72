#!/usr/bin/env bash
# Any folder of recordings (whatever holds sound, nested) → data/<language>/
# Usage: bash recipes/mp3_folder/prepare.sh <language> <folder> [flags of scripts/segment_audio.py]
# In the folder may lie transcripts.tsv (source, start, end, text) and speakers.tsv (source, speaker); .csv and .xlsx do
# as well.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
usage="usage: bash recipes/mp3_folder/prepare.sh <language> <folder of recordings>"
language="${1:?$usage}"
folder="${2:?$usage}"
shift 2
source "$root/path.sh"
python "$here/link_recordings.py" --language="$language" --folder="$folder"
export ORAL_UNITS_DEFAULTS_SAID="$language" # said once, where the language has no entry
python "$root/scripts/segment_audio.py" --language="$language" "$@"
