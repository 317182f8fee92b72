"""How good a voice to expect from so many minutes of speech: what was measured, and nothing outside of that."""

from typing import NamedTuple

from core.estimates import TEST_SHARE

TRAIN_SHARE = 1 - 2 * TEST_SHARE
NEAR = 0.25  # minutes of training speech count as measured within this share of a measurement


class VoiceMeasurement(NamedTuple):
    """A voice of one speaker whose quality stands in docs/results."""

    language: str
    train_minutes: float  # of speech that it was trained on
    training: str
    cer: float  # of 1; against what the recogniser hears in the original
    mos: float  # DistillMOS, 1 to 5; of recordings themselves 3.7 to 4.1
    page: str


BY_ONE_COMMAND, FROM_THE_BASE = "docs/results/main_job.md", "docs/results/base_voice.md"
# One professional speaker each, recorded in a studio. The default mfcc units unless it says more.
MEASURED_VOICES = (
    VoiceMeasurement(
        "Spanish", 22.5, "4 minutes on two cores, new to the base voice: the quick start", 0.089, 3.05, BY_ONE_COMMAND
    ),
    VoiceMeasurement(
        "Spanish", 22.5, "9 minutes on one core, a language new to the base voice", 0.094, 2.90, FROM_THE_BASE
    ),
    VoiceMeasurement("Russian", 20.2, "1 minute on one core, new to the base voice", 0.112, 2.67, FROM_THE_BASE),
    VoiceMeasurement("Russian", 3.0, "1 minute on one core, new to the base voice", 0.147, 2.49, FROM_THE_BASE),
    VoiceMeasurement("Russian", 1.0, "1 minute on one core, new to the base voice", 0.250, 2.51, FROM_THE_BASE),
    VoiceMeasurement(
        "Spanish",
        22.5,
        "43 CPU minutes from noise, two streams of 200 units",
        0.094,
        3.02,
        "docs/results/voice_quality.md",
    ),
    VoiceMeasurement("English", 19.8, "8 minutes on one core from noise", 0.056, 2.43, "docs/results/v2_and_v3.md"),
)


def is_measured(train_minutes: float) -> bool:
    """Whether voices were measured near so many minutes of training speech."""
    return any(abs(train_minutes - voice.train_minutes) <= NEAR * voice.train_minutes for voice in MEASURED_VOICES)


def expected_voice(speech_minutes: float, *, differs: list[str]) -> list[str]:
    """Sentences on the voice to expect. ``differs``: how the recordings differ from those of the measurements."""
    train_minutes = TRAIN_SHARE * speech_minutes
    least, most = (pick(voice.train_minutes for voice in MEASURED_VOICES) for pick in (min, max))
    lines = []
    if is_measured(train_minutes):
        lines.append(f"{train_minutes:.0f} minutes of speech to train on: near what was measured ({least} to {most}).")
    elif least < train_minutes < most:
        lines.append(f"not measured: {spoken_minutes(train_minutes)} of speech to train on lie between measurements.")
    else:
        amount = "less" if train_minutes < least else "more"
        lines.append(
            f"not measured: {spoken_minutes(train_minutes)} of speech to train on are {amount} than in any measurement "
            f"({least} to {most} minutes)."
        )
    lines += [
        f"{voice.language}, {voice.train_minutes} minutes, {voice.training}: a recogniser hears "
        f"{100 * voice.cer:.0f} of 100 letters differently, naturalness {voice.mos:.1f} of 5 ({voice.page})"
        for voice in MEASURED_VOICES
    ]
    if differs:
        lines.append(f"Those are one speaker in a quiet studio; yours differ ({', '.join(differs)}): not measured.")
    return lines


def spoken_minutes(minutes: float) -> str:
    return (
        f"{minutes:.1f} minutes"
        if minutes < 10
        else f"{minutes:.0f} minutes"
        if minutes < 120
        else f"{minutes / 60:.1f} hours"
    )
