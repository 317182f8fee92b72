"""What the flags of the speech LLM's trainer stand for: items, where their features come from, the model's values."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator

from core.errors import UserError
from speech_llm.batches import cached_source, ctc_characters, encoder_source, token_rate, unit_source
from speech_llm.saved_model import load_tokenizer
from speech_llm.transcribed_items import load_transcribed
from speech_llm.unit_inputs import load_unit_sequences

INDEX_PATTERNS = ("segments.jsonl", "transcripts.tsv", "splits.json", "dataset_dict.json", "*/state.json", "state.json")


def load_items(args: argparse.Namespace, splits: Sequence[str]) -> dict[str, list[dict]]:
    return load_transcribed(args.data, splits, text_field=args.text_field, audio_field=args.audio_field)


def index_files(data: Path) -> list[Path]:
    """The files that say what a data folder holds."""
    return sorted({path for pattern in INDEX_PATTERNS for path in Path(data).glob(pattern)})


def choose_evenly(items: list[dict], limit: int | None) -> list[dict]:
    """At most ``limit`` items, spread over the list."""
    if limit is None or len(items) <= limit:
        return items
    return [items[place * len(items) // limit] for place in range(limit)]


def open_source(args: argparse.Namespace, wanted: Sequence[tuple[list[dict], Sequence[float]]], accelerator) -> dict:
    """Where the features of (items, speeds) pairs come from: "read", "cache", "in_dim", "n_units", "known".

    ``known`` keeps the items that could be encoded; the others have been named and counted.
    """
    everything = [item for items, _ in wanted for item in items]
    if args.front_end != "features":
        sequences, n_units = load_unit_sequences(args.units_exp, args.bpe_exp)
        source = unit_source(sequences, args.units_exp, everything)
        return source | {"in_dim": args.width, "n_units": n_units, "known": lambda items: items}
    return _feature_source(args, wanted, accelerator)


def _feature_source(args: argparse.Namespace, wanted: Sequence[tuple], accelerator: Accelerator) -> dict:
    from encoders.feature_cache import fill_feature_cache, open_encoder

    device = str(accelerator.device)
    precision = "bf16" if accelerator.mixed_precision == "bf16" else "fp32"
    options = {"layer": args.speech_enc_layer, "precision": precision, "device": device, "padding": args.padding}
    if args.no_feature_cache:
        encoder = open_encoder(args.speech_enc_id, **options)
        return encoder_source(encoder) | {"in_dim": encoder.model.dim, "n_units": 0, "known": lambda items: items}
    folder = args.feature_cache or args.data / "cache" / "speech_features"
    caches = [
        fill_feature_cache(
            folder,
            items,
            encoder_id=args.speech_enc_id,
            speed=speeds,
            num_workers=args.nj,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            **options,
        )
        for items, speeds in wanted
    ]
    entries: dict[float, dict] = {}
    for cache in caches:
        for speed, found in cache.entries.items():
            entries.setdefault(speed, {}).update(found)
    cache = caches[0]._replace(entries=entries)
    return cached_source(cache) | {
        "in_dim": cache.dim,
        "n_units": 0,
        "known": lambda items: [item for item in items if item["hash"] in entries[1.0]],
    }


def model_config(args: argparse.Namespace, training: Sequence[dict], source: dict, pretrained: dict) -> dict:
    """The plain values a ``SpeechLLMBase`` is built and saved with."""
    listening = args.ctc_warmup_steps > 0 or args.ctc_loss_weight > 0
    lora = None
    if args.lora_r:
        alpha = args.lora_alpha if args.lora_alpha is not None else 2 * args.lora_r
        lora = {"r": args.lora_r, "alpha": alpha, "dropout": args.lora_dropout, "targets": list(args.lora_targets)}
    tokenizer = load_tokenizer(args.llm_id, args.llm_revision)
    return {
        "front_end": args.front_end,
        "speech_enc_id": args.speech_enc_id,
        "speech_enc_layer": args.speech_enc_layer,
        "padding": args.padding,
        "llm_id": args.llm_id,
        "llm_revision": args.llm_revision,
        "prompt": args.prompt,
        "in_dim": source["in_dim"],
        "n_units": source["n_units"],
        "connector": {
            "kind": args.connector,
            "factor": args.factor,
            "width": args.width,
            "n_layers": args.n_layers,
            "norm": args.norm,
            "final_norm": not args.no_final_norm,
            "positions": not args.no_positions,
            "dropout": args.dropout,
        },
        "characters": _choose_characters(training, pretrained) if listening else "",
        "ctc_compress": args.ctc_compress,
        "ctc_embedding": args.ctc_embedding,
        "ctc_draft": args.ctc_draft,
        "draft_noise": args.draft_noise,
        "lora": lora,
        "tokens_per_second": token_rate(tokenizer, training),
    }


def _choose_characters(training: Sequence[dict], pretrained: dict) -> str:
    """Those of the model to start from, where they spell the new texts too."""
    own, known = ctc_characters([item["text"] for item in training]), pretrained.get("characters", "")
    if not own:
        raise UserError("expected transcripts with letters to train on, found none")
    return known if set(own) <= set(known) else own
