"""A container of Modal on this machine: runs one spec as launching.modal_task does there, in a process of its own.

    python modal_container.py SPEC.json FOLDER

FOLDER/code is the working folder, FOLDER/live the mounted volume. A commit copies it to FOLDER/committed, which is all
that survives a container: the next one begins from it. FOLDER/writers.json stands for the Modal Dict.
FOLDER/commits.txt gets a line for each commit.
"""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

from launching.modal_task import run_spec


def open_writers(path: Path) -> SimpleNamespace:
    def read() -> dict:
        return json.loads(path.read_text()) if path.exists() else {}

    def put(key: str, value: dict, *, skip_if_exists: bool = False) -> bool:
        entries = read()
        if skip_if_exists and key in entries:
            return False
        path.write_text(json.dumps(entries | {key: value}))
        return True

    return SimpleNamespace(get=lambda key: read().get(key), keys=lambda: iter(read()), put=put)


def main() -> int:
    spec, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    live, committed = folder / "live", folder / "committed"
    shutil.rmtree(live, ignore_errors=True)
    shutil.copytree(committed, live)

    def commit() -> None:
        shutil.rmtree(committed)
        shutil.copytree(live, committed)
        with open(folder / "commits.txt", "a") as out:
            out.write("commit\n")

    patience = spec.pop("patience", {})
    claims = {"writers": open_writers(folder / "writers.json"), "lives": lambda call: None}
    return run_spec(**spec, **claims, working_folder=folder / "code", commit=commit, **patience)["exit_code"]


if __name__ == "__main__":
    sys.exit(main())
