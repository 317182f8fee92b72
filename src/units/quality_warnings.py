"""What in a unit report deserves a warning: one line each, with its likely cause."""

MAX_DEAD_PERCENT = 10.0
MAX_SHARE_PERCENT = 25.0  # of the frames on one unit
MAX_SINGLE_FRAME_PERCENT = 60.0  # of the runs lasting one frame
MAX_DRIFT_BITS = 0.1
MAX_BITRATE_CHANGE = 0.1
MAX_SPEAKER_SHARE_PERCENT = 10.0


def find_problems(report: dict) -> list[str]:
    """One line for each thing a researcher would want to know before training on these units."""
    # Units are fitted on train, so only train is expected to use all of them.
    split = "train" if "train" in report["splits"] else next(iter(report["splits"]))
    usage = _usage_problems(split, report["splits"][split], report["n_units"])
    return usage + _drift_problems(report) + _speaker_problems(report)


def _usage_problems(split: str, summary: dict, n_units: int) -> list[str]:
    problems, top = [], summary["most_used"][0]
    effective, single = summary["effective_units"]["value"], summary["run_frames"]["single_frame_percent"]
    if summary["dead_percent"] > MAX_DEAD_PERCENT:
        problems.append(
            f"{split}: {len(summary['dead_units'])} of {n_units} units are never used "
            f"({summary['dead_percent']:.0f} %): fit fewer (--n_units) or on more frames"
        )
    if effective < n_units / 2:
        problems.append(f"{split}: only {effective:.0f} effective units of {n_units}: a few units carry most frames")
    if top["percent"] > MAX_SHARE_PERCENT:
        problems.append(
            f"{split}: unit {top['unit']} takes {top['percent']:.0f} % of the frames: "
            "much silence in the segments, or collapsed features"
        )
    if single > MAX_SINGLE_FRAME_PERCENT:
        problems.append(
            f"{split}: {single:.0f} % of the runs last one frame: units flicker, deduplication saves little"
        )
    return problems


def _drift_problems(report: dict) -> list[str]:
    problems = []
    for pair, bits in report["drift_bits"].items():
        if bits > MAX_DRIFT_BITS:
            problems.append(f"{pair}: unit use differs by {bits:.3f} bit (Jensen-Shannon): other speakers or rooms?")
    if "train" in report["splits"]:
        train = report["splits"]["train"]["bits_per_second"]["frames"]["value"]
        for split, summary in report["splits"].items():
            bits = summary["bits_per_second"]["frames"]["value"]
            if split in ("val", "test") and abs(bits - train) > MAX_BITRATE_CHANGE * train:
                problems.append(f"{split}: {bits:.0f} bit/s against {train:.0f} on train")
    return problems


def _speaker_problems(report: dict) -> list[str]:
    speakers = report["speakers"]
    if not speakers or speakers["percent_of_speaker_entropy"] <= MAX_SPEAKER_SHARE_PERCENT:
        return []
    return [
        f"speakers: one frame's unit tells {speakers['percent_of_speaker_entropy']:.0f} % of who speaks: "
        "units encode voices; try another layer or encoder"
    ]
