"""k-means: the sample, the fit, the assignment, the files; and the manifest's shards that feed it."""

import json
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np

import joblib
import pytest
from sklearn.cluster import AffinityPropagation, KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from core.arrays import write_array
from core.errors import UserError
from core.hashing import hash_fraction
from segmentation.manifest import (
    check_manifest,
    count_frames,
    cut_chunks,
    cut_shards,
    plan_sample,
    read_manifest,
    sample_rows,
    share_evenly,
)
from units.kmeans import (
    UnitClusters,
    assign,
    fit_kmeans,
    load_kmeans,
    quantize_to_units,
    read_description,
    refit_on_paths,
    sample_frames,
    save_kmeans,
    save_safetensors,
    unit_counts,
)
from units.quality import entropy_bits
from units.shards import gather_features


def blobs(n: int = 600, *, n_centres: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Well-separated clusters of very unequal feature scales: (n, 3) float32 and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_centres
    centres = np.stack([np.cos(np.arange(n_centres)), np.sin(np.arange(n_centres)), np.arange(n_centres) / 3], axis=1)
    features = centres[labels] + 0.02 * rng.standard_normal((n, 3))
    return (features * [1.0, 100.0, 0.01] + [5.0, -3.0, 1.0]).astype(np.float32), labels


def assert_equal_clusters(first: UnitClusters, second: UnitClusters) -> None:
    np.testing.assert_array_equal(first.books, second.books)
    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(first.scale, second.scale)


def test_fit_finds_clusters_of_unequal_scale() -> None:
    features, labels = blobs()
    units = quantize_to_units(features, fit_kmeans(features, 6))[:, 0]
    assert len(set(zip(units.tolist(), labels.tolist()))) == 6


def test_fit_is_reproducible_and_follows_the_seed() -> None:
    features, _ = blobs(2000)
    first, second, other = (fit_kmeans(features.copy(), 40, seed=seed, n_streams=2) for seed in (1, 1, 2))
    assert {values.dtype for values in (*first.books, first.mean, first.scale)} == {np.dtype(np.float32)}
    assert_equal_clusters(first, second)
    assert not np.array_equal(first.books, other.books)


def test_fit_leaves_its_input_alone() -> None:
    features, _ = blobs()
    before = features.copy()
    fit_kmeans(features, 5, n_streams=2)
    np.testing.assert_array_equal(features, before)


def test_streams_quantise_what_is_left_over() -> None:
    features = np.random.default_rng(0).standard_normal((3000, 4)).astype(np.float32)
    kmeans = fit_kmeans(features, 20, n_streams=3)
    assert np.stack(kmeans.books).shape == (3, 20, 4)
    assert unit_counts(kmeans) == (20, 3)
    units = quantize_to_units(features, kmeans)
    assert units.shape == (3000, 3)
    assert units.dtype == np.int64
    errors, left = [], (features - kmeans.mean) / kmeans.scale
    for stream, book in enumerate(kmeans.books):
        # Independent assignment: every distance computed in full.
        np.testing.assert_array_equal(
            units[:, stream], np.square(left[:, None] - book[None]).sum(axis=2).argmin(axis=1)
        )
        left = left - book[units[:, stream]]
        errors.append(float(np.square(left).mean()))
    assert errors[2] < 0.6 * errors[1] < 0.36 * errors[0]


def test_unnormalised_features_keep_their_scale() -> None:
    features, _ = blobs()
    kmeans = fit_kmeans(features, 4, normalize="off")
    assert not kmeans.mean.any()
    assert (kmeans.scale == 1).all()
    assert np.abs(kmeans.books[0]).max() > 50


def test_normalisation_divides_by_a_power_of_the_deviation() -> None:
    features, _ = blobs()
    for normalize, power in (("unit", 1.0), ("root", 0.5)):
        kmeans = fit_kmeans(features, 4, normalize=normalize)
        np.testing.assert_allclose(kmeans.scale, features.std(axis=0, dtype=np.float64) ** power, rtol=1e-4)
        np.testing.assert_allclose(kmeans.mean, features.mean(axis=0, dtype=np.float64), rtol=1e-4)


def test_a_constant_feature_does_no_harm() -> None:
    features = np.concatenate([blobs()[0], np.full((600, 1), 7, np.float32)], axis=1)
    assert np.isfinite(fit_kmeans(features, 4).books[0]).all()


def test_too_few_frames_and_bad_features_are_refused() -> None:
    features, _ = blobs(30)
    with pytest.raises(UserError, match="at least 31 training frames for 31 units, found 30"):
        fit_kmeans(features, 31)
    features[3, 1] = np.nan
    with pytest.raises(UserError, match="NaN"):
        fit_kmeans(features, 4)
    with pytest.raises(UserError, match="3 features a frame, found 5"):
        quantize_to_units(np.zeros((2, 5), np.float32), fit_kmeans(blobs()[0], 4))


def test_assignment_does_not_depend_on_the_block() -> None:
    features = np.random.default_rng(1).standard_normal((9001, 8)).astype(np.float32)
    centroids = features[:50]
    whole = assign(features, centroids)
    np.testing.assert_array_equal(
        whole, np.concatenate([assign(features[:17], centroids), assign(features[17:], centroids)])
    )
    assert assign(features[:0], centroids).shape == (0,)


def test_files_round_trip(tmp_path: Path) -> None:
    kmeans = fit_kmeans(blobs()[0], 7, n_streams=2)
    save_kmeans(tmp_path, kmeans, {"encoder": "mfcc", "layer": None})
    loaded = load_kmeans(tmp_path / "kmeans.npz")
    assert_equal_clusters(loaded, kmeans)
    assert read_description(loaded) == {"encoder": "mfcc", "layer": None}
    first = (tmp_path / "kmeans.npz").read_bytes()
    save_kmeans(tmp_path, kmeans, {"layer": None, "encoder": "mfcc"})
    assert (tmp_path / "kmeans.npz").read_bytes() == first
    with np.load(tmp_path / "kmeans.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)


@pytest.mark.parametrize("normalize", ["unit", "root", "off"])
def test_pickle_is_a_scikit_learn_estimator_for_raw_features(normalize: str, tmp_path: Path) -> None:
    features, _ = blobs()
    kmeans = fit_kmeans(features, 6, normalize=normalize)
    save_kmeans(tmp_path, kmeans, {})
    estimator = pickle.loads((tmp_path / "kmeans.pkl").read_bytes())
    np.testing.assert_array_equal(estimator.predict(features), quantize_to_units(features, kmeans)[:, 0])
    if normalize == "off":
        np.testing.assert_array_equal(estimator.cluster_centers_, kmeans.books[0])


@pytest.mark.parametrize(("normalize", "n_streams"), [("unit", 1), ("off", 1), ("off", 2)])
def test_pickle_is_read_on_trust_only(normalize: str, n_streams: int, tmp_path: Path) -> None:
    kmeans = fit_kmeans(blobs()[0], 6, normalize=normalize, n_streams=n_streams)
    save_kmeans(tmp_path, kmeans, {})
    with pytest.raises(UserError, match="--trust_pickle"):
        load_kmeans(tmp_path / "kmeans.pkl")
    trusted = load_kmeans(tmp_path / "kmeans.pkl", trust_pickle=True)
    assert_equal_clusters(trusted, kmeans)


@pytest.mark.parametrize(
    "steps",
    [
        [StandardScaler()],
        [StandardScaler(with_mean=False)],
        [StandardScaler(with_std=False), "passthrough"],
        [PCA(2)],
        [StandardScaler(), PCA(3, whiten=True)],
        [StandardScaler(), PCA(2), StandardScaler(), PCA(2, whiten=True)],
    ],
)
@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
def test_a_pipeline_gives_the_units_that_it_gives_itself(steps: list, kind: type, tmp_path: Path) -> None:
    features, _ = blobs()
    pipeline = make_pipeline(*steps, kind(6, n_init=1, random_state=0)).fit(features)
    joblib.dump(pipeline, tmp_path / "given.pkl")
    clusters = load_kmeans(tmp_path / "given.pkl", trust_pickle=True)
    expected = pipeline.predict(features)
    np.testing.assert_array_equal(quantize_to_units(features, clusters)[:, 0], expected)
    save_kmeans(tmp_path, clusters, {"encoder": "mfcc"})
    for again in (load_kmeans(tmp_path / "kmeans.npz"), load_kmeans(tmp_path / "kmeans.pkl", trust_pickle=True)):
        np.testing.assert_array_equal(quantize_to_units(features, again)[:, 0], expected)
    save_safetensors(tmp_path / "units.safetensors", clusters)
    voice = load_kmeans(tmp_path / "units.safetensors")
    np.testing.assert_array_equal(quantize_to_units(features, voice)[:, 0], expected)


def test_other_estimators_and_damaged_pickles_are_one_line(tmp_path: Path) -> None:
    features, path = blobs()[0], tmp_path / "given.pkl"
    for estimator, expected in (
        (make_pipeline(Normalizer(), KMeans(4, n_init=1)).fit(features), "found Normalizer"),
        (make_pipeline(StandardScaler(), GaussianMixture(2)).fit(features), "GaussianMixture"),
        (AffinityPropagation().fit(features[:20]), "AffinityPropagation"),
        (KMeans(4), "KMeans"),
        ({"centroids": 1}, "dict"),
        ([], "found"),
    ):
        joblib.dump(estimator, path)
        with pytest.raises(UserError, match=expected) as caught:
            load_kmeans(path, trust_pickle=True)
        assert "\n" not in str(caught.value)
    joblib.dump(make_pipeline(StandardScaler(), KMeans(4, n_init=1)).fit(features), path)
    content = path.read_bytes()
    for damaged in (b"", b"no pickle", content[: len(content) // 2], content[:-40], b"\x80\x04cnowhere\nThing\n."):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"given\.pkl: expected a scikit-learn k-means") as caught:
            load_kmeans(path, trust_pickle=True)
        assert "\n" not in str(caught.value)


class Harmful:
    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (os.mkdir, (self.mark,))


def test_arrays_with_pickles_inside_run_no_code(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    harmful = np.array([Harmful(str(mark))], dtype=object)
    np.savez(tmp_path / "kmeans.npz", centroids=harmful, mean=harmful, scale=harmful)
    with pytest.raises(UserError, match="expected the arrays of a k-means"):
        load_kmeans(tmp_path / "kmeans.npz")
    assert not mark.exists()


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="found no file"):
        load_kmeans(tmp_path / "kmeans.npz")
    np.savez(tmp_path / "other.npz", centroids=np.zeros((2, 2)))
    with pytest.raises(UserError, match="missing mean, scale"):
        load_kmeans(tmp_path / "other.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:60])
    with pytest.raises(UserError, match=r"cut\.npz"):
        load_kmeans(tmp_path / "cut.npz")


def test_hash_fraction_is_even_and_fixed() -> None:
    values = np.array([hash_fraction(0, str(index)) for index in range(4000)])
    assert 0 <= values.min() < 0.01
    assert 0.99 < values.max() < 1
    assert abs(values.mean() - 0.5) < 0.02
    assert hash_fraction(3, "a", "b") == hash_fraction(3, "a", "b") != hash_fraction(4, "a", "b")


def test_sampled_frames_are_a_fixed_share() -> None:
    features = np.arange(2000, dtype=np.float32)[:, None]
    counts = [len(sample_frames(features[:10], 0.25, 0, str(index))) for index in range(400)]
    assert set(counts) == {2, 3}
    assert abs(np.mean(counts) - 2.5) < 0.1
    picked = sample_frames(features, 0.1, 0, "x")[:, 0]
    assert len(picked) in (200, 201)
    assert (np.diff(picked) > 0).all()
    np.testing.assert_array_equal(picked, sample_frames(features, 0.1, 0, "x")[:, 0])
    assert not np.array_equal(picked, sample_frames(features, 0.1, 1, "x")[:, 0])
    assert sample_frames(features, 1.7, 0, "x") is features


def manifest_of(path: Path, n: int, *, seconds: float = 4.0) -> Path:
    rows = (
        {"id": f"u{index}", "audio": f"x/{index}.wav", "duration": seconds, "split": "train" if index % 4 else "test"}
        for index in range(n)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_sample_plan_bounds_the_frames_and_never_takes_test(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path / "segments.jsonl", 4000)
    totals = check_manifest(manifest, tmp_path)
    assert totals == {"n_utterances": 4000, "seconds": 16000.0, "train_frames": 600_000}
    plan = plan_sample(manifest, totals["train_frames"], 30_000, seed=0)
    rows = list(sample_rows(manifest, plan))
    assert {row["split"] for row in rows} == {"train"}
    assert len(rows) == plan["n_utterances"]
    sampled = sum(
        len(sample_frames(np.zeros((count_frames(row), 1)), plan["frame_share"], 0, row["id"])) for row in rows
    )
    assert abs(sampled - 30_000) < 200
    # The same choice from a manifest in another order.
    lines = manifest.read_text().splitlines()[::-1]
    manifest.write_text("\n".join(lines) + "\n")
    assert sorted(row["id"] for row in sample_rows(manifest, plan)) == sorted(row["id"] for row in rows)
    everything = plan_sample(manifest, totals["train_frames"], 10**9, seed=0)
    assert everything["n_utterances"] == 3000
    assert everything["frame_share"] > 1
    whole = plan_sample(manifest, totals["train_frames"], 30_000, seed=0, whole_clips=True)
    assert whole["frame_share"] == 1
    assert abs(sum(count_frames(row) for row in sample_rows(manifest, whole)) - 30_000) < 6000


def test_manifest_mistakes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "segments.jsonl"
    with pytest.raises(UserError, match="found none"):
        check_manifest(path, tmp_path)
    good = {"id": "a", "audio": "a.wav", "duration": 2.0, "split": "train"}
    for change, message in (
        ({"split": "dev"}, "found 'dev'"),
        ({"audio": "../../etc/passwd"}, "leaves"),
        ({"audio": "/etc/passwd"}, "leaves"),
        ({"split": "test"}, "split 'train', found none"),
    ):
        path.write_text(json.dumps(good | change) + "\n")
        with pytest.raises(UserError, match=message):
            check_manifest(path, tmp_path)
    path.write_text(json.dumps(good) + "\n" + json.dumps(good) + "\n")
    with pytest.raises(UserError, match="1 repeated"):
        check_manifest(path, tmp_path)
    path.write_text(json.dumps(good) + '\n{"id": "b"\n')
    with pytest.raises(UserError, match="line 2"):
        list(read_manifest(path))
    path.write_text('{"id": "b"}\n')
    with pytest.raises(UserError, match="missing audio, duration, split"):
        list(read_manifest(path))
    path.write_text("")
    with pytest.raises(UserError, match="empty list"):
        check_manifest(path, tmp_path)


def test_shards_and_chunks_hold_every_row_once() -> None:
    rows = [{"id": index, "duration": float(index * 7 % 13 + 1)} for index in range(25)]
    shards = list(cut_shards(iter(rows), 10))
    assert [index for index, _ in shards] == [0, 1, 2]
    assert [row for _, shard in shards for row in shard] == rows
    chunks = list(cut_chunks(rows, 30.0))
    assert sorted(position for chunk in chunks for position, _ in chunk) == list(range(25))
    assert all(sum(row["duration"] for _, row in chunk) <= 30 for chunk in chunks)
    assert all(rows[position] is row for chunk in chunks for position, row in chunk)


def test_features_are_gathered_in_order(tmp_path: Path) -> None:
    parts = [np.full((size, 2), size, np.float32) for size in (3, 0, 5)]
    for index, part in enumerate(parts):
        write_array(tmp_path / f"{index}.npy", part)
    gathered = gather_features([tmp_path / f"{i}.npy" for i in range(3)])
    np.testing.assert_array_equal(gathered, np.concatenate(parts))
    assert isinstance(gathered, np.memmap) and len(list(tmp_path.iterdir())) == 3, "mapped, and no file is left"


def test_a_fit_holds_the_sample_once_beside_the_mapped_one(tmp_path: Path) -> None:
    """Peak memory of numpy's arrays while a fit runs, against the size of the sample."""
    features = np.random.default_rng(0).standard_normal((20_000, 64), np.float32)
    write_array(tmp_path / "0.npy", features)
    fit_kmeans(features[:100], 2)  # what the libraries hold from their first call on
    mapped = gather_features([tmp_path / "0.npy"])
    tracemalloc.start()
    clusters = fit_kmeans(mapped, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * features.nbytes  # 4 before; 2 are the float64 of one pass for the deviations
    np.testing.assert_array_equal(clusters.books[0], fit_kmeans(features, 3).books[0])
    np.testing.assert_array_equal(mapped, features)


def test_entropy_of_known_histograms() -> None:
    assert entropy_bits(np.array([5, 5, 5, 5])) == pytest.approx(2.0)
    assert entropy_bits(np.array([0, 9, 0])) == 0.0
    assert entropy_bits(np.array([1, 3])) == pytest.approx(0.25 * 2 + 0.75 * np.log2(4 / 3))


def two_feature_sets(n: int = 1200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Five kinds in the first two features, three in the loud third and fourth: (n, 4) float32, and both labels."""
    rng = np.random.default_rng(0)
    kinds, tones = rng.integers(0, 5, n), rng.integers(0, 3, n)
    first = np.stack([np.cos(kinds * 1.2566), np.sin(kinds * 1.2566)], axis=1)
    second = 1000.0 * np.stack([tones, tones % 2], axis=1)
    features = np.concatenate([first, second], axis=1) + 0.01 * rng.standard_normal((n, 4))
    return features.astype(np.float32), kinds, tones


def test_every_set_of_features_has_streams_of_its_own() -> None:
    """Centroids are 0 in the other set's columns, with a duration penalty too; each stream is a k-means of its set."""
    features, kinds, tones = two_feature_sets()
    clusters = fit_kmeans(features, 5, n_streams=2, widths=(2, 2), separate=True)
    assert unit_counts(clusters) == (5, 4)
    for fitted in (clusters, refit_on_paths(features, clusters, 0.5)):
        books = np.stack(fitted.books)
        assert not books[:2, :, 2:].any() and not books[2:, :, :2].any() and books[:2, :, :2].any()
    units = quantize_to_units(features, clusters)
    assert len({*zip(units[:, 0].tolist(), kinds.tolist())}) == 5
    assert len({*units[:, 2].tolist()}) == 5 and len({*zip(units[:, 2].tolist(), tones.tolist())}) == 5
    alone = fit_kmeans(features[:, :2], 5, n_streams=2)
    np.testing.assert_array_equal(quantize_to_units(features[:, :2], alone), units[:, :2])


@pytest.mark.parametrize("normalize", ["unit", "root", "off"])
def test_feature_sets_count_the_same_whatever_their_size(normalize: str) -> None:
    features, kinds, tones = two_feature_sets()
    clusters = fit_kmeans(features, 15, normalize=normalize, widths=(2, 2))
    spread = ((features - clusters.mean) / clusters.scale).var(axis=0)
    assert spread[:2].sum() == pytest.approx(spread[2:].sum(), rel=1e-3)
    both = quantize_to_units(features, clusters)[:, 0]
    assert len({*zip(both.tolist(), kinds.tolist(), tones.tolist())}) <= 18


def test_a_sample_can_be_even_over_speakers_and_languages(tmp_path: Path) -> None:
    """One speaker has nine tenths of the speech; a second language has little and is taken whole."""
    manifest, rows = tmp_path / "segments.jsonl", []
    for index in range(2000):
        language, speaker = ("b", "eva") if index % 50 == 0 else ("a", "ana" if index % 10 else "ben")
        name = {"id": f"u{index}", "audio": f"{language}/{index}.wav", "speaker": speaker}
        rows.append(name | {"duration": 4.0, "split": "train"})
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    frames = {"ana": 0, "ben": 0, "eva": 0}
    for row in sample_rows(manifest, plan_sample(manifest, 400_000, 15_000, seed=0, evenly="speaker")):
        frames[row["speaker"]] += count_frames(row)
    assert frames["eva"] == 8000, "all there is"
    assert abs(frames["ana"] / 26_000 - 1) < 0.15 and abs(frames["ben"] / 26_000 - 1) < 0.15
    assert share_evenly({"a": 90, "b": 10}, 40) == {"a": 30 / 90, "b": 1.0}
    assert share_evenly({"a": 5, "b": 10}, 40) == {"a": 1.0, "b": 1.0}
    assert share_evenly({"a": 100, "b": 100}, 40) == {"a": 0.2, "b": 0.2}


def test_every_stream_is_fitted_from_a_seed_of_its_own() -> None:
    features = np.random.default_rng(0).standard_normal((600, 3)).astype(np.float32)
    both = fit_kmeans(features, 8, n_streams=2, normalize="off", seed=3)
    left = features - both.books[0][assign(features, both.books[0])]
    np.testing.assert_array_equal(both.books[1], fit_kmeans(left, 8, normalize="off", seed=4).books[0])
    np.testing.assert_array_equal(both.books[0], fit_kmeans(features, 8, normalize="off", seed=3).books[0])


def test_a_constant_feature_keeps_its_scale_and_as_many_frames_as_units_are_enough() -> None:
    features = np.stack([np.arange(6.0), np.full(6, 7.0), 2e-6 * np.arange(6)], axis=1).astype(np.float32)
    clusters = fit_kmeans(features, 6)
    assert clusters.scale[1] == 1 and clusters.scale[2] == pytest.approx(2e-6 * clusters.scale[0])
    assert len({*quantize_to_units(features, clusters)[:, 0].tolist()}) == 6


def test_a_feature_set_that_never_changes_is_left_as_it_is() -> None:
    features, _ = blobs()
    for sets in (np.hstack([features, np.full((600, 2), 3.0)]), np.hstack([np.full((600, 2), 3.0), features])):
        widths = (3, 2) if sets[0, 0] != 3 else (2, 3)
        scale = fit_kmeans(sets.astype(np.float32), 6, widths=widths).scale
        still = slice(3, 5) if widths == (3, 2) else slice(0, 2)
        assert scale[still].tolist() == [1, 1] and np.isfinite(scale).all()


def write_arrays(path: Path, **changed: object) -> Path:
    """Clusters of three units of two features, with ``changed`` arrays; None leaves one out."""
    arrays = {"centroids": np.zeros((3, 2), np.float32), "mean": np.zeros(2, np.float32), "scale": np.ones(2)}
    np.savez(path, **{name: array for name, array in (arrays | changed).items() if array is not None})
    return path


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mean": None, "centroids": None}, "expected the arrays centroids, mean, scale, missing centroids, mean$"),
        ({"mean": np.array([0, np.nan])}, "expected finite numbers, found others; copy it again, or rerun phase 1"),
        ({"mean": np.array(["a", "b"])}, "expected finite numbers, found others"),
        ({"scale": np.zeros(2)}, r"a scale above 0 \(D,\), found \(3, 2\), \(2,\), \(2,\)$"),
        ({"scale": np.array([1.0, -1.0])}, r"a scale above 0"),
        ({"scale": np.ones(3)}, r"found \(3, 2\), \(2,\), \(3,\)$"),
        ({"mean": np.zeros((1, 2)), "scale": np.ones((1, 2))}, r"found \(3, 2\), \(1, 2\), \(1, 2\)$"),
        ({"centroids": np.zeros((3, 4))}, r"found \(3, 4\), \(2,\), \(2,\)$"),
        ({"centroids": np.zeros((0, 2))}, r"found \(0, 2\), \(2,\), \(2,\)$"),
        ({"centroids": np.zeros(2)}, r"found \(2,\), \(2,\), \(2,\)$"),
        ({"residual_centroids": np.zeros((2, 3, 4))}, r"found \(3, 2\), \(3, 4\), \(3, 4\), \(2,\), \(2,\)$"),
        ({"projection": np.zeros((2, 4))}, r"found \(3, 2\), \(2,\), \(2,\), \(2, 4\)$"),
        ({"description": np.array("{")}, "expected a description in JSON, found .*; copy it again"),
        ({"description": np.array("[1]")}, r"expected an encoder in its description, found \[1\]; copy it again"),
    ],
)
def test_arrays_that_are_no_clusters_are_refused_by_their_shapes(tmp_path: Path, changed: dict, said: str) -> None:
    with pytest.raises(UserError, match=rf"kmeans\.npz: {said if said[0] == 'e' else '.*' + said}"):
        load_kmeans(write_arrays(tmp_path / "kmeans.npz", **changed))


def test_arrays_that_are_clusters_are_read(tmp_path: Path) -> None:
    path = tmp_path / "kmeans.npz"
    assert unit_counts(load_kmeans(write_arrays(path, residual_centroids=np.zeros((2, 3, 2))))) == (3, 3)
    known = load_kmeans(write_arrays(path, centroids=np.zeros((3, 4)), projection=np.zeros((2, 4))))
    assert known.projection.shape == (2, 4) and known.description is None and list(known.switch_costs) == []
    centroids = np.array([[0.0, 0.0], [3.0, 0.0], [6.0, 0.0]])
    described = load_kmeans(write_arrays(path, centroids=centroids, description=np.array('{"duration_penalty": 2}')))
    assert described.switch_costs == [18.0] and read_description(described) == {"duration_penalty": 2}
    path.write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"kmeans\.npz: expected the arrays of a k-means, found: .*; rerun phase 1"):
        load_kmeans(path)
    path.rename(tmp_path / "units.safetensors")
    with pytest.raises(UserError, match=r"expected the arrays of a k-means, found: .*; export the voice again"):
        load_kmeans(tmp_path / "units.safetensors")


def test_a_sample_of_frames_is_rounded_by_chance_of_its_name() -> None:
    """2.5 of ten frames: two or three, as the hash of the name says."""
    features = np.arange(10, dtype=np.float32)[:, None]
    for name in ("a", "b", "c", "d"):
        extra = hash_fraction(7, "round", name)
        assert len(sample_frames(features, 0.25, 7, name)) == int(2.5 + extra)
    assert sample_frames(features, 1.0, 0, "x") is features
    assert len(sample_frames(features, 0.0, 0, "x")) == 0 == len(sample_frames(features[:0], 0.5, 0, "x"))
