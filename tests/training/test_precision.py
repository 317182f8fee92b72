"""What is trained in bf16 learns what fp32 teaches it: losses and validations lie within stated bounds."""

from pathlib import Path

import pytest

from audio.pitch import fill_f0_cache
from synthetic import write_segments, write_units
from trainer_runs import load, metrics, run_to_end

N_STEPS = 20
OFTEN = ["--log_every", "1", "--save_every", "1000", "--eval_every", "10", "--cpu", "--steps", str(N_STEPS)]
VOICE = "--channels 32 --batch_size 6 --crop_frames 16 --validation_seconds 10 --init none --num_samples 0 --warmup 3"
VOICE += " --adversarial_after 5 --discriminator_width 4 --discriminator_frames 8"
UNIT_LM = "--layers 2 --width 64 --heads 2 --context 64 --batch_size 4 --warmup 3"
TRAINERS = {"trainer_vocoder": VOICE, "trainer_unit_lm": UNIT_LM}
STEP, VALIDATION = 0.01, 0.003  # relative difference of losses; measured .002 and .00001


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("precision")
    rows = write_segments(root / "data", "spanish")
    write_units(root / "exp", rows, n_units=12)
    recordings = [(row["id"], root / "data" / row["audio"]) for row in rows]
    fill_f0_cache(root / "data" / "spanish" / "cache", recordings, num_workers=1)
    return root


@pytest.mark.parametrize("trainer", TRAINERS)
def test_bf16_learns_what_fp32_learns(trainer: str, roots: Path) -> None:
    found = {}
    for precision in ("no", "bf16"):
        exp = roots / "exp" / f"{trainer}_{precision}"
        flags = ["--language", "spanish", *OFTEN, *TRAINERS[trainer].split(), "--mixed_precision", precision]
        run_to_end(trainer, [*flags, "--exp", exp], roots=roots)
        assert load(exp, "latest")["precision"] == precision
        found[precision] = metrics(exp)
    steps = zip(found["no"], found["bf16"], strict=True)
    losses = {(row["step"], name): (row[name], half[name]) for row, half in steps for name in row if is_loss(name)}
    assert len(losses) >= N_STEPS
    for (step, name), (plain, half) in losses.items():
        assert half == pytest.approx(plain, rel=VALIDATION if name.startswith("validation") else STEP), (step, name)
    assert any(plain != half for plain, half in losses.values())  # it is another arithmetic


def is_loss(name: str) -> bool:
    return name.endswith(("_loss", "_nat"))
