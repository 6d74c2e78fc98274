"""Diagnostics of a video as JSON, text and a contact sheet."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lip2speech.video.crop import CROP_SIZE
from lip2speech.video.diagnostics import (
    CELL_HEIGHT,
    CELL_WIDTH,
    N_COLUMNS,
    N_SAMPLES,
    FrameSampler,
    crop_corners,
    format_diagnostics,
    inspect_video,
)
from lip2speech.video.errors import MediaError
from lip2speech.video.landmarks.tracker import TrackedFrame
from tests.video.clips import write_video
from tests.video.faces import frames, landmarks_at


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = pytest.importorskip("skimage.data")
    portrait = np.ascontiguousarray(data.astronaut()[:260, 95:355])
    return write_video(tmp_path_factory.mktemp("clip") / "talk.mp4", [portrait] * 40)


def test_statistics_are_json_serializable_and_complete(clip: Path) -> None:
    result = json.loads(json.dumps(inspect_video(clip)))
    assert (result["name"], result["frames"], result["face_detection_rate"]) == ("talk.mp4", 40, 1.0)
    assert (result["video"]["width"], result["video"]["codec"]) == (260, "h264")
    assert 40 < result["eye_distance"] < 90
    assert (result["no_face_segments"], result["cuts"], result["notes"]) == ([], [], [])
    assert "error" not in result


def test_the_text_has_the_same_statistics(clip: Path) -> None:
    text = format_diagnostics(inspect_video(clip))
    assert text.startswith("talk.mp4: 1.60 s, 260x260, h264 in mov, 25 fps\n")
    assert "100.0 % of frames; no-face segments: none; cuts: 0" in text


def test_the_sheet_shows_twelve_frames_with_their_crops(clip: Path, tmp_path: Path) -> None:
    inspect_video(clip, tmp_path / "sheet.png")
    image = cv2.imread(str(tmp_path / "sheet.png"))
    rows = -(-N_SAMPLES // N_COLUMNS)
    assert image.shape == (rows * (CELL_HEIGHT + CROP_SIZE), N_COLUMNS * CELL_WIDTH, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]
    crop = image[CELL_HEIGHT : CELL_HEIGHT + CROP_SIZE, :CROP_SIZE]
    assert crop.std() > 10
    assert np.ptp(crop, axis=2).max() == 0  # gray


def test_a_video_without_a_face_has_statistics_and_an_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "wall.mp4", [np.full((120, 160, 3), 99, np.uint8)] * 5)
    result = inspect_video(path, tmp_path / "sheet.png")
    assert result["error"].startswith("wall.mp4: no face in 5 of 5 frames")
    assert result["error"] in format_diagnostics(result)
    assert (tmp_path / "sheet.png").exists()


def test_a_broken_file_raises_and_leaves_no_sheet(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"hello")
    with pytest.raises(MediaError):
        inspect_video(tmp_path / "a.mp4", tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize("length", [1, 5, 24, 25, 300, 1000])
def test_samples_are_few_small_and_evenly_spaced_for_any_length(length: int) -> None:
    sampler = FrameSampler()
    items = [TrackedFrame(frame, None) for frame in frames(length, size=(60, 400))]
    assert len(list(sampler.watch(items))) == length
    kept = sorted(sampler.samples)
    assert len(kept) <= 2 * N_SAMPLES
    assert kept[0] == 0
    assert length - kept[-1] <= sampler.stride
    assert all(sample.image.shape[1] <= CELL_WIDTH for sample in sampler.samples.values())


def test_the_drawn_outline_is_the_region_of_the_crop() -> None:
    turn = 0.3
    transform = 0.5 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    lips = landmarks_at(200, 150)[[13]].mean(0)
    corners = crop_corners(transform, lips)
    np.testing.assert_allclose(
        (corners - lips) @ transform.T + 48, [(0, 0), (96, 0), (96, 96), (0, 96)], atol=1e-6
    )
