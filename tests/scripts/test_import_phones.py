"""A tier of phones becomes phones.tsv; what is no phone is refused or counted."""

import sys
from pathlib import Path

import pytest

import import_phones

from annotations.spans import Span
from annotations.write_annotations import write_annotations
from core.errors import UserError
from synthetic import speech_like, write_mp3
from units.phone_labels import read_phones

SPANS = [
    Span("phones@Maria", 0.1, 0.2, "ʔ", "Maria"),
    Span("phones@Maria", 0.2, 0.3, "ã", "Maria"),
    Span("tx@Maria", 0.1, 0.3, "ʔã", "Maria"),
]


@pytest.fixture
def import_tier(language_roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    """import_tier(form, spans, *flags) -> phones.tsv, or the message of the mistake."""
    data = language_roots["data"] / "guarani"
    write_mp3(data / "raw" / "a.wav", speech_like(1.0))

    def import_spans(form: str, spans: list[Span], *flags: str) -> Path | str:
        suffix = {"eaf": ".eaf", "textgrid": ".TextGrid"}[form]
        write_annotations(data / "raw" / f"a{suffix}", spans, form=form, media=data / "raw" / "a.wav", seconds=1.0)
        monkeypatch.setattr(sys, "argv", ["import_phones.py", "--language", "guarani", *flags])
        try:
            import_phones.main()
        except UserError as error:
            return str(error)
        return data / "phones.tsv"

    return import_spans


@pytest.mark.parametrize("form", ["eaf", "textgrid"])
def test_a_tier_becomes_phones(import_tier, form: str, capsys: pytest.CaptureFixture) -> None:
    table = import_tier(form, SPANS, "--phone_tier", "phones")
    assert table.read_text(encoding="utf-8").splitlines() == [
        "source\tstart\tend\tphone",
        "a.wav\t0.1000\t0.2000\tʔ",
        "a.wav\t0.2000\t0.3000\tã",
    ]
    assert read_phones(table).names == ["SIL", "ã", "ʔ"] and "2 phones of 2 kinds" in capsys.readouterr().out
    assert "give --overwrite" in import_tier(form, SPANS, "--phone_tier", "phones")


def test_a_tier_that_is_not_there_is_refused(import_tier) -> None:
    assert "expected phones on the tier segs, found none in 1 annotation files" in import_tier(
        "eaf", SPANS, "--phone_tier", "segs"
    )
