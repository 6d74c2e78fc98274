"""Face statistics of a video or live stream: where a face was detected, and where the scene changed."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from lip2speech.constants import VIDEO_FPS
from lip2speech.video.errors import NoFaceError
from lip2speech.video.reader import ReadReport

MIN_FACE_DETECTION_RATE = 0.5
"""Below this fraction there is too little to lip-read, and the detections may be false positives."""
MAX_SEGMENTS = 1000
"""Segments and cuts listed individually."""

CropSource = Literal["detected", "interpolated", "held", "blank"]
"""Where a crop's position comes from: this frame's face, both ends of a short no-face segment, the last
detection before a long one, or nowhere (no face so far in this scene)."""


@dataclass
class FaceReport:
    """Running face statistics; `add` once per frame of a file or a live stream.

    Attributes:
        name: file name, empty for frames from elsewhere.
        frames: output frames so far, at 25 fps.
        face_frames: those in which a face was detected.
        first_no_face_s: start of the first frame without a face, None if there is none.
        no_face_segments: (start_s, end_s) without a face for more than 0.5 s, or until the end; the crop is
            held at its last position, or blank if the scene has shown no face yet.
        interpolated_segments: (start_s, end_s) without a face for up to 0.5 s; the crop position is
            interpolated.
        cuts: times in seconds at which the scene or the tracked face changed.
        video: what the reader reports, None for frames from elsewhere.
    """

    name: str = ""
    frames: int = 0
    face_frames: int = 0
    first_no_face_s: float | None = None
    no_face_segments: list[tuple[float, float]] = field(default_factory=list)
    interpolated_segments: list[tuple[float, float]] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)
    video: ReadReport | None = None

    @property
    def no_face_frames(self) -> int:
        """Frames in which no face was detected."""
        return self.frames - self.face_frames

    @property
    def face_detection_rate(self) -> float:
        """Fraction of frames with a detected face, 0 to 1."""
        return self.face_frames / self.frames if self.frames else 0.0

    @property
    def frames_damaged(self) -> int:
        """Damaged packets and frames of the file."""
        return 0 if self.video is None else self.video.corrupt

    @property
    def frames_missing(self) -> int:
        """Output frames that the file lacks: in gaps of more than 0.5 s, and after its end."""
        return 0 if self.video is None else self.video.missing

    def to_dict(self) -> dict[str, Any]:
        """All attributes as plain values, for JSON."""
        return asdict(self) | {"face_detection_rate": round(self.face_detection_rate, 4)}

    def add(self, source: CropSource, *, cut: bool = False, n_frames: int = 1) -> None:
        """Count `n_frames` consecutive frames with crops from `source`; `cut` if a cut precedes them."""
        start = self.frames / VIDEO_FPS
        if cut and self.frames and len(self.cuts) < MAX_SEGMENTS:
            self.cuts.append(start)
        self.frames += n_frames
        if source == "detected":
            self.face_frames += n_frames
            return
        if self.first_no_face_s is None:
            self.first_no_face_s = start
        segments = self.interpolated_segments if source == "interpolated" else self.no_face_segments
        _extend(segments, start, self.frames / VIDEO_FPS)

    def require_faces(self) -> None:
        """Raise NoFaceError if fewer than half of the frames, or no frames at all, show a face."""
        if self.frames and self.face_detection_rate >= MIN_FACE_DETECTION_RATE:
            return
        raise NoFaceError(
            f"{self.name or 'video'}: no face in {self.no_face_frames} of {self.frames} frames "
            f"(first at {self.first_no_face_s or 0.0:.2f} s); crop closer or improve the light."
        )


def _extend(segments: list[tuple[float, float]], start: float, end: float) -> None:
    """Extend the last segment to `end` if it ends at `start`, otherwise append a new one."""
    start, end = round(start, 2), round(end, 2)
    if segments and segments[-1][1] == start:
        segments[-1] = (segments[-1][0], end)
    elif len(segments) < MAX_SEGMENTS:
        segments.append((start, end))
