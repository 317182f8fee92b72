"""Motifs cut out of the segments, to listen to: what a token sounds like tells more than its numbers."""

import logging
from pathlib import Path

import numpy as np

import soundfile
from tqdm import tqdm

from audio.audio_io import load_crop, save_audio
from core.errors import UserError
from core.files import write_atomically
from core.frames import SAMPLE_RATE
from languages import data_root, resolve_in
from units.motifs import choose_motifs, read_motifs

log = logging.getLogger("oral_units")

GAP_SECONDS = 0.3  # silence between the examples of one wav
FADE_SECONDS = 0.005  # against clicks at the cuts


def cut_motif(motif: dict, context: float) -> tuple[np.ndarray, list[str]]:
    """(S,) the motif's examples, ``context`` seconds around each, with pauses between; and the audio files missing."""
    pieces, missing = [], []
    fade = np.linspace(0, 1, round(FADE_SECONDS * SAMPLE_RATE), dtype=np.float32)
    for example in motif["examples"]:
        path = resolve_in(data_root(), example["audio"])
        if not path.is_file():
            missing.append(example["audio"])
            continue
        duration = soundfile.info(path).duration
        start = round(max(0.0, example["start"] - context) * SAMPLE_RATE)
        end = round(min(duration, example["end"] + context) * SAMPLE_RATE)
        piece = load_crop(path, start, end - start)
        piece[: len(fade)] *= fade
        piece[-len(fade) :] *= fade[::-1]
        pieces += [piece, np.zeros(round(GAP_SECONDS * SAMPLE_RATE), np.float32)]
    return np.concatenate([*pieces, np.zeros(0, np.float32)]), missing


def cut_examples(exp: Path, n: int, context: float) -> None:
    """Write ``motifs/token_<id>.wav`` and ``motifs/index.tsv`` for the most frequent and the longest motifs."""
    chosen = choose_motifs(read_motifs(exp / "motifs.json"), n)
    folder, missing, rows = exp / "motifs", [], ["wav\tunits\tcount\tmean_duration_seconds\texamples"]
    for earlier in folder.glob("token_*.wav"):
        earlier.unlink()
    for motif in tqdm(chosen, desc="cutting motifs", unit=" motifs", disable=None):
        waveform, lost = cut_motif(motif, context)
        missing += lost
        if len(waveform):
            name = f"token_{motif['token']:05d}.wav"
            save_audio(folder / name, waveform)
            examples = ", ".join(f"{e['utterance']} {e['start']:.2f}-{e['end']:.2f}" for e in motif["examples"])
            units = " ".join(map(str, motif["units"]))
            rows.append(f"{name}\t{units}\t{motif['count']}\t{motif['mean_duration']}\t{examples}")
    if missing:
        log.warning("%d examples skipped, their audio is not there: %s …", len(missing), ", ".join(missing[:3]))
    if chosen and len(rows) == 1:
        raise UserError(f"{data_root()}: expected the segments of the corpus, found none; set DATA_ROOT")
    text = "\n".join(rows) + "\n"
    write_atomically(folder / "index.tsv", lambda temporary: temporary.write_text(text, encoding="utf-8"))
    print(f"wrote {len(rows) - 1} motifs to listen to in {folder} (index.tsv lists them)")
