"""Where audio and answer stand in a conversation: the tokenizer's own chat template, read rather than written down."""

import re

from torch import nn

from core.errors import UserError

AUDIO_MARK, DRAFT_MARK, ANSWER_MARK = "<|the audio|>", "<|the draft|>", "<|the answer|>"


def chat_pieces(tokenizer, prompt: str, *, draft: bool) -> list[list[int]]:
    """Token ids around the audio, the draft (if any) and the answer, from the tokenizer's own chat template.

    A tokenizer without a template gets plain lines. The last piece is what ends the answer.
    """
    content = f"{AUDIO_MARK}\n{prompt}" + (f"\n{DRAFT_MARK}" if draft else "")
    marks = [AUDIO_MARK, *([DRAFT_MARK] if draft else []), ANSWER_MARK]
    if tokenizer.chat_template:
        turns = [{"role": "user", "content": content}]
        opened = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        answered = [*turns, {"role": "assistant", "content": ANSWER_MARK}]
        closed = tokenizer.apply_chat_template(answered, tokenize=False).rpartition(ANSWER_MARK)[2]
        text = opened + ANSWER_MARK + closed
    else:
        text = f"{tokenizer.bos_token or ''}{content}\n{ANSWER_MARK}{tokenizer.eos_token}"
    parts = re.split("|".join(map(re.escape, marks)), text)
    if len(parts) != len(marks) + 1:
        raise UserError(f"--llm_id: its chat template changes what is said ({text[:80]!r}); take another model")
    return [tokenizer.encode(part, add_special_tokens=False) for part in parts]


def stop_ids(tokenizer, closing: list[int], llm: nn.Module) -> list[int]:
    """The token that ends an answer, first the chat template's own, then every other that the model ends with."""
    configured = getattr(llm.generation_config, "eos_token_id", None)
    configured = configured if isinstance(configured, list) else [configured]
    specials = set(tokenizer.all_special_ids)
    own = [closing[0]] if closing and closing[0] in specials else []
    return list(dict.fromkeys(token for token in [*own, tokenizer.eos_token_id, *configured] if token is not None))
