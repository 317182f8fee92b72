import argparse
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

import pytest

import fetch_models
from estimate_needs import estimate_megabytes, estimate_minutes, measure_hours

from core.cli import run_main
from languages import language_paths
from synthetic import REPOSITORY, run_bash, run_script, shell_environment, speech_like, write_mp3, write_segments

SHELL_FILES = sorted([*REPOSITORY.glob("scripts/*.sh"), *REPOSITORY.glob("recipes/*/*.sh"), REPOSITORY / ".ci" / "run"])
PYTHON_SCRIPTS = sorted(
    path
    for folder in ("src", "scripts", "recipes/*")
    for path in REPOSITORY.glob(f"{folder}/*.py")
    if "def parse_args(" in path.read_text(encoding="utf-8")
)
# Traps SIGTERM, and Ctrl-C where {caught} says so, as the trainer does: saves, then exits with 99.
SLOW_STEP = """
import pathlib, signal, sys, time
def save(*_):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as run_main does: the script hands on the same Ctrl-C
    pathlib.Path(sys.argv[1], "saved").touch()
    sys.exit(99)
for number in {caught}:
    signal.signal(number, save)
pathlib.Path(sys.argv[1], "started").touch()
time.sleep(60)
"""


def call_functions(text: str) -> subprocess.CompletedProcess:
    """Run ``text`` in a script that has sourced shell_functions.sh."""
    return run_bash("-c", f"set -euo pipefail\nsource '{REPOSITORY}/scripts/shell_functions.sh'\n{text}")


