"""The web demo as a Hugging Face Space starts it: public, without login, and without stored voices."""

from __future__ import annotations

from pathlib import Path

from lip2speech.web.app import ServerConfig, serve

EXAMPLES = tuple(sorted((Path(__file__).parent / "examples").glob("*.mp4")))
CONFIG = ServerConfig(
    host="0.0.0.0",
    max_upload_mb=20,
    max_duration_s=30.0,
    examples=EXAMPLES,
    can_enroll=False,
    frame_ancestors="https://huggingface.co",
)

if __name__ == "__main__":
    serve(CONFIG)
