"""The README of a saved voice: what it is, how to speak with it, what it may be used for."""

from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from core.frames import HOP_SAMPLES, SAMPLE_RATE, UNIT_RATE
from core.records import EncoderOrigin, VocoderScores, VoiceConfig, VoiceOrigin
from encoders.table import encoder_file, needs_download

LICENCE_FILES = ("LICENSE*", "LICENCE*", "ATTRIBUTION*", "NOTICE*")
UNNAMED_LICENCE = "other"  # what hubs call a licence that they have no name for
SCORES = {
    "cer": "character error rate, a recogniser's reading of the resynthesis against its reading of the original",
    "mcd_db": "mel-cepstral distortion, dB",
    "gross_pitch_error_percent": "gross pitch error, %",
    "vuv_error_percent": "voicing error, %",
    "mos": "predicted naturalness (DistillMOS)",
}


def write_card(
    config: VoiceConfig,
    encoder: EncoderOrigin | None,
    scores: VocoderScores | None,
    licence: str,
    exported: list[str],
    *,
    about: str = "",
    page: bool = False,
    base_licence: str | None = None,
) -> str:
    """Markdown with the front matter that model hubs read.

    config: of ``vocoder.saved_voice.save_voice``; encoder: the description in the clusters; scores: of vocoder_test.py;
    exported: the TorchScript files, relative to the folder; about: a section of one's own, in Markdown; page:
    voice.html lies there too; base_licence: of the voice whose weights the training began with.
    """
    origin = config["derived"]
    parts = [
        f"---\n{ModelCardData(license=licence, tags=['text-to-speech', 'unit-vocoder'])}\n---",
        f"# A voice for units of {origin['language']}",
        _facts(config, origin, encoder),
        _usage(exported, takes_recordings=not origin.get("made_elsewhere"), page=page),
        about,
        _scores(scores),
        _licence(licence, encoder, origin.get("started_from"), base_licence),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(config: VoiceConfig, origin: VoiceOrigin, encoder: EncoderOrigin | None) -> str:
    layer = f", layer {encoder['layer']}" if encoder and encoder["layer"] is not None else ""
    rows = {
        "speaks": f"{origin['n_streams']} stream(s) of {origin['n_units']} units at {UNIT_RATE} Hz, and F0 in Hz",
        "units come from": f"`{encoder['encoder']}`{layer}" if encoder else "an encoder that is not recorded",
        "sound": f"{SAMPLE_RATE} Hz, {HOP_SAMPLES} samples a unit frame",
        "generator": f"{origin['generator']}, {config['step']} training steps{_start(origin)}",
        "speakers": ", ".join(config["speakers"]) or "one voice",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())])


def _start(origin: VoiceOrigin) -> str:
    return f" from the weights of `{origin['started_from']}`" if "started_from" in origin else ""


def _usage(exported: list[str], *, takes_recordings: bool, page: bool) -> str:
    source = "a recording, units, or motifs" if takes_recordings else "units or motifs"
    lines = ["## Speak", "", f"With oral-units, from {source}:", "", "```"]
    lines += ["python src/synthesize.py --exp this_folder recording.mp3 --out spoken"] if takes_recordings else []
    lines += ["python src/synthesize.py --exp this_folder --units units.json --out spoken", "```", ""]
    lines += ["```python", "from vocoder.saved_voice import load_voice", ""]
    lines += ['voice = load_voice("this_folder")  # voice.generator, voice.config, voice.speakers, …', "```"]
    if page:
        lines += ["", "In a browser: open `voice.html`. It needs no server, no network and no other file."]
    if exported:
        lines += ["", f"Without it, wherever torch and numpy are (`{'`, `'.join(exported)}`):", ""]
        lines += ["```", "python speak.py units.json --out spoken", "```", "", "```python", "import torch", ""]
        lines += ['voice = torch.jit.load("voice.torchscript")']
        lines += ["# units (1, F, streams) int64, F0 (1, F) float32 Hz, 0 = unvoiced; the key seeds the noise"]
        lines += ["noise = voice.noise(torch.tensor([0]), torch.tensor(0), f0)"]
        lines += ["phase, speaker = torch.zeros(1, dtype=torch.float64), torch.tensor([0])"]
        lines += [f"waveform = voice(units, f0, noise, phase, speaker)  # (1, {HOP_SAMPLES} F) at 16 kHz", "```"]
    return "\n".join(lines)


def _scores(scores: VocoderScores | None) -> str:
    metrics = scores["metrics"] if scores else {}
    if not metrics.keys() & SCORES.keys():
        return ""
    lines = ["## Scores", "", f"On {scores['n_utterances']} held-out utterances, with 95 % intervals:", ""]
    lines += ["| score | mean | interval |", "|---|---|---|"]
    for name, meaning in SCORES.items():
        if name in metrics:
            mean, low, high = (metrics[name][key] for key in ("mean", "low", "high"))
            lines.append(f"| {meaning} | {mean:.3f} | {low:.3f} to {high:.3f} |")
    return "\n".join(lines)


def say_licence(licence: str, started_from: str | None, base_licence: str | None) -> str:
    """Under what the weights stand, and what holds from the voice that they started from."""
    own = "their licence was not named when they were saved" if licence == UNNAMED_LICENCE else licence
    if not started_from:
        return f"The weights: {own}."
    named = f"the licence of that voice, {base_licence}, holds" if base_licence else "the licence of that voice holds"
    return f"The weights: {own}. Their training started from the voice {started_from}: {named} for them too."


def read_licence(card: Path) -> str | None:
    """The licence in a card's front matter, e.g. cc-by-sa-3.0; None where there is no card, or none is named."""
    if not card.is_file():
        return None
    named = ModelCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.get("license")
    return named if isinstance(named, str) and named != UNNAMED_LICENCE else None


def _licence(licence: str, encoder: EncoderOrigin | None, started_from: str | None, base_licence: str | None) -> str:
    name = encoder["encoder"] if encoder else ""
    text = say_licence(licence, f"`{started_from}`" if started_from else None, base_licence)
    text += " A voice is derived from recordings of a person and from an encoder"
    text += f" (`{name}`)" if name and (needs_download(name) or encoder_file(name)) else ""
    text += "; their licences, and what the speaker agreed to, hold for it."
    return f"## Licence\n\n{text}"


def licence_texts(data: Path) -> list[Path]:
    """What a recipe left beside the data on its licence, and on whom it asks to name."""
    return sorted(path for pattern in LICENCE_FILES for path in Path(data).glob(pattern))
