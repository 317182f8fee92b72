"""What holds for any input (hypothesis): what is written is read back, and metrics keep their bounds and symmetries."""

import math
import os
import tarfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annotations.read_annotations import read_annotations
from annotations.spans import Span
from annotations.write_annotations import write_annotations
from audio.audio_io import load_audio, save_audio
from audio.track_store import N_BUCKETS, add_tracks, count_stored_frames, read_track
from core.frames import HOP_SAMPLES, frames_to_samples, samples_to_frames
from core.packed_files import name_key, read_packed
from core.safe_names import is_folder_name, suggest_folder_name
from core.shuffling import shuffled_place
from core.tables import read_table, write_table
from core.text_normalisation import normalise_text
from evaluation.bootstrap import bootstrap_ratio, paired_difference
from evaluation.mcd import mcd_dtw_of_cepstra, mcd_of_cepstra
from evaluation.mel_distance import compute_mel_distance
from evaluation.pitch_scores import compute_pitch_scores
from evaluation.word_errors import count_errors, summarise_errors
from segmentation.manifest import share_evenly
from units.bpe import decode_tokens, encode_units, text_to_units, train_tokenizer, units_to_text
from units.corpus import deduplicate, expand, frame_units, read_corpus, write_corpus
from units.phone_scores import cluster_purity, phone_errors, phone_purity, pnmi
from units.unit_table import map_units, open_names, open_table, read_column, read_name

# No deadlines: a busy machine is no fault of the code. The same examples at each run; HYPOTHESIS_EXAMPLES tries more.
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "15"))
CHECKS = list(HealthCheck)
settings.register_profile(
    "few", max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=CHECKS, database=None
)
settings.load_profile("few")

UNITS = hnp.arrays(np.int64, st.integers(0, 60), elements=st.integers(0, 6))
ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
WORDS = st.text(st.characters(codec="utf-8", categories=["L", "M", "N", "P", "Zs"]), max_size=30)
SOUND = hnp.arrays(np.float32, st.integers(1, 4), elements=st.floats(-1, 1, width=32)).map(
    lambda seeds: np.random.default_rng(abs(hash(seeds.tobytes())) % 2**32).normal(0, 0.1, 4800).astype(np.float32)
)
TRACK = hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(0, 500, width=32))


# Round trips.


@given(UNITS)
@example(np.zeros(0, np.int64))
def test_runs_are_expanded_to_what_they_were(units: np.ndarray) -> None:
    runs, durations = deduplicate(units)
    np.testing.assert_array_equal(expand(runs, durations), units)
    assert (durations > 0).all() and (np.diff(runs) != 0).all() and durations.sum() == len(units)


@given(st.integers(0, 10**7))
def test_frames_are_whole_and_none_is_lost(n_samples: int) -> None:
    n_frames = samples_to_frames(n_samples)
    assert 0 <= n_samples - frames_to_samples(n_frames) < HOP_SAMPLES
    assert samples_to_frames(frames_to_samples(n_frames)) == n_frames


@given(st.lists(st.integers(0, 5000), max_size=50))
def test_units_as_text_are_units(units: list[int]) -> None:
    assert text_to_units(units_to_text(units)).tolist() == units


@pytest.fixture(scope="module")
def tokenizer() -> object:
    random = np.random.default_rng(0)
    return train_tokenizer([deduplicate(random.integers(0, 7, 80))[0] for _ in range(20)], n_units=7, vocab_size=30)


@given(units=UNITS)
def test_tokens_say_the_units_they_stand_for(tokenizer: object, units: np.ndarray) -> None:
    runs, _ = deduplicate(units)
    assert decode_tokens(tokenizer, encode_units(tokenizer, runs)).tolist() == runs.tolist()


UTTERANCES = st.lists(st.tuples(UNITS, ANY_TEXT, st.sampled_from(["train", "val", "test"])), min_size=1, max_size=6)


@given(found=UTTERANCES)
def test_a_corpus_and_its_table_are_read_back(tmp_path_factory: pytest.TempPathFactory, found: Sequence) -> None:
    folder, rows = tmp_path_factory.mktemp("corpus"), []
    for number, (units, speaker, split) in enumerate(found):
        runs, durations = deduplicate(units)
        row = {"id": f"{number}é", "audio": f"x/{number} a.wav", "duration": len(units) / 50, "split": split}
        row |= {"unit_rate": 50, "units": runs.tolist(), "durations": durations.tolist(), "speaker": speaker}
        rows.append(row)
    corpus = folder / "corpus_timestamped.json"
    write_corpus(corpus, rows)
    assert list(read_corpus(corpus)) == rows
    table = open_table(corpus, folder / "cache")
    columns = {name: read_column(table, name) for name in ("first_frame", "n_frames", "place", "n_bytes", "speaker")}
    for number, row in enumerate(rows):
        first, n_frames, place, n_bytes, speaker = (int(column[number]) for column in columns.values())
        np.testing.assert_array_equal(map_units(table)[first : first + n_frames], frame_units(row))
        assert read_name(open_names(table), place, n_bytes) == (row["id"], row["audio"])
        assert table.speakers[speaker] == row["speaker"]


