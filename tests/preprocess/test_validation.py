"""Validation of clip ids, symbolic links and file lists."""

from pathlib import Path

import pytest

from lip2speech.data.utterance import RejectedClip, Utterance
from preprocess.validation import check_id, check_inside, check_list_line, filter_clips


def utterance(root: Path, name: str, segment: str = "") -> Utterance:
    return Utterance(name + segment, root / f"{name}.mp4", None, "", "s1", "train")


@pytest.mark.parametrize("clip_id", ["a", "s1_bbaf2n", "s1/bbaf2n", "-Xy_9/00001", "a.b+c", "x" * 200])
def test_valid_ids_are_accepted(clip_id: str) -> None:
    assert check_id(clip_id) == clip_id


@pytest.mark.parametrize(
    "clip_id",
    [
        "", "..", "../x", "a/../b", "/etc/x", "a//b", "a/", ".hidden", "a/.b", "a\\b", "a b", "a\n", "a\0b",
        "a\x1b[2J", "é", "x" * 201,
    ],
)  # fmt: skip
def test_hostile_ids_are_rejected(clip_id: str) -> None:
    with pytest.raises(ValueError, match="cannot be a file name.*rename the clip"):
        check_id(clip_id)


@pytest.mark.parametrize("linked", ["file", "folder", "audio"])
def test_a_link_out_of_the_root_is_rejected(tmp_path: Path, linked: str) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret"
    for folder in (root / "s1", secret):
        folder.mkdir(parents=True)
    (secret / "a.mp4").touch()
    clip = utterance(root, "s1/a")
    if linked == "file":
        clip.video.symlink_to(secret / "a.mp4")
    elif linked == "folder":
        (root / "s2").symlink_to(secret)
        clip = utterance(root, "s2/a")
    else:
        clip.video.touch()
        (root / "a.wav").symlink_to("../secret/a.mp4")
        clip = Utterance("a", clip.video, root / "a.wav", "", "s1", "train")
    with pytest.raises(ValueError, match="a link that leads out of the corpus, to .*secret"):
        check_inside(root, clip)


def test_links_inside_the_root_and_a_linked_root_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "b.mp4").touch()
    (tmp_path / "real" / "a.mp4").symlink_to("b.mp4")
    (tmp_path / "root").symlink_to("real")
    check_inside(tmp_path / "root", utterance(tmp_path / "root", "a"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../x", "not a plain path"),
        ("a/../../x", "not a plain path"),
        ("/etc/passwd", "not a plain path"),
        ("a//b", "not a plain path"),
        ("./a", "not a plain path"),
        ("..\\x", "not a plain path"),
        ("a\tb", "control characters"),
        ("a\x1b[31m", "control characters"),
        ("a\x00", "control characters"),
        ("a\u202eb", "control characters"),
        ("a b", "cannot be a file name"),
        ("x" * 300, "cannot be a file name"),
    ],
)
def test_hostile_lines_are_rejected(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_list_line(line)


def test_a_file_list_selects_clips_and_rejects_bad_lines_by_number(tmp_path: Path) -> None:
    lines = tmp_path / "subset.txt"
    lines.write_bytes(b"dev/a\r\n\n../../etc/passwd\ndev/c.mp4\ndev/none\n\xff\xfe\n")
    clips = [utterance(tmp_path, name) for name in ("dev/a", "dev/b")]
    segments = [utterance(tmp_path, "dev/c", f"_{i}") for i in range(2)]
    found = list(filter_clips([*clips, *segments, RejectedClip("dev/c_2", "odd")], tmp_path, lines))
    assert [c.id for c in found] == [
        "subset.txt:3", "subset.txt:6", "dev/a", "dev/c_0", "dev/c_1", "dev/c_2", "subset.txt:5",
    ]  # fmt: skip
    rejected = {c.id: c.reason for c in found if isinstance(c, RejectedClip)}
    assert "not a plain path" in rejected["subset.txt:3"]
    assert rejected["subset.txt:5"] == "the corpus has no clip dev/none"
