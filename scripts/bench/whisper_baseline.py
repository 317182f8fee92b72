"""What Whisper itself reads of a test split, as predictions to compare a speech LLM with.

    python scripts/bench/whisper_baseline.py --data data/english --asr openai/whisper-base --asr_language en \
        --out exp/english_whisper/test_predictions.json
    python src/calculate_wer.py --input exp/english_whisper/test_predictions.json exp/english_llm/test_predictions.json

Greedy, with timestamps and a second reading where the first stopped early, as everywhere in this project.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.commands import as_typed
from core.files import write_json
from evaluation.asr import load_asr, settle_language, transcribe
from speech_llm.transcribed_items import load_transcribed

ITEMS_FOR_LANGUAGE = 32  # spread over all


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--data", type=Path, required=True, help="transcribed speech, as of src/trainer_base.py")
    parser.add_argument("--split", default="test", help="split to read")
    parser.add_argument("--asr", required=True, metavar="FOLDER_OR_ID", help="a Whisper")
    parser.add_argument("--asr_language", default=None, help="as Whisper names it (default: the likeliest for all)")
    parser.add_argument("--out", type=Path, required=True, help="predictions to write (JSON)")
    parser.add_argument("--batch_size", type=int, default=8, help="recordings of 30 s at a time")
    args = parse_flags(parser, argv)
    require_positive(args, "batch_size")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    items = load_transcribed(args.data, [args.split])[args.split]
    asr = load_asr(args.asr, language=args.asr_language)
    if args.asr_language is None:
        # One for all: guessed for each window, a text may come in another language than its neighbours.
        heard = [item["load"]() for item in items[:: -(-len(items) // ITEMS_FOR_LANGUAGE)]]
        asr = settle_language(asr, heard, batch_size=args.batch_size)
        if asr.language:
            print(f"read as '{asr.language}', the likeliest for these recordings; --asr_language names another")
    with tqdm(total=round(sum(item["duration"] for item in items)), desc="Whisper", unit="s", disable=None) as bar:
        texts = transcribe(asr, [item["load"]() for item in items], batch_size=args.batch_size, bar=bar)
    rows = [
        {"id": item["id"], "reference": item["text"], "hypothesis": text, "duration": item["duration"]}
        for item, text in zip(items, texts)
    ]
    write_json(args.out, rows)
    command = as_typed("python", "src/calculate_wer.py", "--input", args.out)
    print(f"wrote {args.out}: {len(rows)} utterances\nnext: {command}")


if __name__ == "__main__":
    run_main(main)
