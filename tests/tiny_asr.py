"""A recogniser small enough for tests."""

from pathlib import Path

import torch


def save_tiny_whisper_asr(folder: Path) -> Path:
    """A whole Whisper of random weights, with a tokenizer of 60 syllables: what it hears depends on the audio."""
    import tokenizers
    import transformers

    vocabulary = {
        f"{first}{second}": 4 + 5 * i + j for i, first in enumerate("bdfgklmnprst") for j, second in enumerate("aeiou")
    }
    vocabulary |= {"<pad>": 0, "<s>": 1, "</s>": 2, "<start>": 3}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<pad>"))
    specials = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "additional_special_tokens": ["<start>"]}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, **specials).save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=64,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        init_std=0.5,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    return folder
