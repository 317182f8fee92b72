#!/usr/bin/env bash
# Russian prompts: recorded prompts of one professional speaker, CC-BY-SA 3.0 → data/russian_prompts/
# Usage: bash recipes/russian_prompts/prepare.sh [flags of recipes/asterisk_prompts/fetch_prompts.py]
exec bash "$(dirname "${BASH_SOURCE[0]}")/../asterisk_prompts/prepare.sh" russian_prompts "$@"
