import torch

import pytest

from models.connector import KINDS, Connector, average_frames, stack_frames
from models.ctc import CharacterEmbedding, CtcHead, compress, ctc_losses, greedy_labels, noisy_log_probs

LENGTHS = (23, 7, 1, 16)


def ragged(dim: int = 8, *, seed: int = 0, fill: float = 9.0) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Padded features with ``fill`` in the padding, lengths, and the items alone."""
    generator = torch.Generator().manual_seed(seed)
    items = [torch.randn(length, dim, generator=generator) for length in LENGTHS]
    padded = torch.full((len(items), max(LENGTHS), dim), fill)
    for row, item in enumerate(items):
        padded[row, : len(item)] = item
    return padded, torch.tensor(LENGTHS), items


def build(kind: str, **options) -> Connector:
    torch.manual_seed(0)
    width = 8 if kind == "encoder" else 64
    return Connector(8, 12, **({"kind": kind, "factor": 6, "width": width, "n_layers": 2} | options)).eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [1, 4, 6, 7])
def test_a_batch_of_ragged_items_is_each_of_them_alone(kind, factor):
    connector = build(kind, factor=factor)
    padded, lengths, items = ragged()
    together, counts = connector(padded, lengths)
    assert counts.tolist() == [-(-length // factor) for length in LENGTHS]
    for row, item in enumerate(items):
        alone, count = connector(item[None], torch.tensor([len(item)]))
        assert alone.shape == (1, count.item(), 12)
        torch.testing.assert_close(together[row, : counts[row]], alone[0], atol=1e-5, rtol=1e-4)


def test_merged_frames_are_means_and_padding_is_none_of_them():
    padded, lengths, items = ragged()
    averaged, counts = average_frames(padded, lengths, 2)
    assert counts.tolist() == [12, 4, 1, 8]
    torch.testing.assert_close(averaged[1, 3], items[1][6])  # an incomplete last one
    torch.testing.assert_close(averaged[0, 4], items[0][8:10].mean(0))
    connector = build("encoder", factor=4, merge=2)
    together, counts = connector(padded, lengths)
    assert counts.tolist() == [6, 2, 1, 4]
    for row, item in enumerate(items):
        alone = connector(item[None], torch.tensor([len(item)]))[0][0]
        torch.testing.assert_close(together[row, : counts[row]], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_attention_sees_the_frames_and_not_the_padding(norm):
    connector = build("transformer", norm=norm, factor=2)
    padded, lengths, _ = ragged()
    before, _ = connector(padded, lengths)
    changed = padded.clone()
    changed[1, 7:] = -5.0
    torch.testing.assert_close(connector(changed, lengths)[0][1, :4], before[1, :4])
    changed = padded.clone()
    changed[1, 0] += 1.0
    assert (connector(changed, lengths)[0][1, 3] - before[1, 3]).abs().max() > 1e-4  # attended to from afar


def test_any_length_has_its_positions():
    connector = build("transformer", factor=1)
    assert connector(torch.randn(1, 3001, 8), torch.tensor([3001]))[0].shape == (1, 3001, 12)


def test_positions_and_norms_are_obeyed():
    padded, lengths, _ = ragged()
    usual = build("transformer")(padded, lengths)[0]
    for option in ({"positions": False}, {"final_norm": False}, {"norm": "post"}):
        assert not torch.allclose(usual, build("transformer", **option)(padded, lengths)[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rms", [0.02, 1.0])
def test_output_has_the_scale_of_the_embeddings(kind, rms):
    output, _ = build(kind, target_rms=rms)(torch.randn(2, 60, 8) * 30, torch.tensor([60, 60]))
    assert output.pow(2).mean().sqrt().item() == pytest.approx(rms, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_moves_every_weight(kind):
    connector = build(kind).train()
    padded, lengths, _ = ragged()
    output, counts = connector(padded, lengths)
    (output * torch.randn_like(output)).sum().backward()
    still = [name for name, value in connector.named_parameters() if value.grad is None or not value.grad.abs().max()]
    # The key's bias cancels in the softmax; it is a third of each in_proj_bias, which as a whole does move.
    assert not still


def test_large_channels_do_not_drown_the_others():
    connector, plain = build("mlp"), build("mlp")
    features, scales = torch.randn(1, 60, 8), torch.tensor([10.0, *[1.0] * 7])
    connector.standardize(torch.full((8,), 3.0), scales)
    lengths = torch.tensor([60])
    torch.testing.assert_close(
        connector(features * scales + 3, lengths)[0], plain(features, lengths)[0], atol=1e-4, rtol=1e-3
    )


def test_what_the_encoders_layers_give_is_standardized_behind_them():
    """Whisper's last norm makes some channels ten times as large as the others."""
    connector = build("encoder", factor=2, final_norm=False)
    with torch.no_grad():
        connector.body["norm"].weight.copy_(torch.tensor([30.0, *[1.0] * 7]))
    features, lengths = torch.randn(1, 400, 8), torch.tensor([400])
    heard = connector.hear(features, lengths)[0][0]
    connector.standardize(heard.mean(0), heard.std(0))
    found = connector.encode(features, lengths)[0][0]
    torch.testing.assert_close(found.mean(0), torch.zeros(8), atol=1e-3, rtol=0)
    assert found.std(0).max() < 1.5 * found.std(0).min()
    torch.testing.assert_close(found[3, 0], (heard[6:8, 0].mean() - heard[:, 0].mean()) / heard[:, 0].std())


