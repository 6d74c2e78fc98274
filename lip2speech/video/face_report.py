"""The account of a video: where there was a face and where not, where scenes changed, what the file was."""

from dataclasses import asdict, dataclass, field
from typing import Any

from lip2speech.constants import VIDEO_FPS
from lip2speech.video.errors import NoFaceError
from lip2speech.video.reader import ReadReport
from lip2speech.video.smoothing import CropPlacement

# Below this share of frames with a face there is too little to read from lips, and what was found may be no
# face at all.
MIN_FACE_SHARE = 0.5
MAX_LISTED = 1000  # gaps and cuts that are listed one by one


@dataclass
class FaceReport:
    """What was found on the way from file to crops; complete once the crops are used up.

    Attributes:
        name: of the file, empty for frames from elsewhere.
        frames: crops given out, at 25 per second.
        face_frames: frames in which the face itself was found.
        first_missing: seconds to the first frame without, None if there is none.
        gaps: (start_s, end_s) without a face for more than 0.5 s, or at the end: the crop is held there, or
            blank if the scene has shown no face.
        bridged: (start_s, end_s) without a face for up to 0.5 s: the crop is cut where the mouth should be.
        cuts: seconds at which the scene or the followed face changed.
        read: what the reader reports, None for frames from elsewhere.
    """

    name: str = ""
    frames: int = 0
    face_frames: int = 0
    first_missing: float | None = None
    no_face_segments: list[tuple[float, float]] = field(default_factory=list)
    interpolated_segments: list[tuple[float, float]] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)
    read: ReadReport | None = None

    @property
    def face_detection_rate(self) -> float:
        """Part of the frames with a face, 0..1."""
        return self.face_frames / self.frames if self.frames else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"face_detection_rate": round(self.face_detection_rate, 4)}

    def count(self, placed: CropPlacement) -> None:
        """Take one frame into the account."""
        now = self.frames / VIDEO_FPS
        self.frames += 1
        if placed.cut and self.frames > 1 and len(self.cuts) < MAX_LISTED:
            self.cuts.append(now)
        if placed.source == "found":
            self.face_frames += 1
            return
        if self.first_missing is None:
            self.first_missing = now
        _add(
            self.interpolated_segments if placed.source == "interpolated" else self.no_face_segments,
            now,
        )

    def check(self) -> None:
        """Raise NoFaceError when the face was found too seldom."""
        if self.frames and self.face_detection_rate >= MIN_FACE_SHARE:
            return
        missing, name, first = self.frames - self.face_frames, self.name or "video", self.first_missing or 0.0
        raise NoFaceError(
            f"{name}: no face in {missing} of {self.frames} frames (first at {first:.2f} s); "
            "crop closer or improve the light."
        )


def _add(spans: list[tuple[float, float]], start: float) -> None:
    """One more frame, which lengthens the last span or begins one."""
    end = round(start + 1 / VIDEO_FPS, 2)
    if spans and spans[-1][1] == round(start, 2):
        spans[-1] = (spans[-1][0], end)
    elif len(spans) < MAX_LISTED:
        spans.append((round(start, 2), end))
