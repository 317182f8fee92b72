"""What in a unit report deserves a warning: one line each, with its likely cause."""

from collections.abc import Mapping

import numpy as np

from core.frames import UNIT_RATE
from units.quality import SpeakerDependence, UnitSummary
from units.random_splits import NO_CHANCE, ChanceDifferences

MAX_DEAD_PERCENT = 10.0
MAX_SHARE_PERCENT = 25.0  # of the frames on one unit
MAX_SINGLE_FRAME_PERCENT = 60.0  # of the runs lasting one frame
MAX_DRIFT_BITS = 0.1
MAX_BITRATE_CHANGE = 0.1
MAX_SPEAKER_SHARE_PERCENT = 10.0
LEAST_FRAMES_A_UNIT = 5  # in a split, below which its use of units says little about them


def find_problems(
    splits: Mapping[str, UnitSummary],
    n_units: int,
    drift_bits: Mapping[str, float],
    speakers: SpeakerDependence | None,
    chance: ChanceDifferences = NO_CHANCE,
) -> list[str]:
    """One line for each thing a researcher would want to know before training on these units.

    Splits that are too short to compare (``short_splits``), and differences that ``chance`` makes too, are none.
    """
    # Units are fitted on train, so only train is expected to use all of them.
    split = "train" if "train" in splits else next(iter(splits))
    usage = _usage_problems(split, splits[split], n_units)
    return usage + _drift_problems(splits, n_units, drift_bits, chance) + _speaker_problems(speakers)


def _usage_problems(split: str, summary: UnitSummary, n_units: int) -> list[str]:
    problems, top = [], summary.most_used[0]
    effective, single = summary.effective_units.value, summary.run_frames.single_frame_percent
    if summary.dead_percent > MAX_DEAD_PERCENT:
        problems.append(
            f"{split}: {len(summary.dead_units)} of {n_units} units are never used "
            f"({summary.dead_percent:.0f} %): fit fewer (--n_units) or on more frames"
        )
    if effective < n_units / 2:
        problems.append(f"{split}: only {effective:.0f} effective units of {n_units}: a few units carry most frames")
    if top.percent > MAX_SHARE_PERCENT:
        problems.append(
            f"{split}: unit {top.unit} takes {top.percent:.0f} % of the frames: "
            "much silence in the segments, or collapsed features"
        )
    if single > MAX_SINGLE_FRAME_PERCENT:
        problems.append(
            f"{split}: {single:.0f} % of the runs last one frame: units flicker, as those of mfcc mostly do; "
            "for longer motifs run phase 1 with --duration_penalty 1, else go on"
        )
    return problems


def short_splits(splits: Mapping[str, UnitSummary], n_units: int) -> list[str]:
    """The splits with too few frames for so many units: whatever they differ by, their length explains it."""
    short = UNIT_RATE * np.array([summary.seconds for summary in splits.values()]) < LEAST_FRAMES_A_UNIT * n_units
    return [split for split, is_short in zip(splits, short) if is_short]


def find_notes(splits: Mapping[str, UnitSummary], n_units: int) -> list[str]:
    """What was not judged, and why; no fault of the units."""
    short = [f"{split} ({splits[split].seconds / 60:.1f} min)" for split in short_splits(splits, n_units)]
    if not short or len(splits) < 2:
        return []
    least = LEAST_FRAMES_A_UNIT * n_units / UNIT_RATE / 60
    return [
        f"{' and '.join(short)}: too short to compare the use of {n_units} units, which takes {least:.1f} min a split; "
        "nothing to mend, more recordings bring it"
    ]


def _drift_problems(
    splits: Mapping[str, UnitSummary], n_units: int, drift_bits: Mapping[str, float], chance: ChanceDifferences
) -> list[str]:
    short = short_splits(splits, n_units)
    problems = [
        f"{pair}: unit use differs by {bits:.3f} bit (Jensen-Shannon): other speakers or rooms? Then scores of test "
        "are of those; more recordings of each help"
        for pair, bits in drift_bits.items()
        if bits > max(MAX_DRIFT_BITS, chance.drift_bits.get(pair, 0.0)) and not set(pair.split("-")) & set(short)
    ]
    rates = {split: summary.bits_per_second.frames.value for split, summary in splits.items()}
    train = rates.get("train")
    for split in ("val", "test"):
        bits = rates.get(split, train)
        if train is None or {split, "train"} & set(short):
            continue
        if abs(bits - train) > max(MAX_BITRATE_CHANGE * train, chance.bits_per_second.get(split, 0.0)):
            problems.append(f"{split}: {bits:.0f} bit/s against {train:.0f} on train")
    return problems


def _speaker_problems(speakers: SpeakerDependence | None) -> list[str]:
    if speakers is None or speakers.percent_of_speaker_entropy <= MAX_SPEAKER_SHARE_PERCENT:
        return []
    return [
        f"speakers: one frame's unit tells {speakers.percent_of_speaker_entropy:.0f} % of who speaks: "
        "units encode voices, those of mfcc more than others; with several speakers try another encoder or layer"
    ]
