"""Files that lack frames: in long gaps between their timestamps, and after their end."""

from pathlib import Path

import av
import numpy as np
import pytest

from lip2speech.video import crop_mouths, read_frames, track_faces
from lip2speech.video.missing_frames import MissingFrame
from tests.video.clips import counter_video, read_counter, write_video

SAMPLE = Path("lip2speech/pretrained/sample.mp4")
FASTSTART = {"container_options": {"movflags": "faststart"}}


def counts(path: Path) -> tuple[int, int]:
    """Damaged and missing frames of a file."""
    reader = read_frames(path)
    for _ in reader:
        pass
    return reader.report.corrupt, reader.report.missing


def cut_in_half(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("a.mp4", None),
        ("a.mkv", None),
        ("a.ts", None),
        ("vfr.mp4", [k / 25 + (k > 10) * 0.4 + (k % 3) * 0.01 for k in range(50)]),
    ],
)
def test_a_whole_file_lacks_no_frames(name: str, times: list[float] | None, tmp_path: Path) -> None:
    assert counts(counter_video(tmp_path / name, 50, times=times)) == (0, 0)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_the_frames_cut_off_at_the_end_are_missing(name: str, tmp_path: Path) -> None:
    settings = FASTSTART if name.endswith("mp4") else {}
    path = cut_in_half(counter_video(tmp_path / name, 75, options={"g": "5", "bf": "0"}, **settings))
    reader = read_frames(path)
    read = len(list(reader))
    assert 10 < read < 60
    assert read + reader.report.missing == pytest.approx(75, abs=1)


def test_damaged_frames_of_an_mp4_are_counted(tmp_path: Path) -> None:
    path = counter_video(tmp_path / "a.mp4", 75, options={"g": "1"}, **FASTSTART)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        entries = list(container.streams.video[0].index_entries)
    for entry in entries[20:37]:
        data[entry.pos + entry.size // 2 : entry.pos + entry.size] = bytes(entry.size - entry.size // 2)
    path.write_bytes(data)
    damaged, missing = counts(path)
    assert 17 <= damaged <= 34
    assert missing == 0


def test_a_long_gap_is_filled_with_missing_frames_and_a_short_one_is_not(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 9.5, 9.54]
    reader = read_frames(counter_video(tmp_path / "a.mp4", 5, times=times))
    frames = list(reader)
    missing = [isinstance(frame, MissingFrame) for frame in frames]
    assert sum(missing) == reader.report.missing == pytest.approx(224, abs=1)
    shown = {read_counter(frame) for frame in frames if not isinstance(frame, MissingFrame)}
    assert shown == {0, 1, 2, 3, 4}
    assert not any(missing[:13])


def test_a_gap_of_nine_seconds_has_no_face(tmp_path: Path) -> None:
    with read_frames(SAMPLE) as reader:
        real = [np.array(frame) for frame, _ in zip(reader, range(50), strict=False)]
    times = [k / 25 + 9 * (k >= 25) for k in range(50)]
    with read_frames(write_video(tmp_path / "gap.mp4", real, times=times)) as frames:
        crops = crop_mouths(track_faces(frames))
        with pytest.raises(ValueError, match="no face in 2[0-9][0-9] of 275 frames"):
            list(crops)
    assert crops.report.face_frames == pytest.approx(51, abs=1)
    assert crops.report.no_face_segments == [pytest.approx((1.0, 9.96), abs=0.05)]
