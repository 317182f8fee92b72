"""Lay recorded prompts out as a real user's data would be: long MP3 recordings, and what is known about them.

Prompts in a seeded random order, joined by pauses of 0.6 to 1.2 s over a faint room noise, become
``data/<language>/raw/session_001.mp3`` and so on. Beside them: ``transcripts.tsv`` (one row a prompt),
``speakers.tsv``, and ``truth.tsv``: where speech really is, to measure the segmentation against. The same prompts give
the same bytes.
"""

import argparse
import hashlib
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import numpy as np

import av
from tqdm import tqdm

from core.cli import parse_flags, run_main
from core.errors import UserError
from core.files import read_json, write_atomically, write_json
from core.frames import SAMPLE_RATE
from core.locks import only_run
from core.tables import write_table
from languages import add_language_flags, language_paths
from segmentation.splits import split_of_name

SPEAKERS = {"spanish": "allison_es", "english": "allison_en", "italian": "carlo", "russian_prompts": "maxim"}
# Tones and noises; most are marked by a transcript in brackets, not all.
NON_SPEECH = {"beep", "beeperr", "ascending-2tone", "descending-2tone", "tt-monkeys"}
STRETCH_PAUSE = 0.3  # seconds: quieter for longer than this, a prompt counts as two stretches of speech
STRETCH_FLOOR_DB = -45.0  # below the prompt's loudest 10 ms: no speech
MP3_BIT_RATE = 128_000
MIN_SPLIT_MINUTES = {"test": 5.0, "val": 1.5, "train": 12.0}
LAYOUT_VERSION = 1


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_language_flags(parser)
    group = parser.add_argument_group("layout")
    # Of 13 names session_001.mp3 … the split's hash puts three into test and one into val: 23 % and 8 %.
    group.add_argument("--n_sessions", type=int, default=13, help="recordings to make (default 13)")
    group.add_argument("--min_pause", type=float, default=0.6, help="shortest pause between prompts, seconds (0.6)")
    group.add_argument("--max_pause", type=float, default=1.2, help="longest pause between prompts, seconds (1.2)")
    group.add_argument("--noise_db", type=float, default=-70.0, help="room noise, dB below full scale (-70)")
    group.add_argument("--seed", type=int, default=7, help="order of the prompts, pauses and noise (7)")
    group.add_argument("--max_prompts", type=int, default=None, help="use only so many prompts, for a trial")
    group.add_argument("--any_size", action="store_true", help="accept splits smaller than the recipe promises")
    return parse_flags(parser, argv)


def read_transcripts(path: Path) -> dict[str, str]:
    """``path: text`` lines -> text by prompt; ';' starts a comment; prompts that are not speech are left out."""
    texts = {}
    for line in path.read_bytes().decode("utf-8-sig", errors="replace").splitlines():
        name, colon, text = line.partition(":")
        name, text = name.strip(), " ".join(text.split())
        is_speech = text and not re.fullmatch(r"\[.*\]", text) and not name.startswith((";", "silence/"))
        if colon and is_speech and name not in NON_SPEECH:
            texts[name] = spoken_text(text)
    return texts


def spoken_text(text: str) -> str:
    """The words of a transcript: without (remarks), <sounds> and [signs]; words in brackets are spoken.

    "" for a prompt that is a sound alone: it stays in the recordings, where a user's own would have it, without a text.
    """
    without_remarks = re.sub(r"<[^>]*>|\([^)]*\)|\[\W*\]", " ", text)
    return " ".join(without_remarks.replace("[", "").replace("]", "").split())


def decode_prompt(path: Path) -> np.ndarray:
    """(S,) float32 at 16 kHz of a G.722 file."""
    with av.open(str(path), format="g722") as container:
        pieces = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    return np.concatenate(pieces).astype(np.float32) / 32768 if pieces else np.zeros(0, np.float32)


def list_prompts(sounds: Path, texts: dict[str, str]) -> list[str]:
    """Names with a text and a sound, sorted; of prompts with the very same sound only the first."""
    names, seen = [], set()
    for name in sorted(texts):
        path = sounds / f"{name}.g722"
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).digest()
            if digest not in seen:
                names.append(name)
            seen.add(digest)
    return names


