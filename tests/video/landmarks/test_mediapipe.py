"""The real networks on a realistic face: scikit-image's portrait, pasted at any pose."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from lip2speech.video import NoFaceError, crop_mouths, load_roi, track_faces
from lip2speech.video.errors import MediaError
from lip2speech.video.landmarks import load_face_model
from lip2speech.video.landmarks.geometry import FaceBox, eye_distance, lip_center
from lip2speech.video.landmarks.mediapipe import MediaPipeFaceModel, installation_hint
from tests.video.clips import write_video

BACKGROUND = 118


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """(260, 260, 3) uint8: a face with some margin."""
    data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(data.astronaut()[:260, 95:355])


@pytest.fixture(scope="module")
def face_model() -> MediaPipeFaceModel:
    return MediaPipeFaceModel()


def paste(
    portrait: np.ndarray,
    x: float,
    y: float,
    scale: float,
    angle: float = 0.0,
    size: tuple[int, int] = (360, 480),
) -> np.ndarray:
    """The portrait centered at (x, y), on gray; angle in degrees."""
    return paste_all([(portrait, x, y, scale, angle)], size)


def paste_all(
    people: list[tuple[np.ndarray, float, float, float, float]], size: tuple[int, int]
) -> np.ndarray:
    frame = np.full((*size, 3), BACKGROUND, np.uint8)
    for image, x, y, scale, angle in people:
        middle = image.shape[1] / 2, image.shape[0] / 2
        matrix = cv2.getRotationMatrix2D(middle, angle, scale)
        matrix[:, 2] += np.array([x, y]) - middle
        frame = cv2.warpAffine(image, matrix, size[::-1], dst=frame, borderMode=cv2.BORDER_TRANSPARENT)
    return frame


def landmarks_of(face_model: MediaPipeFaceModel, frame: np.ndarray) -> np.ndarray:
    """Landmarks (468, 2) of the only face."""
    points = face_model.landmarks(frame, face_model.detect(frame)[0])
    assert points is not None
    refined = face_model.landmarks(frame, FaceBox.from_landmarks(points))
    assert refined is not None
    return refined


def test_landmarks_match_mediapipes_face_mesh(portrait: np.ndarray, face_model: MediaPipeFaceModel) -> None:
    from mediapipe.python.solutions.face_mesh import FaceMesh

    frame = paste(portrait, 150, 150, 1.0, size=(300, 300))
    with FaceMesh(refine_landmarks=False) as solution:
        for _ in range(6):
            theirs = solution.process(frame).multi_face_landmarks[0]
    points = landmarks_of(face_model, frame)
    for _ in range(4):
        points = face_model.landmarks(frame, FaceBox.from_landmarks(points))
    distance = np.hypot(*(points - [(300 * p.x - 0.5, 300 * p.y - 0.5) for p in theirs.landmark]).T)
    assert distance.mean() < 0.1
    assert distance.max() < 1


@pytest.mark.parametrize("angle", [-50, -20, 20, 50])
@pytest.mark.parametrize("size", [(300, 600), (600, 300)])
def test_a_tilted_face_keeps_its_shape_in_any_frame(
    angle: float, size: tuple[int, int], portrait: np.ndarray, face_model: MediaPipeFaceModel
) -> None:
    """mediapipe's own mapping skews tilted faces in non-square frames."""
    middle = size[1] / 2, size[0] / 2
    upright = landmarks_of(face_model, paste(portrait, *middle, 1.0, 0, size)) - middle
    tilted = landmarks_of(face_model, paste(portrait, *middle, 1.0, angle, size)) - middle
    turn = cv2.getRotationMatrix2D((0, 0), angle, 1.0)[:, :2]
    assert np.hypot(*(tilted - upright @ turn.T).T).mean() < 2.5


def test_a_moving_face_is_found_in_every_frame_with_its_lips_in_the_middle(
    portrait: np.ndarray, face_model: MediaPipeFaceModel
) -> None:
    poses = [(150 + 4 * k, 150 + 2 * k, 0.8 + 0.01 * k, 10 * np.sin(k / 6)) for k in range(30)]
    frames = [paste(portrait, *pose) for pose in poses]
    tracked = list(track_faces(frames, face_model))
    assert all(item.landmarks is not None for item in tracked)
    first = tracked[0].landmarks
    assert first is not None
    at_rest = (lip_center(first) - poses[0][:2]) / poses[0][2]
    for item, (x, y, scale, angle) in zip(tracked, poses, strict=True):
        assert item.landmarks is not None
        turn = cv2.getRotationMatrix2D((0, 0), angle, scale)[:, :2]
        assert np.hypot(*(lip_center(item.landmarks) - (turn @ at_rest + (x, y)))) < 2.5
    crops = np.stack([crop.pixels for crop in crop_mouths(tracked)]).astype(float)
    # One face, one expression: all crops are the same image.
    assert np.abs(crops - crops.mean(0)).mean() < 6


