"""How good the dictionary of find_phrases.py is, by phones, beside the motifs of phase 2 on the same units.

For a language with phones.tsv and transcripts (recipes/russian). Needs the index of src/index_speech.py.

    python scripts/bench/bench_phrases.py --language russian
    python scripts/bench/bench_phrases.py --language russian --n_segments 200
"""

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import numpy as np

from audio.audio_io import load_audio
from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.frames import frames_to_seconds
from core.records import Phrase, Segment
from core.tables import read_table
from evaluation.bootstrap import bootstrap_mean
from evaluation.term_discovery import (
    PhoneTier,
    Stretch,
    boundary_scores,
    coverage,
    edit_distances,
    phones_of,
)
from languages import add_language_flags, data_root, language_paths, resolve_in
from phrases.clusters import cluster_pairs
from phrases.describe import describe_clusters
from phrases.pairs import find_pairs
from phrases.runs import find_pauses, make_runs
from spoken_search.index import Index, index_folder, load_segments, open_index, seconds_of
from units.bpe import encode_units, token_edges, token_units, train_tokenizer
from units.phone_labels import read_phones

# Which phones a Cyrillic letter may be: enough to tell which word a phone belongs to.
LETTERS = {
    **dict(zip("бвгдзклмнпрстфхц", "bvgdzklmnprstfhc")),
    "ж": "z",
    "ч": "c",
    "ш": "s",
    "щ": "s",
    "й": "j",
}
VOWELS = "аеёиоуыэюя"
MIN_MOTIF_UNITS = 2
N_BEST = 100


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("measurement")
    group.add_argument("--n_segments", type=int, help="only so many segments, the first ones; by default all")
    group.add_argument("--min_seconds", type=float, default=0.4, help="the shortest stretch that counts, in seconds")
    group.add_argument("--max_false_share", type=float, default=0.02, help="of pairs, as in find_phrases.py")
    group.add_argument("--vocab_size", type=int, default=2000, help="tokens of the motifs")
    group.add_argument("--seed", type=int, default=0, help="of the classes of sounds")
    return parse_flags(parser, argv)


def align_words(phones: Sequence[str], words: Sequence[str]) -> list[int]:
    """Number of the word of each of N phones (−1: silence), by the cheapest alignment of letters and phones."""
    letters = [(letter, number) for number, word in enumerate(words) for letter in word if letter not in "ьъ"]
    spoken = [at for at, phone in enumerate(phones) if phone]
    n, m = len(spoken), len(letters)
    costs = np.add.outer(np.arange(n + 1.0), np.arange(m + 1.0))
    moves = np.zeros((n + 1, m + 1), int)
    moves[0, 1:] = 1
    for row in range(1, n + 1):
        for column in range(1, m + 1):
            differs = letter_cost(letters[column - 1][0], phones[spoken[row - 1]])
            options = (costs[row - 1, column] + 1, costs[row, column - 1] + 1, costs[row - 1, column - 1] + differs)
            moves[row, column] = 2 - int(np.argmin(options[::-1]))  # both before one alone
            costs[row, column] = min(options)
    owners, row, column = [-1] * len(phones), n, m
    while row > 0:
        move = moves[row, column]
        if column == 0 or move == 0:
            owners[spoken[row - 1]] = letters[min(column, m - 1)][1]
            row -= 1
        elif move == 1:
            column -= 1
        else:
            owners[spoken[row - 1]] = letters[column - 1][1]
            row, column = row - 1, column - 1
    return owners


def letter_cost(letter: str, phone: str) -> float:
    """0 where the letter is usually said so; under 2, so that a wrong pair beats two gaps."""
    if letter in VOWELS:
        return 0.0 if phone[0] in "aeiouy" else 1.8
    expected = LETTERS.get(letter, letter)
    alike = {"bp", "vf", "gk", "dt", "zs", "gv", "sc", "sz"}
    return 0.0 if phone[0] == expected else 0.5 if {expected + phone[0], phone[0] + expected} & alike else 1.5


def read_tiers(language: str, sources: set[str]) -> tuple[dict[str, PhoneTier], dict[str, list[str]]]:
    """Phones and edges of words of each recording, and the word of each phone ("" for silence)."""
    paths = language_paths(language)
    labels = read_phones(paths["phones"])
    texts = {row["source"]: row["text"] for _, row in read_table(paths["transcripts"], ("source", "text"))}
    tiers, said = {}, {}
    for source in sorted(sources & set(labels.spans) & set(texts)):
        starts, ends, numbers = labels.spans[source]
        phones = [labels.names[number] if number else "" for number in numbers]
        words = re.findall(r"[а-яё]+", texts[source].lower())
        owners = align_words(phones, words)
        first = [at for at, owner in enumerate(owners) if owner >= 0 and owner != (owners[at - 1] if at else -1)]
        last = [at for at, owner in enumerate(owners) if owner >= 0 and owner != (*owners, -1)[at + 1]]
        edges = np.unique(np.round(np.concatenate([starts[first], ends[last]]), 3))
        tiers[source] = PhoneTier(starts, ends, phones, edges)
        said[source] = [words[owner] if owner >= 0 else "" for owner in owners]
    return tiers, said


