"""The documentation is true: commands name scripts that exist, with flags that they have; links and code resolve."""

import argparse
import ast
import functools
import importlib.util
import re
import shlex
import sys
import tomllib
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

import pytest
import yaml

from languages import LANGUAGE_CONFIGS
from synthetic import REPOSITORY

PAGES = sorted(
    str(path.relative_to(REPOSITORY)) for path in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]
)
# What the wrapper scripts hand their further flags to, and which variables hold flags of which script.
BEHIND = {
    "scripts/run_phase1.sh": "src/extract_units.py",
    "scripts/run_phase2.sh": "src/train_bpe.py",
    "scripts/run_phase3.sh": "src/trainer_vocoder.py",
    "scripts/run_unit_lm.sh": "src/trainer_unit_lm.py",
    "scripts/run_translation.sh": "src/trainer_translation.py",
    "recipes/prompt_pairs/prepare.sh": "recipes/prompt_pairs/build_pairs.py",
    "scripts/train_vocoder.sh": "src/trainer_vocoder.py",
    "recipes/base_voice/train.sh": "src/trainer_vocoder.py",
    "recipes/mp3_folder/prepare.sh": "scripts/segment_audio.py",
    "scripts/bench/bench_vocoder.sh": "scripts/bench/bench_vocoder.py",
    "recipes/hf_dataset/prepare.sh": "recipes/hf_dataset/prepare_dataset.py",
    **{f"scripts/{name}.sh": "src/trainer_base.py" for name in ("train", "train_pre", "train_post_wlg")},
    "scripts/sweep_connectors.sh": "src/trainer_base.py",
}
# What a benchmark hands the flags after -- to.
AFTER_DASHES = {
    "src/cross_validate.py": "src/trainer_base.py",
    "scripts/bench/bench_processes.py": "src/extract_units.py",
    "scripts/bench/bench_vocoder.py": "src/trainer_vocoder.py",
    "scripts/bench/bench_vocoder.sh": "src/trainer_vocoder.py",
}
IN_VARIABLES = {
    "DATA_ARGS": "scripts/segment_audio.py",
    "PHASE1_ARGS": "src/extract_units.py",
    "PHASE2_ARGS": "src/train_bpe.py",
    "PHASE3_ARGS": "src/trainer_vocoder.py",
    "UNIT_LM_ARGS": "src/trainer_unit_lm.py",
}
# modal run hands them to an entry point, which has no --help of its own.
MODAL_FLAGS = frozenset(
    re.findall(r'"(--[a-z0-9_]+)"', (REPOSITORY / "src/launching/modal_flags.py").read_text("utf-8"))
)
COMMAND = re.compile(
    r"(?:^|[\s`(])((?:[A-Z][A-Z0-9_]*=(?:\"[^\"]*\"|\S+) )*(?:python|bash) (?:src|scripts|recipes)/[^`\n]*)"
)
HYPERPARAMETERS = {
    "docs/phase1.md": "src/extract_units.py",
    "docs/phase2.md": "src/train_bpe.py",
    "docs/phase3.md": "src/trainer_vocoder.py",
    "docs/speech_llm.md": "src/trainer_base.py",
    "docs/language_model.md": "src/trainer_unit_lm.py",
    "docs/translation.md": "src/trainer_translation.py",
}


