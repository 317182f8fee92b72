"""Which of a recogniser's readings are readings: Whisper writes placeholders where it knows no words to write.

"[Sings in foreign language]", "(speaking in foreign language)", "*singing*": two sides that both got one agree in
every letter, and nothing was compared.
"""

import re
from collections.abc import Sequence

from core.records import UtteranceScore
from core.text_normalisation import normalise_text

# The last one may have been cut off before its end.
BRACKETS = ("[]", "()", "{}", "<>", "（）", "［］", "【】", "〔〕")
PLACEHOLDER = re.compile("|".join([rf"\{a}[^\{b}]*(?:\{b}|$)" for a, b in BRACKETS] + [r"\*+[^*]*(?:\*+|$)"]))
UNKNOWN_SHARE = 0.2  # of the originals without a reading: from here on the recogniser does not know the language


def holds_words(reading: str) -> bool:
    """Whether a reading says anything: not empty, and not only what stands in brackets or between stars."""
    return bool(normalise_text(PLACEHOLDER.sub(" ", reading)))


def list_unread(rows: Sequence[UtteranceScore]) -> list[UtteranceScore]:
    """The rows in whose original the recogniser read no words; a row that it never heard is none of them."""
    return [row for row in rows if isinstance(row.get("asr_original"), str) and not holds_words(row["asr_original"])]


def name_reading_problems(rows: Sequence[UtteranceScore]) -> list[str]:
    """At most one sentence: the recogniser does not seem to know the language. From the rows of a scores.json."""
    unread, n_heard = list_unread(rows), sum("asr_original" in row for row in rows)
    if not unread or len(unread) < UNKNOWN_SHARE * n_heard:
        return []
    written = next((row["asr_original"] for row in unread if normalise_text(row["asr_original"])), "nothing")
    return [
        f"in {len(unread)} of {n_heard} originals the recogniser read no words (it wrote: {written[:60]}): it does not "
        "seem to know this language, so CER and WER say nothing of the voice; go by the other scores, or by ear"
    ]
