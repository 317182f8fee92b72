"""Parts of a sweep: names, settings, features that are kept, scores of disturbed copies."""

from pathlib import Path

import numpy as np

import pytest

from audio.audio_io import load_audio
from core.errors import UserError
from encoders.encode import encode, load_encoder
from synthetic import write_segments
from units.quality import Interval
from units.sweep import (
    FeatureSetting,
    _with_ends,
    cached_features,
    describe_setting,
    encode_rows,
    feature_settings,
    load_sample,
    load_scored,
    name_of,
    unit_error_rate,
)


def test_names_are_readable_and_differ_where_settings_do() -> None:
    name = name_of("a/folder/model", None, False, 0)
    assert name.startswith("model_-_False_0_") and len(name) == len("model_-_False_0_") + 8
    others = {name_of("b/folder/model", None, False, 0), name_of("a/folder/model", 0, False, 0), name}
    assert len(others) == 3 and name == name_of("a/folder/model", None, False, 0)


def test_settings_are_every_combination_that_there_is() -> None:
    found = feature_settings(["mfcc", "logmel", "x"], [3, 5], [False, True], [0, 2], {"mfcc": 0, "logmel": 0, "x": 9})
    assert [tuple(one) for one in found] == [
        ("mfcc", None, False, 0),
        ("mfcc", None, False, 2),
        ("mfcc", None, True, 0),
        ("mfcc", None, True, 2),
        ("logmel", None, False, 0),
        ("x", 3, False, 0),
        ("x", 5, False, 0),
    ]


def test_a_setting_is_described_as_phase_1_does() -> None:
    assert describe_setting(FeatureSetting("mfcc", None, True, 2)) == {
        "encoder": "mfcc",
        "layer": None,
        "options": {"window_seconds": 30.0, "overlap_seconds": 2.0, "subtract_mean": True, "context": 2},
    }


def test_features_are_made_once_and_come_back_utterance_by_utterance(tmp_path: Path) -> None:
    features = [np.full((size, 2), size, np.float32) for size in (3, 1, 2)]
    path = tmp_path / "deep" / "plain.npz"
    for make in (lambda: iter(features), lambda: pytest.fail("made again")):
        found = cached_features(path, make)
        assert [one.tolist() for one in found] == [one.tolist() for one in features]
    assert [one.name for one in path.parent.iterdir()] == ["plain.npz"]


@pytest.fixture
def spoken(tmp_path: Path) -> tuple[list[dict], Path]:
    rows = write_segments(tmp_path / "data", n_train=3, n_val=0, n_test=0)
    return [row | {"speaker": name} for row, name in zip(rows, ("ana", None, "ana"))], tmp_path / "data"


def test_rows_are_encoded_in_their_order_whatever_the_batch(spoken: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    (rows, root), encoder = spoken, load_encoder("mfcc", None)
    expected = [encode(encoder, [load_audio(root / row["audio"])])[0] for row in rows]
    for size in (16, 2, 1):
        monkeypatch.setattr("units.sweep.BATCH_SEGMENTS", size)
        found = list(encode_rows(encoder, rows, root))
        assert [row["id"] for row, _ in found] == [row["id"] for row in rows]
        for (_, features), same in zip(found, expected):
            np.testing.assert_allclose(features, same, atol=1e-5)
    with pytest.raises(UserError, match="none.wav"):
        list(encode_rows(encoder, [rows[0] | {"audio": "none.wav"}], root))


def test_a_sample_has_its_speakers_and_some_are_scored_disturbed_too(spoken: tuple, tmp_path: Path) -> None:
    (rows, root), encoder = spoken, load_encoder("mfcc", None)
    sample = load_sample(encoder, tmp_path / "sample.npz", rows, root, seed=0)
    scored = load_scored(encoder, tmp_path / "scored", rows, root, n_disturbed=2)
    lengths = [len(features) for features in scored.features]
    assert sample.spans == [*zip(("spanish/ana", None, "spanish/ana"), lengths)]
    np.testing.assert_array_equal(sample.features, np.concatenate(scored.features))
    assert len(scored.disturbed) > 1
    for found in scored.disturbed.values():
        assert len(found) == 2 and all(0 <= n - len(one) <= 1 for one, n in zip(found, lengths)), "shifted by 10 ms"
        assert np.abs(found[0] - scored.features[0][: len(found[0])]).max() > 0.1
    assert load_scored(encoder, tmp_path / "scored", rows, root, n_disturbed=0).disturbed == {}


def test_an_interval_is_written_with_its_ends_where_it_has_some() -> None:
    assert _with_ends("pnmi", Interval(0.5, None, None)) == {"pnmi": 0.5}
    assert _with_ends("pnmi", Interval(0.5, 0.4, 0.7)) == {"pnmi": 0.5, "pnmi_low": 0.4, "pnmi_high": 0.7}


def test_nothing_said_has_no_unit_errors_and_what_is_heard_too_much_counts() -> None:
    nothing = np.zeros(0, np.int64)
    assert unit_error_rate([nothing], [nothing]) == 0 and unit_error_rate([], []) == 0
    assert unit_error_rate([np.array([1, 1])], [np.array([2, 3, 4])]) == 3
