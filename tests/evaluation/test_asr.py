"""The recogniser: windows, batches, cache, refusals; on a tiny random Whisper, and on a real one where given."""

import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

import pytest
from tqdm import tqdm
from transformers import WhisperFeatureExtractor

from audio.audio_io import load_audio, save_audio
from core.errors import UserError
from core.frames import SAMPLE_RATE
from evaluation.asr import (
    BEAMS,
    TEMPERATURES,
    WINDOW_SAMPLES,
    Recogniser,
    _fingerprint,
    _transcribe_batch,
    find_windows,
    load_asr,
    repeats_itself,
    settle_language,
    stopped_early,
    transcribe,
    transcribe_cached,
)
from evaluation.judgement_cache import hash_audio
from evaluation.judges import add_readings
from synthetic import speech_like
from tiny_asr import save_tiny_whisper_asr


@pytest.fixture(scope="module")
def tiny_whisper_asr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_whisper_asr(tmp_path_factory.mktemp("whisper_asr"))


def test_windows_cover_everything_and_cut_where_it_is_quiet():
    rng = np.random.default_rng(0)
    waveform = rng.standard_normal(75 * SAMPLE_RATE) * 0.1
    pauses = [24.0, 50.0]
    for pause in pauses:
        waveform[int(pause * SAMPLE_RATE) : int((pause + 0.4) * SAMPLE_RATE)] = 0
    windows = find_windows(waveform)
    assert windows[0][0] == 0 and windows[-1][1] == len(waveform)
    assert [end for _, end in windows[:-1]] == [start for start, _ in windows[1:]]
    assert all(0 < end - start <= WINDOW_SAMPLES for start, end in windows)
    for (_, end), pause in zip(windows, pauses):
        assert pause < end / SAMPLE_RATE < pause + 0.4
    assert find_windows(waveform[:WINDOW_SAMPLES]) == [(0, WINDOW_SAMPLES)]
    assert WINDOW_SAMPLES == WhisperFeatureExtractor().n_samples, "what Whisper hears of an input; the rest is lost"


