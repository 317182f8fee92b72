"""Units of many settings compared in one table and one picture: encoders, layers, K, normalisation, penalty.

Reads the segments of a language, and its phones.tsv where there is one. Writes exp/<language>_sweep/ with sweep.json,
sweep.csv, sweep.png and sweep.svg. Features and clusters are kept there, so a larger grid costs only what is new.

    python src/sweep_units.py --language russian --n_units 256 1000 --normalize unit root
    python src/sweep_units.py --language russian --contexts 0 1 --duration_penalty 0 1 2 --resume

More: docs/phase1.md.
"""

import core.quiet_start

import argparse
import csv
import io
import logging
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch

from tqdm import tqdm

from core.cli import (
    HELP_FORMATTER,
    add_experiment_flags,
    configure_log,
    parse_flags,
    require_not_negative,
    require_positive,
    run_main,
)
from core.device import choose_device
from core.errors import UserError
from core.files import read_json, write_json, write_text
from core.locks import only_run
from core.records import SPLITS, Segment, SweepRow
from encoders.encode import load_encoder
from encoders.table import describe_encoder, last_layer
from languages import add_language_flags, data_root, exp_root, language_config, language_paths
from report.sweep_picture import draw_sweep
from segmentation.manifest import check_manifest, plan_sample, read_manifest, sample_rows
from training.experiment import open_experiment
from units.kmeans import NORMALIZATIONS
from units.phone_labels import PhoneLabels, read_phones
from units.sweep import (
    SETTING_KEYS,
    FeatureSetting,
    Sample,
    describe_setting,
    feature_settings,
    load_or_fit,
    load_or_refit,
    load_sample,
    load_scored,
    name_of,
    score_setting,
)

# The grid may grow from one start to the next; what is scored, and on what, may not change.
GRID_FLAGS = {"encoders", "layers", "cmn", "contexts", "n_units", "normalize", "duration_penalty", "abx", "device"}
EVERYDAY_FLAGS = (
    *("language", "tag", "exp", "resume", "overwrite", "encoders", "layers", "contexts", "n_units", "normalize"),
    *("duration_penalty", "split"),
)

log = logging.getLogger("oral_units")


class Materials(NamedTuple):
    """What every setting is fitted and scored on."""

    sample: list[Segment]
    scored: list[Segment]
    labels: PhoneLabels | None


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    add_experiment_flags(parser)
    add_grid_flags(parser.add_argument_group("grid: every combination of these"))
    add_scoring_flags(parser.add_argument_group("fitting and scoring"))
    args = parse_flags(parser, argv, everyday=EVERYDAY_FLAGS)
    args.encoders = args.encoders or [language_config(args.language)["encoder"]]
    require_positive(args, "kmeans_frames")
    require_not_negative(args, "n_disturbed", "n_resamples")
    for name, lowest in (("n_units", 1), ("contexts", 0), ("duration_penalty", 0)):
        if min(getattr(args, name)) < lowest:
            raise UserError(f"--{name}: expected {lowest} or more, found {min(getattr(args, name))}")
    return args


def add_grid_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--encoders", nargs="+", help="as --encoder of src/extract_units.py; by default the language's", default=None
    )
    group.add_argument("--layers", nargs="+", type=int, help="of encoders that have layers", default=None)
    group.add_argument(
        "--cmn",
        nargs="+",
        choices=("off", "on"),
        default=["off"],
        help="mfcc: whether each segment's mean cepstrum is subtracted (default: off)",
    )
    group.add_argument(
        "--contexts", nargs="+", type=int, default=[0], help="mfcc: neighbours on either side of a frame (default: 0)"
    )
    group.add_argument("--n_units", nargs="+", type=int, default=[100, 256], help="clusters (default: 100 256)")
    group.add_argument(
        "--normalize", nargs="+", choices=NORMALIZATIONS, default=["unit"], help="scale of features (default: unit)"
    )
    group.add_argument(
        "--duration_penalty",
        nargs="+",
        type=float,
        default=[0, 0.5, 1, 1.5, 2, 3],
        help="costs of a change of unit, as in src/extract_units.py (default: 0 0.5 1 1.5 2 3)",
    )


def add_scoring_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--kmeans_frames", type=int, default=100_000, help="training frames to fit on; 50 are a second")
    group.add_argument("--split", choices=SPLITS, default="val", help="split that is scored")
    group.add_argument("--abx", action="store_true", help="also ABX errors of the units; where phones are known")
    group.add_argument(
        "--n_disturbed",
        type=int,
        default=20,
        help="segments that are also heard shifted, in noise, by telephone, as MP3 and Opus; 0: none",
    )
    group.add_argument("--n_resamples", type=int, default=200, help="bootstrap resamples of the segments; 0: none")
    group.add_argument("--seed", type=int, default=0, help="of the sample, the fit and the bootstrap")
    group.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1, for encoders")


