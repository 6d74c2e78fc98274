"""Diagnostics of a video for `lip2speech inspect`: statistics, notes, and a contact sheet of sampled frames.

Each cell of the sheet shows a frame with the outline of its crop and the landmarks the crop is based on, and
the crop itself. It is drawn with OpenCV, which cropping needs anyway, so it works without the extra `eval`.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lip2speech.constants import VIDEO_FPS
from lip2speech.utils.files import atomic_write
from lip2speech.video.crop import CROP_CENTER, CROP_SIZE, warp_placement
from lip2speech.video.errors import NoFaceError
from lip2speech.video.face_report import CropSource, FaceReport
from lip2speech.video.landmarks.detect import track_faces
from lip2speech.video.landmarks.geometry import LIPS, MEAN_STABLE_POINTS, STABLE_POINTS
from lip2speech.video.landmarks.tracker import TrackedFrame
from lip2speech.video.reader import read_frames
from lip2speech.video.smoothing import CropPlacement, place_crops, smooth_placements

N_SAMPLES = 12  # frames on a sheet
N_COLUMNS = 4
CELL_WIDTH, CELL_HEIGHT = 320, 240
BACKGROUND = 24
COLORS: dict[CropSource, tuple[int, int, int]] = {
    "detected": (90, 220, 90),
    "interpolated": (240, 200, 60),
    "held": (250, 120, 40),
    "blank": (230, 60, 60),
}
MAX_LISTED_SEGMENTS = 5
MIN_EYE_DISTANCE = 40  # pixels; below it the crop is upscaled
MIN_BRIGHTNESS = 40  # of 255, mean of a crop
MAX_YAW_RATIO = 0.6  # eye distance over eyes-to-nose, relative to the mean face; less is a turned head


@dataclass
class FrameSample:
    """One frame for the sheet, already downscaled: 24 frames of 4K would take 600 MB."""

    index: int
    image: NDArray[Any]
    scale: float
    landmarks: NDArray[Any] | None
    placement: CropPlacement | None = None
    transform: NDArray[Any] | None = None
    crop: NDArray[Any] | None = None


@dataclass
class FrameSampler:
    """Keeps N_SAMPLES to 2 * N_SAMPLES frames, evenly spaced, of a stream of unknown length."""

    samples: dict[int, FrameSample] = field(default_factory=dict)
    stride: int = 1

    def watch(self, tracked: Iterable[TrackedFrame]) -> Iterator[TrackedFrame]:
        """Pass frames on and sample some of them."""
        for k, item in enumerate(tracked):
            if k % self.stride == 0:
                self.samples[k] = FrameSample(k, *resize_to_cell(item.frame), item.landmarks)
                if len(self.samples) > 2 * N_SAMPLES:
                    self.stride *= 2
                    self.samples = {k: s for k, s in self.samples.items() if k % self.stride == 0}
            yield item

    def select(self) -> list[FrameSample]:
        """At most N_SAMPLES samples, including the first and the last."""
        samples = [sample for sample in self.samples.values() if sample.crop is not None]
        picks = np.unique(np.linspace(0, len(samples) - 1, N_SAMPLES).round().astype(int)) if samples else []
        return [samples[k] for k in picks]


def inspect_video(
    path: str | os.PathLike[str], sheet: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Statistics of a video, ready for JSON; optionally writes a PNG of sampled frames to `sheet`.

    Too few frames with a face are not an exception here; the dict then has an `error`.

    Raises:
        MediaError: the file cannot be read.
    """
    sampler, stats = FrameSampler(), CropStats()
    with read_frames(path) as frames:
        report = FaceReport(name=frames.report.name, video=frames.report)
        tracked = sampler.watch(track_faces(frames))
        for k, (placement, transform) in enumerate(smooth_placements(place_crops(tracked))):
            report.add(placement.source, cut=placement.cut)
            crop = warp_placement(placement, transform)
            stats.add(placement, crop)
            if k in sampler.samples:
                sample = sampler.samples[k]
                sample.placement, sample.transform, sample.crop = placement, transform, crop
    if sheet is not None:
        write_png(sheet, draw_sheet(sampler.select()))
    result = report.to_dict() | stats.to_dict()
    try:
        report.require_faces()
    except NoFaceError as error:
        result["error"] = str(error)
    return result


def format_diagnostics(result: dict[str, Any]) -> str:
    """The dict of `inspect_video` as text."""
    video, segments = result["video"], result["no_face_segments"]
    listed = ", ".join(f"{start:.2f}-{end:.2f} s" for start, end in segments[:MAX_LISTED_SEGMENTS]) or "none"
    more = f" and {len(segments) - MAX_LISTED_SEGMENTS} more" if len(segments) > MAX_LISTED_SEGMENTS else ""
    lines = [
        f"{result['name']}: {video['duration']:.2f} s, {video['width']}x{video['height']}, "
        f"{video['codec']} in {video['container']}, {video['source_fps']:g} fps",
        f"  frames at {VIDEO_FPS} fps   {result['frames']} (of {video['source_frames']} in the file, "
        f"{video['corrupt']} damaged, {video['missing']} missing)",
        f"  face                {100 * result['face_detection_rate']:.1f} % of frames; "
        f"no-face segments: {listed}{more}; cuts: {len(result['cuts'])}",
    ]
    if result["face_frames"]:
        lines += [
            f"  eye distance        {result['eye_distance']:.0f} pixels",
            f"  mouth               brightness {result['brightness']:.0f}, contrast {result['contrast']:.0f}",
        ]
    lines += [f"  note: {note}" for note in result["notes"] + restart_notes(video["restarts"])]
    return "\n".join(lines + ([f"  error: {result['error']}"] if "error" in result else []))


