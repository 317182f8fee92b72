"""How long each part of the chain takes, from the hours of audio.

The rates are those of Spanish on two cores of a busy server CPU; an encoder's and a GPU's are rough guesses.
"""

# Two cores, an hour of audio; scores with Whisper-base as a judge, a fourth of it without.
SECONDS_AN_HOUR = {"segmentation": 40.0, "cheap_encoder": 10.0, "pitch": 12.0, "scores": 900.0}
ENCODER_SECONDS_AN_HOUR = {"cpu": 1800.0, "cuda": 30.0}  # a model of XLS-R 300M's size
STEP_SECONDS = {"cpu": 0.45, "cuda": 0.05}
DEFAULT_STEPS = 200_000  # the trainer's own
TEST_SHARE = 0.15
FIXED_SECONDS = 60.0  # starting Python and its libraries, six times


def phase_minutes(
    hours: float,
    *,
    device: str = "cpu",
    cheap_encoder: bool = True,
    max_minutes: float | None = None,
    steps: int | None = None,
    epochs: float | None = None,
) -> dict[str, float]:
    """Minutes of each part of the chain for ``hours`` of audio.

    cheap_encoder: mfcc, and whatever else is no large model; the last three are phase 3's budget.
    """
    encoding = SECONDS_AN_HOUR["cheap_encoder"] if cheap_encoder else ENCODER_SECONDS_AN_HOUR[device]
    if max_minutes is None:
        crops = hours * (1 - 2 * TEST_SHARE) * 3600 / 0.96
        n_steps = epochs * crops / 16 if epochs is not None else steps or DEFAULT_STEPS
        max_minutes = n_steps * STEP_SECONDS[device] / 60
    return {
        "data": hours * SECONDS_AN_HOUR["segmentation"] / 60,
        "units": hours * (encoding + SECONDS_AN_HOUR["pitch"]) / 60,
        "training": max_minutes,
        "scores": hours * TEST_SHARE * SECONDS_AN_HOUR["scores"] / 60,
        "starting": FIXED_SECONDS / 60,
    }


def spoken_time(minutes: float) -> str:
    if minutes < 1.5:
        return "under a minute" if minutes < 0.75 else "1 minute"
    return f"{round(minutes)} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"