def find_settings(args: argparse.Namespace) -> list[FeatureSetting]:
    """The encoders, layers and options of the grid. Raises UserError for flags that no encoder of it can obey."""
    n_layers = {encoder: last_layer(encoder) or 0 for encoder in args.encoders}
    if args.layers and not any(n_layers.values()):
        raise UserError(f"--layers: none of {', '.join(args.encoders)} has layers; leave it out")
    if "mfcc" not in args.encoders and (args.contexts != [0] or args.cmn != ["off"]):
        raise UserError("--contexts and --cmn: options of mfcc alone, which is not in --encoders; leave them out")
    layered = [encoder for encoder in args.encoders if n_layers[encoder]]
    if layered and not args.layers:
        raise UserError(f"{layered[0]}: expected --layers, from 0 to {n_layers[layered[0]]}, found none")
    cmn = [value == "on" for value in args.cmn]
    found = feature_settings(args.encoders, args.layers or [], cmn, args.contexts, n_layers)
    for setting in found:
        describe_encoder(setting.encoder, setting.layer)
    return found


def gather_materials(args: argparse.Namespace, manifest: Path, phones: Path) -> Materials:
    train_frames = check_manifest(manifest, data_root())["train_frames"]
    plan = plan_sample(manifest, train_frames, args.kmeans_frames, args.seed, whole_clips=True)
    scored = [row for row in read_manifest(manifest) if row["split"] == args.split]
    if not scored:
        raise UserError(f"{manifest}: expected segments of the split '{args.split}', found none; give another --split")
    labels = read_phones(phones) if phones.exists() else None
    return Materials(list(sample_rows(manifest, plan)), scored, labels)


def sweep(args: argparse.Namespace, exp: Path, settings: Sequence[FeatureSetting], materials: Materials) -> None:
    """Score what is not in the table yet; the table is whole after every row."""
    table = exp / "sweep.json"
    done = {
        setting
        for setting, row in read_rows(table).items()
        if "abx_within" in row or not args.abx or not materials.labels
    }
    points = list(product(args.normalize, args.n_units, args.duration_penalty))
    missing = {setting: [point for point in points if (*setting, *point) not in done] for setting in settings}
    left = sum(map(len, missing.values()))
    with tqdm(total=left, desc="sweeping", unit=" settings", disable=None) as bar:
        for setting, wanted in missing.items():
            for row in sweep_features(args, exp, setting, wanted, materials):
                rows = read_rows(table) | {setting_of(row): row}  # another sweep may have added some
                write_json(table, {"language": args.language, "split": args.split, "rows": list(rows.values())})
                bar.update(1)


def read_rows(table: Path) -> dict[tuple, SweepRow]:
    """Setting -> row of sweep.json; empty where there is none yet."""
    return {setting_of(row): row for row in read_json(table)["rows"]} if table.exists() else {}


def setting_of(row: SweepRow) -> tuple:
    return tuple(row[key] for key in SETTING_KEYS)


def sweep_features(
    args: argparse.Namespace, exp: Path, setting: FeatureSetting, points: Sequence[tuple], materials: Materials
) -> Iterator[SweepRow]:
    """The rows of one encoder, layer and options at (normalisation, K, penalty) ``points``; its features made once."""
    if not points:
        return
    origin, folder, seed = describe_setting(setting), exp / "features" / name_of(*setting), args.seed
    encoder = load_encoder(setting.encoder, setting.layer, choose_device(args.device), **origin["options"])
    scored = load_scored(encoder, folder, materials.scored, data_root(), n_disturbed=args.n_disturbed)

    def sample() -> Sample:
        return load_sample(encoder, folder / "sample.npz", materials.sample, data_root(), seed=seed)

    for normalize, n_units, cost in points:

        def place(duration_penalty: float, fitted: tuple = (*setting, normalize, n_units)) -> Path:
            return exp / "clusters" / name_of(*fitted, float(duration_penalty))

        clusters = load_or_fit(place(0), sample, origin, n_units=n_units, normalize=normalize, seed=seed)
        if cost:
            clusters = load_or_refit(place(cost), sample, clusters, cost)
        settings = {"abx": args.abx, "n_resamples": args.n_resamples, "seed": seed}
        scores = score_setting(scored, materials.scored, clusters, materials.labels, **settings)
        yield dict(zip(SETTING_KEYS, (*setting, normalize, n_units, cost))) | scores


def write_table(exp: Path, rows: Sequence[SweepRow]) -> None:
    """sweep.csv: a column a key, four significant digits."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()})
    write_text(exp / "sweep.csv", text.getvalue())


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    configure_log()
    torch.set_num_threads(min(torch.get_num_threads(), 4))
    paths, suffix = language_paths(args.language, args.tag), f"_{args.tag}" if args.tag else ""
    exp = args.exp or exp_root() / f"{args.language}_sweep{suffix}"
    with only_run(exp):
        settings, materials = find_settings(args), gather_materials(args, paths["manifest"], paths["phones"])
        inputs = [paths["manifest"], *([paths["phones"]] if materials.labels else [])]
        log.info("%s: %s", exp, open_experiment(exp, vars(args), inputs=inputs, ignore=GRID_FLAGS))
        if materials.labels is None:
            log.warning("%s: not there; no scores of phones", paths["phones"])
        sweep(args, exp, settings, materials)
        rows = read_json(exp / "sweep.json")["rows"]
        write_table(exp, rows)
        draw_sweep(rows, exp)
        log.info("%s: %d settings, also as sweep.csv, sweep.png and sweep.svg", exp / "sweep.json", len(rows))
        return 0


if __name__ == "__main__":
    run_main(main, less_memory="fewer --kmeans_frames")
