import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import torch

import pytest
from safetensors.torch import load_file

from trainer_base import parse_args, set_learning_rates

from core.errors import UserError
from core.files import read_json
from speech_llm.validation import word_error_rate
from synthetic import REPOSITORY, save_tiny_encoder, script_environment, write_segments, write_units
from tiny_llm import save_tiny_llm
from trainer_runs import load, metrics, run_to_end, run_until
from training.experiment import OLD_FLAG_NAMES

PHRASES = ("bad cab", "dead head", "a cage", "be a hag", "face", "gab", "had", "egg", "decade", "bee")
TINY = ["--factor", 6, "--width", 32, "--n_layers", 1, "--batch_size", 3, "--log_every", 1, "--eval_every", 4]
TINY += ["--save_every", 2, "--warmup", 2, "--cpu", "--mixed_precision", "no", "--num_beams", 2]
LISTENING = ["--ctc_warmup_steps", 4, "--ctc_compress", "--ctc_embedding", "--ctc_draft", "--draft_noise", 1]
LISTENING += ["--lora_r", 2, "--frame_dropout", 0.2]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """data/spanish with texts, a tiny Whisper and a tiny LLM; what the flags of every run have in common."""
    root = tmp_path_factory.mktemp("speech_llm")
    rows = write_segments(root / "data", "spanish")
    for row, text in zip(rows, PHRASES):
        row["text"] = text
    manifest = root / "data" / "spanish" / "segments.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    encoder, llm = save_tiny_encoder(root / "whisper", "whisper"), save_tiny_llm(root / "llm")
    common = ["--data", manifest.parent, "--speech_enc_id", encoder, "--llm_id", llm, "--padding", "short", *TINY]
    return {"root": root, "rows": rows, "common": common, "data": manifest.parent}


def flags(world: dict, name: str, *more: object) -> list[object]:
    return ["--exp", world["root"] / "exp" / name, *world["common"], *more]


def run(world: dict, name: str, *more: object, code: int = 0) -> str:
    return run_to_end("trainer_base", flags(world, name, *more), roots=world["root"], code=code)


@pytest.fixture(scope="module")
def finished(world: dict) -> Path:
    run(world, "whole", "--do_train", "--do_generate", "--steps", 8, "--n_best", 2, *LISTENING)
    return world["root"] / "exp" / "whole"


def without_times(rows: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]


def assert_same_run(first: Path, second: Path) -> None:
    one, other = load(first, "latest"), load(second, "latest")
    assert one["step"] == other["step"] and one["best"] == other["best"]
    for name, value in one["model"].items():
        assert torch.equal(value, other["model"][name]), name
    moments = zip(one["optimizer"]["state"].values(), other["optimizer"]["state"].values())
    assert all(torch.equal(a[key], b[key]) for a, b in moments for key in a)
    assert without_times(metrics(first)) == without_times(metrics(second))
    assert (first / "best" / "model.safetensors").read_bytes() == (second / "best" / "model.safetensors").read_bytes()


def test_a_run_leaves_what_it_should(world, finished):
    predictions = json.loads((finished / "test_predictions.json").read_text())
    expected = {row["id"]: row for row in world["rows"] if row["split"] == "test"}
    assert [item["id"] for item in predictions] == list(expected)
    for item in predictions:
        assert item["reference"] == expected[item["id"]]["text"] and isinstance(item["hypothesis"], str)
        assert item["prompt"] == "Transcribe the speech." and item["duration"] == expected[item["id"]]["duration"]
        assert item["hypothesis"] == item["n_best"][0]["text"] and 1 <= len(item["n_best"]) <= 2
    assert read_json(finished / "finished.json")["step"] == 8
    evaluations = [row for row in metrics(finished) if "validation_wer" in row]
    assert [row["step"] for row in evaluations] == [4, 8]
    assert {"validation_ctc_nat", "validation_shuffled_ctc_nat"} <= evaluations[0].keys()
    wanted = {"validation_loss_nat", "validation_shuffled_loss_nat", "validation_token_accuracy"}
    assert wanted | {"validation_looping_share", "validation_empty_share"} <= evaluations[1].keys()


