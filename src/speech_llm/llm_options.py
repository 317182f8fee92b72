"""How a language model is loaded where the plain way takes too much memory or time: attention, and fewer bits."""

import importlib.util

import torch

from core.errors import UserError

ATTENTIONS = ("eager", "sdpa", "flash_attention_2")
BITS = (4, 8)


def loading_options(
    *, attention: str | None = None, bits: int | None = None, dtype: torch.dtype, device: str | torch.device
) -> dict[str, object]:
    """What ``from_pretrained`` of transformers is to be told. UserError for what this machine cannot do.

    attention: one of ATTENTIONS, None: transformers' choice. bits: of the frozen weights, None: those of ``dtype``.
    """
    options: dict[str, object] = {}
    if attention is not None:
        _refuse_attention(attention, dtype, torch.device(device))
        options["attn_implementation"] = attention
    if bits is not None:
        options |= {"quantization_config": _quantization(bits, dtype), "device_map": {"": torch.device(device)}}
    return options


def _refuse_attention(attention: str, dtype: torch.dtype, device: torch.device) -> None:
    if attention != "flash_attention_2":
        return
    lacking = []
    if importlib.util.find_spec("flash_attn") is None:
        lacking.append("no package flash-attn")
    if device.type != "cuda":
        lacking.append(f"the device {device.type}")
    if dtype == torch.float32:
        lacking.append("float32")
    if lacking:
        raise UserError(
            f"--attention {attention}: expected the package flash-attn and a GPU in bf16, found {', '.join(lacking)}; "
            "give --attention sdpa"
        )


def _quantization(bits: int, dtype: torch.dtype):
    from transformers import BitsAndBytesConfig

    if bits not in BITS:
        raise UserError(f"--llm_bits {bits}: expected {' or '.join(map(str, BITS))}")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"--llm_bits {bits}: expected the package bitsandbytes, found none; pip install bitsandbytes")
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    # NormalFloat with its scales quantized too (Dettmers et al. 2023).
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
