"""The documentation is true: commands name scripts that exist, with flags that they have; links and code resolve."""

import ast
import functools
import re
import shlex
from xml.etree import ElementTree

import pytest

from languages import LANGUAGE_CONFIGS
from synthetic import REPOSITORY, run_script

PAGES = (
    "README.md",
    "AGENTS.md",
    "RESULTS.md",
    "LOG.md",
    "docs/phase1.md",
    "docs/phase2.md",
    "docs/phase3.md",
    "docs/launching.md",
    "docs/speech_llm.md",
    "docs/speech_llm_data.md",
)
# What the wrapper scripts hand their further flags to, and which variables hold flags of which script.
BEHIND = {
    "scripts/run_phase1.sh": "src/extract_units.py",
    "scripts/run_phase2.sh": "src/train_bpe.py",
    "scripts/run_phase3.sh": "src/trainer_vocoder.py",
    "scripts/train_vocoder.sh": "src/trainer_vocoder.py",
    "recipes/mp3_folder/prepare.sh": "scripts/segment_audio.py",
    "scripts/bench/bench_vocoder.sh": "scripts/bench/bench_vocoder.py",
    "recipes/hf_dataset/prepare.sh": "recipes/hf_dataset/prepare_dataset.py",
    **{f"scripts/{name}.sh": "src/trainer_base.py" for name in ("train", "train_pre", "train_post_wlg")},
    "scripts/sweep_connectors.sh": "src/trainer_base.py",
}
# What a benchmark hands the flags after -- to.
AFTER_DASHES = {
    "scripts/bench/bench_processes.py": "src/extract_units.py",
    "scripts/bench/bench_vocoder.py": "src/trainer_vocoder.py",
    "scripts/bench/bench_vocoder.sh": "src/trainer_vocoder.py",
}
IN_VARIABLES = {
    "DATA_ARGS": "scripts/segment_audio.py",
    "PHASE1_ARGS": "src/extract_units.py",
    "PHASE2_ARGS": "src/train_bpe.py",
    "PHASE3_ARGS": "src/trainer_vocoder.py",
}
# modal run hands them to an entry point, which has no --help of its own.
MODAL_FLAGS = frozenset(
    re.findall(r'"(--[a-z0-9_]+)"', (REPOSITORY / "src/launching/modal_jobs.py").read_text("utf-8"))
)
COMMAND = re.compile(
    r"(?:^|[\s`(])((?:[A-Z][A-Z0-9_]*=(?:\"[^\"]*\"|\S+) )*(?:python|bash) (?:src|scripts|recipes)/[^`\n]*)"
)


def read(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def commands(page: str) -> list[str]:
    """Every command of a page, in code blocks and in running text, without comments."""
    found = [match.group(1) for match in COMMAND.finditer(read(page))]
    return [re.split(r"\s+#\s| → |\s{2,}", command)[0].rstrip("`.,;") for command in found]


ALL_COMMANDS = sorted({(page, command) for page in PAGES for command in commands(page)})


@functools.cache
def flags_of(script: str) -> frozenset[str]:
    shown = run_script(script, "--help", env={"COLUMNS": "200"}).stdout
    return frozenset(re.findall(r"(?<![\w-])--[a-z0-9_]+", shown))


def used_flags(words: list[str]) -> set[str]:
    return {word.split("=")[0].replace("-", "_").replace("__", "--", 1) for word in words if word.startswith("--")}


def test_the_pages_hold_commands() -> None:
    assert len(ALL_COMMANDS) > 25
    scripts = {word for _, command in ALL_COMMANDS for word in command.split() if word.startswith("src/")}
    assert {"src/extract_units.py", "src/train_bpe.py", "src/trainer_vocoder.py", "src/vocoder_test.py"} <= scripts


@pytest.mark.parametrize(("page", "command"), ALL_COMMANDS)
def test_a_command_names_an_existing_script_and_its_flags(page: str, command: str) -> None:
    words = shlex.split(command)
    variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z][A-Z0-9_]*=", word))
    words = [word for word in words if not re.match(r"[A-Z][A-Z0-9_]*=", word)][1:]
    # What a launcher is given after -- is a command of its own.
    cut = words.index("--") if "--" in words else len(words)
    before, after = words[:cut], words[cut + 1 :]
    if after and before[0] in AFTER_DASHES:
        after = [AFTER_DASHES[before[0]], *after]
    for script, *rest in filter(None, (before, after)):
        assert (REPOSITORY / script).is_file(), f"{page}: {command}: no such script"
        target = BEHIND.get(script, script)
        flags = used_flags(rest) - {"--help"}
        if flags:
            assert target.endswith(".py"), f"{page}: {script} takes no flags"
            assert flags <= flags_of(target), f"{page}: {command}: {target} has no {sorted(flags - flags_of(target))}"
    for name, value in variables.items():
        if name in IN_VARIABLES:
            flags = used_flags(shlex.split(value))
            assert flags <= flags_of(IN_VARIABLES[name]), f"{page}: {command}: {sorted(flags)}"


