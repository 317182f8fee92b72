#!/usr/bin/env bash
# Recorded prompts of one language → data/<language>/: fetch, lay out as long recordings, segment.
# Usage: bash recipes/asterisk_prompts/prepare.sh <spanish|english|italian|russian_prompts> [flags of fetch_prompts.py]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
language="${1:?usage: bash recipes/asterisk_prompts/prepare.sh <language>}"
shift
source "$root/path.sh"
python "$here/fetch_prompts.py" --language "$language" "$@"
python "$here/build_chapters.py" --language "$language"
python "$root/scripts/segment_audio.py" --language "$language"