@given(tracks=st.lists(TRACK, min_size=1, max_size=8))
def test_f0_is_read_back_from_its_bucket(tmp_path_factory: pytest.TempPathFactory, tracks: list[np.ndarray]) -> None:
    store = tmp_path_factory.mktemp("f0")
    for number, track in enumerate(tracks):
        add_tracks(store, name_key(str(number)) % N_BUCKETS, [(str(number), 44, 1, track)])
    for number, track in enumerate(tracks):
        np.testing.assert_array_equal(read_track(store, str(number)), track)
    keys = np.array([name_key(str(number)) for number in range(len(tracks) + 1)], np.uint64)
    assert count_stored_frames(store, keys).tolist() == [*map(len, tracks), -1]


@given(contents=st.dictionaries(ANY_TEXT.map(lambda name: name.replace("/", "_")), st.binary(max_size=200), max_size=6))
def test_files_in_a_tar_are_read_back(tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("tar")
    names = [f"{number}{name}" for number, name in enumerate(contents)]
    (folder / "source").write_bytes(b"")
    with tarfile.open(folder / "a.tar", "w") as out:
        for name, content in zip(names, contents.values()):
            (folder / "source").write_bytes(content)
            out.add(folder / "source", name)
    for name, content in zip(names, contents.values()):
        assert read_packed(folder / "a.tar" / name) == content


@given(samples=hnp.arrays(np.int16, st.integers(1, 400)))
def test_sound_is_written_sample_for_sample(tmp_path_factory: pytest.TempPathFactory, samples: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    save_audio(path, samples.astype(np.float32) / 32768)
    np.testing.assert_array_equal(np.round(load_audio(path) * 32768).astype(np.int16), samples)


CELL = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=12).map(str.strip)


@given(rows=st.lists(st.tuples(CELL.filter(bool), CELL), min_size=1, max_size=5))
def test_a_table_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("table") / "a.tsv"
    write_table(path, ["source", "text"], rows)
    found = [(row["source"], row["text"]) for _, row in read_table(path, ["source", "text"])]
    assert found == [tuple(unicodedata.normalize("NFC", cell) for cell in row) for row in rows]


@pytest.mark.parametrize("form", ["eaf", "textgrid", "csv"])
@given(
    texts=st.lists(CELL.filter(lambda text: text.strip() and text.isprintable()), min_size=1, max_size=4),
    gaps=st.lists(st.integers(1, 900), min_size=8, max_size=8),
)
def test_annotations_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, form: str, texts: list[str], gaps: list[int]
) -> None:
    edges = np.cumsum(gaps) / 1000
    spans = [Span("words", float(edges[2 * k]), float(edges[2 * k + 1]), text) for k, text in enumerate(texts)]
    path = tmp_path_factory.mktemp("annotations") / {"textgrid": "a.TextGrid"}.get(form, f"a.{form}")
    write_annotations(path, spans, form=form, media=Path("a.wav"), seconds=20.0)
    found = read_annotations(path)
    assert [span.text for span in found] == [" ".join(span.text.split()) for span in spans]
    np.testing.assert_allclose([(span.start, span.end) for span in found], [span[1:3] for span in spans], atol=1e-3)


# Bounds and symmetries.


@given(st.integers(1, 3000), st.integers(-(2**70), 2**70), st.data())
def test_no_two_items_share_a_place(n_items: int, key: int, data: st.DataObject) -> None:
    items = data.draw(st.lists(st.integers(0, n_items - 1), unique=True, max_size=20))
    places = [shuffled_place(item, n_items, key) for item in items]
    assert len(set(places)) == len(items) and all(0 <= place < n_items for place in places)


@given(st.dictionaries(ANY_TEXT, st.integers(0, 10**6), min_size=1, max_size=8), st.integers(1, 10**6))
def test_shares_are_even_and_take_what_is_wanted(frames: dict[str, int], wanted: int) -> None:
    shares = share_evenly(frames, wanted)
    taken = {name: shares[name] * n_frames for name, n_frames in frames.items()}
    assert all(0 <= share <= 1 for share in shares.values())
    assert math.isclose(sum(taken.values()), min(wanted, sum(frames.values())), rel_tol=1e-6, abs_tol=1)
    most = max(taken.values())
    assert all(math.isclose(taken[name], min(frames[name], most), rel_tol=1e-6, abs_tol=1) for name in frames)


@given(WORDS)
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = normalise_text(text)
    assert normalise_text(once) == once and once == " ".join(once.split())


