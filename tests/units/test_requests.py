"""Reading what is to be spoken: units at 50 Hz, deduplicated units, BPE tokens; text and JSON."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pytest

from core.errors import UserError
from synthetic import REPOSITORY
from units.bpe import encode_units, save_tokenizer, train_tokenizer
from units.corpus import deduplicate, write_corpus
from units.requests import Request, bpe_units, check_ids, read_deduplicated, read_tokens, read_units

UNITS = np.array([1, 2])
ENTRY = {"audio": "", "duration": 0.1, "split": "test", "unit_rate": 50}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write_file(text: str) -> Path:
        path = tmp_path / "units.txt"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus_timestamped.json"
    entries = [
        ENTRY | {"id": "a", "units": [5, 7, 5], "durations": [2, 1, 2], "f0": [0, 0, 100, 0, 0], "speaker": "ana"},
        ENTRY | {"id": "b", "units": [1], "durations": [3], "split": "train", "audio": "b.wav"},
    ]
    write_corpus(path, entries)
    return path


@pytest.fixture
def bpe(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    words = [rng.integers(0, 10, 4) for _ in range(5)]
    utterances = [deduplicate(np.concatenate([words[i] for i in rng.integers(0, 5, 20)]))[0] for _ in range(30)]
    folder = tmp_path / "bpe"
    folder.mkdir()
    tokenizer = train_tokenizer(utterances, n_units=10, vocab_size=40)
    save_tokenizer(folder, tokenizer)
    (folder / "config.json").write_text(json.dumps({"derived": {"n_units": 10}}))
    tokens = encode_units(tokenizer, utterances[0])
    assert len(tokens) < len(utterances[0]), "the tokenizer should have merged something"
    np.savez(tmp_path / "example.npz", units=utterances[0], tokens=tokens)
    (tmp_path / "strings.json").write_text(json.dumps(tokenizer.convert_ids_to_tokens(tokens.tolist())))
    return folder


def test_text_of_units_at_50_hz(write: Callable[[str], Path]) -> None:
    path = write("# two utterances\nfirst\t12 12 45 45 45 3\n\nsecond\t7\n")
    first, second = read_units(path)
    assert first.id == "first" and first.units.tolist() == [12, 45, 3] and first.durations.tolist() == [2, 3, 1]
    assert second.units.tolist() == [7] and second.durations.tolist() == [1]


def test_a_corpus_file_keeps_what_stands_beside_the_units(corpus: Path) -> None:
    a, b = read_units(corpus)
    assert a.units.tolist() == [5, 7, 5] and a.durations.tolist() == [2, 1, 2] and a.speaker == "ana"
    assert a.f0 == [0, 0, 100, 0, 0] and a.audio is None
    assert b.audio == "b.wav" and b.f0 is None
    assert [request.id for request in read_units(corpus, "train")] == ["b"]


def test_json_by_hand_needs_no_layout_and_no_corpus_keys(write: Callable[[str], Path], corpus: Path) -> None:
    entries = [{"id": name, "units": [5, 7], "durations": [2, 1], "f0": [0, 90.5, 91]} for name in ("x", "y")]
    texts = json.dumps(entries), json.dumps(entries, indent=1), "\n".join(map(json.dumps, entries))
    for text in texts:
        x, y = read_units(write(text))
        assert x.units.tolist() == [5, 7] and y.durations.tolist() == [2, 1] and y.f0 == [0, 90.5, 91]
    with pytest.raises(UserError, match="--deduplicated"):
        list(read_units(write('[{"id": "x", "units": [5]}]')))
    with pytest.raises(UserError, match="'val'.* of 2"):
        list(read_units(corpus, "val"))
    corpus.write_text(corpus.read_text().rstrip().rstrip("]"))
    with pytest.raises(UserError, match="cut short"):
        list(read_units(corpus))


def test_deduplicated_units_have_no_durations(write: Callable[[str], Path], corpus: Path) -> None:
    (request,) = read_deduplicated(write("a\t5 7 7 5\n"))
    assert request.units.tolist() == [5, 7, 5] and request.durations is None
    a, b = read_deduplicated(corpus)
    assert a == Request("a", a.units) and a.units.tolist() == [5, 7, 5]
    assert [request.id for request in read_deduplicated(corpus, "test")] == ["a"]
    (request,) = read_deduplicated(write('{"id": "x", "units": [1, 2]}\n'))
    assert request.units.tolist() == [1, 2]


def test_tokens_as_ids_as_strings_and_as_json_are_the_same_units(
    write: Callable[[str], Path], bpe: Path, tmp_path: Path
) -> None:
    example = np.load(tmp_path / "example.npz")
    tokens, strings = example["tokens"].tolist(), json.loads((tmp_path / "strings.json").read_text())
    texts = [
        "a\t" + " ".join(map(str, tokens)),
        "a\t1 " + " ".join(map(str, tokens)) + " 2",  # <s> and </s>
        "a\t" + " ".join(strings),
        "a\t<s>" + "".join(strings) + "</s>",
        json.dumps([{"id": "a", "tokens": tokens}]),
        json.dumps([{"id": "a", "tokens": strings}]),
        json.dumps({"id": "a", "tokens": "".join(strings)}),
    ]
    for text in texts:
        (request,) = read_tokens(write(text + "\n"), bpe)
        assert request.durations is None
        np.testing.assert_array_equal(request.units, example["units"])


def test_units_that_meet_at_the_edge_of_two_tokens_are_one(write: Callable[[str], Path], bpe: Path) -> None:
    """Token ids start behind four special tokens, so that 9 stands for unit 5."""
    (request,) = read_tokens(write("a\t9 9 8\n"), bpe)
    assert request.units.tolist() == [5, 4]


def test_bpe_units(bpe: Path, tmp_path: Path) -> None:
    assert bpe_units(bpe) == 10 and bpe_units(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no tab here 1 2\n", "line 1: expected 'id<TAB>12 45"),
        ("\t1 2\n", "line 1: expected 'id<TAB>12 45"),
        ("a\t1 x 2\n", "a: expected unit ids.*--tokens"),
        ("a\t1 -2\n", "expected unit ids of 0 or more, found -2"),
        ("# nothing\n", "expected utterances, found none"),
        ("[{]", "expected a JSON array or one object a line"),
        ('[{"id": "a"}]', "utterance 1: expected an object with 'id' and 'units'"),
        ('[{"id": 3, "units": [1]}]', "utterance 1: expected an object"),
    ],
)
def test_mistakes_name_file_and_place(write: Callable[[str], Path], text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(UserError, match=message) as caught:
        list(read_deduplicated(path))
    assert str(path) in str(caught.value)


def test_a_split_that_is_not_there(write: Callable[[str], Path], corpus: Path) -> None:
    with pytest.raises(UserError, match="split 'val', found none of 2"):
        list(read_deduplicated(corpus, "val"))
    with pytest.raises(UserError, match="expected a 'split' to choose by"):
        list(read_deduplicated(write("a\t1 2\n"), "test"))
    with pytest.raises(UserError, match="split"):
        list(read_units(write("a\t1 2\n"), "test"))
    with pytest.raises(UserError, match="check the path"):
        list(read_units(Path("absent.txt")))


def test_durations_must_fit(tmp_path: Path) -> None:
    for durations in ([1], [1, 0]):
        write_corpus(tmp_path / "c.json", [ENTRY | {"id": "a", "units": [1, 2], "durations": durations}])
        with pytest.raises(UserError, match="--deduplicated"):
            list(read_units(tmp_path / "c.json"))


def test_the_example_of_the_manual_is_read_in_all_three_ways(write: Callable[[str], Path], tmp_path: Path) -> None:
    manual = (REPOSITORY / "docs" / "phase3.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```\n(greeting\t.*?)^```$", manual, re.MULTILINE | re.DOTALL)
    path, folder = write(example), tmp_path / "many"
    folder.mkdir()
    save_tokenizer(folder, train_tokenizer([np.arange(60)], n_units=60, vocab_size=70))
    for read in (read_units, read_deduplicated, lambda path: read_tokens(path, folder)):
        assert [request.id for request in read(path)] == ["greeting", "farewell"]
        assert all(len(request.units) for request in read(path))


@pytest.mark.parametrize("tokens", ["5 0 1 2 6", "5 3"])
def test_special_tokens_are_silent_but_the_one_for_unknown_units(
    write: Callable[[str], Path], bpe: Path, tokens: str
) -> None:
    path = write(f"a\t{tokens}\n")
    if tokens == "5 3":
        with pytest.raises(UserError, match="token 3: <unk> stands for a unit that nobody knows; leave it out"):
            list(read_tokens(path, bpe))
        with pytest.raises(UserError, match="token <unk>: stands for a unit that nobody knows"):
            list(read_tokens(write("a\t<s> <unk>\n"), bpe))
    else:
        (request,) = read_tokens(path, bpe)
        (plain,) = read_tokens(write("a\t5 6\n"), bpe)
        np.testing.assert_array_equal(request.units, plain.units)


def test_unknown_tokens_name_the_tokenizer_flag(write: Callable[[str], Path], bpe: Path) -> None:
    for text in ("a\t99999\n", "a\tword\n"):
        with pytest.raises(UserError, match="--bpe"):
            list(read_tokens(write(text), bpe))


def test_ids_are_file_names_and_come_once() -> None:
    for names, message in (
        (["a", "a"], "twice"),
        (["../a"], "file name"),
        ([".."], "file name"),
        ([""], "file name"),
    ):
        with pytest.raises(UserError, match=message):
            list(check_ids((Request(name, UNITS) for name in names), Path("units.txt")))
    assert len(list(check_ids((Request(name, UNITS) for name in ("a", "b.1", "Sateré 2")), Path("units.txt")))) == 3


DAY = 24 * 3600 * 50  # frames


def timed(**changed: object) -> str:
    return json.dumps([{"id": "a", "units": [5, 7], "durations": [2, 1]} | changed])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"durations": [DAY - 1, 1]}, ""),
        ({"durations": [DAY, 1]}, f"a: expected at most 24 hours, found {DAY + 1} frames of 20 ms; repair durations"),
        ({"durations": [3]}, "a: expected a duration of 1 frame or more for each of 2 units, found 1 from 3 on;"),
        ({"durations": [2, 1, 1]}, "for each of 2 units, found 3 from 1 on; --deduplicated"),
        ({"durations": [2, 0]}, "for each of 2 units, found 2 from 0 on; --deduplicated speaks units without"),
        ({"durations": []}, "for each of 2 units, found none; --deduplicated"),
        ({"residual_units": [[1, 2, 3], [4, 5, 6]]}, ""),
        ({"residual_units": [[1, 2, 3], [4, 5]]}, "a: expected residual_units of 3 frames each; repair them"),
        ({"residual_units": [[1, 2, 3, 4]]}, "a: expected residual_units of 3 frames each; repair them"),
        ({"residual_units": [[1, 2, "x"]]}, "a: expected unit ids, found invalid literal"),
        ({"residual_units": []}, ""),
        ({"units": [5.0, 7]}, ""),
        ({"units": [5.5, 7]}, "a: expected unit ids, found 5.5, which is no whole number; --tokens reads BPE tokens"),
        ({"units": [5, None]}, "a: expected unit ids, found"),
        ({"units": [5, 10**30]}, "a: expected unit ids, found"),
        ({"units": [5, -3]}, "a: expected unit ids of 0 or more, found -3"),
        ({"f0": [0, 90, 91.5]}, ""),
        ({"f0": []}, ""),
        ({"f0": [0, 90]}, "a: expected f0 in Hz, 0 or more, for each of 3 frames; leave f0 out"),
        ({"f0": [0, 90, 91, 92]}, "a: expected f0 in Hz"),
        ({"f0": [0, 90, -1]}, "a: expected f0 in Hz"),
        ({"f0": [0, 90, True]}, "a: expected f0 in Hz"),
        ({"f0": [0, 90, float("inf")]}, "a: expected f0 in Hz"),
        ({"f0": [0, 90, float("nan")]}, "a: expected f0 in Hz"),
        ({"f0": "no "}, "a: expected f0 in Hz"),
    ],
    ids=str,
)
def test_what_is_an_utterance_to_speak_and_what_just_is_none(
    write: Callable[[str], Path], changed: dict, said: str
) -> None:
    path = write(timed(**changed))
    if not said:
        (request,) = read_units(path)
        assert request.units.tolist() == [5, 7] and request.durations.sum() == sum(changed.get("durations", [3]))
        return
    with pytest.raises(UserError, match=re.escape(said)) as refused:
        list(read_units(path))
    assert str(refused.value).startswith(f"{path}, a: ")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_json_is_known_in_any_encoding_and_behind_blank_lines(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.json"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    for text in ("\n \r\n\t" + timed(), '\n{"id": "a", "units": [5, 7], "durations": [2, 1]}\n\n'):
        path.write_text(mark + text, encoding=encoding)
        (request,) = read_units(path)
        assert request.durations.tolist() == [2, 1]


def test_a_long_wrong_line_is_told_by_its_beginning(write: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match=rf"line 2: expected 'id<TAB>12 45 …', found '{'7 ' * 20}'$"):
        list(read_units(write("a\t1\n" + "7 " * 50 + "\n")))
    with pytest.raises(UserError, match="expected utterances, found none of 0$"):
        list(read_units(write("\n# nothing\n")))


def test_names_are_told_where_they_cannot_be_files() -> None:
    for names, said in (
        (["a/b"], "units.txt: id 'a/b': expected a file name, short and without '/'; rename it"),
        (["a", "b", "a"], "units.txt: id 'a' comes twice and would overwrite itself; rename one"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            list(check_ids((Request(name, UNITS) for name in names), Path("units.txt")))
