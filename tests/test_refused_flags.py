"""Flags that cannot be obeyed together are refused before any work, in words that say what to do.

Only the reading of flags runs here: a script that works on after it is in the tests of that script.
"""

import importlib

import pytest

from core.errors import UserError

SPEECH = ["clip.wav", "--out", "out", "--exp", "exp/x", "--voice", "exp/v", "--prosody", "exp/p"]
PAIR = ["--source", "english", "--target", "spanish"]
CASES = [
    ("build_report", ["exp/x", "--max_seconds", "0"], "--max_seconds above 0"),
    ("build_report", ["exp/x", "--max_examples", "-1"], "must be 0 or more"),
    ("continue_speech", [*SPEECH, "--top_p", "1.5"], "--top_p 1.5: expected a share, up to 1"),
    ("continue_speech", SPEECH[:-2], "the voice brings none; train one"),
    ("translate_speech", [*SPEECH, "--top_p", "2"], "--top_p 2.0: expected a share, up to 1"),
    ("translate_speech", [*SPEECH, "--device", "gpu"], "--device gpu: expected cpu, cuda or cuda:1"),
    ("translate_speech", [*SPEECH, "--device", "cuda:99"], "--device cuda:99: found . GPUs; give --device cpu"),
    ("translation_test", ["--exp", "x", "--voice", "v"], "--voice and --asr go together"),
    ("translation_test", ["--exp", "x", "--asr", "w"], "--voice and --asr go together"),
    ("translation_test", ["--exp", "x", "--prosody", "p"], "--prosody belongs to --voice; leave it out"),
    ("cross_validate", ["--exp", "x", "--folds", "1"], "--folds 1: expected 2 or more"),
    ("trainer_unit_lm", ["--language", "spanish", "--context", "7"], "--context 7: expected 8 or more"),
    ("trainer_unit_lm", ["--language", "spanish", "--bpe_exp", "b"], "--bpe_exp: .* needs --input bpe"),
    (
        "trainer_translation",
        [*PAIR, "--features", "mfcc", "--source_input", "units"],
        "both say what is heard",
    ),
    (
        "trainer_translation",
        [*PAIR, "--padding", "short"],
        "--padding and --stack belong to --features",
    ),
    ("trainer_translation", ["--source", "english", "--target", "english"], "expected each language once"),
    ("trainer_translation", ["--source", "a", "--source", "a", "--target", "b"], "expected each language once"),
    (
        "trainer_translation",
        [*PAIR, "--token_weight", "0", "--alone_weight", "0", "--contrast_weight", "0"],
        "expected a loss that counts; raise one",
    ),
    ("trainer_translation", [*PAIR, "--bpe_exp", "b"], "needs --source_input bpe or --target_input bpe"),
    ("synthesize", ["--exp", "v", "a.wav", "--split", "test"], "recordings have no splits"),
    ("synthesize", ["--exp", "v", "--units", "u.json", "--keep_level"], "units have no level"),
    ("synthesize", ["--exp", "v", "--tokens", "t.txt"], "--tokens FILE and --bpe exp/<language>_bpe go together"),
    ("synthesize", ["--exp", "v", "--units", "u.json", "--deduplicated", "d.jsonl"], "expected one of recordings"),
    ("synthesize", ["--exp", "v", "--deduplicated", "d.jsonl"], "units without timing need --prosody"),
    ("synthesize", ["--exp", "v", "--units", "u.json", "--predict", "f0"], "--predict f0 needs --prosody"),
    (
        "synthesize",
        ["--exp", "v", "a.wav", "--prosody", "p", "--predict", "durations"],
        "recordings have their own; save them with --save_units",
    ),
    ("synthesize", ["--exp", "v", "a.wav", "--speaker", "ana", "--voice_of", "b.wav"], "both say who speaks; give one"),
    ("synthesize", ["--exp", "v", "a.wav", "--keep_f0"], "--keep_f0 goes with --voice_of"),
    ("synthesize", ["--exp", "v", "a.wav", "--f0_scale", "9"], "--f0_scale 9: expected a factor from"),
]


@pytest.mark.parametrize(("script", "words", "said"), CASES, ids=[f"{row[0]} {' '.join(row[1])}" for row in CASES])
def test_it_is_refused_in_one_line(script: str, words: list[str], said: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("EXP_ROOT", str(tmp_path / "exp"))
    with pytest.raises(UserError, match=said) as refused:
        importlib.import_module(script).parse_args(words)
    assert "\n" not in str(refused.value) and not list(tmp_path.iterdir()), "one line, and nothing was written"
