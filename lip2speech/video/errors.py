"""What can be wrong with a caller's video: one line each, no traceback needed."""


class MediaError(ValueError):
    """The file cannot be read as a video (or sound); the message says which file, why, and what to do."""


class NoFaceError(ValueError):
    """Too few frames show a usable face; the message holds the numbers."""
