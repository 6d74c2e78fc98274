"""What the preprocessing saw in a video: numbers for a person or a program, and a sheet of sampled frames.

Each cell of the sheet shows a frame with the square that was cut, the points it was cut by, and the crop.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lip2speech.constants import VIDEO_FPS
from lip2speech.video.crop import CENTRE, CROP, crop_placed
from lip2speech.video.errors import NoFaceError
from lip2speech.video.face_report import FaceReport
from lip2speech.video.landmarks import track_faces
from lip2speech.video.landmarks.geometry import LIPS, MEAN_STABLE, STABLE
from lip2speech.video.landmarks.tracker import Tracked
from lip2speech.video.reader import read_frames
from lip2speech.video.smoothing import CropPlacement, place, smooth

SAMPLES = 12  # frames on a sheet
COLUMNS = 4
CELL_WIDTH, CELL_HEIGHT = 320, 240
COLOURS = {
    "found": (90, 220, 90),
    "interpolated": (240, 200, 60),
    "held": (250, 120, 40),
    "blank": (230, 60, 60),
}
SMALL_FACE = 40  # pixels between the outer eye corners; the crop then shows enlarged pixels
DARK_MOUTH = 40  # of 255, mean of a crop
TURNED = 0.6  # eyes' distance against eyes-to-nose, as a share of the mean face's


@dataclass
class FrameSample:
    """One frame for the sheet, already small: 24 frames of 4K would be 600 MB."""

    index: int
    picture: np.ndarray
    scale: float
    points: np.ndarray | None
    placed: CropPlacement | None = None
    transform: np.ndarray | None = None
    crop: np.ndarray | None = None


@dataclass
class FrameSampler:
    """Keeps SAMPLES..2 * SAMPLES frames spread evenly over a stream whose length nobody knows."""

    kept: dict[int, FrameSample] = field(default_factory=dict)
    stride: int = 1

    def watch(self, tracked: Iterable[Tracked]) -> Iterator[Tracked]:
        """Pass frames on, keeping some of them."""
        for k, item in enumerate(tracked):
            if k % self.stride == 0:
                self.kept[k] = FrameSample(k, *shrink_to_cell(item.frame), item.landmarks)
                if len(self.kept) > 2 * SAMPLES:
                    self.stride *= 2
                    self.kept = {k: sample for k, sample in self.kept.items() if k % self.stride == 0}
            yield item

    def chosen(self) -> list[FrameSample]:
        """SAMPLES of them at most, first and last included."""
        samples = [sample for sample in self.kept.values() if sample.crop is not None]
        picks = np.unique(np.linspace(0, len(samples) - 1, SAMPLES).round().astype(int)) if samples else []
        return [samples[k] for k in picks]


def inspect_video(path: str | os.PathLike, sheet: str | os.PathLike | None = None) -> dict[str, Any]:
    """Everything there is to say about a video, ready for JSON, and a PNG of sampled frames as `sheet`.

    A video without a face is no exception here: the dict then has an `error`. MediaError for a broken file.
    """
    sampler, numbers = FrameSampler(), Stats()
    with read_frames(path) as frames:
        report = FaceReport(name=frames.report.name, read=frames.report)
        for k, (placed, transform) in enumerate(smooth(place(sampler.watch(track_faces(frames))))):
            report.count(placed)
            crop = crop_placed(placed, transform)
            numbers.add(placed, crop)
            if k in sampler.kept:
                sample = sampler.kept[k]
                sample.placed, sample.transform, sample.crop = placed, transform, crop
    if sheet is not None:
        write_png(sheet, draw_sheet(sampler.chosen()))
    result = report.to_dict() | numbers.to_dict()
    try:
        report.check()
    except NoFaceError as error:
        result["error"] = str(error)
    return result


def contact_sheet(path: str | os.PathLike, out: str | os.PathLike) -> dict[str, Any]:
    """`inspect_video` with a sheet."""
    return inspect_video(path, out)


def describe(result: dict[str, Any]) -> str:
    """The dict of `inspect_video` as lines for a person."""
    read = result["read"]
    gaps = ", ".join(f"{start:.2f}-{end:.2f} s" for start, end in result["gaps"][:5]) or "none"
    more = f" and {len(result['gaps']) - 5} more" if len(result["gaps"]) > 5 else ""
    lines = [
        f"{result['name']}: {read['duration']:.2f} s, {read['width']}x{read['height']}, {read['codec']} in "
        f"{read['container']}, {read['source_fps']:g} fps",
        f"  frames at {VIDEO_FPS} fps   {result['frames']} (of {read['source_frames']} in the file, "
        f"{read['corrupt']} damaged)",
        f"  face                {100 * result['face_detection_rate']:.1f} % of frames; longer gaps: {gaps}{more}; "
        f"cuts: {len(result['cuts'])}",
    ]
    if result["face_frames"]:
        lines += [
            f"  eyes apart          {result['eye_corners']:.0f} pixels",
            f"  mouth               light {result['brightness']:.0f}, contrast {result['contrast']:.0f}",
        ]
    lines += [f"  note: {note}" for note in result["notes"]]
    return "\n".join(lines + ([f"  error: {result['error']}"] if "error" in result else []))


class Stats:
    """Running means over the frames with a face."""

    def __init__(self) -> None:
        self._sums = np.zeros(4)
        self._count = 0

    def add(self, placed: CropPlacement, crop: np.ndarray) -> None:
        """Take a frame into the means; frames without a face do not count."""
        if placed.source != "found" or placed.mouth is None:
            return
        shape = placed.mouth.shape
        eyes = float(np.hypot(*(shape[1] - shape[4])))
        self._sums += (eyes, eyes_to_nose(shape), crop.mean(), crop.std())
        self._count += 1

    def to_dict(self) -> dict[str, Any]:
        """Means, and notes on what will make lips hard to read."""
        eyes, ratio, brightness, contrast = (float(v) for v in self._sums / max(1, self._count))
        notes = []
        if self._count and eyes < SMALL_FACE:
            notes.append(f"the face is small ({eyes:.0f} pixels between the eye corners); crop closer.")
        if self._count and brightness < DARK_MOUTH:
            notes.append(f"the mouth is dark (brightness {brightness:.0f} of 255); add light from the front.")
        if self._count and ratio < TURNED * eyes_to_nose(MEAN_STABLE):
            notes.append("the head is turned away; lips are read best from the front.")
        means = {"eye_corners": eyes, "brightness": brightness, "contrast": contrast}
        return {name: round(value, 1) for name, value in means.items()} | {"notes": notes}


def eyes_to_nose(stable: np.ndarray) -> float:
    """Distance of the outer eye corners over that from eyes to nose, of (5, 2) stable points."""
    return float(np.hypot(*(stable[1] - stable[4])) / max(np.hypot(*(stable[1:].mean(0) - stable[0])), 1e-6))


def draw_sheet(samples: list[FrameSample]) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the samples in rows of four."""
    cells = [draw_cell(sample) for sample in samples]
    cells += [np.full_like(draw_blank(), 24)] * (-len(cells) % COLUMNS)
    rows = [np.hstack(cells[k : k + COLUMNS]) for k in range(0, len(cells), COLUMNS)]
    return np.vstack(rows) if rows else draw_blank()


