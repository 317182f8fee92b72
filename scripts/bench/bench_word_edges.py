"""How exactly are words placed within running speech? By phones that somebody else has placed.

For a language with phones.tsv and transcripts (recipes/russian). The first recordings are laid end to end, heard, and
aligned with their texts. Words are laid onto the phones by their letters, which leaves an edge to the phone. What was
heard is kept in --heard, so that a second run only aligns.

    python scripts/bench/bench_word_edges.py --language russian --most 10 --whisper <whisper-base> --code ru
"""

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import numpy as np

from align_text import Listener, load_listener
from bench_alignment import quantiles
from bench_phrases import align_words

from alignment.align_recording import align
from alignment.known_text import TextLine
from audio.audio_io import load_audio, save_audio, stream_audio
from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.device import choose_device
from core.frames import SAMPLE_RATE
from core.tables import read_table
from languages import add_language_flags, language_paths
from segmentation.pauses import measure_levels
from units.phone_labels import read_phones

LEAST_PAUSE = 0.06  # s of silence beside a word


class TrueWord(NamedTuple):
    """A word as the phones have it, in seconds of the whole."""

    text: str
    start: float
    end: float
    pause_before: float
    pause_after: float


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    parser.add_argument("--first", type=int, default=0, help="recordings to pass over")
    parser.add_argument("--most", type=int, default=10, help="recordings laid end to end")
    parser.add_argument("--model", type=Path, default=None, help="experiment with a CTC head")
    parser.add_argument("--whisper", default=None, help="or a Whisper")
    parser.add_argument("--code", default=None, help="for --whisper: the language's code")
    parser.add_argument("--heard", type=Path, default=Path("heard"), help="folder for what was heard")
    parser.add_argument("--worst", type=int, default=0, help="print so many of the worst ends before a pause")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto")
    return parse_flags(parser, argv)


def words_of(text: str) -> list[str]:
    """The words of a line as the alignment has them, letters only."""
    plain = ("".join(re.findall(r"[а-яё]+", token.lower())) for token in text.split())
    return [word for word in plain if word]


def true_words(text: str, spans: tuple, names: Sequence[str], offset: float) -> list[TrueWord]:
    starts, ends, numbers = spans
    phones, words = [names[number] if number else "" for number in numbers], words_of(text)
    owners = np.array(align_words(phones, words))
    edges = [
        (float(starts[own[0]]), float(ends[own[-1]])) if len(own := np.flatnonzero(owners == n)) else None
        for n in range(len(words))
    ]
    known = [(word, *edge) for word, edge in zip(words, edges) if edge]
    before = [0.0, *(end for _, _, end in known)]
    after = [*(start for _, start, _ in known[1:]), np.inf]
    return [
        TrueWord(word, start + offset, end + offset, start - earlier, later - end)
        for (word, start, end), earlier, later in zip(known, before, after)
    ]


def match_words(found: Sequence[dict], truth: Sequence[TrueWord]) -> list[tuple[dict, TrueWord]]:
    """Both in their order; a word that was passed over has no partner."""
    pairs, place = [], 0
    for word in found:
        text = "".join(words_of(word["text"]))
        later = next((at for at in range(place, len(truth)) if truth[at].text == text), None)
        if later is not None:
            pairs.append((word, truth[later]))
            place = later + 1
    return pairs


def lay_end_to_end(args: argparse.Namespace) -> tuple[Path, list[TextLine], list[list[TrueWord]]]:
    paths = language_paths(args.language)
    labels = read_phones(paths["phones"])
    texts = {row["source"]: row["text"] for _, row in read_table(paths["transcripts"], ("source", "text"))}
    sources = sorted(set(texts) & set(labels.spans))[args.first : args.first + args.most]
    pieces, lines, truth, offset = [], [], [], 0
    for source in sources:
        pieces.append(load_audio(paths["raw"] / source))
        lines.append(TextLine(Path(source).stem, texts[source]))
        truth.append(true_words(texts[source], labels.spans[source], labels.names, offset / SAMPLE_RATE))
        offset += len(pieces[-1])
    recording = args.heard / f"{args.language}_{args.first}_{args.most}.wav"
    if not recording.exists():
        save_audio(recording, np.concatenate(pieces))
    return recording, lines, truth


def report(name: str, errors: Sequence[float]) -> None:
    if len(errors) > 1:
        print(f"| {name} | {len(errors)} | {quantiles(np.array(errors))} | {np.median(errors):+.0f} |")


def open_listener(args: argparse.Namespace) -> Listener:
    settings = {"model": args.model, "whisper": args.whisper, "language": args.code, "precision": "fp32"}
    return load_listener(argparse.Namespace(**settings, device=choose_device(args.device), batch_size=2), ())


def main() -> int:
    args = parse_args()
    args.heard.mkdir(parents=True, exist_ok=True)
    recording, lines, truth = lay_end_to_end(args)
    listener, began = open_listener(args), time.process_time()
    levels, _, n_samples = measure_levels(stream_audio(recording))
    heard = listener.hear(recording, lines, recording.with_suffix(""), n_samples / SAMPLE_RATE)
    found = align(recording.name, heard, levels, listener.scale)
    pairs = [pair for line, words in zip(found["lines"], truth) for pair in match_words(line["words"], words)]
    starts = [(1000 * (word["start"] - true.start), true.pause_before, word) for word, true in pairs]
    ends = [(1000 * (word["end"] - true.end), true.pause_after, word) for word, true in pairs]
    within = [[error for error, pause, _ in side if pause < LEAST_PAUSE] for side in (starts, ends)]
    beside = [[error for error, pause, _ in side if pause >= LEAST_PAUSE] for side in (starts, ends)]
    print(f"{n_samples / SAMPLE_RATE:.0f} s, {len(pairs)} of {sum(map(len, truth))} words")
    print("| edges | n | of the absolute error | bias (ms) |\n|---|---|---|---|")
    report("within speech", [*within[0], *within[1]])
    report("begins behind a pause", beside[0])
    report("ends before a pause", beside[1])
    report("all", [error for error, *_ in (*starts, *ends)])
    for error, pause, word in sorted((row for row in ends if row[1] >= LEAST_PAUSE), key=lambda row: -abs(row[0]))[
        : args.worst
    ]:
        print(
            f"{error:+5.0f} ms, pause of {1000 * pause:.0f} ms: {word['text']} {word['start']:.2f} to {word['end']:.2f}"
        )
    print(f"{time.process_time() - began:.0f} CPU s")
    return 0


if __name__ == "__main__":
    run_main(main)
