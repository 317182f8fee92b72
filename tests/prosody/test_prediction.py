"""The prosody predictor, and predicting with it."""

import numpy as np
import torch

import pytest

from core.errors import UserError
from models.prosody_predictor import (
    DURATION_EDGES,
    ProsodyPredictor,
    class_midpoints,
    duration_classes,
    locate_frames,
)
from prosody import prediction as prosody_module
from prosody.batches import (
    CORPUS,
    collate_prosody,
    count_crops,
    crop_utterance,
    draw_batch,
    duration_statistics,
    pitch_statistics,
)
from prosody.losses import prosody_losses
from prosody.prediction import (
    Prosody,
    add_prosody,
    choose_durations,
    predict_durations,
    predict_f0,
    predict_pitch,
    round_durations,
    warp_f0,
)
from prosody_examples import N_UNITS, NO_HABITS, make_utterances
from units.corpus import expand
from units.requests import Request


def make_prosody(speakers: tuple[str, ...] = (), **sizes: object) -> Prosody:
    torch.manual_seed(0)
    predictor = ProsodyPredictor(N_UNITS, channels=24, n_speakers=len(speakers), **sizes).eval()
    statistics = pitch_statistics(make_utterances())
    return Prosody(predictor, list(speakers), statistics, torch.device("cpu"))


def test_full_size_and_context() -> None:
    predictor = ProsodyPredictor(200)
    assert 1e6 < sum(parameter.numel() for parameter in predictor.parameters()) < 3e6
    assert 2 * predictor.frame_context + 1 > 3.5 * 50, "a phrase should fit into what a frame sees"


def test_shapes_and_padding() -> None:
    crops = [crop_utterance(u, slice(0, 150), pitch_statistics([u]), NO_HABITS[0]) for u in make_utterances()]
    batch = collate_prosody(crops, [])
    logits, voicing, log_f0 = make_prosody().predictor(batch.units, batch.durations)
    n_frames = int(batch.durations.sum(1).max())
    assert logits.shape == (3, 150, len(DURATION_EDGES))
    assert voicing.shape == log_f0.shape == (3, n_frames) == batch.mask.shape
    assert (voicing[batch.mask == 0] == 0).all() and (log_f0[batch.mask == 0] == 0).all()


def test_batch_equals_single() -> None:
    utterances, predictor = make_utterances(), make_prosody(("ana", "rui")).predictor
    items = [crop_utterance(u, slice(0, 150), pitch_statistics(utterances), NO_HABITS[0]) for u in utterances]
    whole = collate_prosody(items, ["ana", "rui"])
    together = predictor(whole.units, whole.durations, whole.speaker_row)
    for row, item in enumerate(items):
        one = collate_prosody([item], ["ana", "rui"])
        alone = predictor(one.units, one.durations, one.speaker_row)
        for batched, single in zip(together, alone):
            torch.testing.assert_close(batched[row, : single.shape[1]], single[0], rtol=1e-4, atol=1e-5)


def test_what_lies_beyond_the_context_changes_nothing() -> None:
    """The declared context is what prediction in windows relies on: exact inside it, and no larger than needed."""
    predictor = make_prosody().predictor
    units = torch.arange(400)[None] % N_UNITS
    changed = units.clone()
    changed[:, 0] += 1
    durations = torch.ones_like(units)
    before, after = (predictor.encode(some, None, predictor.look_up(some)) for some in (units, changed))
    moved = (before != after).any(-1)[0].nonzero().max()
    assert moved == predictor.unit_context
    moved = (predictor(units, durations)[2] != predictor(changed, durations)[2])[0].nonzero().max()
    assert predictor.unit_context < moved <= predictor.unit_context + predictor.frame_context


def test_locate_frames() -> None:
    index, inside = locate_frames(torch.tensor([[2, 1, 3], [1, 1, 0]]))
    assert index[0].tolist() == [0, 0, 1, 2, 2, 2]
    assert index[1, :2].tolist() == [0, 1]
    torch.testing.assert_close(inside[0, :, 0], torch.tensor([1 / 4, 3 / 4, 1 / 2, 1 / 6, 1 / 2, 5 / 6]))
    torch.testing.assert_close(inside[0, :, 2].expm1().round(), torch.tensor([0.0, 1, 0, 0, 1, 2]))


def test_duration_classes_cover_every_duration() -> None:
    durations = torch.arange(1, 1000)
    classes = duration_classes(durations)
    assert classes.min() == 0 and classes.max() == len(DURATION_EDGES) - 1
    edges = torch.tensor(DURATION_EDGES)
    assert (edges[classes] <= durations).all() and (durations[:250] < edges[classes[:250] + 1]).all()
    assert (class_midpoints()[duration_classes(torch.arange(1, 16))] == torch.arange(1, 16)).all()


def test_chosen_durations_have_the_expected_total_and_the_least_error() -> None:
    rng = np.random.default_rng(0)
    class_frames = class_midpoints().double().numpy()
    probabilities = rng.dirichlet(np.r_[2.0, 1.0, 0.3, np.full(len(class_frames) - 3, 0.002)], 2000)
    chosen = choose_durations(probabilities, class_frames)
    total = (probabilities @ class_frames).sum()
    assert chosen.min() == 1 and abs(chosen.sum() - total) <= np.diff(class_frames).max()
    distance = np.abs(np.arange(1, 60)[:, None] - class_frames)  # (D, K)
    error = (probabilities @ distance.T)[np.arange(2000), np.minimum(chosen, 59) - 1].sum()
    diffused = round_durations(probabilities @ class_frames)
    assert error < (probabilities @ distance.T)[np.arange(2000), np.minimum(diffused, 59) - 1].sum()
    assert choose_durations(probabilities[:0], class_frames).shape == (0,)


