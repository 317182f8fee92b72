"""Is it worth correcting first what the recogniser is least sure of? Rounds of correction, simulated.

Reads transcribed speech; prints a table and writes --out. A CTC head learns from a few minutes. In each round, texts of
more minutes are given to it: those of the least sure lines, or of lines in a random order. It goes on from its weights,
and reads the test split.

    python scripts/bench/bench_corrections.py --data data/english --speech_enc_id openai/whisper-base \
        --llm_id HuggingFaceTB/SmolLM2-135M-Instruct --out corrections.json

Seeds may be run apart. ``--earlier`` pools theirs, and ``--seeds`` without a number runs no more of them.

More: docs/speech_llm.md, "Correcting, and learning from it".
"""

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from plot_minutes import draw

from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.device import has_fast_bf16
from core.errors import UserError
from core.files import read_json, write_json
from core.records import TranscribedItem
from core.text_normalisation import normalise_text
from encoders.top_layers import read_top_layers
from evaluation.bootstrap import Interval, bootstrap_ratio, paired_ratio_difference
from evaluation.text_errors import character_distance, count_word_edits, split_characters, total_edits
from models.speech_llm_model import SpeechLLMBase
from speech_llm.batches import channel_statistics, make_batch, planned_lengths
from speech_llm.characters import choose_characters
from speech_llm.correction_queue import rank_least_sure
from speech_llm.decoding import computing, transcribe_features
from speech_llm.feature_sources import FeatureSource, open_cached_source
from speech_llm.flag_checks import settle_sizes
from speech_llm.length_buckets import bucket_steps
from speech_llm.saved_model import DTYPES, build_speech_llm
from speech_llm.timed_words import describe_pieces
from speech_llm.train_step import build_optimizer
from speech_llm.transcribed_items import load_transcribed
from training.checkpoints import seed_step
from training.schedule import learning_rate

ORDERS = ("least sure", "random")
PEAK, WARMUP = 1e-3, 20
TOP_SHARE = 0.3  # of the rate, for layers that were the encoder's


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--data", type=Path, required=True, help="transcribed speech, as of src/trainer_base.py")
    parser.add_argument("--speech_enc_id", required=True, help="speech encoder, hub id or folder")
    parser.add_argument("--llm_id", required=True, help="causal LM, of which the tokenizer alone takes part")
    parser.add_argument("--start_minutes", type=float, default=2.0, help="transcribed before the first round")
    parser.add_argument("--round_minutes", type=float, default=2.0, help="corrected in each round")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of correction")
    parser.add_argument("--steps", type=int, default=300, help="updates before the first round, and half in each")
    parser.add_argument(
        "--connector", choices=("transformer", "encoder"), default="transformer", help="as of src/trainer_base.py"
    )
    parser.add_argument("--width", type=int, default=192, help="channels of a transformer as connector")
    parser.add_argument("--n_layers", type=int, default=1, help="layers of the connector")
    parser.add_argument("--batch_size", type=int, default=8, help="utterances a step")
    parser.add_argument(
        "--max_positions", type=int, default=None, help="of a step, padding included (default: no bound)"
    )
    parser.add_argument("--frame_dropout", type=float, default=0.1, help="share of frames set to zero")
    parser.add_argument("--ctc_consistency", type=float, default=0.0, help="above 0: every utterance is heard twice")
    parser.add_argument("--feature_cache", type=Path, default=None, help="folder of features (default: beside --out)")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of batches and first minutes")
    parser.add_argument("--earlier", type=Path, nargs="+", default=[], help="what other seeds have written")
    parser.add_argument("--picture", type=Path, default=None, help="PNG to draw: WER over minutes")
    parser.add_argument("--padding", choices=("full", "short"), default="full", help="Whisper's window")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    args = parse_flags(parser, argv)
    require_positive(args, "start_minutes", "round_minutes", "rounds", "steps", "width", "n_layers", "batch_size")
    return args


def take_minutes(items: Sequence[TranscribedItem], minutes: float) -> list[TranscribedItem]:
    """The first items, so many minutes together and at least one."""
    seconds = np.cumsum([item["duration"] for item in items])
    return list(items[: max(1, int(np.searchsorted(seconds, 60 * minutes, side="right")))])


