"""A language's search index, made where there is none yet."""

import sys

from core.device import choose_device
from languages import data_root, language_paths
from spoken_search.building import build_index
from spoken_search.choices import choose_features
from spoken_search.index import Index, index_folder, is_whole, load_segments, open_index, require_features


def prepare_index(
    language: str, tag: str, *, device: str, num_workers: int, quiet: bool, **chosen: str | int | None
) -> Index:
    """The index, opened. chosen: encoder, layer, padding and seed, of ``choose_features``.

    Raises UserError where the index there has other features, or is of other segments.
    """
    segments = load_segments(language_paths(language)["manifest"])
    folder = index_folder(language, tag)
    features = choose_features(language, folder, **chosen)
    if not is_whole(folder):
        print(f"{folder}: no index yet; it is made now, once", file=sys.stderr)
        work = {"device": choose_device(device), "num_workers": num_workers, "quiet": quiet}
        build_index(folder, segments, data_root(), features, **work)
    index = open_index(folder, segments)
    require_features(index, features)
    return index
