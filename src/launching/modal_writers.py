"""One writer a folder on Modal's volume: calls claim a folder in a Modal Dict, give signs of life, and give it back.

writers: a Modal Dict, or what has its ``get(key)`` and ``put(key, value, skip_if_exists=…) -> bool`` as well. It maps
the name of a folder to a core.records.WriterClaim.
"""

from core.errors import UserError
from core.records import WriterClaim

LEASE_SECONDS = 1200.0  # without a sign of life, a writer counts as gone


def find_claim(writers: object, folder: str, owner: str) -> WriterClaim | None:
    """The claim of the call ``owner`` on ``folder``; None where it has none."""
    claim = writers.get(folder)
    return claim if claim and claim["owner"] == owner else None


def claim_folder(writers: object, folder: str, owner: str, now: float) -> int:
    """Become the writer of ``folder``; returns how many attempts the same call has made before.

    UserError where another call holds the folder and has given a sign of life within LEASE_SECONDS.
    """
    claim: WriterClaim = {"owner": owner, "until": now + LEASE_SECONDS, "attempt": 0}
    if writers.put(folder, claim, skip_if_exists=True):
        return 0
    found: WriterClaim = writers.get(folder) or {"owner": "", "until": 0.0, "attempt": 0}
    holder, until, attempt = found["owner"], found["until"], found["attempt"]
    if holder != owner and until > now:
        raise UserError(
            f"{folder}: expected no other writer, found call {holder}; wait for it or stop it, "
            "or give another --tag or --exp"
        )
    attempt = attempt + 1 if holder == owner else 0
    writers.put(folder, claim | {"attempt": attempt})
    return attempt


def renew_claim(writers: object, folder: str, owner: str, until: float, **notes: object) -> None:
    """Hold the folder until ``until`` (seconds since the epoch), with ``notes``; the past gives it back."""
    if own := find_claim(writers, folder, owner):
        writers.put(folder, own | {"until": until} | notes)


def refuse_hopeless(writers: object, folder: str, owner: str) -> None:
    """Modal retries whatever failed: a script that ended with a final code is not run a second time."""
    own = find_claim(writers, folder, owner)
    if own and (code := own.get("final_code")):
        raise RuntimeError(f"{folder}: exit code {code} in the attempt before; not tried again")
