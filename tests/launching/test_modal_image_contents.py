"""What is uploaded to Modal and what is not, and which packages its machines get."""

import shutil
from pathlib import Path

import pytest

from launching.modal_image_contents import BASE_VOICES, CODE_FOLDERS, is_ignored, is_no_voice_file, read_requirements
from synthetic import REPOSITORY


def test_ignore_rules_on_a_real_tree(tmp_path: Path) -> None:
    """All code that git tracks is uploaded; recordings, results, caches, notes and secrets planted among it are not."""
    planted = (
        *("src/exp/run/latest.pt", "src/data/a.txt", "src/.env", "src/prod.env", "src/.git/config", "src/x.log"),
        *("src/models/__pycache__/a.cpython-311.pyc", "scripts/.modal.toml", "scripts/id_rsa", "scripts/key.pem"),
        *("scripts/modal_downloads/scores.json", "scripts/my_secrets.json", "scripts/credentials.json"),
        *("scripts/.cache/x", "scripts/voice.wav", "recipes/satere/raw.mp3", "recipes/satere/weights.safetensors"),
        *(
            "recipes/.ipynb_checkpoints/a.py",
            "src/hf_token.txt",
            "recipes/satere/kaggle.json",
            "src/token",
            "src/x.py~",
        ),
        *(
            "recipes/satere/a.opus",
            "recipes/satere/a.aiff",
            "recipes/satere/interview.mp4",
            "recipes/satere/a.eaf",
            "src/x.py~",
        ),
        *("src/models/old.bin", "src/models/old.pth", "recipes/satere/speakers.tsv", "recipes/satere/notes.md"),
    )
    kept = set()
    for folder in CODE_FOLDERS:
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
        kept |= {path.relative_to(tmp_path) for path in (tmp_path / folder).rglob("*") if path.is_file()}
    for name in planted:
        assert Path(name) not in kept
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("private")
    uploaded = {
        path.relative_to(tmp_path)
        for folder in CODE_FOLDERS
        for path in (tmp_path / folder).rglob("*")
        if path.is_file() and not is_ignored(path.relative_to(tmp_path / folder))
    }
    assert uploaded == kept and len(kept) > 100


@pytest.mark.parametrize("voice", BASE_VOICES)
def test_of_a_base_voice_only_the_voice_goes_up(voice: str) -> None:
    names = {path.name for path in (REPOSITORY / voice).iterdir() if path.is_file()}
    assert {"config.json", "model.safetensors"} <= names
    assert not [name for name in names if is_no_voice_file(Path(name))]
    for name in (".env", "hf_token.txt", "sample.wav", "samples/config.json", "notes.md", "latest.pt"):
        assert is_no_voice_file(Path(name))


def test_every_folder_of_a_base_voice_goes_up() -> None:
    folders = {path.parent for path in (REPOSITORY / "voices").rglob("model.safetensors")}
    assert {str(folder.relative_to(REPOSITORY)) for folder in folders} == set(BASE_VOICES)


def test_the_image_holds_what_path_sh_asks_for() -> None:
    found = read_requirements()
    assert {"torch>=2.9", "pytest>=8"} <= set(found)
    pinned = {line.split("==")[0].lower() for line in (REPOSITORY / "constraints.txt").read_text().splitlines()}
    assert {line.split(">=")[0].lower() for line in found} <= pinned
