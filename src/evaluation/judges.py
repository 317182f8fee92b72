"""The optional judges at work on pairs of files: what Whisper reads on both sides, how natural DistillMOS finds them.

Audio is loaded a block of utterances at a time, so that memory does not grow with the test split.
"""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from evaluation.asr import transcribe, transcribe_cached
from evaluation.mos import predict_mos
from evaluation.scores import score_readings
from speech.audio import load_audio

UTTERANCES_AT_ONCE = 128
Pair = tuple[str, Path, Path]  # id, original, resynthesis


def add_mos(judge: object, rows: Sequence[dict], files: Sequence[Pair]) -> None:
    """Add ``mos_original`` and ``mos`` of every pair to its row; ``judge`` comes from ``load_mos_judge``."""
    with tqdm(total=2 * len(files), desc="MOS", unit="recording", disable=None) as bar:
        for row, (_, *sides) in zip(rows, files):
            for key, path in zip(("mos_original", "mos"), sides):
                row[key] = predict_mos(judge, load_audio(path))
                bar.update()


def add_readings(
    asr: dict,
    rows: Sequence[dict],
    files: Sequence[Pair],
    *,
    texts: Sequence[str | None],
    cache: Path | None = None,
    batch_size: int = 8,
) -> list[str]:
    """Add to every row what the recogniser reads on both sides, and the error rates of ``scores.score_readings``.

    asr: from ``load_asr``; texts: transcripts, None where there is none; cache: folder that keeps the readings of the
    originals. Returns what had to be left out of a rate, by name.
    """
    with tqdm(total=round(2 * sum(row["duration"] for row in rows)), desc="ASR", unit="s", disable=None) as bar:
        for start in range(0, len(rows), UTTERANCES_AT_ONCE):
            block = slice(start, start + UTTERANCES_AT_ONCE)
            originals, resyntheses = ([load_audio(pair[side]) for pair in files[block]] for side in (1, 2))
            read = transcribe_cached(asr, originals, cache, batch_size=batch_size, bar=bar)
            heard = transcribe(asr, resyntheses, batch_size=batch_size, bar=bar)
            for row, original, resynthesis, text in zip(rows[block], read, heard, texts[block]):
                row.update({"asr_original": original, "asr_resynthesis": resynthesis})
                row.update({} if text is None else {"text": text})
                row.update(score_readings(original, resynthesis, text))
    return _left_out(rows)


def _left_out(rows: Sequence[dict]) -> list[str]:
    unread = [
        f"{row['id']}: no words read in the original, left out of cer and wer" for row in rows if row["cer"] is None
    ]
    wordless = [row["id"] for row in rows if "text" in row and row["cer_text"] is None]
    return unread + [f"{name}: no words in its transcript, left out of cer_text and wer_text" for name in wordless]