def words_in(tiers: dict[str, PhoneTier], said: dict[str, list[str]], stretch: Stretch) -> tuple[str, ...]:
    """Words of which the stretch holds at least half of the phones."""
    tier, words, owners = tiers[stretch.source], [], said[stretch.source]
    held = phones_of(tier, stretch)
    for at in held:
        if owners[at] and (at == held[0] or owners[at] != owners[at - 1]):
            first, last = at, at
            while first > 0 and owners[first - 1] == owners[at]:
                first -= 1
            while last + 1 < len(owners) and owners[last + 1] == owners[at]:
                last += 1
            inside = sum(number in held for number in range(first, last + 1))
            if 2 * inside >= last - first + 1:
                words.append(owners[at])
    return tuple(words)


def purity(
    tiers: dict[str, PhoneTier], said: dict[str, list[str]], clusters: Sequence[Sequence[Stretch]]
) -> list[float]:
    """Of each cluster, the share of its places that hold its commonest word."""
    values = []
    for cluster in clusters:
        held = [set(words_in(tiers, said, stretch)) for stretch in cluster]
        counts = [sum(word in words for words in held) for word in set().union(*held)]
        values.append(max(counts, default=0) / len(cluster))
    return values


def phrase_stretches(phrases: Sequence[Phrase]) -> list[list[Stretch]]:
    return [[Stretch(row["source"], row["start"], row["end"]) for row in phrase["occurrences"]] for phrase in phrases]


def motif_stretches(index: Index, pauses: np.ndarray, vocab_size: int, least: float) -> list[list[Stretch]]:
    """Tokens of two units and more that last ``least`` seconds and come twice, the most frequent first."""
    runs = make_runs(np.asarray(index.codes), index.bounds, pauses)
    edges = np.flatnonzero(np.diff(runs.runs, prepend=-1, append=-2))
    parts = [slice(a, b) for a, b in zip(edges[:-1], edges[1:])]
    tokenizer = train_tokenizer(
        (runs.units[part] for part in parts), n_units=len(index.transform.centroids), vocab_size=vocab_size
    )
    units = token_units(tokenizer)
    lengths = np.array([len(one) for one in units])
    found: dict[int, list[Stretch]] = {}
    for part in parts:
        ids = encode_units(tokenizer, runs.units[part])
        frames = token_edges(ids, lengths, runs.stops[part] - runs.starts[part]) + runs.starts[part][0]
        row: Segment = index.segments[int(runs.segments[part][0])]
        for token, start, stop in zip(ids, frames[:-1], frames[1:]):
            seconds = frames_to_seconds(int(start)), frames_to_seconds(int(stop))
            if lengths[token] >= MIN_MOTIF_UNITS and seconds[1] - seconds[0] >= least:
                stretch = Stretch(row["source"], row["start"] + seconds[0], row["start"] + seconds[1])
                found.setdefault(int(token), []).append(stretch)
    return sorted((said for said in found.values() if len(said) > 1), key=len, reverse=True)


def report(name: str, clusters: Sequence[Sequence[Stretch]], tiers: dict, said: dict) -> None:
    clusters = [[one for one in cluster if one.source in tiers] for cluster in clusters]
    places = [one for cluster in clusters for one in cluster]
    distances = edit_distances(tiers, clusters)
    edges = boundary_scores(tiers, places)
    best = purity(tiers, said, [cluster for cluster in clusters if cluster][:N_BEST])
    shown = [
        f"{ned.mean:.3f} [{ned.low:.3f}, {ned.high:.3f}]" if len(values) > 1 else "-"
        for values in (distances, best)
        for ned in [bootstrap_mean(values) if len(values) > 1 else None]
    ]
    print(
        f"| {name} | {shown[0]}, n={len(distances)} | {coverage(tiers, places):.3f} | {edges['f1']:.3f} "
        f"({edges['precision']:.3f}, {edges['recall']:.3f}) | {shown[1]} | {len(clusters)}, {len(places)} |",
        flush=True,
    )


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    segments = load_segments(language_paths(args.language)["manifest"])
    index = open_index(index_folder(args.language, args.tag), segments)
    if args.n_segments:
        bounds = index.bounds[: args.n_segments + 1]
        index = index._replace(bounds=bounds, codes=index.codes[: bounds[-1]], segments=segments[: args.n_segments])
    started = time.process_time()
    pauses = find_pauses(
        index.codes,
        index.bounds,
        index.segments,
        lambda audio: load_audio(resolve_in(data_root(), audio)),
        len(index.transform.centroids),
    )
    limits = {"min_seconds": args.min_seconds, "max_false_share": args.max_false_share, "seed": args.seed}
    found = find_pairs(index, pauses, **limits)
    phrases = phrase_stretches(describe_clusters(cluster_pairs(found), index.segments))
    cpu, minutes = time.process_time() - started, seconds_of(index) / 60
    print(f"{minutes:.1f} minutes, {cpu:.0f} CPU s: {len(found.scores)} pairs, {len(phrases)} phrases", flush=True)
    print(f"false by the null: {found.false_share:.3f} of the pairs", flush=True)
    tiers, said = read_tiers(args.language, {row["source"] for row in index.segments})
    print("| system | NED | coverage | boundary F1 (precision, recall) | purity of the first 100 | clusters, places |")
    print("|---|---|---|---|---|---|")
    report("phrases", phrases, tiers, said)
    for least in (0.0, args.min_seconds):
        motifs = motif_stretches(index, pauses, args.vocab_size, least)
        report(f"motifs, ≥ {least:g} s", motifs, tiers, said)
    return 0


if __name__ == "__main__":
    run_main(main)
