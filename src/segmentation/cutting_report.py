"""What segment_audio.py says of a run: what was kept, left out and lost, and of which recordings."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from core.wording import name_some, printable
from segmentation.cut_recording import AUTO, ENERGY
from segmentation.manifest_writing import ManifestTally
from segmentation.tables import CUT_THROUGH, find_table, say_missing_folders

NAMED = 20  # recordings of a kind
NAMED_AMOUNTS = 8  # recordings with something beside each
CUT_ADVICE = "raise --min_pause so that less is cut, or give each recording up to --max_duration one text without times"


def print_report(
    tally: ManifestTally, failed: dict[str, str], there: Collection[str], paths: dict[str, Path], vad: str
) -> None:
    counts, seconds, n_sources = tally.counts, tally.seconds, len(there)
    print(
        f"{n_sources - len(failed)} of {n_sources} recordings, {say_length(seconds['in'])} in, "
        f"{say_length(seconds['kept'])} kept in {counts['segments']} segments ({counts['with_text']} with text)"
    )
    reasons = {"silence": "silence", "clicks": "clicks", "too_short": "too short", "flagged": "noise or music"}
    if counts["annotated"]:
        reasons["not_annotated"] = "not annotated"
        print(f"{counts['annotated']} recordings are cut at their annotations (--annotations none cuts at pauses)")
    if counts["joined_clips"]:
        print(f"{counts['joined_clips']} short clips are joined in {counts['joined_segments']} segments")
    if vad != ENERGY:
        print(describe_detectors(vad, tally.by_network, n_sources - len(failed) - counts["annotated"]))
    if counts["lowered"]:
        print(f"{counts['lowered']} recordings of 32-bit float go over full scale: each was lowered as a whole to fit")
    if counts["levelled"]:
        print(f"{counts['levelled']} recordings are raised or lowered to the usual level of speech (or --keep_level)")
    if counts["several_tracks"]:
        print(f"of {counts['several_tracks']} recordings with several sound tracks the first was taken")
    print_left_out(tally, reasons)
    print("splits: " + ", ".join(f"{name} {value / 60:.1f} min" for name, value in tally.split_seconds.items()))
    if counts["flagged"] and not seconds["flagged"]:
        print(f"{counts['flagged']} segments look like noise or music; --drop_flagged leaves them out")
    if tally.texts_lost:
        print_lost_texts(tally.texts_lost, find_table(paths["transcripts"]))
    if tally.unknown:
        named = name_some(list(map(printable, tally.unknown)), NAMED)
        print(f"in the tables but not among the recordings: {named}{say_missing_folders(tally.unknown, there)}")
    if tally.empty:
        print(f"nothing kept of {len(tally.empty)} recordings: {name_some(list(map(printable, tally.empty)), NAMED)}")
    for source, reason in failed.items():
        print(f"failed: {printable(source)}: {reason}")
    print(f"wrote {paths['manifest']}")


def print_left_out(tally: ManifestTally, reasons: dict[str, str]) -> None:
    """How long what is left out is, by reason, and of which recordings the annotations leave something out."""
    print("dropped: " + ", ".join(f"{say_length(tally.seconds[key])} {name}" for key, name in reasons.items()))
    if tally.not_annotated:
        print(f"not annotated: {name_amounts(tally.not_annotated)}")


def print_lost_texts(lost: Counter[str], table: Path | None) -> None:
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(lost.items(), key=lambda pair: -pair[1]))
    advice = f"; to keep those, {CUT_ADVICE}" if lost[CUT_THROUGH] else ""
    print(f"texts left out: {lost.total()}{f' of {table.name}' if table else ''}: {reasons}{advice}")


def describe_detectors(vad: str, by_network: list[str], n_cut: int) -> str:
    """Which of the ways to find speech was taken, in how many recordings."""
    names = f": {name_some(list(map(printable, by_network)), NAMED)}" if vad == AUTO and by_network else ""
    counted = f"by loudness in {n_cut - len(by_network)} recordings, by the network in {len(by_network)}"
    return f"--vad {vad}: speech {counted}{names}"


def describe_failures(failed: dict[str, str]) -> str:
    source, reason = next(iter(failed.items()))
    return f"the first: {printable(source)}: {reason}"


def describe_too_many(n_failed: int, n_sources: int, allowed: float) -> str:
    """What went wrong, and the two ways on: mending the recordings, or leaving them out."""
    enough = f"--max_failed {-(-100 * n_failed // n_sources)}"
    return (
        f"{n_failed} of {n_sources} recordings failed, over --max_failed {allowed:g} %; mend those named above or take "
        f"them away; to go on without them: {enough} (with run_all.sh: DATA_ARGS='{enough}')"
    )


def describe_gone(gone: list[str], experiments: list[Path]) -> str:
    """Which recordings were taken away, and which experiments may still hold what was learned from them."""
    names = name_some(list(map(printable, gone)), NAMED_AMOUNTS)
    said = f"taken away: {len(gone)} recordings ({names}), with their segments and what was computed from them"
    if not experiments:
        return said
    return (
        f"{said}; made before, and still there: {', '.join(map(str, experiments))} (docs/usage.md: A speaker withdraws)"
    )


def name_amounts(seconds: Counter[str]) -> str:
    """The recordings of which the most was left out, with how much; the others counted."""
    named = [f"{printable(source)} {say_length(amount)}" for source, amount in seconds.most_common()]
    return name_some(named, NAMED_AMOUNTS)


def say_length(seconds: float) -> str:
    """ "3.6 s", "4.2 min", "3.25 h": in what a person would count it."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.2f} h"
