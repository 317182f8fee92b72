import gc
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

import pytest
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file

import trainer_base
from trainer_base import build_model, load_data, parse_args, set_learning_rates, step_batches

from core.errors import UserError
from core.files import read_json, write_json
from encoders.top_layers import read_top_layers
from models.speech_llm_model import SpeechLLMBase
from speech_llm.saved_model import add_heads, from_pretrained, save_pretrained
from speech_llm.train_step import build_optimizer
from speech_llm.validation import word_error_rate
from synthetic import save_tiny_encoder, write_segments, write_units
from tiny_llm import save_tiny_llm
from trainer_runs import TIMEOUT, load, metrics, run_to_end, run_until, start_ranks
from training import resuming
from training.experiment import OLD_FLAG_NAMES
from training.processes import start_accelerator

PHRASES = ("bad cab", "dead head", "a cage", "be a hag", "face", "gab", "had", "egg", "decade", "bee")
TINY = ["--factor", 6, "--width", 32, "--n_layers", 1, "--batch_size", 3, "--log_every", 1, "--eval_every", 4]
TINY += ["--save_every", 2, "--warmup", 2, "--cpu", "--mixed_precision", "no", "--num_beams", 2]
LISTENING = ["--ctc_warmup_steps", 4, "--ctc_compress", "--ctc_embedding", "--ctc_draft", "--draft_noise", 1]
LISTENING += ["--lora_r", 2, "--frame_dropout", 0.2, "--noise_perturb", 1]


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


@pytest.mark.parametrize(
    "number, step",
    [(signal.SIGKILL, 3), (signal.SIGKILL, 5), (signal.SIGTERM, 3), (signal.SIGTERM, 5), (signal.SIGINT, 3)],
    ids=["killed-3", "killed-5", "asked-3", "asked-5", "ctrl-c-3"],
)
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
    predictions = [
        read_json(world["root"] / "exp" / name / "test_predictions.json", list) for name in ("uncached", "cached")
    ]
    assert [row["hypothesis"] for row in predictions[0]] == [row["hypothesis"] for row in predictions[1]]


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
        6,
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
    run(world, "wider", "--do_train", "--steps", 2, "--from_pretrained", finished, "--width", 48)
    said = (world["root"] / "exp" / "wider" / "train.log").read_text()
    assert "taken over, but for" in said and "connector." in said


def test_a_corpus_that_was_cut_or_packed_again_is_still_the_models_own(world, finished):
    manifest, before = world["data"] / "segments.jsonl", (world["data"] / "segments.jsonl").read_text()
    predictions = finished / "test_predictions.json"
    predictions.unlink()
    try:
        manifest.write_text(before.replace("{", "{ "))
        run_to_end("trainer_base", ["--exp", finished, "--do_generate", "--cpu"], roots=world["root"])
    finally:
        manifest.write_text(before)
    assert predictions.is_file() and not [*finished.glob("spanish_*")]


def test_a_training_that_starts_from_a_model_is_made_as_that_one_is(world, finished):
    """Nothing but the data, the model and a name: as in the rounds of docs/speech_llm.md."""
    given = ["--data", world["data"], "--from_pretrained", finished, "--do_train", "--steps", 2, "--cpu", "--lr", 1e-9]
    exp = world["root"] / "exp" / "round_2"
    run_to_end("trainer_base", ["--exp", exp, *given, "--eval_every", 2, "--warmup", 1], roots=world["root"])
    assert f"{finished}: taken over whole" in (exp / "train.log").read_text()
    saved = [read_json(folder / "best" / "config.json")["model"] for folder in (finished, exp)]
    assert saved[0] == saved[1]
    began = read_json(exp / "config.json")["arguments"]
    assert began["ctc_warmup_steps"] == 0 and began["ctc_loss_weight"] == 0.3 and began["batch_size"] == 16


