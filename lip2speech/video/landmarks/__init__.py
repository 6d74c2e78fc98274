"""Facial landmarks: one face tracked through a video.

tracker.py      FaceTracker: which face to track, where to look for it; SceneCutDetector
detect.py       track_faces: the tracker over a stream of frames, skipping every second static frame
face_model.py   FaceModel, the interface of the networks, and load_face_model
mediapipe.py    MediaPipeFaceModel: the networks inside mediapipe's wheel (default)
tasks_api.py    TasksFaceModel: a FaceLandmarker bundle (`face_landmarker.task`) given by path
geometry.py     landmark indices, mean face, similarity transform, plausibility check
"""

from lip2speech.video.landmarks.detect import TrackedFrameReader, track_faces
from lip2speech.video.landmarks.face_model import FaceModel, load_face_model
from lip2speech.video.landmarks.tracker import FaceTracker, TrackedFrame

__all__ = ["FaceModel", "FaceTracker", "TrackedFrame", "TrackedFrameReader", "load_face_model", "track_faces"]