def test_the_larger_of_two_faces_is_cropped(portrait: np.ndarray, face_model: MediaPipeFaceModel) -> None:
    dark = portrait // 2
    for left, right in [((dark, 0.6), (portrait, 1.1)), ((portrait, 1.1), (dark, 0.6))]:
        people = [(left[0], 140, 160, left[1], 0.0), (right[0], 480, 160, right[1], 0.0)]
        tracked = track_faces([paste_all(people, (320, 640))] * 8, face_model)
        crops = np.stack([crop.pixels for crop in crop_mouths(tracked)])
        ((alone, _),) = crop_mouths(
            track_faces([paste(portrait, 320, 160, 1.1, size=(320, 640))], face_model)
        )
        assert np.abs(crops.mean(0) - alone).mean() < 12


@pytest.mark.parametrize("scale", [0.4, 0.7])
def test_a_small_face_in_a_large_frame_is_found(
    scale: float, portrait: np.ndarray, face_model: MediaPipeFaceModel
) -> None:
    (item,) = track_faces([paste(portrait, 1500, 300, scale, size=(1080, 1920))], face_model)
    alone = landmarks_of(face_model, portrait)
    assert item.landmarks is not None
    there = (item.landmarks - (1500, 300)) / scale + 130
    assert np.hypot(*(there - alone).T).mean() < 4


def test_a_face_that_fills_the_frame_is_found(portrait: np.ndarray, face_model: MediaPipeFaceModel) -> None:
    close = cv2.resize(portrait[60:210, 60:200], None, fx=3, fy=3)
    (item,) = track_faces([close], face_model)
    assert item.landmarks is not None


def test_a_cut_is_detected_and_the_new_face_tracked(
    portrait: np.ndarray, face_model: MediaPipeFaceModel
) -> None:
    first = paste(portrait, 120, 150, 0.8)
    second = 255 - BACKGROUND + np.zeros((360, 480, 3), np.uint8)
    second[90:350, 200:460] = portrait
    second[:80] = 20
    tracked = list(track_faces([first] * 5 + [second] * 5, face_model))
    assert [k for k, item in enumerate(tracked) if item.cut] == [5]
    assert all(item.landmarks is not None and item.landmarks.mean(0)[0] > 250 for item in tracked[5:])


def test_a_repeated_frame_runs_the_networks_once(portrait: np.ndarray) -> None:
    class CountingFaceModel(MediaPipeFaceModel):
        calls = 0

        def landmarks(self, frame, box):
            self.calls += 1
            return super().landmarks(frame, box)

    face_model, frame = CountingFaceModel(), paste(portrait, 200, 180, 1.0)
    tracked = list(track_faces([frame] * 10, face_model))
    assert all(item.landmarks is not None for item in tracked)
    assert face_model.calls <= 3


def test_interpolated_landmarks_of_a_static_face_are_accurate(portrait: np.ndarray) -> None:
    class CountingFaceModel(MediaPipeFaceModel):
        calls = 0

        def landmarks(self, frame, box):
            self.calls += 1
            return super().landmarks(frame, box)

    face_model = CountingFaceModel()
    frames = [paste(portrait, 200 + 0.4 * k, 180, 1.0, 0.1 * k) for k in range(40)]
    skipping = [item.landmarks for item in track_faces(frames, face_model)]
    n_calls, face_model.calls = face_model.calls, 0
    every_frame_landmarks = [item.landmarks for item in track_faces(frames, face_model, every_frame=True)]
    assert n_calls < 0.7 * face_model.calls
    for one, other in zip(skipping, every_frame_landmarks, strict=True):
        assert one is not None
        assert other is not None
        assert np.hypot(*(lip_center(one) - lip_center(other))) < 0.5


