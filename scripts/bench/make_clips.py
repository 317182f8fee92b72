"""A folder as many projects have it: two thousand short clips of several speakers in mixed formats, with texts.

Real speech with transcripts, a clip a sentence, whole: Debian's package festvox-ru (wav/ and etc/txt.done.data), and
the recorded prompts of Asterisk (sounds/*.g722 and transcripts.txt, as recipes/asterisk_prompts leaves them in
data/<language>/cache/prompts; French and Russian from their packages). A few files are bad on purpose. Writes the
clips, transcripts.tsv, speakers.tsv and truth.json to --out.

    apt-get download festvox-ru && dpkg -x festvox-ru_*.deb ru
    nsh=ru/usr/share/festival/voices/russian/msu_ru_nsh_clunits
    python scripts/bench/make_clips.py --out clips --speaker nsh=$nsh --speaker es=data/spanish/cache/prompts \
        --speaker en=data/english/cache/prompts --speaker it=data/italian/cache/prompts
    bash recipes/mp3_folder/prepare.sh clips clips
    python scripts/bench/check_clips.py --language clips --clips clips
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import av
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

from audio.audio_io import load_audio
from core.cli import HELP_FORMATTER, parse_flags, require_positive, run_main
from core.errors import UserError
from core.files import write_json, write_text
from core.frames import SAMPLE_RATE

CODECS = {".mp3": "libmp3lame", ".opus": "libopus", ".m4a": "aac", ".wav": "pcm_s16le", ".flac": "flac"}
SESSIONS = 3  # folders of a speaker
ABSENT = "absent.mp3"  # in the table only


class Clip(NamedTuple):
    """A clip to write."""

    speaker: str
    name: str  # without a suffix
    path: Path  # of the original
    text: str


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    parser.add_argument("--out", type=Path, required=True, help="folder to write, which must not exist")
    parser.add_argument(
        "--speaker", action="append", required=True, metavar="NAME=FOLDER", help="a speaker's sentences; several times"
    )
    parser.add_argument("--n_clips", type=int, default=1900, help="clips that are whole")
    parser.add_argument("--shortest", type=float, default=1.0, help="seconds of a clip")
    parser.add_argument("--longest", type=float, default=10.0, help="seconds of a clip")
    parser.add_argument("--n_bad", type=int, default=2, help="bad files of each kind")
    args = parse_flags(parser, argv)
    require_positive(args, "n_clips", "shortest", "longest", "n_bad")
    if args.out.exists():
        raise UserError(f"{args.out}: is there already; name another folder, or delete it")
    return args


def read_texts(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """(name, recording, text) of every sentence, in order; what is no speech is left out."""
    festvox, prompts = folder / "etc" / "txt.done.data", folder / "transcripts.txt"
    if festvox.is_file():
        for name, text in re.findall(r'\(\s*(\S+)\s+"(.*)"\s*\)', festvox.read_text(encoding="utf-8")):
            yield name, folder / "wav" / f"{name}.wav", text
    elif prompts.is_file():
        for line in prompts.read_bytes().decode("utf-8-sig", errors="replace").splitlines():
            name, _, text = line.partition(":")
            if text.strip() and not line.startswith((";", "silence/")) and not text.strip().startswith(("[", "(", "<")):
                yield name.strip().replace("/", "_"), folder / "sounds" / f"{name.strip()}.g722", " ".join(text.split())
    else:
        raise UserError(f"{folder}: expected etc/txt.done.data or transcripts.txt, found neither")


def list_clips(speakers: Sequence[str]) -> list[Clip]:
    """Every sentence that has a recording of its own sound."""
    clips, seen = [], set()
    for speaker, _, folder in (given.partition("=") for given in speakers):
        for name, path, text in read_texts(Path(folder)):
            digest = hashlib.sha256(path.read_bytes()).digest() if path.is_file() else None
            if digest is not None and digest not in seen:
                clips.append(Clip(speaker, name, path, text))
            seen.add(digest)
    return clips


def read_clip(path: Path) -> np.ndarray:
    """(S,) float32 at 16 kHz."""
    if path.suffix != ".g722":
        return load_audio(path)
    with av.open(str(path), format="g722") as container:
        pieces = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    return np.concatenate(pieces).astype(np.float32) / 32768 if pieces else np.zeros(0, np.float32)


def encode(path: Path, waveform: np.ndarray) -> None:
    """Write (S,) float at 16 kHz; the suffix says how."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pcm = np.round(np.clip(waveform, -1, 1) * 32767).astype(np.int16)
    options = {"format": "ogg"} if path.suffix == ".opus" else {}
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(CODECS[path.suffix], rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


def write_bad(folder: Path, n_each: int) -> dict[str, str]:
    """Files that nobody can use, name -> what is wrong; each has a text in the table."""
    contents = {"empty.wav": b"", "words.mp3": b"no sound, only words\n" * 200, "torn.m4a": None, "silent.flac": None}
    bad = {}
    for number in range(n_each):
        for name, content in contents.items():
            path = folder / f"{number:02d}_{name}"
            if content is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            else:
                noise = np.random.default_rng(number).standard_normal(3 * SAMPLE_RATE) * 0.1
                encode(path, noise if name == "torn.m4a" else np.zeros(2 * SAMPLE_RATE))
            if name == "torn.m4a":
                path.write_bytes(path.read_bytes()[:2000])
            bad[path.name] = name.partition(".")[0]
    return bad


def choose(clips: Sequence[Clip], args: argparse.Namespace) -> list[tuple[Clip, np.ndarray]]:
    """``n_clips`` of the clips of the lengths asked for, spread evenly, with their samples."""
    read = [(clip, read_clip(clip.path)) for clip in tqdm(clips, desc="reading", unit="clip", disable=None)]
    fitting = [pair for pair in read if args.shortest <= len(pair[1]) / SAMPLE_RATE <= args.longest]
    if len(fitting) < args.n_clips:
        raise UserError(f"expected {args.n_clips} clips of that length, found {len(fitting)}; give more --speaker")
    return [fitting[place] for place in np.linspace(0, len(fitting) - 1, args.n_clips).round().astype(int)]


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    chosen = choose(list_clips(args.speaker), args)
    texts, speakers, seconds = {}, {}, {}
    suffixes = list(CODECS)
    for number, (clip, waveform) in enumerate(tqdm(chosen, desc="writing", unit="clip", disable=None)):
        source = f"{clip.speaker}/day_{number % SESSIONS + 1}/{clip.name}{suffixes[number % len(suffixes)]}"
        encode(args.out / source, waveform)
        texts[source], speakers[source], seconds[source] = clip.text, clip.speaker, len(waveform) / SAMPLE_RATE
    folder = f"{chosen[0][0].speaker}/day_1"
    bad = {f"{folder}/{name}": kind for name, kind in write_bad(args.out / folder, args.n_bad).items()}
    rows = [*texts.items(), *((source, f"what {kind} says") for source, kind in bad.items()), (ABSENT, "not recorded")]
    write_table(args.out / "transcripts.tsv", ("source", "text"), rows)
    write_table(args.out / "speakers.tsv", ("source", "speaker"), list(speakers.items()))
    write_json(args.out / "truth.json", {"seconds": seconds, "texts": texts, "bad": bad, "absent": [ABSENT]})
    minutes = sum(seconds.values()) / 60
    print(
        f"{args.out}: {len(texts)} clips, {minutes:.1f} minutes, {len(set(speakers.values()))} speakers, {len(bad)} bad"
    )


def write_table(path: Path, header: tuple[str, str], rows: Sequence[tuple[str, str]]) -> None:
    write_text(path, "".join("\t".join(row) + "\n" for row in (header, *rows)))


if __name__ == "__main__":
    run_main(main)
