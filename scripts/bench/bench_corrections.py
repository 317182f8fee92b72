"""Is it worth correcting first what the recogniser is least sure of? Rounds of correction, simulated.

Reads transcribed speech; prints a table and writes --out. A CTC head learns from a few minutes. In each round, texts of
more minutes are given to it: those of the least sure lines, or of lines in a random order. It goes on from its weights,
and reads the test split.

    python scripts/bench/bench_corrections.py --data data/english --speech_enc_id openai/whisper-base \
        --llm_id HuggingFaceTB/SmolLM2-135M-Instruct --out corrections.json

More: docs/speech_llm.md, "Correcting, and learning from it".
"""

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.files import write_json
from core.records import TranscribedItem
from core.text_normalisation import normalise_text
from evaluation.text_errors import character_distance, split_characters
from models.speech_llm_model import SpeechLLMBase
from speech_llm.batches import channel_statistics, make_batch
from speech_llm.characters import choose_characters
from speech_llm.correction_queue import rank_least_sure
from speech_llm.decoding import transcribe_features
from speech_llm.feature_sources import FeatureSource, open_cached_source
from speech_llm.saved_model import build_speech_llm
from speech_llm.timed_words import describe_pieces
from speech_llm.train_step import build_optimizer
from speech_llm.transcribed_items import load_transcribed
from speech_llm.validation import word_error_rate
from training.checkpoints import seed_step
from training.schedule import learning_rate

ORDERS = ("least sure", "random")
BATCH_SIZE, PEAK, WARMUP = 8, 1e-3, 20


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--data", type=Path, required=True, help="transcribed speech, as of src/trainer_base.py")
    parser.add_argument("--speech_enc_id", required=True, help="speech encoder, hub id or folder")
    parser.add_argument("--llm_id", required=True, help="causal LM, of which the tokenizer alone takes part")
    parser.add_argument("--start_minutes", type=float, default=2.0, help="transcribed before the first round")
    parser.add_argument("--round_minutes", type=float, default=2.0, help="corrected in each round")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of correction")
    parser.add_argument("--steps", type=int, default=300, help="updates before the first round, and half in each")
    parser.add_argument("--width", type=int, default=192, help="channels of the connector")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of batches and first minutes")
    parser.add_argument("--padding", choices=("full", "short"), default="full", help="Whisper's window")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    args = parse_flags(parser, argv)
    require_positive(args, "start_minutes", "round_minutes", "rounds", "steps", "width")
    return args


def take_minutes(items: Sequence[TranscribedItem], minutes: float) -> list[TranscribedItem]:
    """The first items, so many minutes together and at least one."""
    seconds = np.cumsum([item["duration"] for item in items])
    return list(items[: max(1, int(np.searchsorted(seconds, 60 * minutes, side="right")))])


def open_model(args: argparse.Namespace, source: FeatureSource, training: list[TranscribedItem]) -> SpeechLLMBase:
    connector = {"kind": "transformer", "factor": 2, "width": args.width, "n_layers": 1, "dropout": 0.1}
    model = build_speech_llm(
        {
            "llm_id": args.llm_id,
            "prompt": "",
            "in_dim": source.in_dim,
            "connector": connector,
            "characters": choose_characters([item["text"] for item in training]),
            "tokens_per_second": 10.0,
        },
        torch.float32,
    )
    model.connector.standardize(*channel_statistics(source, training))
    return model


