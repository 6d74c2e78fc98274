"""Which files are opened: regular files whose first bytes are known."""

import os
from pathlib import Path

import pytest

from lip2speech.video.errors import MediaError
from lip2speech.video.formats import detect_demuxer, detect_file_demuxer, open_regular_file
from lip2speech.video.reader import open_media, read_frames
from tests.video.clips import counter_video, read_counter

REFUSED = {
    "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n",
    "concat": b"ffconcat version 1.0\nfile other.mp4\n",
    "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "m3u": b"/etc/passwd\n",
    "asx": b"<asx version='3.0'><entry><ref href='http://x/y'/></entry></asx>",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(64),
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(64),
    "text": b"hello",
    "one TS packet": b"\x47" + bytes(187),
    "raw H.264": b"\x00\x00\x00\x01\x67" + bytes(64),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_playlists_images_and_text_are_refused_whatever_their_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "talk.mp4"
    path.write_bytes(REFUSED[kind])
    with pytest.raises(MediaError, match="talk.mp4: not an accepted video format; convert it"):
        read_frames(path)


def test_a_playlist_opens_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.ts").write_bytes(b"\x47" * 188 * 4)
    (tmp_path / "talk.m3u8").write_bytes(REFUSED["hls"])
    opened: list[str] = []
    real_open = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *a, **k: opened.append(str(path)) or real_open(path, *a, **k)
    )
    with pytest.raises(MediaError):
        read_frames(tmp_path / "talk.m3u8")
    assert opened == [str(tmp_path / "talk.m3u8")]


def test_a_reference_to_another_file_is_not_followed() -> None:
    from lip2speech.video.reader import _refuse_other_files

    with pytest.raises(PermissionError, match="not followed: 'file:/etc/passwd'"):
        _refuse_other_files("file:/etc/passwd", 1, {})


@pytest.mark.parametrize("address", ["http://example.org/a.mp4", "rtsp://example.org/a", "file:///tmp/a.mp4"])
def test_urls_are_refused(address: str) -> None:
    with pytest.raises(MediaError, match="this is a URL, expected a file; download it first"):
        read_frames(address)


@pytest.mark.parametrize(
    "name", ["concat:a.ts|b.ts", "subfile,,start,0,end,0,,:a.mp4", "pipe:0", "frame%03d.png"]
)
def test_ffmpeg_protocols_are_treated_as_missing_files(name: str) -> None:
    with pytest.raises(MediaError, match="No such file or directory"):
        read_frames(name)


def test_a_pipe_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(MediaError, match="pipe.mp4: this is a pipe, expected a video file"):
        read_frames(tmp_path / "pipe.mp4")


def test_a_pipe_swapped_in_after_the_check_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, plain = tmp_path / "pipe.mp4", tmp_path / "plain.mp4"
    os.mkfifo(pipe)
    plain.write_bytes(b"x")
    ordinary = os.stat(plain)
    monkeypatch.setattr(os, "stat", lambda path, **_: ordinary)
    with pytest.raises(MediaError, match="not a regular file"):
        open_regular_file(pipe)


def test_devices_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="zero: this is a device, expected a video file"):
        read_frames("/dev/zero")
    with pytest.raises(MediaError, match="this is a folder, expected a video file"):
        read_frames(tmp_path)


def test_missing_empty_and_invalid_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="nothing.mp4: No such file or directory; check the path"):
        read_frames(tmp_path / "nothing.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(MediaError, match="empty.mp4: the file is empty"):
        read_frames(tmp_path / "empty.mp4")
    with pytest.raises(MediaError, match="not a valid path"):
        read_frames("a\0b.mp4")


def test_a_symlink_to_a_regular_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with open_regular_file(tmp_path / "link") as file:
        assert file.read() == b"x"


@pytest.mark.parametrize(
    ("head", "demuxer"),
    [
        (b"\x00\x00\x00\x20ftypisom", "mov"),
        (b"\x00\x00\x00\x08moov", "mov"),
        (b"\x1a\x45\xdf\xa3", "matroska"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "avi"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "wav"),
        (b"GIF89a", "gif"),
        ((b"\x47" + bytes(187)) * 3, "mpegts"),
        ((bytes(4) + b"\x47" + bytes(187)) * 3, "mpegts"),
        (b"\x00\x00\x00\x14stypmsdh", "mov"),
        (b"\x00\x00\x00\x18uuid", "mov"),
        (b"\xff\xe3\x18\xc4", "mp3"),  # MPEG-2.5, layer III
        (b"\xff\xfd\x84\x00", "mp3"),  # MPEG-1, layer II
        (b"\xff\xf1\x5c\x40", "aac"),
        (b"\xff\xfeh\x00i\x00", None),  # text in UTF-16
        (b"\xff\xfb\xff\xff", None),
        (b"\xff\xfb", None),
        (b"", None),
        (b"RIFF\x00\x00\x00\x00WEBP", None),
    ],
)
def test_the_first_bytes_determine_the_demuxer(head: bytes, demuxer: str | None) -> None:
    assert detect_demuxer(head) == demuxer


def test_a_file_with_only_the_right_first_bytes_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "talk.mp4"
    path.write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(40))
    with (
        pytest.raises(MediaError, match="talk.mp4: damaged or incomplete .*; export it again"),
        open_media(path),
    ):
        pass


@pytest.mark.parametrize(
    "box", [b"\x00\x00\x00\x14stypmsdh" + bytes(4) + b"msdh", b"\x00\x00\x00\x1cuuid" + bytes(20)]
)
def test_an_mp4_that_begins_with_another_box_is_read(box: bytes, tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    path = counter_video(tmp_path / "a.mp4", container_options=options)
    path.write_bytes(box + path.read_bytes())
    assert [read_counter(frame) for frame in read_frames(path)] == list(range(25))


@pytest.mark.parametrize("size", [63, 300_000])
@pytest.mark.parametrize(
    ("audio", "demuxer"),
    [
        (b"\xff\xf1\x5c\x40", "aac"),
        (b"fLaC", "flac"),
        (b"\xff\xfb\x90\x00", "mp3"),
        (bytes(8), "mp3"),
        (b"\x1a\x45\xdf\xa3", "mp3"),
    ],
)
def test_what_follows_an_id3_tag_determines_the_demuxer(
    audio: bytes, demuxer: str, size: int, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_bytes(id3_tag(size) + id3_tag(5) + audio)
    with path.open("rb") as file:
        assert detect_file_demuxer(file) == demuxer
        assert file.tell() == 0


def test_endless_id3_tags_end_the_search(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(id3_tag(0) * 10_000)
    with path.open("rb") as file:
        assert detect_file_demuxer(file) == "mp3"


def id3_tag(size: int) -> bytes:
    """An ID3v2.4 tag of zeros."""
    return b"ID3\x04\x00\x00" + bytes(size >> 7 * k & 0x7F for k in (3, 2, 1, 0)) + bytes(size)
