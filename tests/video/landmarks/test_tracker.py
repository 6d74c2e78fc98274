"""Which face is tracked, with a fake face model."""

import numpy as np
import pytest

from lip2speech.video.landmarks import TrackedFrameReader
from lip2speech.video.landmarks.geometry import FaceBox, lip_center
from lip2speech.video.landmarks.tracker import FaceTracker, SceneCutDetector
from tests.video.faces import FakeFaceModel, frame_number, frames

Person = tuple[float, float, float]


def track(face_model: FakeFaceModel, cuts: tuple[int, ...] = ()) -> tuple[list[int | None], list[int]]:
    """x of the tracked lips at every frame (None: no face), and the indices of cuts."""
    tracker, found, cut_at = FaceTracker(face_model), [], []
    for k, frame in enumerate(frames(len(face_model.people), cuts)):
        item = tracker.step(frame)
        found.append(None if item.landmarks is None else round(float(lip_center(item.landmarks)[0])))
        cut_at += [k] * item.cut
    return found, cut_at


def test_one_face_is_tracked_with_few_detector_calls() -> None:
    face_model = FakeFaceModel([[(300, 200, 1.0)]] * 100)
    assert track(face_model) == ([300] * 100, [])
    assert face_model.n_detect <= 5


def test_a_moving_face_is_tracked() -> None:
    face_model = FakeFaceModel([[(100 + 4 * k, 200, 1.0)] for k in range(80)])
    assert track(face_model)[0] == [100 + 4 * k for k in range(80)]


@pytest.mark.parametrize("order", [1, -1])
def test_the_larger_of_two_faces_is_tracked(order: int) -> None:
    pair: list[Person] = [(150, 150, 0.8), (450, 220, 1.3)]
    assert track(FakeFaceModel([pair[::order]] * 50)) == ([450] * 50, [])


def test_a_larger_face_that_stays_takes_over_once() -> None:
    people = [[(150.0, 200.0, 0.7)] + ([(450.0, 200.0, 1.3)] if k >= 30 else []) for k in range(120)]
    found, cuts = track(FakeFaceModel(people))
    assert len(cuts) == 1
    assert 30 <= cuts[0] <= 70
    assert found == [150] * cuts[0] + [450] * (120 - cuts[0])


def test_a_larger_face_that_passes_by_does_not_take_over() -> None:
    people = [[(150.0, 200.0, 0.7)] + ([(450.0, 200.0, 1.3)] if 48 <= k < 52 else []) for k in range(120)]
    assert track(FakeFaceModel(people)) == ([150] * 120, [])


def test_faces_of_similar_size_do_not_alternate() -> None:
    people = [[(150.0, 200.0, 1.0), (450.0, 200.0, 1.0 + 0.1 * np.sin(k / 9))] for k in range(150)]
    found, cuts = track(FakeFaceModel(people))
    assert (len(set(found)), cuts) == (1, [])


def test_a_short_loss_keeps_the_face_despite_a_larger_one() -> None:
    pair: list[Person] = [(150, 200, 0.9), (450, 200, 1.1)]
    people = [pair[:1]] * 20 + [pair] * 60
    face_model = FakeFaceModel(people, no_landmarks=(25, 26, 27))
    found, cuts = track(face_model)
    assert found == [150] * 25 + [None] * 3 + [150] * 52
    assert cuts == []


def test_a_face_that_left_is_replaced_after_a_second() -> None:
    people: list[list[Person]] = [[(150, 200, 1.0), (450, 200, 0.8)]] * 20 + [[(450, 200, 0.8)]] * 60
    found, cuts = track(FakeFaceModel(people))
    assert found[:20] == [150] * 20
    first = found.index(450)
    assert 40 <= first <= 55
    assert cuts == [first]
    assert found[20:first] == [None] * (first - 20)


def test_after_a_cut_the_largest_face_is_tracked() -> None:
    people: list[list[Person]] = [[(150, 200, 1.0)]] * 20 + [[(160, 200, 0.8), (500, 200, 1.2)]] * 20
    found, cuts = track(FakeFaceModel(people), cuts=(20,))
    assert found == [150] * 20 + [500] * 20
    assert cuts == [20]


def test_a_video_without_faces_rarely_runs_the_detector() -> None:
    face_model = FakeFaceModel([[]] * 1000)
    assert track(face_model)[0] == [None] * 1000
    assert face_model.n_detect <= 205
    assert face_model.n_landmarks == 0


def test_a_late_face_is_found_within_a_fifth_of_a_second() -> None:
    people: list[list[Person]] = [[]] * 101 + [[(300, 200, 1.0)]] * 20
    found, cuts = track(FakeFaceModel(people))
    assert 101 <= found.index(300) <= 106
    assert cuts == []


def test_implausible_landmarks_are_not_tracked() -> None:
    class NoiseFaceModel(FakeFaceModel):
        def landmarks(self, frame: np.ndarray, box: object) -> np.ndarray:
            return np.random.default_rng(0).uniform(0, 300, (468, 2)).astype(np.float32)

    assert track(NoiseFaceModel([[(300, 200, 1.0)]] * 10))[0] == [None] * 10


