"""Voices scored speaker by speaker: who is who, and each speaker's language."""

import pytest

from score_speakers import choose_speakers, parse_args, print_table, read_rows

from core.errors import UserError
from core.files import write_json
from evaluation.scores import score_readings


def write_scores(exp, readings):
    rows = [{"id": name, "duration": 1.0} | score_readings("abcdefghij", reading) for name, reading in readings.items()]
    exp.mkdir()
    write_json(exp / "scores.json", {"utterances": rows})


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / "truth.tsv"
    path.write_text(
        "source\tspeaker\tdisturbance\nclip_1.wav\tana\tclean\nclip_2.wav\tben\tnoise_10\nclip_3.wav\tcy\tclean\n"
    )
    return path


def test_utterances_of_a_clip_belong_to_its_speaker(tmp_path, truth):
    write_scores(tmp_path / "one", dict.fromkeys(("clip_1_0000", "clip_1_0001", "clip_2", "clip_3"), "abc"))
    rows = read_rows(tmp_path / "one", choose_speakers(truth, {"ana": "en", "ben": "es"}))
    assert {speaker: [row["id"] for row in found] for speaker, found in rows.items()} == {
        "ana": ["clip_1_0000", "clip_1_0001"],
        "ben": ["clip_2"],
    }


def test_speakers_without_clips_and_languages_without_names_are_refused(truth):
    with pytest.raises(UserError, match="expected clips of dora, found none"):
        choose_speakers(truth, {"ana": "en", "dora": "es"})
    with pytest.raises(UserError, match="expected SPEAKER=LANGUAGE"):
        parse_args(["--exp", "a", "--truth", str(truth), "--languages", "ana", "--asr", "w"])


def test_scores_that_are_missing_name_the_command(tmp_path, truth):
    with pytest.raises(UserError, match=r"vocoder_test.py --exp"):
        read_rows(tmp_path / "none", choose_speakers(truth, {"ana": "en"}))


def test_the_table_has_every_speaker_all_of_them_and_the_difference_to_the_first(tmp_path, truth, capsys):
    speakers = choose_speakers(truth, {"ana": "en", "ben": "es"})
    for name, reading in (("one", "abcde"), ("many", "abcdefghi")):
        write_scores(tmp_path / name, {"clip_1": reading, "clip_2": "abcdefghij"})
    exps = [tmp_path / "one", tmp_path / "many"]
    print_table([read_rows(exp, speakers) for exp in exps], exps)
    rows = {line.split(" | ")[0].strip("| "): line for line in capsys.readouterr().out.splitlines()}
    assert "| 1 | 0.500 [0.500, 0.500] | 0.100 [0.100, 0.100] | -0.400 [-0.400, -0.400] |" in rows["ana"]
    assert "| 2 | 0.250" in rows["all"] and "| 0.050" in rows["all"]