def train_head(
    model: SpeechLLMBase, source: FeatureSource, items: Sequence[TranscribedItem], *, steps: int, seed: int
) -> SpeechLLMBase:
    """The model after ``steps`` updates by CTC alone; items in another order in each epoch."""
    optimizer, order = build_optimizer(model.train(), lr=PEAK, weight_decay=0.01), []
    for step in range(steps):
        seed_step(seed, step)
        while len(order) < BATCH_SIZE:
            order += np.random.default_rng((seed, step, len(order))).permutation(len(items)).tolist()
        places, order = order[:BATCH_SIZE], order[BATCH_SIZE:]
        batch = make_batch(model, source, [items[place] for place in places], key=(seed, step), frame_dropout=0.1)
        found = model(batch, ctc_only=True)
        (found.ctc / found.n_characters).backward()
        torch.nn.utils.clip_grad_norm_(model.trained_parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, PEAK, WARMUP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return model.eval()


def read_items(model: SpeechLLMBase, source: FeatureSource, items: Sequence[TranscribedItem]) -> list[dict]:
    """{"text", "confidence"} of each."""
    features = source.read(items, [1.0] * len(items))
    found = transcribe_features(model, features, [item["duration"] for item in items], decoder="ctc")
    texts = [candidates[0]["text"] for candidates in found]
    return describe_pieces(model, features, texts, timed=False, rated=True, batch_size=8)


def score(model: SpeechLLMBase, source: FeatureSource, items: Sequence[TranscribedItem]) -> dict[str, float]:
    texts = [piece["text"] for piece in read_items(model, source, items)]
    references = [normalise_text(item["text"]) for item in items]
    edits = sum(character_distance(reference, text) for reference, text in zip(references, texts))
    n_characters = sum(len(split_characters(reference)) for reference in references)
    return {"cer": edits / n_characters, "wer": word_error_rate(references, texts)}


def choose_next(
    model: SpeechLLMBase, source: FeatureSource, pool: list[TranscribedItem], minutes: float, order: str
) -> list[TranscribedItem]:
    """What is corrected next; ``pool`` is in a random order already."""
    if order == "random":
        return take_minutes(pool, minutes)
    heard = read_items(model, source, pool)
    lines = [{"source": item["id"], "start": 0.0, "end": item["duration"], **piece} for item, piece in zip(pool, heard)]
    return [item for item, line in zip(pool, rank_least_sure(lines, minutes)) if line["rank"]]


def simulate(
    args: argparse.Namespace, source: FeatureSource, training: list[TranscribedItem], test: list[TranscribedItem]
) -> list[dict]:
    """A row for each seed, order and round: minutes, CER and WER of the test split."""
    torch.manual_seed(0)
    rows, model = [], open_model(args, source, training)
    fresh = copy.deepcopy(model.trained_state())
    total = len(args.seeds) * (1 + len(ORDERS) * args.rounds)
    with tqdm(total=total, unit="training", disable=None) as bar:
        for seed in args.seeds:
            shuffled = [training[place] for place in np.random.default_rng(seed).permutation(len(training))]
            first = take_minutes(shuffled, args.start_minutes)
            model.load_trained(fresh)
            train_head(model, source, first, steps=args.steps, seed=seed)
            start = copy.deepcopy(model.trained_state())
            rows.append({"seed": seed, "order": "start", "minutes": args.start_minutes} | score(model, source, test))
            bar.update()
            for order in ORDERS:
                model.load_trained(start)
                known, pool = first, shuffled[len(first) :]
                for number in range(1, args.rounds + 1):
                    chosen = choose_next(model, source, pool, args.round_minutes, order)
                    names = {item["id"] for item in chosen}
                    known, pool = [*known, *chosen], [item for item in pool if item["id"] not in names]
                    train_head(model, source, known, steps=args.steps // 2, seed=seed + 1000 * number)
                    minutes = sum(item["duration"] for item in known) / 60
                    rows.append(
                        {"seed": seed, "order": order, "minutes": round(minutes, 2)} | score(model, source, test)
                    )
                    bar.update()
                    write_json(args.out, rows)
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    items = load_transcribed(args.data, ["train", "test"])
    source = open_cached_source(
        args.out.parent / "features",
        [(items["train"], (1.0,)), (items["test"], (1.0,))],
        encoder_id=args.speech_enc_id,
        layer=None,
        padding=args.padding,
        precision="fp32",
        device="cpu",
        num_workers=1,
        rank=0,
        world=1,
    )
    rows = simulate(args, source, source.keep_known(items["train"]), source.keep_known(items["test"]))
    print("| seed | order | minutes | CER | WER |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['seed']} | {row['order']} | {row['minutes']} | {row['cer']:.3f} | {row['wer']:.3f} |")


if __name__ == "__main__":
    run_main(main)
