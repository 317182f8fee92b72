"""Commands that a person is shown: what is printed can be pasted into a shell, whatever a path holds."""

import shlex


def as_typed(*words: object) -> str:
    """The words as they are typed: quoted where a space or a sign of the shell needs it."""
    return shlex.join(map(str, words))