def restart_notes(n_restarts: int) -> list[str]:
    """A note on files joined end to end, if there were any."""
    if not n_restarts:
        return []
    times = "time" if n_restarts == 1 else "times"
    return [f"the timestamps start again {n_restarts} {times}: files joined end to end, read as one."]


class CropStats:
    """Running means over the frames with a face."""

    def __init__(self) -> None:
        self._sums = np.zeros(4)
        self._count = 0

    def add(self, placement: CropPlacement, crop: NDArray[Any]) -> None:
        """Update the means; frames without a face do not count."""
        if placement.source != "detected" or placement.mouth is None:
            return
        shape = placement.mouth.shape
        eye_distance = float(np.hypot(*(shape[1] - shape[4])))
        self._sums += (eye_distance, yaw_ratio(shape), crop.mean(), crop.std())
        self._count += 1

    def to_dict(self) -> dict[str, Any]:
        """The means, and notes on what makes the lips hard to read."""
        eye_distance, ratio, brightness, contrast = (float(v) for v in self._sums / max(1, self._count))
        notes = []
        if self._count and eye_distance < MIN_EYE_DISTANCE:
            notes.append(
                f"the face is small ({eye_distance:.0f} pixels between the eye corners); crop closer."
            )
        if self._count and brightness < MIN_BRIGHTNESS:
            notes.append(f"the mouth is dark (brightness {brightness:.0f} of 255); add light from the front.")
        if self._count and ratio < MAX_YAW_RATIO * yaw_ratio(MEAN_STABLE_POINTS):
            notes.append("the head is turned away; lips are read best from the front.")
        means = {"eye_distance": eye_distance, "brightness": brightness, "contrast": contrast}
        return {name: round(value, 1) for name, value in means.items()} | {"notes": notes}


def yaw_ratio(stable: NDArray[Any]) -> float:
    """Eye distance over eyes-to-nose distance of (5, 2) stable points; it shrinks as the head turns."""
    return float(np.hypot(*(stable[1] - stable[4])) / max(np.hypot(*(stable[1:].mean(0) - stable[0])), 1e-6))


def draw_sheet(samples: list[FrameSample]) -> NDArray[Any]:
    """(H, W, 3) uint8 RGB: the samples in rows of four."""
    cells = [draw_cell(sample) for sample in samples] or [empty_cell()]
    cells += [empty_cell()] * (-len(cells) % N_COLUMNS if samples else 0)
    return np.vstack([np.hstack(cells[k : k + N_COLUMNS]) for k in range(0, len(cells), N_COLUMNS)])


def empty_cell() -> NDArray[Any]:
    """A cell without a sample, (H, W, 3) uint8."""
    return np.full((CELL_HEIGHT + CROP_SIZE, CELL_WIDTH, 3), BACKGROUND, np.uint8)


def resize_to_cell(frame: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """(H, W, 3) uint8 -> the same, as large as fits into a cell, and the scale."""
    import cv2

    height, width = frame.shape[:2]
    scale = min(CELL_WIDTH / width, CELL_HEIGHT / height)
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA), scale


def draw_cell(sample: FrameSample) -> NDArray[Any]:
    """(H, W, 3) uint8: the frame with its crop outline and landmarks; below it the crop, time and source."""
    import cv2

    assert sample.placement is not None, "selected samples have a placement"
    assert sample.crop is not None, "selected samples have a crop"
    cell, color = empty_cell(), COLORS[sample.placement.source]
    image, scale = sample.image, sample.scale
    if sample.landmarks is not None:
        for x, y in sample.landmarks[np.concatenate([LIPS, STABLE_POINTS])] * scale:
            cv2.circle(image, (round(float(x)), round(float(y))), 1, color, -1, cv2.LINE_AA)
    if sample.transform is not None and sample.placement.mouth is not None:
        corners = crop_corners(sample.transform, sample.placement.mouth.center) * scale
        cv2.polylines(image, [np.round(corners).astype(np.int32)], True, color, 1, cv2.LINE_AA)
    cell[: image.shape[0], : image.shape[1]] = image
    cell[CELL_HEIGHT:, :CROP_SIZE] = sample.crop[..., None]
    for line, text in enumerate((f"{sample.index / VIDEO_FPS:.2f} s", sample.placement.source)):
        origin = (CROP_SIZE + 10, CELL_HEIGHT + 30 + 24 * line)
        cv2.putText(cell, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.6, color, 1, cv2.LINE_AA)
    return cell


def crop_corners(transform: NDArray[Any], center: NDArray[Any]) -> NDArray[Any]:
    """(4, 2) corners of the crop in the frame."""
    square = np.array([(0, 0), (CROP_SIZE, 0), (CROP_SIZE, CROP_SIZE), (0, CROP_SIZE)], dtype=np.float64)
    corners: NDArray[Any] = (square - CROP_CENTER) @ np.linalg.inv(transform).T + center
    return corners


def write_png(path: str | os.PathLike[str], image: NDArray[Any]) -> None:
    """Write (H, W, 3) uint8 RGB atomically."""
    import cv2

    _, png = cv2.imencode(".png", image[..., ::-1])
    with atomic_write(path) as temporary:
        temporary.write_bytes(png.tobytes())
