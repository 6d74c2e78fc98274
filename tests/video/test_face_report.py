"""Face statistics of files and live streams."""

import json

import pytest

from lip2speech.video.errors import NoFaceError
from lip2speech.video.face_report import MAX_SEGMENTS, FaceReport


def test_segments_of_each_kind_are_merged_and_timed() -> None:
    report = FaceReport()
    report.add("detected", n_frames=25)
    for source in ("interpolated", "interpolated", "detected", "held", "held", "blank"):
        report.add(source)
    assert (report.frames, report.face_frames, report.no_face_frames) == (31, 26, 5)
    assert report.interpolated_segments == [(1.0, 1.08)]
    assert report.no_face_segments == [(1.12, 1.24)]
    assert report.first_no_face_s == 1.0


def test_many_frames_at_once_equal_the_same_frames_one_by_one() -> None:
    together, one_by_one = FaceReport(), FaceReport()
    for source, n_frames in (("detected", 3), ("blank", 1500), ("detected", 7)):
        together.add(source, n_frames=n_frames)
        for _ in range(n_frames):
            one_by_one.add(source)
    assert together == one_by_one


def test_a_cut_before_the_first_frame_is_not_listed() -> None:
    report = FaceReport()
    report.add("detected", cut=True)
    report.add("detected", cut=True)
    assert report.cuts == [0.04]


def test_long_streams_list_a_bounded_number_of_segments() -> None:
    report = FaceReport()
    for _ in range(MAX_SEGMENTS + 10):
        report.add("held", cut=True)
        report.add("detected")
    assert len(report.no_face_segments) == MAX_SEGMENTS
    assert len(report.cuts) == MAX_SEGMENTS
    assert report.no_face_frames == MAX_SEGMENTS + 10


@pytest.mark.parametrize(("n_faces", "n_frames"), [(0, 0), (0, 3), (1, 3), (49, 100)])
def test_fewer_than_half_of_the_frames_with_a_face_raise(n_faces: int, n_frames: int) -> None:
    report = FaceReport(name="talk.mp4")
    report.add("detected", n_frames=n_faces)
    report.add("held", n_frames=n_frames - n_faces)
    with pytest.raises(
        NoFaceError, match=rf"^talk.mp4: no face in {n_frames - n_faces} of {n_frames} frames"
    ):
        report.require_faces()


def test_half_of_the_frames_with_a_face_are_enough() -> None:
    report = FaceReport()
    report.add("detected", n_frames=2)
    report.add("held", n_frames=2)
    report.require_faces()


def test_the_dict_is_json_serializable_with_the_detection_rate() -> None:
    report = FaceReport()
    report.add("detected", n_frames=2)
    report.add("blank")
    values = json.loads(json.dumps(report.to_dict()))
    assert values["face_detection_rate"] == 0.6667
    assert values["no_face_segments"] == [[0.08, 0.12]]
