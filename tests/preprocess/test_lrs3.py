"""LRS3: its text files, the segmentation of long clips, and a miniature of its layout."""

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


def words_at(*spans: tuple[float, float]) -> list[TimedTextWord]:
    return [TimedTextWord(f"w{i}", start, end) for i, (start, end) in enumerate(spans)]


def regular_words(count: int, pause_before: int = 0, pause: float = 0.0) -> list[TimedTextWord]:
    """Words of 0.4 s with 0.1 s between them, and one longer pause."""
    starts = [0.5 * i + (pause if i >= pause_before > 0 else 0.0) for i in range(count)]
    return words_at(*((start, start + 0.4) for start in starts))


def test_the_sentence_is_lower_case_without_tags() -> None:
    assert parse_sentence("Text:  IT'S {LG} HELLO\nConf: 4\n") == "it's hello"
    assert normalize_text("{NS} SO  ") == "so"
    with pytest.raises(ValueError, match="begins 'Conf: 4', expected 'Text:"):
        parse_sentence("Conf: 4\n")


def test_words_have_times_and_tags_are_dropped() -> None:
    words = parse_word_times(lrs3_text([("HELLO", 0.1, 0.5), ("{LG}", 0.5, 0.6), ("AGAIN", 0.7, 1.1)]))
    assert words == [TimedTextWord("hello", 0.1, 0.5), TimedTextWord("again", 0.7, 1.1)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("A", "is not a word"),
        ("A x 1", "is not a word"),
        ("A nan 1", "is not a word"),
        ("A 0.1 inf", "is not a word"),
        ("A 2.0 1.0", "is not a word"),
        ("A -1.0 1.0", "is not a word"),
        ("B 1.0 2.0 9\nA 0.1 0.5", "not a word after 2.00 s"),
        ("{LG} 0.1 0.2", "has no words"),
        ("", "has no words"),
        ("A 1 1\n" * (MAX_WORDS + 1), "more than"),
    ],
)
def test_malformed_word_rows_are_rejected(row: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_word_times(f"WORD START END ASDSCORE\n{row}\n")


def test_a_text_without_word_times_is_rejected() -> None:
    with pytest.raises(ValueError, match="no word times"):
        parse_word_times("Text:  HELLO\n")


def test_a_short_clip_is_one_segment() -> None:
    words = regular_words(29)
    assert segment_words(words) == [words]


def test_a_long_clip_is_cut_at_its_longest_pause() -> None:
    words = regular_words(40, pause_before=25, pause=0.5)
    assert [len(segment) for segment in segment_words(words)] == [25, 15]


def test_of_equal_pauses_the_middle_one_is_cut() -> None:
    assert [len(segment) for segment in segment_words(regular_words(40))] == [20, 20]


def test_segments_keep_every_word_and_respect_the_length_limits() -> None:
    words = regular_words(400, pause_before=1, pause=3.0)
    segments = segment_words(words)
    assert [word for segment in segments for word in segment] == words
    spans = [segment_bounds(segments, i) for i in range(len(segments))]
    assert all(1.0 <= end - start <= MAX_SEGMENT_S for start, end in spans)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))


def test_a_segment_includes_half_of_the_adjacent_pause_up_to_the_margin() -> None:
    segments = [words_at((0.1, 1.0)), words_at((1.2, 2.0)), words_at((9.0, 10.0))]
    assert [segment_bounds(segments, i) for i in range(3)] == [(0.0, 1.1), (1.1, 2.2), (8.8, 10.2)]


def test_all_three_sets_are_read(tmp_path: Path) -> None:
    (tmp_path / "any.mp4").touch()
    found = list(utterances(lrs3(tmp_path / "lrs3", tmp_path / "any.mp4")))
    assert [(u.id, u.text, u.speaker, u.split) for u in found if isinstance(u, Utterance)] == [
        ("pretrain/yt1/00001_0", "hello again", "yt1", "train"),
        ("trainval/yt1/50001", "it's hello", "yt1", "train"),
        ("test/yt2/00001", "good bye", "yt2", "test"),
    ]
    assert isinstance(found[0], Utterance)
    assert (found[0].start_s, found[0].end_s) == (0.0, 1.3)


def test_held_out_talks_are_the_same_in_both_sets(tmp_path: Path) -> None:
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


def test_incomplete_clips_are_rejected_individually(tmp_path: Path) -> None:
    root = lrs3(tmp_path / "lrs3", Path(__file__))
    (root / "pretrain/yt1/00002.txt").write_text(lrs3_text([("A", 0.0, 0.5)]))
    (root / "test/yt2/00002.mp4").touch()
    (root / "pretrain/yt1/00003.mp4").touch()
    (root / "pretrain/yt1/00003.txt").write_text(lrs3_text([("A", 0.0, 20.0)]))
    (root / "test/yt2/00003.mp4").touch()
    (root / "test/yt2/00003.txt").symlink_to("/etc/passwd")
    rejected = {r.id: r.reason for r in utterances(root) if isinstance(r, RejectedClip)}
    assert set(rejected) == {
        "pretrain/yt1/00002", "pretrain/yt1/00003_0", "test/yt2/00002", "test/yt2/00003",
    }  # fmt: skip
    assert "no 00002.mp4" in rejected["pretrain/yt1/00002"]
    assert "lasts longer than 15 s" in rejected["pretrain/yt1/00003_0"]
    assert "00002.txt is missing" in rejected["test/yt2/00002"]
    assert "is a link" in rejected["test/yt2/00003"]


def test_a_folder_without_the_sets_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no LRS3 here; expected pretrain, trainval, test"):
        list(utterances(tmp_path))
