"""From posteriors or a reading to lines with times: planted truth comes back, gaps and wrong pages are named."""

from types import SimpleNamespace

import numpy as np
import torch

import pytest

from alignment.align_recording import HEAD_SCALE, WHISPER_SCALE, align, hear_by_head, hear_by_reading
from alignment.columns import columns_of
from alignment.known_text import TextLine
from alignment.outputs import alignment_spans, render_report, trained_rows, write_tiers
from alignment.reading_emissions import compare_letters, reading_letters, sound_of
from alignment.times import find_quiet
from alignment.whisper_readings import letter_times, quiet_windows, read_tokens, token_bounds
from alignment.windows import overlapping_windows
from audio.audio_io import save_audio
from core.errors import UserError
from segmentation.pauses import measure_levels

CHARACTERS = " abcdefghijklmnopqrstuvwxyz"
STEP = 0.04
# (text, start s): each letter sounds for 80 ms; 0.3 s of silence part words, more part lines.
SAID = [("tama lino", 1.0), ("kora sefu", 4.0), ("bidu wen", 7.0), ("gasi moru", 10.0)]
EXTRA = ("puhozyv kexa", 13.0)
SECONDS = 16.0


def word_times(text: str, start: float) -> list[tuple[str, float, float]]:
    found = []
    for word in text.split():
        found.append((word, start, start + 0.08 * len(word)))
        start = found[-1][2] + 0.3
    return found


def planted(said):
    """(emissions (P, C), levels (T,)) of what is said; the head marks a letter in the middle of its sound."""
    samples = np.zeros(round(SECONDS * 16000), np.float32)
    probabilities = np.full((round(SECONDS / STEP), len(CHARACTERS) + 1), 0.1 / len(CHARACTERS))
    labels = np.zeros(len(probabilities), int)
    noise = np.random.default_rng(0).normal(0, 0.1, len(samples)).astype(np.float32)
    for text, begins in said:
        for word, start, end in word_times(text, begins):
            samples[round(start * 16000) : round(end * 16000)] = noise[round(start * 16000) : round(end * 16000)]
            for number, letter in enumerate(word):
                labels[round((start + 0.08 * number + 0.04) / STEP)] = 1 + CHARACTERS.index(letter)
    probabilities[np.arange(len(labels)), labels] = 0.9
    return columns_of(np.log(probabilities), CHARACTERS), measure_levels([samples + 0.01 * noise])[0]


def align_head(said, texts):
    emissions, levels = planted(said)
    lines = [TextLine(str(number), text) for number, text in enumerate(texts, 1)]
    return align("tale.mp3", hear_by_head(emissions, CHARACTERS, STEP, lines), levels, HEAD_SCALE)


def test_planted_times_come_back() -> None:
    found = align_head(SAID, [text for text, _ in SAID])
    for line, (text, begins) in zip(found["lines"], SAID):
        assert [word["text"] for word in line["words"]] == text.split() and line["confidence"] > 0.8
        for word, (_, start, end) in zip(line["words"], word_times(text, begins)):
            assert word["start"] == pytest.approx(start, abs=0.03) and word["end"] == pytest.approx(end, abs=0.03)
    assert found["not_in_text"] == [] and not found["summary"]["wrong_page"]
    assert found["summary"]["sure_lines"] == 4 and found["seconds"] == SECONDS


def test_a_line_that_nobody_says_and_speech_beyond_the_text_are_named() -> None:
    texts = [SAID[0][0], "zahivo bepuxa dofi", *(text for text, _ in SAID[1:])]
    found = align_head([*SAID, EXTRA], texts)
    assert found["summary"]["unsaid_lines"] == ["2"] and found["lines"][1]["missing"] == texts[1].split()
    [extra] = found["not_in_text"]
    assert extra["start"] == pytest.approx(13.0, abs=0.1) and extra["after"] == "5"
    report = render_report(found)
    assert "not said: 2" in report and "0:13.0" in report and "4 of 5 lines" in report
    assert [row[4] for row in trained_rows(found, 0.3)] == ["1", "3", "4", "5"]


