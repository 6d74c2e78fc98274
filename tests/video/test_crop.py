"""Mouth crops: position, scale, frame borders, no-face segments, and live cropping."""

import re

import cv2
import numpy as np
import pytest

from lip2speech.video.crop import BLANK_VALUE, CROP_CENTER, CROP_SIZE, CausalCropper, crop_mouths, warp_mouth
from lip2speech.video.errors import NoFaceError
from lip2speech.video.landmarks.geometry import LIPS, MEAN_STABLE_POINTS
from lip2speech.video.landmarks.tracker import TrackedFrame
from tests.video.faces import MOUTH, frames, landmarks_at

POSES = [
    (300, 200, 1.0, 0.0),
    (150.3, 120.7, 0.5, 0.3),
    (320, 180, 1.7, -0.6),
    (300, 190, 2.6, 0.1),
    (200, 150, 4.2, 0.0),
]


def draw_face(
    x: float, y: float, scale: float, angle: float, size: tuple[int, int] = (720, 720)
) -> TrackedFrame:
    """White dots at the center and the corners of the mouth, with the landmarks."""
    landmarks = landmarks_at(x, y, scale, angle)
    frame = np.full((*size, 3), 90, np.uint8)
    corners = [(np.array([cos, 0]) * 22 * scale) for cos in (-1, 1)]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for offset in corners:
        dot(frame, turn @ offset + (x, y), 3 * scale, 255)
    dot(frame, np.array([x, y]), 3 * scale, 255)
    return TrackedFrame(frame, landmarks)


def dot(frame: np.ndarray, at: np.ndarray, radius: float, value: int) -> None:
    """A filled circle, positioned to 1/16 pixel."""
    centre = [round(float(v) * 16) for v in at]
    cv2.circle(frame, centre, round(radius * 16), (value,) * 3, -1, cv2.LINE_AA, shift=4)


def bright_spots(crop: np.ndarray) -> np.ndarray:
    """(n, 2) x and y of the white dots, left to right."""
    _, _, _, centres = cv2.connectedComponentsWithStats((crop > 170).astype(np.uint8))
    return centres[1:][np.argsort(centres[1:, 0])]


@pytest.mark.parametrize("pose", POSES)
def test_lips_are_centered_upright_and_to_scale(pose: tuple[float, float, float, float]) -> None:
    ((crop, _),) = crop_mouths([draw_face(*pose)])
    left, middle, right = bright_spots(crop)
    assert np.abs(middle - CROP_CENTER).max() < 0.5
    np.testing.assert_allclose(right - left, (44, 0), atol=0.7)


def test_the_crop_matches_avhuberts_published_pipeline() -> None:
    """AV-HuBERT warps the frame onto a 256x256 canvas, then crops 96x96 around the rounded lip center."""
    rng = np.random.default_rng(0)
    landmarks = landmarks_at(160, 140, 1.2, 0.2)
    frame = cv2.GaussianBlur(rng.integers(0, 255, (288, 360, 3), dtype=np.uint8), (0, 0), 3)
    transform = pytest.importorskip("skimage.transform")
    stable = landmarks[[2, 33, 133, 362, 263]].astype(np.float64)
    onto = transform.SimilarityTransform.from_estimate(stable, MEAN_STABLE_POINTS)
    canvas = transform.warp(
        frame, inverse_map=onto.inverse, output_shape=(256, 256), order=1, preserve_range=True
    )
    x, y = np.rint(onto(landmarks[LIPS]).mean(0)).astype(int)
    theirs = cv2.cvtColor(canvas.astype(np.uint8), cv2.COLOR_RGB2GRAY)[y - 48 : y + 48, x - 48 : x + 48]
    ((ours, _),) = crop_mouths([TrackedFrame(frame, landmarks)])
    # They round the center to whole pixels and we do not: half a pixel of a smooth image.
    assert np.abs(ours.astype(int) - theirs.astype(int)).mean() < 2.0


@pytest.mark.parametrize("at", [(0, 0), (359, 287), (-40, 100), (180, 330)])
def test_a_mouth_at_or_beyond_the_border_still_gives_a_full_crop(at: tuple[float, float]) -> None:
    frame = np.full((288, 360, 3), 200, np.uint8)
    ((crop, _),) = crop_mouths([TrackedFrame(frame, landmarks_at(*at))])
    assert (crop.shape, crop.dtype) == ((CROP_SIZE, CROP_SIZE), np.uint8)
    assert 0.05 < (crop < 100).mean() < 0.95  # outside the frame is black


def test_cropping_from_the_mouth_region_equals_cropping_from_the_whole_frame() -> None:
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 255, (288, 360, 3), dtype=np.uint8)
    for pose in [(20, 270, 1.3, 0.7), (350, 30, 0.8, -0.5), (180, 150, 1.0, 2.0)]:
        item = TrackedFrame(frame, landmarks_at(*pose))
        ((crop, _),) = crop_mouths([item])
        state = CausalCropper().start()
        whole, _ = CausalCropper().step(item, state)  # one frame: same shape, but from the whole frame
        assert np.array_equal(crop, whole)


def test_a_large_face_is_area_averaged_not_subsampled() -> None:
    stripes = np.zeros((1200, 1200, 3), np.uint8)
    stripes[::2] = 200  # finer than a pixel of the crop
    crop = warp_mouth(stripes, np.array([600.0, 600.0]), np.eye(2) / 4)
    assert np.abs(crop.astype(int) - 100).max() <= 3


