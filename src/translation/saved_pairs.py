"""The pairs that a trained translator is tested on, heard as it hears them."""

from collections.abc import Sequence
from pathlib import Path

from core.errors import UserError
from languages import data_root
from translation.examples import Example
from translation.hearing import FEATURES
from translation.pairs import Pair, both_sides, of_split, read_pairs
from translation.preparing import hear_spans, make_examples
from translation.saved_translator import LoadedTranslator
from translation.spans import FEATURE_FOLDER, FeatureChoice, read_features
from units.phase1_inputs import find_inputs


def read_experiment_pairs(config: dict) -> list[Pair]:
    """The table of pairs of a trained experiment, of every length."""
    flags = config["arguments"]
    path = Path(flags["pairs"])
    if not path.is_file():  # the experiment comes from another machine
        path = data_root() / "prompt_pairs" / path.name
    return read_pairs(path, flags["source"], flags["target"])


def feature_choice(loaded: LoadedTranslator, device: str) -> FeatureChoice:
    hearing = loaded.hearing
    return FeatureChoice(hearing.encoder, hearing.layer, hearing.padding, hearing.stack, device)


def prepare_examples(loaded: LoadedTranslator, pairs: Sequence[Pair], split: str, device: str) -> list[Example]:
    """The pairs of a split from languages that the translator has heard; UserError where there are none."""
    known = loaded.hearing.vocabulary.languages
    chosen = [pair for pair in of_split(pairs, split) if pair.source.language in known]
    if not chosen:
        raise UserError(f"{loaded.config['arguments']['pairs']}: expected pairs in split {split}, found none; add some")
    features = {}
    if loaded.hearing.kind == FEATURES:
        features = read_features(data_root() / FEATURE_FOLDER, both_sides(chosen), feature_choice(loaded, device))
    origins = loaded.config["derived"]["inputs"]
    corpora = {language: find_inputs(origin).corpus for language, origin in origins.items()}
    sounds = hear_spans(loaded.hearing, both_sides(chosen), features, corpora)
    corpus = corpora[loaded.config["derived"]["target"]]
    return make_examples(chosen, sounds, loaded.vocabulary, corpus, context=loaded.context)
