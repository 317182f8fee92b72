#!/usr/bin/env bash
# Sateré-Mawé: your own recordings → data/satere/
# Usage: bash recipes/satere/prepare.sh [folder of recordings] [flags of scripts/segment_audio.py]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
raw="${DATA_ROOT:-$here/../../data}/satere/raw"
folder="$raw"
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    folder="$1"
    shift
fi
if [ ! -d "$folder" ]; then
    cat >&2 <<TEXT
error: $folder: expected the recordings of Sateré-Mawé, found no such folder. Either
  put them (any audio or video files, in folders as you like) into $raw, or
  name their folder: bash recipes/satere/prepare.sh <folder>
Beside the recordings may lie transcripts.tsv (source, start, end, text) and speakers.tsv (source, speaker).
A community's consent comes before its recordings.
TEXT
    exit 2
fi
exec bash "$here/../mp3_folder/prepare.sh" satere "$folder" "$@"
