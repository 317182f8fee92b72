"""The stages of a job on Modal: only those that use GPUs hold them, and only those run under torchrun."""

import pytest

from core.errors import UserError
from launching.modal_flags import parse_main, parse_phase
from launching.modal_plan import plan_stages


def test_fit_merge_and_report_hold_no_gpu_and_are_one_process() -> None:
    job = parse_phase(1, ["--language", "satere", "--gpu", "L4:2", "--shards", "3"])
    stages = plan_stages(job)
    assert [len(stage["specs"]) for stage in stages] == [3, 1, 3, 1, 1]
    assert [stage["options"].get("gpu") for stage in stages] == ["L4:2", None, "L4:2", None, None]
    assert [{spec["processes"] for spec in stage["specs"]} for stage in stages] == [{2}, {1}, {2}, {1}, {1}]


def test_f0_is_computed_before_a_gpu_is_paid_for(monkeypatch) -> None:
    monkeypatch.delenv("TRAINING_LANGUAGE", raising=False)
    for words in (["src/trainer_vocoder.py", "--language", "satere"], ["scripts/run_phase3.sh", "satere"]):
        before, training = plan_stages(parse_main(["--gpu", "H100", "--cpus", "6", "--", *words]))
        assert before["options"].get("gpu") is None and training["options"]["gpu"] == "H100:1"
        assert before["specs"][0]["words"] == [
            *("scripts/fill_f0_cache.py", "--language", "satere", "--num_workers", "6"),
        ]
        assert training["specs"][0]["words"] == words and training["specs"][0]["staged_language"] == "satere"
        assert "staged_language" not in before["specs"][0]
        assert len(plan_stages(parse_main(["--", *words]))) == 1  # nobody waits at a GPU's price


def test_the_chain_holds_gpus_only_where_they_work(monkeypatch) -> None:
    for name in ("TAG", "TRAINING_LANGUAGE", "PHASE1_ARGS", "PHASE3_ARGS", "UNIT_LM", "UNIT_LM_ARGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PHASE2_ARGS", "--vocab_size 400")
    monkeypatch.setenv("ORAL_UNITS_WHISPER", "openai/whisper-base")
    chain = ["scripts/run_all.sh", "satere", "--tag", "t"]
    stages = plan_stages(parse_main(["--gpu", "H100:2", "--", *chain]))
    ((phase1,), (phase2,), (f0,), (phase3,), (scores,), (report,)) = [
        [spec["words"] for spec in stage["specs"]] for stage in stages
    ]
    assert phase1 == ["scripts/run_phase1.sh", "satere", "--tag", "t"]
    assert phase2 == ["scripts/run_phase2.sh", "satere", "--tag", "t", "--vocab_size", "400"]
    assert f0[:3] == ["scripts/fill_f0_cache.py", "--language", "satere"] and phase3[0] == "scripts/run_phase3.sh"
    voice = "/vol/exp/satere_vocoder_v4_t"
    assert scores == ["src/vocoder_test.py", "--exp", voice, "--asr", "openai/whisper-base"]
    assert report == ["src/build_report.py", voice, "/vol/exp/satere_bpe_t"]
    gpus = [stage["options"].get("gpu") for stage in stages]
    assert gpus == ["H100:2", None, None, "H100:2", "H100:1", None]
    assert [stage["specs"][0]["environment"].get("ORAL_UNITS_GPUS") for stage in stages] == [
        *("2", None, None, "2", "1", None),
    ]
    for words in (chain[:1], [*chain, "recordings"], [*chain, "--n_units", "9"]):
        with pytest.raises(UserError, match="expected a language alone"):
            plan_stages(parse_main(["--", *words]))
    folders = [stage["specs"][0]["folder"] for stage in plan_stages(parse_main(["--", *chain]))]
    assert folders == ["satere_units_t", "satere_bpe_t", *["satere_vocoder_v4_t"] * 3]


def test_the_chain_trains_a_language_model_where_asked(monkeypatch) -> None:
    monkeypatch.delenv("UNIT_LM", raising=False)
    monkeypatch.setenv("UNIT_LM_ARGS", "--layers 2")
    stages = plan_stages(parse_main(["--", "scripts/run_all.sh", "satere"]))
    assert stages[-2]["specs"][0]["words"] == ["scripts/run_unit_lm.sh", "satere", "--layers", "2"]
    assert stages[-2]["specs"][0]["folder"] == "satere_unit_lm"


def test_one_command_is_one_stage() -> None:
    (stage,) = plan_stages(parse_main(["--gpu", "H100:2", "--", "src/train_bpe.py", "--language", "satere"]))
    assert stage["options"]["gpu"] == "H100:2" and [spec["processes"] for spec in stage["specs"]] == [2]