@pytest.mark.parametrize("script", SHELL_FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_shell_scripts_parse_and_lint(script: Path) -> None:
    assert run_bash("-n", script).returncode == 0
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    folder = str(script.parent)
    done = subprocess.run(
        ["shellcheck", "-x", "-P", folder, str(script)], check=False, capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "name",
    [
        "run_all",
        "run_phase1",
        "run_phase2",
        "run_phase3",
        "run_unit_lm",
        "run_translation",
        "run_tests",
        "make_environment",
    ],
)
def test_help_says_how_to_call_it(name: str) -> None:
    done = run_bash(REPOSITORY / "scripts" / f"{name}.sh", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: bash scripts/{name}.sh")
    assert "set -euo" not in done.stdout


def test_ci_calls_the_readme_command() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "bash scripts/run_tests.sh"


@pytest.mark.parametrize("script", PYTHON_SCRIPTS, ids=lambda path: path.name)
def test_every_flag_has_a_help_text(script: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """--help prints (a lone % would break it) and no flag is without a word of explanation."""
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
    flags: list[argparse.Action] = []
    parse = argparse.ArgumentParser.parse_args

    def spy(parser: argparse.ArgumentParser, *args: object, **kwargs: object) -> argparse.Namespace:
        flags.extend(parser._actions)
        return parse(parser, *args, **kwargs)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", spy)
    module = importlib.import_module(script.stem)
    with pytest.raises(SystemExit) as stopped:
        module.parse_args(["--help_all" if hasattr(module, "parse_flags") else "--help"])
    assert stopped.value.code == 0
    assert "usage:" in capsys.readouterr().out
    assert [flag.dest for flag in flags if not flag.help] == []


@pytest.mark.parametrize("name", ["run_all", "run_phase1", "run_phase2", "run_phase3", "run_unit_lm"])
def test_an_unknown_language_is_one_line_that_lists_the_known(name: str) -> None:
    done = run_bash(REPOSITORY / "scripts" / f"{name}.sh", "klingon")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "klingon" in done.stderr
    assert "satere" in done.stderr


def test_language_comes_from_the_environment_and_flags_reach_the_script() -> None:
    done = run_bash(REPOSITORY / "scripts" / "run_phase3.sh", "--help-me", TRAINING_LANGUAGE="spanish")
    assert done.returncode == 2
    assert "unrecognized arguments" in done.stderr
    assert "--help_me" in done.stderr


def test_run_all_takes_no_flags_of_the_phases() -> None:
    done = run_bash(REPOSITORY / "scripts" / "run_all.sh", "spanish", "--steps", "5")
    assert done.returncode == 2
    assert "PHASE3_ARGS" in done.stderr
    for words in (("--language", "spanish", "--n_units", "9"), ("--tag=x", "--steps", "5", "--language=spanish")):
        done = run_bash(REPOSITORY / "scripts" / "run_all.sh", *words)
        assert done.returncode == 2 and "PHASE3_ARGS" in done.stderr
    done = run_bash(REPOSITORY / "scripts" / "run_all.sh", "spanish", PHASE1_ARGS="--encoder 'half a quote")
    assert done.returncode == 2
    assert "unmatched quotes" in done.stderr
    done = run_bash(REPOSITORY / "scripts" / "run_all.sh", "spanish", PHASE3_ARGS="--max_minuts 1")
    assert done.returncode == 2 and "[1/" not in done.stdout
    assert "error: PHASE3_ARGS: " in done.stderr and "--max_minuts" in done.stderr


@pytest.mark.parametrize("phase", [1, 2, 3])
def test_a_phase_alone_does_not_ignore_the_variable_of_its_flags(phase: int) -> None:
    script, variable = REPOSITORY / "scripts" / f"run_phase{phase}.sh", {f"PHASE{phase}_ARGS": "--seed 3"}
    done = run_bash(script, "spanish", **variable)
    assert done.returncode == 2
    assert f"PHASE{phase}_ARGS is read by run_all.sh only, found: --seed 3" in done.stderr
    done = run_bash(script, "nowhere", "--seed", "3", **variable)
    assert "is read by" not in done.stderr and "nowhere" in done.stderr, "as run_all.sh calls it"


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        ("DATA_ARGS", "--min-puase 0.3", "unrecognized arguments: --min_puase 0.3"),
        ("PHASE1_ARGS", "--n-unitz=50", "unrecognized arguments: --n_unitz=50"),
        ("PHASE2_ARGS", "--vocab_size many", "--vocab_size: invalid int value: 'many'"),
        ("PHASE3_ARGS", "--max-minutes 2 --sepaker ana", "unrecognized arguments: --sepaker ana"),
        ("UNIT_LM_ARGS", "--input nothing", "--input: invalid choice"),
    ],
)
def test_a_misspelt_flag_of_any_step_is_named_before_the_first(name: str, flags: str, said: str) -> None:
    found = call_functions(f"language=guarani; {name}='{flags}'; check_chain_flags ''; echo began")
    assert (found.returncode, found.stdout) == (2, "")
    (line,) = found.stderr.splitlines()
    assert line.startswith(f"error: {name}: ") and said in line


def test_flags_that_are_right_let_the_chain_begin() -> None:
    given = (
        "DATA_ARGS='--min-pause 0.3' PHASE2_ARGS='--vocab-size 300' PHASE3_ARGS='--max-minutes=2 --speaker \"Ana B\"'"
    )
    found = call_functions(f"language=guarani; {given}; check_chain_flags /somewhere; echo began")
    assert (found.returncode, found.stdout, found.stderr) == (0, "began\n", "")
    recipe = call_functions("language=spanish; DATA_ARGS='--of-the-recipe 1'; check_chain_flags ''; echo began")
    assert (recipe.returncode, recipe.stdout) == (0, "began\n")
    own = call_functions("language=spanish; DATA_ARGS='--of-the-recipe 1'; check_chain_flags /somewhere; echo began")
    assert own.returncode == 2 and "DATA_ARGS" in own.stderr


def test_a_folder_and_a_name_are_enough_and_its_list_counts_not_its_dates(language_roots, tmp_path) -> None:
    """The data step of run_all.sh; phase 1 is stopped at once by a flag that it refuses."""
    folder, script = tmp_path / "my tapes", REPOSITORY / "scripts" / "run_all.sh"

    def sources(*words: object) -> set[str]:
        done = run_bash(script, "hunsrik", *words, PHASE1_ARGS="--n_units 0", PHASE3_ARGS="--steps 5")
        assert done.returncode == 2 and "--n_units" in done.stderr, done.stderr
        lines = (language_roots["data"] / "hunsrik" / "segments.jsonl").read_text().splitlines()
        return {json.loads(line)["source"] for line in lines}

    for number in range(3):
        write_mp3(folder / f"tape_{number}.mp3", speech_like(4.0, seed=number))
    assert sources(folder) == {f"tape_{number}.mp3" for number in range(3)}
    write_mp3(folder / "old.mp3", speech_like(4.0, seed=7))
    os.utime(folder / "old.mp3", (1e9, 1e9))
    (folder / "tape_0.mp3").unlink()
    assert sources() == {"old.mp3", "tape_1.mp3", "tape_2.mp3"}
    done = run_bash(script, "hunsrik", tmp_path / "nowhere")
    assert done.returncode == 2 and "there is no such folder" in done.stderr


@pytest.mark.parametrize("script", ["scripts/run_all.sh", "recipes/mp3_folder/prepare.sh"])
def test_what_is_no_folder_of_recordings_is_named(tmp_path: Path, script: str) -> None:
    (tmp_path / "my tapes").mkdir()
    (tmp_path / "tape.mp3").touch()
    for words, said in (
        (["nowhere"], f"{tmp_path}/nowhere: there is no such folder"),
        (["tape.mp3"], f"{tmp_path}/tape.mp3: expected a folder of recordings, found a file"),
        (["my", "tapes"], f"needs quotes: '{tmp_path}/my tapes'"),
    ):
        done = run_bash(REPOSITORY / script, "guarani", f"{tmp_path}/{words[0]}", *words[1:], DATA_ROOT=str(tmp_path))
        assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1, done.stderr
        assert not (tmp_path / "guarani").exists()


@pytest.mark.parametrize("name", ["scripts/run_all.sh", "recipes/mp3_folder/prepare.sh"])
def test_a_folder_without_a_language_is_told_apart(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "My tapes"
    folder.mkdir()
    for words, language in (
        ([folder], "LANGUAGE"),
        ([folder, "guarani"], "guarani"),
        (str(folder).split(), "LANGUAGE"),
    ):
        done = run_bash(REPOSITORY / name, *words, DATA_ROOT=str(tmp_path / "data"))
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.endswith(f"bash {name} {language} '{folder}'\n"), done.stderr


def test_a_folder_at_hand_is_no_language_but_where_it_is_known(tmp_path: Path) -> None:
    for name, code in (("My tapes", 2), ("tapes", 2), ("spanish", 0)):
        (tmp_path / name).mkdir()
        done = call_functions(f"cd {tmp_path}; require_language x.sh '{name}'")
        assert done.returncode == code and ("expected a language first" in done.stderr) == bool(code), done.stderr


def test_words_are_shown_as_they_are_typed() -> None:
    text = "as_typed python src/x.py --exp '/data/my exp/é' ''; tag='a b' language=ava; command_for x.sh"
    done = call_functions(text)
    assert done.stdout == "python src/x.py --exp '/data/my exp/é' ''\nTAG='a b' bash scripts/x.sh ava\n"


def test_without_recordings_the_recipe_for_folders_is_named(language_roots: dict[str, Path]) -> None:
    done = run_bash(REPOSITORY / "scripts" / "run_all.sh", "satere", PHASE3_ARGS="--steps 5")
    assert done.returncode == 2
    assert "prepare.sh" in done.stderr
    assert not list(language_roots["exp"].iterdir())


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("", "8"),
        ("--max_minutes 3", "3"),
        ("--max-minutes 3", "3"),
        ("--max-minutes=3 --max_minutes=4", "4"),
        ("--steps --max_minute 5", "8"),
    ],
)
def test_flag_values_are_read_as_argparse_reads_them(words: str, value: str) -> None:
    assert call_functions(f"flag_value --max-minutes 8 {words}").stdout == f"{value}\n"


