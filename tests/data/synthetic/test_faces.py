"""Faces of the synthetic corpus: varied, found by the face mesh, with lips that follow the mouth track."""

from pathlib import Path

import numpy as np
import pytest

from lip2speech.data.synthetic.clip import N_FACES, SynthesisJob, make_frames
from lip2speech.data.synthetic.render.faces import HEIGHT, WIDTH, Geometry, elevation, half_width
from lip2speech.data.synthetic.render.features import draw_canvas
from lip2speech.data.synthetic.render.lips import MouthPainter
from lip2speech.data.synthetic.render.mouth import OPENING, TONGUE, MouthStyle, lip_curves
from lip2speech.data.synthetic.render.photo import photo_canvas
from lip2speech.data.synthetic.voices import synthesize_utterance
from lip2speech.video import track_faces

EYES = ((33, 133), (362, 263))  # corners, in the face mesh's numbers
INNER_LIPS, CORNERS = (13, 14), (61, 291)


def canvas(number: int, light: int = 0):
    return draw_canvas(np.random.default_rng([1, number]), np.random.default_rng([2, light]))


def distance(points: np.ndarray, a: int, b: int) -> float:
    return float(np.linalg.norm(points[a] - points[b]))


def test_train_and_test_faces_have_different_shapes() -> None:
    def outline(split: int, number: int) -> bytes:
        return Geometry.sample(np.random.default_rng([7, split, number])).outline.round(3).tobytes()

    train, test = ({outline(split, number) for number in range(100)} for split in (0, 1))
    assert N_FACES["train"] >= 30
    assert len(train) == len(test) == 100
    assert not train & test


def test_every_outline_has_the_shape_of_a_head() -> None:
    y = np.linspace(-2.5, 3.3, 60)
    for number in range(100):
        geometry = Geometry.sample(np.random.default_rng([7, 0, number]))
        width = half_width(geometry, y)
        assert np.isfinite(width).all()
        assert width.min() >= 0
        assert 0.9 < width.max() < 1.4
        assert width[y > geometry.chin_y + 0.02].max() == 0


def test_the_nose_is_the_highest_point() -> None:
    z, inside = elevation(Geometry.sample(np.random.default_rng(0)))
    assert z.shape == inside.shape == (HEIGHT, WIDTH)
    row, column = np.unravel_index(z.argmax(), z.shape)
    assert abs(column - WIDTH // 2) < 12
    assert inside[row, column] > 0


def test_a_face_is_reproducible_and_its_shape_does_not_depend_on_the_light() -> None:
    first, again, elsewhere = canvas(3), canvas(3), canvas(3, light=1)
    assert np.array_equal(first.rgb, again.rgb)
    assert not np.array_equal(first.rgb, elsewhere.rgb)
    assert first.mouth.half_width == elsewhere.mouth.half_width
    assert first.rgb.shape == (HEIGHT, WIDTH, 3)
    assert first.rgb.min() >= 0
    assert first.rgb.max() <= 255


def test_the_photo_varies_and_has_a_mouth_in_place() -> None:
    faces = [photo_canvas(np.random.default_rng(seed)) for seed in range(4)]
    assert not np.array_equal(faces[0].rgb, faces[1].rgb)
    for face in faces:
        assert abs(face.mouth.x) < 0.25
        assert 0.85 < face.mouth.y < 1.25


def paint(opening: float, tongue: float = 0.0) -> np.ndarray:
    """The region below the upper teeth of one mouth: (3, 9, 3)."""
    face, pose = canvas(0), np.zeros(7)
    pose[OPENING], pose[TONGUE] = opening, tongue
    x = np.linspace(-1.4, 1.4, 85, dtype=np.float32)
    image = np.broadcast_to(face.skin, (85, 85, 3)).astype(np.float32)
    MouthPainter(face.mouth, face.light, x, x)(image, lip_curves(face.mouth, pose, x), pose)
    assert np.isfinite(image).all()
    return image[49:52, 38:47]


def test_an_open_mouth_is_dark_inside() -> None:
    assert paint(1.0).mean() < 0.6 * paint(-0.2).mean()


def test_the_tongue_is_visible_in_an_open_mouth() -> None:
    assert np.abs(paint(1.0, tongue=1.0) - paint(1.0)).mean() > 5


def expected_lips(style: MouthStyle, track: np.ndarray) -> np.ndarray:
    """Opening and width of the lips in half mouth widths, (2, T), for a mouth track (T, 7)."""
    curves = [lip_curves(style, pose, np.linspace(-1, 1, 33)) for pose in track]
    return np.array([[c.aperture for c in curves], [2 * c.width for c in curves]])


def render_clip(index: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames of one test clip, and the expected opening and width of its lips, (2, T)."""
    job = SynthesisJob(Path(), "test", 2024, index, "drawn")
    frames, _, face, track = make_frames(job, synthesize_utterance(job.split, job.seed, job.index))
    return list(frames), expected_lips(face.mouth, track)


def measure_lips(frames: list[np.ndarray]) -> np.ndarray:
    """Opening and width in eye distances, (2, T), by the face mesh with refined lips."""
    import mediapipe

    with mediapipe.solutions.face_mesh.FaceMesh(refine_landmarks=True) as mesh:
        measured = []
        for frame in frames:
            (face,) = mesh.process(frame).multi_face_landmarks
            points = np.array([(p.x * frame.shape[1], p.y * frame.shape[0]) for p in face.landmark])
            left, right = (points[list(pair)].mean(0) for pair in EYES)
            lips = [distance(points, *INNER_LIPS), distance(points, *CORNERS)]
            measured.append(np.array(lips) / np.linalg.norm(left - right))
    return np.array(measured).T


@pytest.fixture(scope="module")
def clips() -> list[tuple[list[np.ndarray], np.ndarray]]:
    return [render_clip(index) for index in (2, 11)]


def test_the_face_is_detected_in_every_frame(clips: list[tuple[list[np.ndarray], np.ndarray]]) -> None:
    for frames, _ in clips:
        assert np.mean([tracked.landmarks is not None for tracked in track_faces(frames)]) >= 0.98


def test_the_lips_follow_the_mouth_track(clips: list[tuple[list[np.ndarray], np.ndarray]]) -> None:
    for frames, expected in clips:
        opening, width = (
            np.corrcoef(a, b)[0, 1] for a, b in zip(expected, measure_lips(frames), strict=True)
        )
        assert opening > 0.9
        assert width > 0.8
