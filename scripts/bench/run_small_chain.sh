#!/usr/bin/env bash
# usage: bash scripts/bench/run_small_chain.sh CHECKOUT OUT
#
# Runs every phase of one checkout at a small size on real Spanish, below the new folder OUT. Run it for two checkouts,
# then compare what they wrote, file by file:
#
#   bash scripts/bench/run_small_chain.sh ../before /tmp/before
#   bash scripts/bench/run_small_chain.sh . /tmp/after
#   python scripts/bench/compare_folders.py /tmp/before /tmp/after
#
#   RECORDINGS           a folder with raw/, transcripts.tsv and speakers.tsv (default: the recipe fetches them)
#   ORAL_UNITS_WHISPER   a Whisper folder: its readings of the test split are scored as well
#   ORAL_UNITS_LLM       an LLM folder: with both, a few steps of speech to text
set -euo pipefail
if [ $# != 2 ]; then
  awk 'NR > 1 && !/^#/ {exit} NR > 1 {sub(/^# ?/, ""); print}' "$0"
  exit 2
fi

checkout="$(cd -- "$1" && pwd -P)"
mkdir -p "$2"
out="$(cd -- "$2" && pwd -P)"
export DATA_ROOT="$out/data" EXP_ROOT="$out/exp" OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE TQDM_DISABLE=1
unset TAG TRAINING_LANGUAGE PYTHONPATH
cd -- "$checkout"
source path.sh 1

step() {
  printf '%s\n' "$*" >&2
  python "$@" > "$out/screen.txt" 2>&1 || { tail -n 20 "$out/screen.txt" >&2 && exit 1; }
}

if [ -n "${RECORDINGS:-}" ]; then
  mkdir -p "$DATA_ROOT/spanish"
  cp -r "$RECORDINGS/raw" "$RECORDINGS"/*.tsv "$DATA_ROOT/spanish/"
  step scripts/segment_audio.py --language spanish
else
  bash recipes/spanish/prepare.sh
fi

step src/extract_units.py --language spanish
step src/validate_units.py --language spanish
step src/train_bpe.py --language spanish
watching=(--validation_seconds 10 --num_samples 1 --eval_every 20 --save_every 20 --sample_every 40 --log_every 5 --cpu)
step src/trainer_vocoder.py --language spanish --steps 40 "${watching[@]}"
step src/trainer_vocoder.py --language spanish --steps 4 --generator v2 --batch_size 2 --adversarial_after 0.5 "${watching[@]}"
step src/trainer_vocoder.py --language spanish --steps 4 --generator v1 --batch_size 2 --adversarial_after 0.5 "${watching[@]}"
step src/trainer_prosody.py --language spanish --steps 40 --cpu
step src/prosody_test.py --exp "$EXP_ROOT/spanish_prosody"

voice="$EXP_ROOT/spanish_vocoder_v4"
step src/export_vocoder.py --exp "$voice" --prosody "$EXP_ROOT/spanish_prosody" --out "$out/voice"
printf 'first\t3 5 5 5 9 9 100 100 100 7\n' > "$out/units.txt"
step src/synthesize.py --exp "$voice" --prosody "$EXP_ROOT/spanish_prosody" --units "$out/units.txt" --out "$out/spoken"
recording="$(find "$DATA_ROOT/spanish/raw" -type f | sort | head -n 1)"
step src/synthesize.py --exp "$out/voice" "$recording" --out "$out/spoken_recording"

judge=()
if [ -n "${ORAL_UNITS_WHISPER:-}" ]; then judge=(--asr "$ORAL_UNITS_WHISPER"); fi
step src/vocoder_test.py --exp "$voice" --max_utterances 12 "${judge[@]}"
step src/build_report.py "$voice" --out "$out/report.html"

python - "$DATA_ROOT/spanish/segments.jsonl" "$out/predictions.json" << 'EOF'
import json, sys
texts = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
texts = [row for row in texts if row.get("text")]
# Each hypothesis is a text with one word dropped, moved or taken from the next: every kind of edit occurs.
rows = []
for number, row in enumerate(texts):
    words = row["text"].split()
    del words[number % len(words)]
    words += texts[(number + 1) % len(texts)]["text"].split()[: number % 3]
    rows.append({"id": row["id"], "reference": row["text"], "hypothesis": " ".join(words)})
json.dump(rows, open(sys.argv[2], "w", encoding="utf-8"))
EOF
step src/calculate_wer.py --input "$out/predictions.json" --normaliser unicode --json "$out/wer.json"

if [ -n "${ORAL_UNITS_WHISPER:-}" ] && [ -n "${ORAL_UNITS_LLM:-}" ]; then
  step src/trainer_base.py --data "$DATA_ROOT/spanish" --out_dir "$EXP_ROOT/spanish_llm" --do_train --do_generate \
    --speech_enc_id "$ORAL_UNITS_WHISPER" --llm_id "$ORAL_UNITS_LLM" --factor 4 --padding short --lora_r 4 --bsize 2 \
    --steps 4 --ctc_warmup_steps 2 --ctc_bsize 2 --num_beams 1 --max_validation 4 --max_train 8 --cpu
fi
