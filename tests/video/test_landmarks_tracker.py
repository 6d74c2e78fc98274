"""Which face is followed: with networks that know where everybody is."""

import numpy as np
import pytest

from lip2speech.video.landmarks import TrackedFrameReader
from lip2speech.video.landmarks.geometry import lip_center
from lip2speech.video.landmarks.tracker import FaceTracker, SceneCutDetector
from tests.video.faces import FakeFaceModel, frames, time_of

Person = tuple[float, float, float]


def follow(faces: FakeFaceModel, cuts: tuple[int, ...] = ()) -> tuple[list[int | None], list[int]]:
    """x of the followed lips at every frame (None: no face), and the frames that are cuts."""
    tracker, found, cut_at = FaceTracker(faces), [], []
    for k, frame in enumerate(frames(len(faces.people), cuts)):
        item = tracker.step(frame)
        found.append(None if item.landmarks is None else round(float(lip_center(item.landmarks)[0])))
        cut_at += [k] * item.cut
    return found, cut_at


def test_one_face_is_found_everywhere_with_few_looks_round() -> None:
    faces = FakeFaceModel([[(300, 200, 1.0)]] * 100)
    assert follow(faces) == ([300] * 100, [])
    assert faces.detections <= 5


def test_a_moving_face_is_followed() -> None:
    faces = FakeFaceModel([[(100 + 4 * k, 200, 1.0)] for k in range(80)])
    assert follow(faces)[0] == [100 + 4 * k for k in range(80)]


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_faces_the_larger_is_followed(order: int) -> None:
    pair: list[Person] = [(150, 150, 0.8), (450, 220, 1.3)]
    assert follow(FakeFaceModel([pair[::order]] * 50)) == ([450] * 50, [])


def test_a_larger_face_that_stays_takes_over_once() -> None:
    people = [[(150.0, 200.0, 0.7)] + ([(450.0, 200.0, 1.3)] if k >= 30 else []) for k in range(120)]
    found, cuts = follow(FakeFaceModel(people))
    assert len(cuts) == 1
    assert 30 <= cuts[0] <= 70
    assert found == [150] * cuts[0] + [450] * (120 - cuts[0])


def test_a_larger_face_that_passes_by_does_not_take_over() -> None:
    people = [[(150.0, 200.0, 0.7)] + ([(450.0, 200.0, 1.3)] if 48 <= k < 52 else []) for k in range(120)]
    assert follow(FakeFaceModel(people)) == ([150] * 120, [])


def test_faces_of_like_size_do_not_take_turns() -> None:
    people = [[(150.0, 200.0, 1.0), (450.0, 200.0, 1.0 + 0.1 * np.sin(k / 9))] for k in range(150)]
    found, cuts = follow(FakeFaceModel(people))
    assert (len(set(found)), cuts) == (1, [])


def test_a_short_loss_keeps_the_face_though_a_larger_one_is_there() -> None:
    pair: list[Person] = [(150, 200, 0.9), (450, 200, 1.1)]
    people = [pair[:1]] * 20 + [pair] * 60
    faces = FakeFaceModel(people, blind=(25, 26, 27))
    found, cuts = follow(faces)
    assert found == [150] * 25 + [None] * 3 + [150] * 52
    assert cuts == []


def test_a_face_that_left_gives_way_after_a_second() -> None:
    people: list[list[Person]] = [[(150, 200, 1.0), (450, 200, 0.8)]] * 20 + [[(450, 200, 0.8)]] * 60
    found, cuts = follow(FakeFaceModel(people))
    assert found[:20] == [150] * 20
    first = found.index(450)
    assert 40 <= first <= 55
    assert cuts == [first]
    assert found[20:first] == [None] * (first - 20)


def test_a_cut_starts_anew_with_the_largest_face() -> None:
    people: list[list[Person]] = [[(150, 200, 1.0)]] * 20 + [[(160, 200, 0.8), (500, 200, 1.2)]] * 20
    found, cuts = follow(FakeFaceModel(people), cuts=(20,))
    assert found == [150] * 20 + [500] * 20
    assert cuts == [20]


def test_a_film_without_faces_asks_the_detector_seldom() -> None:
    faces = FakeFaceModel([[]] * 1000)
    assert follow(faces)[0] == [None] * 1000
    assert faces.detections <= 205
    assert faces.meshes == 0