def test_a_language_model_is_taught_texts_behind_a_head_that_stays_as_it_is(world, tmp_path):
    heard_twice = ["--ctc_warmup_steps", 2, "--ctc_compress", "--ctc_embedding", "--ctc_consistency", 0.2]
    run(world, "twice", "--do_train", "--steps", 2, *heard_twice)
    assert all(row["train_difference_nat"] > 0 for row in metrics(world["root"] / "exp" / "twice") if row["step"] == 1)
    taught = ["--ctc_compress", "--ctc_embedding", "--from_pretrained", world["root"] / "exp" / "twice"]
    run(world, "texts", "--do_train", "--do_generate", "--steps", 2, "--text_only", "--lora_r", 2, *taught)
    before, after = (
        load_file(world["root"] / "exp" / name / "best" / "model.safetensors") for name in ("twice", "texts")
    )
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert any(value.any() for name, value in after.items() if "lora_B" in name)
    rows = metrics(world["root"] / "exp" / "texts")
    assert "train_loss_nat" in rows[0] and "train_ctc_nat" not in rows[0]
    assert "NOT LISTENING" not in (world["root"] / "exp" / "texts" / "train.log").read_text()


def test_the_encoders_own_layers_are_trained_at_their_own_rate_and_saved(world, tmp_path):
    given = ["--do_train", "--connector", "whisper", "--steps", 4, "--ctc_warmup_steps", 4, "--top_lr_share", 0.25]
    given += ["--merge_frames", 2, "--ctc_max_positions", 40]
    words = [str(word) for word in flags(world, "own_layers", *given)]
    args, accelerator = parse_args(words), start_accelerator("no", cpu=True)
    data = load_data(args, accelerator)
    model = build_model(args, data, accelerator)
    assert (model.config["speech_enc_layer"], model.config["connector"]["n_heads"]) == (2, 2)
    for name, value in read_top_layers(args.speech_enc_id, 1).items():
        assert torch.equal(model.connector.body.get_parameter(name), value)
    batch = next(step_batches(args, model, data, accelerator, step=0))[0]
    assert -(-batch.lengths.max() // 6) * len(batch.lengths) <= 40 and len(batch.lengths) < 3
    optimizer = build_optimizer(model, lr=args.lr, weight_decay=0.1, top_share=args.top_lr_share)
    rate = set_learning_rates(args, optimizer, 1, 4)
    rates = {id(value): group["lr"] for group in optimizer.param_groups for value in group["params"]}
    assert rates[id(model.connector.body["layers"][0].linear1.weight)] == rates[id(model.connector.body["norm"].bias)]
    assert rates[id(model.connector.body["norm"].bias)] == pytest.approx(0.25 * rate)
    assert rates[id(model.connector.body["stack"].weight)] == rates[id(model.ctc.output.bias)] == rate
    with torch.no_grad():
        model.connector.body["layers"][0].linear1.weight.mul_(2)
    save_pretrained(tmp_path, model)
    for name, value in from_pretrained(tmp_path).trained_state().items():
        assert torch.equal(value, model.trained_state()[name])
    assert parse_args(words).width == 32
    with pytest.raises(UserError, match="--width 48: the top 1 layers of .* have width 32; leave it out"):
        parse_args([*words, "--width", "48"])
    with pytest.raises(UserError, match="--merge_frames 4: expected a divisor of --factor, found 6"):
        parse_args([*words, "--merge_frames", "4"])


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


def test_patience_waits_for_the_language_model(world, finished):
    """Without learning nothing gets better: the warm-up must not be the end, and the LLM's phase must."""
    still = ["--lr", 1e-12, "--ctc_lr", 1e-12, "--eval_every", 1, "--patience", 1, "--from_pretrained", finished]
    run(world, "patient", "--do_train", "--steps", 20, *LISTENING, *still)
    assert 5 <= read_json(world["root"] / "exp" / "patient" / "finished.json")["step"] <= 8


TWO = ["--do_train", "--steps", 8, "--batch_size", 2, *LISTENING]


def run_two(world: dict, name: str, *more: object, stop_at: int | None = None) -> list[int]:
    """Two processes that train together, asked to stop at a step; their exit codes."""
    exp = world["root"] / "exp" / name
    ranks = start_ranks("trainer_base", flags(world, name, *TWO, *more), 2, roots=world["root"])
    while stop_at and all(process.is_alive() for process, _ in ranks):
        if max((row["step"] for row in metrics(exp)), default=0) >= stop_at:
            os.kill(ranks[1][0].pid, signal.SIGTERM)
            break
        time.sleep(0.002)
    for process, _ in ranks:
        process.join(TIMEOUT)
    assert all(process.exitcode in (0, 99) for process, _ in ranks), [screen.read_text() for _, screen in ranks]
    return [process.exitcode for process, _ in ranks]


@pytest.fixture(scope="module")
def two(world: dict) -> Path:
    run_two(world, "two", "--do_generate")
    return world["root"] / "exp" / "two"


def test_two_processes_resume_bit_for_bit(world, two):
    """Each draws its own dropout: what the first has drawn is not what the others would draw next."""
    codes = run_two(world, "two_parts", stop_at=5)
    parts = world["root"] / "exp" / "two_parts"
    assert codes == [99, 99] and 4 < load(parts, "latest")["step"] < 8
    run_two(world, "two_parts", "--resume", "auto")
    assert_same_run(two, parts)


def test_two_processes_train_as_one(world, two):
    """A scheduler prepared by Accelerate would step twice: the learning rate is a function of the step."""
    rates = [row["learning_rate"] for row in metrics(two) if "learning_rate" in row]
    run(world, "single", *TWO)
    assert rates == [r["learning_rate"] for r in metrics(world["root"] / "exp" / "single") if "learning_rate" in r]


def test_two_processes_share_what_is_to_be_transcribed(world, two):
    kept = [(two / f".test_decoded{rank}.jsonl").read_text().splitlines()[1:] for rank in ("", ".1")]
    shares = [{json.loads(line)[0] for line in lines} for lines in kept]
    test = [row["id"] for row in world["rows"] if row["split"] == "test"]
    assert all(shares) and not shares[0] & shares[1] and shares[0] | shares[1] == set(test)
    assert [row["id"] for row in read_json(two / "test_predictions.json", list)] == test


def test_more_data_is_trained_on_and_keeps_its_own_cache(world):
    songs = world["root"] / "more" / "songs"
    shutil.copytree(world["data"], songs, ignore=shutil.ignore_patterns("cache"))
    (songs / "segments.jsonl").write_text(
        "".join(json.dumps(row | {"audio": f"songs/segments/{row['id']}.wav"}) + "\n" for row in world["rows"])
    )
    given = flags(world, "never", "--do_train", "--more_data", songs, "--data_weights", 1, 0.5)
    args = parse_args([str(flag) for flag in given])
    data = load_data(args, start_accelerator("no", cpu=True))
    own = [row["id"] for row in world["rows"] if row["split"] == "train"]
    assert [item["id"] for item in data.training] == own + [f"songs/{name}" for name in own]
    assert [item["id"] for item in data.validation] == [row["id"] for row in world["rows"] if row["split"] == "val"]
    assert len(data.source.read(data.training[-1:], [1.0])[0]) and len(data.sizes.n_tokens) == 2 * len(own)
    assert (songs / "cache" / "speech_features" / "audio_hashes.tsv").is_file()
    assert list((songs / "cache" / "speech_features").glob("*/shard_*.npy"))


def score_another_corpus(world: dict, exp: Path) -> None:
    """Without the flags of the training: they are the model's."""
    other = world["data"].parent / "other"
    other.mkdir()
    rows = [json.loads(line) for line in (world["data"] / "segments.jsonl").read_text().splitlines()]
    rows = [{("gloss" if key == "text" else key): value for key, value in row.items()} for row in rows[:2]]
    lines = [json.dumps(row | {"split": "val"}) + "\n" for row in rows]
    (other / "segments.jsonl").write_text("".join(lines))
    asked = ["--exp", exp, "--do_generate", "--data", other, "--test_splits", "val", "--text_field", "gloss", "--cpu"]
    run_to_end("trainer_base", asked, roots=world["root"])
    found = read_json(exp / "other_val_predictions.json", list)
    assert [row["reference"] for row in found] == [row["gloss"] for row in rows]


def test_a_missing_test_split_is_told_before_training_and_the_command_corrected(world):
    given = ["--do_train", "--do_generate", "--steps", 1, "--warmup", 1]
    assert "nosuch" in run(world, "corrected", *given, "--test_splits", "nosuch", code=2)
    assert not (world["root"] / "exp" / "corrected" / "metrics.jsonl").exists()
    run(world, "corrected", *given, "--test_splits", "val", "--batch_size", 2)
    folder = world["root"] / "exp" / "corrected"
    assert (folder / "val_predictions.json").read_bytes() == (folder / "test_predictions.json").read_bytes()


def test_the_trained_model_is_gone_before_the_one_that_writes_is_read(world, monkeypatch):
    """Else two language models are in memory."""
    alive = []

    def count_models(*_: object) -> None:
        alive.extend(found for found in gc.get_objects() if type(found) is SpeechLLMBase)

    monkeypatch.setattr(trainer_base, "generate", count_models)
    monkeypatch.setattr(trainer_base, "exit_on_stop_signals", lambda: None)
    monkeypatch.setattr(resuming, "catch_stop_signals", list)
    given = ["--do_train", "--do_generate", "--steps", 1, "--warmup", 1]
    monkeypatch.setattr(sys, "argv", ["trainer_base.py", *map(str, flags(world, "freed", *given))])
    before = sum(type(found) is SpeechLLMBase for found in gc.get_objects())
    try:
        assert trainer_base.main() == 0
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert len(alive) == before


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
        assert len(read_json(finished / "val_predictions.json", list)) == 2
        assert (finished / "test_predictions.json").read_bytes() == first, "val stands where test stood"
        score_another_corpus(world, finished)
        assert (finished / "test_predictions.json").read_bytes() == first, "another corpus stands where test stood"
    finally:
        hidden.rename(latest)


def test_heads_that_were_trained_apart_write_together(world, finished, tmp_path, monkeypatch):
    other = shutil.copytree(finished / "best", tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    weights["ctc.output.bias"] = weights["ctc.output.bias"] + torch.randn(len(weights["ctc.output.bias"]))
    save_file(weights, other / "model.safetensors")
    features, lengths = torch.randn(2, 30, 32), torch.tensor([30, 12])
    with torch.no_grad():
        first, second = (from_pretrained(one).encode_speech(features, lengths).log_probs for one in (finished, other))
        both = add_heads(from_pretrained(finished), [other]).encode_speech(features, lengths)
    torch.testing.assert_close(both.log_probs, (first.exp() / 2 + second.exp() / 2).log())
    assert both.lengths.tolist() == [5, 2]

    written = []
    monkeypatch.setattr(trainer_base, "write_predictions", lambda exp, split, *_, **more: written.append((split, more)))
    asked = ["--exp", finished, "--do_generate", "--cpu", "--ensemble", other]
    trainer_base.generate(parse_args([str(word) for word in asked]), start_accelerator("no", cpu=True))
    assert [(split, more["ensemble"]) for split, more in written] == [("ensemble_test", [other])]
    config = read_json(other / "config.json")
    write_json(other / "config.json", config | {"model": config["model"] | {"characters": "xyz"}})
    with pytest.raises(UserError, match="--ensemble .*other: expected a head of the same characters, found another"):
        add_heads(from_pretrained(finished), [other])
    with pytest.raises(UserError, match="needs --do_generate"):
        parse_args(["--exp", "exp/x", "--data", "data/x", "--do_train", "--ensemble", "exp/y"])


def test_a_trained_model_says_when_words_were_said_and_how_sure_it_is(world, finished, tmp_path):
    recording = world["data"].parent / world["rows"][0]["audio"]
    out, asked = tmp_path / "heard.json", ["--words", "--confidence", "--device", "cpu"]
    run_to_end("transcribe", [recording, "--model", finished, "--out", out, *asked], roots=world["root"])
    lines = read_json(out, list)
    assert lines and all(0 <= line["confidence"] <= 1 and "words" in line for line in lines)
    for line in lines:
        assert all(line["start"] <= word["start"] <= word["end"] <= line["end"] for word in line["words"])
    said = run_to_end("transcribe", [recording, "--model", finished, "--device", "cuda:7"], roots=world["root"], code=2)
    assert "--device cuda:7: found" in said.splitlines()[-1]


def test_generation_goes_on_where_it_was_killed(world, finished):
    from speech_llm.feature_sources import FeatureSource
    from speech_llm.predictions import finish_split, read_decoded

    path, key = world["root"] / "partial.jsonl", {"weights": "w", "decoding": {}}
    path.write_text(json.dumps(key) + '\n["a", [{"text": "kept"}]]\n["b", [{"te')
    items = [{"id": name, "duration": 1.0} for name in "abc"]
    source = FeatureSource(lambda chosen, speeds: [i["id"] for i in chosen], lambda item: 1, None, in_dim=1)

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
        (["--do_train", "--ctc_warmup_steps", "4", "--ctc_tokens"], "--ctc_tokens is a kind of"),
        (["--do_train", "--steps", "5", "--max_minutes", "1"], "exclude"),
        (["--do_train", "--front_end", "units"], "--units_exp"),
        (["--do_train", "--bsize", "0"], "--batch_size"),
        (["--do_train", "--dropout", "1.5"], "--dropout 1.5: expected a number from 0 to below 1"),
        (["--do_train", "--frame_dropout", "20"], "--frame_dropout 20.0: expected a number from 0 to below 1"),
        (
            ["--do_train", "--frame_dropout", ".2", "--front_end", "units", "--units_exp", "x"],
            "--frame_dropout changes",
        ),
        (["--do_train", "--noise_perturb", "-1"], "--noise_perturb -1: expected 0 or more"),
        (
            ["--do_train", "--noise_perturb", "1", "--front_end", "units", "--units_exp", "x"],
            "--noise_perturb changes",
        ),
        (["--do_train", "--label_smoothing", "1"], "--label_smoothing"),
        (["--do_train", "--lora_r", "-4"], "--lora_r -4: expected 0 or more"),
        (["--do_train", "--lora_alpha", "8"], "--lora_alpha needs --lora_r"),
        (["--do_train", "--lr", "-1"], "--lr -1.0: expected a number above 0"),
        (["--do_train", "--clip", "0"], "--clip"),
        (["--do_train", "--seed", "-1"], "--seed"),
        (
            ["--do_train", "--width", "200"],
            "3 attention heads do not part it evenly; give another width, or --n_heads 2",
        ),
        (["--do_train", "--num_heads", "7"], "7 attention heads"),
        (["--do_train", "--connector", "mlp", "--num_heads", "4"], "--connector mlp has no such thing"),
        (["--do_train", "--connector", "conv", "--norm", "post"], "--norm post: --connector conv"),
        (["--do_train", "--connector", "qformer", "--no_positions"], "--no_positions: --connector qformer"),
        (["--do_train", "--top_lr_share", ".5"], "--top_lr_share 0.5: --connector transformer has no layers of the"),
        (
            ["--do_train", "--connector", "encoder", "--front_end", "units", "--units_exp", "x"],
            "front_end units has none",
        ),
        (["--do_train", "--steps", "20", "--warmup", "30"], "longer than a phase of 20 steps"),
        (["--do_train", "--steps", "90", "--ctc_warmup_steps", "80", "--warmup", "30"], "a phase of 10 steps"),
        (["--do_train", "--steps", "20", "--ctc_warmup_steps", "30"], "at most --steps 20"),
        (["--do_train", "--n_best", "2"], "at most --num_beams 1"),
        (["--do_train", "--decoder", "ctc"], "no CTC head"),
        (["--do_train", "--ctc_consistency", ".2"], "--ctc_consistency: of the steps of CTC alone"),
        (["--do_train", "--ctc_temperature", "0"], "--ctc_temperature 0.0: expected a number above 0"),
        (["--do_train", "--text_only", "--lora_r", "4"], "--text_only needs a head that hears"),
        (["--do_train", "--text_only", "--from_pretrained", "x"], "--text_only: the LLM learns the transcripts by"),
        (["--do_train", "--text_only", "--ctc_loss_weight", "1"], "--text_only: the head stays as it is"),
        (["--do_train", "--data_weights", "1", "2"], "--data_weights 1 2: expected 1 above 0"),
        (["--do_train", "--more_data", "x", "--data_weights", "1", "0"], "expected 2 above 0, for --data and each of"),
        (["--do_train", "--more_data", "x", "--front_end", "units", "--units_exp", "y"], "--more_data: --front_end"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(given, complaint):
    with pytest.raises(UserError, match=complaint):
        parse_args(["--exp", "exp/x", "--data", "data/x", *given])


def test_a_short_run_reaches_its_learning_rate():
    """The default warm-up is longer than such a run."""
    args = parse_args("--exp exp/x --data d --do_train --steps 4 --lr 1e-3".split())
    optimizer = torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.ones(2))], "lora": False}])
    rates = [set_learning_rates(args, optimizer, step, 4) for step in range(4)]
    assert rates[0] == pytest.approx(0.25e-3) and max(rates) > 0.4e-3


