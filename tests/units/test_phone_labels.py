"""The table of phones: whatever aligners and people write, and where a phone begins and ends."""

from pathlib import Path

import pytest

from core.errors import UserError
from units.phone_labels import PhoneLabels, is_silence, phones_at, read_phones


def read(folder: Path, *rows: str) -> PhoneLabels:
    (folder / "phones.tsv").write_text("source\tstart\tend\tphone\n" + "".join(f"{row}\n" for row in rows))
    return read_phones(folder / "phones.tsv")


@pytest.mark.parametrize("name", ["", "sil", "SIL", "Pau", "sp", "spn", "#", "_", "<p:>", "(...)"])
def test_silence_has_many_names(name: str) -> None:
    assert is_silence(name) and not is_silence(name + "a")


def test_a_phone_is_heard_from_its_start_until_just_before_its_end(tmp_path: Path) -> None:
    """Steps are heard in their middle: at 5, 15, 25 and 35 ms."""
    labels = read(tmp_path, "a\t0.025\t0.035\tb", "a\t0,005\t0,015\ta")
    assert labels.names == ["SIL", "a", "b"] and [*labels.spans] == ["a"]
    starts, ends, phones = labels.spans["a"]
    assert (starts.tolist(), ends.tolist(), phones.tolist()) == ([0.005, 0.025], [0.015, 0.035], [1, 2])
    assert phones_at(labels, "a", 0.0, 4).tolist() == [1, 0, 2, 0]
    assert phones_at(labels, "a", 0.02, 1).tolist() == [2] and phones_at(labels, "a", 0.04, 4) is None


def test_phones_may_overlap_by_one_step(tmp_path: Path) -> None:
    assert read(tmp_path, "a\t0\t0.11\ta", "a\t0.1\t0.2\tb").names == ["SIL", "a", "b"]
    with pytest.raises(UserError, match=r"expected one phone at a time, found two at 0\.12 s of a$"):
        read(tmp_path, "a\t0.2\t0.3\ta", "a\t0\t0.116\tb", "a\t0.1\t0.2\tc")
    assert read(tmp_path, "a\t0\t0.2\ta", "b\t0.1\t0.2\tb").names == ["SIL", "a", "b"], "another recording"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a\t-0.1\t0.1\tb", "line 2: expected 0 <= start < end, found -0.1 and 0.1; repair the line"),
        ("a\t0.2\t0.2\tb", "line 2: expected 0 <= start < end, found 0.2 and 0.2; repair the line"),
        ("a\tnan\t0.2\tb", "line 2: expected 0 <= start < end"),
        ("a\t0.2\tx\tb", "line 2: expected seconds, found '0.2' and 'x'"),
        ("a\t0.1\t0.2\tsil", r"expected phones, found none; see phones\.tsv in docs/data_formats\.md"),
    ],
)
def test_what_is_no_phone_is_refused(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"phones\.tsv.*{said}"):
        read(tmp_path, row)
