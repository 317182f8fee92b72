"""How well an encoder's features, and units of them, tell phones apart: ABX, PNMI and boundaries on the test split.

For a language with phones.tsv. Nothing is written but what is printed, a line of JSON a result. Clusters are fitted on
--n_train clips, so that a large encoder takes minutes on one core; phase 1 fits on more.

    python scripts/bench/bench_abx.py --language russian --encoder mfcc --n_units 100 256
    python scripts/bench/bench_abx.py --language russian --encoder models/whisper-base --layer 4
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import numpy as np

from tqdm import tqdm

from audio.audio_io import load_audio
from core.cli import run_main
from core.errors import UserError
from encoders.encode import Encoder, encode, load_encoder
from languages import add_language_flags, data_root, language_paths, resolve_in
from segmentation.manifest import read_manifest
from units.abx import AbxItems, find_items, score_abx
from units.abx_distance import angular_distance, as_unit_vectors, unequal_distance
from units.kmeans import UnitClusters, fit_kmeans, quantize_to_units
from units.phone_labels import PhoneLabels, phones_at, read_phones
from units.phone_report import LabelledUtterance, summarize_phones
from units.phone_scores import STEPS_A_FRAME
from units.quality import as_json, entropy_bits


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_language_flags(parser)
    group = parser.add_argument_group("features")
    group.add_argument("--encoder", default="mfcc", help="encoder, as in extract_units.py (mfcc)")
    group.add_argument("--layer", type=int, default=None, help="its layer")
    group.add_argument(
        "--padding", choices=("full", "short"), default="full", help="of Whisper; short is faster (full)"
    )
    group.add_argument(
        "--normalize", choices=("unit", "root", "off"), default="unit", help="as in extract_units.py (unit)"
    )
    group.add_argument("--n_units", type=int, nargs="*", default=[256], help="sizes of the clusterings to judge (256)")
    group.add_argument("--n_train", type=int, default=120, help="clips of the train split to fit on (120)")
    group.add_argument("--n_resamples", type=int, default=500, help="bootstrap resamples (500)")
    return parser.parse_args(argv)


def read_rows(manifest: Path, labels: PhoneLabels, n_train: int) -> tuple[list[dict], list[dict]]:
    """Some train rows, evenly from all of them, and the test rows with phones."""
    rows = list(read_manifest(manifest))
    train = [row for row in rows if row["split"] == "train"]
    test = [row for row in rows if row["split"] == "test" and row["source"] in labels.spans]
    if not train or not test:
        raise UserError(f"{manifest}: expected train clips and test clips with phones, found {len(train)}, {len(test)}")
    places = np.linspace(0, len(train) - 1, min(n_train, len(train))).round().astype(int)
    return [train[place] for place in places], test


def encode_rows(encoder: Encoder, rows: list[dict]) -> list[np.ndarray]:
    """(F, D) features of each row's audio."""
    bar = tqdm(rows, desc="encoding", unit=" clips", disable=None)
    return [encode(encoder, [load_audio(resolve_in(data_root(), row["audio"]))])[0] for row in bar]


def judge_units(
    clusters: UnitClusters,
    features: list[np.ndarray],
    rows: list[dict],
    labels: PhoneLabels,
    items: AbxItems,
    **settings,
) -> dict[str, object]:
    """Scores of the units of ``features``, as JSON has them."""
    units = [quantize_to_units(one, clusters)[:, 0] for one in features]
    phones = [phones_at(labels, row["source"], row["start"], STEPS_A_FRAME * len(one)) for row, one in zip(rows, units)]
    labelled = [LabelledUtterance("test", one, found) for one, found in zip(units, phones) if found is not None]
    vectors, n_units = as_unit_vectors(clusters.books[0]), len(clusters.books[0])
    runs = np.concatenate([np.diff(np.flatnonzero(np.diff(one, prepend=-1, append=-1))) for one in units])
    return {
        "phones": summarize_phones(labelled, n_units=n_units, n_phones=len(labels.names), **settings),
        "abx_units": score_abx(items, units, unequal_distance, **settings),
        "abx_centroids": score_abx(items, [vectors[one] for one in units], angular_distance, **settings),
        "bits_per_second": float(entropy_bits(np.bincount(np.concatenate(units))) * 50),
        "one_frame_runs": float((runs == 1).mean()),
    }


def main() -> int:
    args = parse_args()
    paths, settings = language_paths(args.language), {"n_resamples": args.n_resamples, "seed": 0}
    labels = read_phones(paths["phones"])
    train, test = read_rows(paths["manifest"], labels, args.n_train)
    encoder = load_encoder(args.encoder, args.layer, padding=args.padding)
    features = encode_rows(encoder, test)
    spans = [(row["source"], row["start"], len(one)) for row, one in zip(test, features)]
    items = find_items(labels, spans, [row["speaker"] for row in test])
    fitted_on = np.concatenate(encode_rows(encoder, train))
    mean, scale = fit_kmeans(fitted_on, 1, normalize=args.normalize)[1:3]
    setting = {"encoder": args.encoder, "layer": args.layer, "normalize": args.normalize, "padding": args.padding}
    print(json.dumps(setting | {"frames": len(fitted_on)}), flush=True)
    for name, frames in (("raw", features), ("normalized", [(one - mean) / scale for one in features])):
        score = score_abx(items, [*map(as_unit_vectors, frames)], angular_distance, **settings)
        print(json.dumps({"features": name, "abx": as_json(score)}), flush=True)
    for n_units in args.n_units:
        clusters = fit_kmeans(fitted_on, n_units, normalize=args.normalize)
        scores = judge_units(clusters, features, test, labels, items, **settings)
        print(json.dumps({"n_units": n_units} | as_json(scores)), flush=True)
    return 0


if __name__ == "__main__":
    run_main(main)
