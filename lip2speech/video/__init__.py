"""From a video file to mouth crops: numpy in, numpy out; knows no model.

    frames = read_frames("talk.mp4")        # reader.py     (H, W, 3) uint8 each, 25 fps, a stream
    tracked = track_faces(frames)      # landmarks.py  with (468, 2) points
    roi = crop_mouths(tracked)                 # roi.py        (96, 96) uint8 each

`load_roi` does all three. Live: `FaceTracker.step` and `CausalCropper.step` take one frame at a time.
Nothing heavy is imported until a file is opened.
"""

from lip2speech.video.crop import CausalCropper, CropState, crop_mouths, load_roi
from lip2speech.video.errors import MediaError, NoFaceError
from lip2speech.video.face_report import FaceReport
from lip2speech.video.landmarks import load_faces, track_faces
from lip2speech.video.landmarks.tracker import FaceTracker, Tracked
from lip2speech.video.reader import FrameReader, ReadReport, read_frames

__all__ = [
    "CausalCropper",
    "CropState",
    "FaceReport",
    "FaceTracker",
    "FrameReader",
    "MediaError",
    "NoFaceError",
    "ReadReport",
    "Tracked",
    "crop_mouths",
    "track_faces",
    "load_faces",
    "load_roi",
    "read_frames",
]
