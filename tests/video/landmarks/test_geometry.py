"""Similarity transform, boxes and plausibility of faces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lip2speech.video.landmarks.geometry import (
    MEAN_STABLE_POINTS,
    STABLE_POINTS,
    FaceBox,
    crop_window,
    fit_similarity,
    is_plausible_face,
    lip_center,
)
from tests.video.faces import landmarks_at


@settings(deadline=None)
@given(st.floats(0.05, 20), st.floats(-3.1, 3.1), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_an_exact_similarity_is_recovered(scale: float, angle: float, x: float, y: float) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (MEAN_STABLE_POINTS - (x, y)) @ np.linalg.inv(turn).T
    np.testing.assert_allclose(fit_similarity(moved, MEAN_STABLE_POINTS), turn, atol=1e-6 * scale, rtol=1e-6)


def test_the_fit_is_the_least_squares_solution() -> None:
    rng = np.random.default_rng(0)
    points = MEAN_STABLE_POINTS + rng.normal(0, 4, MEAN_STABLE_POINTS.shape)
    z, w = points - points.mean(0), MEAN_STABLE_POINTS - MEAN_STABLE_POINTS.mean(0)
    rows = np.concatenate([np.stack([z[:, 0], -z[:, 1]], 1), np.stack([z[:, 1], z[:, 0]], 1)])
    a, b = np.linalg.lstsq(rows, np.concatenate([w[:, 0], w[:, 1]]), rcond=None)[0]
    np.testing.assert_allclose(fit_similarity(points, MEAN_STABLE_POINTS), [[a, -b], [b, a]], atol=1e-9)


def test_the_fit_matches_scikit_image() -> None:
    transform = pytest.importorskip("skimage.transform")
    points = MEAN_STABLE_POINTS * 1.7 + np.random.default_rng(1).normal(0, 3, MEAN_STABLE_POINTS.shape)
    theirs = transform.SimilarityTransform.from_estimate(points, MEAN_STABLE_POINTS)
    np.testing.assert_allclose(fit_similarity(points, MEAN_STABLE_POINTS), theirs.params[:2, :2], atol=1e-6)


def test_coincident_points_give_a_finite_transform() -> None:
    assert np.isfinite(fit_similarity(np.zeros((5, 2)), MEAN_STABLE_POINTS)).all()


def test_the_box_of_a_tilted_face_has_its_angle() -> None:
    box = FaceBox.from_landmarks(landmarks_at(200, 150, 1.5, angle=0.3))
    assert box.angle == pytest.approx(0.3, abs=0.02)
    assert 1.5 * 1.5 * 100 < box.size < 1.5 * 1.5 * 200


def test_the_lip_center_is_the_mean_of_the_lip_landmarks() -> None:
    np.testing.assert_allclose(lip_center(landmarks_at(31, 17, mouth_open=8)), (31, 17), atol=1e-3)


@pytest.mark.parametrize("angle", [0, 0.5, 1.5, 3.0])
def test_a_face_is_plausible_at_any_angle(angle: float) -> None:
    assert is_plausible_face(landmarks_at(100, 100, 0.7, angle=angle))


def test_noise_tiny_and_misplaced_features_are_not_plausible() -> None:
    face = landmarks_at(100, 100)
    noise = np.random.default_rng(0).uniform(0, 300, face.shape).astype(np.float32)
    nose_low = face.copy()
    nose_low[1] += (0, 60)
    for name, points in {
        "noise": noise,
        "nose under the mouth": nose_low,
        "far too small": landmarks_at(100, 100, 0.1),
        "NaN": np.full_like(face, np.nan),
        "wrong number of points": face[:100],
        "coincident points": np.zeros_like(face),
    }.items():
        assert not is_plausible_face(points), name


def test_random_points_are_hardly_ever_plausible() -> None:
    rng = np.random.default_rng(3)
    fooled = sum(is_plausible_face(rng.uniform(0, 300, (468, 2)).astype(np.float32)) for _ in range(300))
    assert fooled <= 6


@settings(deadline=None)
@given(st.floats(-300, 900), st.floats(-300, 900), st.floats(1, 900), st.floats(-3.2, 3.2))
def test_windows_are_square_and_show_the_frame_in_place(
    x: float, y: float, size: float, angle: float
) -> None:
    frame = np.arange(90 * 120, dtype=np.uint16).reshape(90, 120)[..., None].repeat(3, 2)
    window, left, top = crop_window(frame, FaceBox(x, y, size, angle))
    assert window.shape[0] == window.shape[1] >= 1
    rows, columns = np.arange(90), np.arange(120)
    inside = (
        (rows - top >= 0) & (rows - top < len(window)),
        (columns - left >= 0) & (columns - left < len(window)),
    )
    visible = window[np.ix_(rows[inside[0]] - top, columns[inside[1]] - left)]
    assert np.array_equal(visible, frame[np.ix_(*inside)])


def test_stable_points_are_in_the_order_of_the_mean_face() -> None:
    points = landmarks_at(0, 0)[STABLE_POINTS]
    assert points[1, 0] < points[2, 0] < points[0, 0] < points[3, 0] < points[4, 0]
