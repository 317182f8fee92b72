"""How much of a recording's units noise, rooms and codecs change: unit error rate and frame agreement.

Disturbs a split of a language, writes every version to OUT/<condition>/<id>.wav, finds units in all of them with the
clusters of each --units, and compares them with the units of the clean recording. Noise is recorded (fetch_noises.sh),
rooms are boxes whose echoes are computed, codecs are MP3 and Opus. What disturbs a clip follows from the seed, its id
and the condition. What is written can be spoken and judged:

    bash scripts/bench/fetch_noises.sh noises
    python scripts/bench/bench_noise.py --language spanish --units exp/spanish_units exp/spanish_augmented_units \\
        --noise noises/crowd noises/rain_wind noises/engines --out noisy
    python src/synthesize.py --exp exp/spanish_vocoder_v4 noisy/noise_10db --out spoken
    python src/vocoder_test.py --pairs noisy/clean spoken --asr models/whisper-base --asr_language es
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import numpy as np
import torch

from rapidfuzz.distance import Levenshtein
from tqdm import tqdm

from audio.audio_io import load_audio, save_audio
from audio.augmentation import mix_at, reverberate
from audio.disturbances import through_codec
from audio.pitch import extract_f0
from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from core.files import write_json
from core.frames import SAMPLE_RATE
from core.hashing import hash_fraction
from core.records import Segment
from encoders.encode import encode, load_encoder
from evaluation.bootstrap import bootstrap_ratio
from languages import add_language_flags, data_root, language_paths, resolve_in
from segmentation.manifest import read_manifest
from segmentation.recordings import list_sources
from units.corpus import deduplicate
from units.kmeans import load_kmeans, quantize_to_units, read_description

SPEED_OF_SOUND = 343.0  # m/s
MAX_ORDER = 20  # images along each side of a room

Disturb = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    parser.add_argument(
        "--units", type=Path, nargs="+", required=True, help="phase 1 folders whose clusters are judged"
    )
    parser.add_argument(
        "--noise", type=Path, nargs="+", required=True, help="folders of recorded noise; each counts alike"
    )
    parser.add_argument("--snr", type=float, nargs="+", default=[20, 10, 5], help="speech over noise (dB)")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"), help="split that is disturbed")
    parser.add_argument("--max_utterances", type=int, default=30, help="clips of it, evenly from all")
    parser.add_argument("--out", type=Path, required=True, help="folder for the disturbed recordings and scores")
    parser.add_argument(
        "--clean_f0", action="store_true", help="write OUT/<units>_<condition>.json too: its units with the clean F0"
    )
    parser.add_argument("--seed", type=int, default=0, help="of noises, places in them, and rooms")
    args = parse_flags(parser, argv)
    require_positive(args, "max_utterances")
    return args


def room_response(random: np.random.Generator) -> np.ndarray:
    """(S,) a box's impulse response from the direct sound on, by images (Allen and Berkley 1979).

    Sides of 3 to 8 m, 2.5 to 4 m high, walls that reflect .7 to .9 of the pressure, the speaker 1 to 2.5 m away.
    """
    sides = np.array([random.uniform(3, 8), random.uniform(3, 8), random.uniform(2.5, 4)])
    source = sides * random.uniform(0.3, 0.7, 3)
    towards = random.standard_normal(3)
    listener = source + towards / np.linalg.norm(towards) * random.uniform(1, 2.5)
    listener = np.clip(listener, 0.2, sides - 0.2)
    reflection = random.uniform(0.7, 0.9)
    numbers = np.arange(-MAX_ORDER, MAX_ORDER + 1)
    # Along one side: image n lies at 2 n L + x after 2 |n| reflections, or at 2 n L - x after |2 n - 1|.
    places = [np.concatenate([2 * numbers * side + x, 2 * numbers * side - x]) for side, x in zip(sides, source)]
    bounces = np.concatenate([2 * np.abs(numbers), np.abs(2 * numbers - 1)])
    squares = [np.square(place - x) for place, x in zip(places, listener)]
    distance = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
    order = bounces[:, None, None] + bounces[:, None] + bounces
    delay = np.round((distance - distance.min()) / SPEED_OF_SOUND * SAMPLE_RATE).astype(int)
    heard = delay < SAMPLE_RATE
    gains = reflection**order * distance.min() / distance
    return np.bincount(delay[heard], weights=gains[heard], minlength=SAMPLE_RATE)


def load_noises(folders: Sequence[Path]) -> list[list[np.ndarray]]:
    """(S,) of every sound in every folder."""
    kinds = [[load_audio(path) for path in list_sources(folder).values()] for folder in folders]
    for folder, kind in zip(folders, kinds):
        if not kind:
            raise UserError(f"{folder}: expected recordings of noise, found none; run scripts/bench/fetch_noises.sh")
    return kinds


def add_recorded(waveform: np.ndarray, random: np.random.Generator, kinds: list[list[np.ndarray]], snr_db: float):
    """The speech with a noise of one of the ``kinds``, from a random place on, over and over."""
    kind = kinds[random.integers(len(kinds))]
    noise = kind[random.integers(len(kind))]
    return mix_at(waveform, np.resize(np.roll(noise, -int(random.integers(len(noise)))), len(waveform)), snr_db)


def list_conditions(kinds: list[list[np.ndarray]], snrs: Sequence[float]) -> dict[str, Disturb]:
    return {
        "clean": lambda waveform, random: waveform,
        **{
            f"noise_{snr:g}db": lambda waveform, random, snr=snr: add_recorded(waveform, random, kinds, snr)
            for snr in snrs
        },
        "room": lambda waveform, random: reverberate(waveform, room_response(random)),
        "mp3": lambda waveform, random: through_codec(waveform, "mp3"),
        "opus": lambda waveform, random: through_codec(waveform, "opus"),
    }


def choose_rows(manifest: Path, split: str, n_rows: int) -> list[Segment]:
    rows = [row for row in read_manifest(manifest) if row["split"] == split]
    return [rows[place] for place in np.unique(np.linspace(0, len(rows) - 1, min(n_rows, len(rows))).astype(int))]


def disturb_rows(
    rows: Sequence[Segment], name: str, disturb: Disturb, out: Path, seed: int
) -> Iterator[tuple[str, np.ndarray]]:
    """(id, (S,)) of each row, disturbed, scaled where it would clip, written, and read again."""
    for row in rows:
        waveform = load_audio(resolve_in(data_root(), row["audio"]))
        # The same place of the same noise at every ratio.
        purpose = "noise" if name.startswith("noise") else name
        dice = np.random.default_rng(int(hash_fraction(seed, purpose, row["id"]) * 2**53))
        heard = disturb(waveform, dice)
        path = out / name / f"{row['id']}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_audio(path, heard / max(1.0, float(np.abs(heard).max(initial=0))))
        yield row["id"], load_audio(path)


def listen(folder: Path, waveforms: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    """condition -> id -> (F,) units, by the clusters of a phase 1 folder."""
    clusters = load_kmeans(folder / "kmeans.npz")
    origin = read_description(clusters)
    if origin is None:
        raise UserError(f"{folder}: expected clusters that name their encoder; rerun phase 1")
    encoder = load_encoder(origin["encoder"], origin["layer"], "cpu", torch.float32, **origin["options"])
    return {
        name: {one: quantize_to_units(encode(encoder, [heard])[0], clusters)[:, 0] for one, heard in clips.items()}
        for name, clips in waveforms.items()
    }


def score(clean: dict[str, np.ndarray], heard: dict[str, np.ndarray]) -> dict[str, object]:
    """Edits of merged units over the length of the clean ones, and frames with the clean one's unit; over clips."""
    merged = [(deduplicate(clean[one])[0].tolist(), deduplicate(heard[one])[0].tolist()) for one in clean]
    edits = bootstrap_ratio([Levenshtein.distance(*pair) for pair in merged], [len(one) for one, _ in merged])
    same = bootstrap_ratio(
        [int((clean[one] == heard[one]).sum()) for one in clean], [len(one) for one in clean.values()]
    )
    return {"unit_error_rate": edits._asdict(), "frame_agreement": same._asdict()}


