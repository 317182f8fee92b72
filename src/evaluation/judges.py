"""The optional judges at work on pairs of files: what Whisper reads on both sides, how natural DistillMOS finds them.

Audio is loaded a block of utterances at a time, so that memory does not grow with the test split.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tqdm import tqdm

from audio.audio_io import load_audio
from core.records import UtteranceScore
from evaluation.asr import Recogniser, settle_language, transcribe_cached
from evaluation.mos import MosJudge, predict_mos_cached
from evaluation.readings import list_unread
from evaluation.scores import score_readings

UTTERANCES_AT_ONCE = 128
UTTERANCES_FOR_LANGUAGE = 32  # originals that the language is guessed by, spread over all
Pair = tuple[str, Path, Path]  # id, original, resynthesis
Caches = tuple[Path | None, Path | None]  # of the originals, of the resyntheses
NO_CACHES: Caches = (None, None)


def add_mos(
    judge: MosJudge, rows: Sequence[UtteranceScore], files: Sequence[Pair], *, caches: Caches = NO_CACHES
) -> None:
    """Add ``mos_original`` and ``mos`` of every pair to its row.

    judge: from ``load_mos_judge``; caches: folders that keep what it says of originals and of resyntheses.
    """
    with _seconds_bar("MOS", rows) as bar:
        for block, *sides in _blocks(files):
            for key, waveforms, cache in zip(("mos_original", "mos"), sides, caches):
                for row, score in zip(rows[block], predict_mos_cached(judge, waveforms, cache, bar)):
                    row[key] = score


def settle_on_originals(asr: Recogniser, files: Sequence[Pair], *, batch_size: int = 8) -> Recogniser:
    """The recogniser with one language for both sides of all pairs: its own, else the likeliest for the originals."""
    if asr.language is not None:
        return asr
    step = -(-len(files) // UTTERANCES_FOR_LANGUAGE) or 1
    return settle_language(asr, [load_audio(original) for _, original, _ in files[::step]], batch_size=batch_size)


def add_readings(
    asr: Recogniser,
    rows: Sequence[UtteranceScore],
    files: Sequence[Pair],
    *,
    texts: Sequence[str | None],
    caches: Caches = NO_CACHES,
    batch_size: int = 8,
) -> list[str]:
    """Add to every row what the recogniser reads on both sides, and the error rates of ``scores.score_readings``.

    asr: from ``load_asr``; texts: transcripts, None where there is none; caches: folders that keep the readings of
    originals and of resyntheses. Returns what a rate had to leave out, by name. Both sides are read in one language.
    """
    asr = settle_on_originals(asr, files, batch_size=batch_size)
    with _seconds_bar("ASR", rows) as bar:
        for block, *sides in _blocks(files):
            originals, resyntheses = (
                transcribe_cached(asr, waveforms, cache, batch_size=batch_size, bar=bar)
                for waveforms, cache in zip(sides, caches)
            )
            for row, original, resynthesis, text in zip(rows[block], originals, resyntheses, texts[block]):
                row.update({"asr_original": original, "asr_resynthesis": resynthesis})
                row.update({} if text is None else {"text": text})
                row.update(score_readings(original, resynthesis, text))
    return _list_unscored(rows)


def _seconds_bar(name: str, rows: Sequence[UtteranceScore]) -> tqdm:
    return tqdm(total=round(2 * sum(row["duration"] for row in rows)), desc=name, unit="s", disable=None)


def _blocks(files: Sequence[Pair]) -> Iterator[tuple[slice, list[np.ndarray], list[np.ndarray]]]:
    """(place, originals, resyntheses) of one block of pairs after another."""
    for start in range(0, len(files), UTTERANCES_AT_ONCE):
        block = slice(start, start + UTTERANCES_AT_ONCE)
        yield block, *([load_audio(pair[side]) for pair in files[block]] for side in (1, 2))


def _list_unscored(rows: Sequence[UtteranceScore]) -> list[str]:
    unread = [
        f"{row['id']}: no words read in the original{_quote(row)}, left out of cer and wer" for row in list_unread(rows)
    ]
    wordless = [row["id"] for row in rows if "text" in row and row["cer_text"] is None]
    return unread + [f"{name}: no words in its transcript, left out of cer_text and wer_text" for name in wordless]


def _quote(row: UtteranceScore) -> str:
    """What was written in place of words, if anything."""
    return f" ({row['asr_original'][:60]})" if row["asr_original"] else ""