def test_grayscale_uses_the_luma_weights_of_rgb() -> None:
    frame = np.zeros((300, 300, 3), np.uint8)
    frame[..., 0] = 200
    crop = warp_mouth(frame, np.array([150.0, 150.0]), np.eye(2))
    assert np.abs(crop.astype(int) - round(0.299 * 200)).max() <= 1


def test_landmark_jitter_does_not_change_the_scale() -> None:
    rng = np.random.default_rng(0)
    still = landmarks_at(300, 200)
    image = draw_face(300, 200, 1.0, 0.0).frame
    jittered = [
        TrackedFrame(image, still + rng.normal(0, 1, still.shape).astype(np.float32)) for _ in range(40)
    ]
    widths = []
    for crop, _ in crop_mouths(jittered):
        left, _, right = bright_spots(crop)
        widths.append(right[0] - left[0])
    assert np.std(widths[6:-6]) < 0.4
    assert np.mean(widths) == pytest.approx(44, rel=0.03)


def test_every_frame_gives_one_crop_and_is_counted_in_the_report() -> None:
    n = 100
    places = [None if 40 <= k < 60 or 90 <= k < 95 else landmarks_at(300, 200) for k in range(n)]
    crops = crop_mouths(
        TrackedFrame(f, p, k == 80) for k, (f, p) in enumerate(zip(frames(n), places, strict=True))
    )
    assert len(list(crops)) == n
    report = crops.report
    assert (report.frames, report.face_frames, report.face_detection_rate) == (100, 75, 0.75)
    assert report.no_face_segments == [(1.6, 2.4)]
    assert report.interpolated_segments == [(3.6, 3.8)]
    assert report.cuts == [3.2]
    assert report.first_no_face_s == 1.6


def test_too_few_faces_raise_at_the_end_with_the_counts() -> None:
    places = [landmarks_at(300, 200)] * 37 + [None] * 83
    crops = crop_mouths(TrackedFrame(f, p) for f, p in zip(frames(120), places, strict=True))
    for _ in range(120):
        next(crops)
    message = "video: no face in 83 of 120 frames (first at 1.48 s); crop closer or improve the light."
    with pytest.raises(NoFaceError, match=f"^{re.escape(message)}$"):
        next(crops)


def test_an_empty_video_raises_no_face_error() -> None:
    with pytest.raises(NoFaceError, match="no face in 0 of 0 frames"):
        list(crop_mouths([]))


def test_crops_before_the_first_face_are_blank_after_a_long_wait() -> None:
    places = [None] * 20 + [landmarks_at(300, 200)] * 30
    crops = [crop.pixels for crop in crop_mouths(map(TrackedFrame, frames(50), places))]
    assert all((crop == BLANK_VALUE).all() for crop in crops[:20])
    assert not (crops[20] == BLANK_VALUE).all()


def test_the_report_is_json_serializable() -> None:
    import json

    crops = crop_mouths([TrackedFrame(frames(1)[0], landmarks_at(300, 200))])
    list(crops)
    plain = json.loads(json.dumps(crops.report.to_dict()))
    assert (plain["frames"], plain["face_detection_rate"], plain["video"]) == (1, 1.0, None)


class TestCausalCropper:
    """Live cropping, without lookahead."""

    def test_crops_do_not_depend_on_future_frames(self) -> None:
        scales = np.random.default_rng(0).uniform(0.8, 1.2, 30)
        items = [draw_face(300, 300, s, 0.0) for s in scales]
        assert np.array_equal(self.crops(items)[:12], self.crops(items[:12]))

    def test_a_static_face_gives_the_offline_crop(self) -> None:
        items = [draw_face(300, 300, 1.2, 0.1)] * 20
        assert np.array_equal(self.crops(items), [crop.pixels for crop in crop_mouths(items)])

    def test_a_moving_mouth_stays_centered(self) -> None:
        crops = self.crops([draw_face(200 + 5 * k, 300 + 2 * k, 1.0, 0.0) for k in range(40)])
        for crop in crops:
            assert np.abs(bright_spots(crop)[1] - CROP_CENTER).max() < 0.6

    def test_crops_are_blank_before_the_first_face_and_held_after_the_last(self) -> None:
        face = draw_face(300, 300, 1.0, 0.0)
        no_face = TrackedFrame(face.frame, None)
        blank, first, held = self.crops([no_face, face, no_face])
        assert (blank == BLANK_VALUE).all()
        assert np.array_equal(first, held)

    def test_a_cut_resets_the_crop_position(self) -> None:
        face = draw_face(300, 300, 1.0, 0.0)
        _, after = self.crops([face, TrackedFrame(face.frame, None, cut=True)])
        assert (after == BLANK_VALUE).all()

    def test_one_cropper_serves_two_streams(self) -> None:
        cropper = CausalCropper()
        first, second = draw_face(300, 300, 1.0, 0.0), draw_face(400, 200, 2.0, 0.3)
        a, b = cropper.start(), cropper.start()
        for _ in range(3):
            crop_a, a = cropper.step(first, a)
            crop_b, b = cropper.step(second, b)
        assert np.array_equal(crop_a, self.crops([first] * 3)[-1])
        assert np.array_equal(crop_b, self.crops([second] * 3)[-1])

    @staticmethod
    def crops(items: list[TrackedFrame]) -> list[np.ndarray]:
        cropper, out = CausalCropper(), []
        state = cropper.start()
        for item in items:
            crop, state = cropper.step(item, state)
            out.append(crop)
        return out


def test_the_synthetic_face_matches_the_mean_face() -> None:
    np.testing.assert_allclose(landmarks_at(*MOUTH)[[2, 33, 133, 362, 263]], MEAN_STABLE_POINTS, atol=1e-4)
