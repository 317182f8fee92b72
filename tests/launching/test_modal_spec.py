"""What a job function on Modal is given: options, limits, the folder, the variables."""

import pytest

from core.errors import UserError
from launching.modal_flags import parse_main
from launching.modal_plan import plan_stages
from launching.modal_spec import function_options, make_spec, written_folder

TRAIN = ["src/trainer_vocoder.py", "--language", "satere"]


def test_a_job_as_in_the_documentation() -> None:
    job = parse_main(["--gpu", "H100:2", "--", *TRAIN, "--resume"])
    options = function_options(job)
    assert (options["gpu"], options["timeout"], options["retries"]) == ("H100:2", 86400, 10)
    spec = make_spec(job)
    assert spec["folder"] == "satere_vocoder_v4" and spec["limit_seconds"] == 86400 - 600
    assert spec["environment"]["OMP_NUM_THREADS"] == "2"  # of --cpus 4, by two processes
    cheap = parse_main(["--hours", "0.5", "--retries", "0", "--cpus", "2", *TRAIN])
    assert "gpu" not in function_options(cheap) and "retries" not in function_options(cheap)
    assert make_spec(cheap)["limit_seconds"] == 1620


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        ([*TRAIN], "satere_vocoder_v4"),
        ([*TRAIN, "--generator=v2", "--tag", "t"], "satere_vocoder_v2_t"),
        ([*TRAIN, "--exp", "exp/mine"], "mine"),
        (["scripts/run_phase1.sh", "spanish"], "spanish_units"),
        (["scripts/run_phase3.sh", "--language", "spanish"], "spanish_vocoder_v4"),
        (["src/extract_units.py", "--language", "spanish"], "spanish_units"),
        (["scripts/run_phase3.sh", "hunsrik"], "hunsrik_vocoder_v4"),  # not in the table; its data may lie elsewhere
        (
            ["src/extract_units.py", "--language", "spanish", "--stage", "assign", "--shard-index", "3"],
            "spanish_units/assign_3",
        ),
        (["src/vocoder_test.py", "--exp", "/vol/exp/spanish_vocoder_v4"], "spanish_vocoder_v4"),
        (["src/trainer_base.py", "--data", "data/english", "--out_dir=exp/english_llm"], "english_llm"),
        (["scripts/fetch_models.py", "--language", "satere"], "fetch_models_satere"),
        (["scripts/run_all.sh", "spanish"], "spanish_vocoder_v4"),
        (["scripts/train_vocoder.sh", "spanish", "--steps", "9"], "spanish_vocoder_v4"),
        (["scripts/train_post_wlg.sh", "--data", "data/english"], "speech_llm_post_wlg"),
        (["src/build_report.py", "exp/spanish_vocoder_v4"], "spanish_vocoder_v4"),
        (["recipes/english/prepare.sh"], "prepare_english"),
    ],
)
def test_the_same_folder_is_known_however_it_is_written_to(words: list[str], folder: str, monkeypatch) -> None:
    for name in ("TAG", "EXPERIMENT", "TRAINING_LANGUAGE"):
        monkeypatch.delenv(name, raising=False)
    assert written_folder(words) == folder


def test_an_experiment_that_the_shell_names_is_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPERIMENT", "mine")
    for words in (["scripts/train_vocoder.sh", "spanish"], ["scripts/train.sh"]):
        assert written_folder(words) == "mine"
    assert written_folder(TRAIN) == "satere_vocoder_v4"


def test_the_environment_of_a_job_is_offline_except_for_fetching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHASE1_ARGS", "--n_units 5")
    monkeypatch.setenv("HF_TOKEN", "never")
    environment = make_spec(parse_main(["--", *TRAIN]))["environment"]
    assert environment["PHASE1_ARGS"] == "--n_units 5" and environment["HF_HUB_OFFLINE"] == "1"
    assert "HF_TOKEN" not in environment
    fetching = make_spec(parse_main(["--", "scripts/fetch_models.py", "--language", "satere"]))["environment"]
    assert fetching["HF_HUB_OFFLINE"] == "0"


def test_where_a_job_runs_and_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--volume", "satere", "--region", "eu,us-east", "--hf_secret", "hub", "--", "scripts/fetch_models.py"]
    job = parse_main(flags)
    options = function_options(job)
    assert (options["volume"], options["region"], options["hf_secret"]) == ("satere", ["eu", "us-east"], "hub")
    assert make_spec(job)["volume"] == "satere"
    plain = function_options(parse_main(["--", *TRAIN]))
    assert not {"volume", "region", "hf_secret", "max_containers"} & set(plain)
    monkeypatch.setenv("ORAL_UNITS_VOLUME", "ours")
    assert make_spec(parse_main(["--", *TRAIN]))["volume"] == "ours"


def test_what_the_shell_sets_for_the_job_scripts_reaches_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"TRAINING_LANGUAGE": "satere", "ORAL_UNITS_WHISPER": "openai/whisper-base", "EXPERIMENT": "mine"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("N_GPUS", raising=False)
    environment = make_spec(parse_main(["--gpu", "L4:2", "--", "scripts/train.sh"]))["environment"]
    assert {name: environment[name] for name in given} == given
    assert (environment["N_GPUS"], environment["ORAL_UNITS_GPUS"]) == ("2", "2")
    monkeypatch.setenv("N_GPUS", "1")
    assert make_spec(parse_main(["--gpu", "L4:2", "--", "scripts/train.sh"]))["environment"]["N_GPUS"] == "1"
    before, _ = plan_stages(parse_main(["--gpu", "L4:2", "--", *TRAIN]))
    assert before["specs"][0]["environment"]["N_GPUS"] == "0"
    monkeypatch.delenv("N_GPUS")
    assert "ORAL_UNITS_GPUS" not in make_spec(parse_main(["--", *TRAIN]))["environment"]


@pytest.mark.parametrize(("name", "value"), [("N_GPUS", "2"), ("ORAL_UNITS_WHISPER", "/models/whisper-base")])
def test_what_a_job_could_not_find_is_refused_here(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"{name}={value}"):
        plan_stages(parse_main(["--gpu", "L4", "--", *TRAIN]))