def test_a_wrong_page_is_flagged_and_not_trained_on() -> None:
    found = align_head(SAID, ["zahivo bepuxa", "dofi yaxu", "vopi hezu"])
    assert found["summary"]["wrong_page"] and trained_rows(found, 0.0) == []
    assert "right page?" in render_report(found)


def test_a_word_ends_where_its_echo_is_far_below_the_speech() -> None:
    """In a quiet room the echo stays above the noise for long: between the words there is no silence at all."""
    rng, samples = np.random.default_rng(0), np.full(3 * 16000, 1e-5)
    for start, end in ((0.5, 1.0), (1.5, 2.0)):
        samples[round(start * 16000) : round(end * 16000)] = 0.1
    echo = 0.1 * 10 ** (-(20 + 80 * np.arange(8000) / 16000) / 20)  # from 20 dB below the word, by 80 dB a second
    samples[16000:24000] = echo
    levels = measure_levels([(samples * rng.normal(0, 1, len(samples))).astype(np.float32)])[0]
    pauses = find_quiet(levels)
    [between] = [pause for pause in pauses if 0.9 < pause[0] < 1.5]
    assert between == pytest.approx([1.19, 1.5], abs=0.04)


def test_a_number_takes_its_own_sound_and_not_the_announcement_behind_it() -> None:
    """A word with digits may sound like anything, but not for as long as anything."""
    beyond = (2 * "puhozyvkexawujehiboqzaxuvjofiwehyqvupo", 5.5)
    found = align_head([("tama lino sete", 1.0), beyond, ("gasi moru", 13.0)], ["tama lino 7", "gasi moru"])
    first, last = found["lines"]
    assert first["end"] == pytest.approx(1.0 + 0.32 * 3 + 0.6, abs=0.05) and last["start"] == pytest.approx(
        13, abs=0.05
    )
    assert [one["after"] for one in found["not_in_text"]] == ["1"] and first["confidence"] > 0.3


def test_a_text_in_other_letters_is_refused() -> None:
    with pytest.raises(UserError, match="letters that the recogniser knows"):
        align_head(SAID, ["ქართული"])


def reading_of(said, swap=("", "")):
    """Windows of a reading whose words begin on time, and go on through the pauses behind them."""
    words = [word for text, begins in said for word in word_times(text, begins)]
    text, starts, ends = "", [], []
    for number, (word, start, _) in enumerate(words):
        until = words[number + 1][1] if number + 1 < len(words) else SECONDS
        edges = np.linspace(start, until, len(word) + 1)
        text += f" {word.replace(*swap)}"
        starts, ends = [*starts, start, *edges[:-1]], [*ends, start, *edges[1:]]
    return [{"start": 0.0, "end": SECONDS, "text": text, "starts": starts, "ends": ends}]


@pytest.mark.parametrize("swap", [("a", "a"), ("a", "e"), ("o", "о")], ids=["read well", "other vowels", "Cyrillic"])
def test_a_reading_gives_the_same_times(swap) -> None:
    _, levels = planted(SAID)
    heard = hear_by_reading(reading_of(SAID, swap), [TextLine(str(n), text) for n, (text, _) in enumerate(SAID)])
    found = align("tale.mp3", heard, levels, WHISPER_SCALE)
    for line, (text, begins) in zip(found["lines"], SAID):
        times = word_times(text, begins)
        assert line["start"] == pytest.approx(times[0][1], abs=0.03)
        assert line["end"] == pytest.approx(times[-1][2], abs=0.03), "not at the end of the pause"


def test_letters_of_any_script_have_a_sound() -> None:
    assert [sound_of(letter) for letter in "éкØञבʔ7"] == ["e", "k", "o", "n", "b", "", ""]
    assert (
        compare_letters("k", "к") > compare_letters("a", "о") > compare_letters("k", "о") == compare_letters("7", "a")
    )


