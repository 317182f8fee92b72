"""Where a language model of units starts: a text model, or another language model of units."""

from pathlib import Path

from transformers import PreTrainedModel

from core.errors import UserError
from unit_lm.decoder import build_decoder, carry_tokens, describe_config, read_config, read_text_model, renew_embeddings
from unit_lm.saved_lm import load_unit_lm
from unit_lm.vocabulary import Vocabulary, count_tokens, shared_tokens

NOISE = "none"


def start_model(
    folder: Path, vocabulary: Vocabulary, *, layers: int | None, context: int
) -> tuple[PreTrainedModel, set[int]]:
    """The model of ``folder`` with embeddings for ``vocabulary``, and the blocks whose embeddings it knew.

    layers: its first so many. Raises UserError where it sees less than ``context`` places.
    """
    if (folder / "checkpoints").is_dir():
        return _from_units(folder, vocabulary, layers)
    model = read_text_model(folder, layers)
    if model.config.max_position_embeddings < context:
        raise UserError(
            f"--context {context}: expected at most {model.config.max_position_embeddings}, as {folder} has"
        )
    renew_embeddings(model, count_tokens(vocabulary))
    return model, set()


def _from_units(folder: Path, vocabulary: Vocabulary, layers: int | None) -> tuple[PreTrainedModel, set[int]]:
    """Another experiment's averaged weights; tokens that both know keep their embeddings."""
    old = load_unit_lm(folder)
    n_layers = len(old.model.get_decoder().layers)
    if layers not in (None, n_layers):
        raise UserError(f"--layers {layers}: expected {n_layers}, as many as {folder} has; leave it out")
    # A copy, since its embeddings are the source of the new ones.
    model = build_decoder(read_config(describe_config(old.model.config)))
    model.load_state_dict(old.model.state_dict())
    renew_embeddings(model, count_tokens(vocabulary))
    carry_tokens(model, old.model, *shared_tokens(old.vocabulary, vocabulary))
    known = set(old.vocabulary.digests) if old.vocabulary.kind == vocabulary.kind else set()
    return model, {block for block, digest in enumerate(vocabulary.digests) if digest in known}
