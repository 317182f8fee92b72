"""What cannot be obeyed, told in one line before anything is read."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from core.errors import UserError
from encoders.top_layers import describe_top_layers
from models.connector import ATTENTION_KINDS, count_heads
from speech_llm.model_flags import DEFAULT_WIDTH, TOP_LR_SHARE


def check_phases(steps: int | None, listening: int, warmup: int | None) -> None:
    """UserError where a phase is longer than the run, or shorter than its warm-up.

    listening: steps of CTC alone, of ``steps`` in all (None: not known yet). warmup: None where none is asked for.
    """
    if steps is not None and listening > steps:
        raise UserError(f"--ctc_warmup_steps {listening}: expected at most --steps {steps}, of which they are a part")
    phases = [listening, None if steps is None else steps - listening]
    shortest = min((length for length in phases if length), default=None)
    if warmup is not None and shortest is not None and warmup > shortest:
        raise UserError(
            f"--warmup {warmup}: is longer than a phase of {shortest} steps, so that its rate would never be reached; "
            "give less, or more --steps"
        )


def settle_sizes(
    kind: str, encoder_id: str, n_layers: int, *, front_end: str, given: Mapping[str, object]
) -> dict[str, object]:
    """The ``given`` sizes of a connector, with the usual ones where they are None, or those of the encoder's layers.

    given: width, n_heads, feedforward, norm, speech_enc_layer. UserError for what contradicts the encoder.
    """
    if kind != "encoder":
        usual = {"width": DEFAULT_WIDTH, "norm": "pre"}
        return {name: usual.get(name) if value is None else value for name, value in given.items()}
    if front_end != "features":
        raise UserError(f"--connector encoder: trains layers of a speech encoder; --front_end {front_end} has none")
    own = describe_top_layers(encoder_id, n_layers)
    for name, value in given.items():
        if value not in (None, own[name]):
            raise UserError(
                f"--{name} {value}: the top {n_layers} layers of {encoder_id} have {name} {own[name]}; leave it out"
            )
    return own


def settle_top_rate(kind: str, share: float | None) -> float | None:
    """The rate of an encoder's own layers as a share of the connector's; UserError for one where there are none."""
    if kind == "encoder":
        return TOP_LR_SHARE if share is None else share
    if share is not None:
        raise UserError(f"--top_lr_share {share:g}: --connector {kind} has no layers of the encoder; leave it out")
    return None


def check_merging(kind: str, merge: int | None, factor: int | None) -> None:
    """UserError for averaged frames without an encoder's layers behind them, or that do not part a position evenly."""
    if merge is not None and kind != "encoder":
        raise UserError(f"--merge_frames {merge}: --connector {kind} has no layers of the encoder; leave it out")
    if (merge or 1) > 1 and (factor is None or factor % merge):
        raise UserError(f"--merge_frames {merge}: expected a divisor of --factor, found {factor or 'none'}; give both")


def check_connector(
    kind: str, width: int, *, n_heads: int | None, feedforward: int | None, norm: str, no_positions: bool
) -> None:
    """UserError for what a kind of connector lacks, and for heads that do not part the width evenly."""
    attends = kind in ATTENTION_KINDS
    asked = {"n_heads": n_heads, "feedforward": feedforward, "norm post": norm == "post"}
    foreign = [flag for flag, value in asked.items() if value and not attends]
    foreign += ["no_positions"] if no_positions and kind != "transformer" else []
    if foreign:
        raise UserError(f"--{foreign[0]}: --connector {kind} has no such thing; leave it out")
    heads = count_heads(width, n_heads)
    if attends and width % heads:
        fitting = max(fewer for fewer in range(1, heads) if width % fewer == 0)
        raise UserError(
            f"--width {width}: {heads} attention heads do not part it evenly; give another width, or "
            f"--n_heads {fitting}"
        )


def check_more_data(more_data: Sequence[Path], weights: Sequence[float] | None, front_end: str) -> None:
    """--more_data and --data_weights, one for --data and one for each of them."""
    if more_data and front_end != "features":
        raise UserError(f"--more_data: --front_end {front_end} reads the units of one data set; leave one out")
    if weights is not None and (len(weights) != 1 + len(more_data) or not min(weights) > 0):
        raise UserError(
            f"--data_weights {' '.join(f'{weight:g}' for weight in weights)}: expected {1 + len(more_data)} above 0, "
            "for --data and each of --more_data"
        )