def test_a_window_is_read_once_and_without_marks() -> None:
    """With timestamps, generate reads on behind the last one, in the encoder's output of the same window again."""

    def generate(**options: object) -> torch.Tensor:
        once = [9, 1, 2, 51]
        return torch.tensor([once * 2 if options.get("return_timestamps") else once])

    settings = SimpleNamespace(no_timestamps_token_id=50)
    model = SimpleNamespace(generation_config=settings, generate=generate)
    heard = SimpleNamespace(model=model, tokenizer=SimpleNamespace(all_special_ids=[9]))
    assert read_tokens(heard, None, 10) == [1, 2]


def test_tokens_lie_where_attention_is() -> None:
    attention = np.full((4, 40), -1.0)
    for row, (first, last) in enumerate([(0, 10), (10, 15), (15, 30), (30, 40)]):
        attention[row, first:last] = 1.0
    assert token_bounds(attention, 0.8) == pytest.approx([0, 0.2, 0.3, 0.6])
    assert token_bounds(attention[:, :3], 0.06) == pytest.approx([0, 0.02, 0.04, 0.06]), "more tokens than frames"


def test_letters_that_several_tokens_spell_share_their_time() -> None:
    class Bytes:  # a tokenizer of bytes
        @staticmethod
        def decode(tokens, **_):
            return bytes(tokens).decode("utf-8", errors="replace")

    text, starts, ends = letter_times(Bytes, list("aж".encode()), np.array([0.0, 0.1, 0.2, 0.4]))
    assert (text, starts, ends) == ("aж", [0.0, 0.1], [0.1, 0.4])


def test_a_space_takes_the_time_between_two_words() -> None:
    window = {
        "start": 0,
        "end": 3,
        "text": " Ab, c",
        "starts": [0, 1, 1.1, 1.2, 2, 2.1],
        "ends": [1, 1.1, 1.2, 1.3, 2.1, 3],
    }
    letters = reading_letters([window])
    assert [letter for letter, _, _ in letters] == ["a", "b", " ", "c"]
    assert letters[0][1] == 1 and letters[1][2] == 1.3 == letters[2][1] and letters[3][1:] == (2.1, 3)


@pytest.mark.parametrize("n_samples", [5, 40, 41, 100, 997])
def test_windows_keep_every_sample_once(n_samples: int) -> None:
    samples = np.arange(n_samples, dtype=np.float32)
    windows = list(overlapping_windows(np.array_split(samples, 7), 20, 6))
    kept = [window.waveform[window.lead : window.lead + window.kept] for window in windows]
    assert np.concatenate(kept).tolist() == samples.tolist()
    assert all(window.lead == min(6, window.start) for window in windows)
    assert max(len(window.waveform) for window in windows) <= 32


def test_quiet_windows_cover_the_recording() -> None:
    samples = np.random.default_rng(0).normal(size=75 * 16000).astype(np.float32)
    windows = list(quiet_windows(np.array_split(samples, 9)))
    assert np.array_equal(np.concatenate([waveform for _, waveform in windows]), samples)
    assert [start for start, _ in windows] == np.cumsum([0, *(len(waveform) for _, waveform in windows[:-1])]).tolist()
    assert max(len(waveform) for _, waveform in windows) <= 30 * 16000


def test_tiers_hold_names_words_and_what_is_not_in_the_text(tmp_path) -> None:
    found = align_head([*SAID, EXTRA], [text for text, _ in SAID])
    tiers = {span.tier for span in alignment_spans(found)}
    assert tiers == {"transcription", "ref", "note", "word", "not in the text"}
    save_audio(tmp_path / "tale.wav", np.zeros(1600, np.float32))
    formats = ("eaf", "textgrid", "srt", "vtt")
    for path in write_tiers(tmp_path, "tale", found, tmp_path / "tale.wav", formats):
        assert "tama" in path.read_text(encoding="utf-8")
