"""Annotations of a recording as plain spans of time: who says what, and on which tier it stands."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Names of tiers as ELAN's and SayMore's templates, Toolbox and FLEx give them, in lower case, without "@speaker".
TEXT_TIERS = (
    "transcription",
    "transcript",
    "transcripción",
    "transcrição",
    "text",
    "tx",
    "utterance",
    "utt",
    "orthography",
    "orth",
    "sentence",
    "phrase",
    "words",
)
OTHER_TIERS = (
    "note",
    "notes",
    "nota",
    "notas",
    "comment",
    "comments",
    "translation",
    "free translation",
    "phrase free translation",
    "ft",
    "gloss",
    "gls",
    "ge",
    "mb",
    "ps",
    "ref",
    "id",
    "code",
    "draft",
    "word",
)


DRAFT = "draft"  # kind of tier: what a recogniser has heard and nobody has corrected
UNHEARD = "?"  # stands where a line is to be corrected in which nothing was heard: no text yet


class Span(NamedTuple):
    """``start`` and ``end`` in seconds; ``tier`` by its name in the file; ``speaker`` where the file names one."""

    tier: str
    start: float
    end: float
    text: str
    speaker: str | None = None
    parent: str | None = None  # the tier that this one's tier depends on


def tier_names(spans: Iterable[Span]) -> list[str]:
    """The tiers that hold something, in the order of their first span."""
    return list(dict.fromkeys(span.tier for span in spans))


def speaker_of_tier(tier: str) -> str | None:
    """``tx@Maria`` -> ``Maria``: how ELAN's users name tiers whose participant they leave empty."""
    return tier.partition("@")[2].strip() or None


def kind_of_tier(tier: str) -> str:
    """``tx@Maria`` -> ``tx``, in lower case."""
    return tier.partition("@")[0].strip().casefold()


def choose_text_tiers(spans: Sequence[Span], wanted: Sequence[str] = ()) -> list[str]:
    """The tiers that hold what is said.

    ``wanted`` ones (by whole name, or by what stands before "@") where any are given; else those named as templates
    name them; else all that depend on no other tier and are no notes or translations.
    """
    tiers = tier_names(spans)
    if wanted:
        names = {name.casefold() for name in wanted}
        return [tier for tier in tiers if tier.casefold() in names or kind_of_tier(tier) in names]
    named = [tier for tier in tiers if kind_of_tier(tier) in TEXT_TIERS]
    if named:
        # Of several kinds on one recording, the first of the list: "transcription" before "words".
        best = min(TEXT_TIERS.index(kind_of_tier(tier)) for tier in named)
        return [tier for tier in named if TEXT_TIERS.index(kind_of_tier(tier)) == best]
    depending = {span.tier for span in spans if span.parent}
    return [tier for tier in tiers if tier not in depending and kind_of_tier(tier) not in OTHER_TIERS]


def written_spans(spans: Sequence[Span], wanted: Sequence[str] = ()) -> list[Span]:
    """The spans of ``choose_text_tiers``, but for lines that nobody has filled in yet."""
    tiers = choose_text_tiers(spans, wanted)
    return [span for span in spans if span.tier in tiers and span.text.strip() != UNHEARD]
