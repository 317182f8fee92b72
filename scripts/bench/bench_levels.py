"""What does the level of a recording do to its units, and what does levelling bring?

    python scripts/bench/bench_levels.py --language spanish --exp exp/spanish_vocoder_v4 --out levels

Test segments are made softer and louder (``--gains``), as another phone would have recorded them. Their units, by the
clusters of the voice ``--exp``, are compared with those of the segment as it is: heard as loud as it is, and brought to
the usual level as ``synthesize.py`` does it. The segments at every gain are left in ``--out``, to be spoken and scored:

    python src/synthesize.py --exp exp/spanish_vocoder_v4 levels/-20 --out spoken/-20
    python src/vocoder_test.py --pairs levels/0 spoken/-20 --asr <whisper-base folder> --asr_language es
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import numpy as np

from tqdm import tqdm

from audio.audio_io import load_audio, save_audio
from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from evaluation.bootstrap import bootstrap_ratio
from languages import add_language_flags, data_root, language_paths, resolve_in
from segmentation.levelling import amplify, level_speech
from segmentation.manifest import read_manifest
from vocoder.hearing import open_ears


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("levels")
    group.add_argument("--exp", type=Path, required=True, help="a voice, whose clusters hear the segments")
    group.add_argument(
        "--gains", type=float, nargs="+", default=[-36, -24, -20, -12, -6, 6], help="by which segments are changed, dB"
    )
    group.add_argument("--max_utterances", type=int, default=30, help="first ones of the test split")
    group.add_argument("--out", type=Path, required=True, help="folder for the changed segments")
    args = parse_flags(parser, argv)
    require_positive(args, "max_utterances")
    return args


def same_frames(found: np.ndarray, expected: np.ndarray) -> tuple[int, int]:
    """Frames of (F, N) units that are all equal, and F."""
    return int((found == expected).all(axis=1).sum()), len(expected)


def main() -> int:
    args = parse_args()
    manifest = language_paths(args.language)["manifest"]
    rows = [row for row in read_manifest(manifest) if row["split"] == "test"][: args.max_utterances]
    if not rows:
        raise UserError(f"{manifest}: expected segments of the test split, found none")
    hear = open_ears(args.exp, "cpu")
    waveforms = {row["id"]: load_audio(resolve_in(data_root(), row["audio"])) for row in rows}
    expected = {name: hear(level_speech(waveform)) for name, waveform in waveforms.items()}
    for name, waveform in waveforms.items():
        save_audio(args.out / "0" / f"{name}.wav", waveform)
    for gain in args.gains:
        as_it_is, levelled = [], []
        for name, waveform in tqdm(waveforms.items(), desc=f"{gain:+g} dB", unit="segment"):
            path = args.out / f"{gain:g}" / f"{name}.wav"
            save_audio(path, amplify(waveform, gain))
            changed = load_audio(path)
            as_it_is.append(same_frames(hear(changed), expected[name]))
            levelled.append(same_frames(hear(level_speech(changed)), expected[name]))
        shares = [bootstrap_ratio(*zip(*counts, strict=True)) for counts in (as_it_is, levelled)]
        told = [f"{share.mean:.3f} [{share.low:.3f}, {share.high:.3f}]" for share in shares]
        print(f"{gain:+g} dB: frames with the unit that they had: {told[0]} as it is, {told[1]} levelled")
    return 0


if __name__ == "__main__":
    run_main(main)