def test_saved_weights_are_the_trained_ones_alone(finished):
    saved = read_json(finished / "best" / "config.json")
    names = load_file(finished / "best" / "model.safetensors").keys()
    assert all(name.startswith(("connector.", "ctc.", "spelling.")) or ".lora_" in name for name in names)
    assert saved["model"]["prompt"] == "Transcribe the speech." and "llm_revision" in saved["model"]
    assert saved["notes"]["step"] in (4, 8)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "asked"])
@pytest.mark.parametrize("step", [3, 5])
def test_an_interrupted_run_goes_on_to_the_same_end(world, finished, number, step):
    exp = world["root"] / "exp" / f"stopped_{number}_{step}"
    given = flags(world, exp.name, "--do_train", "--steps", 8, "--n_best", 2, *LISTENING)
    code = run_until("trainer_base", given, roots=world["root"], exp=exp, step=step, number=number)
    if code == 99:
        assert load(exp, "latest")["step"] < 8 and not (exp / "finished.json").exists()
    run_to_end("trainer_base", [*given, "--resume", "auto"], roots=world["root"])
    assert_same_run(finished, exp)


def test_one_batch_accumulated_from_parts_is_the_same_step(world):
    """With everything in one batch or in three parts: the same tokens, hence the same gradient."""
    for name, options in (
        ("at_once", ["--batch_size", 6]),
        ("in_parts", ["--batch_size", 2, "--gradient_accumulation_steps", 3]),
    ):
        run(world, name, "--do_train", "--steps", 1, "--dropout", 0, "--warmup", 1, *options)
    once, parts = (load(world["root"] / "exp" / name, "latest") for name in ("at_once", "in_parts"))
    for name, value in once["model"].items():
        torch.testing.assert_close(parts["model"][name], value, atol=2e-5, rtol=1e-3)
    rows = [metrics(world["root"] / "exp" / name)[0] for name in ("at_once", "in_parts")]
    assert rows[0]["train_loss_nat"] == pytest.approx(rows[1]["train_loss_nat"], rel=1e-5)


def test_features_from_the_cache_and_from_the_encoder_give_the_same_loss(world):
    run(world, "uncached", "--do_train", "--do_generate", "--steps", 2, "--no_feature_cache")
    run(world, "cached", "--do_train", "--do_generate", "--steps", 2)
    rows = [metrics(world["root"] / "exp" / name) for name in ("uncached", "cached")]
    losses = [[row["train_loss_nat"] for row in run_rows if "train_loss_nat" in row] for run_rows in rows]
    assert len(losses[0]) == 2 and losses[0] == pytest.approx(losses[1], rel=1e-2)
    texts = [(world["root"] / "exp" / name / "test_predictions.json").read_text() for name in ("uncached", "cached")]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("front_end", ["units", "bpe"])
def test_units_in_place_of_features(world, front_end):
    units = world["root"] / "exp" / "spanish_units"
    if not units.exists():
        write_units(world["root"] / "exp", world["rows"])
    more = ["--units_exp", units]
    if front_end == "bpe":
        bpe = world["root"] / "exp" / "spanish_bpe"
        learn = ["--language", "spanish", "--vocab_size", 40, "--resume", "auto"]
        run_to_end("train_bpe", learn, roots=world["root"])
        more += ["--bpe_exp", bpe]
    run(world, front_end, "--do_train", "--do_generate", "--steps", 2, "--front_end", front_end, *more)
    saved = read_json(world["root"] / "exp" / front_end / "best" / "config.json")["model"]
    assert saved["front_end"] == front_end and saved["n_units"] >= 12
    assert (world["root"] / "exp" / front_end / "test_predictions.json").exists()


def test_training_goes_on_from_other_weights(world, finished):
    run(
        world,
        "further",
        "--do_train",
        "--steps",
        5,
        "--from_pretrained",
        finished,
        *LISTENING,
        "--lr",
        1e-9,
        "--ctc_lr",
        1e-9,
    )
    before, after = (
        load_file(finished / "best" / "model.safetensors"),
        load(world["root"] / "exp" / "further", "latest"),
    )
    for name, value in before.items():
        torch.testing.assert_close(after["model"][name], value, atol=1e-5, rtol=1e-4)
    run(world, "wider", "--do_train", "--steps", 1, "--from_pretrained", finished, "--width", 48)
    said = (world["root"] / "exp" / "wider" / "train.log").read_text()
    assert "taken over, but for" in said and "connector." in said