def describe_connector(args: argparse.Namespace) -> tuple[dict[str, object], int | None]:
    """The connector's sizes, and the encoder's layer that it listens to."""
    given = dict.fromkeys(("width", "n_heads", "feedforward", "norm", "speech_enc_layer"))
    if args.connector == "transformer":
        given["width"] = args.width
    sizes = settle_sizes(args.connector, args.speech_enc_id, args.n_layers, front_end="features", given=given)
    layer = sizes.pop("speech_enc_layer")
    merge = {"merge": 2} if args.connector == "encoder" else {}
    own = {"kind": args.connector, "factor": 2, "n_layers": args.n_layers, "dropout": 0.1}
    return own | merge | {name: size for name, size in sizes.items() if size is not None}, layer


def open_model(
    args: argparse.Namespace, source: FeatureSource, training: list[TranscribedItem], precision: str
) -> SpeechLLMBase:
    connector, _ = describe_connector(args)
    model = build_speech_llm(
        {
            "llm_id": args.llm_id,
            "prompt": "",
            "in_dim": source.in_dim,
            "connector": connector,
            "characters": choose_characters([item["text"] for item in training]),
            "tokens_per_second": 10.0,
        },
        DTYPES[precision],
    )
    if args.connector == "encoder":
        model.connector.take_layers(read_top_layers(args.speech_enc_id, args.n_layers))
    model.connector.standardize(*channel_statistics(source, training, model.connector))
    return model


def train_head(
    model: SpeechLLMBase,
    source: FeatureSource,
    items: Sequence[TranscribedItem],
    args: argparse.Namespace,
    *,
    steps: int,
    seed: int,
) -> SpeechLLMBase:
    """The model after ``steps`` updates by CTC alone, in batches of like length as src/trainer_base.py has them."""
    top_share = TOP_SHARE if args.connector == "encoder" else 1.0
    optimizer = build_optimizer(model.train(), lr=PEAK, weight_decay=0.01, top_share=top_share)
    views = 2 if args.ctc_consistency else 1
    lengths = planned_lengths(model, source, items, ctc_only=True)
    room = {"max_positions": args.max_positions or max(lengths) * args.batch_size, "max_items": args.batch_size}
    for step, places in enumerate(bucket_steps(lengths, **room, seed=seed, first=0, last=steps)):
        seed_step(seed, step)
        chosen, options = [items[place] for place in places], {"frame_dropout": args.frame_dropout, "views": views}
        batch = make_batch(model, source, chosen, key=(seed, step), **options)
        with computing(model):
            found = model(batch, ctc_only=True)
        loss = found.ctc if found.difference is None else found.ctc + args.ctc_consistency * found.difference
        (loss / found.n_characters).backward()
        torch.nn.utils.clip_grad_norm_(model.trained_parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, PEAK, WARMUP) * group["share"]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return model.eval()


def read_items(model: SpeechLLMBase, source: FeatureSource, items: Sequence[TranscribedItem]) -> list[dict]:
    """{"text", "confidence"} of each."""
    features = source.read(items, [1.0] * len(items))
    found = transcribe_features(model, features, [item["duration"] for item in items], decoder="ctc")
    texts = [candidates[0]["text"] for candidates in found]
    return describe_pieces(model, features, texts, timed=False, rated=True, batch_size=8)


def score(model: SpeechLLMBase, source: FeatureSource, items: Sequence[TranscribedItem]) -> dict[str, object]:
    """CER, WER, and the word edits of each utterance."""
    texts = [normalise_text(piece["text"]) for piece in read_items(model, source, items)]
    references = [normalise_text(item["text"]) for item in items]
    letters = sum(character_distance(reference, text) for reference, text in zip(references, texts))
    n_characters = sum(len(split_characters(reference)) for reference in references)
    edits = [total_edits(count_word_edits(reference, text)) for reference, text in zip(references, texts)]
    return {"cer": letters / n_characters, "wer": sum(edits) / count_words(items).sum(), "edits": edits}


