"""F0 of a language before its training: every segment, once."""

import fill_f0_cache

from audio.audio_io import load_audio
from audio.pitch import extract_f0, kept_f0


def test_every_segment_has_its_f0_afterwards(tiny_language: dict, capsys) -> None:
    fill_f0_cache.main(["--language", "spanish", "--num_workers", "1"])
    cache, rows = tiny_language["data"] / "spanish" / "cache", tiny_language["rows"]
    kept = {path.stem: path.stat().st_mtime_ns for path in cache.rglob("*.f0")}
    assert (
        all(len(kept_f0(cache, row["id"])) for row in rows) and f"F0 of {len(rows)} segments" in capsys.readouterr().out
    )
    audio = tiny_language["data"] / rows[0]["audio"]
    assert (kept_f0(cache, rows[0]["id"]) == extract_f0(load_audio(audio))).all()
    fill_f0_cache.main(["--language", "spanish", "--num_workers", "1"])
    assert {path.stem: path.stat().st_mtime_ns for path in cache.rglob("*.f0")} == kept