def test_stacking_counts_the_incomplete_last_position():
    stacked, lengths = stack_frames(torch.arange(10.0).reshape(1, 5, 2), torch.tensor([4]), 3)
    assert stacked.tolist() == [[[0, 1, 2, 3, 4, 5], [6, 7, 0, 0, 0, 0]]] and lengths.tolist() == [2]


def spelled(path: str, letters: str = "_ab") -> torch.Tensor:
    """(1, P, V) log-probabilities that are nearly sure of ``path``."""
    probabilities = torch.full((len(path), len(letters)), 0.05)
    for place, letter in enumerate(path):
        probabilities[place, letters.index(letter)] = 0.9
    return (probabilities / probabilities.sum(-1, keepdim=True)).log()[None]


def test_best_path_merges_repeats_and_drops_blanks():
    log_probs = torch.cat([spelled("aa_ab_b"), spelled("_____bb")])
    assert greedy_labels(log_probs, torch.tensor([7, 5])) == [[1, 1, 2, 2], []]


def test_compression_keeps_a_mean_a_run():
    log_probs = torch.cat([spelled("_aa_abb"), spelled("_______")])
    hidden = torch.arange(14.0).reshape(2, 7, 1)
    pooled, probabilities, counts = compress(hidden, log_probs, torch.tensor([6, 4]))
    assert counts.tolist() == [3, 1]
    assert pooled[0, :, 0].tolist() == [1.5, 4.0, 5.0]  # the seventh position is padding
    assert pooled[1, 0, 0].item() == pytest.approx((7 + 8 + 9 + 10) / 4)  # all blank: one position for the whole
    assert probabilities[0].argmax(-1).tolist() == [1, 1, 2]


def test_compression_does_not_depend_on_the_batch():
    torch.manual_seed(0)
    log_probs, hidden = torch.randn(5, 30, 4).log_softmax(-1), torch.randn(5, 30, 6)
    lengths = torch.tensor([30, 3, 17, 1, 9])
    together, _, counts = compress(hidden, log_probs, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, _, count = compress(
            hidden[row : row + 1, :length], log_probs[row : row + 1, :length], lengths[row][None]
        )
        assert counts[row] == count[0]
        torch.testing.assert_close(together[row, : counts[row]], alone[0])


def test_spelling_is_the_weighted_embedding_of_the_characters():
    spelling = CharacterEmbedding(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert spelling(torch.tensor([[[0.5, 0.5, 0.0], [0.9, 0.05, 0.05]]])).tolist() == [[[1.0, 0.0], [0.5, 0.5]]]


def test_a_text_that_does_not_fit_costs_nothing_and_harms_nothing():
    log_probs = CtcHead(4, 2, dropout=0.0)(torch.randn(2, 3, 4))
    losses = ctc_losses(log_probs, torch.tensor([3, 3]), [torch.tensor([1, 2]), torch.tensor([1, 1, 1])])
    assert losses[0] > 0 and losses[1] == 0
    losses.sum().backward()


def test_noise_changes_readings_the_more_the_stronger():
    torch.manual_seed(0)
    log_probs = spelled("_aabb_a_b_").repeat(200, 1, 1)
    lengths = torch.full((200,), 10)
    honest = greedy_labels(log_probs, lengths)
    wrong = [
        sum(r != h for r, h in zip(greedy_labels(noisy_log_probs(log_probs, t), lengths), honest)) for t in (0, 1, 3)
    ]
    assert wrong[0] == 0 < wrong[1] < wrong[2]
