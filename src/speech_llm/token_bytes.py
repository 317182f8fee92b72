"""The bytes that each token of an LLM's vocabulary writes.

Most vocabularies hold rare letters as bytes alone: ``ẽ`` is two tokens of SmolLM2, ``ሰ`` three. So a text is told from
its bytes, never from the decoded tokens one by one.
"""

import re

ANCHOR = "a"  # behind a letter, a token shows the space that some tokenizers drop at the start of a text
BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")  # of SentencePiece, for bytes of letters that it does not hold
FIRST_OF = {0xC2: 2, 0xE0: 3, 0xF0: 4}  # first byte from which on a letter has so many bytes (UTF-8)
CONTINUING = range(0x80, 0xC0)  # bytes that begin no letter


def token_bytes(tokenizer) -> list[bytes]:
    """What each token of ``tokenizer`` (transformers) writes behind other text; special tokens write nothing."""
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    added = tokenizer.added_tokens_decoder
    if _is_byte_level(tokenizer):
        alphabet = byte_alphabet()
        spelled = [bytes(alphabet[character] for character in name if character in alphabet) for name in names]
    else:
        found = [BYTE_TOKEN.fullmatch(name) for name in names]
        texts = _spell_behind_letter(tokenizer)
        spelled = [bytes.fromhex(byte[1]) if byte else text.encode() for byte, text in zip(found, texts)]
    for token, entry in added.items():
        spelled[token] = b"" if entry.special else entry.content.encode()
    for token in tokenizer.all_special_ids:
        spelled[token] = b""
    return spelled


def byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in byte-level vocabularies (Radford et al. 2019) -> the byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}


def _is_byte_level(tokenizer) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and "ByteLevel" in str(backend.decoder)


def _spell_behind_letter(tokenizer) -> list[str]:
    anchor = tokenizer.encode(ANCHOR, add_special_tokens=False)
    rows = tokenizer.batch_decode(
        [[*anchor, token] for token in range(len(tokenizer))], clean_up_tokenization_spaces=False
    )
    return [row.removeprefix(ANCHOR) for row in rows]


def n_missing(begun: bytes) -> int:
    """How many bytes are missing of a letter whose first bytes are ``begun``."""
    return max((length for first, length in FIRST_OF.items() if begun[0] >= first), default=1) - len(begun)


def part_begun(spelled: bytes) -> tuple[str, bytes] | None:
    """(text, the first bytes of a letter at its end, or none); None where the bytes are no text (UTF-8)."""
    try:
        return spelled.decode(), b""
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return None
        return spelled[: error.start].decode(), spelled[error.start :]
