#!/usr/bin/env bash
# Spanish: recorded prompts of one professional speaker, CC-BY-SA 3.0 → data/spanish/
# Usage: bash recipes/spanish/prepare.sh [flags of recipes/asterisk_prompts/fetch_prompts.py]
exec bash "$(dirname "${BASH_SOURCE[0]}")/../asterisk_prompts/prepare.sh" spanish "$@"