def read(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def commands(page: str) -> list[str]:
    """Every command of a page, in code blocks and in running text, without comments."""
    found = [match.group(1) for match in COMMAND.finditer(read(page))]
    return [re.split(r"\s+#\s| → |\s{2,}", command)[0].rstrip("`.,;") for command in found]


ALL_COMMANDS = sorted({(page, command) for page in PAGES for command in commands(page)})


class ParserFound(Exception):
    """Carries a script's parser out of its parse_args."""


@functools.cache
def parser_of(script: str) -> argparse.ArgumentParser:
    """The parser of a script, hidden aliases included, without the seconds that a process of its own takes."""
    spec = importlib.util.spec_from_file_location(f"docs_{Path(script).stem}", REPOSITORY / script)
    module = importlib.util.module_from_spec(spec)

    def stop(parser: argparse.ArgumentParser, *_, **__) -> None:
        raise ParserFound(parser)

    with mock.patch.object(sys, "path", [*sys.path]):
        spec.loader.exec_module(module)
    with mock.patch.object(argparse.ArgumentParser, "parse_args", stop), pytest.raises(ParserFound) as found:
        module.parse_args([])
    return found.value.args[0]


def subparsers_of(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [parser, *(child for action in nested for child in action.choices.values())]


def flags_of(script: str) -> frozenset[str]:
    return frozenset(flag for parser in subparsers_of(parser_of(script)) for flag in parser._option_string_actions)


def used_flags(words: list[str]) -> set[str]:
    return {word.split("=")[0].replace("-", "_").replace("__", "--", 1) for word in words if word.startswith("--")}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", read(page), re.DOTALL)


def tables(page: str) -> list[list[list[str]]]:
    """Every table of a page, as rows of cells; the second row is the rule."""
    found = re.findall(r"(?:^\|.*\n)+", read(page) + "\n", re.MULTILINE)
    return [[re.split(r"(?<!\\)\|", line.strip()[1:-1]) for line in table.splitlines()] for table in found]


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_pages_hold_commands() -> None:
    assert len(ALL_COMMANDS) > 25 and {"README.md", "docs/results/speed.md", "docs/glossary.md"} <= set(PAGES)
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
        flags = used_flags(rest) - {"--help", "--help_all"}
        if flags:
            assert target.endswith(".py"), f"{page}: {script} takes no flags"
            assert flags <= flags_of(target), f"{page}: {command}: {target} has no {sorted(flags - flags_of(target))}"
    for name, value in variables.items():
        if name in IN_VARIABLES:
            flags = used_flags(shlex.split(value))
            assert flags <= flags_of(IN_VARIABLES[name]), f"{page}: {command}: {sorted(flags)}"


@pytest.mark.parametrize("page", HYPERPARAMETERS)
def test_every_flag_of_a_hyperparameter_table_exists(page: str) -> None:
    table = read(page).split("## Hyperparameters")[1].split("\n## ")[0]
    flags = set(re.findall(r"`(--[a-z0-9_]+)", table))
    assert flags and flags <= flags_of(HYPERPARAMETERS[page])


def stated_defaults(page: str) -> dict[str, float]:
    """Flag → number, of the rows of a table of hyperparameters with one flag and a number alone as its default."""
    rows = [row for table in tables(page) if table[0][0].strip() == "flag" and len(table[0]) == 3 for row in table[2:]]
    found = {}
    for flags, default, _ in rows:
        names, number = re.findall(r"--[a-z0-9_]+", flags), re.match(r"\s*(\d[\d,]*\.?\d*|\.\d+)\s*(?:$|%|\()", default)
        if len(names) == 1 and number:
            found[names[0]] = float(number[1].replace(",", ""))
    return found


@pytest.mark.parametrize("page", HYPERPARAMETERS)
def test_the_defaults_of_a_hyperparameter_table_are_those_of_the_code(page: str) -> None:
    parser, stated = parser_of(HYPERPARAMETERS[page]), stated_defaults(page)
    assert stated
    known = {flag: parser.get_default(flag[2:]) for flag in stated}
    # A flag without a default of its own takes the language table's.
    assert {flag: known[flag] for flag in stated if known[flag] is not None} == {
        flag: number for flag, number in stated.items() if known[flag] is not None
    }


def test_every_flag_in_running_text_belongs_to_some_script() -> None:
    files = [path for folder in ("src", "scripts", "scripts/bench") for path in (REPOSITORY / folder).glob("*.py")]
    scripts = [path for path in files if "def parse_args" in path.read_text(encoding="utf-8")]
    known = frozenset.union(*(flags_of(str(path.relative_to(REPOSITORY))) for path in scripts)) | MODAL_FLAGS
    known |= {"--help", "--help_all"}
    for page in PAGES:
        named = used_flags(re.findall(r"`(--[a-z][a-z0-9_-]+)", read(page)))
        assert named <= known, f"{page}: no script has {sorted(named - known)}"


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", read(page)) + re.findall(r'src="([^"]+)"', read(page)):
        name, _, anchor = target.partition("#")
        if not name.startswith("http"):
            path = (REPOSITORY / page).parent / name if name else REPOSITORY / page
            assert path.exists(), f"{page}: {target} does not exist"
            assert not anchor or anchor in anchors(path), f"{page}: {target}: no heading of that name"


@pytest.mark.parametrize("page", PAGES)
def test_files_named_in_the_text_exist(page: str) -> None:
    for name in re.findall(r"\b(?:src|scripts|tests|recipes|docs)/[\w/]+\.(?:py|sh|md|svg)\b", read(page)):
        assert (REPOSITORY / name).is_file(), f"{page}: {name} does not exist"


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_parse(page: str) -> None:
    """Whole blocks, and the good half of those that set it beside a bad one."""
    for block in blocks(page, "python"):
        if "# Bad" not in block:
            ast.parse(block)
        elif beside := [line.split("# Bad")[0] for line in block.splitlines() if "# Good" in line and "# Bad" in line]:
            width = len(beside[0])
            ast.parse("\n".join(line[:width].rstrip() for line in block.splitlines()))
        else:
            ast.parse(block.split("# Bad")[0])


def test_every_language_and_every_recipe_is_listed() -> None:
    usage = "\n".join(read(page) for page in ("README.md", "docs/usage.md"))
    assert [name for name in LANGUAGE_CONFIGS if f"`{name}`" not in usage] == []
    pages = "\n".join(read(page) for page in PAGES)
    recipes = [path.parent.name for path in (REPOSITORY / "recipes").glob("*/prepare.sh")]
    assert len(recipes) > 5
    assert [name for name in recipes if f"`{name}`" not in usage and f"recipes/{name}/prepare.sh" not in pages] == []


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
    assert readme.index("Consent first") < readme.index("run_all.sh guarani /path/to/recordings")
    licences = readme.split("\n## Licences\n")[1]
    assert "Praat is GPL" in licences and "non-commercial" in licences and "CC-BY-SA" in licences


def test_the_readme_sets_the_shell_up_before_a_script_that_needs_it() -> None:
    for section in re.split(r"^## ", read("README.md"), flags=re.MULTILINE):
        if "python src/" in section:
            assert "source path.sh" in section.split("python src/")[0], section.splitlines()[0]


def test_results_lists_every_page_once_and_a_link_a_line() -> None:
    lines = [line for line in read("RESULTS.md").splitlines() if line.startswith("- ")]
    linked = [re.match(r"- \[[^\]]+\]\(docs/results/(\w+)\.md\) \S", line) for line in lines]
    assert all(linked) and "](" not in "".join(line.split(")", 1)[1] for line in lines)
    assert sorted(found[1] for found in linked) == sorted(path.stem for path in REPOSITORY.glob("docs/results/*.md"))


def test_the_glossary_is_in_alphabetical_order() -> None:
    terms = re.findall(r"^\*\*(.+?)\.\*\*", read("docs/glossary.md"), re.MULTILINE)
    assert len(terms) > 55 and terms == sorted(terms, key=str.casefold)


@pytest.mark.parametrize("page", ["README.md", "docs/usage.md"])
def test_own_recordings_begin_with_a_first_look(page: str) -> None:
    own = [command for command in commands(page) if "/path/to/recordings" in command]
    assert own[0] == "python scripts/inspect_recordings.py /path/to/recordings"


def test_the_licence_is_the_same_everywhere() -> None:
    text = read("LICENSE")
    assert "Apache License" in text and "9. Accepting Warranty or Additional Liability" in text and len(text) > 11_000
    citation = yaml.safe_load(read("CITATION.cff"))
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert citation["license"] == project["license"] == "Apache-2.0"
    assert str(citation["version"]) == project["version"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert all(author.get("name") or author.get("family-names") for author in citation["authors"])


def test_the_picture_shows_what_the_readme_says() -> None:
    root = ElementTree.parse(REPOSITORY / "docs" / "pipeline.svg").getroot()
    names = [child.tag.split("}")[1] for child in root]
    assert names[:2] == ["title", "desc"] and all(child.text.strip() for child in root[:2])
    assert "prefers-color-scheme: dark" in read("docs/pipeline.svg")
    shown = " ".join("".join(child.itertext()) for child in root).lower()
    alternative = re.search(r'pipeline.svg" alt="([^"]+)"', read("README.md"))[1].lower()
    for word in ("segments", "units", "motifs", "voice", "report"):
        assert word in shown and word in alternative, word


def test_outputs_stay_out_of_git() -> None:
    ignored = (REPOSITORY / ".gitignore").read_text().split()
    assert {"/exp/", "/data/", "/.cache/"} <= set(ignored)
    for page in PAGES:
        assert not re.search(r"/(?:home|root|tmp/w|work)/", read(page)), f"{page} names a path of one machine"


def test_the_map_names_every_folder_of_src() -> None:
    rows = read("AGENTS.md").split("## Map")[1].split("```")[1]
    named = set(re.findall(r"^  (\w+)/ ", rows, re.MULTILINE))
    assert named == {path.name for path in (REPOSITORY / "src").iterdir() if any(path.glob("*.py"))}


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/results/")])
def test_a_page_of_results_is_linked_and_has_narrow_tables_below_commands(page: str) -> None:
    pages = ["RESULTS.md", *(other for other in PAGES if other.startswith("docs/results/") and other != page)]
    assert any(f"{Path(page).name})" in read(other) for other in pages), f"{page}: no page of results links to it"
    assert max((len(table[0]) for table in tables(page)), default=0) <= 6
    before = read(page).split("\n| ")[0]
    assert "```" in before or "`python " in before, f"{page}: no command above its first table"


def test_messages_of_the_troubleshooting_page_stand_in_the_code() -> None:
    files = [path for folder in ("src", "scripts") for path in (REPOSITORY / folder).rglob("*.*")]
    code = "\n".join(
        path.read_text(encoding="utf-8") for path in [*files, REPOSITORY / "path.sh"] if path.suffix in (".py", ".sh")
    )
    rows = tables("docs/troubleshooting.md")[0][2:]
    messages = [message for row in rows for message in re.findall(r"`([^`]+)`", row[0])]
    assert len(messages) > 5
    assert [message for message in messages if message.removeprefix("path.sh: ") not in code] == []


def test_the_log_has_a_dated_heading_for_each_entry_newest_first() -> None:
    headings = re.findall(r"^## (.*)", read("LOG.md"), re.MULTILINE)
    dates = [re.fullmatch(r"(\d{4}-\d\d-\d\d): \S.*", heading)[1] for heading in headings]
    assert len(dates) > 50 and dates == sorted(dates, reverse=True)


def defined_names(path: Path) -> set[str]:
    """Functions, classes, methods (``Class.method``) and constants of a file."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
            names |= {f"{node.name}.{inner.name}" for inner in ast.walk(node) if isinstance(inner, ast.FunctionDef)}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


NAMED_CODE = re.compile(r"`((?:\w+/)*\w+\.py)(?::([\w.]+))?`")


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/python_usage.md"])
def test_files_and_functions_named_in_the_walks_exist(page: str) -> None:
    named = NAMED_CODE.findall(read(page))
    assert len(named) > 5
    for file, name in named:
        path = next((path for path in (REPOSITORY / "src" / file, REPOSITORY / file) if path.is_file()), None)
        assert path, f"{page}: {file} does not exist"
        assert not name or name in defined_names(path), f"{page}: {file} has no {name}"


def test_the_picture_of_the_floors_is_that_of_the_test() -> None:
    drawn = re.findall(r"^ +floor (\d) +(.*)", read("docs/architecture.md"), re.MULTILINE)
    spec = importlib.util.spec_from_file_location("docs_floors", REPOSITORY / "tests" / "core" / "test_floors.py")
    floors = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(floors)
    assert [set(names.split()) for _, names in sorted(drawn)] == [set(floor) for floor in floors.FLOORS]
    assert [int(number) for number, _ in drawn] == list(reversed(range(len(floors.FLOORS))))