def test_a_certain_duration_is_chosen() -> None:
    class_frames = class_midpoints().double().numpy()
    durations = torch.tensor([1, 3, 16, 2, 1])
    certain = torch.nn.functional.one_hot(duration_classes(durations), len(class_frames)).numpy()
    assert choose_durations(certain, class_frames).tolist() == [1, 3, 17, 2, 1]


def test_rounded_durations_keep_the_total_and_last_at_least_a_frame() -> None:
    expected = 1 + np.random.default_rng(0).exponential(0.4, 5000)
    rounded = round_durations(expected)
    assert rounded.min() >= 1
    assert abs(rounded.sum() - expected.sum()) <= 0.5
    assert np.abs(np.cumsum(rounded) - np.cumsum(expected)).max() <= 0.5 + 1e-9
    assert len(round_durations(np.zeros(0))) == 0


def test_a_training_learns_durations_voicing_and_pitch() -> None:
    utterances = make_utterances((300, 200, 200), (None, None, None))
    torch.manual_seed(0)
    statistics, crops = pitch_statistics(utterances), count_crops(utterances, 60)
    predictor = ProsodyPredictor(N_UNITS, channels=32, unit_dilations=(1,), frame_dilations=(1,), dropout=0.0)
    predictor.set_durations(*duration_statistics(utterances))
    optimizer = torch.optim.AdamW(predictor.parameters(), lr=5e-3)
    sizes = {"batch_size": 4, "crop_units": 60, "seed": 0}
    for step in range(60):
        batch = draw_batch(utterances, crops, statistics, [], step=step, habits=NO_HABITS, **sizes)
        losses = prosody_losses(predictor(batch.units, batch.durations), batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    prosody = Prosody(predictor.eval(), [], statistics, torch.device("cpu"))
    held_out = make_utterances((33, 150), (None, None))[1]
    assert (predict_durations(prosody, held_out.units) == held_out.durations).mean() > 0.9
    f0 = predict_f0(prosody, held_out.units, held_out.durations)
    assert ((f0 > 0) == (held_out.f0 > 0)).mean() > 0.95
    both = (f0 > 0) & (held_out.f0 > 0)
    error = np.abs(np.log(f0[both] / held_out.f0[both]))
    assert error.mean() < 0.5 * statistics[CORPUS][1], "should beat the corpus mean by far"


def test_windows_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    prosody, units = make_prosody(), np.random.default_rng(0).integers(0, N_UNITS, 700)
    durations = np.random.default_rng(1).integers(1, 4, 700)
    whole = predict_durations(prosody, units), *predict_pitch(prosody, units, durations)
    monkeypatch.setattr(prosody_module, "WINDOW_UNITS", 60)
    parts = predict_durations(prosody, units), *predict_pitch(prosody, units, durations)
    np.testing.assert_array_equal(parts[0], whole[0])
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parts[2], whole[2], rtol=1e-4)


def test_a_speaker_has_a_pitch_of_their_own_and_strangers_the_corpus() -> None:
    prosody, units, durations = make_prosody(), np.arange(40) % N_UNITS, np.full(40, 2)
    tracks = {name: predict_pitch(prosody, units, durations, name)[1] for name in ("ana", "rui", "stranger", None)}
    assert tracks["ana"].mean() > 1.5 * tracks["rui"].mean()
    np.testing.assert_array_equal(tracks["stranger"], tracks[None])


def test_warped_f0_keeps_each_unit_to_itself() -> None:
    f0 = np.array([10, 20, 30, 40, 50, 60], np.float32)
    durations = np.array([2, 1, 3])
    np.testing.assert_array_equal(warp_f0(f0, durations, durations), f0)
    np.testing.assert_array_equal(warp_f0(f0, durations, np.array([4, 2, 1])), [10, 10, 20, 20, 30, 30, 50])


def test_add_prosody_predicts_what_is_missing_and_what_is_asked_for() -> None:
    prosody, units, durations = make_prosody(), np.array([4, 5, 6]), np.array([1, 2, 1])
    f0 = np.array([100, 0, 0, 200], np.float32)
    bare = Request("a", units)
    timed = Request("a", units, durations)
    known = Request("a", units, durations, f0=f0)
    new_durations = predict_durations(prosody, units)
    assert (add_prosody(known, None, ()).f0 == f0).all()
    assert (add_prosody(known, prosody, ("f0",)).f0 == predict_f0(prosody, units, durations)).all()
    assert (add_prosody(timed, prosody, ()).content[:, 0] == [4, 5, 5, 6]).all()
    stretched = add_prosody(known, prosody, ("durations",))
    assert (stretched.f0 == warp_f0(f0, durations, new_durations)).all()
    both = add_prosody(bare, prosody, ())
    assert (both.content[:, 0] == expand(units, new_durations)).all()
    assert (both.f0 == predict_f0(prosody, units, new_durations)).all()


def test_add_prosody_names_what_is_missing() -> None:
    bare = Request("a", np.array([1, 2]))
    with pytest.raises(UserError, match="durations and f0 are not given; --prosody"):
        add_prosody(bare, None, ())
    with pytest.raises(UserError, match="a: f0 are|a: f0"):
        add_prosody(bare._replace(durations=np.array([1, 1])), None, ())
    residual = bare._replace(durations=np.array([1, 1]), residual_units=[[3, 4]])
    with pytest.raises(UserError, match="residual units"):
        add_prosody(residual, make_prosody(), ("durations",))
    with pytest.raises(UserError, match="expected F0 for 2 frames, found 3"):
        add_prosody(bare._replace(durations=np.array([1, 1]), f0=np.ones(3)), None, ())
