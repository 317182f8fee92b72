"""Several processes train as one does: the same losses, every item once, one writer; they stop and fail together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

import pytest
from accelerate import Accelerator

from audio.pitch import fill_f0_cache
from core.device import choose_precision
from core.errors import UserError
from equal_runs import differences, without_times
from synthetic import REPOSITORY, run_python, run_ranks, script_environment, sharing, write_segments, write_units
from trainer_runs import TIMEOUT, load, metrics, run_to_end, run_until, start_ranks, start_script
from training.processes import LEAST_LOSS_SCALE, Team, map_in_team, start_accelerator, update_weights
from vocoder.batches import StepSampler

TRAINER = "trainer_vocoder"
FLAGS = "--language spanish --channels 16 --batch_size 6 --crop_frames 8 --warmup 3 --validation_seconds 5 --cpu"
ADVERSARIAL = "--adversarial_after 0 --discriminator_width 4 --discriminator_frames 4"
OFTEN = "--log_every 1 --save_every 4 --eval_every 4 --sample_every 1000 --num_samples 1"
EXACT = "--mixed_precision no"  # bf16, where the machine has it, rounds by the batch
TINY = f"{FLAGS} {ADVERSARIAL} {OFTEN} {EXACT}".split()
LOSSES = ("train_mel_nat", "discriminator_loss", "adversarial_loss", "feature_loss")
N_STEPS = 8


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("processes")
    rows = write_segments(root / "data", "spanish")
    write_units(root / "exp", rows, n_units=12)
    cache = root / "data" / "spanish" / "cache"
    fill_f0_cache(cache, [(row["id"], root / "data" / row["audio"]) for row in rows], num_workers=1)
    return root


@pytest.fixture(scope="module")
def alone(roots: Path) -> Path:
    exp = roots / "exp" / "alone"
    run_to_end(TRAINER, [*TINY, "--steps", N_STEPS, "--exp", exp], roots=roots)
    return exp


def end_ranks(ranks: list, expected: int) -> list[str]:
    for process, output in ranks:
        process.join(TIMEOUT)
        assert process.exitcode == expected, f"{process.exitcode}, expected {expected}\n{output.read_text()}"
    return [output.read_text() for _, output in ranks]


def assert_same_losses(exp: Path, reference: Path, steps: range) -> None:
    ours, theirs = ({row["step"]: row for row in metrics(e) if "train_mel_nat" in row} for e in (exp, reference))
    assert ours.keys() == theirs.keys()
    for step in steps:
        for name in LOSSES:
            assert ours[step][name] == pytest.approx(theirs[step][name], abs=1e-4), (step, name)
    # Later ones grow apart: Adam divides small gradients by their own small size.
    first = steps[0]
    assert ours[first]["gradient_norm"] == pytest.approx(theirs[first]["gradient_norm"], rel=1e-4)


def test_processes_meet_where_there_is_no_gpu_and_nobody_says_cpu(tmp_path: Path) -> None:
    """Accelerate alone would run each of them for itself, in the same folder."""
    script = tmp_path / "meet.py"
    script.write_text(
        "from training.processes import start_accelerator\n"
        "state = start_accelerator()\n"
        # One write with its newline: print's two of them may enclose another process's.
        "print(f'{state.process_index} of {state.num_processes}\\n', end='', flush=True)\n"
    )
    done = run_ranks(script, env={"CUDA_VISIBLE_DEVICES": ""})
    assert sorted(done.stdout.split("\n")) == ["", "0 of 2", "1 of 2"]


def test_processes_that_do_not_meet_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.processes.launched_processes", lambda: 2)
    with pytest.raises(UserError, match="expected 2 processes to work together, as many as were launched, found 1"):
        start_accelerator(cpu=True)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ACCELERATE_USE_FSDP", "true", "FSDP: expected processes that each hold the whole model"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "DeepSpeed: expected .*answer no to it in 'accelerate config'"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "gradient_accumulation_steps 4: found in Accelerate's"),
    ],
)
def test_what_accelerate_s_configuration_asks_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=told):
        start_accelerator(cpu=True)
    monkeypatch.setenv(name, "1" if value == "4" else "false")
    assert start_accelerator(cpu=True).num_processes == 1


@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_the_sampler_gives_every_item_to_one_process(world: int) -> None:
    ranks = [list(StepSampler(3, 9, 6, rank=rank, world=world)) for rank in range(world)]
    by_step = [sorted(sum(batches, [])) for batches in zip(*ranks)]
    assert by_step == [list(range(6 * step, 6 * step + 6)) for step in range(3, 9)]


def test_two_processes_then_one_train_as_one_does(alone: Path, roots: Path) -> None:
    """A signal to one rank stops both; one process goes on. Losses with the discriminator, items, and who writes."""
    exp, flags = roots / "exp" / "two", [*TINY, "--steps", N_STEPS, "--resume", "auto", "--exp", roots / "exp" / "two"]
    ranks = start_ranks("trainer_items", flags, 2, roots=roots)
    give_up = time.monotonic() + TIMEOUT
    while max((row["step"] for row in metrics(exp)), default=0) < 4 and time.monotonic() < give_up:
        time.sleep(0.005)
    os.kill(ranks[1][0].pid, signal.SIGTERM)
    end_ranks(ranks, 99)
    state = load(exp, "latest")
    assert state["processes"] == 2 and 4 <= state["step"] <= N_STEPS
    (events,) = (exp / "tensorboard").iterdir()
    assert f".{ranks[0][0].pid}." in events.name and not list(exp.rglob("*.tmp"))

    screen = run_to_end("trainer_items", flags, roots=roots)
    assert "processes: 2 when stopped, 1 now" in screen
    assert_same_losses(exp, alone, range(1, 7))
    assert [row["step"] for row in metrics(exp)] == [row["step"] for row in metrics(alone)]
    drawn = [[int(item) for item in path.read_text().split()] for path in sorted(roots.glob("items_rank*.txt"))]
    assert len(drawn) == 3 and sorted(sum(drawn, [])) == list(range(6 * N_STEPS))
    assert len(drawn[1]) == len(drawn[2]) == 3 * state["step"]
    assert (exp / "train.log").read_text().count("wrote") == 1


def test_a_share_that_does_not_come_out_even_is_refused_by_every_rank(roots: Path) -> None:
    flags = [*TINY, "--steps", 2, "--exp", roots / "exp" / "uneven", "--batch_size", 5]
    for screen in end_ranks(start_ranks(TRAINER, flags, 2, roots=roots), 2):
        assert "--batch_size 5: expected a multiple of the 2 processes" in screen and "Traceback" not in screen
    assert not (roots / "exp" / "uneven").exists()


def test_accelerate_launch_starts_them_too(alone: Path, roots: Path) -> None:
    """--multi_gpu is Accelerate's name for torchrun, on a CPU as well; without it --cpu starts one process, or MPI."""
    launch = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no "
    launch += "--dynamo_backend no --main_process_port 0"
    exp = roots / "exp" / "accelerate"
    command = [*launch.split(), REPOSITORY / "src" / f"{TRAINER}.py", *TINY, "--exp", exp, "--steps", 2]
    run_python(*command, env=sharing(process_roots(roots)))
    assert load(exp, "latest")["processes"] == 2
    for name in LOSSES:
        assert metrics(exp)[0][name] == pytest.approx(metrics(alone)[0][name], abs=1e-4)


