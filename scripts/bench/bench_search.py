"""How well spoken search finds words, and how fast, against chance, plain alignment of cepstra, and units.

For a language of recorded prompts (recipes/asterisk_prompts). Prompts of one word are the queries, the language's
segments are searched, and a segment is right where its transcript has the word. Same speaker: the segment that the
query was cut from is left out. Other speaker: --others is a folder with prompts of the same names.

    python scripts/bench/bench_search.py --language italian --others it_IT_f_Menardi --baselines
    python scripts/bench/bench_search.py --language italian --tag whisper --others it_IT_f_Menardi --refine 3 --fit
    python scripts/bench/bench_search.py --language italian --tag whisper --hours 100
"""

import argparse
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import core.quiet_start

import numpy as np

from audio.audio_io import load_audio
from core.cli import HELP_FORMATTER, parse_flags, run_main
from core.errors import UserError
from core.frames import SAMPLE_RATE, UNIT_RATE
from core.records import SearchFeatures
from core.tables import read_table
from core.text_normalisation import normalise_text
from encoders.encode import Encoder, encode, load_encoder
from evaluation.bootstrap import bootstrap_mean, paired_ratio_difference
from languages import add_language_flags, data_root, language_paths, resolve_in
from spoken_search.calibration import probability, score_costs
from spoken_search.dtw import best_match, scan_segments
from spoken_search.features import nearest_centroids, open_search_encoder
from spoken_search.index import Index, index_folder, load_segments, open_index
from spoken_search.matching import BLOCK_FRAMES, Found, search_index
from spoken_search.queries import QueryClip, find_speech, read_query

# Digits in the transcripts are said as these words.
DIGITS = {
    "italian": "zero uno due tre quattro cinque sei sette otto nove",
    "spanish": "cero uno dos tres cuatro cinco seis siete ocho nueve",
    "english": "zero one two three four five six seven eight nine",
}
SHORTEST_WORD = 3  # letters: a letter's name is seldom what its transcript holds
EVERY_BLOCK = 1_000_000
SUFFIXES = (".wav", ".gsm", ".mp3")
BINS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.001)  # of probabilities, for reliability


class Word(NamedTuple):
    """A query with what is right."""

    word: str
    clip: QueryClip
    relevant: np.ndarray  # (U,) bool: the segment's transcript has the word
    counted: np.ndarray  # (U,) bool: not the segment that the query was cut from
    other: bool  # said by somebody else


class Ranked(NamedTuple):
    """Scores of one query: average precision, P@10, P@min(10, R), R, and those by chance."""

    average_precision: float
    at_ten: float
    at_few: float
    n_relevant: int
    chance: float


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HELP_FORMATTER)
    add_language_flags(parser)
    group = parser.add_argument_group("measurement")
    group.add_argument("--others", type=Path, help="folder of another speaker's prompts, of the same names")
    group.add_argument("--n_words", type=int, help="the most queries of each speaker, drawn at random; by default all")
    group.add_argument("--baselines", action="store_true", help="plain alignment of cepstra, and units, as well")
    group.add_argument("--refine", type=int, default=0, help="accept so many right hits, and search again")
    group.add_argument("--fit", action="store_true", help="fit probabilities on every second word, judge on the others")
    group.add_argument("--hours", type=float, help="time a search of the index repeated to so many hours, and stop")
    group.add_argument("--work", type=Path, help="folder for the repeated index; by default a temporary one")
    group.add_argument("--seed", type=int, default=0, help="of the words drawn")
    return parse_flags(parser, argv)


def read_prompts(language: str) -> dict[str, tuple[str, float, float, str]]:
    """Prompt -> (source, start, end, text) of those whose text is one word."""
    paths = language_paths(language)
    rows = read_table(paths["transcripts"], ("source", "start", "end", "text"))
    texts = {(row["source"], row["start"]): row["text"] for _, row in rows}
    prompts: dict[str, tuple[str, float, float, str]] = {}
    for _, row in read_table(paths["data"] / "truth.tsv", ("source", "start", "end", "prompt")):
        known = prompts.get(row["prompt"])
        start = known[1] if known else float(row["start"])
        text = known[3] if known else texts.get((row["source"], row["start"]), "")
        prompts[row["prompt"]] = (row["source"], start, float(row["end"]), text)
    words = {name: (*found[:3], normalise_text(found[3])) for name, found in prompts.items()}
    return {name: found for name, found in words.items() if len(found[3]) >= SHORTEST_WORD and found[3].isalpha()}


