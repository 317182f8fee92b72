"""Our phone scores and ABX beside those of the packages that define them: discophon and fastabx.

It needs Python 3.12, so it lives in an environment of its own: python3.12 -m venv OTHER, then OTHER/bin/pip install
discophon fastabx rapidfuzz.

    OTHER/bin/python scripts/bench/independent_scores.py                      # a made example: the numbers of the tests
    OTHER/bin/python scripts/bench/independent_scores.py --exp exp/russian_units_k100 --phones data/russian/phones.tsv
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import numpy as np
import torch

from units.abx import find_items, score_abx
from units.abx_distance import angular_distance, as_unit_vectors, unequal_distance
from units.corpus import expand, read_corpus
from units.phone_labels import PhoneLabels, read_phones
from units.phone_report import LabelledUtterance, label_utterances, summarize_phones

N_UNITS, N_PHONES = 12, 6  # of the example; phone 0 is the silence


def make_example(seed: int = 0, n_utterances: int = 5) -> list[LabelledUtterance]:
    """Phones of 30 to 200 ms, and units that hold them two times of three, on frames of 20 ms."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(n_utterances):
        phones = np.repeat(rng.integers(N_PHONES, size=40), rng.integers(3, 21, size=40))
        phones = phones[: len(phones) // 2 * 2]
        units = phones[::2] * 2 + rng.integers(2, size=len(phones) // 2)
        noise = rng.random(len(units)) < 1 / 3
        found.append(LabelledUtterance("test", np.where(noise, rng.integers(N_UNITS, size=len(units)), units), phones))
    return found


def our_scores(utterances: list[LabelledUtterance], n_units: int, n_phones: int) -> dict[str, float]:
    found = summarize_phones(utterances, n_units=n_units, n_phones=n_phones, n_resamples=0, seed=0)
    read = found.phone_boundaries
    scores = {"pnmi": found.pnmi, "per": found.phone_error_rate, "f1": read.f1, "r_val": read.r_value}
    return {name: interval.value for name, interval in scores.items()}


def discophon_scores(utterances: list[LabelledUtterance], n_units: int, n_phones: int) -> dict[str, float]:
    from discophon.evaluate import phoneme_discovery

    units = {str(place): one.frame_units.tolist() for place, one in enumerate(utterances)}
    phones = {str(place): [f"p{phone}" for phone in one.phones] for place, one in enumerate(utterances)}
    settings = {"kind": "many-to-one", "step_units": 20, "step_phones": 10}
    return phoneme_discovery(units, phones, n_units=n_units, n_phonemes=n_phones - 1, **settings)


class AbxExample(NamedTuple):
    """Utterances with phones, as (source, start in s, frames), and two kinds of frames."""

    labels: PhoneLabels
    spans: list[tuple[str, float, int]]
    speakers: list[str]
    units: list[np.ndarray]  # (F,) each
    features: list[np.ndarray]  # (F, D) each; none where only units are compared


def make_abx_example(seed: int = 0) -> AbxExample:
    """Nine utterances of three speakers: four phones, each with features of its own, and units that hold them."""
    rng, spans, found = np.random.default_rng(seed), {}, []
    means = rng.normal(size=(5, 8))
    for place in range(9):
        phones = rng.integers(1, 5, size=60)
        ends = np.cumsum(rng.integers(3, 7, size=60)) / 100 + 0.342
        starts = np.append(0.342, ends[:-1])
        spans[f"u{place}"] = starts, ends, phones
        begin, n_frames = 0.1 * (place % 3), int(ends[-1] * 50)
        here = phones[np.clip(np.searchsorted(ends, np.arange(n_frames) / 50 + begin), 0, 59)]
        features = means[here] + rng.normal(size=(n_frames, 8)) + (place % 3) * 0.3
        units = np.where(rng.random(n_frames) < 0.4, rng.integers(8, size=n_frames), here)
        found.append(((f"u{place}", begin, n_frames), f"s{place % 3}", units, features.astype(np.float32)))
    names = ["SIL", *(f"p{number}" for number in range(1, 5))]
    return AbxExample(PhoneLabels(names, spans), *map(list, zip(*found)))


def our_abx(example: AbxExample) -> dict[str, float | None]:
    """Error rates within and across speakers, of units and of features."""
    items = find_items(example.labels, example.spans, example.speakers)
    scores = {"units": score_abx(items, example.units, unequal_distance)}
    if example.features:
        scores["features"] = score_abx(items, [*map(as_unit_vectors, example.features)], angular_distance)
    return {
        f"{name}_{where}": interval.value if interval else None
        for name, score in scores.items()
        for where, interval in (("within", score.within), ("across", score.across))
    }


def write_items(path: Path, example: AbxExample) -> None:
    """An item file of the triphones whose frames lie in an utterance, straight from the labels."""
    lines = ["#file onset offset #phone prev-phone next-phone speaker"]
    for place, ((source, begin, n_frames), speaker) in enumerate(zip(example.spans, example.speakers)):
        starts, ends, phones = example.labels.spans[source]
        for start, end, *three in zip(starts, ends[2:], phones, phones[1:], phones[2:]):
            onset, offset = round(start - begin, 4), round(end - begin, 4)
            if all(three) and onset > -0.01 and offset < (n_frames + 0.5) / 50:
                before, phone, after = (example.labels.names[number] for number in three)
                lines.append(f"{place} {onset:.4f} {offset:.4f} {phone} {before} {after} {speaker}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def fastabx_scores(example: AbxExample) -> dict[str, float | None]:
    from discophon.abx import abx
    from fastabx import Dataset

    with tempfile.TemporaryDirectory() as temporary:
        folder, item = Path(temporary), Path(temporary) / "a.item"
        write_items(item, example)
        rows = [{"file": str(place), "units": units.tolist()} for place, units in enumerate(example.units)]
        (folder / "units.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        for place, features in enumerate(example.features):
            torch.save(torch.from_numpy(features), folder / f"{place}.pt")
        units = Dataset.from_item_and_units(item, folder / "units.jsonl", 50, audio_key="file", device="cpu")
        kinds = {"units": (units, "identical")}
        if example.features:
            kinds["features"] = (Dataset.from_item(item, folder, 50, device="cpu"), "angular")
        places = ("within", "across") if len(set(example.speakers)) > 1 else ("within",)
        return {
            f"{name}_{where}": abx(dataset, distance, speaker=where, context="within")
            for name, (dataset, distance) in kinds.items()
            for where in places
        }


def read_abx(exp: Path, phones: Path, split: str) -> AbxExample:
    """The units of one split of a phase 1 folder."""
    utterances = list(read_corpus(exp / "corpus_timestamped.json", splits=[split]))
    units = [expand(one["units"], one["durations"]) for one in utterances]
    spans = [(one.get("source", ""), one.get("start", 0.0), len(found)) for one, found in zip(utterances, units)]
    speakers = [one.get("speaker") or "" for one in utterances]
    return AbxExample(read_phones(phones), spans, speakers, units, [])


def read_labelled(exp: Path, phones: Path) -> tuple[list[LabelledUtterance], int, int]:
    """The utterances with phones of a phase 1 folder, its number of units, and the number of phones."""
    labels = read_phones(phones)
    n_units = json.loads((exp / "config.json").read_text(encoding="utf-8"))["derived"]["n_units"]
    return label_utterances(read_corpus(exp / "corpus_timestamped.json"), labels)[0], n_units, len(labels.names)


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, default=None, help="a phase 1 folder; by default a made example")
    parser.add_argument("--phones", type=Path, default=None, help="the table of phones of its language")
    parser.add_argument("--split", default="test", help="split for ABX (test)")
    args = parser.parse_args(argv)
    if (args.exp is None) != (args.phones is None):
        parser.error("expected --exp and --phones together, found one of them")
    return args


def main() -> None:
    args = parse_args()
    example = (make_example(), N_UNITS, N_PHONES) if args.exp is None else read_labelled(args.exp, args.phones)
    abx = make_abx_example() if args.exp is None else read_abx(args.exp, args.phones, args.split)
    found = {
        "ours": our_scores(*example) | our_abx(abx),
        "discophon, fastabx": discophon_scores(*example) | fastabx_scores(abx),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
