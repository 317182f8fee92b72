"""What launch.py hands to Modal's client, and refuses before it asks."""

from pathlib import Path

import pytest

from core.errors import UserError
from launching import modal_backend
from launching.job import Resources, make_job


def test_what_modal_cannot_do_is_refused(language_roots: dict[str, Path]) -> None:
    job = make_job("x", [["src/train_bpe.py"]], backend="modal", resources=Resources(gpus=1))
    with pytest.raises(UserError, match="name of the GPU"):
        modal_backend.describe(job)
    plain = make_job("x", [["src/train_bpe.py"]], backend="modal")
    with pytest.raises(UserError, match="no dependencies"):
        modal_backend.describe(plain | {"after": [plain | {"ids": ["1"]}]})
    with pytest.raises(UserError, match="::phase1 --shards"):
        modal_backend.describe(plain | {"commands": [["src/train_bpe.py"]] * 2})
    with pytest.raises(UserError, match="--account: Modal has none"):
        modal_backend.describe(make_job("x", [["src/train_bpe.py"]], backend="modal", resources=Resources(account="a")))