def count_words(items: Sequence[TranscribedItem]) -> np.ndarray:
    """(U,) words of the references."""
    return np.array([len(normalise_text(item["text"]).split()) for item in items])


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
    """A row for each seed, order and round: minutes and words that were transcribed, CER and WER of the test split."""
    torch.manual_seed(0)
    rows, model = [], open_model(args, source, training, choose_precision())
    fresh = copy.deepcopy(model.trained_state())
    total = len(args.seeds) * (1 + len(ORDERS) * args.rounds)

    def note(seed: int, order: str, number: int, known: list[TranscribedItem]) -> None:
        minutes, n_words = sum(item["duration"] for item in known) / 60, int(count_words(known).sum())
        own = {"seed": seed, "order": order, "round": number, "minutes": round(minutes, 2), "n_words": n_words}
        rows.append(own | score(model, source, test))
        write_json(args.out, rows)

    with tqdm(total=total, unit="training", disable=None) as bar:
        for seed in args.seeds:
            shuffled = [training[place] for place in np.random.default_rng(seed).permutation(len(training))]
            first = take_minutes(shuffled, args.start_minutes)
            model.load_trained(fresh)
            train_head(model, source, first, args, steps=args.steps, seed=seed)
            start = copy.deepcopy(model.trained_state())
            note(seed, "start", 0, first)
            bar.update()
            for order in ORDERS:
                model.load_trained(start)
                known, pool = first, shuffled[len(first) :]
                for number in range(1, args.rounds + 1):
                    chosen = choose_next(model, source, pool, args.round_minutes, order)
                    names = {item["id"] for item in chosen}
                    known, pool = [*known, *chosen], [item for item in pool if item["id"] not in names]
                    train_head(model, source, known, args, steps=args.steps // 2, seed=seed + 1000 * number)
                    note(seed, order, number, known)
                    bar.update()
    return rows


def read_earlier(paths: Sequence[Path], seeds: Sequence[int]) -> list[dict]:
    """Rows of seeds that were run apart; UserError where one is run twice."""
    rows = [row for path in paths for row in read_json(path, list)]
    names = [*seeds, *(row["seed"] for row in rows if row["order"] == "start")]
    twice = sorted({seed for seed in names if names.count(seed) > 1})
    if twice:
        raise UserError(f"--earlier, --seeds: expected each seed once, found {twice[0]} twice")
    return rows


def choose_precision() -> str:
    return "bf16" if has_fast_bf16("cpu") else "fp32"


class Point(NamedTuple):
    """All seeds after a round."""

    order: str
    minutes: float  # mean
    n_words: float  # mean, that were typed
    wer: Interval  # over test utterances, of all seeds together
    gain: Interval | None  # WER minus that of the random order after as many rounds


def summarise(rows: Sequence[dict], n_words: np.ndarray) -> list[Point]:
    """A point for each round and order; n_words: (U,) words of the test utterances."""
    points = []
    for number in sorted({row["round"] for row in rows}):
        own = [row for row in rows if row["round"] == number]
        edits = {order: [row["edits"] for row in own if row["order"] == order] for order in ("start", *ORDERS)}
        sums = {order: (np.sum(kept, axis=0), n_words * len(kept)) for order, kept in edits.items() if kept}
        for order, pair in sums.items():
            kept = [row for row in own if row["order"] == order]
            paired = order == ORDERS[0] and len(edits[ORDERS[1]]) == len(kept)
            gain = paired_ratio_difference(pair, sums[ORDERS[1]]) if paired else None
            means = [float(np.mean([row[name] for row in kept])) for name in ("minutes", "n_words")]
            points.append(Point(order, *means, bootstrap_ratio(*pair), gain))
    return points


def draw_points(points: Sequence[Point], path: Path) -> None:
    """WER over minutes of either order, both from the same start."""
    curves = []
    for order in ORDERS:
        own = [point for point in points if point.order in ("start", order)]
        curves.append(
            (
                order,
                {round(point.minutes, 0 if point.minutes >= 2 else 2): {"wer": point.wer._asdict()} for point in own},
            )
        )
    draw(curves, path)


def print_points(points: Sequence[Point]) -> None:
    print("| order | minutes | words typed | WER [95 %] | minus random [95 %] |\n|---|---|---|---|---|")
    for point in points:
        wer, gain = format_interval(point.wer), format_interval(point.gain, sign="+") if point.gain else ""
        print(f"| {point.order} | {point.minutes:.1f} | {point.n_words:.0f} | {wer} | {gain} |")


def format_interval(found: Interval, sign: str = "") -> str:
    return f"{found.mean:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    items = load_transcribed(args.data, ["train", "test"])
    source = open_cached_source(
        args.feature_cache or args.out.parent / "features",
        [(items["train"], (1.0,)), (items["test"], (1.0,))],
        encoder_id=args.speech_enc_id,
        layer=describe_connector(args)[1],
        padding=args.padding,
        precision=choose_precision(),
        device="cpu",
        num_workers=1,
        rank=0,
        world=1,
    )
    test = source.keep_known(items["test"])
    rows = read_earlier(args.earlier, args.seeds)
    rows += simulate(args, source, source.keep_known(items["train"]), test) if args.seeds else []
    print("| seed | order | minutes | CER | WER |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['seed']} | {row['order']} | {row['minutes']} | {row['cer']:.3f} | {row['wer']:.3f} |")
    write_json(args.out, rows)
    points = summarise(rows, count_words(test))
    print_points(points)
    if args.picture:
        draw_points(points, args.picture)


if __name__ == "__main__":
    run_main(main)
