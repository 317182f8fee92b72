"""A corpus many times as long: new ids, the same audio, hours counted."""

import pytest

from repeated_corpus import link_audio, repeat_manifest
from segmentation.manifest import check_manifest


def test_rows_are_repeated_under_new_ids_with_their_audio(tiny_language: dict, tmp_path) -> None:
    rows, root = tiny_language["rows"], tmp_path / "long"
    link_audio(rows, root)
    hours = repeat_manifest(rows, 3, root / "segments.jsonl")
    seconds = 3 * sum(row["duration"] for row in rows)
    assert hours == pytest.approx(seconds / 3600)
    assert check_manifest(root / "segments.jsonl", root)["n_utterances"] == 3 * len(rows)
    for row in rows:
        assert (root / row["audio"]).read_bytes() == (tiny_language["data"] / row["audio"]).read_bytes()
