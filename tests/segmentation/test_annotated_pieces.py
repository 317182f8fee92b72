"""segmentation/annotated_pieces.py: a session of three speakers, overlaps and notes becomes pieces with texts."""

from annotations.spans import Span
from segmentation.annotated_pieces import lanes, plan_annotated

LIMITS = {"n_seconds": 60.0, "min_duration": 2.0, "max_duration": 20.0}


def say(start: float, end: float, speaker: str, text: str) -> Span:
    return Span(f"tx@{speaker}", start, end, text, speaker)


def test_each_annotation_is_a_piece_with_its_speaker_and_text() -> None:
    pieces, left_out = plan_annotated([say(5, 9, "Ana", "b"), say(1, 4, "Rui", "a")], **LIMITS)
    assert [piece[:4] for piece in pieces] == [(1, 4, "Rui", "a"), (5, 9, "Ana", "b")]
    assert not left_out and not any(piece.is_overlapped for piece in pieces)


def test_short_ones_of_one_speaker_join() -> None:
    spans = [
        say(0, 0.8, "Ana", "one"),
        say(1.0, 1.9, "Ana", "two"),
        say(2.2, 3.0, "Ana", "three"),
        say(9, 9.5, "Ana", "x"),
    ]
    pieces, _ = plan_annotated(spans, **LIMITS)
    # The third makes it long enough; the last one is alone and stays as short as it is.
    assert [piece[:4] for piece in pieces] == [(0, 3.0, "Ana", "one two three"), (9, 9.5, "Ana", "x")]


def test_nobody_is_joined_across_another_speaker() -> None:
    spans = [say(0, 0.8, "Ana", "one"), say(0.9, 1.4, "Rui", "no"), say(1.5, 2.3, "Ana", "two")]
    pieces, _ = plan_annotated(spans, **LIMITS)
    assert [(piece.speaker, piece.text) for piece in pieces] == [("Ana", "one"), ("Rui", "no"), ("Ana", "two")]


def test_overlapping_speech_is_marked_and_cut_in_lanes() -> None:
    spans = [say(0, 4, "Ana", "a"), say(3, 6, "Rui", "b"), say(6.05, 9, "Ana", "c")]
    pieces, _ = plan_annotated(spans, **LIMITS)
    assert [piece.is_overlapped for piece in pieces] == [True, True, False]
    assert lanes([(piece.start, piece.end) for piece in pieces]) == [[0, 2], [1]]


def test_every_text_left_out_has_a_reason() -> None:
    spans = [
        say(70, 75, "Ana", "late"),
        say(5, 5, "Ana", "point"),
        say(10, 40, "Ana", "endless"),
        say(58, 63, "Ana", "end"),
    ]
    pieces, left_out = plan_annotated(spans, **LIMITS)
    assert [(piece.start, piece.end, piece.text) for piece in pieces] == [(58, 60, "end")]
    assert left_out == {"outside the recording": 1, "without length": 1, "longer than --max_duration": 1}