def draw_blank() -> np.ndarray:
    """An empty cell, (H, W, 3) uint8."""
    return np.full((CELL_HEIGHT + CROP, CELL_WIDTH, 3), 24, np.uint8)


def shrink_to_cell(frame: np.ndarray) -> tuple[np.ndarray, float]:
    """(H, W, 3) uint8 -> as large as fits into a cell, and the factor."""
    import cv2

    height, width = frame.shape[:2]
    scale = min(CELL_WIDTH / width, CELL_HEIGHT / height)
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA), scale


def draw_cell(sample: FrameSample) -> np.ndarray:
    """(H, W, 3) uint8: frame with the cut square and its points, and below it the crop and the time."""
    import cv2

    assert sample.placed is not None and sample.crop is not None, "chosen samples have been cropped"
    cell, colour = draw_blank(), COLOURS[sample.placed.source]
    picture, scale = sample.picture, sample.scale
    if sample.points is not None:
        for x, y in sample.points[np.concatenate([LIPS, STABLE])] * scale:
            cv2.circle(picture, (round(float(x)), round(float(y))), 1, colour, -1, cv2.LINE_AA)
    if sample.transform is not None and sample.placed.mouth is not None:
        corners = crop_corners(sample.transform, sample.placed.mouth.lips) * scale
        cv2.polylines(picture, [np.round(corners).astype(np.int32)], True, colour, 1, cv2.LINE_AA)
    cell[: picture.shape[0], : picture.shape[1]] = picture
    cell[CELL_HEIGHT:, :CROP] = sample.crop[..., None]
    for line, text in enumerate((f"{sample.index / VIDEO_FPS:.2f} s", sample.placed.source)):
        at = (CROP + 10, CELL_HEIGHT + 30 + 24 * line)
        cv2.putText(cell, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, 1, cv2.LINE_AA)
    return cell


def crop_corners(transform: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """(4, 2) corners of the crop in the picture."""
    ends = np.array([(0, 0), (CROP, 0), (CROP, CROP), (0, CROP)], dtype=np.float64) - CENTRE
    return ends @ np.linalg.inv(transform).T + lips


def write_png(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB; the file appears whole or not at all."""
    import cv2

    path = Path(path)
    done, data = cv2.imencode(".png", picture[..., ::-1])
    assert done, "PNG takes any picture"
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".sheet.", suffix=".png")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.tobytes())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
