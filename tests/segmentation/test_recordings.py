"""Which recordings there are, and how their segments are named."""

import os

from segmentation.recordings import list_sources, name_stems


def test_sources_are_nested_sorted_and_survive_a_link_loop(tmp_path):
    for name in ("b.mp3", "a/x.WAV", "a/notes.txt", ".hidden.mp3", "a/deep/y.flac"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    os.symlink(tmp_path, tmp_path / "a" / "loop")
    assert list(list_sources(tmp_path)) == ["a/deep/y.flac", "a/x.WAV", "b.mp3"]


def test_names_do_not_depend_on_the_unicode_form(tmp_path):
    (tmp_path / "Sa\u0303o.mp3").write_bytes(b"x")
    assert list(list_sources(tmp_path)) == ["S\u00e3o.mp3"]


def test_stems_are_unique_safe_and_short():
    sources = [
        "a/b.mp3",
        "a_b.mp3",
        "a_b.wav",
        "A_b.flac",
        "../..mp3",
        "São Tomé.mp3",
        "Сатере.mp3",
        "x" * 300 + ".mp3",
    ]
    stems = name_stems(sources)
    assert len({stem.lower() for stem in stems.values()}) == len(sources)
    assert (
        stems["a/b.mp3"] == "a_b"
        and stems["São Tomé.mp3"] == "Sao_Tome"
        and stems["Сатере.mp3"].startswith("recording")
    )
    for stem in stems.values():
        assert set(stem) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
        assert len(stem) <= 120 and not stem.startswith(".")
