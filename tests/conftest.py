"""Shared fixtures: roots of a throw-away language, and tiny encoders. Plain helpers are in tests/synthetic.py."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from synthetic import save_tiny_encoder, write_segments, write_units

# Files that take longest, longest first. Each stays on one process, so these begin before all others: one that began
# last would run alone.
LONG_FILES = (
    "test_scripts",
    "test_speech_llm_scripts",
    "test_hostile_cases",
    "test_bench_vocoder",
    "test_trainer_vocoder",
    "test_trainer_translation",
    "test_translate_speech",
    "test_modal_task",
    "test_processes",
    "test_shell",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: runs with --slow"))


@pytest.fixture
def language_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Empty DATA_ROOT and EXP_ROOT under ``tmp_path``, set in the environment: {"data": …, "exp": …}."""
    roots = {"data": tmp_path / "data", "exp": tmp_path / "exp"}
    for name, root in roots.items():
        root.mkdir()
        monkeypatch.setenv(f"{name.upper()}_ROOT", str(root))
    for name in ("TRAINING_LANGUAGE", "TAG", "DATA_ARGS", "PHASE1_ARGS", "PHASE2_ARGS", "PHASE3_ARGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORAL_UNITS_SITE", "")  # whatever this machine's cluster.toml says
    return roots


@pytest.fixture
def tiny_language(language_roots: dict[str, Path]) -> dict:
    """``language_roots`` with ten segments of Spanish: keys data, exp, rows (of segments.jsonl), language."""
    rows = write_segments(language_roots["data"], "spanish")
    return language_roots | {"rows": rows, "language": "spanish"}


@pytest.fixture
def tiny_units(tiny_language: dict) -> dict:
    """``tiny_language`` with phase 1 done on random units: further keys units (folder), n_units."""
    folder = write_units(tiny_language["exp"], tiny_language["rows"], n_units=12)
    return tiny_language | {"units": folder, "n_units": 12}


@pytest.fixture(scope="session")
def tiny_xlsr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder shaped like XLS-R: wav2vec2 with layer norm, random weights."""
    return save_tiny_encoder(tmp_path_factory.mktemp("tiny_xlsr"), "xlsr")


@pytest.fixture(scope="session")
def tiny_hubert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder shaped like HuBERT-base: group norm in the first convolution, random weights."""
    return save_tiny_encoder(tmp_path_factory.mktemp("tiny_hubert"), "hubert")


@pytest.fixture(scope="session")
def tiny_wavlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_encoder(tmp_path_factory.mktemp("tiny_wavlm"), "wavlm")


@pytest.fixture(scope="session")
def tiny_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_encoder(tmp_path_factory.mktemp("tiny_whisper"), "whisper")


@pytest.fixture(scope="session")
def without_locks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables under which a program meets a file system that knows no flock(2), as some Lustre, SMB and FUSE."""
    if shutil.which("gcc") is None or sys.platform != "linux":
        pytest.skip("gcc and Linux are needed to stand in for a file system without locks")
    folder = tmp_path_factory.mktemp("without_locks")
    (folder / "none.c").write_text("#include <errno.h>\nint flock(int fd, int op) { errno = ENOSYS; return -1; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "none.so", folder / "none.c"], check=True)
    return {"LD_PRELOAD": str(folder / "none.so")}
