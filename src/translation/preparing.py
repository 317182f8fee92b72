"""From a table of pairs to what a translator is trained and tested on."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.frames import UNIT_RATE
from translation.examples import Example, fits, list_letters, spell
from translation.hearing import (
    FEATURES,
    Hearing,
    Sound,
    hear_features,
    hear_units,
    languages_alone,
    measure_features,
)
from translation.pairs import Pair, Span, of_split
from translation.spans import FeatureChoice, cut_all, index_corpus, span_seconds
from unit_lm.inputs import LanguageInputs, build_vocabulary
from unit_lm.utterances import tokenize
from unit_lm.vocabulary import Vocabulary, frame_tokens

log = logging.getLogger("oral_units")


def open_features(
    pairs: Sequence[Pair], features: Mapping[Span, np.ndarray], choice: FeatureChoice, languages: Sequence[str]
) -> Hearing:
    """How features are heard: evened out by the training split."""
    training = dict.fromkeys(span for pair in of_split(pairs, "train") for span in (pair.source, pair.target))
    by_language: dict[str, list[np.ndarray]] = {language: [] for language in languages}
    for span in training:
        if span in features:
            by_language[span.language].append(features[span])
    empty = [language for language, some in by_language.items() if not some]
    if empty:
        raise UserError(f"--pairs: expected training pairs with features of {empty[0]}, found none; add some")
    means, scales = measure_features(by_language)
    return Hearing(
        FEATURES, languages_alone(languages), choice.encoder, choice.layer, choice.padding, choice.stack, means, scales
    )


def open_units(inputs: Sequence[LanguageInputs], kind: str) -> Hearing:
    """How units or tokens are heard."""
    return Hearing(kind, build_vocabulary(inputs, kind))


def hear_spans(
    hearing: Hearing,
    spans: Iterable[Span],
    features: Mapping[Span, np.ndarray],
    corpora: Mapping[str, Path],
) -> dict[Span, Sound]:
    """Each span as the encoder takes it; spans without features or units are left out."""
    spans = list(dict.fromkeys(spans))
    if hearing.kind == FEATURES:
        return {span: hear_features(hearing, span.language, features[span]) for span in spans if span in features}
    found: dict[Span, Sound] = {}
    for language in dict.fromkeys(span.language for span in spans):
        some = [span for span in spans if span.language == language]
        cut = cut_all(index_corpus(language, corpora[language]), some, corpora[language])
        found |= zip(cut, hear_units(hearing, list(cut.values())))
    return found


def make_examples(
    pairs: Sequence[Pair],
    sounds: Mapping[Span, Sound],
    vocabulary: Vocabulary,
    corpus: Path,
    *,
    context: int,
    letters: Sequence[str] = (),
) -> list[Example]:
    """Everything of each pair; what has no units or sound, and what a row cannot hold, is left out and counted.

    corpus: of the target's units.
    """
    if not pairs:
        return []
    language = pairs[0].target.language
    targets = cut_all(index_corpus(language, corpus), [pair.target for pair in pairs], corpus)
    tokens = dict(zip(targets, tokenize(vocabulary, list(targets.values()))))
    found = []
    for pair in pairs:
        if pair.source not in sounds or pair.target not in sounds or pair.target not in tokens:
            continue
        seconds = (span_seconds(pair.source), float(targets[pair.target].durations.sum()) / UNIT_RATE)
        framed = frame_tokens(vocabulary, language, tokens[pair.target])
        spelled = spell(pair.source.text, letters)
        found.append(Example(pair, sounds[pair.source], sounds[pair.target], framed, spelled, seconds))
    fitting = [one for one in found if fits(one, context)]
    if len(fitting) < len(pairs):
        log.info(
            "left out %d of %d pairs: %d too long for --context",
            len(pairs) - len(fitting),
            len(pairs),
            len(found) - len(fitting),
        )
    return fitting


def letters_of(pairs: Sequence[Pair]) -> list[str]:
    """The letters of the sources' texts in the training split; UserError where there are none."""
    letters = list_letters([pair.source.text for pair in of_split(pairs, "train")])
    if not letters:
        raise UserError("--text_weight: expected texts of the source in the table of pairs, found none; leave it out")
    return letters
