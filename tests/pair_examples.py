"""Two tiny languages that say the same things, with units, recordings and the table of their pairs."""

from pathlib import Path

from core.tables import write_table
from synthetic import write_segments, write_units
from translation.pairs import COLUMNS, Pair, Span, pair_row

TEXTS = ("Uno.", "due", "tre uno", "quattro!")


def write_pairs(root: Path, sources: tuple[str, ...] = ("english", "italian"), target: str = "spanish") -> Path:
    """Units, recordings and pairs of ten utterances of each language below ``root``; returns the table."""
    rows: dict[str, list[dict]] = {}
    for place, language in enumerate((*sources, target)):
        rows[language] = write_segments(root / "data", language, seed=10 * place)
        write_units(root / "exp", rows[language], language, n_units=12 if language == target else 7)
        (root / "data" / language / "raw").mkdir()
        for row in rows[language]:
            (root / "data" / language / "raw" / row["source"]).symlink_to(root / "data" / row["audio"])
    pairs = [
        Pair(heard["split"], f"prompt {number}", _span(source, heard, number), _span(target, said, number))
        for source in sources
        for number, (heard, said) in enumerate(zip(rows[source], rows[target]))
    ]
    table = root / "data" / "prompt_pairs" / "pairs.tsv"
    table.parent.mkdir()
    write_table(table, COLUMNS, map(pair_row, pairs))
    return table


def _span(language: str, row: dict, number: int) -> Span:
    return Span(language, row["source"], 0.1, row["duration"] - 0.1, TEXTS[number % len(TEXTS)])