def find_stretches(prompt: np.ndarray) -> list[tuple[int, int]]:
    """Where a clean prompt speaks: (start, end) in samples, by its peaks in 10 ms, split at pauses over 0.3 s."""
    step = SAMPLE_RATE // 100
    peaks = np.abs(prompt[: len(prompt) // step * step]).reshape(-1, step).max(axis=1)
    loud = np.flatnonzero(peaks > peaks.max() * 10 ** (STRETCH_FLOOR_DB / 20))
    breaks = np.flatnonzero(np.diff(loud) > STRETCH_PAUSE * 100)
    starts, ends = np.append(loud[0], loud[breaks + 1]), np.append(loud[breaks], loud[-1])
    return [(int(start) * step, (int(end) + 1) * step) for start, end in zip(starts, ends)]


def share_out(durations: list[float], n_sessions: int) -> list[list[int]]:
    """Consecutive items -> ``n_sessions`` groups of nearly equal total duration."""
    middles = np.cumsum(durations) - np.asarray(durations) / 2
    groups = np.minimum((middles / sum(durations) * n_sessions).astype(int), n_sessions - 1)
    return [np.flatnonzero(groups == index).tolist() for index in range(n_sessions)]


def room_noise(n_samples: int, level_db: float, rng: np.random.Generator) -> np.ndarray:
    """(n_samples,) float32 noise, darker than white as a room's is, at ``level_db`` dB RMS below full scale."""
    white = rng.standard_normal(n_samples + 4, dtype=np.float32)
    dark = np.convolve(white, np.array([1, 4, 6, 4, 1], np.float32) / 16, mode="valid")
    return dark * (10 ** (level_db / 20) / max(float(np.sqrt(np.mean(dark**2))), 1e-9))


def join_prompts(prompts: list[np.ndarray], args: argparse.Namespace, rng: np.random.Generator):
    """-> the session (S,) float32 and the sample at which each prompt begins."""
    pauses = (rng.uniform(args.min_pause, args.max_pause, len(prompts) + 1) * SAMPLE_RATE).astype(int)
    lengths = [len(prompt) for prompt in prompts]
    begins = np.cumsum(pauses[:-1]) + np.cumsum([0, *lengths[:-1]])
    session = room_noise(int(pauses.sum()) + sum(lengths), args.noise_db, rng)
    for begin, prompt in zip(begins, prompts):
        session[begin : begin + len(prompt)] += prompt
    return session, begins.tolist()


def write_mp3(path: Path, waveform: np.ndarray) -> None:
    """(S,) float32 at 16 kHz -> a mono MP3 without time stamps or library versions, so that bytes repeat."""
    if "libmp3lame" not in av.codecs_available:
        raise UserError("PyAV lacks libmp3lame, expected its binary wheel; install it with: pip install av")
    pcm = np.round(np.clip(waveform, -1, 1) * 32767).astype(np.int16)
    with av.open(str(path), "w", format="mp3", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate, stream.codec_context.flags = MP3_BIT_RATE, stream.codec_context.flags | 1 << 23
        for start in range(0, len(pcm), SAMPLE_RATE * 10):
            frame = av.AudioFrame.from_ndarray(pcm[None, start : start + SAMPLE_RATE * 10], format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def describe_session(source: str, prompts: list[tuple[str, str, np.ndarray]], begins: list[int]):
    """-> rows of transcripts.tsv and rows of truth.tsv, times in seconds."""
    texts, truth = [], []
    for (name, text, prompt), begin in zip(prompts, begins):
        stretches = [((begin + a) / SAMPLE_RATE, (begin + b) / SAMPLE_RATE) for a, b in find_stretches(prompt)]
        if text:
            texts.append((source, f"{stretches[0][0]:.4f}", f"{stretches[-1][1]:.4f}", text))
        truth += [(source, f"{start:.4f}", f"{end:.4f}", name) for start, end in stretches]
    return texts, truth


def check_splits(minutes: dict[str, float]) -> dict[str, float]:
    """Minutes of prompts by split; refuses a layout whose splits are smaller than promised."""
    totals = {split: 0.0 for split in MIN_SPLIT_MINUTES}
    for source, value in minutes.items():
        totals[split_of_name(source)] += value
    n_test = sum(split_of_name(source) == "test" for source in minutes)
    short = [
        f"{split} {totals[split]:.1f} of {least}" for split, least in MIN_SPLIT_MINUTES.items() if totals[split] < least
    ]
    if short or n_test < 2:
        raise UserError(
            f"splits too small, in minutes: {', '.join(short)}; {n_test} test recordings, expected 2 or more; "
            "choose another --n_sessions, or accept it with --any_size"
        )
    return totals


def load_prompts(folder: Path, args: argparse.Namespace) -> list[tuple[str, str, np.ndarray]]:
    """(name, text, waveform) of every usable prompt, in seeded random order."""
    texts = read_transcripts(folder / "transcripts.txt")
    names = list_prompts(folder / "sounds", texts)
    order = np.random.default_rng(args.seed).permutation(len(names))[: args.max_prompts]
    chosen = [names[index] for index in order]
    prompts = [(name, texts[name], decode_prompt(folder / "sounds" / f"{name}.g722")) for name in chosen]
    usable = [item for item in prompts if len(item[2]) and np.abs(item[2]).max() > 0.01]
    if not usable:
        raise UserError(f"{folder}: expected prompts with transcripts, found none; delete the folder and fetch again")
    return usable


def build(paths: dict[str, Path], language: str, args: argparse.Namespace) -> dict:
    """Write the sessions and their tables; returns what ``sessions.json`` shall say."""
    prompts = load_prompts(paths["cache"] / "prompts", args)
    durations = [len(waveform) / SAMPLE_RATE for _, _, waveform in prompts]
    groups = share_out(durations, args.n_sessions)
    sources = [f"session_{index:03d}.mp3" for index in range(1, args.n_sessions + 1)]
    minutes = {source: sum(durations[i] for i in group) / 60 for source, group in zip(sources, groups)}
    totals = None if args.any_size else check_splits(minutes)
    paths["raw"].mkdir(parents=True, exist_ok=True)
    texts, truth = [], []
    for index, (source, group) in enumerate(tqdm(list(zip(sources, groups)), unit="recording", disable=None)):
        members = [prompts[i] for i in group]
        session, begins = join_prompts([item[2] for item in members], args, np.random.default_rng([args.seed, index]))
        write_atomically(paths["raw"] / source, lambda temporary, session=session: write_mp3(temporary, session))
        session_texts, session_truth = describe_session(source, members, begins)
        texts, truth = texts + session_texts, truth + session_truth
    write_table(paths["transcripts"], ("source", "start", "end", "text"), texts)
    write_table(paths["data"] / "truth.tsv", ("source", "start", "end", "prompt"), truth)
    write_table(paths["speakers"], ("source", "speaker"), [(source, SPEAKERS[language]) for source in sources])
    return {"n_prompts": len(prompts), "minutes_of_prompts": sum(durations) / 60, "minutes_by_split": totals}


def main() -> int:
    args = parse_args()
    paths = language_paths(args.language)
    if args.language not in SPEAKERS:
        raise UserError(f"no recorded prompts for '{args.language}': expected one of {', '.join(SPEAKERS)}")
    if not (paths["cache"] / "prompts" / "prompts.json").exists():
        raise UserError(
            f"{paths['cache'] / 'prompts'}: expected the fetched prompts, found none; "
            f"run: python recipes/asterisk_prompts/fetch_prompts.py --language {args.language}"
        )
    layout = {key: value for key, value in vars(args).items() if key not in ("tag",)} | {"version": LAYOUT_VERSION}
    marker = paths["data"] / "sessions.json"
    if marker.exists() and read_json(marker)["layout"] == layout:
        return 0
    with only_run(paths["data"]):
        summary = build(paths, args.language, args)
        write_json(marker, {"layout": layout, **summary})
    print(
        f"{paths['raw']}: {args.n_sessions} recordings of {summary['n_prompts']} prompts, "
        f"{summary['minutes_of_prompts']:.1f} minutes of prompts"
    )
    return 0


if __name__ == "__main__":
    run_main(main)
