"""What in a unit report deserves a warning: one line each, with its likely cause."""

from collections.abc import Mapping

from units.quality import SpeakerDependence, UnitSummary

MAX_DEAD_PERCENT = 10.0
MAX_SHARE_PERCENT = 25.0  # of the frames on one unit
MAX_SINGLE_FRAME_PERCENT = 60.0  # of the runs lasting one frame
MAX_DRIFT_BITS = 0.1
MAX_BITRATE_CHANGE = 0.1
MAX_SPEAKER_SHARE_PERCENT = 10.0


def find_problems(
    splits: Mapping[str, UnitSummary],
    n_units: int,
    drift_bits: Mapping[str, float],
    speakers: SpeakerDependence | None,
) -> list[str]:
    """One line for each thing a researcher would want to know before training on these units."""
    # Units are fitted on train, so only train is expected to use all of them.
    split = "train" if "train" in splits else next(iter(splits))
    usage = _usage_problems(split, splits[split], n_units)
    return usage + _drift_problems(splits, drift_bits) + _speaker_problems(speakers)


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
            f"{split}: {single:.0f} % of the runs last one frame: units flicker, deduplication saves little; "
            "a --duration_penalty of phase 1 ends that"
        )
    return problems


def _drift_problems(splits: Mapping[str, UnitSummary], drift_bits: Mapping[str, float]) -> list[str]:
    problems = [
        f"{pair}: unit use differs by {bits:.3f} bit (Jensen-Shannon): other speakers or rooms?"
        for pair, bits in drift_bits.items()
        if bits > MAX_DRIFT_BITS
    ]
    rates = {split: summary.bits_per_second.frames.value for split, summary in splits.items()}
    train = rates.get("train")
    for split in ("val", "test"):
        bits = rates.get(split, train)
        if train is not None and abs(bits - train) > MAX_BITRATE_CHANGE * train:
            problems.append(f"{split}: {bits:.0f} bit/s against {train:.0f} on train")
    return problems


def _speaker_problems(speakers: SpeakerDependence | None) -> list[str]:
    if speakers is None or speakers.percent_of_speaker_entropy <= MAX_SPEAKER_SHARE_PERCENT:
        return []
    return [
        f"speakers: one frame's unit tells {speakers.percent_of_speaker_entropy:.0f} % of who speaks: "
        "units encode voices; try another layer or encoder"
    ]
