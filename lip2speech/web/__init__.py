"""The page: speak live, convert a video, enrol a voice. Run it with `python -m lip2speech.web.app`."""
