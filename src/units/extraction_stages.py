"""What the stages of phase 1 stand on: whose shards they are, whether all of them are there, how the run ends.

Sampling fills the shards in exp/fit, assigning those in exp/shards; several jobs may share either. Fitting and merging
are done by one process and refuse a shard that is missing, damaged or of another run. ``exp`` is the experiment folder.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.errors import UserError
from core.exit_codes import EXIT_SOME_FAILED
from core.files import hash_files
from core.records import ExtractionSummary, FailedItem
from training.experiment import mark_finished, remove_torn
from units.shards import RESULTS, find_problems, merge_shards, read_failures, shard_path

NAMED_FAILURES = 20
NAMED_SHARDS = 8
# The folders of shards, and the stage that fills each.
FIT_FOLDER, UNITS_FOLDER = "fit", "shards"
FILLED_BY = {FIT_FOLDER: "sample", UNITS_FOLDER: "assign"}

log = logging.getLogger("oral_units")


def describe_origin(configuration: str, manifest: Path, kmeans: Path | None = None) -> dict[str, str]:
    """What a shard is made from, as hashes: two runs can use each other's shards where all of them are equal.

    configuration: the hash of the flags that say what is computed (training.experiment.hash_arguments).
    """
    origin = {"configuration": configuration, "manifest": hash_files([manifest])}
    return origin if kmeans is None else origin | {"kmeans": hash_files([kmeans])}


def require_clusters(exp: Path) -> Path:
    path = exp / "kmeans.npz"
    if not path.exists():
        raise UserError(f"{path}: expected the clusters of a finished fit, found none; run --stage fit first")
    return path


def count_shards(n_utterances: int, n_shard_utterances: int) -> int:
    return -(-n_utterances // n_shard_utterances)


def warn_if_idle(n_utterances: int, n_shard_utterances: int, *, job: int, n_jobs: int) -> None:
    if job >= count_shards(n_utterances, n_shard_utterances):
        log.warning(
            "nothing to do for job %d of %d: %d segments, --n_shard_utterances %d at a time",
            job,
            n_jobs,
            n_utterances,
            n_shard_utterances,
        )


def finished_shards(
    exp: Path,
    name: str,
    origin: Mapping[str, str],
    *,
    n_utterances: int,
    n_shard_utterances: int,
    n_jobs: int,
    max_failed: float,
) -> tuple[list[Path], list[FailedItem]]:
    """The results in exp/``name`` ("fit" or "shards"), shard by shard, and the segments that failed.

    Raises UserError for a shard that is not there, and ends the run where over ``max_failed`` % of the segments failed.
    """
    folder, n_shards = exp / name, count_shards(n_utterances, n_shard_utterances)
    _require_shards(folder, n_shards, origin, n_jobs)
    failed = read_failures(folder, n_shards)
    check_failures(exp, failed, n_utterances, max_failed)
    return [shard_path(folder, index, RESULTS[name]) for index in range(n_shards)], failed


def _require_shards(folder: Path, n_shards: int, origin: Mapping[str, str], n_jobs: int) -> None:
    """Refuse shards that are missing, foreign or damaged; says which jobs to run again."""
    problems = find_problems(folder, RESULTS[folder.name], n_shards, origin)
    if not problems:
        return
    named = [f"{index:04d} is {problem}" for index, problem in [*problems.items()][:NAMED_SHARDS]]
    jobs = sorted({index % n_jobs for index in problems if index < n_shards})
    stage = f"--stage {FILLED_BY[folder.name]} --shards {n_jobs} --shard_index"
    again = [f"{stage} {job}" for job in jobs[:NAMED_SHARDS]]
    beyond = [f"deleting {folder}/{index:04d}.*" for index in problems if index >= n_shards][:NAMED_SHARDS]
    raise UserError(
        f"{folder}: expected {n_shards} finished shards of this run, found {len(problems)} that are not "
        f"({', '.join(named)}{', …' if len(problems) > len(named) else ''}); run again, after "
        f"{', after '.join(beyond + again)}"
    )


def check_failures(exp: Path, failed: Sequence[FailedItem], n_utterances: int, max_failed: float) -> None:
    """Name what failed; over ``max_failed`` % stop, leaving nothing behind that a rerun would take for done."""
    for failure in failed[:NAMED_FAILURES]:
        log.warning("skipped %s: %s", failure["id"], failure["reason"])
    if len(failed) > NAMED_FAILURES:
        log.warning("… and %d more", len(failed) - NAMED_FAILURES)
    if 100 * len(failed) <= max_failed * n_utterances:
        return
    log.error(
        "error: %d of %d segments failed, more than --max_failed %g %%; repair the audio or the manifest, or raise it",
        len(failed),
        n_utterances,
        max_failed,
    )
    _remove_shards(exp)
    for name in ("kmeans.npz", "kmeans.pkl"):
        (exp / name).unlink(missing_ok=True)
    raise SystemExit(EXIT_SOME_FAILED)


def _remove_shards(exp: Path) -> None:
    for name in FILLED_BY:
        shutil.rmtree(exp / name, ignore_errors=True)


def finish_extraction(
    exp: Path, shards: Sequence[Path], failed: list[FailedItem], *, n_units: int, n_streams: int
) -> ExtractionSummary:
    """Every shard into corpus_timestamped.json; the run is finished from here on."""
    totals = merge_shards(shards, exp / "corpus_timestamped.json", n_units, n_streams)
    summary = ExtractionSummary(**totals, n_failed=len(failed), failed=failed)
    mark_finished(exp, summary)
    _remove_shards(exp)
    remove_torn(exp)
    return summary
