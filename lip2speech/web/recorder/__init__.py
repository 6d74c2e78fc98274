"""A guided capture: a page on this computer that leads one person through prompts and keeps the videos.

    server.py     who may ask, and what is answered        page.html, page.js, page.css, words.yaml
    session.py    the folder of prompts: which have a video, and how a new one comes to lie there

Knows no model; whether a video can be used is asked of a function.
"""

from lip2speech.web.recorder.server import MOST_BYTES, RecorderServer
from lip2speech.web.recorder.session import RecordingSession, RejectedUpload

__all__ = ["MOST_BYTES", "RecorderServer", "RecordingSession", "RejectedUpload"]
