"""JSON whose values are exchanged for odd ones: what a fuzzer that changes bytes seldom hits."""

import json
import random
from collections.abc import Iterator

ODD = (None, True, -1, 0, 1.5, 1e300, 10**30, "", "x", "\x00", "é" * 300, [], [[]], {}, {"a": 1}, float("nan"))


def exchange_one(content: bytes, draw: random.Random) -> bytes | None:
    """The JSON, or lines of JSON, with one value exchanged, doubled or left out; None where it is no JSON."""
    lines = content.decode("utf-8", "replace").splitlines() or [""]
    number = draw.randrange(len(lines))
    whole = _parse(content.decode("utf-8", "replace"))
    found = whole if whole is not None else _parse(lines[number])
    if not isinstance(found, dict | list):
        return None
    places = list(_places(found))
    if not places:
        return None
    holder, key = draw.choice(places)
    what = draw.randrange(4)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, list):
        holder.insert(key, holder[key])
    else:
        holder[key] = draw.choice(ODD)
    text = json.dumps(found, ensure_ascii=False)
    return (text if whole is not None else "\n".join([*lines[:number], text, *lines[number + 1 :]])).encode()


def _parse(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _places(value: object) -> Iterator[tuple[dict | list, object]]:
    """(holder, key or number) of every value below ``value``, however deep."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)
