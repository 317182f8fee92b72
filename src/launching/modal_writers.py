"""One writer a folder on Modal's volume: calls claim a folder in a Modal Dict, give signs of life, and give it back.

writers: a Modal Dict, or what has its ``get(key)``, ``keys()`` and ``put(key, value, skip_if_exists=…) -> bool`` as
well. It maps the name of a folder to a core.records.WriterClaim.

lives: whether a call has not ended, by its id; None where nobody can say. A holder whose call has ended holds nothing,
whatever its claim says; one whose call lives keeps its folder, however long it waits for a GPU.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Sequence

from core.errors import UserError
from core.records import WriterClaim

LEASE_SECONDS = 1200.0  # without a sign of life, a writer that nobody can ask counts as gone
TAKE_OVER_SECONDS = 60.0  # for a call that was cancelled: to save and to commit
POLL_SECONDS = 1.0
Lives = Callable[[str], bool | None]


def find_claim(writers: object, folder: str, owner: str) -> WriterClaim | None:
    """The claim of the call ``owner`` on ``folder``; None where it has none."""
    claim = writers.get(folder)
    return claim if claim and claim["owner"] == owner else None


def find_holder(claim: WriterClaim | None, owner: str, now: float, lives: Lives) -> str | None:
    """The call that holds the folder of ``claim`` against ``owner``; None where the folder is free."""
    if not claim or claim["owner"] == owner or not claim["until"]:
        return None
    answers = [lives(call) for call in dict.fromkeys([claim["owner"], claim.get("call") or claim["owner"]])]
    if True in answers:
        return claim["owner"]
    return claim["owner"] if None in answers and claim["until"] > now else None


def claim_folder(
    writers: object, folder: str, owner: str, now: float, lives: Lives, *, call: str | None = None
) -> WriterClaim:
    """Become the writer of ``folder``; the claim counts the attempts of ``call``.

    call: the call that does the work, where it is another than its owner: that of a stage, which may have written
    here in an earlier one. UserError where another call holds it.
    """
    found: WriterClaim | None = writers.get(folder)
    if holder := find_holder(found, owner, now, lives):
        raise UserError(describe_holder(folder, holder))
    claim: WriterClaim = {"owner": owner, "until": now + LEASE_SECONDS, "attempt": 0}
    if found and found["owner"] == owner and found.get("call", owner) == (call or owner):  # a retry
        claim = found | {"until": claim["until"], "attempt": found["attempt"] + 1}
    claim |= {"call": call or owner}
    # Two calls may begin at the same moment: only one of them makes the entry, and the last to write it keeps it.
    if found is not None:
        writers.put(folder, claim)
    elif not writers.put(folder, claim, skip_if_exists=True):
        return claim_folder(writers, folder, owner, now, lives, call=call)
    if (kept := writers.get(folder)) and kept["owner"] != owner:
        raise UserError(describe_holder(folder, kept["owner"]))
    return claim


def describe_holder(folder: str, holder: str) -> str:
    return (
        f"{folder}: expected no other writer, found call {holder}; wait for it, give --take_over to stop it and go on "
        "from what it saves, or give another --tag or --exp"
    )


def update_claim(writers: object, folder: str, owner: str, **changes: object) -> bool:
    """Note ``changes`` in the claim, ``until=0.0`` gives the folder back; False where another call has it by now."""
    claim: WriterClaim | None = writers.get(folder)
    if claim and claim["owner"] != owner:
        return False
    if claim:
        writers.put(folder, claim | changes)
    return True


def find_writers(writers: object, concerns: Callable[[str], bool], lives: Lives) -> dict[str, str]:
    """The folders that calls hold now, among those whose name ``concerns``, each with its call."""
    lives, folders = functools.cache(lives), sorted(filter(concerns, writers.keys()))
    return _held(lives, {folder: writers.get(folder) for folder in folders})


def _held(lives: Lives, claims: dict[str, WriterClaim | None]) -> dict[str, str]:
    """The folders of ``claims`` that a call holds, and that call."""
    holders = {folder: find_holder(claim, "", time.time(), lives) for folder, claim in claims.items()}
    return {folder: holder for folder, holder in holders.items() if holder}


def free_folders(
    writers: object,
    folders: Sequence[str],
    lives: Lives,
    cancel: Callable[[str], None],
    *,
    take_over: bool,
    patience: float = TAKE_OVER_SECONDS,
) -> None:
    """Asked before anything starts: UserError where a call holds one of ``folders``, unless ``take_over`` ends it."""
    lives, cancelled = functools.cache(lives), set()  # the shards of a job have one owner
    claims = {folder: writers.get(folder) for folder in folders}
    held = _held(lives, claims)
    for folder, holder in held.items():
        if not take_over:
            raise UserError(describe_holder(folder, holder))
        for call in {holder, claims[folder].get("call", holder)} - cancelled:
            cancelled.add(call)
            with contextlib.suppress(UserError):  # a call that nobody knows any more
                cancel(call)
                print(f"stopped call {call}, which wrote to {folder}", flush=True)
    for folder, holder in held.items():
        _wait_until_given_back(writers, folder, holder, patience)


def _wait_until_given_back(writers: object, folder: str, holder: str, patience: float) -> None:
    """A call that is stopped saves first, and then gives its folder back; one that has died never does."""
    give_up = time.monotonic() + patience
    while (claim := find_claim(writers, folder, holder)) and claim["until"] and time.monotonic() < give_up:
        time.sleep(POLL_SECONDS)
    update_claim(writers, folder, holder, until=0.0)
