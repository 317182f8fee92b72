"""What a job on Modal may cost at most, as it is said before the job is submitted."""

from launching.modal_cost import describe_cost
from launching.modal_flags import parse_main, parse_phase

TRAIN = ["src/trainer_vocoder.py", "--language", "satere"]


def test_gpu_hours_are_those_of_all_gpus_and_containers() -> None:
    job = parse_main(["--gpu", "H100:2", "--", *TRAIN])
    assert describe_cost(job).startswith("cost: at most 48 GPU-hours of H100 an attempt (24 h × 2 GPUs), 11 attempts")
    phase1 = parse_phase(1, ["--language", "satere", "--gpu", "L4"])
    assert "96 GPU-hours" in describe_cost(phase1, 4) and "× 4 containers" in describe_cost(phase1, 4)


def test_without_a_gpu_the_cores_are_counted() -> None:
    job = parse_main(["--hours", "0.5", "--retries", "0", "--cpus", "2", *TRAIN])
    assert "1 CPU-core-hours an attempt, 1 attempts; no GPU" in describe_cost(job)


def test_money_is_said_where_the_price_is_known() -> None:
    job = parse_main(["--gpu", "H100:2", "--gpu_price", "3.95", "--", *TRAIN])
    assert "48 GPU-hours of H100 = $189.60 an attempt" in describe_cost(job)
    assert "$" not in describe_cost(parse_main(["--gpu", "H100:2", "--", *TRAIN]))
    assert "modal billing report" in describe_cost(job)