@given(st.text(max_size=80))
def test_a_suggested_folder_name_is_one(text: str) -> None:
    suggested = suggest_folder_name(text)
    assert suggested is None or is_folder_name(suggested)


@given(WORDS, WORDS)
def test_word_errors_are_a_distance(first: str, second: str) -> None:
    forth, back, same = (
        count_errors([("a", one, other)])[0] for one, other in ((first, second), (second, first), (first, first))
    )
    assert forth[4] == back[4], "characters"
    assert forth[:3].sum() == back[:3].sum() and (forth[1], forth[2]) == (back[2], back[1])
    assert same[:3].sum() == 0 == same[4]
    assert max(forth[3], back[3]) >= forth[:3].sum() >= abs(forth[3] - back[3])
    if forth[3]:
        assert summarise_errors(forth[None], n_resamples=10).wer == forth[:3].sum() / forth[3]


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.just(23)), elements=st.floats(-3, 3)), st.floats(-1, 1))
def test_mcd_is_symmetric_and_zero_for_the_same(cepstra: np.ndarray, shift: float) -> None:
    padded = np.concatenate([np.zeros((len(cepstra), 1)), cepstra], axis=1)
    moved = padded + shift
    for distance in (mcd_of_cepstra, mcd_dtw_of_cepstra):
        assert distance(padded, padded) == 0 and distance(padded, moved) >= 0
        assert math.isclose(distance(padded, moved), distance(moved, padded), rel_tol=1e-9, abs_tol=1e-9)


@given(SOUND, st.floats(0.1, 1.0))
def test_log_mel_distance_is_zero_for_the_same_and_symmetric(sound: np.ndarray, gain: float) -> None:
    quieter = (sound * np.float32(gain)).astype(np.float32)
    assert compute_mel_distance(sound, sound) == 0
    there, back = compute_mel_distance(sound, quieter), compute_mel_distance(quieter, sound)
    assert math.isclose(there, back, rel_tol=1e-5) and there <= abs(math.log(gain)) + 1e-3


@given(TRACK.filter(len), st.floats(0.5, 2.0))
def test_pitch_scores_keep_their_bounds(f0: np.ndarray, factor: float) -> None:
    scores = compute_pitch_scores(f0, (f0 * np.float32(factor)).astype(np.float32))
    percentages = [value for name, value in scores.items() if name.endswith("percent") and not math.isnan(value)]
    assert all(0 <= value <= 100 for value in percentages)
    same = compute_pitch_scores(f0, f0)
    assert all(value == 0 or math.isnan(value) for value in same.values())


@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 50)))
def test_phone_scores_lie_between_nothing_and_all(table: np.ndarray) -> None:
    for score in (pnmi, phone_purity, cluster_purity):
        value = float(np.asarray(score(table[None])).ravel()[0])
        assert math.isnan(value) or -1e-9 <= value <= 1 + 1e-9
    permuted = table[np.random.default_rng(0).permutation(len(table))]
    first, second = (float(np.asarray(pnmi(one[None])).ravel()[0]) for one in (table, permuted))
    assert (math.isnan(first) and math.isnan(second)) or math.isclose(first, second, abs_tol=1e-9)


@given(UNITS, UNITS)
def test_phone_errors_are_at_least_the_difference_in_length(first: np.ndarray, second: np.ndarray) -> None:
    errors, length = phone_errors(deduplicate(first)[0], deduplicate(second)[0])
    assert length == len(deduplicate(second)[0])
    assert abs(len(deduplicate(first)[0]) - length) <= errors <= max(len(deduplicate(first)[0]), length)


VALUES = st.lists(st.floats(0, 100), min_size=2, max_size=30)


@given(VALUES, st.floats(0.5, 3))
def test_an_interval_holds_its_mean_and_scales_with_it(values: list[float], factor: float) -> None:
    ones = np.ones(len(values))
    interval = bootstrap_ratio(values, ones, n_resamples=200)
    assert interval.low - 1e-9 <= interval.mean <= interval.high + 1e-9 and interval.n == len(values)
    assert min(values) - 1e-9 <= interval.low and interval.high <= max(values) + 1e-9
    scaled = bootstrap_ratio(np.array(values) * factor, ones, n_resamples=200)
    assert math.isclose(scaled.mean, interval.mean * factor, rel_tol=1e-9, abs_tol=1e-9)


@given(VALUES)
def test_a_paired_difference_changes_its_sign(values: list[float]) -> None:
    others = values[::-1]
    there, back = (paired_difference(*pair, n_resamples=200) for pair in ((values, others), (others, values)))
    assert math.isclose(there.mean, -back.mean, abs_tol=1e-9) and math.isclose(there.low, -back.high, abs_tol=1e-6)
    assert paired_difference(values, values, n_resamples=50)[:3] == (0, 0, 0)