def test_resume_is_asked_for_unless_the_user_says_otherwise() -> None:
    show = 'start_phase "$@"; printf "%s " "${flags[@]}"'
    assert call_functions(f"set -- spanish --seed 1; {show}").stdout == "--resume auto --seed 1 "
    assert call_functions(f"set -- spanish --overwrite; {show}").stdout == "--overwrite "
    assert call_functions(f"set -- spanish --resume=latest; {show}").stdout == "--resume=latest "


def test_small_recipes_have_a_budget_and_others_the_trainers_own() -> None:
    show = 'read_budget "$(chosen_encoder)" "${flags[@]}"; printf "%s " "${budget[@]}"'
    assert call_functions(f"start_phase spanish; {show}").stdout == "--max-minutes=4 "
    assert call_functions(f"start_phase spanish --steps 70; {show}").stdout == "--steps=70 "
    assert call_functions(f"start_phase satere; {show}").stdout.strip() == ""


@pytest.mark.parametrize("encoder", ["mfcc", "logmel"])
def test_units_without_a_download_have_the_small_budget(language_roots: dict[str, Path], encoder: str) -> None:
    """Chosen by a flag of phase 1, or by what phase 1 was run with."""
    show = f'read_budget "$(chosen_encoder --encoder {encoder})"; printf "%s " "${{budget[@]}}"'
    assert call_functions(f"start_phase satere; {show}").stdout == "--max-minutes=4 "
    units = language_paths("satere")["units"]
    units.mkdir(parents=True)
    (units / "config.json").write_text(f'{{\n  "derived": {{\n    "encoder": "{encoder}"\n  }}\n}}')
    show = 'read_budget "$(chosen_encoder)"; printf "%s " "${budget[@]}"'
    assert call_functions(f"start_phase satere; {show}").stdout == "--max-minutes=4 "