def test_noise_and_tiny_frames_have_no_face(face_model: MediaPipeFaceModel) -> None:
    rng = np.random.default_rng(0)
    frames = [
        rng.integers(0, 255, (h, w, 3), dtype=np.uint8) for h, w in [(240, 320), (1, 1), (2, 900), (16, 16)]
    ]
    assert [item.landmarks for item in track_faces(frames, face_model)] == [None] * 4


@pytest.fixture(scope="module")
def clip(portrait: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames at 30 fps: the portrait moving, gone from frame 20 on."""
    frames: Iterator[np.ndarray] = (
        paste(portrait, 150 + 4 * k, 170, 0.9) if k < 20 else np.full((360, 480, 3), BACKGROUND, np.uint8)
        for k in range(30)
    )
    return write_video(tmp_path_factory.mktemp("clip") / "talk.mp4", frames, fps=30)


def test_load_roi_returns_crops_and_a_report(clip: Path) -> None:
    roi, report = load_roi(clip)
    assert (roi.shape, roi.dtype) == ((25, 96, 96), np.uint8)
    assert report.video is not None
    assert (report.name, report.video.source_fps, report.video.frames) == ("talk.mp4", 30.0, 25)
    assert report.face_frames == 17
    assert report.no_face_segments == [(0.68, 1.0)]
    assert roi[:16].std() > 20


def test_a_file_without_a_face_is_refused_with_its_name(tmp_path: Path) -> None:
    path = write_video(tmp_path / "wall.mp4", [np.full((120, 160, 3), 99, np.uint8)] * 10)
    with pytest.raises(
        NoFaceError, match=r"wall.mp4: no face in 10 of 10 frames \(first at 0.00 s\); crop closer"
    ):
        load_roi(path)


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("libGL.so.1: cannot open shared object file: No such file or directory", "libgl1"),
        ("libgthread-2.0.so.0: cannot open shared object file", "libglib2.0-0"),
        ("libEGL.so.1: cannot open shared object file", "libegl1"),
        ("libGLESv2.so.2: cannot open shared object file", "libgles2"),
    ],
)
def test_a_missing_system_library_names_its_package_in_one_line(text: str, package: str) -> None:
    line = installation_hint(ImportError(text))
    assert line.endswith(f"apt-get install {package}")
    assert "\n" not in line


def test_a_missing_mediapipe_error_names_the_version_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(MediaError, match="pip install mediapipe==0.10.21"):
        MediaPipeFaceModel().landmarks(
            np.zeros((9, 9, 3), np.uint8), FaceBox.from_landmarks(np.zeros((468, 2)))
        )


def test_a_newer_mediapipe_without_networks_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.face_detection", None)
    with pytest.raises(
        MediaError, match=r"no face networks: .*0.10.21, or pass a face_landmarker.task to a newer version"
    ):
        MediaPipeFaceModel().detect(np.zeros((9, 9, 3), np.uint8))


def test_nothing_is_written_to_stderr(portrait: np.ndarray, capfd: pytest.CaptureFixture[str]) -> None:
    face_model = MediaPipeFaceModel()
    list(track_faces([paste(portrait, 200, 180, 1.0)] * 2, face_model))
    assert capfd.readouterr().err == ""


def test_the_face_model_is_built_once_per_thread() -> None:
    assert load_face_model() is load_face_model()


@pytest.mark.parametrize("step", [0.3, 0.45])
def test_a_face_that_moves_fast_to_the_side_is_cropped_at_its_lips(
    portrait: np.ndarray, face_model: MediaPipeFaceModel, step: float
) -> None:
    still = landmarks_of(face_model, paste(portrait, 240, 180, 1.0))
    jump = step * eye_distance(still)
    # Still, then a burst to the right and back, as in a dance or a shaken camera.
    moves = [(0, 0)] * 4 + [(1, 0)] * 4 + [(-1, 0)] * 4 + [(0, 0)] * 4
    path = np.cumsum(np.array(moves, float) * jump, 0) + np.array([240, 180])
    pictures = [paste(portrait, x, y, 1.0, size=(480, 640)) for x, y in path]
    for (x, y), item in zip(path, track_faces(iter(pictures), face_model), strict=True):
        assert item.landmarks is not None
        expected = lip_center(still) + np.array([x - 240, y - 180])
        assert np.hypot(*(lip_center(item.landmarks) - expected)) < 0.1 * eye_distance(still)
