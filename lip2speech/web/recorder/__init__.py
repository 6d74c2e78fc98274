"""The recorder: a page on this computer that guides one person through prompts and saves the videos.

    app.py       routes and the server        session.py    the folder of prompts, storing a recording

Independent of any model: whether a video can be used is decided by a function.
"""

from lip2speech.web.recorder.app import MAX_UPLOAD_BYTES, RecorderServer
from lip2speech.web.recorder.session import RecordingSession, RejectedUploadError

__all__ = ["MAX_UPLOAD_BYTES", "RecorderServer", "RecordingSession", "RejectedUploadError"]
