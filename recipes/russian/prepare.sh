#!/usr/bin/env bash
# Russian: 620 read sentences of one speaker with phone labels, BSD-like licence → data/russian/
# Usage: bash recipes/russian/prepare.sh [flags of build_corpus.py]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
source "$root/path.sh"
python "$here/build_corpus.py" "$@"
python "$root/scripts/segment_audio.py" --language russian
