"""What every token of an LLM adds to what is heard, as trees over the characters of a CTC head.

Most vocabularies hold rare letters as bytes alone: ``ẽ`` is two tokens of SmolLM2, ``ሰ`` three. So texts are told from
their bytes, and there is one tree for each beginning of a letter that has been written.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

import torch

from core.text_normalisation import APOSTROPHES, normalise_text
from models.speech_llm_model import SpeechLLMBase
from speech_llm.token_bytes import CONTINUING, n_missing, part_begun, token_bytes

# Stands for a letter before or behind what is spelled: no mark becomes one letter with it, and it has no capital.
NEIGHBOUR = "ʔ"
MOST_MISSING = 2  # bytes of a letter, for which all letters are tried; emoji and rare scripts miss three
WRITTEN = "LMN"  # categories of letters, marks and numbers: the others are not heard
INSIDE, STARTING = 0, 1  # roots of the trees: anywhere; and at the start of a word, where apostrophes are other letters


class Heard(NamedTuple):
    """What is heard of the tokens written so far."""

    text: str  # normalised
    parted: bool  # it ends in something that is no letter
    begun: bytes = b""  # first bytes of a letter at its end


class LettersBegun(NamedTuple):
    """What the first bytes of a letter may become."""

    labels: list[int]  # rows of V
    starting: list[int]  # the same at the start of a word
    silent: bool  # or something that is not heard, as “ is
    marks: str  # those that may become one letter with the one before them


class Spellings(NamedTuple):
    """What every token adds to a normalised text behind some bytes, as a tree with the roots INSIDE and STARTING."""

    children: list[dict[int, int]]  # of each node: row of V -> node
    parents: list[int]
    tokens: list[list[int]]  # of each node: the tokens that end in it
    begun: list[list[tuple[int, bytes]]]  # of each node: tokens that end in it with the first bytes of a next letter
    nodes: dict[int, list[int]]  # token -> where it ends
    silent: list[int]  # tokens that add nothing to be heard


class TokenTree(NamedTuple):
    """A vocabulary as a CTC head may hear it; the last three are memories that grow."""

    spelled: list[bytes]  # what each token of V_llm writes
    continuing: list[int]  # tokens that begin inside a letter
    labels: dict[str, int]  # character -> row of V
    silent: torch.Tensor  # (V_llm,) bool: tokens that add nothing to be heard, where no letter has been begun
    letters: dict[bytes, LettersBegun]
    spellings: dict[bytes, Spellings]
    merged: dict[tuple[str, bytes], list[str]]  # last letter, first bytes of a mark -> what they may become together


def build_token_tree(model: SpeechLLMBase) -> TokenTree:
    """The tree of all tokens that the head's characters can spell; the others are left out."""
    labels = {character: row for row, character in enumerate(model.characters, 1)}
    spelled = token_bytes(model.tokenizer)
    for token in model.stop_ids:
        spelled[token] = b""
    continuing = [token for token, written in enumerate(spelled) if written and written[0] in CONTINUING]
    tree = TokenTree(spelled, continuing, labels, torch.zeros(len(spelled), dtype=torch.bool), {}, {}, {})
    tree.silent[spell(tree, b"").silent] = True
    return tree


def hear_text(tree: TokenTree, written: bytes) -> Heard | None:
    """What is heard of ``written``; None where it is no text (UTF-8)."""
    parts = part_begun(written)
    return Heard(*_hear(tree.labels, parts[0]), parts[1]) if parts else None


def write_tokens(tree: TokenTree, tokens: Iterable[int]) -> bytes:
    return b"".join(tree.spelled[token] for token in tokens)


def _hear(labels: dict[str, int], text: str) -> tuple[str, bool]:
    """Normalised, as if a letter followed: an apostrophe that only then is one must not be heard twice."""
    heard = normalise_text(text + NEIGHBOUR)[:-1]
    if heard and heard[-1] not in labels and unicodedata.category(heard[-1])[0] not in WRITTEN:
        heard = normalise_text(text + " " + NEIGHBOUR)[:-1]  # a colon, where the head knows of none inside words
    kept = heard.rstrip()
    return kept, kept != heard or bool(text and not kept)


def spell(tree: TokenTree, begun: bytes) -> Spellings:
    """What every token adds behind the first bytes of a letter, or behind none."""
    if begun not in tree.spellings:
        tree.spellings[begun] = _build_spellings(tree, begun)
    return tree.spellings[begun]


def _build_spellings(tree: TokenTree, begun: bytes) -> Spellings:
    spellings = Spellings([{}, {}], [INSIDE, STARTING], [[], []], [[], []], {}, [])
    for token in tree.continuing if begun else range(len(tree.spelled)):
        parts = part_begun(begun + tree.spelled[token]) if tree.spelled[token] else None
        if parts is None:
            continue
        text, rest = parts
        if begun and text and not _is_plain(text[0]):
            continue
        form = _form(tree.labels, text, keep_space=bool(rest))
        letters = letters_begun(tree, rest) if rest else None
        if not form and not rest:
            spellings.silent.append(token)
        elif letters is None or letters.labels or letters.silent:
            _insert(spellings, INSIDE, _label(tree.labels, form), token, rest)
            if text[:1] and text[0] in APOSTROPHES:
                form = _form(tree.labels, text, keep_space=bool(rest), before=NEIGHBOUR + " ")
                _insert(spellings, STARTING, _label(tree.labels, form), token, rest)
    return spellings