def test_the_flags_of_the_origin_mean_the_same():
    shape = "--downsampling_factor 4 --num_heads 16 --num_layers 3 --hidden_size 1024 --intermediate_size 4096"
    switches = "--norm_first --add_final_norm --use_positional_embeddings --early_stopping_patience 3 --lora_a 4"
    args = parse_args(f"--out_dir exp/x --data d --do_train --lora_r 4 --shuffle {shape} {switches}".split())
    assert (args.factor, args.n_heads, args.n_layers, args.width, args.feedforward) == (4, 16, 3, 1024, 4096)
    assert (args.norm, args.no_final_norm, args.no_positions, args.patience) == ("pre", False, False, 3)


def test_the_command_of_the_origin_works_as_typed(tmp_path, monkeypatch):
    """Once a language is prepared."""
    manifest = tmp_path / "guarani" / "segments.jsonl"
    manifest.parent.mkdir()
    manifest.write_text(json.dumps({"id": "a", "text": "che"}) + "\n")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    monkeypatch.delenv("TRAINING_LANGUAGE", raising=False)
    typed = (
        "--out_dir exp/my_experiment --speech_enc_id openai/whisper-small.en --llm_id allenai/OLMo-2-0425-1B-Instruct"
    )
    args = parse_args([*typed.split(), "--do_train", "--do_generate"])
    assert (args.data, args.exp, args.test_splits) == (manifest.parent, Path("exp/my_experiment"), ["test"])


