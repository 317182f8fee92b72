"""Run a percent-format script as a notebook, cell by cell: notebook_cells.py FILE REPLACEMENTS CHECKS.

As in Jupyter, code runs with ``__name__`` "__main__" and the kernel loaded, raw cells (``active-py``) are left out, and
the cells that are comments in the script (``active-ipynb``) are code. Words of the cells are replaced by those of the
JSON object REPLACEMENTS, so that they find a tiny language; the expressions of the JSON list CHECKS must hold after.
"""

import json
import sys
import types
from pathlib import Path

import jupytext


def load_kernel() -> None:
    """What a script finds in Jupyter: the kernel's module, by which it knows, and a player of sound."""
    display = types.ModuleType("IPython.display")
    display.Audio = lambda waveform, rate: print(f"{len(waveform) / rate:.2f} s of sound")
    sys.modules |= {name: types.ModuleType(name) for name in ("ipykernel", "IPython")} | {"IPython.display": display}


def main() -> None:
    script, replacements, checks = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
    load_kernel()
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sources = [cell.source for cell in jupytext.read(script).cells if cell.cell_type == "code"]
    for old, new in replacements.items():
        assert any(old in source for source in sources), f"{script.name}: no cell holds {old}"
        sources = [source.replace(old, new) for source in sources]
    for number, source in enumerate(sources, 1):
        exec(compile(source, f"{script.name}, code cell {number}", "exec"), module.__dict__)  # noqa: S102
    for check in checks:
        assert eval(check, module.__dict__), f"{script.name}: {check} does not hold after the last cell"  # noqa: S307


if __name__ == "__main__":
    main()
