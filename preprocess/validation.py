"""Validation of what a corpus names: ids that are valid file names, files inside its root, file lists.

Corpora are untrusted: every name is checked, and rejected, individually.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from lip2speech.data.utterance import RejectedClip, Utterance

# Ids become file names. Components may begin with "-" (YouTube ids do) but never with a dot.
_COMPONENT = r"[A-Za-z0-9_-][A-Za-z0-9_.+-]*"
_ID = re.compile(rf"{_COMPONENT}(/{_COMPONENT})*")
_MAX_ID_LENGTH = 200
_SUFFIXES = (".mp4", ".txt")  # optional in a file list


def check_id(clip_id: str) -> str:
    """The id itself. ValueError: it is not a safe file name below the prepared folder."""
    if len(clip_id) > _MAX_ID_LENGTH or not _ID.fullmatch(clip_id):
        raise ValueError(
            f"clip id {clip_id[:80]!r} cannot be a file name; expected A-Z, a-z, 0-9 and _ - + . in parts "
            f"joined by '/', none beginning with '.', at most {_MAX_ID_LENGTH} characters: rename the clip"
        )
    return clip_id


def check_inside(root: Path, utterance: Utterance) -> None:
    """Raise ValueError if a file of the clip is outside `root`, through a symbolic link."""
    top = root.resolve()
    for path in filter(None, (utterance.video, utterance.wav)):
        if not path.resolve().is_relative_to(top):
            raise ValueError(
                f"{path.name} is a link that leads out of the corpus, to {path.resolve()}; "
                "give the folder that holds the files as --root"
            )


def filter_clips(
    clips: Iterable[Utterance | RejectedClip], root: Path, filelist: Path
) -> Iterator[Utterance | RejectedClip]:
    """The clips named by a file list: per line a video's path below the root, without its suffix.

    All segments of a listed video are taken. A line that names no clip, or a path outside the root, is a
    rejected clip with the line number as its id.
    """
    listed: dict[str, int] = {}
    for number, line in enumerate(filelist.read_text(encoding="utf-8", errors="replace").split("\n"), 1):
        name = line.removesuffix("\r")
        for suffix in _SUFFIXES:
            name = name.removesuffix(suffix)
        try:
            if name:
                listed.setdefault(check_list_line(name), number)
        except ValueError as error:
            yield RejectedClip(f"{filelist.name}:{number}", str(error))
    missing = dict(listed)
    for clip in clips:
        names = _list_names(root, clip)
        if not names.isdisjoint(listed):
            for name in names:
                missing.pop(name, None)
            yield clip
    for name, number in missing.items():
        yield RejectedClip(f"{filelist.name}:{number}", f"the corpus has no clip {name}")


def _list_names(root: Path, clip: Utterance | RejectedClip) -> set[str]:
    """The names of a clip in a file list; a rejected one may be a segment of a video."""
    if isinstance(clip, RejectedClip):
        return {clip.id, clip.id.rpartition("_")[0]}
    return {relative_stem(root, clip.video)}


def check_list_line(name: str) -> str:
    """A line of a file list. ValueError: it is not a plain path below the root."""
    if not name.isprintable():
        raise ValueError(f"{name[:80]!r} has control characters; expected the path of a clip")
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or ".." in parts or "/".join(parts) != name:
        raise ValueError(f"{name[:80]!r} is not a plain path below the root; expected folder/folder/clip")
    return check_id(name)


def relative_stem(root: Path, video: Path) -> str:
    """A video's path below the root, without its suffix."""
    return video.relative_to(root).with_suffix("").as_posix()
