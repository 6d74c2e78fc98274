"""LRS3: what its text files say, how long clips are cut, and a miniature of its tree."""

from itertools import pairwise
from pathlib import Path

import pytest

from lip2speech.data.utterance import RejectedClip, Utterance
from preprocess.lrs3 import (
    MAX_SEGMENT_S,
    MAX_WORDS,
    TimedTextWord,
    normalize_text,
    parse_sentence,
    parse_word_times,
    segment_bounds,
    segment_words,
    utterances,
)
from tests.preprocess.trees import lrs3, lrs3_text


def run_of(*spans: tuple[float, float]) -> list[TimedTextWord]:
    return [TimedTextWord(f"w{i}", start, end) for i, (start, end) in enumerate(spans)]


def steady(count: int, pause_before: int = 0, pause: float = 0.0) -> list[TimedTextWord]:
    """Words of 0.4 s with 0.1 s between them, and one longer pause."""
    starts = [0.5 * i + (pause if i >= pause_before > 0 else 0.0) for i in range(count)]
    return run_of(*((start, start + 0.4) for start in starts))


def test_the_sentence_is_lower_case_without_tags() -> None:
    assert parse_sentence("Text:  IT'S {LG} HELLO\nConf: 4\n") == "it's hello"
    assert normalize_text("{NS} SO  ") == "so"
    with pytest.raises(ValueError, match="begins 'Conf: 4', expected 'Text:"):
        parse_sentence("Conf: 4\n")


def test_words_come_with_their_times_and_tags_are_left_out() -> None:
    said = parse_word_times(lrs3_text([("HELLO", 0.1, 0.5), ("{LG}", 0.5, 0.6), ("AGAIN", 0.7, 1.1)]))
    assert said == [TimedTextWord("hello", 0.1, 0.5), TimedTextWord("again", 0.7, 1.1)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("A", "is no word"),
        ("A x 1", "is no word"),
        ("A nan 1", "is no word"),
        ("A 0.1 inf", "is no word"),
        ("A 2.0 1.0", "is no word"),
        ("A -1.0 1.0", "is no word"),
        ("B 1.0 2.0 9\nA 0.1 0.5", "no word after 2.00 s"),
        ("{LG} 0.1 0.2", "holds no word"),
        ("", "holds no word"),
        ("A 1 1\n" * (MAX_WORDS + 1), "more than"),
    ],
)
def test_odd_word_rows_are_refused(row: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_word_times(f"WORD START END ASDSCORE\n{row}\n")


def test_a_text_without_word_times_is_refused() -> None:
    with pytest.raises(ValueError, match="no word times"):
        parse_word_times("Text:  HELLO\n")


def test_a_clip_that_is_short_enough_stays_whole() -> None:
    said = steady(29)
    assert segment_words(said) == [said]


def test_a_long_clip_is_cut_at_its_widest_pause() -> None:
    said = steady(40, pause_before=25, pause=0.5)
    assert [len(piece) for piece in segment_words(said)] == [25, 15]


def test_among_equal_pauses_the_middle_one_is_taken() -> None:
    assert [len(piece) for piece in segment_words(steady(40))] == [20, 20]


def test_no_word_is_lost_and_no_piece_is_too_long_or_needlessly_short() -> None:
    said = steady(400, pause_before=1, pause=3.0)
    pieces = segment_words(said)
    assert [word for piece in pieces for word in piece] == said
    spans = [segment_bounds(pieces, i) for i in range(len(pieces))]
    assert all(1.0 <= end - start <= MAX_SEGMENT_S for start, end in spans)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))


def test_a_piece_takes_half_of_the_pause_beside_it_and_no_more_than_its_margin() -> None:
    pieces = [run_of((0.1, 1.0)), run_of((1.2, 2.0)), run_of((9.0, 10.0))]
    assert [segment_bounds(pieces, i) for i in range(3)] == [(0.0, 1.1), (1.1, 2.2), (8.8, 10.2)]


def test_every_set_of_the_tree_is_read(tmp_path: Path) -> None:
    (tmp_path / "any.mp4").touch()
    found = list(utterances(lrs3(tmp_path / "lrs3", tmp_path / "any.mp4")))
    assert [(u.id, u.text, u.speaker, u.split) for u in found if isinstance(u, Utterance)] == [
        ("pretrain/yt1/00001_0", "hello again", "yt1", "train"),
        ("trainval/yt1/50001", "it's hello", "yt1", "train"),
        ("test/yt2/00001", "good bye", "yt2", "test"),
    ]
    assert isinstance(found[0], Utterance) and (found[0].start_s, found[0].end_s) == (0.0, 1.3)


def test_held_out_talks_are_held_out_of_both_sets(tmp_path: Path) -> None:
    for i in range(100):
        for name in ("pretrain", "trainval"):
            path = tmp_path / name / f"yt{i}" / "1.mp4"
            path.parent.mkdir(parents=True)
            path.touch()
            path.with_suffix(".txt").write_text(lrs3_text([("A", 0.0, 0.5)]))
    splits: dict[str, set[str]] = {}
    for found in utterances(tmp_path):
        assert isinstance(found, Utterance)
        splits.setdefault(found.speaker, set()).add(found.split)
    assert all(len(split) == 1 for split in splits.values())
    assert 1 <= sum(split == {"valid"} for split in splits.values()) <= 10


def test_a_clip_that_lacks_something_is_refused_alone(tmp_path: Path) -> None:
    root = lrs3(tmp_path / "lrs3", Path(__file__))
    (root / "pretrain/yt1/00002.txt").write_text(lrs3_text([("A", 0.0, 0.5)]))
    (root / "test/yt2/00002.mp4").touch()
    (root / "pretrain/yt1/00003.mp4").touch()
    (root / "pretrain/yt1/00003.txt").write_text(lrs3_text([("A", 0.0, 20.0)]))
    (root / "test/yt2/00003.mp4").touch()
    (root / "test/yt2/00003.txt").symlink_to("/etc/passwd")
    refused = {r.id: r.reason for r in utterances(root) if isinstance(r, RejectedClip)}
    assert set(refused) == {
        "pretrain/yt1/00002", "pretrain/yt1/00003_0", "test/yt2/00002", "test/yt2/00003",
    }  # fmt: skip
    assert "no 00002.mp4" in refused["pretrain/yt1/00002"]
    assert "lasts longer than 15 s" in refused["pretrain/yt1/00003_0"]
    assert "00002.txt is missing" in refused["test/yt2/00002"]
    assert "is a link" in refused["test/yt2/00003"]


def test_another_folder_is_not_the_corpus(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no LRS3 here; expected pretrain, trainval, test"):
        list(utterances(tmp_path))
