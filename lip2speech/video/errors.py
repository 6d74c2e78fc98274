"""Errors caused by the user's video; each message is one line, so no traceback is needed."""


class MediaError(ValueError):
    """The file cannot be read as video or audio; the message names the file, the reason and the remedy."""


class NoFaceError(ValueError):
    """Too few frames show a usable face; the message gives the numbers."""