def test_a_face_that_comes_late_is_found_within_a_fifth_of_a_second() -> None:
    people: list[list[Person]] = [[]] * 101 + [[(300, 200, 1.0)]] * 20
    found, cuts = follow(FakeFaceModel(people))
    assert 101 <= found.index(300) <= 106
    assert cuts == []


def test_points_that_are_no_face_are_not_followed() -> None:
    class Wrong(FakeFaceModel):
        def landmarks(self, frame: np.ndarray, box: object) -> np.ndarray:
            return np.random.default_rng(0).uniform(0, 300, (468, 2)).astype(np.float32)

    assert follow(Wrong([[(300, 200, 1.0)]] * 10))[0] == [None] * 10


def test_a_mesh_that_jumps_is_not_the_same_face() -> None:
    people: list[list[Person]] = [[(200, 200, 1.0)]] * 10 + [[(260, 200, 1.0)]] * 30
    found, _ = follow(FakeFaceModel(people))
    assert found[:10] == [200] * 10
    assert found[12:] == [260] * 28


def read(faces: FakeFaceModel, cuts: tuple[int, ...] = ()) -> list[int | None]:
    """x of the lips at every frame, by the reader that leaves frames out."""
    items = list(TrackedFrameReader(frames(len(faces.people), cuts), faces))
    assert [k for k, item in enumerate(items) if item.cut] == list(cuts)
    assert [time_of(item.frame) for item in items] == list(range(len(items)))
    return [None if i.landmarks is None else round(float(lip_center(i.landmarks)[0])) for i in items]


def test_a_still_face_is_looked_at_every_second_frame() -> None:
    faces = FakeFaceModel([[(300 + 0.2 * k, 200, 1.0)] for k in range(100)])
    assert read(faces) == [round(300 + 0.2 * k) for k in range(100)]
    assert faces.meshes < 65


def test_a_moving_face_is_looked_at_in_every_frame() -> None:
    faces = FakeFaceModel([[(100 + 3 * k, 200, 1.0)] for k in range(100)])
    assert read(faces) == [100 + 3 * k for k in range(100)]
    assert faces.meshes >= 100


def test_a_face_that_starts_to_move_is_looked_at_after_all() -> None:
    places = [300] * 30 + [300 + 4 * k for k in range(30)]
    assert read(FakeFaceModel([[(x, 200, 1.0)] for x in places])) == places


@pytest.mark.parametrize("at", range(10, 14))
def test_frames_are_left_out_only_between_two_of_one_scene(at: int) -> None:
    people: list[list[Person]] = [[(150, 200, 1.0)]] * at + [[(500, 200, 1.2)]] * 20
    assert read(FakeFaceModel(people), cuts=(at,)) == [150] * at + [500] * 20


@pytest.mark.parametrize("gone", range(10, 14))
def test_a_face_that_vanishes_is_not_made_up(gone: int) -> None:
    found = read(FakeFaceModel([[(300.0, 200.0, 1.0)]] * gone + [[]] * 30))
    assert found == [300] * gone + [None] * 30


def test_repeated_pictures_are_looked_at_once_in_any_rhythm() -> None:
    rng = np.random.default_rng(0)
    pictures = [picture for picture in frames(40) for _ in range(rng.integers(1, 5))]
    faces = FakeFaceModel([[(300 + 0.1 * k, 200, 1.0)] for k in range(40)])
    items = list(TrackedFrameReader(pictures, faces))
    assert [time_of(item.frame) for item in items] == [time_of(picture) for picture in pictures]
    for item in items:
        assert item.landmarks is not None
        assert lip_center(item.landmarks)[0] == pytest.approx(300 + 0.1 * time_of(item.frame), abs=0.01)
    assert faces.meshes <= 45


def test_a_change_of_size_is_a_cut() -> None:
    scene = SceneCutDetector()
    assert not scene.step(np.zeros((100, 100, 3), np.uint8))
    assert scene.step(np.zeros((300, 100, 3), np.uint8))


def test_a_slow_fade_and_noise_are_not_cuts() -> None:
    scene, rng = SceneCutDetector(), np.random.default_rng(0)
    for k in range(60):
        noise = rng.integers(0, 30, (240, 320, 3))
        assert not scene.step((3 * k + noise).astype(np.uint8))
