"""Several data sets as one: their items behind each other, each known by its data set."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from core.errors import UserError
from core.records import TranscribedItem
from speech_llm.transcribed_items import load_transcribed


def add_datasets(
    items: Sequence[TranscribedItem],
    folders: Sequence[Path],
    split: str,
    known_hashes: Callable[[Path], Path | None],
    **fields: object,
) -> list[TranscribedItem]:
    """The items, and behind them those of ``split`` of each of ``folders``; fields: of ``load_transcribed``.

    What is added has ids that begin with the name of its folder, and a ``dataset``: 1 for the first folder, and so on.
    Raises UserError where two folders have the same name.
    """
    names = [folder.resolve().name for folder in folders]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"--more_data: expected folders of different names, found '{twice[0]}' twice; rename one")
    found = list(items)
    for place, (folder, name) in enumerate(zip(folders, names), 1):
        more = load_transcribed(folder, [split], known_hashes=known_hashes(folder), **fields)[split]
        found += [item | {"id": f"{name}/{item['id']}", "dataset": place} for item in more]
    return found


def by_dataset(items: Sequence[TranscribedItem], n_datasets: int) -> list[list[TranscribedItem]]:
    """The items of each data set, in their order; those without a ``dataset`` are of the first."""
    groups: list[list[TranscribedItem]] = [[] for _ in range(n_datasets)]
    for item in items:
        groups[item.get("dataset", 0)].append(item)
    return groups