def _form(labels: dict[str, int], text: str, *, keep_space: bool = False, before: str = NEIGHBOUR) -> str:
    """What ``text`` adds behind a letter, or ``before``; keep_space: the one at its end too."""
    heard, parted = _hear(labels, before + text)
    return heard[len(before) :] + (" " if keep_space and parted and text else "")


def _label(labels: dict[str, int], form: str) -> list[int] | None:
    """Rows of V; None where the head does not know a character."""
    return [labels[character] for character in form] if all(character in labels for character in form) else None


def _insert(spellings: Spellings, root: int, form: list[int] | None, token: int, rest: bytes) -> None:
    if form is None:
        return
    node = root
    for label in form:
        if label not in spellings.children[node]:
            spellings.children[node][label] = len(spellings.children)
            spellings.children.append({})
            spellings.parents.append(node)
            spellings.tokens.append([])
            spellings.begun.append([])
        node = spellings.children[node][label]
    spellings.nodes.setdefault(token, []).append(node)
    if rest:
        spellings.begun[node].append((token, rest))
    else:
        spellings.tokens[node].append(token)


def nodes_towards(spellings: Spellings, tokens: Iterable[int]) -> set[int]:
    """All nodes on the way to ``tokens``."""
    found: set[int] = set()
    waiting = [node for token in tokens for node in spellings.nodes.get(token, [])]
    while waiting:
        node = waiting.pop()
        if node > STARTING and node not in found:
            found.add(node)
            waiting.append(spellings.parents[node])
    return found


def letters_begun(tree: TokenTree, begun: bytes) -> LettersBegun:
    """What may become of the first bytes of a letter."""
    if begun not in tree.letters:
        letters = list(_letters_that_begin(begun, tree.labels))
        forms = [_form(tree.labels, letter) for letter in letters]
        starting = [
            _form(tree.labels, letter, before=NEIGHBOUR + " ") if letter in APOSTROPHES else form
            for letter, form in zip(letters, forms)
        ]
        inside, starting = (
            sorted({tree.labels[form[0]] for form in found if form and _label(tree.labels, form)})
            for found in (forms, starting)
        )
        silent = n_missing(begun) > MOST_MISSING or "" in forms
        marks = "".join(letter for letter in letters if unicodedata.category(letter)[0] == "M")
        tree.letters[begun] = LettersBegun(inside, starting, silent, marks)
    return tree.letters[begun]


def _letters_that_begin(begun: bytes, labels: dict[str, int]) -> Iterator[str]:
    """The letters whose bytes begin so and that the head knows, marks, and what is not heard."""
    if n_missing(begun) > MOST_MISSING:
        yield from (letter for letter in labels if letter.encode().startswith(begun))
        return
    for rest in product(CONTINUING, repeat=n_missing(begun)):
        try:
            letter = (begun + bytes(rest)).decode()
        except UnicodeDecodeError:
            continue
        kind = unicodedata.category(letter)[0]
        known = unicodedata.normalize("NFC", letter.casefold())[0] in labels
        if _is_plain(letter) and (kind not in WRITTEN + "C" or kind == "M" or known or letter in APOSTROPHES):
            yield letter


def _is_plain(letter: str) -> bool:
    """No letter of a circle, of full width or the like: nobody writes these, though they are heard as well."""
    return unicodedata.is_normalized("NFKC", letter)


def merged_texts(tree: TokenTree, heard: Heard) -> list[str]:
    """The texts whose last letter has become one with a mark that has been begun, as ẽ comes of e."""
    if not heard.text or heard.parted or not heard.begun:
        return []
    key = heard.text[-1], heard.begun
    if key not in tree.merged:
        marks = letters_begun(tree, heard.begun).marks
        letters = {normalise_text(key[0] + mark) for mark in marks} - {key[0]}  # a variant is no other letter
        tree.merged[key] = sorted(letter for letter in letters if len(letter) == 1 and letter in tree.labels)
    return [heard.text[:-1] + letter for letter in tree.merged[key]]


def merges(last: str, character: str) -> bool:
    """Whether a character of the head's becomes one letter with the one before it."""
    return unicodedata.category(character)[0] == "M" and len(normalise_text(last + character)) == 1


def entrances(tree: TokenTree, spellings: Spellings, heard: Heard) -> list[tuple[dict[int, int], list[int]]]:
    """(children, nodes) where the next token begins: at the start of a word with or without its space."""
    root, space = spellings.children[INSIDE], tree.labels.get(" ")
    if heard.text and not heard.parted:
        characters = dict(zip(tree.labels.values(), tree.labels))
        return [({row: node for row, node in root.items() if not merges(heard.text[-1], characters[row])}, [INSIDE])]
    # The space is there already, or not needed: words that bring one are as good as those that do not.
    letters = {label: node for label, node in root.items() if label not in (space, tree.labels.get("'"))}
    spaced = [(spellings.children[root[space]], [root[space]])] if space in root else []
    return [(letters | spellings.children[STARTING], [INSIDE, STARTING]), *spaced]
