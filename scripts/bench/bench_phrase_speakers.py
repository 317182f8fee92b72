"""How pure are the phrases of the dictionary by transcripts, and how many are said by more than one speaker?

For a language with transcripts, where phones are not known (bench_phrases.py judges by phones). Needs the index of
src/index_speech.py. A phrase's word is the one that most transcripts of its places hold; its purity is their share. A
place counts only where its segment has a text. Chance: each place gets the text of another segment, drawn at random.

    python scripts/bench/bench_phrase_speakers.py --language italian --tag whisper
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import numpy as np

from audio.audio_io import load_audio
from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.records import Phrase
from core.text_normalisation import normalise_text
from evaluation.bootstrap import bootstrap_mean
from languages import add_language_flags, data_root, language_paths, resolve_in
from phrases.clusters import cluster_pairs
from phrases.describe import describe_clusters
from phrases.pairs import find_pairs
from phrases.runs import find_pauses
from spoken_search.index import index_folder, load_segments, open_index, seconds_of

SHORTEST_WORD, N_BEST = 3, 100


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("measurement")
    group.add_argument("--min_seconds", type=float, default=0.4, help="the shortest stretch that counts, in seconds")
    group.add_argument("--max_false_share", type=float, default=0.02, help="of pairs, as in find_phrases.py")
    group.add_argument("--seed", type=int, default=0, help="of the texts drawn at random")
    return parse_flags(parser, argv)


def words_of(text: str) -> set[str]:
    return {word for word in normalise_text(text).split() if len(word) >= SHORTEST_WORD}


def purity(texts: Sequence[str]) -> float | None:
    """The share of texts that hold the commonest word; None of fewer than two."""
    if len(texts) < 2:
        return None
    counts = Counter(word for text in texts for word in words_of(text))
    return max(counts.values(), default=0) / len(texts)


def judge(phrases: Sequence[Phrase], texts: Sequence[str], seed: int) -> tuple[list[float], list[float]]:
    """(purity of each phrase, the same with texts drawn at random)."""
    rng = np.random.default_rng(seed)
    found, chance = [], []
    for phrase in phrases:
        said = [row["text"] for row in phrase["occurrences"] if row.get("text")]
        if (one := purity(said)) is not None:
            found.append(one)
            chance.append(purity([texts[number] for number in rng.integers(len(texts), size=len(said))]))
    return found, chance


def show(values: Sequence[float]) -> str:
    found = bootstrap_mean(values)
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}], n={len(values)}"


def main() -> int:
    args = parse_args()
    segments = load_segments(language_paths(args.language)["manifest"])
    index, began = open_index(index_folder(args.language, args.tag), segments), time.process_time()
    load = lambda audio: load_audio(resolve_in(data_root(), audio))  # noqa: E731
    pauses = find_pauses(index.codes, index.bounds, segments, load, len(index.transform.centroids))
    pairs = find_pairs(index, pauses, min_seconds=args.min_seconds, max_false_share=args.max_false_share)
    phrases = describe_clusters(cluster_pairs(pairs), segments)
    texts = [row["text"] for row in segments if row.get("text")]
    best, several = phrases[:N_BEST], [phrase for phrase in phrases if phrase["n_speakers"] > 1]
    spent = time.process_time() - began
    minutes, encoder = seconds_of(index) / 60, index.features["encoder"]
    print(f"{minutes:.1f} minutes, {encoder}, {len(pairs.scores)} pairs, {spent:.0f} CPU s")
    print(f"{len(phrases)} phrases, {sum(phrase['n_occurrences'] for phrase in phrases)} places")
    print(
        f"said by more than one speaker: {len(several)} of {len(phrases)}, of the first {len(best)}: "
        f"{sum(phrase['n_speakers'] > 1 for phrase in best)}"
    )
    for name, some in ((f"the first {N_BEST}", best), ("of several speakers", several), ("all", phrases)):
        found, chance = judge(some, texts, args.seed)
        if found:
            print(f"purity of {name}: {show(found)}; chance {np.mean(chance):.3f}")
    return 0


if __name__ == "__main__":
    run_main(main)