def test_units_of_a_fetched_encoder_have_the_trainers_budget(language_roots: dict[str, Path]) -> None:
    """Of a language, too, whose own encoder is mfcc."""
    units = language_paths("spanish")["units"]
    units.mkdir(parents=True)
    (units / "config.json").write_text('{"arguments": {"encoder": "facebook/hubert"}, "derived": {"n_units": 3}}')
    show = 'chosen_encoder; read_budget "$(chosen_encoder)"; echo "${budget[@]}"'
    assert call_functions(f"start_phase spanish; {show}").stdout.split() == ["facebook/hubert"]


def test_memory_that_runs_out_is_one_line(capsys: pytest.CaptureFixture) -> None:
    def run_out() -> None:
        torch.empty(2**60)

    for flags, remedy in (({"less_memory": "--bsize 4"}, "try --bsize 4, or a machine"), ({}, "try a machine")):
        with pytest.raises(SystemExit) as stopped:
            run_main(run_out, **flags)
        (line,) = capsys.readouterr().err.splitlines()
        assert stopped.value.code == 2 and "out of memory" in line and f"; {remedy} with more" in line

    def defect() -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        run_main(defect)


def start_slow_step(folder: Path, caught: tuple[str, ...] = ("SIGTERM",)) -> subprocess.Popen:
    step = SLOW_STEP.format(caught=[f"signal.{name}" for name in caught]).replace("'", "")
    text = (
        f"set -euo pipefail; source '{REPOSITORY}/scripts/shell_functions.sh'; language=spanish\n"
        f"run_step '{sys.executable}' -c \"$0\" '{folder}'; echo went on"
    )
    running = subprocess.Popen(
        # Tests that run in the background of a shell have Ctrl-C ignored, and would hand that on.
        ["env", "--default-signal=INT", "bash", "-c", text, step],
        env=shell_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(folder / "started")
    return running


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_schedulers_signal_to_the_script_lets_the_step_save(tmp_path: Path, number: int) -> None:
    running = start_slow_step(tmp_path)
    os.kill(running.pid, number)
    out, errors = running.communicate(timeout=60)
    assert running.returncode == 99
    assert (tmp_path / "saved").exists()
    assert "went on" not in out
    assert "same command again" in errors


def test_ctrl_c_stops_the_chain(tmp_path: Path) -> None:
    running = start_slow_step(tmp_path)
    os.killpg(running.pid, signal.SIGINT)
    out, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "went on" not in out
    assert "goes on from here" in errors


@pytest.mark.parametrize("asleep", [False, True], ids=["", "while the script cannot run"])
def test_ctrl_c_lets_a_training_save(tmp_path: Path, asleep: bool) -> None:
    running = start_slow_step(tmp_path, ("SIGTERM", "SIGINT"))
    if asleep:  # a busy machine: the step has ended before the script learns of either
        os.kill(running.pid, signal.SIGSTOP)
    os.killpg(running.pid, signal.SIGINT)
    if asleep:
        wait_for(tmp_path / "saved")
        os.kill(running.pid, signal.SIGCONT)
    out, errors = running.communicate(timeout=60)
    assert (running.returncode, out, errors) == (130, "", "interrupted; the same command goes on from here\n")
    assert (tmp_path / "saved").exists()


def test_a_failing_step_stops_the_script_with_its_code() -> None:
    done = call_functions("language=x; run_step bash -c 'exit 3'; echo went on")
    assert (done.returncode, done.stdout) == (3, "")
    done = call_functions("language=x; run_step bash -c 'exit 99'; echo went on")
    assert (done.returncode, done.stdout) == (99, "")
    assert "same command again" in done.stderr


def test_needs_are_estimated_from_manifest_raw_files_or_recipe(language_roots: dict[str, Path]) -> None:
    paths = language_paths("spanish")
    assert measure_hours(paths)[1] == "expected from the recipe"
    for number in range(3):
        write_mp3(paths["raw"] / "deep" / f"tale_{number}.mp3", speech_like(4.0, seed=number))
    hours, source = measure_hours(paths)
    assert source == "in 3 recordings"
    assert hours == pytest.approx(12 / 3600, rel=0.05)
    rows = write_segments(language_roots["data"], "spanish")
    assert measure_hours(paths)[0] == pytest.approx(sum(row["duration"] for row in rows) / 3600)


def test_estimates_grow_with_the_data_and_follow_the_budget() -> None:
    args = argparse.Namespace(encoder="mfcc", max_minutes=8.0, steps=None, epochs=None)
    small, large = estimate_minutes(args, 1.0, "cpu"), estimate_minutes(args, 100.0, "cpu")
    assert small["training"] == large["training"] == 8.0
    assert large["units"] == pytest.approx(100 * small["units"])
    assert estimate_megabytes(100.0) > 100 * 3600 * 32000 / 1e6
    args = argparse.Namespace(encoder="mfcc", max_minutes=None, steps=None, epochs=2.0)
    assert estimate_minutes(args, 2.0, "cpu")["training"] == 2 * estimate_minutes(args, 1.0, "cpu")["training"]


def test_too_little_disk_is_refused(language_roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import estimate_needs

    from core.errors import UserError

    monkeypatch.setattr(sys, "argv", ["estimate_needs.py", "--language", "spanish", "--steps", "5"])
    estimate_needs.main()
    monkeypatch.setattr(estimate_needs, "CHECKPOINT_MEGABYTES", 1e12)
    with pytest.raises(UserError, match="free disk"):
        estimate_needs.main()


def test_fetched_files_hold_no_code_and_no_second_copy_of_the_weights() -> None:
    files = ["config.json", "preprocessor_config.json", "vocab.txt", "modeling_custom.py", "README.md", "run.sh"]
    safe = [
        "model.safetensors",
        "model.fp32-00001-of-00002.safetensors",
        "adapter.spa.safetensors",
        "fp16/model.safetensors",
    ]
    other = [
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "flax_model.msgpack",
        "tf_model.h5",
        "training_args.bin",
    ]
    kept = ["README.md", "config.json", "preprocessor_config.json", "vocab.txt"]
    assert fetch_models.choose_files(files + safe + other) == (sorted([*kept, "model.safetensors"]), True)
    names, is_safe = fetch_models.choose_files(files + other)
    assert not is_safe
    assert names == sorted([*kept, "pytorch_model.bin", "pytorch_model.bin.index.json"])


def test_fetching_without_a_network_says_what_to_do(tmp_path: Path) -> None:
    unreachable = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    done = run_script("scripts/fetch_models.py", "--language", "satere", env=unreachable, code=2)
    assert len(done.stderr.splitlines()) == 1
    assert "wav2vec2-xls-r-300m" in done.stderr
    assert str(tmp_path / "hf") in done.stderr
    assert "offline" not in done.stderr.lower()
    done = run_script("scripts/fetch_models.py", "--language", "spanish", env=unreachable)
    assert "no download" in done.stdout


def test_packages_are_named_without_a_host() -> None:
    """Any index or mirror must serve: nothing in the environment's files names one."""
    for name in ("path.sh", "constraints.txt", "pyproject.toml", "scripts/make_environment.sh", ".ci/run"):
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://|index-url|find-links", text), name