def words_of(text: str, language: str) -> set[str]:
    digits = DIGITS.get(language, "").split()
    return {digits[int(word)] if digits and re.fullmatch("[0-9]", word) else word for word in text.split()}


def find_words(args: argparse.Namespace, index: Index) -> list[Word]:
    """Queries that are said in two other segments at least, one a word and speaker."""
    said = [words_of(normalise_text(row.get("text", "")), args.language) for row in index.segments]
    raw, found = language_paths(args.language)["raw"], {}
    for name, (source, start, end, word) in sorted(read_prompts(args.language).items()):
        relevant = np.array([word in words for words in said])
        own = [row["source"] == source and row["start"] < end and row["end"] > start for row in index.segments]
        clips = {False: QueryClip(raw / source, start, end)}
        if path := find_other(args.others, name):
            clips[True] = QueryClip(path)
        for other, clip in clips.items():
            counted = np.ones(len(said), bool) if other else ~np.array(own)
            if (relevant & counted).sum() >= 2:
                found.setdefault((other, word), Word(word, clip, relevant, counted, other))
    chosen = []
    for other in (False, True):
        words = [word for (kind, _), word in found.items() if kind == other]
        order = np.random.default_rng(args.seed).permutation(len(words))[: args.n_words]
        chosen += [words[place] for place in sorted(order)]
    return chosen


def find_other(folder: Path | None, name: str) -> Path | None:
    """The other speaker's prompt, in the folder itself or in a language's below it."""
    if folder is None:
        return None
    places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir() and len(path.name) == 2)]
    return next((file for place in places for end in SUFFIXES if (file := place / f"{name}{end}").is_file()), None)


def rank(costs: np.ndarray, word: Word) -> Ranked:
    """(U,) costs of the segments, smaller is better -> scores over the segments that count."""
    right = word.relevant[word.counted][np.argsort(costs[word.counted], kind="stable")]
    places = np.flatnonzero(right) + 1
    few = min(10, len(places))
    precisions = np.arange(1, len(places) + 1) / places
    return Ranked(precisions.mean(), right[:10].mean(), right[:few].mean(), len(places), right.mean())


def segment_costs(found: Found, n_segments: int) -> np.ndarray:
    """(U,) cost of the best hit of each segment; a large one where there is none."""
    costs = np.full(n_segments, 1e6)
    for place in reversed(found.places):
        costs[place.segment] = place.cost
    return costs


def plain_costs(word: Word, encoder: Encoder, segments: Sequence[np.ndarray]) -> np.ndarray:
    """Plain alignment: cepstra as they are, Euclidean distances, every segment."""
    query = encode(encoder, [cut_query(word.clip)])[0]
    costs = np.full(len(segments), 1e6)
    for place, frames in enumerate(segments):
        squared = np.square(frames).sum(1)[:, None] + np.square(query).sum(1) - 2 * frames @ query.T
        if match := best_match(np.sqrt(np.maximum(squared, 0))):
            costs[place] = match.cost
    return costs


