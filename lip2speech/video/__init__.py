"""Video file -> mouth crops, as numpy arrays; independent of models.

    frames = read_frames("talk.mp4")     # reader.py      (H, W, 3) uint8 each, 25 fps, a stream
    tracked = track_faces(frames)        # landmarks/     with landmarks (468, 2)
    roi = crop_mouths(tracked)           # crop.py        (96, 96) uint8 each

`load_roi` does all three. For live video, `FaceTracker.step` and `CausalCropper.step` take one frame at a
time. Nothing heavy is imported until a file is opened.
"""

from lip2speech.video.crop import CausalCropper, CropState, MouthCrop, MouthCropper, crop_mouths, load_roi
from lip2speech.video.errors import MediaError, NoFaceError
from lip2speech.video.face_report import FaceReport
from lip2speech.video.landmarks import FaceModel, FaceTracker, TrackedFrame, load_face_model, track_faces
from lip2speech.video.reader import FrameReader, ReadReport, read_frames

__all__ = [
    "CausalCropper",
    "CropState",
    "FaceModel",
    "FaceReport",
    "FaceTracker",
    "FrameReader",
    "MediaError",
    "MouthCrop",
    "MouthCropper",
    "NoFaceError",
    "ReadReport",
    "TrackedFrame",
    "crop_mouths",
    "load_face_model",
    "load_roi",
    "read_frames",
    "track_faces",
]
