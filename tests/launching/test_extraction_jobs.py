"""What each stage of phase 1 asks of its engine."""

from launching.extraction_jobs import extraction_stages, stage_resources
from launching.job import Resources

WORDS = ["src/extract_units.py", "--language", "spanish"]


def test_fit_and_merge_hold_no_gpu_and_no_torchrun() -> None:
    asked = Resources(gpus=2, processes=2, cpus=8, constraint="a100", partition="gpu")
    stages = {stage[0][stage[0].index("--stage") + 1]: stage[0] for stage in extraction_stages(WORDS, 3)}
    assert list(stages) == ["sample", "fit", "assign", "merge"]
    for name in ("sample", "assign"):
        assert stage_resources(asked, stages[name]) == asked
    for name in ("fit", "merge"):
        got = stage_resources(asked, stages[name])
        assert (got.gpus, got.processes, got.nodes, got.constraint) == (0, 1, 1, None)
        assert (got.cpus, got.partition) == (4, "gpu")  # threads as each of the two processes has
    assert stage_resources(Resources(constraint="avx512"), stages["fit"]).constraint == "avx512"
