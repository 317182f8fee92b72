"""Flags that say what speech is read, and which parts of it for what."""

import argparse
import os
from pathlib import Path

from languages import language_help


def add_data_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data",
        type=Path,
        default=None,
        help="data/<language>, a datasets.save_to_disk folder, or transcripts.tsv's (default: that of --language, or "
        "the only one in data/ with texts)",
    )
    group.add_argument(
        "--more_data", type=Path, nargs="+", default=[], help="further data sets, whose --train_split is trained on too"
    )
    group.add_argument(
        "--data_weights",
        type=float,
        nargs="+",
        default=None,
        help="how often an utterance of --data, and of each of --more_data, comes in an epoch (default: once)",
    )
    group.add_argument(
        "--language", default=os.environ.get("TRAINING_LANGUAGE"), help=language_help("whose data to read")
    )
    group.add_argument("--text_field", default="text", help="column of the transcripts")
    group.add_argument("--audio_field", default="audio", help="column of the audio")
    group.add_argument("--id_field", default=None, help="column of a data set that names its rows (id, where there)")
    group.add_argument("--train_split", default="train", help="split to train on")
    group.add_argument("--validation_split", default="val", help="split that chooses the best weights")
    group.add_argument("--test_splits", nargs="+", default=None, help="splits to transcribe (default: test)")
    group.add_argument(
        "--fold", default=None, metavar="2/5", help="hold a fold of the training split out, and transcribe it alone"
    )
    group.add_argument("--max_validation", type=int, default=200, help="utterances of the validation split to judge on")
    group.add_argument("--limit_eval_steps", type=int, default=None, help="the same in batches of --batch_size")
    group.add_argument("--max_train", type=int, default=None, help="utterances to train on (default: all)")
