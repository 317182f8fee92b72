"""Flags that say what a speech LLM is made of: front end, LLM, connector, CTC head."""

import argparse
from pathlib import Path

from models.connector import KINDS
from speech_llm.ctc_room import LARGEST_FACTOR
from speech_llm.llm_options import ATTENTIONS, BITS

DEFAULT_WIDTH = 512  # channels of a connector
TOP_LR_SHARE = 0.1  # of the connector's rate, for layers that have learnt to hear before


def add_front_end_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--front_end", choices=("features", "units", "bpe"), default="features", help="what is read")
    group.add_argument("--speech_enc_id", default="openai/whisper-small", help="speech encoder, hub id or folder")
    group.add_argument("--speech_enc_layer", type=int, default=None, help="its layer (default: the last)")
    group.add_argument(
        "--padding", choices=("full", "short"), default="full", help="Whisper's window: 30 s, or as long"
    )
    group.add_argument("--units_exp", type=Path, default=None, help="finished phase 1, for units and bpe")
    group.add_argument("--bpe_exp", type=Path, default=None, help="finished phase 2, for bpe")
    group.add_argument("--feature_cache", type=Path, default=None, help="folder of features (default: <data>/cache)")
    group.add_argument("--no_feature_cache", action="store_true", help="encode at every step")


def add_llm_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--llm_id", default="allenai/OLMo-2-0425-1B-Instruct", help="causal LM, hub id or folder")
    group.add_argument("--llm_revision", default=None, help="its revision on the hub")
    group.add_argument("--prompt", default="Transcribe the speech.", help="instruction, after the audio")
    group.add_argument("--lora_r", type=int, default=0, help="rank of the low-rank adaptation; 0: the LLM stays frozen")
    group.add_argument("--lora_alpha", "--lora_a", type=float, default=None, help="its scale (default: twice the rank)")
    group.add_argument(
        "--text_only",
        action="store_true",
        help="the LLM reads no audio and learns the transcripts alone: the language model of joint decoding",
    )
    group.add_argument("--lora_dropout", type=float, default=0.05, help="its dropout")
    group.add_argument(
        "--lora_targets", nargs="+", default=["all-linear"], help="adapted projections, as in q_proj v_proj"
    )


def add_memory_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--attention", choices=ATTENTIONS, default=None, help="of the LLM (default: the fastest that it has)"
    )
    group.add_argument("--llm_bits", type=int, choices=BITS, default=None, help="of its frozen weights (bitsandbytes)")
    group.add_argument(
        "--gradient_checkpointing", action="store_true", help="compute the LLM's layers twice and keep little of them"
    )


def add_connector_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--connector",
        type=lambda kind: "encoder" if kind == "whisper" else kind,  # the older name
        choices=KINDS,
        default="transformer",
        help="kind; encoder: the top layers of the speech encoder itself, trained behind its frozen lower ones",
    )
    group.add_argument(
        "--top_lr_share",
        type=float,
        default=None,
        help="with --connector encoder: the rate of these layers, as a share of the connector's "
        f"(default: {TOP_LR_SHARE})",
    )
    group.add_argument(
        "--merge_frames",
        type=int,
        default=None,
        help="with --connector encoder: frames that are averaged before these layers, a divisor of --factor; 2 halves "
        "their cost (default: 1)",
    )
    group.add_argument(
        *("--factor", "--downsampling_factor"),
        type=int,
        default=None,
        help=f"frames (20 ms) a position (default: {LARGEST_FACTOR}, and less where a CTC head needs more positions)",
    )
    group.add_argument(
        *("--width", "--hidden_size"),
        type=int,
        default=None,
        help=f"channels inside (default: {DEFAULT_WIDTH}, or those of the encoder)",
    )
    group.add_argument("--n_layers", "--num_layers", type=int, default=2, help="layers")
    group.add_argument(
        "--n_heads", "--num_heads", type=int, default=None, help="attention heads (default: one for 64 channels)"
    )
    group.add_argument(
        "--feedforward",
        "--intermediate_size",
        type=int,
        default=None,
        help="channels between attention layers (default: four times the width)",
    )
    group.add_argument(
        "--norm", choices=("pre", "post"), default=None, help="norm of the transformer's layers (default: pre)"
    )
    group.add_argument("--norm_first", dest="norm", action="store_const", const="pre", help="the same as --norm pre")
    group.add_argument("--no_final_norm", action="store_true", help="no norm behind the last layer")
    group.add_argument(
        "--add_final_norm", dest="no_final_norm", action="store_false", help="a norm behind the last layer (default)"
    )
    group.add_argument("--no_positions", action="store_true", help="no sinusoidal positions")
    group.add_argument(
        "--use_positional_embeddings", dest="no_positions", action="store_false", help="sinusoidal positions (default)"
    )
    group.add_argument("--dropout", type=float, default=0.1, help="dropout of connector and CTC head")


def add_ctc_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--ctc_warmup_steps", type=int, default=0, help="steps, of --steps, of character CTC alone")
    group.add_argument("--ctc_lr", type=float, default=1e-3, help="peak learning rate of these steps")
    group.add_argument(
        "--ctc_loss_weight", type=float, default=None, help="of CTC after them (default: .3 with warm-up)"
    )
    group.add_argument(
        "--ctc_consistency",
        type=float,
        default=0.0,
        help="in these steps every utterance is heard twice, disturbed in two ways: weight of the difference; 0: once",
    )
    group.add_argument(
        "--ctc_compress", action="store_true", help="one LLM position a character: no blanks, no repeats"
    )
    group.add_argument("--ctc_embedding", action="store_true", help="add the posterior-weighted embedded characters")
    group.add_argument("--ctc_draft", action="store_true", help="give the LLM the CTC head's reading as text")
    group.add_argument(
        "--ctc_tokens",
        action="store_true",
        help="the LLM reads its own tokens as the CTC head spells them, each weighted by the posterior of its letters",
    )
    group.add_argument(
        "--draft_noise",
        type=float,
        default=0.0,
        help="strongest Gumbel noise (nats) in training on what --ctc_draft or --ctc_tokens read",
    )
