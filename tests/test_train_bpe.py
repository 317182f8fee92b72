"""Phase 2 as a person runs it: files, numbers, motifs on the right place of the audio, resuming, refusals."""

import json
import shutil
from pathlib import Path

import numpy as np

import pytest
import soundfile

import train_bpe

from core.errors import UserError
from synthetic import run_script, write_segments, write_units
from units.bpe import N_SPECIAL, decode_tokens, encode_units, load_tokenizer, token_edges, token_units
from units.corpus import read_corpus, write_corpus
from units.motif_audio import cut_motif


def run(monkeypatch: pytest.MonkeyPatch, *flags: object) -> None:
    """The script's ``main`` on ``flags`` for Spanish, in this process."""
    monkeypatch.setattr("sys.argv", ["train_bpe.py", "--language", "spanish", *map(str, flags)])
    train_bpe.main()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """One run, shared by the tests that only look at it."""
    root = tmp_path_factory.mktemp("phase2")
    rows = write_segments(root / "data", "spanish")
    units = write_units(root / "exp", rows, n_units=12)
    env = {"DATA_ROOT": str(root / "data"), "EXP_ROOT": str(root / "exp"), "TAG": ""}
    flags = ["--language", "spanish", "--vocab-size", 40, "--examples_audio", 3, "--examples_context", 0]
    done = run_script("src/train_bpe.py", *flags, env=env)
    exp = root / "exp" / "spanish_bpe"
    return {"exp": exp, "corpus": units / "corpus_timestamped.json", "env": env, "stdout": done.stdout, "root": root}


def test_outputs_and_summary(trained: dict) -> None:
    exp = trained["exp"]
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "motifs.json", "finished.json"):
        assert (exp / name).is_file()
    summary = json.loads((exp / "finished.json").read_text())
    assert summary["vocab_size"] == len(load_tokenizer(exp)) == 40
    assert summary["n_merges"] == 40 - 12 - N_SPECIAL
    assert set(summary["splits"]) == {"train", "val", "test"}
    assert "units/token" in trained["stdout"]
    assert "run_phase3.sh spanish" in trained["stdout"]


def test_rates_equal_those_counted_anew(trained: dict) -> None:
    tokenizer = load_tokenizer(trained["exp"])
    summary = json.loads((trained["exp"] / "finished.json").read_text())["splits"]
    for split, rates in summary.items():
        utterances = list(read_corpus(trained["corpus"], splits=[split]))
        ids = np.concatenate([encode_units(tokenizer, u["units"]) for u in utterances])
        n_units, seconds = sum(len(u["units"]) for u in utterances), sum(sum(u["durations"]) for u in utterances) / 50
        assert rates["units_per_token"] == pytest.approx(n_units / len(ids))
        assert rates["tokens_per_second"] == pytest.approx(len(ids) / seconds)
        share = np.bincount(ids)[np.bincount(ids) > 0] / len(ids)
        bits = -(share * np.log2(share)).sum() * len(ids) / seconds
        assert rates["bits_per_second"]["tokens"] == pytest.approx(bits)
        frames = np.concatenate([np.repeat(u["units"], u["durations"]) for u in utterances])
        share = np.bincount(frames)[np.bincount(frames) > 0] / len(frames)
        assert rates["bits_per_second"]["frames"] == pytest.approx(-(share * np.log2(share)).sum() * 50)
    assert summary["train"]["units_per_token"] > 1.1


def test_every_utterance_round_trips(trained: dict) -> None:
    tokenizer = load_tokenizer(trained["exp"])
    for utterance in read_corpus(trained["corpus"]):
        assert decode_tokens(tokenizer, encode_units(tokenizer, utterance["units"])).tolist() == utterance["units"]


def test_motifs_count_train_and_point_at_their_units(trained: dict) -> None:
    motifs = json.loads((trained["exp"] / "motifs.json").read_text())
    tokenizer = load_tokenizer(trained["exp"])
    assert [motif["token"] for motif in motifs] == list(range(N_SPECIAL, 40))
    assert [motif["units"] for motif in motifs] == token_units(tokenizer)[N_SPECIAL:]
    train = {u["id"]: u for u in read_corpus(trained["corpus"], splits=["train"])}
    assert sum(m["count"] * len(m["units"]) for m in motifs) == sum(len(u["units"]) for u in train.values())
    covered = sum(m["count"] * (m["mean_duration"] or 0) for m in motifs)
    assert covered == pytest.approx(sum(sum(u["durations"]) for u in train.values()) / 50, rel=1e-3)
    n_examples = 0
    for motif in motifs:
        holders = [example["utterance"] for example in motif["examples"]]
        assert len(set(holders)) == len(holders) <= 5
        for example in motif["examples"]:
            utterance = train[example["utterance"]]
            edges = np.concatenate([[0], np.cumsum(utterance["durations"])]) / 50
            first, last = (int(np.argmin(np.abs(edges - example[key]))) for key in ("start", "end"))
            assert utterance["units"][first:last] == motif["units"]
            assert example["audio"] == utterance["audio"]
            n_examples += 1
    assert n_examples > 40


def test_token_edges_end_at_the_last_frame(trained: dict) -> None:
    tokenizer = load_tokenizer(trained["exp"])
    lengths = np.array([len(units) for units in token_units(tokenizer)])
    utterance = next(read_corpus(trained["corpus"]))
    edges = token_edges(encode_units(tokenizer, utterance["units"]), lengths, np.array(utterance["durations"]))
    assert edges[-1] == sum(utterance["durations"])


