"""A corpus of short clips of several speakers, half of them disturbed: what grouping and voices of many are judged on.

Every folder holds recordings of one speaker. Short ones are joined until they last --shortest seconds. Half of the
clips, drawn at random, get noise, a telephone band or a lossy codec (audio/disturbances.py). Writes the clips under
names that tell nothing, and truth.tsv, who speaks in each and what was done to it, to --out.

    apt-get download asterisk-core-sounds-ru-g722 && dpkg -x asterisk-core-sounds-ru-g722_*.deb ru
    python scripts/bench/mix_speakers.py --out mixed --speaker ru=ru --speaker es=data/spanish/segments
    bash recipes/mp3_folder/prepare.sh mixed mixed
    python scripts/group_speakers.py --language mixed --compare mixed/truth.tsv
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import av
from tqdm import tqdm

from make_clips import read_clip

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from audio.audio_io import save_audio
from audio.disturbances import DISTURBANCES
from core.cli import HELP_FORMATTER, parse_flags, require_positive, require_share, run_main
from core.errors import UserError
from core.frames import SAMPLE_RATE
from core.tables import write_table

SILENCE_SECONDS = 0.15  # between recordings that are joined
CLEAN = "clean"
KINDS = [name for name in DISTURBANCES if not name.startswith("shift")]
SOUND = {".g722", ".gsm", ".wav", ".ogg", ".mp3", ".flac"}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--out", type=Path, required=True, help="folder to write, which must not exist")
    parser.add_argument(
        "--speaker", action="append", required=True, metavar="NAME=FOLDER", help="a speaker's recordings; several times"
    )
    parser.add_argument("--n_clips", type=int, default=40, help="clips of a speaker")
    parser.add_argument("--shortest", type=float, default=1.0, help="seconds of a clip")
    parser.add_argument("--longest", type=float, default=8.0, help="seconds of a clip; longer recordings are cut")
    parser.add_argument("--disturbed", type=float, default=0.5, help="share of the clips")
    parser.add_argument("--seed", type=int, default=0, help="of the order and the disturbances")
    args = parse_flags(parser, argv)
    require_positive(args, "n_clips", "shortest", "longest")
    require_share(args, "disturbed")
    if args.out.exists():
        raise UserError(f"{args.out}: is there already; name another folder, or delete it")
    return args


def join_clips(files: Sequence[Path], shortest: float, longest: float) -> Iterator[np.ndarray]:
    """Clips (S,) of ``shortest`` to ``longest`` seconds of the recordings in their order."""
    clip, silence = np.zeros(0, np.float32), np.zeros(round(SILENCE_SECONDS * SAMPLE_RATE), np.float32)
    for path in files:
        try:
            waveform = read_clip(path)
        except (UserError, OSError, av.FFmpegError) as error:
            print(f"{path}: left out: {error}", file=sys.stderr)
            continue
        if not np.abs(waveform).max(initial=0) > 0.01:
            continue
        clip = np.concatenate([clip, silence, waveform]) if len(clip) else waveform
        if len(clip) >= shortest * SAMPLE_RATE:
            yield clip[: round(longest * SAMPLE_RATE)]
            clip = np.zeros(0, np.float32)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    random = np.random.default_rng(args.seed)
    clips = []
    for name, _, folder in (given.partition("=") for given in args.speaker):
        files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SOUND)
        found = join_clips([files[place] for place in random.permutation(len(files))], args.shortest, args.longest)
        chosen = [clip for _, clip in zip(range(args.n_clips), found)]
        print(f"{name}: {len(chosen)} clips, {sum(map(len, chosen)) / SAMPLE_RATE / 60:.1f} minutes")
        clips += [(name, clip) for clip in chosen]
    rows = []
    for number, place in enumerate(tqdm(random.permutation(len(clips)), desc="writing", unit="clip", disable=None)):
        name, clip = clips[place]
        kind = KINDS[random.integers(len(KINDS))] if random.random() < args.disturbed else CLEAN
        source = f"clip_{number:04d}.wav"
        save_audio(args.out / source, DISTURBANCES[kind](clip) if kind != CLEAN else clip)
        rows.append((source, name, kind))
    write_table(args.out / "truth.tsv", ("source", "speaker", "disturbance"), rows)


if __name__ == "__main__":
    run_main(main)