def write_clean_f0(path: Path, heard: dict[str, np.ndarray], clean: dict[str, np.ndarray]) -> None:
    rows = []
    for one, frames in heard.items():
        units, durations = deduplicate(frames)
        f0 = extract_f0(clean[one])[: len(frames)]
        rows.append({"id": one, "units": units.tolist(), "durations": durations.tolist(), "f0": f0.tolist()})
    write_json(path, rows)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(1)
    rows = choose_rows(language_paths(args.language, args.tag)["manifest"], args.split, args.max_utterances)
    conditions = list_conditions(load_noises(args.noise), args.snr)
    bar = tqdm(conditions.items(), desc="disturbing", unit="condition", disable=None)
    waveforms = {name: dict(disturb_rows(rows, name, disturb, args.out, args.seed)) for name, disturb in bar}
    found = {folder: listen(folder, waveforms) for folder in args.units}
    reference, scores = found[args.units[0]]["clean"], {}
    print(f"{len(rows)} clips; unit error rate and frame agreement [95 %] against the clean recording's units")
    for folder, name in itertools.product(args.units, conditions):
        own = score(found[folder]["clean"], found[folder][name])
        scores.setdefault(folder.name, {})[name] = own | {"against_first": score(reference, found[folder][name])}
        edits, same = own["unit_error_rate"], own["frame_agreement"]
        print(
            f"{folder.name:30} {name:12} {edits['mean']:.3f} [{edits['low']:.3f}, {edits['high']:.3f}]  "
            f"{same['mean']:.3f} [{same['low']:.3f}, {same['high']:.3f}]"
        )
        if args.clean_f0:
            write_clean_f0(args.out / f"{folder.name}_{name}.json", found[folder][name], waveforms["clean"])
    write_json(args.out / "unit_errors.json", scores)


if __name__ == "__main__":
    run_main(main)