def cut_query(clip: QueryClip) -> np.ndarray:
    waveform = load_audio(clip.path)
    if clip.start is not None:
        waveform = waveform[round(clip.start * SAMPLE_RATE) : round(clip.end * SAMPLE_RATE)]
    first, last = find_speech(waveform)
    return waveform[first * SAMPLE_RATE // UNIT_RATE : last * SAMPLE_RATE // UNIT_RATE]


def unit_costs(index: Index, query: np.ndarray) -> np.ndarray:
    """Units alone: both sides are centroids, and a distance is that of two of them."""
    centroids = index.transform.centroids
    table = 1 - centroids @ centroids[nearest_centroids(query, index.transform)].T
    blocks = scan_segments(table, np.asarray(index.codes), index.bounds, BLOCK_FRAMES)
    firsts = np.concatenate([[0], np.cumsum(-(-np.diff(index.bounds) // BLOCK_FRAMES))])
    return np.array([blocks[a:b].min() if b > a else 1e6 for a, b in zip(firsts[:-1], firsts[1:])])


def report(name: str, ranked: Sequence[Ranked]) -> None:
    """A row of the table."""
    precision = bootstrap_mean([row.average_precision for row in ranked])
    few = bootstrap_mean([row.at_few for row in ranked])
    frequent = [row.at_ten for row in ranked if row.n_relevant >= 10]
    ten = show(bootstrap_mean(frequent)) + f", n={len(frequent)}" if frequent else "-"
    chance = np.mean([row.chance for row in ranked])
    print(f"| {name} | {show(precision)} | {ten} | {show(few)} | {chance:.3f} | {len(ranked)} |", flush=True)


def show(interval) -> str:
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def measure(args: argparse.Namespace, index: Index) -> None:
    words, encoder = find_words(args, index), open_search_encoder(index.features)
    if not words:
        raise UserError(f"{args.language}: expected prompts of one word that are said elsewhere too, found none")
    systems: dict[str, Callable[[Word, np.ndarray], np.ndarray]] = {}
    if args.baselines:
        cepstra = load_encoder("mfcc", None)
        sounds = [encode(cepstra, [load_audio(resolve_in(data_root(), row["audio"]))])[0] for row in index.segments]
        systems["plain alignment of cepstra"] = lambda word, _: plain_costs(word, cepstra, sounds)
        systems["units"] = lambda _, query: unit_costs(index, query)
    rows: dict[tuple[str, bool], list[Ranked]] = {}
    scored = []
    for word in words:
        query = read_query(word.clip, encoder, index.transform).frames
        found = search_index(index, [query], n_candidates=EVERY_BLOCK, n_threads=1)
        costs = segment_costs(found, len(index.segments))
        rows.setdefault((f"search, {index.features['encoder']}", word.other), []).append(rank(costs, word))
        scored.append((word, score_costs(costs, found.background)))
        for name, system in systems.items():
            rows.setdefault((name, word.other), []).append(rank(system(word, query), word))
        if args.refine:
            refined = refine(index, word, query, found, args.refine)
            for name, one in refined.items():
                rows.setdefault((name, word.other), []).append(rank(one[0], one[1]))
    print("| system | MAP | P@10, words said 10 times | P@min(10, R) | chance | words |\n|---|---|---|---|---|---|")
    for (name, other), ranked in rows.items():
        report(f"{name}, {'other' if other else 'same'} speaker", ranked)
    print_ratio(rows)
    if args.fit:
        fit_probabilities(scored, index.features)


def print_ratio(rows: dict[tuple[str, bool], list[Ranked]]) -> None:
    for other in (False, True):
        base = rows.get(("plain alignment of cepstra", other))
        ours = next((ranked for (name, kind), ranked in rows.items() if kind == other), None)
        if base and ours:
            values = [[row.average_precision for row in ranked] for ranked in (ours, base)]
            ones = np.ones(len(base))
            gain = paired_ratio_difference((values[0], ones), (values[1], ones))
            times = np.mean(values[0]) / np.mean(values[1])
            print(f"{'other' if other else 'same'} speaker: {times:.2f} × plain, difference {show(gain)}")


def refine(
    index: Index, word: Word, query: np.ndarray, found: Found, n_accepted: int
) -> dict[str, tuple[np.ndarray, Word]]:
    """Costs after the first ``n_accepted`` right hits were accepted, on the segments that nobody has listened to.

    The same segments before, for comparison, and with the query left out.
    """
    right = [place for place in found.places if word.relevant[place.segment] and word.counted[place.segment]]
    accepted = right[:n_accepted]
    left = word.counted.copy()
    left[[place.segment for place in accepted]] = False
    rest = word._replace(counted=left)
    if (word.relevant & left).sum() < 2:
        return {}
    frames = []
    for place in accepted:
        first = int(index.bounds[place.segment])
        frames.append(np.asarray(index.frames[first + place.start : first + place.stop], np.float32))
    again = search_index(index, [query, *frames], n_candidates=EVERY_BLOCK, n_threads=1)
    costs = segment_costs(found, len(index.segments))
    return {
        f"before {n_accepted} hits were accepted": (costs, rest),
        f"after {n_accepted} hits were accepted": (segment_costs(again, len(index.segments)), rest),
    }


def fit_probabilities(scored: Sequence[tuple[Word, np.ndarray]], features: SearchFeatures) -> None:
    """Logistic regression on every second word; how often what it calls likely is right among the others."""
    from sklearn.linear_model import LogisticRegression

    names = sorted({word.word for word, _ in scored})
    pooled = [[], []]
    for word, scores in scored:
        kept = word.counted & (scores > -1e3)
        pooled[names.index(word.word) % 2].append(np.stack([scores[kept], word.relevant[kept]]))
    learned, judged = (np.concatenate(half, axis=1) for half in pooled)
    model = LogisticRegression(C=1e6).fit(learned[0][:, None], learned[1])
    everything = np.concatenate([learned, judged], axis=1)
    both = LogisticRegression(C=1e6).fit(everything[0][:, None], everything[1])
    print(f"half of the words: {model.intercept_[0]:.3f} + {model.coef_[0, 0]:.3f} × score")
    print(f"all words: {both.intercept_[0]:.3f} + {both.coef_[0, 0]:.3f} × score")
    print("| probability | other words taught it: said, right | as shipped: said, right | n |\n|---|---|---|---|")
    fitted = model.predict_proba(judged[0][:, None])[:, 1]
    shipped = np.array([probability(score, features) for score in judged[0]])
    for low, high in zip(BINS[:-1], BINS[1:]):
        cells = [(values >= low) & (values < high) for values in (fitted, shipped)]
        said = [
            f"{values[cell].mean():.2f}, {judged[1][cell].mean():.2f} (n={cell.sum()})" if cell.any() else "-"
            for values, cell in zip((fitted, shipped), cells)
        ]
        print(f"| {low:g} to {min(high, 1):g} | {said[0]} | {said[1]} | {len(judged[0])} |")


def repeat_index(index: Index, hours: float, folder: Path) -> Index:
    """The index many times over, in files of its own."""
    n_frames = int(index.bounds[-1])
    times = max(1, round(hours * 3600 * UNIT_RATE / n_frames))
    arrays = []
    for name, rows in (("frames", index.frames), ("codes", index.codes)):
        path = folder / f"{name}.npy"
        whole = np.lib.format.open_memmap(path, "w+", rows.dtype, (times * n_frames, *rows.shape[1:]))
        for turn in range(times):
            whole[turn * n_frames : (turn + 1) * n_frames] = rows
        whole.flush()
        del whole
        arrays.append(np.load(path, mmap_mode="r"))
    steps = [index.bounds[1:] + turn * n_frames for turn in range(times)]
    bounds = np.concatenate([[0], *steps]).astype(np.int64)
    return index._replace(bounds=bounds, frames=arrays[0], codes=arrays[1], segments=[*index.segments] * times)


def time_search(args: argparse.Namespace, index: Index) -> None:
    """CPU seconds and memory of one query of each of two lengths, on the repeated index."""
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        large = repeat_index(index, args.hours, Path(folder))
        search_index(index, [np.asarray(index.frames[:30], np.float32)])  # compiles
        print(f"{large.bounds[-1] / UNIT_RATE / 3600:.1f} hours, {large.frames.nbytes / 1e9:.2f} GB of features")
        print("| query | CPU (s) | wall clock (s) | resident memory (MiB) |\n|---|---|---|---|")
        for seconds in (0.6, 1.2):
            start = int(rng.integers(index.bounds[-1] - 100))
            query = np.asarray(index.frames[start : start + round(seconds * UNIT_RATE)], np.float32)
            cpu, wall = time.process_time(), time.perf_counter()
            search_index(large, [query], n_threads=2)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            anonymous = anonymous_mib()
            print(f"| {seconds} s | {cpu:.2f} | {wall:.2f} | {anonymous:.0f} of its own |", flush=True)
        print(f"before: {before:.0f} MiB")


def anonymous_mib() -> float:
    """Memory that the process has to itself: mapped files can be dropped at any time."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    segments = load_segments(language_paths(args.language)["manifest"])
    index = open_index(index_folder(args.language, args.tag), segments)
    if args.hours:
        time_search(args, index)
    else:
        measure(args, index)
    return 0


if __name__ == "__main__":
    run_main(main)