def test_landmarks_that_jump_are_not_the_same_face() -> None:
    people: list[list[Person]] = [[(200, 200, 1.0)]] * 10 + [[(260, 200, 1.0)]] * 30
    found, _ = track(FakeFaceModel(people))
    assert found[:10] == [200] * 10
    assert found[12:] == [260] * 28


def read(face_model: FakeFaceModel, cuts: tuple[int, ...] = ()) -> list[int | None]:
    """x of the lips at every frame, from the reader that skips frames."""
    items = list(TrackedFrameReader(frames(len(face_model.people), cuts), face_model))
    assert [k for k, item in enumerate(items) if item.cut] == list(cuts)
    assert [frame_number(item.frame) for item in items] == list(range(len(items)))
    return [None if i.landmarks is None else round(float(lip_center(i.landmarks)[0])) for i in items]


def test_a_static_face_runs_the_network_every_second_frame() -> None:
    face_model = FakeFaceModel([[(300 + 0.2 * k, 200, 1.0)] for k in range(100)])
    assert read(face_model) == [round(300 + 0.2 * k) for k in range(100)]
    assert face_model.n_landmarks < 65


def test_a_moving_face_runs_the_network_every_frame() -> None:
    face_model = FakeFaceModel([[(100 + 3 * k, 200, 1.0)] for k in range(100)])
    assert read(face_model) == [100 + 3 * k for k in range(100)]
    assert face_model.n_landmarks >= 100


def test_a_face_that_starts_to_move_is_tracked_without_error() -> None:
    places = [300] * 30 + [300 + 4 * k for k in range(30)]
    assert read(FakeFaceModel([[(x, 200, 1.0)] for x in places])) == places


@pytest.mark.parametrize("at", range(10, 14))
def test_frames_are_skipped_only_within_a_scene(at: int) -> None:
    people: list[list[Person]] = [[(150, 200, 1.0)]] * at + [[(500, 200, 1.2)]] * 20
    assert read(FakeFaceModel(people), cuts=(at,)) == [150] * at + [500] * 20


@pytest.mark.parametrize("gone", range(10, 14))
def test_a_face_that_vanishes_is_not_interpolated(gone: int) -> None:
    found = read(FakeFaceModel([[(300.0, 200.0, 1.0)]] * gone + [[]] * 30))
    assert found == [300] * gone + [None] * 30


def test_repeated_frames_run_the_network_once_in_any_pattern() -> None:
    rng = np.random.default_rng(0)
    repeated = [frame for frame in frames(40) for _ in range(rng.integers(1, 5))]
    face_model = FakeFaceModel([[(300 + 0.1 * k, 200, 1.0)] for k in range(40)])
    items = list(TrackedFrameReader(repeated, face_model))
    assert [frame_number(item.frame) for item in items] == [frame_number(frame) for frame in repeated]
    for item in items:
        assert item.landmarks is not None
        assert lip_center(item.landmarks)[0] == pytest.approx(300 + 0.1 * frame_number(item.frame), abs=0.01)
    assert face_model.n_landmarks <= 45


def test_a_change_of_frame_size_is_a_cut() -> None:
    scene = SceneCutDetector()
    assert not scene.step(np.zeros((100, 100, 3), np.uint8))
    assert scene.step(np.zeros((300, 100, 3), np.uint8))


def test_a_slow_fade_and_noise_are_not_cuts() -> None:
    scene, rng = SceneCutDetector(), np.random.default_rng(0)
    for k in range(60):
        noise = rng.integers(0, 30, (240, 320, 3))
        assert not scene.step((3 * k + noise).astype(np.uint8))


@pytest.mark.parametrize("step", [0, 0.5, 2, 4])
def test_a_calm_face_runs_the_network_once_a_frame(step: float) -> None:
    face_model = FakeFaceModel([[(150 + step * k, 200, 1.0)] for k in range(60)])
    tracker = FaceTracker(face_model)
    for k, frame in enumerate(frames(60)):
        before = face_model.n_landmarks
        item = tracker.step(frame)
        assert item.landmarks is not None
        assert face_model.n_landmarks - before == 1 or k == 0


def test_a_face_that_moves_fast_runs_the_network_again_in_its_new_box() -> None:
    class InexactFaceModel(FakeFaceModel):
        def landmarks(self, frame: np.ndarray, box: object) -> np.ndarray | None:
            points = super().landmarks(frame, box)
            return None if points is None else points - 0.3 * (FaceBox.from_landmarks(points).x - box.x)

    places = [150] * 5 + [150 + 40 * k for k in range(8)] + [430] * 5
    found, _ = track(InexactFaceModel([[(x, 200, 1.0)] for x in places]))
    assert found[:5] == [150] * 5
    assert found == pytest.approx(places, abs=5)
