"""The GRID corpus: sentence codes, layouts, splits and audio files."""

from pathlib import Path

import pytest

from lip2speech.data import grid


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"clip")


def test_a_code_is_decoded_to_its_sentence() -> None:
    assert grid.code_to_text("bbaf2n") == "bin blue at f two now"
    assert grid.code_to_text("SWWZZP") == "set white with z zero please"
    assert grid.code_to_text("lgbi9a") == "lay green by i nine again"
    assert grid.code_to_text("prix1s") == "place red in x one soon"


@pytest.mark.parametrize("code", ["bbaw2n", "bbaf0n", "bbaf2", "xbaf2n", "bbaf2nn", ""])
def test_a_code_outside_the_grammar_is_rejected(code: str) -> None:
    with pytest.raises(ValueError, match="not a GRID sentence code"):
        grid.code_to_text(code)


@pytest.mark.parametrize("folder", ["s1", "s1/video", "s1/video/mpg_6000", "video/s1"])
@pytest.mark.parametrize("suffix", [".mpg", ".mp4", ".MPG"])
def test_official_layouts_are_read(tmp_path: Path, folder: str, suffix: str) -> None:
    make(tmp_path, f"{folder}/bbaf2n{suffix}")
    (clip,) = grid.utterances(tmp_path)
    assert (clip.id, clip.speaker, clip.text) == ("s1_bbaf2n", "s1", "bin blue at f two now")
    assert clip.video == tmp_path / folder / f"bbaf2n{suffix}"
    assert clip.wav is None


def test_the_folder_of_one_speaker_is_a_corpus(tmp_path: Path) -> None:
    make(tmp_path / "s12", "bbaf2n.mpg")
    (clip,) = grid.utterances(tmp_path / "s12")
    assert clip.speaker == "s12"


@pytest.mark.parametrize("place", ["s2/bbaf2n.wav", "s2/audio/bbaf2n.wav", "audio_25k/s2/bbaf2n.wav"])
def test_a_separate_audio_file_is_found(tmp_path: Path, place: str) -> None:
    make(tmp_path, "s2/bbaf2n.mpg", "s3/bbaf2n.mpg", place)
    second, third = grid.utterances(tmp_path)
    assert second.wav == tmp_path / place
    assert third.wav is None


def test_clips_are_sorted_by_speaker_and_name(tmp_path: Path) -> None:
    make(tmp_path, "s10/bbaf2n.mpg", "s2/swwz1a.mpg", "s2/bbaf2n.mpg")
    assert [clip.id for clip in grid.utterances(tmp_path)] == ["s2_bbaf2n", "s2_swwz1a", "s10_bbaf2n"]


def test_of_two_qualities_the_larger_file_is_used(tmp_path: Path) -> None:
    make(tmp_path, "s1/video/mpg_vcd/bbaf2n.mpg", "s1/video/mpg_6000/bbaf2n.mpg")
    larger = tmp_path / "s1/video/mpg_6000/bbaf2n.mpg"
    larger.write_bytes(b"a larger clip")
    assert [clip.video for clip in grid.utterances(tmp_path)] == [larger]


def test_a_split_file_sets_the_splits(tmp_path: Path) -> None:
    make(tmp_path, "s1/bbaf2n.mp4", "s1/bbaf3s.mp4", "s4/bbaf2n.mp4")
    rows = "clip\tsplit\ttext\ns1/bbaf2n.mp4\tvalid\tbin blue at f two now\ns4/bbaf2n.mp4\tunseen\t\n"
    (tmp_path / "split.tsv").write_text(rows)
    assert [clip.split for clip in grid.utterances(tmp_path)] == ["valid", "unlisted", "unseen"]


def test_without_a_split_file_the_sentence_sets_the_split(tmp_path: Path) -> None:
    codes = [
        f"{c}{k}a{x}{d}{a}" for c in "blps" for k in "bgrw" for x in "abcde" for d in "123" for a in "anps"
    ]
    make(tmp_path, *(f"s1/{code}.mpg" for code in codes), *(f"s2/{code}.mpg" for code in codes))
    clips = list(grid.utterances(tmp_path))
    first = {clip.text: clip.split for clip in clips if clip.speaker == "s1"}
    assert first == {clip.text: clip.split for clip in clips if clip.speaker == "s2"}
    shares = [list(first.values()).count(split) / len(first) for split in ("train", "valid", "test")]
    assert shares == pytest.approx([0.9, 0.05, 0.05], abs=0.03)


def test_a_listed_clip_that_is_missing_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "s1/bbaf2n.mp4")
    (tmp_path / "split.tsv").write_text("clip\tsplit\ns1/bbaf2n.mp4\ttrain\ns1/bbaf3s.mp4\ttest\n")
    with pytest.raises(FileNotFoundError, match="1 of its clips are not here, the first is s1/bbaf3s"):
        list(grid.utterances(tmp_path))


def test_a_text_that_contradicts_the_code_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "s1/bbaf2n.mp4")
    (tmp_path / "split.tsv").write_text("clip\tsplit\ttext\ns1/bbaf2n.mp4\ttrain\tbin red at f two now\n")
    with pytest.raises(ValueError, match="its row has 'bin red at f two now'"):
        list(grid.utterances(tmp_path))


def test_a_split_file_without_its_columns_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "s1/bbaf2n.mp4")
    (tmp_path / "split.tsv").write_text("name\tset\n")
    with pytest.raises(ValueError, match="columns must be clip, split"):
        list(grid.utterances(tmp_path))


def test_a_folder_without_clips_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "bbaf2n.mpg", "s1/readme.txt", "s1/holiday.mpg")
    with pytest.raises(FileNotFoundError, match="no GRID clip here"):
        list(grid.utterances(tmp_path))