def process_roots(roots: Path) -> dict[str, str]:
    return {"DATA_ROOT": str(roots / "data"), "EXP_ROOT": str(roots / "exp"), "TAG": ""}


def worker(parent: int, rank: int) -> int | None:
    """The process below ``parent`` that torchrun gave ``rank``."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    for pid in children.read_text().split() if children.exists() else []:
        if f"RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return int(pid)
    return None


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks processes up in /proc")
def test_a_killed_rank_brings_the_job_down_and_one_process_goes_on(roots: Path) -> None:
    exp = roots / "exp" / "killed_rank"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    flags = [*TINY, "--resume", "auto", "--exp", str(exp)]
    command = [*launch, str(REPOSITORY / "src" / f"{TRAINER}.py"), *flags, "--steps", "100000"]
    with open(roots / "torchrun.txt", "w") as screen:
        job = subprocess.Popen(
            command, env=script_environment(sharing(process_roots(roots))), stdout=screen, stderr=screen
        )
    try:
        while job.poll() is None and max((row["step"] for row in metrics(exp)), default=0) < 5:
            time.sleep(0.02)
        ranks = [worker(job.pid, rank) for rank in range(2)]
        os.kill(ranks[1], signal.SIGKILL)
        killed = time.monotonic()
        assert job.wait(TIMEOUT) != 0
        print(f"down {time.monotonic() - killed:.1f} s after the kill")
    finally:
        job.kill()
    assert not Path(f"/proc/{ranks[0]}").exists()
    step = load(exp, "latest")["step"]
    assert step >= 4
    run_to_end(TRAINER, [*flags, "--steps", step + 1], roots=roots)


def test_a_signal_before_the_loop_ends_with_99_and_leaves_nothing_half(roots: Path) -> None:
    exp = roots / "exp" / "early"
    flags = [*TINY, "--steps", 2, "--resume", "auto", "--exp", exp]
    process = start_script(TRAINER, flags, roots=roots, output=roots / "early.txt")
    give_up = time.monotonic() + TIMEOUT
    while not (exp / "config.json").exists() and time.monotonic() < give_up:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGTERM)
    process.join(TIMEOUT)
    assert process.exitcode == 99 and "Traceback" not in (roots / "early.txt").read_text()
    assert not (exp / "checkpoints").exists()
    run_to_end(TRAINER, flags, roots=roots)


def scaled_accelerator(scale: float | None) -> Accelerator:
    accelerator = Accelerator(cpu=True)
    if scale is not None:
        accelerator.state._mixed_precision = "fp16"
        accelerator.native_amp, accelerator.scaler = True, torch.amp.GradScaler("cpu", init_scale=scale)
    return accelerator


@pytest.fixture
def accelerators():
    """Fresh accelerators, by initial loss scale (None: no scaling)."""
    from accelerate.state import AcceleratorState

    yield scaled_accelerator
    AcceleratorState._reset_state(reset_partial_state=True)


def two_updates(accelerator: Accelerator, factors: list[tuple[float, float]]) -> tuple[list, list[dict]]:
    """Two models in turn, as generator and discriminator; the factor multiplies a loss (inf: overflow)."""
    torch.manual_seed(0)
    models = [torch.nn.Linear(4, 3), torch.nn.Linear(4, 2)]
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1) for model in models]
    # The optimizers alone: a prepared model would compute in fp16 as well.
    pairs = [(model, accelerator.prepare(optimizer)) for model, optimizer in zip(models, optimizers)]
    inputs, found = torch.randn(5, 4), []
    for both in factors:
        for (model, optimizer), factor in zip(pairs, both):
            loss = model(inputs).square().mean() * factor
            found.append(update_weights(accelerator, model.parameters(), optimizer, loss, clip=1.0))
    return [parameter.detach().clone() for model in models for parameter in model.parameters()], found


def test_a_scaled_update_is_the_unscaled_one_to_the_bit(accelerators) -> None:
    weights, norms = two_updates(accelerators(None), [(1.0, 2.0)] * 3)
    accelerator = accelerators(2.0**12)
    scaled, scaled_norms = two_updates(accelerator, [(1.0, 2.0)] * 3)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(scaled, weights))
    assert differences(scaled_norms, norms) == [] and len(norms) == 6
    assert accelerator.scaler.get_scale() == 2.0**12


def test_an_overflow_skips_its_own_update_only_and_halves_the_scale(accelerators) -> None:
    weights, _ = two_updates(accelerators(None), [(1.0, 2.0)])
    accelerator = accelerators(2.0**12)
    skipped, norms = two_updates(accelerator, [(float("inf"), 2.0)])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(skipped[2:], weights[2:]))
    assert not any(torch.equal(ours, theirs) for ours, theirs in zip(skipped[:2], weights[:2]))
    assert norms[0] == {} and torch.isfinite(norms[1]["gradient_norm"])
    assert accelerator.scaler.get_scale() == 2.0**11
    again, _ = two_updates(accelerator, [(1.0, float("nan")), (1.0, 2.0)])
    assert all(torch.isfinite(weight).all() for weight in again)


def test_endless_overflow_is_an_error(accelerators) -> None:
    with pytest.raises(UserError, match="fp16 overflows at every step"):
        two_updates(accelerators(LEAST_LOSS_SCALE), [(float("nan"), 1.0)])


def test_fp16_is_chosen_on_gpus_without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {}
    for gpu in (False, True):
        for bf16 in (False, True):
            monkeypatch.setattr(torch.cuda, "is_available", lambda found=gpu: found)
            monkeypatch.setattr("core.device.has_fast_bf16", lambda device, found=bf16: found)
            chosen[gpu, bf16] = choose_precision("auto", fp16=True), choose_precision("auto")
    assert chosen == {
        (False, False): ("no", "no"),
        (False, True): ("bf16", "bf16"),
        (True, False): ("fp16", "no"),
        (True, True): ("bf16", "bf16"),
    }
    assert choose_precision("fp16") == "fp16" and choose_precision("auto", cpu=True, fp16=True) in ("no", "bf16")


def test_fp16_trains_and_resumes_to_the_bit_with_its_loss_scale(roots: Path) -> None:
    whole, stopped = roots / "exp" / "fp16", roots / "exp" / "fp16_stopped"
    flags = [*TINY, "--mixed_precision", "fp16", "--steps", 6, "--resume", "auto"]
    run_to_end(TRAINER, [*flags, "--exp", whole], roots=roots)
    state = load(whole, "latest")
    assert state["precision"] == "fp16" and state["scaler"]["scale"] >= LEAST_LOSS_SCALE
    rows = [row for row in metrics(whole) if "train_mel_nat" in row]
    assert rows[-1]["train_mel_nat"] < rows[0]["train_mel_nat"] and "gradient_norm" in rows[-1]
    run_until(TRAINER, [*flags, "--exp", stopped], roots=roots, exp=stopped, step=2, number=signal.SIGTERM)
    run_to_end(TRAINER, [*flags, "--exp", stopped], roots=roots)
    assert differences(load(stopped, "latest"), state) == []
    assert without_times(metrics(stopped)) == without_times(metrics(whole))


def test_jobs_of_all_processes_come_back_in_their_order() -> None:
    """Three processes, one after the other: what each gathers is what all of them have done."""
    parts, own = [], []
    for rank in range(3):
        map_in_team(Team(rank, 3, lambda done: parts.append(done) or done), lambda job: own.append(job) or job, "abcde")
    assert own == list("adbec")
    assert map_in_team(Team(1, 3, lambda done: sum(parts, [])), str.upper, "abcde") == list("abcde")
    assert map_in_team(Team(), str.upper, "ab") == ["A", "B"]