def test_a_reading_stopped_early_is_read_again_with_a_beam(tiny_whisper_asr, monkeypatch):
    """Two seconds of sound ask for six characters; a silent tail asks for none."""
    sound = speech_like(2.0, seed=1)
    assert stopped_early("8.", sound) and not stopped_early("un mensaje", sound)
    word = np.concatenate([sound[: SAMPLE_RATE // 2], np.zeros(20 * SAMPLE_RATE, np.float32)])
    assert not stopped_early("Delta", word) and not stopped_early("", np.zeros(0, np.float32))

    beams = []

    def read(asr, windows, *, n_beams=1):
        beams.append((n_beams, len(windows)))
        return ["8."] * len(windows) if n_beams == 1 else ["octavo, marque tres"] * len(windows)

    monkeypatch.setattr("evaluation.asr._transcribe_batch", read)
    assert transcribe(None, [sound, sound[: SAMPLE_RATE // 4]]) == ["octavo, marque tres", "8."]
    assert beams == [(1, 2), (BEAMS, 1)]


def test_a_reading_that_repeats_itself_is_read_again(monkeypatch):
    """First with a beam, then drawn at rising temperatures; one that always repeats itself keeps its last reading."""
    loop, word = "por favor marque " * 20, "por favor marque el dos"
    assert repeats_itself(loop) and repeats_itself("8. 2." + " 3." * 9) and not repeats_itself(word)
    assert not repeats_itself("") and not repeats_itself("no, no, no, no, no, no")
    menu = "Для прослушивания сообщения нажмите {}. Для повторного прослушивания сообщения нажмите {}. "
    assert not repeats_itself("".join(menu.format(number, number + 1) for number in range(1, 7, 2)))
    sound, asked = speech_like(1.0, seed=1), []

    def read_as(*answers):
        def read(asr, windows, *, n_beams=1, temperature=0.0):
            asked.append((n_beams, temperature))
            assert len(windows) == 1 and (not temperature or torch.initial_seed() == 0)
            return [answers[len(asked) - 1]]

        asked.clear()
        monkeypatch.setattr("evaluation.asr._transcribe_batch", read)
        return transcribe(None, [sound])

    state = torch.get_rng_state()
    assert read_as(word) == [word] and asked == [(1, 0.0)]
    assert read_as(loop, word) == [word] and asked == [(1, 0.0), (BEAMS, 0.0)]
    assert read_as(loop, loop, loop, word) == [word]
    assert asked == [(1, 0.0), (BEAMS, 0.0), (1, TEMPERATURES[0]), (1, TEMPERATURES[1])]
    assert read_as(*[loop] * 6, loop + word) == [loop + word] and asked[-1] == (1, TEMPERATURES[-1])
    assert torch.equal(torch.get_rng_state(), state), "a listener draws nothing from anybody's random numbers"


def test_texts_do_not_depend_on_the_batch(tiny_whisper_asr):
    asr = load_asr(str(tiny_whisper_asr), dtype="fp32")
    waveforms = [speech_like(seconds, seed=seed) for seed, seconds in enumerate((1.0, 3.0, 2.0))] + [
        np.zeros(0, np.float32)
    ]
    together = transcribe(asr, waveforms, batch_size=3)
    assert together == [transcribe(asr, [waveform], batch_size=1)[0] for waveform in waveforms]
    assert len(set(together)) == 4 and together[3] == ""


def test_long_recordings_are_the_texts_of_their_windows(tiny_whisper_asr):
    asr = load_asr(str(tiny_whisper_asr), dtype="fp32")
    waveform = speech_like(33.0, seed=0)
    windows = find_windows(waveform)
    assert len(windows) == 2
    texts = [transcribe(asr, [waveform[start:end]])[0] for start, end in windows]
    assert transcribe(asr, [waveform]) == [" ".join(texts)] and all(texts)


def test_readings_are_kept_by_model_and_audio(tiny_whisper_asr, tmp_path, monkeypatch):
    asr = load_asr(str(tiny_whisper_asr), dtype="fp32")
    waveforms = [speech_like(1.0, seed=seed) for seed in (0, 1, 0)]
    first = transcribe_cached(asr, waveforms, tmp_path)
    (kept,) = tmp_path.iterdir()
    assert kept.name == f"asr_{asr.fingerprint}.json"
    assert json.loads(kept.read_text()) == {hash_audio(wave): text for wave, text in zip(waveforms, first)}
    heard_again = []
    monkeypatch.setattr("evaluation.asr._transcribe_batch", lambda asr, windows: heard_again.extend(windows) or ["new"])
    other = speech_like(1.0, seed=9)
    assert transcribe_cached(asr, [*waveforms, other], tmp_path) == [*first, "new"]
    assert len(heard_again) == 1 and heard_again[0] is not None and np.array_equal(heard_again[0], other)


def test_another_precision_or_language_is_another_reading(tiny_whisper_asr):
    name = str(tiny_whisper_asr)
    prints = {
        load_asr(name, dtype=dtype, language=language).fingerprint
        for dtype in ("fp32", "bf16")
        for language in (None, "en")
    }
    assert len(prints) == 4


def test_unknown_models_and_languages_are_refused(tiny_whisper_asr, tmp_path):
    with pytest.raises(UserError, match="check the path"):
        load_asr(str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="knows en"):
        load_asr(str(tiny_whisper_asr), language="es")


@pytest.mark.skipif("ORAL_UNITS_WHISPER" not in os.environ, reason="ORAL_UNITS_WHISPER names no Whisper folder")
def test_a_real_whisper_reads_batches_alike():
    asr = load_asr(os.environ["ORAL_UNITS_WHISPER"], dtype="fp32")
    waveforms = [speech_like(2.0, seed=0), speech_like(4.0, seed=1)]
    assert transcribe(asr, waveforms) == [transcribe(asr, [waveform])[0] for waveform in waveforms]
    with pytest.raises(UserError, match="language xx: .* knows"):
        load_asr(os.environ["ORAL_UNITS_WHISPER"], language="xx")


def make_multilingual(asr):
    """The tiny Whisper as one of three languages, whose tokens are syllables."""
    config = asr.model.generation_config
    config.is_multilingual, config.lang_to_id = True, {"<|es|>": 5, "<|pt|>": 9, "<|th|>": 14}
    config.task_to_id, config.decoder_start_token_id = {"transcribe": 3, "translate": 3}, 3
    return asr


def test_one_language_is_found_for_all_that_is_read(tiny_whisper_asr):
    asr = make_multilingual(load_asr(str(tiny_whisper_asr), dtype="fp32"))
    waveforms = [speech_like(1.0, seed=seed) for seed in range(3)]
    settled = settle_language(asr, waveforms, batch_size=2)
    alone = [settle_language(asr, [waveform]).language for waveform in waveforms]
    assert settled.language in alone and settled.fingerprint != asr.fingerprint
    assert settled.fingerprint == _fingerprint(asr.model, settled.language, asr.dtype)
    assert settle_language(settled, waveforms[:1]) is settled
    assert settle_language(asr, [np.zeros(0, np.float32)]) is asr
    english = load_asr(str(tiny_whisper_asr), dtype="fp32")
    assert settle_language(english, waveforms) is english, "a model of one language has nothing to guess"


def test_both_sides_are_read_in_the_language_of_the_originals(tiny_whisper_asr, tmp_path, monkeypatch):
    asr = make_multilingual(load_asr(str(tiny_whisper_asr), dtype="fp32"))
    files = [("a", tmp_path / "original.wav", tmp_path / "resynthesis.wav")]
    for seed, path in enumerate(files[0][1:]):
        save_audio(path, speech_like(0.5, seed=seed))
    languages = []

    def read(asr, windows, **_):
        languages.append(asr.language)
        return ["uno dos"] * len(windows)

    monkeypatch.setattr("evaluation.asr._transcribe_batch", read)
    expected = settle_language(asr, [load_audio(files[0][1])]).language
    add_readings(asr, [{"id": "a", "duration": 0.5}], files, texts=[None])
    assert languages == [expected] * 2


def test_the_cut_is_the_middle_of_the_quietest_fifth_of_a_second():
    """It is looked for from 20 s on and before 30 s; nothing of 30 s or less is cut."""
    fifth = SAMPLE_RATE // 5
    for quiet in (20 * SAMPLE_RATE, 25 * SAMPLE_RATE + 7, 30 * SAMPLE_RATE - fifth):
        waveform = np.ones(30 * SAMPLE_RATE + 1, np.float32)
        waveform[quiet : quiet + fifth] = 0.1
        cut = quiet + fifth // 2
        assert find_windows(waveform) == [(0, cut), (cut, len(waveform))]
        assert find_windows(waveform[:-1]) == [(0, len(waveform) - 1)]
    assert find_windows(waveform[:0]) == [(0, 0)]


def test_three_characters_are_enough_for_a_second_of_sound_and_none_for_the_quiet():
    second = np.ones(SAMPLE_RATE, np.float32)
    assert stopped_early("ab", second) and not stopped_early("abc", second)
    for level, n_characters in ((0.0179, 6), (0.0177, 3)):  # 35 dB below lies between
        both = np.concatenate([second, level * second])
        assert stopped_early("a" * (n_characters - 1), both) and not stopped_early("a" * n_characters, both)
    assert not stopped_early("abc", np.concatenate([second, np.ones(SAMPLE_RATE // 50 - 1, np.float32)]))
    assert stopped_early("abc", np.concatenate([second, np.ones(SAMPLE_RATE // 50, np.float32)]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("abcdef" * 4, True), ("abcde" * 4, False), ("abcdefgh" * 3, False), ("so " + "abcdef" * 4 + " on", True)],
)
def test_four_times_the_same_of_24_characters_in_all_is_a_loop(text, expected):
    assert repeats_itself(text) == expected


class Stand:
    """In place of a Whisper: says how many tokens it was allowed, and notes what it was asked for."""

    def __init__(self, **config):
        self.device, self.dtype, self.asked = "cpu", torch.float32, []
        self.generation_config = SimpleNamespace(**config)

    def generate(self, features, **asked):
        assert torch.is_inference_mode_enabled(), "nothing is kept for gradients"
        self.asked.append(asked)
        return torch.zeros((len(features), 600), dtype=torch.long)

    def __call__(self, features, decoder_input_ids):
        assert torch.is_inference_mode_enabled(), "nothing is kept for gradients"
        self.asked.append(decoder_input_ids.tolist())
        return SimpleNamespace(logits=features[:, None])


def listener(model, language="es"):
    def extract(windows, **_):
        rows = torch.stack([torch.from_numpy(np.asarray(window[:4], np.float32)) for window in windows])
        return SimpleNamespace(input_features=rows, attention_mask=torch.ones(len(windows), 1))

    def decode(rows, skip_special_tokens):
        return [f" {len(row)} {skip_special_tokens} " for row in rows]

    return Recogniser("x", model, extract, SimpleNamespace(batch_decode=decode), language, "fp32", "")


def test_a_text_has_at_most_the_tokens_that_fit_its_seconds():
    windows = [np.zeros(round(seconds * SAMPLE_RATE), np.float32) for seconds in (1.0, 0.5, 25.5, 30.0)]
    model = Stand(is_multilingual=True, no_timestamps_token_id=7)
    assert _transcribe_batch(listener(model), windows) == ["48 True", "40 True", "440 True", "440 True"]
    (asked,) = model.asked
    assert torch.equal(asked.pop("attention_mask"), torch.ones(4, 1))
    assert asked == {
        "do_sample": False,
        "num_beams": 1,
        "max_new_tokens": 440,
        "language": "es",
        "task": "transcribe",
        "return_timestamps": True,
    }
    plain = Stand()
    _transcribe_batch(listener(plain), windows[:2], n_beams=3, temperature=0.4)
    (asked,) = plain.asked
    assert {name: asked[name] for name in asked if name != "attention_mask"} == {
        "do_sample": True,
        "num_beams": 3,
        "max_new_tokens": 48,
        "temperature": 0.4,
    }


def test_the_language_is_the_likeliest_on_average_of_the_first_thirty_seconds():
    """Two hear the second language a little, one hears the first for sure: probabilities, not scores, are added."""
    model = Stand(is_multilingual=True, lang_to_id={"<|es|>": 1, "<|pt|>": 2, "<|th|>": 3}, decoder_start_token_id=9)
    model.state_dict = dict
    heard = [np.array(scores, np.float32) for scores in ([5, 0, 0.5, 0], [5, 0, 0.5, 0], [0, 40, 0, 0])]
    asr = listener(model, None)
    for batch_size, batches in ((8, [3]), (2, [2, 1]), (1, [1, 1, 1])):
        model.asked.clear()
        settled = settle_language(asr, [*heard, np.zeros(0, np.float32)], batch_size=batch_size)
        assert settled.language == "es" and [len(one) for one in model.asked] == batches
        assert all(row == [9] for one in model.asked for row in one)
    assert settle_language(asr, heard[:2]).language == "pt"


def test_windows_are_heard_longest_first_and_the_bar_moves_by_their_seconds(monkeypatch):
    batches = []

    def read(asr, windows, **_):
        batches.append([len(window) for window in windows])
        return [f"{len(window)} characters are many of them" if len(window) > 400 else "" for window in windows]

    monkeypatch.setattr("evaluation.asr._transcribe_batch", read)
    monkeypatch.setattr("evaluation.asr.stopped_early", lambda text, window: False)
    bar = tqdm(total=1, disable=False, file=io.StringIO())
    sizes = (800, 1600, 400, 0, 1200)
    texts = transcribe(None, [np.ones(size, np.float32) for size in sizes], batch_size=2, bar=bar)
    assert batches == [[1600, 1200], [800, 400]] and bar.n == pytest.approx(4000 / SAMPLE_RATE)
    assert texts == [f"{size} characters are many of them" if size > 400 else "" for size in sizes]


def test_a_model_that_is_nowhere_or_no_whisper_says_what_to_run(tmp_path):
    name = str(tmp_path / "nothing")
    with pytest.raises(UserError) as refused:
        load_asr(name)
    assert str(refused.value) == (
        f"{name}: expected a Whisper, by folder or hub id, found none; check the path: a model's folder holds its "
        "config.json and its weights"
    )
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"expected a Whisper, by folder or hub id, found (?!none)[^\n]+; check"):
        load_asr(str(tmp_path))
