"""Tiny language models of several families with a tiny tokenizer and a chat template; one that was taught to copy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from models.speech_llm_model import SpeechLLMBase

LETTERS = "abcdefgh"  # that are copied: few, so that copying is learnt in seconds
HELD_OUT = ("hdfa", "cabbagef", "dead", "beadfh", "fgach", "hagc")
DIM = 16  # of the features
CHARACTERS = " '" + LETTERS  # of a CTC head
SPECIALS = ["<unk>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FAMILIES = ("llama", "olmo2", "qwen2", "qwen3", "smollm3")
COPIES = 48  # texts a step
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def tiny_tokenizer():
    """A token a character: letters, capitals, digits and punctuation, with specials and a chat template."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    printable = [chr(code) for code in range(32, 127)] + ["\n"]
    vocabulary = {token: row for row, token in enumerate([*SPECIALS, *printable])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return _with_specials(tokenizer)


def byte_tokenizer():
    """A byte-level vocabulary as GPT-2's: letters beyond ASCII are bytes; some tokens end or begin inside one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "á"), ("Ġá", "º"), ("á", "º"), ("à", "¤"), ("a", "b"), ("Ã", "£")]
    tokens = [*SPECIALS, *alphabet, *("".join(pair) for pair in merges)]
    vocabulary = {token: row for row, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _with_specials(tokenizer)


def _with_specials(tokenizer):
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<|pad|>",
        eos_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    fast.chat_template = TEMPLATE
    return fast


def tiny_llm(family: str, seed: int = 0, tokenizer=None):
    """A random causal LM of ``family`` for ``tiny_tokenizer`` or another."""
    import transformers

    names = {"llama": "Llama", "olmo2": "Olmo2", "qwen2": "Qwen2", "qwen3": "Qwen3", "smollm3": "SmolLM3"}
    tokenizer = tokenizer or tiny_tokenizer()
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    # SmolLM ties its embeddings, OLMo-2 and Qwen come both ways.
    shape = SIZES | ids | {"vocab_size": len(tokenizer), "tie_word_embeddings": family in ("smollm3", "qwen2")}
    torch.manual_seed(seed)
    config = getattr(transformers, f"{names[family]}Config")(**shape)
    return getattr(transformers, f"{names[family]}ForCausalLM")(config).eval()


def save_tiny_llm(folder: Path, family: str = "llama", *, copies: bool = False) -> Path:
    """The model and its tokenizer as a Hugging Face folder; with ``copies`` it repeats what the user says."""
    llm, tokenizer = tiny_llm(family), tiny_tokenizer()
    if copies:
        teach_to_copy(llm, tokenizer)
    llm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


def teach_to_copy(llm, tokenizer, *, prompt: str = "Copy.", steps: int = 400) -> float:
    """Train ``llm`` to answer with the characters that stood before ``prompt``; returns the last loss in nats.

    A frozen random LLM cannot be steered by what it reads: one that copies shows whether a connector speaks its
    language.
    """
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(llm.train().requires_grad_(True).parameters(), lr=3e-3, weight_decay=0.0)
    opened, closed = (tokenizer.encode(text) for text in TURNS)
    asked = tokenizer.encode(f"\n{prompt}")
    rows = torch.tensor(tokenizer.encode(LETTERS))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 50) * (1 - 0.9 * step / steps)
        length = int(torch.randint(2, 9, (), generator=generator))
        said = rows[torch.randint(len(rows), (COPIES, length), generator=generator)]
        fixed = [torch.tensor(ids).expand(COPIES, -1) for ids in (opened, asked + closed, [tokenizer.encode(END)[0]])]
        ids = torch.cat([fixed[0], said, fixed[1], said, fixed[2]], dim=1)
        loss = torch.nn.functional.cross_entropy(
            llm(input_ids=ids).logits[:, -length - 2 : -1].flatten(0, 1), ids[:, -length - 1 :].flatten()
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(llm.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    llm.eval().requires_grad_(False)
    return loss.item()


TURNS = ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
END = "<|im_end|>"


def config(**options) -> dict:
    connector = {"kind": "mlp", "factor": 2, "width": 64, "n_layers": 2, "dropout": 0.0}
    return {"in_dim": DIM, "connector": connector, "prompt": "Copy.", "tokens_per_second": 10.0} | options


def hearing(**options) -> dict:
    return config(
        characters=" " + LETTERS, ctc_compress=True, ctc_embedding=True, ctc_draft=True, draft_noise=1.0, **options
    )


def spoken(text: str, *, doubt: float = 0.02, characters: str = CHARACTERS) -> np.ndarray:
    """(P, V) posteriors of a head that hears ``text``: two positions a character, a blank after each."""
    labels = [label for character in text for label in [1 + characters.index(character)] * 2 + [0]]
    probabilities = np.full((len(labels), len(characters) + 1), doubt / len(characters), np.float32)
    probabilities[np.arange(len(labels)), labels] = 1 - doubt
    return np.log(probabilities)


def model_with_words(words: Sequence[str]) -> SpeechLLMBase:
    """A tiny speech LLM with a CTC head, whose tokens are single characters and these ``words``."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(list(words))
    llm = tiny_llm("llama")
    llm.resize_token_embeddings(len(tokenizer))
    return SpeechLLMBase(llm, tokenizer, hearing() | {"characters": CHARACTERS}).eval()