@pytest.mark.parametrize("page", ["docs/phase1.md", "docs/phase2.md", "docs/phase3.md", "docs/speech_llm.md"])
def test_every_flag_of_a_hyperparameter_table_exists(page: str) -> None:
    scripts = {"docs/phase1.md": "extract_units", "docs/phase2.md": "train_bpe", "docs/phase3.md": "trainer_vocoder"}
    scripts |= {"docs/speech_llm.md": "trainer_base"}
    table = read(page).split("## Hyperparameters")[1].split("\n## ")[0]
    flags = set(re.findall(r"`(--[a-z0-9_]+)", table))
    assert flags and flags <= flags_of(f"src/{scripts[page]}.py")


def test_every_flag_in_running_text_belongs_to_some_script() -> None:
    files = [*(REPOSITORY / "src").glob("*.py"), *(REPOSITORY / "scripts").glob("*.py")]
    scripts = [path for path in files if "def parse_args" in path.read_text(encoding="utf-8")]
    known = frozenset.union(*(flags_of(str(path.relative_to(REPOSITORY))) for path in scripts)) | MODAL_FLAGS
    for page in PAGES:
        named = used_flags(re.findall(r"`(--[a-z][a-z0-9_-]+)", read(page)))
        assert named <= known, f"{page}: no script has {sorted(named - known)}"


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", read(page)) + re.findall(r'src="([^"]+)"', read(page))
    for target in targets:
        if not target.startswith("http"):
            assert ((REPOSITORY / page).parent / target).exists(), f"{page}: {target} does not exist"


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_parse(page: str) -> None:
    for block in re.findall(r"```python\n(.*?)```", read(page), re.DOTALL):
        if "# Bad" not in block:
            ast.parse(block)


def test_the_readme_lists_every_language_and_every_recipe() -> None:
    readme = read("README.md")
    assert all(f"`{language}`" in readme for language in LANGUAGE_CONFIGS)


def test_old_names_lead_to_commands() -> None:
    for old, page in (
        ("phase1_acoustic.py", "docs/phase1.md"),
        ("phase2_bpe.py", "docs/phase2.md"),
        ("phase3_vocoder_v2.py", "docs/phase3.md"),
        ("vocoder_test_v2.py", "docs/phase3.md"),
    ):
        row = next(line for line in read(page).splitlines() if line.startswith("|") and f"`{old}`" in line)
        assert COMMAND.search(row), f"{page}: {old} leads to no command"


def test_the_readme_says_consent_and_foreign_licences() -> None:
    readme = read("README.md")
    assert readme.index("Consent first") < readme.index("mp3_folder/prepare.sh")
    assert "GPL" in readme and "non-commercial" in readme and "CC-BY-SA" in readme


def test_the_picture_is_well_formed_and_described() -> None:
    root = ElementTree.parse(REPOSITORY / "docs" / "pipeline.svg").getroot()
    names = [child.tag.split("}")[1] for child in root]
    assert names[:2] == ["title", "desc"] and "prefers-color-scheme: dark" in read("docs/pipeline.svg")


def test_outputs_stay_out_of_git() -> None:
    ignored = (REPOSITORY / ".gitignore").read_text().split()
    assert {"/exp/", "/data/", "/.cache/"} <= set(ignored)
    for page in PAGES:
        assert not re.search(r"/(?:home|root|tmp/w|work)/", read(page)), f"{page} names a path of one machine"


def test_the_map_names_folders_that_exist() -> None:
    for folder in ("models", "speech", "units", "training", "evaluation"):
        assert (REPOSITORY / "src" / folder).is_dir() and f"{folder}/" in read("AGENTS.md")