def test_examples_audio_is_cut_from_the_segments(trained: dict) -> None:
    folder = trained["exp"] / "motifs"
    motifs = {m["token"]: m for m in json.loads((trained["exp"] / "motifs.json").read_text())}
    rows = [line.split("\t") for line in (folder / "index.tsv").read_text().splitlines()[1:]]
    assert 3 <= len(rows) <= 6
    frequent = max((m for m in motifs.values() if len(m["units"]) > 1), key=lambda m: (m["count"], -m["token"]))
    assert rows[0][0] == f"token_{frequent['token']:05d}.wav"
    for name, *_ in rows:
        waveform, rate = soundfile.read(folder / name, dtype="float32")
        examples = motifs[int(name[6:11])]["examples"]
        spoken = sum(round(e["end"] * 16000) - round(e["start"] * 16000) for e in examples)
        assert (rate, len(waveform)) == (16000, spoken + len(examples) * 4800)
        first = examples[0]
        start, n = round(first["start"] * 16000), round(first["end"] * 16000) - round(first["start"] * 16000)
        segment, _ = soundfile.read(trained["root"] / "data" / first["audio"], dtype="float32")
        middle = slice(n // 3, 2 * n // 3)
        np.testing.assert_allclose(waveform[:n][middle], segment[start : start + n][middle], atol=2 / 32768)


def test_examples_keep_context_within_the_segment(trained: dict) -> None:
    motif = next(
        m for m in json.loads((trained["exp"] / "motifs.json").read_text()) if m["examples"] and m["token"] >= 16
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_ROOT", trained["env"]["DATA_ROOT"])
        waveform, missing = cut_motif(motif["examples"], context=0.5)
    expected = 0
    for example in motif["examples"]:
        duration = soundfile.info(trained["root"] / "data" / example["audio"]).duration
        spoken = min(duration, example["end"] + 0.5) - max(0.0, example["start"] - 0.5)
        expected += round(spoken * 16000) + 4800
    assert missing == []
    assert abs(len(waveform) - expected) <= len(motif["examples"])


def contents(exp: Path) -> dict[str, bytes]:
    return {name: (exp / name).read_bytes() for name in ("tokenizer.json", "motifs.json", "finished.json")}


def test_run_again_is_finished_and_a_killed_run_ends_the_same(
    trained: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    root = tmp_path / "root"
    shutil.copytree(trained["root"], root)
    for name in ("data", "exp"):
        monkeypatch.setenv(f"{name.upper()}_ROOT", str(root / name))
    exp, flags = root / "exp" / "spanish_bpe", ["--vocab_size", 40, "--resume", "auto"]
    before = contents(exp)
    run(monkeypatch, *flags, "--examples_audio", 1)
    assert "already finished" in capsys.readouterr().out
    listed = [line.split("\t")[0] for line in (exp / "motifs" / "index.tsv").read_text().splitlines()[1:]]
    assert len(listed) in (1, 2)
    assert sorted(path.name for path in (exp / "motifs").glob("*.wav")) == sorted(listed)
    for left in (["tokenizer.json", "motifs.json"], ["tokenizer.json"], []):
        for name in before.keys() - set(left):
            (exp / name).unlink()
        run(monkeypatch, *flags)
        assert contents(exp) == before
    with pytest.raises(UserError, match="--resume"):
        run(monkeypatch, "--vocab_size", 40)
    with pytest.raises(UserError, match="vocab_size: 40 -> 41"):
        run(monkeypatch, "--vocab_size", 41, "--resume", "auto")


def test_only_the_train_split_is_learned_from_and_only_the_first_stream(
    tiny_language: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = write_units(tiny_language["exp"], tiny_language["rows"], n_units=12, n_streams=2)
    run(monkeypatch, "--vocab_size", 30)
    exp = tiny_language["exp"] / "spanish_bpe"
    first = (exp / "tokenizer.json").read_bytes(), (exp / "motifs.json").read_bytes()
    corpus = units / "corpus_timestamped.json"
    changed = list(read_corpus(corpus))
    for utterance in changed:
        utterance["residual_units"] = [[0] * len(stream) for stream in utterance["residual_units"]]
        if utterance["split"] != "train":
            utterance["units"] = [number % 2 for number in range(len(utterance["units"]))]
    write_corpus(corpus, changed)
    run(monkeypatch, "--vocab_size", 30, "--overwrite")
    assert first == ((exp / "tokenizer.json").read_bytes(), (exp / "motifs.json").read_bytes())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--vocab_size", 16], "expected more than 16"),
        (["--vocab_size", 30, "--min_count", 0], "--min_count 0"),
        (["--vocab_size", 30, "--max_motif_units", 1], "--max_motif_units 1"),
        (["--vocab_size", 30, "--examples_audio", 3, "--n_examples", 0], "--n_examples 1"),
        (["--vocab_size", 30, "--examples_context", -1], "--examples_context -1"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(
    tiny_units: dict, monkeypatch: pytest.MonkeyPatch, flags: list, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(monkeypatch, *flags)
    assert not (tiny_units["exp"] / "spanish_bpe").exists()


def test_unfinished_phase_1_names_its_command(tiny_units: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    (tiny_units["units"] / "finished.json").unlink()
    with pytest.raises(UserError, match=r"run_phase1\.sh spanish"):
        run(monkeypatch, "--vocab_size", 30)


def test_small_corpus_ends_early_and_missing_audio_is_named(
    tiny_units: dict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    flags = ["--vocab_size", 5000, "--max_train_units", 150]
    run(monkeypatch, *flags)
    summary = json.loads((tiny_units["exp"] / "spanish_bpe" / "finished.json").read_text())
    assert summary["vocab_size"] < 5000
    assert summary["train_share"] < 1
    assert "instead of 5000" in capsys.readouterr().err
    shutil.rmtree(tiny_units["data"])
    with pytest.raises(UserError, match="DATA_ROOT"):
        run(monkeypatch, *flags, "--resume", "auto", "--examples_audio", 2)
