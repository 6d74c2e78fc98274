"""Mouth poses for every frame: interpolated, held and smoothed."""

import numpy as np
import pytest

from lip2speech.video.landmarks.tracker import TrackedFrame
from lip2speech.video.smoothing import (
    MAX_INTERPOLATED_FRAMES,
    SMOOTHING_RADIUS,
    CropPlacement,
    place_crops,
    smooth_placements,
)
from tests.video.faces import frames, landmarks_at


def track(places: list[tuple[float, float] | None], cuts: tuple[int, ...] = ()) -> list[TrackedFrame]:
    """Tracked frames with a face at (x, scale), or none."""
    images = frames(len(places))
    return [
        TrackedFrame(image, None if at is None else landmarks_at(at[0], 200, at[1]), k in cuts)
        for k, (image, at) in enumerate(zip(images, places, strict=True))
    ]


def sources(placed: list[CropPlacement]) -> str:
    """One letter per frame: d(etected), i(nterpolated), h(eld), -(blank)."""
    return "".join(
        {"detected": "d", "interpolated": "i", "held": "h", "blank": "-"}[item.source] for item in placed
    )


def x_of(placed: list[CropPlacement]) -> list[float | None]:
    return [None if item.mouth is None else round(float(item.mouth.center[0]), 1) for item in placed]


FACE = (300.0, 1.0)


def test_a_short_no_face_segment_is_interpolated_linearly() -> None:
    placed = list(place_crops(track([(300, 1.0), None, None, None, (340, 1.0)])))
    assert sources(placed) == "diiid"
    assert x_of(placed) == [300, 310, 320, 330, 340]


def test_segments_at_the_start_and_end_take_the_nearest_pose() -> None:
    placed = list(place_crops(track([None, None, (300, 1.0), (310, 1.0), None, None])))
    assert sources(placed) == "iiddhh"
    assert x_of(placed) == [300, 300, 300, 310, 310, 310]


@pytest.mark.parametrize(
    ("length", "code"), [(MAX_INTERPOLATED_FRAMES, "i"), (MAX_INTERPOLATED_FRAMES + 1, "h")]
)
def test_segments_up_to_half_a_second_are_interpolated_and_longer_ones_held(length: int, code: str) -> None:
    placed = list(place_crops(track([FACE, *[None] * length, FACE])))
    assert sources(placed) == "d" + code * length + "d"


def test_a_long_segment_before_the_first_face_is_blank() -> None:
    placed = list(place_crops(track([*[None] * 40, FACE])))
    assert sources(placed) == "-" * 40 + "d"


def test_nothing_is_interpolated_across_a_cut() -> None:
    placed = list(place_crops(track([(100, 1.0), None, None, None, None, (500, 1.0)], cuts=(3,))))
    assert sources(placed) == "dhhiid"
    assert x_of(placed) == [100, 100, 100, 500, 500, 500]


def test_a_flash_detected_as_two_cuts_is_interpolated() -> None:
    placed = list(place_crops(track([(300, 1.0), None, None, (304, 1.0)], cuts=(1, 3))))
    assert sources(placed) == "diid"


def test_a_scene_without_faces_is_blank() -> None:
    placed = list(place_crops(track([FACE, FACE, *[None] * 30], cuts=(5,))))
    assert sources(placed) == "ddhhh" + "-" * 27


def test_frames_are_delayed_by_at_most_18_frames_and_keep_their_order() -> None:
    rng = np.random.default_rng(0)
    places = [FACE if rng.random() < 0.5 else None for _ in range(300)]
    given = track(places, cuts=(50, 51, 200))
    taken, out = 0, 0

    def watched():
        nonlocal taken
        for item in given:
            taken += 1
            yield item

    for out, (item, transform) in enumerate(smooth_placements(place_crops(watched()))):
        assert taken - out <= MAX_INTERPOLATED_FRAMES + SMOOTHING_RADIUS + 2
        assert (item.mouth is None) == (transform is None)
        assert item.cut == given[out].cut
    assert out == 299


def test_scale_and_angle_are_averaged_over_neighbors() -> None:
    scales = [1.0, 1.1] * 20
    transforms = [t for _, t in smooth_placements(place_crops(track([(300, s) for s in scales])))]
    middle = [
        float(np.sqrt(np.linalg.det(t)))
        for t in transforms[SMOOTHING_RADIUS:-SMOOTHING_RADIUS]
        if t is not None
    ]
    assert np.ptp(middle) < 0.01
    assert np.mean(middle) == pytest.approx(1 / 1.05, abs=0.01)


def test_steady_movement_and_zoom_are_not_delayed() -> None:
    scales = [1.0 + 0.01 * k for k in range(40)]
    for k, (item, transform) in enumerate(
        smooth_placements(place_crops(track([(300 + 2 * k, s) for k, s in enumerate(scales)])))
    ):
        assert transform is not None
        assert item.mouth is not None
        assert float(np.sqrt(np.linalg.det(transform))) == pytest.approx(1 / scales[k], rel=1e-4)
        assert item.mouth.center[0] == pytest.approx(300 + 2 * k, abs=1e-3)


def test_nothing_is_averaged_across_a_cut() -> None:
    places = [(300, 1.0)] * 10 + [(300, 2.0)] * 10
    scales = [
        float(np.sqrt(np.linalg.det(t)))
        for _, t in smooth_placements(place_crops(track(places, cuts=(10,))))
        if t is not None
    ]
    np.testing.assert_allclose(scales, [1.0] * 10 + [0.5] * 10, rtol=1e-4)


def test_buffered_frames_are_cropped_to_the_mouth_region() -> None:
    image = np.zeros((2160, 3840, 3), np.uint8)
    (item,) = place_crops([TrackedFrame(image, landmarks_at(2000, 1000, 1.5))])
    assert item.frame.shape[0] < 300
    assert item.frame.shape[1] < 300
    assert item.frame.base is None