def test_the_control_hears_others(world):
    from speech_llm.batches import shuffle_audio, swap_neighbours

    items = [{"id": str(number), "duration": float(number), "text": "a"} for number in range(7)]
    for shuffled in (shuffle_audio(items, 0), swap_neighbours(items)):
        assert sorted(item["heard"]["id"] for item in shuffled) == [str(number) for number in range(7)]
        assert all(item["heard"]["id"] != item["id"] for item in shuffled)
    run(world, "control", "--do_train", "--steps", 4, "--shuffle_audio")
    assert "NOT LISTENING" in (world["root"] / "exp" / "control" / "train.log").read_text()


def test_every_step_has_its_own_batch_and_an_epoch_its_own_order(world, finished):
    losses = [row["train_ctc_nat"] for row in metrics(finished) if "train_ctc_nat" in row]
    assert len(losses) == 8 and len(set(losses)) == 8


def test_two_processes_train_as_one(world):
    """A scheduler prepared by Accelerate would step twice: the learning rate is a function of the step."""
    given = [str(flag) for flag in flags(world, "two", "--do_train", "--steps", 3, "--batch_size", 2, "--seed", 1)]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(REPOSITORY / "src" / "trainer_base.py"), *given],
        env=script_environment({"DATA_ROOT": str(world["root"] / "data")}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rates = [row["learning_rate"] for row in metrics(world["root"] / "exp" / "two") if "learning_rate" in row]
    run(world, "single", "--do_train", "--steps", 3, "--batch_size", 2, "--seed", 1)
    assert rates == [r["learning_rate"] for r in metrics(world["root"] / "exp" / "single") if "learning_rate" in r]


def test_generation_takes_the_best_weights_and_may_be_asked_for_again(world, finished):
    first = (finished / "test_predictions.json").read_bytes()
    latest, decoded = finished / "checkpoints" / "latest.pt", finished / ".test_decoded.jsonl"
    decoded_at = decoded.stat().st_mtime_ns
    hidden = latest.rename(latest.with_suffix(".hidden"))
    try:
        run(world, "whole", "--do_generate", "--steps", 8, "--n_best", 2, *LISTENING)
        assert (finished / "test_predictions.json").read_bytes() == first
        assert decoded.stat().st_mtime_ns == decoded_at, "decoded again"
        run(world, "whole", "--do_generate", "--steps", 8, "--decoder", "ctc", "--test_splits", "val", *LISTENING)
        assert len(read_json(finished / "val_predictions.json")) == 2
    finally:
        hidden.rename(latest)


def test_generation_goes_on_where_it_was_killed(world, finished):
    from speech_llm.feature_sources import FeatureSource
    from speech_llm.predictions import finish_split, read_decoded

    path, key = world["root"] / "partial.jsonl", {"weights": "w", "decoding": {}}
    path.write_text(json.dumps(key) + '\n["a", [{"text": "kept"}]]\n["b", [{"te')
    items = [{"id": name, "duration": 1.0} for name in "abc"]
    source = FeatureSource(lambda chosen, speeds: [item["id"] for item in chosen], None, None, in_dim=1)

    def decode(features, seconds, on_batch):
        found = [[{"text": name}] for name in features]
        on_batch(list(range(len(found))), found)
        return found

    done = finish_split(path, key, items, source, decode)
    assert {name: found[0]["text"] for name, found in done.items()} == {"a": "kept", "b": "b", "c": "c"}
    assert read_decoded(path, key).keys() == set("abc")
    assert read_decoded(path, key | {"weights": "others"}) == {} and not path.exists()


def test_an_experiment_of_the_old_flag_names_continues(world):
    """As the commits before the names of the other trainers wrote it, and with the spellings of then."""
    exp = world["root"] / "exp" / "old_names"
    run(world, exp.name, "--do_train", "--steps", 2)
    config, latest = read_json(exp / "config.json"), exp / "checkpoints" / "latest.pt"
    old_names = {new: old for old, new in OLD_FLAG_NAMES.items()}
    config["arguments"] = {old_names.get(name, name): value for name, value in config["arguments"].items()}
    assert {"out_dir", "bsize", "wdecay", "eval_steps"} <= config["arguments"].keys()
    (exp / "config.json").write_text(json.dumps(config))
    state = torch.load(latest, weights_only=True)
    torch.save({"evaluated" if name == "validated" else name: value for name, value in state.items()}, latest)

    spellings = {f"--{new}": f"--{old}" for new, old in old_names.items()}
    given = [spellings.get(flag, flag) for flag in flags(world, exp.name, "--do_train", "--resume", "auto")]
    assert {"--out_dir", "--bsize", "--logging_steps", "--eval_steps", "--save_steps"} <= {*map(str, given)}
    said = run_to_end("trainer_base", [*given, "--steps", 3, "--wdecay", 0.5], roots=world["root"], code=2)
    assert "weight_decay: 0.01 -> 0.5" in said
    run_to_end("trainer_base", [*given, "--steps", 3], roots=world["root"])
    assert load(exp, "latest")["step"] == 3
    assert [row["step"] for row in metrics(exp) if "train_loss_nat" in row] == [1, 2, 3]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ([], "nothing to do"),
        (["--do_train", "--ctc_compress"], "CTC head"),
        (["--do_train", "--draft_noise", "1"], "--ctc_draft"),
        (["--do_train", "--steps", "5", "--max_minutes", "1"], "exclude"),
        (["--do_train", "--front_end", "units"], "--units_exp"),
        (["--do_train", "--bsize", "0"], "--batch_size"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(given, complaint):
    with pytest.raises(UserError, match=complaint):
        parse_args(["--exp", "exp/x", "--data", "data/x", *given])


def test_learning_rates_follow_the_step_in_each_phase():
    args = parse_args(
        "--exp exp/x --data d --do_train --steps 100 --ctc-warmup-steps 40 --warmup 10 --lr 1e-3 --ctc_lr 2e-3 "
        "--lora_lr 5e-4".split()
    )
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = torch.optim.AdamW([{"params": [value], "lora": lora} for value, lora in zip(parameters, (False, True))])
    seen = {}
    for step in (0, 9, 39, 40, 49, 99):
        rate = set_learning_rates(args, optimizer, step, 100)
        seen[step] = [group["lr"] for group in optimizer.param_groups]
        assert rate == seen[step][0]
    assert seen[0][0] == pytest.approx(2e-4) and seen[39][0] < 1e-4 and all(seen[step][1] == 0 for step in (0, 9, 39))
    assert seen[40] == pytest.approx([1e-4, 5e-5]) and seen[49][0] > 9e-4 and seen[99][0] < 3e-5


REAL = [os.environ.get(name) for name in ("ORAL_UNITS_WHISPER", "ORAL_UNITS_LLM", "ORAL_UNITS_ENGLISH")]


def copy_utterances(data: Path, folder: Path, count: int) -> Path:
    """``count`` training utterances of ``data``, once in each split."""
    rows = [json.loads(line) for line in (data / "segments.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["split"] == "train" and row.get("text")][:count]
    (folder / "english").mkdir(parents=True)
    copied = []
    for row in rows:
        audio = f"english/{row['id']}.wav"
        shutil.copyfile(data.parent / row["audio"], folder / audio)
        for split in ("train", "val", "test"):
            copied.append(row | {"id": f"{split}_{row['id']}", "split": split, "audio": audio})
    (folder / "english" / "segments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in copied))
    return folder / "english"


@pytest.mark.skipif(
    not all(REAL), reason="ORAL_UNITS_WHISPER, ORAL_UNITS_LLM and ORAL_UNITS_ENGLISH (data/english) name no folders"
)
def test_sixteen_real_utterances_are_learnt(tmp_path):
    """The whole path on real weights: connector, LoRA, masks, template and decoding to WER <= .05."""
    encoder, llm, english = REAL
    data = copy_utterances(Path(english), tmp_path / "data", 16)
    given = ["--exp", tmp_path / "exp", "--data", data, "--speech_enc_id", encoder, "--llm_id", llm]
    given += ["--do_train", "--do_generate", "--steps", 150, "--ctc_warmup_steps", 80, "--factor", 2, "--batch_size", 4]
    given += ["--ctc_draft", "--lora_r", 8, "--lr", 5e-4, "--dropout", 0, "--eval_every", 150, "--warmup", 10]
    run_to_end("trainer_base", [*given, "--max_validation", 2], roots=tmp_path)
    rows = read_json(tmp_path / "exp" / "test_predictions.json")
    assert word_error_rate([row["reference"] for row in rows], [row["hypothesis"] for row in rows]) <= 0.05