def test_a_short_training_that_was_lengthened_writes_again(tmp_path):
    """Its config.json holds the steps of the first start, and a warm-up that nobody has asked for."""
    began = {"steps": 8, "warmup": 50, "data": "data/x", "ctc_warmup_steps": 4, "decoder": "joint", "num_beams": 8}
    write_json(tmp_path / "config.json", {"arguments": began})
    args = parse_args(["--exp", str(tmp_path), "--do_generate", "--steps", "20", "--num_beams", "4"])
    assert (args.data, args.ctc_warmup_steps, args.decoder, args.num_beams) == (Path("data/x"), 4, "joint", 4)


def test_a_model_that_is_no_language_model_is_refused_before_anything_is_read(world):
    from speech_llm.saved_model import refuse_no_llm

    llm, encoder = world["root"] / "llm", world["root"] / "whisper"
    refuse_no_llm(llm, None, ["q_proj", "mlp.up_proj"])
    with pytest.raises(UserError, match="an encoder with a decoder .whisper."):
        refuse_no_llm(encoder, None)
    with pytest.raises(UserError, match="--lora_targets typo: expected all-linear, or some of .*q_proj"):
        refuse_no_llm(llm, None, ["q_proj", "typo"])


def test_learning_rates_follow_the_step_in_each_phase():
    args = parse_args(
        "--exp exp/x --data d --do_train --steps 100 --ctc-warmup-steps 40 --warmup 10 --lr 1e-3 --ctc_lr 2e-3 "
        "--lora_r 4 --lora_lr 5e-4".split()
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
    rows = read_json(tmp_path / "exp" / "test_predictions.json", list)
    assert word_error_rate([row["reference"] for row in rows], [row["hypothesis"] for row in rows]) <= 0.05
