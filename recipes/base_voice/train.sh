#!/usr/bin/env bash
# The base voice, from which other voices start (--init): data, units, voice, prosody → voices/base_v4/
# Usage: bash recipes/base_voice/train.sh [flags of src/trainer_vocoder.py]
#
# Prepares the recordings of english, italian, spanish, russian_prompts and russian by their recipes, joins them, and
# trains on all. Run again, it goes on where it was stopped. Two cores need hours; a GPU runs the same command.
#
#   LEAVE_OUT   a language that it shall not hear, with its prompts: spanish makes voices/base_v4_no_spanish. The base
#               voice of the repository is that one, so that what Spanish gains from it is what any new language gains
#   GENERATOR   v4, the default, or v3: makes voices/base_v3
#   STEPS       of the voice's training; default 4000
#   ADVERSARIAL_AFTER
#               share of the steps from which a discriminator takes part; default 0.75; 1: never
#   DISCRIMINATOR_SHARE
#               share of a step's crops that it sees; default 0.5
#   PROSODY     steps of the prosody predictor's training; default 2000; 0 leaves the predictor out
#   DATA_ROOT, EXP_ROOT, NPROC   as everywhere
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
source "$root/path.sh"

all=(english italian spanish russian_prompts russian)
leave_out="${LEAVE_OUT:-}"
sources=()
for name in "${all[@]}"; do
  if [ "${name%_prompts}" != "$leave_out" ]; then sources+=("$name"); fi
done
if [ -n "$leave_out" ] && [ "${#sources[@]}" = "${#all[@]}" ]; then
  echo "error: LEAVE_OUT=$leave_out: expected one of english, italian, spanish, russian" >&2
  exit 2
fi
suffix="${leave_out:+_no_$leave_out}"
language="base_voice$suffix"
generator="${GENERATOR:-v4}"
data="$DATA_ROOT/$language"
voice="$EXP_ROOT/${language}_vocoder_$generator"
adversarial_after="${ADVERSARIAL_AFTER:-0.75}"
prosody="$EXP_ROOT/${language}_prosody"

for name in "${sources[@]}"; do
  if [ ! -e "$DATA_ROOT/$name/segments.jsonl" ]; then bash "$root/recipes/$name/prepare.sh"; fi
done
if [ ! -e "$data/segments.jsonl" ]; then
  python "$here/build_corpus.py" --language "$language" --sources "${sources[@]}"
fi
copy_licence() { # copy_licence FILE NAME: what came with the recordings goes with the voice, each text once
  local other
  for other in "$data"/{LICENSE,ATTRIBUTION}*; do
    if cmp -s "$1" "$other"; then return; fi
  done
  cp "$1" "$data/$(basename "$1" .txt)_$2.txt"
}
for name in "${sources[@]}"; do
  for text in "$DATA_ROOT/$name"/{LICENSE,ATTRIBUTION}*; do
    if [ -e "$text" ]; then copy_licence "$text" "$name"; fi
  done
done
sed "/^| \`${leave_out:-none}\(_prompts\)\?\`/d" "$here/about.md" > "$data/about.md"

python "$root/src/extract_units.py" --language "$language" --n_units 1000 --normalize root --resume auto
command=(python)
if [ "${NPROC:-1}" -gt 1 ]; then command+=(-m torch.distributed.run --standalone "--nproc_per_node=$NPROC"); fi
"${command[@]}" "$root/src/trainer_vocoder.py" --language "$language" --generator "$generator" --init none \
  --steps "${STEPS:-4000}" --adversarial_after "$adversarial_after" --discriminator_share "${DISCRIMINATOR_SHARE:-0.5}" --resume auto "$@"
extra=()
if [ "$adversarial_after" != 1 ]; then extra+=(--discriminator); fi
if [ "${PROSODY:-2000}" != 0 ]; then
  python "$root/src/trainer_prosody.py" --language "$language" --init none --steps "${PROSODY:-2000}" --resume auto
  extra+=(--prosody "$prosody")
fi
python "$root/src/export_vocoder.py" --exp "$voice" --out "$root/voices/base_$generator$suffix" --overwrite \
  --half --no_torchscript --no_page --license cc-by-sa-3.0 --about "$data/about.md" "${extra[@]}"
