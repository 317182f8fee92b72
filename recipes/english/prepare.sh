#!/usr/bin/env bash
# English: recorded prompts of one professional speaker, CC-BY-SA 3.0 → data/english/
# Usage: bash recipes/english/prepare.sh [flags of recipes/asterisk_prompts/fetch_prompts.py]
exec bash "$(dirname "${BASH_SOURCE[0]}")/../asterisk_prompts/prepare.sh" english "$@"
