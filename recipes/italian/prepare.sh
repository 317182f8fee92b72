#!/usr/bin/env bash
# Italian: recorded prompts of one professional speaker, CC-BY 3.0 → data/italian/
# Usage: bash recipes/italian/prepare.sh [flags of recipes/asterisk_prompts/fetch_prompts.py]
exec bash "$(dirname "${BASH_SOURCE[0]}")/../asterisk_prompts/prepare.sh" italian "$@"
