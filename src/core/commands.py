"""Commands that a person is shown: what is printed can be pasted into a shell, whatever a path holds."""

import os
import re
import shlex

HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


def how_to_get_model(name: str) -> str:
    """What to do about a model that is not there: fetch it, where a hub may have the name; else look at the path."""
    if HUB_ID.fullmatch(name) and not os.path.exists(name):
        return f"where there is a network, run: {as_typed('python', 'scripts/fetch_models.py', '--model', name)}"
    return "check the path: a model's folder holds its config.json and its weights"


def as_typed(*words: object) -> str:
    """The words as they are typed: quoted where a space or a sign of the shell needs it."""
    return shlex.join(map(str, words))
