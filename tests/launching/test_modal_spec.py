"""What a job function on Modal is given: options, limits, the folder, the variables."""

import pytest

from launching.modal_flags import parse_main
from launching.modal_spec import function_options, make_spec, written_folder

TRAIN = ["src/trainer_vocoder.py", "--language", "satere"]


def test_a_job_as_in_the_documentation() -> None:
    job = parse_main(["--gpu", "H100:2", "--", *TRAIN, "--resume"])
    options = function_options(job)
    assert (options["gpu"], options["timeout"], options["retries"]) == ("H100:2", 86400, 10)
    spec = make_spec(job)
    assert spec["folder"] == "satere_vocoder_v3" and spec["limit_seconds"] == 86400 - 600
    cheap = parse_main(["--hours", "0.5", "--retries", "0", "--cpus", "2", *TRAIN])
    assert "gpu" not in function_options(cheap) and "retries" not in function_options(cheap)
    assert make_spec(cheap)["limit_seconds"] == 1620
    assert "gpu" not in function_options(job, gpu=False)


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        ([*TRAIN], "satere_vocoder_v3"),
        ([*TRAIN, "--generator=v2", "--tag", "t"], "satere_vocoder_v2_t"),
        ([*TRAIN, "--exp", "exp/mine"], "mine"),
        (["scripts/run_phase1.sh", "spanish"], "spanish_units"),
        (["scripts/run_phase3.sh", "--language", "spanish"], "spanish_vocoder_v3"),
        (["src/extract_units.py", "--language", "spanish"], "spanish_units"),
        (["scripts/run_phase3.sh", "hunsrik"], "hunsrik_vocoder_v3"),  # not in the table; its data may lie elsewhere
        (
            ["src/extract_units.py", "--language", "spanish", "--stage", "assign", "--shard-index", "3"],
            "spanish_units/assign_3",
        ),
        (["src/vocoder_test.py", "--exp", "/vol/exp/spanish_vocoder_v3"], "spanish_vocoder_v3"),
        (["src/trainer_base.py", "--data", "data/english", "--out_dir=exp/english_llm"], "english_llm"),
        (["scripts/fetch_models.py", "--language", "satere"], "fetch_models_satere"),
    ],
)
def test_the_same_folder_is_known_however_it_is_written_to(words: list[str], folder: str, monkeypatch) -> None:
    monkeypatch.delenv("TAG", raising=False)
    assert written_folder(words) == folder


def test_the_environment_of_a_job_is_offline_except_for_fetching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHASE1_ARGS", "--n_units 5")
    monkeypatch.setenv("HF_TOKEN", "never")
    environment = make_spec(parse_main(["--", *TRAIN]))["environment"]
    assert environment["PHASE1_ARGS"] == "--n_units 5" and environment["HF_HUB_OFFLINE"] == "1"
    assert "HF_TOKEN" not in environment
    fetching = make_spec(parse_main(["--", "scripts/fetch_models.py", "--language", "satere"]))["environment"]
    assert fetching["HF_HUB_OFFLINE"] == "0"
